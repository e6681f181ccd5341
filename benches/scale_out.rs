//! What more nodes bring: a ladder on one, two and three nodes of half a core each, and segments delivered by them; and what an edge
//! costs who asks for what it does not have.
//!
//! Shares of the processor are cgroup quotas (version 1 or 2), which this has to be allowed to make.
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/support/all.rs"]
mod support;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/e2e/uploads.rs"]
mod uploads;
#[allow(dead_code, reason = "other benches use the rest of it")]
#[path = "support/viewing.rs"]
mod viewing;
#[allow(dead_code, reason = "other benches use the rest of it")]
#[path = "support/wrk.rs"]
mod wrk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use playhouse::cli::client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Url;
use reqwest::header::RANGE;
use serde_json::Value;
use support::clips::half_minute_720p;
use support::cluster::{Cluster, Wiring};
use support::proxy::Line;
use support::server::Server;
use support::tools::{run, until};

/// Share of one core that a node has to encode, and to deliver: who fetches needs the rest.
const CORES: f64 = 0.5;
const DELIVERY_CORES: f64 = 0.1;
const PERIOD_MICROS: u64 = 100_000;
/// Longest wait for a ladder.
const PATIENCE: Duration = Duration::from_secs(1200);
/// A store that is some way off.
const FAR: Line = Line { bits_per_sec: 10_000_000_000, round_trip: Duration::from_millis(50) };
/// Viewers who ask for the same cold segment at once.
const AT_ONCE: usize = 1000;
/// Requests of the Zipf load.
const ZIPF_REQUESTS: usize = 5000;

/// A share of the processor, for the processes of one node.
struct Share {
    dir: PathBuf,
    is_first: bool,
}

