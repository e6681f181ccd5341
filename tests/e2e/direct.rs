//! Uploads whose parts clients store in the bucket by themselves.
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::kill::{delete, signed_in};
use crate::live::{ask, text};
use crate::support::clips::{half_minute_720p, standard};
use crate::support::cluster::Cluster;
use crate::support::proxy::{Line, Proxy};
use crate::support::s3::S3;
use crate::support::server::{PASSWORD, Server, ServerOptions};
use crate::support::tools::{ffmpeg_complaints, sha256, until};
use crate::uploads::{VERDICT_WITHIN, manifest_url, verdict};
use playhouse::cli::client::Client;

/// Longest wait for what takes moments.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a part.
const PART_BYTES: usize = 64 * 1024;

fn direct(options: ServerOptions) -> ServerOptions {
    let options = options.with_busy_janitor().set("transcode.rungs", "[90]").set("blobs.retry_timeout", "2s");
    options.set("blobs.presigned_uploads", "true").set("blobs.presigned_part_size", "64 KiB")
}

fn started(buckets: &S3, options: ServerOptions) -> Server {
    buckets.settings().into_iter().fold(direct(options), |options, (key, value)| options.set(key, &value)).start()
}

/// A file in parts, and its upload.
struct Upload {
    id: String,
    parts: Vec<Bytes>,
    begun: Value,
}

impl Upload {
    async fn begin(client: &Client, bytes: Bytes, digest: &str) -> Self {
        let body = json!({"title": "a clip", "file_size": bytes.len(), "direct": true, "digest": digest});
        let begun = ask(client, client.request(Method::POST, "/api/v1/videos/upload/initiate").json(&body)).await;
        let parts: Vec<Bytes> = (0..bytes.len())
            .step_by(PART_BYTES)
            .map(|at| bytes.slice(at..(at + PART_BYTES).min(bytes.len())))
            .collect();
        assert_eq!(begun["direct"]["part_size"], PART_BYTES);
        assert_eq!(begun["direct"]["num_parts"], parts.len());
        Self { id: text(&begun, "/upload_id").to_owned(), parts, begun }
    }

    fn path(&self, what: &str) -> String {
        format!("/api/v1/videos/upload/{}/{what}", self.id)
    }

    /// All parts as the server tells of them, page by page.
    async fn listed(&self, client: &Client) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("{}?limit=7&cursor={cursor}", self.path("parts"));
            let page = ask(client, client.request(Method::GET, &path)).await;
            all.extend(page["data"].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => return all,
            }
        }
    }

    /// Puts these bytes where a part belongs, by a URL that is asked for anew.
    async fn put(&self, client: &Client, index: usize, bytes: Bytes) -> String {
        let part = self.listed(client).await.swap_remove(index);
        assert_eq!(part["part_number"], index + 1);
        assert_eq!(part["size"], self.parts[index].len());
        let url = text(&part, "/url").to_owned();
        stored(&url, bytes).await;
        url
    }

    async fn complete(&self, client: &Client) -> Response {
        let request = client.request(Method::POST, &self.path("complete")).json(&json!({}));
        request.send().await.expect("an answer")
    }
}

/// Puts bytes to a URL of the bucket, as a client that knows nothing else.
async fn stored(url: &str, bytes: Bytes) {
    let answer = reqwest::Client::new().put(url).body(bytes).send().await.expect("an answer of the bucket");
    let status = answer.status();
    assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap_or_default());
}

async fn problem(answer: Response, status: StatusCode) -> Value {
    let found = answer.status();
    let body: Value = answer.json().await.expect("a problem");
    assert_eq!(found, status, "{body}");
    body
}

