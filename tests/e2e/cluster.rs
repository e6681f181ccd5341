//! Several nodes as one.
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Method;
use serde_json::Value;

use crate::live::{ask, text};
use crate::support::clips::{half_minute_720p, standard};
use crate::support::cluster::Cluster;
use crate::support::server::{PASSWORD, Server};
use crate::support::tools::{ffmpeg_complaints, until};
use crate::uploads::{VERDICT_WITHIN, create, manifest_url, playable};
use playhouse::cli::client::Client;

const PATIENCE: Duration = Duration::from_secs(60);

async fn signed_in(node: &Server) -> Client {
    let mut client = node.client();
    client.login("creator", PASSWORD).await.expect("a sign-in");
    client
}

/// The same path at another node.
fn at(node: &Server, url: &str) -> String {
    let path = url.split_once("/api/").map(|(_, path)| path).expect("an API path");
    format!("{}/api/{path}", node.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_answers_and_one_that_dies_is_missed_soon() {
    let mut cluster = Cluster::start(3, |options| options.set("transcode.rungs", "[90]")).await;
    let first = cluster.nodes[0].account("creator").await;
    let mut clients = vec![first];
    for node in &cluster.nodes[1..] {
        clients.push(signed_in(node).await);
    }
    // Each chunk of an upload by another node.
    let bytes = Bytes::from(std::fs::read(half_minute_720p()).expect("a clip"));
    let upload = create(&clients[0], &half_minute_720p()).await;
    let mut offset = 0;
    for round in 0.. {
        let (client, node) = (&clients[round % 3], &cluster.nodes[round % 3]);
        let url = at(node, &upload.url);
        assert_eq!(client.upload_offset(&url).await.expect("an offset"), offset as u64, "round {round}");
        let end = (offset + 1_000_000).min(bytes.len());
        offset = client.append(&url, offset as u64, bytes.slice(offset..end)).await.expect("an append") as usize;
        if offset == bytes.len() {
            break;
        }
    }
    for (client, node) in clients.iter().zip(&cluster.nodes) {
        let video = client.wait_until_playable(&upload.video_id, VERDICT_WITHIN).await.expect("a video");
        assert_eq!(ffmpeg_complaints(&manifest_url(client, &video)), "", "{}", node.url());
    }
    watch_through_all(&clients).await;
    // What one changes, the others know within a second.
    let path = format!("/api/v1/videos/{}", upload.video_id);
    let video = clients[1].video(&upload.video_id).await.expect("the video");
    let manifests: Vec<String> = clients.iter().map(|client| manifest_url(client, &video)).collect();
    let is_closed = async |url: &String| reqwest::get(url).await.expect("an answer").status() == 404;
    let change = clients[2].request(Method::PATCH, &path).json(&serde_json::json!({"privacy": "private"}));
    ask(&clients[2], change).await;
    let closed = Instant::now();
    for url in &manifests {
        until("a private video to be closed", PATIENCE, || async { is_closed(url).await.then_some(()) }).await;
    }
    assert!(closed.elapsed() < Duration::from_secs(1), "{:?}", closed.elapsed());

    let killed = Instant::now();
    cluster.nodes[2].kill9();
    cluster.until_all_know(2).await;
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    playable(&clients[0], &standard()).await;
    cluster.nodes[2].restart();
    cluster.until_all_know(3).await;
    let videos = ask(&clients[1], clients[1].request(Method::GET, "/api/v1/videos?owner=me")).await;
    assert_eq!(videos["data"].as_array().map(Vec::len), Some(3));
    let stopped = cluster.nodes[1].stop();
    assert!(stopped.success(), "{stopped}");
    cluster.until_all_know(2).await;
}

/// One viewer whose beacons come to every node is one session, and one view.
async fn watch_through_all(clients: &[Client]) {
    let video = playable(&clients[1], &standard()).await;
    let video_id = text(&video, "/id");
    let path = format!("/api/v1/videos/{video_id}");
    let opened = ask(&clients[0], clients[0].request(Method::POST, &format!("{path}/playback"))).await;
    for (beat, client) in clients.iter().cycle().take(6).enumerate() {
        let events = if beat == 0 { vec![serde_json::json!({"type": "play"})] } else { Vec::new() };
        let body = serde_json::json!({
            "session": opened["session"], "seq": beat + 1, "progress_sec": beat as f64 * 2.0, "events": events,
        });
        let sent = client.send(client.request(Method::POST, &format!("{path}/heartbeat")).json(&body)).await;
        assert_eq!(sent.expect("a beacon").status(), 204, "beacon {beat}");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    for client in clients {
        until("one view", PATIENCE, || async { (client.video(video_id).await.ok()?["view_count"] == 1).then_some(()) })
            .await;
    }
}

/// The node that works on a video dies: another one takes the video up.
#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_elsewhere_when_its_node_dies() {
    let mut cluster =
        Cluster::start(3, |options| options.set("transcode.rungs", "[240, 144]").set("janitor.interval", "1s")).await;
    let creator = cluster.nodes[0].account("creator").await;
    let upload = create(&creator, &half_minute_720p()).await;
    let bytes = Bytes::from(std::fs::read(half_minute_720p()).expect("a clip"));
    creator.append(&upload.url, 0, bytes).await.expect("an append");
    let works =
        |node: &Server| node.log_text().contains(&format!("attempt at unit ended video.id={}", upload.video_id));
    let busy = until("a node to work", VERDICT_WITHIN, || async { cluster.nodes.iter().position(&works) }).await;
    cluster.nodes[busy].kill9();
    let other = cluster.nodes.iter().position(Server::is_running).expect("another node");
    let client = signed_in(&cluster.nodes[other]).await;
    let video: Value = until("all its rungs", VERDICT_WITHIN, || async {
        client.video(&upload.video_id).await.ok().filter(|video| video["status"] == "ready")
    })
    .await;
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "");
}
