//! A real server process on free loopback ports and a directory of its own.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use playhouse::cli::client::{Client, ClientError};
use serde_json::Value;

/// What every account is registered with.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Longest wait for a server to be ready or to stop, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of its log shown when a test fails; requests that were answered as they should be are left out.
const LOG_LINES_SHOWN: usize = 40;

/// What a test failed of, said again below the log: of long output the end is what is seen.
static FAILED_OF: Mutex<Option<String>> = Mutex::new(None);

fn keep_what_fails() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let show = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            *FAILED_OF.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
            show(panic);
        }));
    });
}

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerOptions {
    /// `section.key` and value of settings other than the defaults.
    settings: Vec<(String, String)>,
}

impl ServerOptions {
    /// Settings for tests: rate limits out of the way, since every request comes from one address.
    pub(crate) fn new() -> Self {
        Self::default()
            .set("rates.api_per_minute", "1000000")
            .set("rates.register_per_minute", "1000")
            .set("rates.login_per_minute_per_address", "1000")
            .set("rates.uploads_per_minute_per_account", "10000")
    }

    /// Sets one setting.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A clean-up that is never far away.
    pub(crate) fn with_busy_janitor(self) -> Self {
        self.set("janitor.interval", "500ms").set("janitor.orphan_age", "1s").set("janitor.orphan_interval", "500ms")
    }

    pub(crate) fn start(self) -> Server {
        keep_what_fails();
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = Server { options: self, dir, child: None, ports: Value::Null };
        server.restart();
        server
    }
}

/// A running server; ended by its process id when dropped, its log printed when the test is failing.
pub(crate) struct Server {
    options: ServerOptions,
    dir: tempfile::TempDir,
    child: Option<Child>,
    ports: Value,
}

impl Server {
    /// A server with the test settings.
    pub(crate) fn start() -> Self {
        ServerOptions::new().start()
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// `http://127.0.0.1:port` of this start.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// `https://127.0.0.1:port` of this start.
    #[allow(dead_code, reason = "benches do without")]
    pub(crate) fn https_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port_of("https"))
    }

    /// Its HTTP port of this start.
    pub(crate) fn port(&self) -> u16 {
        self.port_of("http")
    }

    /// The port of a listener, by its name in `ports.json`.
    pub(crate) fn port_of(&self, listener: &str) -> u16 {
        let port = self.ports[listener].as_u64().and_then(|port| port.try_into().ok());
        port.unwrap_or_else(|| panic!("no port of {listener} in {}", self.ports))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running server").id()
    }

    /// A client that is not signed in.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url()).expect("a client")
    }

    /// A client signed in as a new account of this name.
    pub(crate) async fn account(&self, name: &str) -> Client {
        let mut client = self.client();
        let registered = client.register(name, &format!("{name}@example.org"), PASSWORD).await;
        registered.unwrap_or_else(|error| panic!("registering {name}: {error}"));
        client
    }

    /// A client signed in as the first administrator.
    pub(crate) async fn admin(&self) -> Client {
        self.admin_of(self).await.expect("the administrator's sign-in")
    }

    /// A client signed in at another node as the administrator that this one was told of at first start.
    pub(crate) async fn admin_of(&self, node: &Self) -> Result<Client, ClientError> {
        let told =
            std::fs::read_to_string(self.data().join("first-run-admin.txt")).expect("what was told at first start");
        let password = told.lines().find_map(|line| line.strip_prefix("password: ")).expect("a password");
        let mut client = node.client();
        client.login("admin", password).await?;
        Ok(client)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid().try_into().expect("a process id"));
        nix::sys::signal::kill(pid, signal).expect("a process to signal");
    }

    /// Whether it was started and not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Ends it as a power cut would end it.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a process to kill");
            child.wait().expect("its end");
        }
    }

    /// Asks it to stop and waits for it.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let mut child = self.child.take().expect("a running server");
        let started = Instant::now();
        loop {
            match child.try_wait().expect("its state") {
                Some(status) => return status,
                None if started.elapsed() > PATIENCE => {
                    child.kill().expect("a process to kill");
                    panic!("the server did not stop within {PATIENCE:?}");
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Has it started with this setting from its next start on; empty: with the default.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.options.settings.retain(|(set, _)| set != key);
        if !value.is_empty() {
            self.options.settings.push((key.to_owned(), value.to_owned()));
        }
    }

    /// Starts it (again) on the same data; its ports are new ones.
    pub(crate) fn restart(&mut self) {
        self.kill9();
        let ports = self.data().join("ports.json");
        let _ = std::fs::remove_file(&ports);
        let log = File::options().create(true).append(true).open(self.log()).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_playhouse"));
        command.args(["serve", "--ephemeral-ports", "--data"]).arg(self.data());
        for (key, value) in &self.options.settings {
            command.env(format!("PLAYHOUSE_{}", key.replace('.', "__").to_uppercase()), value);
        }
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone().expect("a log file")).stderr(log);
        self.child = Some(command.spawn().expect("the playhouse binary"));
        self.ports = self.wait_for(&ports);
    }

    fn wait_for(&mut self, ports: &Path) -> Value {
        let started = Instant::now();
        loop {
            let read = std::fs::read(ports).ok().and_then(|text| serde_json::from_slice(&text).ok());
            if let Some(ports) = read {
                return ports;
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("its state"));
            assert!(ended.is_none(), "the server ended at start: {}\n{}", ended.unwrap_or_default(), self.log_tail());
            assert!(started.elapsed() < PATIENCE, "the server is not ready after {PATIENCE:?}\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything it said so far.
    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let text = self.log_text();
        let is_told = |line: &&str| !(line.contains("playhouse::access") && line.contains(" status=20"));
        let lines: Vec<&str> = text.lines().filter(is_told).collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Resident memory in bytes: now and at its highest.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).expect("a memory line");
            line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Every file of uploads, originals and media, relative to the data directory.
    pub(crate) fn blobs(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect_files(&self.data().join("blobs"), &mut found);
        let relative = |path: PathBuf| path.strip_prefix(self.data()).unwrap_or(&path).display().to_string();
        found.into_iter().map(relative).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let failed_of = FAILED_OF.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
            eprintln!("--- the server's log, last {LOG_LINES_SHOWN} lines\n{}\n--- {failed_of}", self.log_tail());
        }
    }
}

fn collect_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect_files(&path, found) } else { found.push(path) }
    }
}