fn whole(path: &std::path::Path) -> (Bytes, String) {
    (std::fs::read(path).expect("the file").into(), format!("sha256:{}", sha256(path)))
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_stored_in_any_order_and_checked_when_they_are_taken() {
    let buckets = S3::start();
    let mut server = started(&buckets, ServerOptions::new());
    let client = server.account("creator").await;
    let (bytes, digest) = whole(&half_minute_720p());
    let upload = Upload::begin(&client, bytes, &digest).await;
    let last = upload.parts.len() - 1;
    assert!(last > 20, "more than one page of parts");
    let listed = upload.listed(&client).await;
    assert_eq!(
        (listed.len(), &listed[0]["size"]),
        (last + 1, &upload.begun.pointer("/direct/parts/data/0/size").unwrap().clone())
    );
    // Backwards, without the third, with the second cut short and the first too long.
    for (index, part) in upload.parts.iter().enumerate().rev().filter(|(index, _)| *index != 2) {
        let bytes = match index {
            0 => Bytes::from([part.clone(), Bytes::from_static(b"more")].concat()),
            1 => part.slice(1..),
            _ => part.clone(),
        };
        stored(text(&listed[index], "/url"), bytes).await;
    }
    server.kill9();
    server.restart();
    let client = signed_in(&server).await;
    let chunk = client.request(Method::PUT, &upload.path("chunk")).header("Content-Range", "bytes 0-0/*").body("x");
    assert_eq!(problem(chunk.send().await.expect("an answer"), StatusCode::CONFLICT).await["code"], "direct_upload");
    for (index, code) in [(0, "part_size"), (1, "part_size"), (2, "part_missing")] {
        let refused = problem(upload.complete(&client).await, StatusCode::CONFLICT).await;
        assert_eq!((&refused["code"], &refused["part_number"]), (&json!(code), &json!(index + 1)), "{refused}");
        let stored: Vec<bool> = upload.listed(&client).await.iter().map(|part| part["is_stored"] == true).collect();
        let expected: Vec<bool> = (0..=last).map(|other| other < index || other > 2).collect();
        assert_eq!(stored, expected, "only parts as they must be are stored");
        upload.put(&client, index, upload.parts[index].clone()).await;
    }
    let spare = text(&upload.listed(&client).await[3], "/url").to_owned();
    let completed = problem(upload.complete(&client).await, StatusCode::OK).await;
    let again = problem(upload.complete(&client).await, StatusCode::OK).await;
    assert_eq!(completed["video_id"], again["video_id"]);
    // A URL that is still good leads to none of the video's bytes.
    stored(&spare, Bytes::from(vec![0; PART_BYTES])).await;
    let video_id = text(&completed, "/video_id");
    let video = client.wait_until_playable(video_id, VERDICT_WITHIN).await.expect("a video with the right digest");
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "");
    until("parts to be swept up", PATIENCE, || async {
        buckets.objects("raw").iter().all(|name| !name.contains("part-")).then_some(())
    })
    .await;
    assert_eq!(buckets.objects("raw").len(), upload.parts.len());
    delete(&client, video_id).await;
    until("an empty bucket", PATIENCE, || async { buckets.objects("raw").is_empty().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_store_is_judged_like_what_they_send() {
    let buckets = S3::start();
    let server = started(&buckets, ServerOptions::new().set("uploads.expiry", "20s").set("blobs.presigned_ttl", "4s"));
    let client = server.account("creator").await;
    let (bytes, _) = whole(&standard());
    let abandoned = Upload::begin(&client, bytes.clone(), &format!("sha256:{}", "0".repeat(64))).await;
    abandoned.put(&client, 0, abandoned.parts[0].clone()).await;
    let other = Upload::begin(&client, bytes, &format!("sha256:{}", "0".repeat(64))).await;
    for index in 0..other.parts.len() {
        other.put(&client, index, other.parts[index].clone()).await;
    }
    let completed = problem(other.complete(&client).await, StatusCode::OK).await;
    let video = verdict(&client, text(&completed, "/video_id")).await;
    assert_eq!(video.pointer("/failure/code"), Some(&json!("digest_mismatch")), "{video}");

    let archive = Bytes::from([b"\x1f\x8b\x08".to_vec(), vec![0; 2000]].concat());
    let ended = Upload::begin(&client, archive.clone(), &format!("sha256:{}", "0".repeat(64))).await;
    let url = ended.put(&client, 0, archive.clone()).await;
    let refused = problem(ended.complete(&client).await, StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
    assert_eq!(refused["code"], "not_media");
    assert_eq!(problem(ended.complete(&client).await, StatusCode::GONE).await["code"], "upload_ended");
    let late = async || reqwest::Client::new().put(&url).body(archive.clone()).send().await.expect("an answer");
    until("a URL to be good no more", PATIENCE, || async { (late().await.status() == 403).then_some(()) }).await;

    until("the abandoned upload to end", PATIENCE, || async {
        let prefix = format!("raw/{}", abandoned.id);
        buckets.objects(&prefix).is_empty().then_some(())
    })
    .await;
    assert_eq!(problem(abandoned.complete(&client).await, StatusCode::GONE).await["code"], "upload_ended");
}

/// Whether a request has the bucket copy a part: names of copies are the writer's number and the part's.
fn is_copy(line: &str) -> bool {
    let path = line.strip_prefix("PUT ").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    let name = path.and_then(|path| path.rsplit('/').next()?.split_once('-'));
    name.is_some_and(|(writer, part)| writer.parse::<u64>().is_ok() && part.parse::<u32>().is_ok())
}

/// The server reaches its bucket over a slow line, and each of its requests takes a while.
#[tokio::test(flavor = "multi_thread")]
async fn completing_what_takes_long_is_answered_before_it_is_done() {
    let buckets = S3::start();
    let line = Line { bits_per_sec: 1_000_000_000, round_trip: Duration::from_millis(300) };
    let proxy = Proxy::start(buckets.port(), line).await;
    let options = direct(ServerOptions::new()).set("blobs.presigned_answer_within", "200ms");
    let server = buckets
        .settings()
        .into_iter()
        .fold(options, |options, (key, value)| options.set(key, &value))
        .set("blobs.s3_endpoint", &proxy.url())
        .set("blobs.s3_public_endpoint", &format!("http://127.0.0.1:{}", buckets.port()))
        .start();
    let client = server.account("creator").await;
    let (bytes, digest) = whole(&half_minute_720p());
    let upload = Upload::begin(&client, bytes, &digest).await;
    let mut listed = upload.listed(&client).await.into_iter();
    for part in &upload.parts {
        stored(text(&listed.next().expect("a part"), "/url"), part.clone()).await;
    }
    let under_way = upload.complete(&client).await;
    assert!(under_way.headers().contains_key("retry-after"));
    let under_way = problem(under_way, StatusCode::ACCEPTED).await;
    assert_eq!((&under_way["status"], &under_way["upload_id"]), (&json!("completing"), &json!(upload.id)));
    let path = format!("/api/v1/videos/upload/{}", upload.id);
    let shown = client.request(Method::GET, &path).send().await.expect("an answer");
    assert_eq!(problem(shown, StatusCode::ACCEPTED).await["status"], "completing");
    let completed = until("the upload to be complete", PATIENCE, || async {
        let answer = upload.complete(&client).await;
        (answer.status() != StatusCode::ACCEPTED).then_some(answer)
    });
    let completed = problem(completed.await, StatusCode::OK).await;
    assert_eq!(completed["video_id"], under_way["video_id"]);
    let copied = proxy.asked().iter().filter(|line| is_copy(line)).count();
    assert_eq!(copied, upload.parts.len(), "each part is copied once, however often the client asks");
    client.wait_until_playable(text(&completed, "/video_id"), VERDICT_WITHIN).await.expect("a video");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_knows_the_parts() {
    let cluster = Cluster::start(2, direct).await;
    let first = cluster.nodes[0].account("creator").await;
    let mut second = cluster.nodes[1].client();
    second.login("creator", PASSWORD).await.expect("a sign-in");
    let (bytes, digest) = whole(&standard());
    let upload = Upload::begin(&first, bytes, &digest).await;
    for index in 0..upload.parts.len() {
        let client = if index % 2 == 0 { &second } else { &first };
        upload.put(client, index, upload.parts[index].clone()).await;
    }
    let completed = problem(upload.complete(&second).await, StatusCode::OK).await;
    let again = problem(upload.complete(&first).await, StatusCode::OK).await;
    assert_eq!(completed["video_id"], again["video_id"]);
    first.wait_until_playable(text(&completed, "/video_id"), VERDICT_WITHIN).await.expect("a video");
}
