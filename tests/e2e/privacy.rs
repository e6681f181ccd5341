//! Private videos: nothing of them is reachable without a sign-in or a signed link.
use playhouse::cli::client::UploadRequest;
use reqwest::{Method, StatusCode};

use crate::playback::first_segment;
use crate::support::clips::standard;
use crate::support::server::Server;
use crate::support::tools::ffmpeg_complaints;
use crate::uploads::{VERDICT_WITHIN, manifest_url};

/// What the API says of a video, and how it is asked.
const ROUTES: &[(Method, &str)] = &[
    (Method::GET, ""),
    (Method::GET, "/status"),
    (Method::GET, "/stream"),
    (Method::GET, "/manifest.m3u8"),
    (Method::GET, "/thumbnails"),
    (Method::POST, "/playback"),
    (Method::GET, "/watch-position"),
    (Method::PATCH, ""),
    (Method::DELETE, ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_private_video_is_out_of_reach_of_strangers() {
    let server = Server::start();
    let owner = server.account("owner").await;
    let bytes = std::fs::read(standard()).expect("a clip");
    let length = bytes.len() as u64;
    let request = UploadRequest { title: "secret", file_name: "secret.mp4", privacy: "private", bytes: length };
    let upload = owner.create_upload(&request).await.expect("an upload");
    owner.append(&upload.url, 0, bytes.into()).await.expect("an append");
    let video = owner.wait_until_playable(&upload.video_id, VERDICT_WITHIN).await.expect("a playable video");
    let manifest = manifest_url(&owner, &video);
    assert_eq!(ffmpeg_complaints(&manifest), "", "the owner's signed link plays");

    let strangers = [server.client(), server.account("stranger").await];
    for stranger in &strangers {
        for (method, route) in ROUTES {
            let path = format!("/api/v1/videos/{}{route}", upload.video_id);
            let request = stranger.request(method.clone(), &path).json(&serde_json::json!({}));
            let status = request.send().await.expect("an answer").status();
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
            assert!(refused.contains(&status), "{method} {path}: {status}");
        }
    }
    let listed = strangers[0].request(Method::GET, "/api/v1/videos").send().await.expect("a list").text().await;
    assert!(!listed.expect("text").contains(&upload.video_id), "a private video is listed");
    for signed in [manifest.clone(), first_segment(&manifest).await] {
        let status = reqwest::get(without_token(&signed)).await.expect("an answer").status();
        assert!(status.is_client_error(), "{status} for {signed} without its token");
        let forged = reqwest::get(signed.replacen("/t/", "/t/x", 1)).await.expect("an answer").status();
        assert!(forged.is_client_error(), "{forged} for {signed} with a forged token");
    }
}

/// The same URL without `/t/<token>`.
fn without_token(url: &str) -> String {
    let (head, tail) = url.split_once("/t/").unwrap_or_else(|| panic!("no token in {url}"));
    let (_, rest) = tail.split_once('/').unwrap_or_else(|| panic!("nothing after the token in {url}"));
    format!("{head}/{rest}")
}
