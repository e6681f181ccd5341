//! How many publishers a core carries: 1, 20 and 50 of 1.6 Mb/s 720p with a key frame every two seconds, with low-latency HLS,
//! DASH and recording on, against Debian's nginx-rtmp with HLS on, both at the same time: what the machine does besides, it does to
//! both.
#[path = "support/live.rs"]
mod live;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/support/all.rs"]
mod support;

use std::any::Any;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use live::{CLIP, Running, make, processor_time, publish, text};
use serde_json::json;
use support::server::ServerOptions;

/// Publishers of each round.
const COUNTS: [usize; 3] = [1, 20, 50];
/// Until everything is connected and warm.
const SETTLE: Duration = Duration::from_secs(15);
/// What is measured.
const MEASURE: Duration = Duration::from_secs(40);

/// A server under load, and its publishers.
struct Loaded {
    pid: u32,
    _publishers: Running,
    /// What ends with it.
    _server: Box<dyn Any>,
}

#[tokio::main]
async fn main() {
    let scratch = tempfile::tempdir().expect("a directory");
    let clip = CLIP.make();
    println!("live density: publishers of 1.6 Mb/s 720p, processor time per publisher over {MEASURE:?}");
    for count in COUNTS {
        let both = [playhouse(count, &clip, scratch.path()).await, nginx_rtmp(count, &clip, scratch.path()).await];
        tokio::time::sleep(SETTLE).await;
        let before = both.each_ref().map(|loaded| processor_time(loaded.pid));
        tokio::time::sleep(MEASURE).await;
        let after = both.each_ref().map(|loaded| processor_time(loaded.pid));
        let percent = |at: usize| (after[at] - before[at]).as_secs_f64() / MEASURE.as_secs_f64() / count as f64 * 100.0;
        let (ours, theirs) = (percent(0), percent(1));
        let [resident, their_resident] = both.each_ref().map(|loaded| resident_of_tree(loaded.pid) >> 20);
        println!(
            "  {count:2} publishers: playhouse {ours:.2} % of a core each, {resident} MiB in all; nginx-rtmp {theirs:.2} %, \
             {their_resident} MiB; ratio {:.2} (target 1.25)",
            ours / theirs
        );
    }
}

async fn playhouse(count: usize, clip: &Path, scratch: &Path) -> Loaded {
    let server = ServerOptions::new().start();
    let client = server.account("creator").await;
    let mut keys = Vec::new();
    for number in 0..count {
        let live = make(&client, &json!({ "title": format!("Stream {number}") })).await;
        keys.push(text(&live, "/stream_key").to_owned());
    }
    let url = format!("rtmp://127.0.0.1:{}/live", server.port_of("rtmp"));
    let publishers = publish(&url, &keys, clip, scratch);
    Loaded { pid: server.pid(), _publishers: publishers, _server: Box::new(server) }
}

async fn nginx_rtmp(count: usize, clip: &Path, scratch: &Path) -> Loaded {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let dir = tempfile::tempdir_in(scratch).expect("a directory");
    let at = dir.path().display();
    let text = format!(
        "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\nuser root;\nworker_processes 1;\npid {at}/pid;\nerror_log {at}/log error;\n\
         events {{ worker_connections 1024; }}\n\
         rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{\n\
           live on; hls on; hls_path {at}/hls; hls_nested on; hls_fragment 2s; hls_playlist_length 60s; }} }} }}\n"
    );
    let file = dir.path().join("nginx.conf");
    std::fs::write(&file, text).expect("its configuration");
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-g", "daemon off;", "-e", "stderr", "-c"]).arg(&file).stdin(Stdio::null());
    let nginx = Running(command.spawn().expect("nginx with nginx-rtmp"));
    support::tools::until("nginx-rtmp", Duration::from_secs(10), || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    let keys: Vec<String> = (0..count).map(|number| format!("stream{number}")).collect();
    let publishers = publish(&format!("rtmp://127.0.0.1:{port}/live"), &keys, clip, dir.path());
    Loaded { pid: nginx.0.id(), _publishers: publishers, _server: Box::new((nginx, dir)) }
}

/// Resident bytes of a process and its children.
fn resident_of_tree(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let own: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    (own << 10) + children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(resident_of_tree).sum::<u64>()
}
