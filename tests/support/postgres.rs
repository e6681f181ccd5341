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
        let dir = tempfile::tempdir().expect("a directory");
        if geteuid().is_root() {
            let user = User::from_name("postgres").expect("the users").expect("a user of that name");
            let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
            std::os::unix::fs::chown(dir.path(), Some(uid), Some(gid)).expect("its directory");
        }
        let mut initdb = program("initdb");
        initdb.args(["--no-sync", "-A", "trust", "-U", "playhouse", "-E", "UTF8", "--locale=C", "-D"]);
        let made = initdb.arg(dir.path().join("data")).output().expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let process = launch(&dir);
        let server = Self { dir, process };
        server.wait();
        server
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
