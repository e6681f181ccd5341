//! Ladders made by a server whose life is hard: killed, and its workers killed, in the middle.
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use playhouse::cli::client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::Value;

use crate::kill::{from_environment, signed_in};
use crate::support::clips::Recipe;
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::{ffmpeg_complaints, ffprobe, until};
use crate::uploads::{manifest_url, upload};

/// Longest time for a small ladder on a machine that does other things as well.
const READY_WITHIN: Duration = Duration::from_secs(240);
/// Kills of each kind when `SOAK_KILLS` does not say otherwise.
const KILLS: u64 = 3;
/// Pictures and chunks of the clip: six, the last three of which are halved.
const FRAMES: u64 = 300;
const CHUNKS: usize = 9;

fn clip() -> PathBuf {
    let args = "-f lavfi -i testsrc2=size=400x300:rate=25:duration=12 -c:v libx265 -preset ultrafast -x265-params \
        log-level=none:keyint=25";
    Recipe { name: "ladder-hevc.mp4", args }.make()
}

fn options() -> ServerOptions {
    ServerOptions::new()
        .with_busy_janitor()
        .set("media.segment_duration", "1s")
        .set("transcode.chunk_duration", "2s")
        .set("transcode.preset", "ultrafast")
        .set("workers.attempts_max", "20")
        .set("workers.nice", "0")
}

/// Process ids of a server's workers.
pub(crate) fn workers(server: &Server) -> Vec<i32> {
    let pid = server.pid();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    children.flat_map(|ids| ids.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<i32>>()).collect()
}

async fn status(client: &Client, id: &str) -> Value {
    client.video(id).await.expect("the video's record")
}

#[tokio::test(flavor = "multi_thread")]
async fn ladders_survive_kills_of_the_server_and_of_workers() {
    let kills = from_environment("SOAK_KILLS", KILLS);
    let seed = from_environment("SOAK_SEED", 1);
    eprintln!("{kills} kills of each kind, seed {seed} (SOAK_KILLS, SOAK_SEED)");
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = options().start();
    let mut client = server.account("creator").await;
    let id = upload(&client, &clip()).await;
    for round in 1..=kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..2500))).await;
        let found = workers(&server);
        if let Some(worker) = found.get(random.random_range(0..found.len().max(1))) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(*worker), Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(200..2500))).await;
        let before = status(&client, &id).await;
        server.kill9();
        server.restart();
        client = signed_in(&server).await;
        eprintln!("round {round}: killed at {} {}", before["status"], before["progress"]);
    }
    let video = until("the ladder", READY_WITHIN, || async {
        let video = status(&client, &id).await;
        ["ready", "failed"].contains(&video["status"].as_str()?).then_some(video)
    })
    .await;
    assert_eq!(video["status"], "ready", "{video}");
    let manifest = manifest_url(&client, &video);
    assert_eq!(ffmpeg_complaints(&manifest), "");
    let renditions = video["renditions"].as_array().expect("renditions");
    assert_eq!(renditions.len(), 3, "{video}");
    for rendition in renditions {
        let name = rendition["name"].as_str().expect("a name");
        let media = manifest.replace("master.m3u8", &format!("{name}/media.m3u8"));
        let counted = ffprobe(&media, &["-count_frames", "-show_entries", "stream=nb_read_frames"]);
        assert_eq!(counted["streams"][0]["nb_read_frames"], FRAMES.to_string(), "{name}: {counted}");
        let prefix = format!("/{name}-");
        let spans = server.blobs().into_iter().filter(|blob| blob.contains(&prefix) && blob.ends_with(".mp4"));
        assert_eq!(spans.count(), CHUNKS, "{name}: nothing doubled, nothing missing");
    }
    client.send(client.request(Method::DELETE, &format!("/api/v1/videos/{id}"))).await.expect("a deletion");
    until("the janitor to leave no file", Duration::from_secs(30), || async {
        server.blobs().is_empty().then_some(())
    })
    .await;
}
