//! Delivery of 1 MiB segments over HTTP/1.1, against Debian's nginx serving the same bytes from files, in one run.
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/support/all.rs"]
mod support;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/e2e/uploads.rs"]
mod uploads;
#[path = "support/viewing.rs"]
mod viewing;
#[allow(dead_code, reason = "other benches use the rest of it")]
#[path = "support/wrk.rs"]
mod wrk;

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use support::server::Server;
use wrk::{CONNECTIONS, Load, load, median};

/// Rounds of each, taken in turn.
const ROUNDS: usize = 5;

/// Length of one round.
const ROUND_SECONDS: u32 = 4;

/// An nginx of our own; ended by its process id.
struct Nginx {
    child: Child,
    url: String,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers on SIGTERM, which SIGKILL would leave behind.
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().expect("a process id"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

#[tokio::main]
async fn main() {
    let server = Server::start();
    let client = server.account("creator").await;
    let video = uploads::playable(&client, &viewing::MEBIBYTES.make()).await;
    viewing::ready(&client, video["id"].as_str().expect("an id"), uploads::VERDICT_WITHIN).await;
    let scratch = tempfile::tempdir().expect("a directory");
    let root = scratch.path().join("files");
    let segments = copy_segments(&uploads::manifest_url(&client, &video), &root).await;
    let nginx = start_nginx(scratch.path(), &root).await;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(load(&server.url(), &segments, ROUND_SECONDS, scratch.path()));
        theirs.push(load(&nginx.url, &segments, ROUND_SECONDS, scratch.path()));
    }
    report(&ours, &theirs, server.memory());
}

fn report(ours: &[Load], theirs: &[Load], (resident, highest): (u64, u64)) {
    let rate = |loads: &[Load]| median(loads.iter().map(|load| load.bytes_per_sec / (1 << 20) as f64).collect());
    let p99 = |loads: &[Load]| median(loads.iter().map(|load| load.p99.as_secs_f64() * 1e3).collect());
    println!(
        "delivery: 1 MiB segments, HTTP/1.1, {CONNECTIONS} connections, medians of {ROUNDS} rounds of {ROUND_SECONDS} s"
    );
    println!("  playhouse {:.0} MiB/s, p99 {:.1} ms", rate(ours), p99(ours));
    println!("  nginx     {:.0} MiB/s, p99 {:.1} ms", rate(theirs), p99(theirs));
    println!("  ratio playhouse/nginx: {:.2} (target 0.90)", rate(ours) / rate(theirs));
    println!("  playhouse memory: {} MiB, at its highest {} MiB (target 200)", resident >> 20, highest >> 20);
}

/// Saves every segment of the first variant below `root` under its own path; returns the paths of those near 1 MiB.
async fn copy_segments(manifest: &str, root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for uri in viewing::segments(manifest).await {
        let bytes = reqwest::get(uri.clone()).await.expect("a segment").bytes().await.expect("its bytes");
        let file = root.join(uri.path().trim_start_matches('/'));
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        std::fs::write(&file, &bytes).expect("a file");
        if (900 << 10..1200 << 10).contains(&bytes.len()) {
            paths.push(uri.path().to_owned());
        }
    }
    assert!(paths.len() >= 20, "only {} segments of about 1 MiB", paths.len());
    paths
}

/// Debian's settings, on a free port and in a directory of its own.
async fn start_nginx(scratch: &Path, root: &Path) -> Nginx {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("its address").port();
    let dir = scratch.join("nginx");
    std::fs::create_dir_all(&dir).expect("a directory");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {}/{kind};\n", dir.display()))
        .concat();
    // As root, workers would drop to a user that cannot read the files.
    let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
    let config = format!(
        "{user}daemon off;\nworker_processes auto;\npid {dir}/pid;\nerror_log {dir}/error.log;\n\
         events {{ worker_connections 768; }}\nhttp {{\n  sendfile on;\n  tcp_nopush on;\n  access_log {dir}/access.log;\n\
         {temporary}  default_type video/mp4;\n  server {{ listen 127.0.0.1:{port}; root {root}; }}\n}}\n",
        dir = dir.display(),
        root = root.display(),
    );
    std::fs::write(dir.join("nginx.conf"), config).expect("a settings file");
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(program.expect("nginx: `make deps-bench`"));
    command.arg("-c").arg(dir.join("nginx.conf")).arg("-p").arg(&dir).arg("-e").arg(dir.join("error.log"));
    let nginx = Nginx { child: command.spawn().expect("nginx"), url: format!("http://127.0.0.1:{port}") };
    support::tools::until("nginx to answer", Duration::from_secs(10), || async {
        reqwest::get(&nginx.url).await.ok().map(drop)
    })
    .await;
    nginx
}
