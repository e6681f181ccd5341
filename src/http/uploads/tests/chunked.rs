//! The chunk API.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::Digest;

use super::world::{SIZE_MAX, Who, World, expect, field, film, problem};
use crate::domain::video::VideoStatus;

impl World {
    async fn initiate(&self, body: &Value) -> Response {
        self.ask(Who::Alice, Method::POST, "/videos/upload/initiate").json(body).send().await.unwrap()
    }

    /// A new upload of so many bytes: its id and its video's.
    async fn initiated(&self, bytes: usize) -> (String, String) {
        let response = self.initiate(&json!({"title": "Clip", "file_size": bytes, "file_type": "video/mp4"})).await;
        expect(201, &response);
        let body: Value = response.json().await.unwrap();
        (body["upload_id"].as_str().unwrap().to_owned(), body["video_id"].as_str().unwrap().to_owned())
    }

    async fn chunk(&self, id: &str, range: &str, bytes: &[u8], extra: &[(&str, &str)]) -> Response {
        let request = self.ask(Who::Alice, Method::PUT, &format!("/videos/upload/{id}/chunk"));
        let request = request.header("content-range", range).header("content-type", "video/mp4");
        let request = extra.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(bytes.to_vec()).send().await.unwrap()
    }

    async fn complete(&self, id: &str, body: Option<Value>) -> Response {
        let request = self.ask(Who::Alice, Method::POST, &format!("/videos/upload/{id}/complete"));
        match body {
            Some(body) => request.json(&body).send().await.unwrap(),
            None => request.send().await.unwrap(),
        }
    }
}

async fn json_of(status: u16, response: Response) -> Value {
    expect(status, &response);
    response.json().await.unwrap()
}

#[tokio::test]
async fn chunks_become_a_video_when_the_client_says_so() {
    let world = World::new().await;
    let film = film(100_000);
    let given = json!({
        "title": "Clip", "description": "d", "category": "c", "tags": ["x", "y"], "privacy": "private",
        "file_size": film.len(), "file_type": "video/mp4", "file_name": "dir/clip.mp4",
    });
    let initiated = json_of(201, world.initiate(&given).await).await;
    let id = initiated["upload_id"].as_str().unwrap().to_owned();
    assert_eq!(initiated["chunk_size"], 64 * 1024);
    assert_eq!(initiated["upload_url"], format!("{}/api/v1/videos/upload/{id}/chunk", world.base));
    assert!(initiated["expires_at"].as_str().unwrap().ends_with('Z'));
    let early = problem(409, world.complete(&id, None).await).await;
    assert_eq!((&early["code"], &early["missing_bytes"]), (&"upload_incomplete".into(), &100_000.into()));
    let first = json_of(200, world.chunk(&id, "bytes 0-65535/100000", &film[..65_536], &[]).await).await;
    assert_eq!((&first["bytes_uploaded"], &first["total_bytes"]), (&65_536.into(), &100_000.into()));
    assert_eq!(first["status"], "uploading");
    let last = json_of(200, world.chunk(&id, "bytes 65536-99999/100000", &film[65_536..], &[]).await).await;
    assert_eq!(last["status"], "uploaded");
    assert!(world.completed.lock().unwrap().is_empty(), "not before complete");
    let completed = json_of(200, world.complete(&id, None).await).await;
    let video_id = completed["video_id"].as_str().unwrap();
    assert_eq!((&completed["status"], completed["estimated_processing_time"].is_u64()), (&"processing".into(), true));
    assert_eq!(completed["url"], format!("{}/watch/{video_id}", world.base));
    assert_eq!(json_of(200, world.complete(&id, None).await).await["video_id"], *video_id, "idempotent");
    let video = world.video(video_id).await;
    assert_eq!((video.file_name.as_deref(), video.tags.len()), (Some("clip.mp4"), 2));
    assert!(world.source(video_id).await == film);
    assert_eq!(world.completed.lock().unwrap().len(), 1);
    let shown = world.ask(Who::Alice, Method::GET, &format!("/videos/upload/{id}")).send().await.unwrap();
    assert_eq!(json_of(200, shown).await["status"], "complete");
}

