//! Many publishers and viewers at once, for long: what they cost does not grow, and is given back when they leave.
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use playhouse::cli::client::Client;
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
    looped(Recipe { name: "soak.ts", args }, ("mpegts", url))
}

fn looped(recipe: Recipe, (format, url): (&str, &str)) -> Publisher {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(recipe.make());
    ffmpeg.args(["-c", "copy", "-f", format, url]);
    Publisher::run(ffmpeg)
}

fn seconds(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("seconds"))
}

/// What a server has once it has the size that it will have, and whether that stays so.
async fn stays(server: &Server, seconds: u64) {
    tokio::time::sleep(SETTLED).await;
    let settled = Held::of(server).await;
    let mut last = settled;
    for _ in 0..seconds.saturating_sub(SETTLED.as_secs()).div_ceil(30) {
        tokio::time::sleep(Duration::from_secs(30)).await;
        last = Held::of(server).await;
        eprintln!("{last:?}");
    }
    assert!(last.is_about(&settled), "{settled:?}, and then {last:?}");
}

async fn end_all(creator: &Client, lives: &[Value]) {
    for live in lives {
        let end = creator.request(Method::POST, &format!("/api/v1/live/{}/end", text(live, "/id")));
        creator.send(end).await.expect("its end");
    }
}

/// What a server has held beyond what it held idle is given back. Memory may stay with the process, as do the workers that took
/// pictures, and connections of this client.
async fn is_given_back(server: &Server, (idle, busy): (Held, Held)) {
    let tasks_max = idle.tasks + busy.tasks.saturating_sub(idle.tasks) / 2 + 6;
    let is_back = |held: &Held| held.tasks <= tasks_max && held.files <= idle.files + GROWTH_MAX;
    let last = until("tasks and files to be given back", 2 * PATIENCE, || async {
        Some(Held::of(server).await).filter(is_back)
    });
    eprintln!("{idle:?}, {busy:?}, and in the end {:?}", last.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_by_srt_cost_no_more_and_no_more() {
    let soak = seconds("SOAK_SRT_SECS");
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
        stays(&server, seconds).await;
    }
    let busy = Held::of(&server).await;
    drop(publishers);
    end_all(&creator, &lives).await;
    assert!(busy.tasks >= idle.tasks + 2 * lives.len() as u64, "{idle:?}, and then {busy:?}");
    is_given_back(&server, (idle, busy)).await;
}

/// `playhouse bench whep`; ended by its process id.
struct Viewers(Child);

impl Viewers {
    fn start(url: &str, count: usize, seconds: u64) -> Self {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_playhouse"));
        bench.args([
            "bench",
            "whep",
            "--url",
            url,
            "--count",
            &count.to_string(),
            "--duration",
            &format!("{seconds}s"),
        ]);
        let bench = bench.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Self(bench.spawn().expect("viewers"))
    }

    /// What they saw; panics when they did not see it all.
    async fn told(mut self) -> String {
        let out = self.0.stdout.take().expect("what they say");
        let text =
            tokio::task::spawn_blocking(|| std::io::read_to_string(out).expect("text")).await.expect("their end");
        let status = self.0.wait().expect("their status");
        let told: Vec<&str> = text.lines().rev().take(3).collect();
        assert!(status.success(), "{text}");
        told.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processor time that a process has used, and bytes that went to viewers by WebRTC.
async fn spent(server: &Server) -> (Duration, u64) {
    let told = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("its statistics");
    let fields: Vec<&str> = told.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum();
    let metrics = reqwest::get(format!("{}/metrics", server.url())).await.expect("metrics").text().await.expect("text");
    let sent =
        metrics.lines().find_map(|line| line.strip_prefix("playhouse_live_egress_bytes_total{protocol=\"whep\"} "));
    (Duration::from_millis(ticks * 10), sent.map_or(0, |sent| sent.parse().expect("bytes")))
}

/// Publishers by WHIP and SRT, which another server is: it pushes one stream to all of them.
#[tokio::test(flavor = "multi_thread")]
async fn publishers_by_whip_and_viewers_by_whep_cost_no_more_and_no_more() {
    let soak = seconds("SOAK_WEBRTC_SECS");
    let (each, viewers, watched) = soak.map_or((3, 20, 8), |seconds| (20, 200, seconds + 30));
    let options = ServerOptions::new().set("live.push_to_private", "true").set("live.pushes_max", "100");
    let (sender, server) = (options.start(), ServerOptions::new().set("live.linger", "1s").start());
    let (director, creator) = (sender.account("director").await, server.account("creator").await);
    let source = make(&director, json!({"title": "Source", "archive": false, "ladder": "source"})).await;
    let idle = Held::of(&server).await;
    let mut lives: Vec<Value> = Vec::new();
    for number in 0..2 * each {
        let wanted =
            json!({"title": format!("Camera {number}"), "archive": false, "dvr_window": 30, "ladder": "source"});
        let live = make(&creator, wanted).await;
        let to = match number % 2 {
            0 => text(&live, "/ingest/whip").replace("http://", "whip://"),
            _ => text(&live, "/ingest/srt").to_owned(),
        };
        let path = format!("/api/v1/live/{}/pushes", text(&source, "/id"));
        director.send(director.request(Method::POST, &path).json(&json!({"url": to}))).await.expect("a push");
        lives.push(live);
    }
    let args = "{pictures} {sound} -c:v libx264 -preset veryfast -pix_fmt yuv420p -g 50 -bf 0 -b:v 500k {aac} -f flv";
    let publisher = looped(Recipe { name: "soak.flv", args }, ("flv", text(&source, "/ingest/rtmp")));
    for live in &lives {
        in_state(&creator, live, "live").await;
    }
    let audience = lives[..2].iter().map(|live| Viewers::start(text(live, "/playback/whep"), viewers / 2, watched));
    let audience: Vec<Viewers> = audience.collect();
    let (began, before) = (Instant::now(), spent(&server).await);
    if let Some(seconds) = soak {
        stays(&server, seconds).await;
    }
    let busy = Held::of(&server).await;
    let mut told = Vec::new();
    for viewers in audience {
        told.push(viewers.told().await);
    }
    let (after, time) = (spent(&server).await, began.elapsed());
    let (cores, bits) = ((after.0 - before.0).as_secs_f64(), (after.1 - before.1) as f64 * 8.0);
    eprintln!("{}", told.join("\n"));
    eprintln!(
        "{viewers} viewers and {} publishers: {:.3} Gb/s to viewers, {:.2} cores, {:.2} Gb/s per core",
        lives.len(),
        bits / time.as_secs_f64() / 1e9,
        cores / time.as_secs_f64(),
        bits / cores.max(0.01) / 1e9
    );
    assert!(bits > 0.0 && told.iter().all(|told| told.contains(" 0 viewers gave up")), "{told:?}");
    drop(publisher);
    end_all(&creator, &lives).await;
    is_given_back(&server, (idle, busy)).await;
}
