//! `playhouse doctor`: looks at this machine before a server does, and says what to do about what it finds.
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::DoctorArgs;
use crate::media::pipelines::elements::{self, Inventory};
use crate::settings::{CatalogSettings, Settings, TlsMode};
use crate::storage::catalog::postgres::{self, Examined, ReplicaOptions};

/// Oldest GStreamer whose elements behave as the pipelines expect: that of Debian 12.
const GSTREAMER_MIN: (u32, u32) = (1, 22);

/// File descriptors a server needs besides its connections: blobs being read, the catalog, workers.
const DESCRIPTORS_BESIDES_CONNECTIONS: u64 = 1024;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// A server runs, but something is limited.
    Warning,
    /// A server would not run or not do its main job.
    Failed,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What to do about it, when there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Ok, found: found.into(), remedy: None }
    }

    fn with(name: &'static str, outcome: Outcome, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, outcome, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Runs every check, prints the findings, and fails when a server could not do its job here.
pub fn run(args: &DoctorArgs) -> ExitCode {
    let checks = examine(args);
    let failed = checks.iter().any(|check| check.outcome == Outcome::Failed);
    if args.json {
        println!("{}", serde_json::json!({ "ok": !failed, "checks": checks }));
    } else {
        print!("{}", render(&checks));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn examine(args: &DoctorArgs) -> Vec<Check> {
    let mut checks = Vec::new();
    let settings = match args.settings.load() {
        Ok(settings) => settings,
        Err(error) => {
            checks.push(Check::with("settings", Outcome::Failed, error.to_string(), "correct the setting"));
            Settings::default()
        }
    };
    match elements::take_inventory() {
        Ok(inventory) => checks.extend(gstreamer(&inventory)),
        Err(error) => checks.push(Check::with("gstreamer", Outcome::Failed, error.to_string(), "run `make deps`")),
    }
    let data_dir = &settings.server.data_dir;
    checks.push(data_directory(data_dir));
    checks.push(disk(data_dir, &settings));
    checks.push(port(&HTTP, (settings.http.address, settings.http.port), data_dir));
    checks.push(port(&RTMP, (settings.live.rtmp_address, settings.live.rtmp_port), data_dir));
    if settings.tls.mode != TlsMode::Off {
        checks.push(port(&HTTPS, (settings.http.address, settings.http.https_port), data_dir));
        checks.push(port(&RTMPS, (settings.live.rtmp_address, settings.live.rtmps_port), data_dir));
    }
    checks.push(descriptors(&settings));
    if !settings.catalog.postgres.is_empty() {
        checks.extend(catalog(&settings.catalog));
    }
    let built = std::env::current_exe().and_then(|file| file.metadata()?.modified()).ok();
    checks.push(clock(SystemTime::now(), built));
    checks
}

fn gstreamer(inventory: &Inventory) -> Vec<Check> {
    let mut numbers = inventory.version.split('.').map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = GSTREAMER_MIN;
    let mut checks = vec![if version >= GSTREAMER_MIN {
        Check::ok("gstreamer", inventory.version.clone())
    } else {
        let remedy = format!("upgrade to {major}.{minor} or newer (Debian 12, Ubuntu 24.04)");
        Check::with("gstreamer", Outcome::Failed, inventory.version.clone(), remedy)
    }];
    for element in &inventory.missing {
        let outcome = if element.required { Outcome::Failed } else { Outcome::Warning };
        let found = format!("{} is missing, needed for {}", element.name, element.used_for);
        checks.push(Check::with("element", outcome, found, format!("apt-get install {}", element.package)));
    }
    if inventory.missing.is_empty() {
        checks.push(Check::ok("elements", format!("all {} are there", elements::ELEMENTS.len())));
    }
    checks
}

fn data_directory(dir: &Path) -> Check {
    const NAME: &str = "data directory";
    let shown = dir.display();
    let tried = std::fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir).map(drop));
    match tried {
        Ok(()) => Check::ok(NAME, format!("{shown} is writable")),
        Err(error) => Check::with(
            NAME,
            Outcome::Failed,
            format!("{shown}: {error}"),
            "give this user write permission, or name another directory with --data",
        ),
    }
}

fn disk(dir: &Path, settings: &Settings) -> Check {
    const NAME: &str = "disk";
    let free = match statvfs(dir) {
        Ok(stat) => ByteSize::b(stat.blocks_available().saturating_mul(stat.fragment_size())),
        Err(error) => {
            let remedy = "name a directory of a mounted disk with --data";
            return Check::with(NAME, Outcome::Failed, format!("{}: {error}", dir.display()), remedy);
        }
    };
    judge_disk(free, settings.uploads.disk_reserve, settings.uploads.size_max)
}

fn judge_disk(free: ByteSize, reserve: ByteSize, largest: ByteSize) -> Check {
    const NAME: &str = "disk";
    let found = format!("{free} free, {reserve} of it kept in reserve");
    if free <= reserve {
        let remedy = "free some space or lower uploads.disk_reserve: every upload would be refused";
        return Check::with(NAME, Outcome::Failed, found, remedy);
    }
    if free.as_u64() - reserve.as_u64() < largest.as_u64() {
        let remedy = format!("one upload of the largest size allowed ({largest}) would not fit");
        return Check::with(NAME, Outcome::Warning, found, remedy);
    }
    Check::ok(NAME, found)
}

/// A port that the server listens on: name of the check, setting, and name in the file of bound ports.
struct Listener {
    name: &'static str,
    setting: &'static str,
    bound: &'static str,
}

const HTTP: Listener = Listener { name: "http port", setting: "PLAYHOUSE_HTTP__PORT or http.port", bound: "http" };
const RTMP: Listener =
    Listener { name: "rtmp port", setting: "PLAYHOUSE_LIVE__RTMP_PORT or live.rtmp_port", bound: "rtmp" };

const HTTPS: Listener =
    Listener { name: "https port", setting: "PLAYHOUSE_HTTP__HTTPS_PORT or http.https_port", bound: "https" };
const RTMPS: Listener =
    Listener { name: "rtmps port", setting: "PLAYHOUSE_LIVE__RTMPS_PORT or live.rtmps_port", bound: "rtmps" };

fn port(listener: &Listener, (address, port): (IpAddr, u16), data_dir: &Path) -> Check {
    let address = SocketAddr::new(address, port);
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(listener.name, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && serves_here(data_dir, listener, port) => {
            Check::ok(listener.name, format!("{address} is in use by the server on this data directory"))
        }
        Err(error) => {
            let remedy = format!("stop what listens there, or choose another with {}", listener.setting);
            Check::with(listener.name, Outcome::Failed, format!("{address}: {error}"), remedy)
        }
    }
}

/// Whether the server that last ran on this directory bound this port.
fn serves_here(data_dir: &Path, listener: &Listener, port: u16) -> bool {
    let ports = std::fs::read(data_dir.join("ports.json")).ok();
    let ports = ports.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    ports.is_some_and(|ports| ports[listener.bound].as_u64() == Some(u64::from(port)))
}

/// The servers of a catalog in PostgreSQL.
fn catalog(settings: &CatalogSettings) -> Vec<Check> {
    let replicas =
        ReplicaOptions { addresses: settings.postgres_replicas.clone(), lag_max: settings.replica_lag_max.0 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let found = match runtime {
        Ok(runtime) => runtime.block_on(postgres::examine(&settings.postgres, &replicas)),
        Err(error) => vec![Examined { name: "primary".into(), fault: Some(error.to_string()) }],
    };
    found.iter().enumerate().map(|(index, found)| judge_catalog(index == 0, found)).collect()
}

fn judge_catalog(is_primary: bool, found: &Examined) -> Check {
    let name = if is_primary { "catalog" } else { "catalog replica" };
    match &found.fault {
        None if is_primary => Check::ok(name, "PostgreSQL answers"),
        None => Check::ok(name, format!("{} answers as a replica", found.name)),
        Some(fault) if is_primary => {
            let remedy = "start PostgreSQL, or correct catalog.postgres";
            Check::with(name, Outcome::Failed, fault, remedy)
        }
        Some(fault) => {
            let remedy = "have it follow the primary by streaming, or take it out of catalog.postgres_replicas";
            Check::with(name, Outcome::Warning, format!("{}: {fault}", found.name), remedy)
        }
    }
}

fn descriptors(settings: &Settings) -> Check {
    const NAME: &str = "open files";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) => judge_descriptors(hard, connections_max(settings)),
        Err(error) => Check::with(NAME, Outcome::Warning, error.to_string(), "see `ulimit -n`"),
    }
}