impl Share {
    fn new(name: &str) -> Option<Self> {
        let (first, second) = (Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup"));
        let is_first = first.join("cpu.cfs_quota_us").exists() || first.join("cpu.shares").exists();
        let dir =
            (if is_first { first } else { second }).join(format!("playhouse-bench-{}-{name}", std::process::id()));
        std::fs::create_dir(&dir).ok()?;
        let share = Self { dir, is_first };
        share.set(CORES).ok()?;
        Some(share)
    }

    fn set(&self, cores: f64) -> std::io::Result<()> {
        let quota = (cores * PERIOD_MICROS as f64) as u64;
        let (file, text) = match self.is_first {
            true => ("cpu.cfs_quota_us", quota.to_string()),
            false => ("cpu.max", format!("{quota} {PERIOD_MICROS}")),
        };
        std::fs::write(self.dir.join(file), text)
    }

    /// Takes a node's processes in, workers and all.
    fn take(&self, node: &Server) {
        let mut found = vec![node.pid()];
        let mut next = 0;
        while let Some(pid) = found.get(next).copied() {
            for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
                found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
            next += 1;
        }
        for pid in found {
            // One that has ended meanwhile needs no share.
            let _ = std::fs::write(self.dir.join("cgroup.procs"), pid.to_string());
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.dir);
    }
}

struct Nodes {
    cluster: Cluster,
    creator: Client,
    shares: Vec<Share>,
}

/// So many nodes, each with its share.
async fn nodes(count: usize) -> Option<Nodes> {
    let cluster = Cluster::start(count, |options| {
        options.set("transcode.rungs", "[480, 360, 240]").set("workers.processes", "1").set("cluster.lease_term", "10s")
    })
    .await;
    let creator = cluster.nodes[0].account("creator").await;
    let mut shares = Vec::new();
    for (index, node) in cluster.nodes.iter().enumerate() {
        let share = Share::new(&format!("{count}-{index}"))?;
        share.take(node);
        shares.push(share);
    }
    Some(Nodes { cluster, creator, shares })
}

/// Seconds from the last byte of a minute of 720p until all of its ladder is there.
async fn ladder(nodes: &Nodes, clip: &Path) -> f64 {
    let id = uploads::upload(&nodes.creator, clip).await;
    let started = Instant::now();
    let creator = &nodes.creator;
    until("all renditions", PATIENCE, || async {
        let video = creator.video(&id).await.expect("the video's record");
        assert_ne!(video["status"], "failed", "{video}");
        // Besides the uploaded file itself.
        let renditions = video["renditions"].as_array().filter(|all| all.len() > 3)?;
        renditions.iter().all(|rendition| rendition["state"] == "ready").then_some(())
    })
    .await;
    let seconds = started.elapsed().as_secs_f64();
    viewing::ready(creator, &id, PATIENCE).await;
    seconds
}

/// Bytes per second of small parts of segments that viewers of all nodes get together: large ones cost who fetches as much as who
/// delivers.
async fn throughput(nodes: &Nodes, path: &str) -> f64 {
    let urls: Vec<String> = nodes.cluster.nodes.iter().map(|node| format!("{}{path}", node.url())).collect();
    for url in &urls {
        reqwest::get(url).await.expect("a segment").bytes().await.expect("its bytes");
    }
    let seconds = Duration::from_secs(10);
    let viewers = urls.iter().cycle().take(24).map(|url| {
        let url = url.clone();
        async move {
            let (client, started, mut bytes) = (reqwest::Client::new(), Instant::now(), 0);
            while started.elapsed() < seconds {
                let answer = client.get(&url).header(RANGE, "bytes=0-32767").send().await.expect("an answer");
                bytes += answer.bytes().await.expect("a segment").len();
            }
            bytes
        }
    });
    let all = futures::future::join_all(viewers).await;
    all.into_iter().sum::<usize>() as f64 / seconds.as_secs_f64()
}

/// Paths of all segments of a video.
async fn segments(client: &Client, id: &str) -> Vec<String> {
    let video: Value = client.video(id).await.expect("a video");
    let manifest = Url::parse(&uploads::manifest_url(client, &video)).expect("a URL");
    let mut found = Vec::new();
    for playlist in viewing::uris_in(&manifest).await {
        found.extend(viewing::uris_in(&playlist).await.iter().map(|uri| uri.path().to_owned()));
    }
    found
}

async fn scale(clip: &Path) {
    println!(
        "nodes of {CORES} cores each: a minute of 720p as a ladder of three; of {DELIVERY_CORES} cores: segments delivered"
    );
    let mut first: Option<(f64, f64)> = None;
    for count in 1..=3 {
        let Some(nodes) = nodes(count).await else {
            println!("  no cgroup can be made here: nothing can be said");
            return;
        };
        let seconds = ladder(&nodes, clip).await;
        let creator = &nodes.creator;
        let videos: Value = creator
            .send(creator.request(reqwest::Method::GET, "/api/v1/videos?owner=me"))
            .await
            .expect("an answer")
            .json()
            .await
            .expect("videos");
        let path = segments(creator, videos["data"][0]["id"].as_str().expect("an id")).await.remove(0);
        nodes.shares.iter().try_for_each(|share| share.set(DELIVERY_CORES)).expect("another share");
        let rate = throughput(&nodes, &path).await;
        let (one_seconds, one_rate) = *first.get_or_insert((seconds, rate));
        println!(
            "  {count}: ladder {seconds:.1} s, efficiency {:.2} (target 0.85); {:.0} MB/s, {:.2} × that of one",
            one_seconds / (seconds * count as f64),
            rate / 1e6,
            rate / one_rate
        );
    }
}

/// Milliseconds until the first byte, and until the last one.
async fn timed(client: &reqwest::Client, url: &str) -> (f64, f64) {
    let started = Instant::now();
    let answer = client.get(url).send().await.expect("an answer").error_for_status().expect("a segment");
    let first = started.elapsed();
    answer.bytes().await.expect("its bytes");
    (first.as_secs_f64() * 1e3, started.elapsed().as_secs_f64() * 1e3)
}

async fn edge(clip: &Path) {
    let options = |options: support::server::ServerOptions| {
        options.set("transcode.rungs", "[480, 360, 240, 144]").set("edge.look_ahead", "0")
    };
    let cluster = Cluster::start_over(3, Wiring { buckets: Some(FAR), ..Wiring::default() }, options).await;
    let creator = cluster.nodes[0].account("creator").await;
    let id = uploads::upload(&creator, clip).await;
    viewing::ready(&creator, &id, PATIENCE).await;
    let paths = segments(&creator, &id).await;
    let client = reqwest::Client::builder().pool_max_idle_per_host(AT_ONCE).build().expect("a client");
    let node = cluster.nodes[1].url();
    // What it takes to know the video, and connections.
    timed(&client, &format!("{node}{}", paths[0])).await;
    let warm = (0..AT_ONCE).map(|_| timed(&client, &node));
    futures::future::join_all(warm).await;
    let alone = timed(&client, &format!("{node}{}", paths[paths.len() - 1])).await.0;
    let cold = format!("{node}{}", paths[paths.len() - 2]);
    let mut firsts: Vec<f64> = futures::future::join_all((0..AT_ONCE).map(|_| timed(&client, &cold)))
        .await
        .into_iter()
        .map(|it| it.0)
        .collect();
    firsts.sort_by(f64::total_cmp);
    let warm = timed(&client, &cold).await.0;
    println!("an edge whose store is {} ms away", FAR.round_trip.as_millis());
    println!("  first byte of a cold segment: {alone:.0} ms for one viewer, of a warm one {warm:.1} ms");
    println!(
        "  {AT_ONCE} viewers at once for a cold one: p50 {:.0} ms, p99 {:.0} ms",
        firsts[AT_ONCE / 2],
        firsts[AT_ONCE * 99 / 100]
    );

    // The warm ones at once, for what of that is the load itself.
    let mut again: Vec<f64> = futures::future::join_all((0..AT_ONCE).map(|_| timed(&client, &cold)))
        .await
        .into_iter()
        .map(|it| it.0)
        .collect();
    again.sort_by(f64::total_cmp);
    println!("  the same again, warm: p50 {:.0} ms, p99 {:.0} ms", again[AT_ONCE / 2], again[AT_ONCE * 99 / 100]);

    let weights: Vec<f64> = (1..=paths.len()).map(|rank| 1.0 / rank as f64).collect();
    let whole: f64 = weights.iter().sum();
    let mut draw = StdRng::seed_from_u64(1);
    let mut results = HashMap::<String, usize>::new();
    let before = store_reads(&cluster);
    for _ in 0..ZIPF_REQUESTS {
        let mut at = draw.random_range(0.0..whole);
        let rank = weights
            .iter()
            .position(|weight| {
                at -= weight;
                at < 0.0
            })
            .unwrap_or(0);
        let node = &cluster.nodes[draw.random_range(0..3)];
        let answer = client.get(format!("{}{}", node.url(), paths[rank])).send().await.expect("an answer");
        let status = answer.headers()["cache-status"].to_str().expect("text");
        *results.entry(status.split_once("; ").expect("a result").1.to_owned()).or_default() += 1;
        answer.bytes().await.expect("its bytes");
    }
    let hits = results.get("hit").copied().unwrap_or(0);
    println!(
        "  {ZIPF_REQUESTS} requests for {} segments by Zipf at three nodes: {:.1} % hits (target 90), {} reads of the store",
        paths.len(),
        hits as f64 * 100.0 / ZIPF_REQUESTS as f64,
        store_reads(&cluster) - before
    );
}

fn store_reads(cluster: &Cluster) -> usize {
    cluster.line.as_ref().map_or(0, |line| line.asked().iter().filter(|line| line.starts_with("GET ")).count())
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let clip = dir.path().join("minute.mp4");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-stream_loop", "1", "-i"]).arg(half_minute_720p()).args(["-c", "copy"]).arg(&clip);
    run(&mut command);
    edge(&clip).await;
    scale(&clip).await;
}
