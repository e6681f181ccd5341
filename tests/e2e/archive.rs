//! Originals that are moved to an archive, and deleted there.
use std::path::Path;
use std::time::Duration;

use playhouse::cli::client::Client;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::kill::{delete, signed_in};
use crate::live::{ask, text};
use crate::support::clips::{Recipe, standard};
use crate::support::s3::S3;
use crate::support::server::ServerOptions;
use crate::support::tools::{ffmpeg_complaints, until};
use crate::uploads::{manifest_url, upload};

/// Longest wait for all that is made of a clip, on a loaded machine.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// Longest wait for what takes moments.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> ServerOptions {
    ServerOptions::new().with_busy_janitor().set("transcode.rungs", "[90]").set("blobs.originals_retention", "1s")
}

async fn ready(client: &Client, id: &str) -> Value {
    until("a video of which all is made", READY_WITHIN, || async {
        let video = client.video(id).await.expect("the video");
        assert_ne!(video["status"], "failed", "{video}");
        (video["status"] == "ready").then_some(video)
    })
    .await
}

async fn original(client: &Client, id: &str, state: &str) {
    until(&format!("an original to be {state}"), READY_WITHIN, || async {
        (client.video(id).await.ok()?["original"] == state).then_some(())
    })
    .await;
}

async fn picture_of(client: &Client, id: &str, secs: f64) {
    let path = format!("/api/v1/videos/{id}/thumbnail");
    let pictures = ask(client, client.request(Method::PUT, &path).json(&json!({ "time": secs }))).await;
    assert!(pictures.to_string().contains("custom"), "{pictures}");
}

fn files(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn originals_are_archived_whatever_happens_and_read_from_there() {
    let buckets = S3::start();
    let options = options().set("blobs.archive", "s3://playhouse/archive");
    let mut server =
        buckets.settings().into_iter().fold(options, |options, (key, value)| options.set(key, &value)).start();
    let client = server.account("creator").await;
    let id = upload(&client, &standard()).await;
    // The server ends in the middle of the move, wherever that is.
    until("a copy in the archive", READY_WITHIN, || async { (!buckets.objects("archive").is_empty()).then_some(()) })
        .await;
    server.kill9();
    let both = [buckets.objects("raw"), buckets.objects("archive")];
    assert!(both.iter().any(|found| !found.is_empty()), "{both:?}");
    server.restart();
    let client = signed_in(&server).await;
    original(&client, &id, "archived").await;
    assert_eq!((buckets.objects("raw").len(), buckets.objects("archive").len()), (0, 1));
    let video = ready(&client, &id).await;
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "", "also what is played as it was uploaded");
    picture_of(&client, &id, 3.0).await;
    let wanted = client.request(Method::POST, &format!("/api/v1/videos/{id}/renditions"));
    ask(&client, wanted.json(&json!({"codec": "av1"}))).await;
    until("a rendition from the archive", READY_WITHIN, || async {
        let video = client.video(&id).await.ok()?;
        let made = video["renditions"].as_array()?.iter().find(|one| one["format"] == "av1")?.clone();
        (made["state"] == "ready").then_some(())
    })
    .await;
    delete(&client, &id).await;
    until("empty buckets", PATIENCE, || async {
        ["raw", "archive", "made"].iter().all(|area| buckets.objects(area).is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_originals_are_deleted_and_what_was_made_of_them_plays_on() {
    let archive = tempfile::tempdir().expect("a directory");
    let options = options().set("blobs.archive", &archive.path().display().to_string());
    let server = options.set("blobs.archive_retention", "1s").start();
    let client = server.account("creator").await;
    let converted = Recipe { name: "mpeg4.avi", args: "{pictures} {sound} -c:v mpeg4 -c:a mp3" }.make();
    let (converted, as_it_came) = (upload(&client, &converted).await, upload(&client, &standard()).await);
    original(&client, &converted, "deleted").await;
    original(&client, &as_it_came, "archived").await;
    until("the archive to hold what is played alone", PATIENCE, || async {
        let has_no_more = server.blobs().iter().all(|name| !name.contains("raw-uploads"));
        (files(archive.path()) == 1 && has_no_more).then_some(())
    })
    .await;
    for id in [&converted, &as_it_came] {
        let video = ready(&client, id).await;
        assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "");
        picture_of(&client, id, 2.0).await;
    }
    let wanted = client.request(Method::POST, &format!("/api/v1/videos/{converted}/renditions"));
    let refused = wanted.json(&json!({"codec": "av1"})).send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    assert_eq!(text(&refused.json().await.expect("a problem"), "/code"), "original_deleted");
    for id in [&converted, &as_it_came] {
        delete(&client, id).await;
    }
    until("nothing to be left", PATIENCE, || async {
        (files(archive.path()) == 0 && server.blobs().is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn originals_are_deleted_without_an_archive_only_when_that_is_wanted() {
    let server = options().set("blobs.originals_then", "delete").start();
    let client = server.account("creator").await;
    let converted = Recipe { name: "mpeg4.avi", args: "{pictures} {sound} -c:v mpeg4 -c:a mp3" }.make();
    let (converted, as_it_came) = (upload(&client, &converted).await, upload(&client, &standard()).await);
    original(&client, &converted, "deleted").await;
    let video = ready(&client, &converted).await;
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "");
    let video = ready(&client, &as_it_came).await;
    assert_eq!(
        (video["original"].as_str(), ffmpeg_complaints(&manifest_url(&client, &video)).as_str()),
        (Some("stored"), "")
    );
    until("one original to be left", PATIENCE, || async {
        (server.blobs().iter().filter(|name| name.contains("raw-uploads")).count() == 1).then_some(())
    })
    .await;
}
