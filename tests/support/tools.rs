//! Running other programs, and waiting for conditions.
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Runs a program to its end and returns what it wrote; panics, quoting it, when it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}\n{out}\n{err}", output.status);
    out
}

/// Runs a program to its end, however it ends.
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(std::process::Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// An ffmpeg that speaks Enhanced RTMP.
pub(crate) fn enhanced_ffmpeg() -> PathBuf {
    of_cache("enhanced-ffmpeg/ffmpeg")
}

/// A tool where `make deps-test` puts it.
pub(crate) fn of_cache(tool: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache.filter(|path| path.is_absolute()).or_else(home).expect("a home directory");
    let found = cache.join("playhouse").join(tool);
    assert!(found.exists(), "{} is missing: run `make deps-test`", found.display());
    found
}

/// `ffprobe -of json` of a file or URL.
pub(crate) fn ffprobe(input: &str, args: &[&str]) -> Value {
    let text = run(Command::new("ffprobe").args(["-v", "error", "-of", "json"]).args(args).arg(input));
    serde_json::from_str(&text).expect("JSON of ffprobe")
}

/// What ffmpeg complains about when it decodes all of a file or URL; empty when nothing.
pub(crate) fn ffmpeg_complaints(input: &str) -> String {
    let output = output(Command::new("ffmpeg").args(["-nostdin", "-v", "warning", "-i", input, "-f", "null", "-"]));
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { said } else { format!("{}: {said}", output.status) }
}

/// SHA-256 of a file, hex.
pub(crate) fn sha256(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks `look` until it returns something, at most this long.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, limit: Duration, look: impl Fn() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
