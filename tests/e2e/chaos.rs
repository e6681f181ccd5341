//! Three nodes, and whatever can happen to them and to what they store into, at times drawn by a seed.
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::buckets::append;
use crate::kill::from_environment;
use crate::live::{ask, text};
use crate::support::clips::{half_minute_720p, two_minutes_720p};
use crate::support::cluster::Cluster;
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::{ffmpeg_complaints, sha256, until};
use crate::uploads::{VERDICT_WITHIN, create, manifest_url};
use playhouse::cli::client::Client;

/// Longest wait for a cluster that has lost something to answer again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Rounds, and the seed of the first one.
fn rounds() -> std::ops::Range<u64> {
    let rounds = from_environment("SOAK_ROUNDS", 1);
    let seed = from_environment("SOAK_SEED", 1);
    eprintln!("{rounds} rounds from seed {seed} (SOAK_ROUNDS, SOAK_SEED)");
    seed..seed + rounds
}

/// A cluster to which things happen.
struct Chaos {
    cluster: Cluster,
    draw: StdRng,
    token: String,
    killed: Option<usize>,
}

impl Chaos {
    async fn start(seed: u64, rungs: &str) -> Self {
        eprintln!("seed {seed}");
        let options = |options: ServerOptions| {
            options
                .set("transcode.rungs", rungs)
                .set("janitor.interval", "1s")
                .set("blobs.retry_timeout", "2s")
                .set("blobs.stall_timeout", "2s")
        };
        let cluster = Cluster::start(3, options).await;
        let creator = cluster.nodes[0].account("creator").await;
        let token = creator.token().expect("a token").to_owned();
        Self { cluster, draw: StdRng::seed_from_u64(seed), token, killed: None }
    }

    /// One of the nodes that run.
    fn any(&mut self) -> &Server {
        let running: Vec<usize> = (0..3).filter(|index| self.cluster.nodes[*index].is_running()).collect();
        let drawn = running[self.draw.random_range(0..running.len())];
        &self.cluster.nodes[drawn]
    }

    /// Asks one of them.
    fn client(&mut self) -> Client {
        let token = self.token.clone();
        self.any().client().with_token(&token)
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.draw.random_range(millis))).await;
    }

    /// A node dies, or one that had died comes back.
    async fn kill_or_restart(&mut self) {
        match self.killed.take() {
            Some(index) => {
                eprintln!("node {} starts again", index + 1);
                self.cluster.nodes[index].restart();
                self.cluster.until_all_know(3).await;
            }
            None => {
                let index = self.draw.random_range(0..3);
                eprintln!("node {} dies", index + 1);
                self.cluster.nodes[index].kill9();
                self.killed = Some(index);
            }
        }
    }

    /// The database or the buckets go away for a while.
    async fn restart_a_store(&mut self) {
        if self.draw.random_range(0..2) == 0 {
            eprintln!("the database restarts");
            self.cluster.database.stop();
            self.pause(100..1500).await;
            self.cluster.database.resume();
        } else {
            eprintln!("the buckets restart");
            self.cluster.buckets.stop();
            self.pause(100..1500).await;
            self.cluster.buckets.resume();
        }
    }

    async fn all_run(&mut self) {
        if self.killed.is_some() {
            self.kill_or_restart().await;
        }
    }
}

/// Bytes that the cluster says it has, once it says so.
async fn offset(chaos: &mut Chaos, id: &str) -> u64 {
    let path = format!("/api/v1/videos/upload/{id}");
    let begun = std::time::Instant::now();
    loop {
        let client = chaos.client();
        let answer = tokio::time::timeout(ANSWER_WITHIN, client.send(client.request(Method::GET, &path))).await;
        if let Ok(Ok(answer)) = answer
            && let Ok(told) = answer.json::<Value>().await
            && let Some(bytes) = told["bytes_uploaded"].as_u64()
        {
            return bytes;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody says how far the upload is");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Nothing that was acknowledged of an upload is lost, and no byte differs.
async fn an_upload(seed: u64) {
    let mut chaos = Chaos::start(seed, "[90]").await;
    let clip = half_minute_720p();
    let bytes = Bytes::from(std::fs::read(&clip).expect("the file"));
    let body = json!({
        "title": "a clip", "file_size": bytes.len(), "file_type": "video/mp4", "digest": format!("sha256:{}", sha256(&clip)),
    });
    let client = chaos.client();
    let made = ask(&client, client.request(Method::POST, "/api/v1/videos/upload/initiate").json(&body)).await;
    let id = text(&made, "/upload_id").to_owned();
    let mut acknowledged = 0;
    while acknowledged < bytes.len() as u64 {
        let chunk = chaos.draw.random_range(50_000..400_000).min(bytes.len() - acknowledged as usize);
        let piece = bytes.slice(acknowledged as usize..acknowledged as usize + chunk);
        let client = chaos.client();
        let (name, total, from) = (id.clone(), bytes.len(), acknowledged);
        let sending = tokio::spawn(async move {
            let sent = tokio::time::timeout(ANSWER_WITHIN, append(&client, &name, from, piece, total)).await;
            sent.ok()?.ok()?["bytes_uploaded"].as_u64()
        });
        match chaos.draw.random_range(0..8) {
            0 | 1 => {
                chaos.pause(0..40).await;
                chaos.kill_or_restart().await;
            }
            2 => chaos.restart_a_store().await,
            _ => {}
        }
        let told = sending.await.expect("the sender");
        let found = match told {
            Some(told) => told,
            None => offset(&mut chaos, &id).await,
        };
        assert!(found >= acknowledged, "seed {seed}: {found} of {acknowledged} acknowledged bytes are there");
        acknowledged = found;
    }
    chaos.all_run().await;
    let client = chaos.client();
    let complete = client.request(Method::POST, &format!("/api/v1/videos/upload/{id}/complete")).json(&json!({}));
    let video_id = text(&ask(&client, complete).await, "/video_id").to_owned();
    // Its digest is the right one, or it would have failed.
    let video = client.wait_until_playable(&video_id, VERDICT_WITHIN).await.expect("a video");
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "", "seed {seed}");
}

/// A ladder is made whole, whichever nodes die over it.
async fn a_ladder(seed: u64) {
    let mut chaos = Chaos::start(seed, "[144, 90]").await;
    let dir = tempfile::tempdir().expect("a directory");
    let clip = two_minutes_720p(dir.path());
    let client = chaos.client();
    let upload = create(&client, &clip).await;
    client.append(&upload.url, 0, std::fs::read(&clip).expect("a clip").into()).await.expect("an append");
    for _ in 0..3 {
        chaos.pause(300..3000).await;
        chaos.kill_or_restart().await;
        if chaos.draw.random_range(0..3) == 0 {
            chaos.restart_a_store().await;
        }
    }
    chaos.all_run().await;
    let client = chaos.client();
    let video: Value = until("all its rungs", VERDICT_WITHIN, || async {
        client.video(&upload.video_id).await.ok().filter(|video| video["status"] == "ready")
    })
    .await;
    let renditions = video["renditions"].as_array().expect("renditions");
    assert!(renditions.len() >= 3 && renditions.iter().all(|it| it["state"] == "ready"), "seed {seed}: {renditions:?}");
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "", "seed {seed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_survive_whatever_happens() {
    for seed in rounds() {
        an_upload(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ladders_survive_whatever_happens() {
    for seed in rounds() {
        a_ladder(seed).await;
    }
}