#[tokio::test]
async fn ranges_that_contradict_anything_are_refused_and_nothing_is_kept() {
    let world = World::new().await;
    let (id, _) = world.initiated(1000).await;
    let body = film(10);
    for (range, status, code) in [
        ("bytes 9-0/1000", 416, "range_contradicts_itself"),
        ("bytes 0-9/9", 416, "range_contradicts_itself"),
        ("bytes 0-9/999", 416, "range_contradicts_upload"),
        ("bytes 995-1004/*", 416, "range_beyond_upload"),
        ("bytes 0-19/1000", 400, "range_contradicts_body"),
        ("bytes 0-8/1000", 400, "range_contradicts_body"),
        ("bytes 0-3000000/4000000", 413, "chunk_too_large"),
        ("bytes 0-/1000", 400, "invalid_header"),
        ("0-9", 400, "invalid_header"),
        ("bytes 0-18446744073709551615/*", 416, "range_contradicts_itself"),
    ] {
        let refused = world.chunk(&id, range, &body, &[]).await;
        assert_eq!(problem(status, refused).await["code"], code, "{range}");
    }
    let gap = problem(409, world.chunk(&id, "bytes 10-19/1000", &body, &[]).await).await;
    assert_eq!((&gap["code"], &gap["bytes_uploaded"]), (&"offset_mismatch".into(), &0.into()));
    assert_eq!(world.durable(&id).await, 0);
    let missing = world.ask(Who::Alice, Method::PUT, &format!("/videos/upload/{id}/chunk")).body(body);
    assert_eq!(problem(400, missing.send().await.unwrap()).await["code"], "missing_header");
}

#[tokio::test]
async fn repeated_chunks_are_skipped_as_far_as_they_are_held() {
    let world = World::new().await;
    let film = film(1000);
    let (id, video) = world.initiated(1000).await;
    for (range, bytes, held) in [
        ("bytes 0-599/1000", &film[..600], 600),
        ("bytes 0-599/1000", &film[..600], 600),
        ("bytes 200-799/1000", &film[200..800], 800),
        ("bytes 0-999/1000", &film[..], 1000),
        ("bytes 900-999/1000", &film[900..], 1000),
    ] {
        let answer = json_of(200, world.chunk(&id, range, bytes, &[]).await).await;
        assert_eq!(answer["bytes_uploaded"], held, "{range}");
    }
    json_of(200, world.complete(&id, None).await).await;
    assert_eq!(json_of(200, world.chunk(&id, "bytes 0-999/1000", &film, &[]).await).await["status"], "complete");
    assert!(world.source(&video).await == film);
}

#[tokio::test]
async fn a_chunk_with_another_digest_is_thrown_away() {
    let world = World::new().await;
    let film = film(1000);
    let (id, _) = world.initiated(1000).await;
    let sha256 = |bytes: &[u8]| format!("sha-256=:{}:", STANDARD.encode(sha2::Sha256::digest(bytes)));
    let md5 = |bytes: &[u8]| STANDARD.encode(md5::Md5::digest(bytes));
    let range = "bytes 0-999/1000";
    for (name, value) in [("content-digest", sha256(b"x")), ("repr-digest", sha256(b"x")), ("content-md5", md5(b"x"))] {
        let refused = world.chunk(&id, range, &film, &[(name, &value)]).await;
        assert_eq!(problem(422, refused).await["code"], "digest_mismatch", "{name}");
        assert_eq!(world.durable(&id).await, 0);
    }
    expect(200, &world.chunk(&id, "bytes 0-499/1000", &film[..500], &[("content-md5", &md5(&film[..500]))]).await);
    // The digest is of the whole body, what is held already included.
    expect(200, &world.chunk(&id, range, &film, &[("content-digest", &sha256(&film))]).await);
    assert_eq!(world.durable(&id).await, 1000);
}

#[tokio::test]
async fn a_digest_of_the_whole_file_is_checked_afterwards() {
    let world = World::new().await;
    let film = film(1000);
    let hex: String = sha2::Sha256::digest(&film).iter().map(|byte| format!("{byte:02x}")).collect();
    let (id, video) = world.initiated(1000).await;
    expect(200, &world.chunk(&id, "bytes 0-999/1000", &film, &[]).await);
    let odd = world.complete(&id, Some(json!({"digest": "crc32:00"}))).await;
    assert_eq!(problem(422, odd).await["errors"][0]["pointer"], "/digest");
    let body = json!({"digest": format!("sha-256={hex}")});
    assert_eq!(json_of(200, world.complete(&id, Some(body.clone())).await).await["status"], "verifying");
    assert_eq!(world.video(&video).await.expected_digest, Some(format!("sha256:{hex}")));
    expect(200, &world.complete(&id, Some(body)).await);
    let other = world.complete(&id, Some(json!({"digest": format!("sha256:{}", hex.replace('a', "b"))}))).await;
    assert_eq!(problem(409, other).await["code"], "digest_conflict");
    let given = json!({"file_name": "a.mp4", "file_size": 1000, "digest": format!("sha256:{hex}")});
    let initiated = json_of(201, world.initiate(&given).await).await;
    let id = initiated["upload_id"].as_str().unwrap();
    expect(200, &world.chunk(id, "bytes 0-999/1000", &film, &[]).await);
    expect(200, &world.complete(id, None).await);
    let video = world.video(initiated["video_id"].as_str().unwrap()).await;
    assert_eq!((video.status, video.title.as_str()), (VideoStatus::Verifying, "a.mp4"));
}

