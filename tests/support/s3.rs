//! An S3 server of a test's own, which keeps objects as files in a directory that goes with it.
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::tools::of_cache;

/// Longest wait for it to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Its only bucket.
const BUCKET: &str = "playhouse";
/// Who may use it.
const CREDENTIALS: (&str, &str) = ("test", "not a secret");

/// The server; ended by its process id.
pub(crate) struct S3 {
    dir: tempfile::TempDir,
    port: u16,
    process: Child,
}

fn launch(dir: &Path, port: u16) -> Child {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=KILL").arg(of_cache("tools/bin/s3s-fs"));
    command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--access-key", CREDENTIALS.0, "--secret-key", CREDENTIALS.1]).arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("an S3 server")
}

impl S3 {
    /// Starts an empty one.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join(BUCKET)).expect("a bucket");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let server = Self { process: launch(dir.path(), port), dir, port };
        server.wait();
        server
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What a server has to be told of it.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("blobs.raw_uploads", format!("s3://{BUCKET}/raw")),
            ("blobs.vod_abr", format!("s3://{BUCKET}/made")),
            ("blobs.s3_endpoint", format!("http://127.0.0.1:{}", self.port)),
            ("blobs.s3_access_key_id", CREDENTIALS.0.to_owned()),
            ("blobs.s3_secret_access_key", CREDENTIALS.1.to_owned()),
        ]
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.process.kill().expect("a process to kill");
        self.process.wait().expect("its end");
    }

    /// Starts it again.
    pub(crate) fn resume(&mut self) {
        self.process = launch(self.dir.path(), self.port);
        self.wait();
    }

    fn wait(&self) {
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "the S3 server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Names of the objects below a prefix.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<String> {
        let root = self.dir.path().join(BUCKET).join(prefix);
        let mut found = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                match path.is_dir() {
                    true => open.push(path),
                    false => found.push(path.strip_prefix(&root).unwrap_or(&path).display().to_string()),
                }
            }
        }
        found.retain(|name| !name.starts_with('.'));
        found.sort();
        found
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
