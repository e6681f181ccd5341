//! Blobs in buckets.
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use crate::kill::{delete, signed_in};
use crate::live::{Publisher, ask, decoded_secs, end, in_state, make, text};
use crate::support::clips::{half_minute_720p, standard};
use crate::support::s3::S3;
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::{ffmpeg_complaints, sha256, until};
use crate::uploads::{VERDICT_WITHIN, create, manifest_url};
use playhouse::cli::client::Client;

/// Longest wait for what takes moments.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(buckets: &S3) -> ServerOptions {
    let options =
        ServerOptions::new().with_busy_janitor().set("transcode.rungs", "[90]").set("blobs.retry_timeout", "2s");
    buckets.settings().into_iter().fold(options, |options, (key, value)| options.set(key, &value))
}

async fn offset(client: &Client, id: &str) -> u64 {
    let status = client.request(Method::GET, &format!("/api/v1/videos/upload/{id}"));
    ask(client, status).await["bytes_uploaded"].as_u64().expect("an offset")
}

pub(crate) async fn append(client: &Client, id: &str, from: u64, piece: Bytes, total: usize) -> Result<Value, String> {
    let range = format!("bytes {from}-{}/{total}", from + piece.len() as u64 - 1);
    let request = client.request(Method::PUT, &format!("/api/v1/videos/upload/{id}/chunk"));
    let sent = client.send(request.header("Content-Range", range).body(piece)).await;
    sent.map_err(|error| error.to_string())?.json().await.map_err(|error| error.to_string())
}

/// Uploads in chunks of this size; the server is killed in the middle of one.
async fn upload_over_a_kill(server: &mut Server, client: Client, (file, chunk): (&std::path::Path, usize)) -> String {
    let bytes = Bytes::from(std::fs::read(file).expect("the file"));
    let body = json!({
        "title": "a clip", "file_size": bytes.len(), "file_type": "video/mp4", "digest": format!("sha256:{}", sha256(file)),
    });
    let made = ask(&client, client.request(Method::POST, "/api/v1/videos/upload/initiate").json(&body)).await;
    let id = text(&made, "/upload_id").to_owned();
    let mut at = 0;
    while at < bytes.len() / 2 {
        let end = (at + chunk).min(bytes.len());
        append(&client, &id, at as u64, bytes.slice(at..end), bytes.len()).await.expect("a chunk");
        at = end;
    }
    let cut = tokio::spawn({
        let (client, id, bytes) = (client.clone(), id.clone(), bytes.clone());
        async move { append(&client, &id, at as u64, bytes.slice(at..), bytes.len()).await }
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    server.kill9();
    let outcome = cut.await.expect("the sender");
    server.restart();
    let client = signed_in(server).await;
    let kept = offset(&client, &id).await;
    assert!(kept >= at as u64, "{kept} of {at} acknowledged bytes are there");
    if outcome.is_err() || kept < bytes.len() as u64 {
        append(&client, &id, kept, bytes.slice(kept as usize..), bytes.len()).await.expect("the rest");
    }
    let complete = client.request(Method::POST, &format!("/api/v1/videos/upload/{id}/complete"));
    text(&ask(&client, complete.json(&json!({}))).await, "/video_id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn videos_live_in_buckets() {
    let mut buckets = S3::start();
    let mut server = options(&buckets).start();
    let client = server.account("creator").await;
    let clip = half_minute_720p();
    let video_id = upload_over_a_kill(&mut server, client, (&clip, 300_000)).await;
    let client = signed_in(&server).await;
    // The digest of what was sent was right, or it would have failed.
    let video = client.wait_until_playable(&video_id, VERDICT_WITHIN).await.expect("a video");
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "");
    until("its rungs", VERDICT_WITHIN, || async {
        (client.video(&video_id).await.ok()?["status"] == "ready").then_some(())
    })
    .await;
    let video = client.video(&video_id).await.expect("the video");
    let rungs: Vec<&str> =
        video["renditions"].as_array().expect("a list").iter().map(|one| text(one, "/name")).collect();
    assert!(rungs.iter().any(|name| name.starts_with("v90")), "{rungs:?}");
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "");
    assert!(server.blobs().is_empty(), "{:?} are on the disk", server.blobs());
    let (raw, made) = (buckets.objects("raw"), buckets.objects("made"));
    assert!(!raw.is_empty() && raw.len() < 20 && made.len() > 5, "{raw:?} {made:?}");

    buckets.stop();
    let waiting = create(&client, &standard()).await;
    let bytes = Bytes::from(std::fs::read(standard()).expect("the file"));
    let refused = client.append(&waiting.url, 0, bytes.clone()).await.expect_err("there is nowhere to put it");
    assert!(refused.to_string().contains("503"), "{refused}");
    buckets.resume();
    assert_eq!(client.upload_offset(&waiting.url).await.expect("an offset"), 0);
    client.append(&waiting.url, 0, bytes).await.expect("all of it");
    client.wait_until_playable(&waiting.video_id, VERDICT_WITHIN).await.expect("another video");
    for video in
        ask(&client, client.request(Method::GET, "/api/v1/videos?owner=me")).await["data"].as_array().expect("a list")
    {
        delete(&client, text(video, "/id")).await;
    }
    until("empty buckets", PATIENCE, || async {
        (buckets.objects("raw").is_empty() && buckets.objects("made").is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broadcasts_are_recorded_into_buckets() {
    let buckets = S3::start();
    let mut server = options(&buckets).start();
    let client = server.account("creator").await;
    let live = make(&client, json!({"title": "Premiere"})).await;
    let publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&client, &live, "live").await;
    until("spans in the bucket", PATIENCE, || async {
        buckets.objects("made").iter().any(|name| name.contains("v0")).then_some(())
    })
    .await;
    drop(publisher);
    server.kill9();
    server.restart();
    let client = signed_in(&server).await;
    end(&client, &live).await;
    let ended = in_state(&client, &live, "ended").await;
    let video = client.wait_until_playable(text(&ended, "/video_id"), VERDICT_WITHIN).await.expect("the recording");
    let secs = decoded_secs(&manifest_url(&client, &video));
    assert!(secs > 10.0, "{secs}");
}
