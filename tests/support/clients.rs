//! Real clients, unmodified, driven by the scripts in tests/clients.
use std::io::{BufRead, BufReader, Lines, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

use super::machine::{Came, undisturbed};
use super::tools::run;

/// Runs a client script; returns the JSON line it prints.
pub(crate) fn client(script: &str, args: &[&str]) -> Value {
    let printed = run(&mut node(script, args));
    serde_json::from_str(printed.trim()).unwrap_or_else(|error| panic!("{script} printed {printed}: {error}"))
}

/// Watches a live stream with a player, as `play-live.mjs` has it: it must play close to the publisher, and without a stall where
/// that is asked for; once more when the machine was away.
pub(crate) async fn watch_live(base: &str, manifest: &str, player: &str, flags: &[&str]) {
    let args = [&[base, manifest, "--player", player], flags].concat();
    let played = undisturbed(player, async || {
        let played = Checking::start("play-live.mjs", &args).summary();
        let reason = played["reason"].as_str().unwrap_or_default().to_owned();
        let late = ["it stood still", "s behind the publisher", "s were played"];
        let is_rough = late.iter().any(|told| reason.contains(told));
        assert!(played["ok"] == true || is_rough, "{player}, {manifest}: {played}");
        if is_rough { Came::Rough(played, reason) } else { Came::Good(played) }
    });
    eprintln!("{player}, {manifest}: {}", played.await);
}

/// A client script, not yet started.
pub(crate) fn node(script: &str, args: &[&str]) -> Command {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut node = Command::new("node");
    node.arg(scripts.join(script)).args(args);
    if let Some(browser) = browser() {
        node.env("CHROMIUM", browser);
    }
    node
}

/// A client script that tells on its error stream what has passed; ended by its process id.
pub(crate) struct Telling {
    child: Child,
    told: Lines<BufReader<ChildStderr>>,
}

impl Telling {
    /// Starts it.
    pub(crate) fn start(script: &str, args: &[&str]) -> Self {
        let mut node = node(script, args);
        let mut child = node.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("node");
        let told = BufReader::new(child.stderr.take().expect("its error stream")).lines();
        Self { child, told }
    }

    /// Waits until it says that this has passed; panics, quoting it, when it ends without.
    pub(crate) fn wait_for(&mut self, phase: &str) {
        let mut said = String::new();
        for line in self.told.by_ref().map_while(Result::ok) {
            if line == format!("passed: {phase}") {
                return;
            }
            said = said + &line + "\n";
        }
        let mut printed = String::new();
        let _ = self.child.stdout.take().map(|mut out| out.read_to_string(&mut printed));
        panic!("{phase} has not passed\n{said}{printed}");
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client script that watches on its own and tells at its end; ended by its process id.
pub(crate) struct Checking(Option<Child>);

impl Checking {
    /// Starts it.
    pub(crate) fn start(script: &str, args: &[&str]) -> Self {
        let mut node = node(script, args);
        Self(Some(node.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("node")))
    }

    /// The JSON line it prints at its end, whatever it found.
    pub(crate) fn summary(mut self) -> Value {
        let output = self.0.take().expect("a script").wait_with_output().expect("its end");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(printed.trim()).unwrap_or_else(|error| panic!("it printed {printed}: {error}"))
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
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
