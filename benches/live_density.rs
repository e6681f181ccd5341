//! How many publishers a core carries: 1, 20 and 50 of 1.6 Mb/s 720p with a key frame every two seconds, with low-latency HLS,
//! DASH and recording on, against Debian's nginx-rtmp with HLS on, in one run.
#[path = "support/live.rs"]
mod live;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/support/all.rs"]
mod support;

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

/// What one round cost.
struct Cost {
    /// Share of a core for each publisher, per cent.
    percent: f64,
    resident: u64,
}

#[tokio::main]
async fn main() {
    let scratch = tempfile::tempdir().expect("a directory");
    println!("live density: publishers of 1.6 Mb/s 720p, processor time per publisher over {MEASURE:?}");
    for count in COUNTS {
        let ours = playhouse(count, scratch.path()).await;
        let theirs = nginx_rtmp(count, scratch.path()).await;
        println!(
            "  {count:2} publishers: playhouse {:.2} % of a core each, {} MiB in all; nginx-rtmp {:.2} %, {} MiB; ratio {:.2} (target 1.25)",
            ours.percent,
            ours.resident >> 20,
            theirs.percent,
            theirs.resident >> 20,
            ours.percent / theirs.percent
        );
    }
}

async fn playhouse(count: usize, scratch: &Path) -> Cost {
    let server = ServerOptions::new().start();
    let client = server.account("creator").await;
    let mut keys = Vec::new();
    for number in 0..count {
        let live = make(&client, &json!({ "title": format!("Stream {number}") })).await;
        keys.push(text(&live, "/stream_key").to_owned());
    }
    let url = format!("rtmp://127.0.0.1:{}/live", server.port_of("rtmp"));
    let _publishers = publish(&url, &keys, &CLIP.make(), scratch);
    measure(server.pid(), count, || server.memory().0).await
}

async fn nginx_rtmp(count: usize, scratch: &Path) -> Cost {
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
    let _publishers = publish(&format!("rtmp://127.0.0.1:{port}/live"), &keys, &CLIP.make(), scratch);
    let pid = nginx.0.id();
    measure(pid, count, || resident_of_tree(pid)).await
}

async fn measure(pid: u32, count: usize, resident: impl Fn() -> u64) -> Cost {
    tokio::time::sleep(SETTLE).await;
    let before = processor_time(pid);
    tokio::time::sleep(MEASURE).await;
    let spent = processor_time(pid) - before;
    Cost { percent: spent.as_secs_f64() / MEASURE.as_secs_f64() / count as f64 * 100.0, resident: resident() }
}

/// Resident bytes of a process and its children.
fn resident_of_tree(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let own: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    (own << 10) + children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(resident_of_tree).sum::<u64>()
}
