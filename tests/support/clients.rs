//! Real clients, unmodified, driven by the scripts in tests/clients.
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::tools::run;

/// Runs a client script; returns the JSON line it prints.
pub(crate) fn client(script: &str, args: &[&str]) -> Value {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut node = Command::new("node");
    node.arg(scripts.join(script)).args(args);
    if let Some(browser) = browser() {
        node.env("CHROMIUM", browser);
    }
    let printed = run(&mut node);
    serde_json::from_str(printed.trim()).unwrap_or_else(|error| panic!("{script} printed {printed}: {error}"))
}

/// The Chromium of this machine, unless the environment names one: in the path, or where playwright keeps its own.
fn browser() -> Option<PathBuf> {
    if std::env::var_os("CHROMIUM").is_some() {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut installed = std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name)));
    installed.find(|candidate| candidate.is_file()).or_else(of_playwright)
}

fn of_playwright() -> Option<PathBuf> {
    let kept = Path::new(&std::env::var_os("HOME")?).join(".cache/ms-playwright");
    let below = |dir: PathBuf, prefix: &'static str| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(move |path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
    };
    let programs = below(kept, "chromium-").flat_map(|version| below(version, "chrome-linux"));
    programs.map(|dir| dir.join("chrome")).find(|candidate| candidate.is_file())
}
