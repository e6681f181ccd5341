//! A ladder made by the whole server: when its first rung and all of it are there after the last uploaded byte of ten minutes
//! of 720p, and what is left for viewers while it is made.
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
use std::time::{Duration, Instant};

use playhouse::cli::client::Client;
use reqwest::Url;
use support::clips::ten_minutes_720p;
use support::server::Server;
use support::tools::until;
use wrk::{CONNECTIONS, load, median};

/// Rounds of load of each kind, with a ladder being made and without.
const ROUNDS: usize = 5;
/// Length of one round.
const ROUND_SECONDS: u32 = 4;
/// What the rung that is made before the others has in its playlist's path: the lowest useful one.
const FIRST_RUNG: &str = "/v360-";
/// Longest wait for a ladder: four times the target.
const PATIENCE: Duration = Duration::from_secs(1200);

#[tokio::main]
async fn main() {
    let clip = ten_minutes_720p();
    let server = Server::start();
    let client = server.account("creator").await;
    let size = std::fs::metadata(&clip).expect("the clip").len() as f64 / 1e6;
    println!("ladder of the whole server: ten minutes of 720p, {size:.0} MB");
    let watched = Watched::new(&server, &client).await;
    let idle = watched.view().await;
    println!("  idle:      {idle}");
    let (id, first, ready) = make(&client, &clip).await;
    println!(
        "  first rung below the source playable after {first:.1} s (target 10), ready after {ready:.0} s (target 300)"
    );
    delete(&client, &id).await;
    let (id, ..) = first_rung(&client, &clip).await;
    let busy = watched.view().await;
    let video = client.video(&id).await.expect("the video's record");
    assert_ne!(video["status"], "ready", "the ladder was made before the load ended");
    println!("  encoding:  {busy}, {} % of the ladder made", video["progress"]);
    println!("  delivery while encoding to idle: {:.2} (target 0.70)", busy.delivery / idle.delivery);
    println!("  p99 of metadata while encoding: {:.1} ms (target 50)", busy.metadata_p99);
}

/// Uploads the clip and waits until it is ready; its id, and the seconds from the last byte until its first rung and all of it
/// were there.
async fn make(client: &Client, clip: &Path) -> (String, f64, f64) {
    let (id, first, started) = first_rung(client, clip).await;
    viewing::ready(client, &id, PATIENCE).await;
    (id, first, started.elapsed().as_secs_f64())
}

/// Uploads the clip and waits until the first segment of a rung below the source can be had; the video's id, the seconds
/// from the last byte until then, and when that was.
async fn first_rung(client: &Client, clip: &Path) -> (String, f64, Instant) {
    let id = uploads::upload(client, clip).await;
    let started = Instant::now();
    let video = client.wait_until_playable(&id, PATIENCE).await.expect("a playable video");
    let manifest = Url::parse(&uploads::manifest_url(client, &video)).expect("a URL");
    let is_rung = |uri: &Url| uri.path().contains(FIRST_RUNG);
    let rung =
        until("a rung", PATIENCE, || async { viewing::uris_in(&manifest).await.into_iter().find(is_rung) }).await;
    let segment = viewing::uris_in(&rung).await.into_iter().next().expect("a segment");
    let response = reqwest::get(segment).await.expect("a segment").error_for_status().expect("a segment");
    assert!(!response.bytes().await.expect("its bytes").is_empty());
    (id, started.elapsed().as_secs_f64(), started)
}

async fn delete(client: &Client, id: &str) {
    let request = client.request(reqwest::Method::DELETE, &format!("{}/api/v1/videos/{id}", client.base()));
    client.send(request).await.expect("a deletion");
}

/// A video that others watch meanwhile.
struct Watched {
    url: String,
    segments: Vec<String>,
    metadata: [String; 1],
    scratch: tempfile::TempDir,
}

/// What they are given.
struct Given {
    /// MiB of segments per second.
    delivery: f64,
    /// Requests for metadata per second.
    metadata: f64,
    /// Milliseconds that 99 % of them took at most.
    metadata_p99: f64,
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "segments {:.0} MiB/s, metadata {:.0} requests/s with p99 {:.1} ms, {CONNECTIONS} connections each",
            self.delivery, self.metadata, self.metadata_p99
        )
    }
}

impl Watched {
    async fn new(server: &Server, client: &Client) -> Self {
        let video = uploads::playable(client, &viewing::MEBIBYTES.make()).await;
        let id = video["id"].as_str().expect("an id");
        viewing::ready(client, id, PATIENCE).await;
        let segments = viewing::segments(&uploads::manifest_url(client, &video)).await;
        Self {
            url: server.url(),
            segments: segments.iter().map(|uri| uri.path().to_owned()).collect(),
            metadata: [format!("/api/v1/videos/{id}")],
            scratch: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Medians of rounds in turn.
    async fn view(&self) -> Given {
        let run = |paths: &[String]| load(&self.url, paths, ROUND_SECONDS, self.scratch.path());
        let rounds: Vec<_> = (0..ROUNDS).map(|_| (run(&self.segments), run(&self.metadata))).collect();
        Given {
            delivery: median(rounds.iter().map(|(segments, _)| segments.bytes_per_sec / f64::from(1 << 20)).collect()),
            metadata: median(rounds.iter().map(|(_, metadata)| metadata.requests_per_sec).collect()),
            metadata_p99: median(rounds.iter().map(|(_, metadata)| metadata.p99.as_secs_f64() * 1e3).collect()),
        }
    }
}