/// HTTP's and RTMP's, each twice when there is TLS.
fn connections_max(settings: &Settings) -> u64 {
    let ports = if settings.tls.mode == TlsMode::Off { 1 } else { 2 };
    settings.http.connections_max.saturating_add(settings.live.connections_max).saturating_mul(ports) as u64
}

fn judge_descriptors(limit: u64, connections: u64) -> Check {
    const NAME: &str = "open files";
    let needed = connections.saturating_add(DESCRIPTORS_BESIDES_CONNECTIONS);
    let found = format!("limit {limit}, {needed} needed for {connections} connections");
    if limit >= needed {
        return Check::ok(NAME, found);
    }
    let remedy = "raise it (LimitNOFILE= of a systemd unit, /etc/security/limits.conf) or lower http.connections_max";
    Check::with(NAME, Outcome::Warning, found, remedy)
}

/// A clock that runs behind this very program is wrong for certain: tokens and caching would be too.
fn clock(now: SystemTime, built: Option<SystemTime>) -> Check {
    const NAME: &str = "clock";
    let tolerance = Duration::from_secs(60);
    match built {
        Some(built) if now + tolerance < built => Check::with(
            NAME,
            Outcome::Failed,
            "it is behind the build of this program",
            "set it, e.g. with an NTP client",
        ),
        _ => Check::ok(NAME, humantime::format_rfc3339_seconds(now).to_string()),
    }
}

