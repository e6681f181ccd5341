//! A PostgreSQL server of a test's own, reached by a socket in a directory that goes with it.
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};

/// Longest wait for it to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server; ended by its process id.
pub(crate) struct Postgres {
    dir: tempfile::TempDir,
    process: Child,
}

/// A directory that a server's own user may write to.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    if geteuid().is_root() {
        let user = User::from_name("postgres").expect("the users").expect("a user of that name");
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        std::os::unix::fs::chown(dir.path(), Some(uid), Some(gid)).expect("its directory");
    }
    dir
}

/// One of its programs, run by somebody who is not the administrator; ends with this process, whatever ends that.
fn program(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=QUIT");
    if geteuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.is_file()).max();
    command.arg(installed.unwrap_or_else(|| PathBuf::from(name)));
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

impl Postgres {
    /// Starts an empty one.
    pub(crate) fn start() -> Self {
        let dir = directory();
        let mut initdb = program("initdb");
        initdb.args(["--no-sync", "-A", "trust", "-U", "playhouse", "-E", "UTF8", "--locale=C", "-D"]);
        let made = initdb.arg(dir.path().join("data")).output().expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::of(dir)
    }

    /// Starts another one that follows this one by streaming.
    #[allow(dead_code, reason = "most tests need one server")]
    pub(crate) fn standby(&self) -> Self {
        let dir = directory();
        let mut copy = program("pg_basebackup");
        copy.args(["--no-sync", "-c", "fast", "-X", "stream", "-R", "-U", "playhouse", "-h"]).arg(self.dir.path());
        let made = copy.arg("-D").arg(dir.path().join("data")).output().expect("pg_basebackup");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::of(dir)
    }

    fn of(dir: tempfile::TempDir) -> Self {
        let process = launch(&dir);
        let server = Self { dir, process };
        server.wait();
        server
    }

    /// What it answers to a query, as text.
    #[allow(dead_code, reason = "most tests ask by a client of their own")]
    pub(crate) fn ask(&self, sql: &str) -> String {
        let mut psql = program("psql");
        psql.arg("-h").arg(self.dir.path()).args(["-U", "playhouse", "-X", "-q", "-A", "-t", "-c", sql, "postgres"]);
        let answer = psql.stdout(Stdio::piped()).output().expect("psql");
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    }

    /// How the program calls it.
    #[allow(dead_code, reason = "most tests need one server")]
    pub(crate) fn name(&self) -> String {
        format!("{}:5432", self.dir.path().display())
    }

    /// Has all of its processes stand still: connections stay, and nothing answers.
    #[allow(dead_code, reason = "most tests need one that answers")]
    pub(crate) fn freeze(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    /// Has them go on.
    pub(crate) fn thaw(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    fn signal_all(&self, signal: Signal) {
        let own = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        for process in i32::try_from(own).into_iter().chain(children) {
            let _ = kill(Pid::from_raw(process), signal);
        }
    }

    /// What a client has to know of one of its databases.
    pub(crate) fn address(&self, database: &str) -> String {
        format!("host={} user=playhouse dbname={database}", self.dir.path().display())
    }

    /// The socket that it listens on.
    #[allow(dead_code, reason = "tests of the catalog do without")]
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join(".s.PGSQL.5432")
    }

    /// Makes a database like another one.
    #[allow(dead_code, reason = "tests of the whole program need one database")]
    pub(crate) fn create(&self, database: &str, like: &str) -> String {
        let sql = format!("CREATE DATABASE {database} TEMPLATE {like}");
        let mut psql = program("psql");
        psql.arg("-h").arg(self.dir.path()).args(["-U", "playhouse", "-q", "-c", &sql, "template1"]);
        let made = psql.output().expect("psql");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.address(database)
    }

    /// Ends it as if its machine had failed.
    pub(crate) fn stop(&mut self) {
        self.thaw();
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap_or(0));
        let _ = kill(pid, Signal::SIGQUIT);
        let _ = self.process.wait();
    }

    /// Starts it again.
    pub(crate) fn resume(&mut self) {
        self.process = launch(&self.dir);
        self.wait();
    }

    fn wait(&self) {
        let begun = Instant::now();
        loop {
            let mut ready = program("pg_isready");
            if ready.arg("-q").arg("-h").arg(self.dir.path()).status().is_ok_and(|status| status.success()) {
                return;
            }
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "PostgreSQL does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn launch(dir: &tempfile::TempDir) -> Child {
    let log = File::options().create(true).append(true).open(dir.path().join("log")).expect("a log");
    let mut postgres = program("postgres");
    postgres.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=100", "-k"]).arg(dir.path());
    postgres.arg("-D").arg(dir.path().join("data")).stderr(log).spawn().expect("postgres")
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}
