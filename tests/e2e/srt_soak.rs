//! Many publishers by SRT at once, for long: what they cost does not grow, and is given back when they leave.
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::live::{PATIENCE, Publisher, in_state, make, text};
use crate::support::clips::Recipe;
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::until;

/// After this long everything has the size that it will have.
const SETTLED: Duration = Duration::from_secs(60);
/// What memory may grow by after that: a tenth, and this.
const GROWTH_BYTES_MAX: u64 = 16 << 20;
/// What tasks and file descriptors may: requests and spans that are open now and then.
const GROWTH_MAX: u64 = 30;

/// What a server has of what runs out.
#[derive(Debug, Clone, Copy)]
struct Held {
    memory: u64,
    tasks: u64,
    files: u64,
}

impl Held {
    async fn of(server: &Server) -> Self {
        let metrics =
            reqwest::get(format!("{}/metrics", server.url())).await.expect("metrics").text().await.expect("text");
        let tasks = metrics.lines().find_map(|line| line.strip_prefix("playhouse_tasks "));
        let tasks = tasks.and_then(|count| count.parse().ok()).expect("the number of tasks");
        let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("its files").count() as u64;
        Self { memory: server.memory().0, tasks, files }
    }

    fn is_about(&self, before: &Self) -> bool {
        let memory_max = before.memory + before.memory / 10 + GROWTH_BYTES_MAX;
        self.memory <= memory_max && self.tasks <= before.tasks + GROWTH_MAX && self.files <= before.files + GROWTH_MAX
    }
}

/// ffmpeg, sending a file that it does not have to encode.
fn publisher(url: &str) -> Publisher {
    let args =
        "{pictures} {sound} -c:v libx264 -preset veryfast -pix_fmt yuv420p -g 50 -bf 0 -b:v 900k {aac} -f mpegts";
    let clip = Recipe { name: "soak.ts", args }.make();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(clip);
    ffmpeg.args(["-c", "copy", "-f", "mpegts", url]);
    Publisher::run(ffmpeg)
}

fn seconds() -> Option<u64> {
    std::env::var("SOAK_SRT_SECS").ok().map(|text| text.parse().expect("seconds"))
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_by_srt_cost_no_more_and_no_more() {
    let soak = seconds();
    let server = ServerOptions::new().set("live.linger", "1s").start();
    let creator = server.account("creator").await;
    let idle = Held::of(&server).await;
    let mut lives: Vec<Value> = Vec::new();
    for number in 0..if soak.is_some() { 20 } else { 6 } {
        let title = format!("Camera {number}");
        lives.push(make(&creator, json!({"title": title, "archive": false, "dvr_window": 30})).await);
    }
    let publishers: Vec<Publisher> = lives.iter().map(|live| publisher(text(live, "/ingest/srt"))).collect();
    for live in &lives {
        in_state(&creator, live, "live").await;
    }
    if let Some(seconds) = soak {
        tokio::time::sleep(SETTLED).await;
        let settled = Held::of(&server).await;
        let mut last = settled;
        for _ in 0..seconds.saturating_sub(SETTLED.as_secs()).div_ceil(30) {
            tokio::time::sleep(Duration::from_secs(30)).await;
            last = Held::of(&server).await;
            eprintln!("{last:?}");
        }
        assert!(last.is_about(&settled), "{settled:?}, and then {last:?}");
    }
    let busy = Held::of(&server).await;
    drop(publishers);
    for live in &lives {
        let end = creator.request(Method::POST, &format!("/api/v1/live/{}/end", text(live, "/id")));
        creator.send(end).await.expect("its end");
    }
    assert!(busy.tasks >= idle.tasks + 2 * lives.len() as u64, "{idle:?}, and then {busy:?}");
    // Memory that was given back may stay with the process, as do the workers that took pictures, and connections of this client.
    let tasks_max = idle.tasks + busy.tasks.saturating_sub(idle.tasks) / 2 + 6;
    let is_back = |held: &Held| held.tasks <= tasks_max && held.files <= idle.files + GROWTH_MAX;
    let last = until("tasks and files to be given back", 2 * PATIENCE, || async {
        Some(Held::of(&server).await).filter(is_back)
    });
    eprintln!("{idle:?}, {busy:?}, and in the end {:?}", last.await);
}