fn render(checks: &[Check]) -> String {
    let mut text = String::new();
    for Check { name, outcome, found, remedy } in checks {
        let mark = match outcome {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Failed => "FAILED",
        };
        let _ = writeln!(text, "{mark:<8} {name:<15} {found}");
        if let Some(remedy) = remedy {
            let _ = writeln!(text, "{:<24} → {remedy}", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_element_names_its_package_and_fails_only_when_required() {
        let missing = [true, false].map(|required| elements::Element { required, ..elements::ELEMENTS[0] });
        let checks = gstreamer(&Inventory { version: "1.22.0".to_owned(), missing: missing.to_vec() });
        let outcomes: Vec<Outcome> = checks.iter().map(|check| check.outcome).collect();
        assert_eq!(outcomes, [Outcome::Ok, Outcome::Failed, Outcome::Warning]);
        assert_eq!(checks[1].remedy.as_deref(), Some("apt-get install gstreamer1.0-plugins-base"));
    }

    #[test]
    fn an_old_gstreamer_fails() {
        let checks = gstreamer(&Inventory { version: "1.20.3".to_owned(), missing: Vec::new() });
        assert_eq!(checks[0].outcome, Outcome::Failed);
    }

    #[test]
    fn an_unwritable_directory_fails() {
        assert_eq!(data_directory(Path::new("/proc/nothing")).outcome, Outcome::Failed);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(data_directory(&dir.path().join("new")).outcome, Outcome::Ok);
    }

    #[test]
    fn a_taken_port_fails_unless_our_server_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let SocketAddr::V4(address) = taken.local_addr().unwrap() else { panic!("bound to IPv4") };
        let look = || port(&HTTP, ((*address.ip()).into(), address.port()), dir.path()).outcome;
        assert_eq!(look(), Outcome::Failed);
        std::fs::write(dir.path().join("ports.json"), format!("{{\"http\": {}}}", address.port())).unwrap();
        assert_eq!(look(), Outcome::Ok);
    }

    #[test]
    fn little_disk_few_files_and_a_wrong_clock_are_noticed() {
        let gib = ByteSize::gib;
        assert_eq!(judge_disk(gib(1), gib(1), gib(4)).outcome, Outcome::Failed);
        assert_eq!(judge_disk(gib(2), gib(1), gib(4)).outcome, Outcome::Warning);
        assert_eq!(judge_disk(gib(9), gib(1), gib(4)).outcome, Outcome::Ok);
        assert_eq!(judge_descriptors(1024, 10_000).outcome, Outcome::Warning);
        assert_eq!(judge_descriptors(20_000, 10_000).outcome, Outcome::Ok);
        let now = SystemTime::now();
        assert_eq!(clock(now, Some(now + Duration::from_secs(3600))).outcome, Outcome::Failed);
        assert_eq!(clock(now, Some(now)).outcome, Outcome::Ok);
    }

    #[test]
    fn a_server_does_without_a_replica_but_not_without_its_catalog() {
        let found = Examined { name: "db-2:5432".into(), fault: Some("it does not answer".into()) };
        let check = judge_catalog(false, &found);
        assert_eq!((check.outcome, check.found.as_str()), (Outcome::Warning, "db-2:5432: it does not answer"));
        assert_eq!(judge_catalog(true, &found).outcome, Outcome::Failed);
        assert_eq!(judge_catalog(false, &Examined { fault: None, ..found }).outcome, Outcome::Ok);
    }

    #[test]
    fn remedies_stand_below_their_finding() {
        let text = render(&[Check::with("disk", Outcome::Failed, "full", "free some")]);
        assert_eq!(text, "FAILED   disk            full\n                         → free some\n");
    }
}