#[tokio::test]
async fn what_initiate_refuses_says_which_field() {
    let world = World::new().await;
    for (body, status, pointer) in [
        (json!({"file_size": 1}), 422, "/title"),
        (json!({"title": "x"}), 422, "/file_size"),
        (json!({"title": "x", "file_size": 0}), 422, "/file_size"),
        (json!({"title": "x".repeat(256), "file_size": 1}), 422, "/title"),
        (json!({"title": "x", "file_size": 1, "privacy": "secret"}), 422, "/privacy"),
        (json!({"title": "x", "file_size": 1, "tags": vec!["t"; 31]}), 422, "/tags"),
        (json!({"title": "x", "file_size": 1, "digest": "md5:zz"}), 422, "/digest"),
    ] {
        let refused = problem(status, world.initiate(&body).await).await;
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{body}");
    }
    let large = problem(413, world.initiate(&json!({"title": "x", "file_size": SIZE_MAX + 1})).await).await;
    assert_eq!((&large["code"], &large["limit"]), (&"file_too_large".into(), &SIZE_MAX.into()));
    let viewer =
        world.ask(Who::Vera, Method::POST, "/videos/upload/initiate").json(&json!({"title": "x", "file_size": 1}));
    assert_eq!(problem(403, viewer.send().await.unwrap()).await["code"], "role_required");
}

#[tokio::test]
async fn an_upload_is_its_owners_and_can_be_aborted() {
    let world = World::new().await;
    let (id, _) = world.initiated(1000).await;
    let path = format!("/videos/upload/{id}");
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::PUT, format!("{path}/chunk")),
        (Method::POST, format!("{path}/complete")),
    ] {
        expect(401, &world.anonymous(method.clone(), &path).send().await.unwrap());
        let range = world.ask(Who::Bob, method, &path).header("content-range", "bytes 0-0/1000").body("{}");
        expect(404, &range.header("content-type", "application/json").send().await.unwrap());
    }
    expect(200, &world.chunk(&id, "bytes 0-99/1000", &film(100), &[]).await);
    expect(204, &world.ask(Who::Alice, Method::DELETE, &path).send().await.unwrap());
    assert_eq!(
        problem(410, world.chunk(&id, "bytes 100-199/1000", &film(100), &[]).await).await["code"],
        "upload_ended"
    );
    let shown = world.ask(Who::Alice, Method::GET, &path).send().await.unwrap();
    assert_eq!(field(&shown, "content-type"), "application/problem+json");
    expect(410, &shown);
}

#[tokio::test]
async fn creation_is_rate_limited_by_account() {
    let world = World::with_settings(|settings| settings.rates.uploads_per_minute_per_account = 2).await;
    for _ in 0..2 {
        let response = world.initiate(&json!({"title": "x", "file_size": 1})).await;
        assert!(field(&response, "ratelimit").contains("uploads"));
        expect(201, &response);
    }
    let response = world.initiate(&json!({"title": "x", "file_size": 1})).await;
    assert!(!field(&response, "retry-after").is_empty());
    expect(429, &response);
}

#[tokio::test]
async fn urls_of_parts_are_refused_where_there_is_no_bucket() {
    let world = World::new().await;
    let refused = world.initiate(&json!({"title": "Clip", "file_size": 10, "direct": true})).await;
    let refused = problem(422, refused).await;
    let told = &refused["errors"][0];
    assert_eq!((&told["pointer"], &told["code"]), (&"/direct".into(), &"not_available".into()));
    assert!(refused.to_string().contains("no bucket of S3"), "{refused}");
    let (id, _) = world.initiated(10).await;
    let asked = world.ask(Who::Alice, Method::GET, &format!("/videos/upload/{id}/parts")).send().await.unwrap();
    assert_eq!(problem(409, asked).await["code"], "not_a_direct_upload");
}
