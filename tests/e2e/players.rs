//! Ladders in players: hls.js, shaka-player and dash.js in Chromium, and the page's own menus.
use std::time::Duration;

use playhouse::cli::client::Client;
use reqwest::Method;
use serde_json::Value;

use crate::support::clients::client;
use crate::support::clips::Recipe;
use crate::support::server::{PASSWORD, Server, ServerOptions};
use crate::support::tools::until;
use crate::uploads::{playable, upload};

/// All renditions of the clip are there within this, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Long enough to switch to and fro, of two languages, and no more pictures than that takes.
const CLIP: Recipe = Recipe {
    name: "ladder.mp4",
    args: "-f lavfi -i testsrc2=size=400x300:rate=10:duration=24 -f lavfi -i sine=440:d=24 -f lavfi -i sine=660:d=24 \
        -map 0 -map 1 -map 2 -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu -c:v libx264 -preset veryfast \
        -pix_fmt yuv420p -g 20 -bf 2 -flags +cgop -b:v 1000k -c:a aac -b:a 96k",
};

/// A server that spends as little as it can on its ladders.
fn server() -> Server {
    let options = ServerOptions::new().set("media.segment_duration", "2s").set("transcode.chunk_duration", "8s");
    options.set("transcode.preset", "ultrafast").set("workers.nice", "0").start()
}

/// Waits until everything planned for a video is there.
async fn ready(client: &Client, id: &str) -> Value {
    until("the ladder", READY_WITHIN, || async {
        let video = client.video(id).await.expect("the video");
        assert_ne!(video["status"], "failed", "{video}");
        (video["status"] == "ready").then_some(video)
    })
    .await
}

/// What the lowest rendition of pictures takes with sound, bits per second, and a little more.
fn slow_line(video: &Value) -> u64 {
    let of_kind = |kind: &'static str| {
        let renditions = video["renditions"].as_array().into_iter().flatten();
        renditions.filter(move |one| one["kind"] == kind).filter_map(|one| one["bandwidth"].as_u64())
    };
    let (pictures, sound) = (of_kind("video").min().unwrap_or(0), of_kind("audio").max().unwrap_or(0));
    (pictures + sound) * 6 / 5
}

#[tokio::test(flavor = "multi_thread")]
async fn every_player_switches_by_hand_and_by_itself() {
    let server = server();
    let creator = server.account("creator").await;
    let id = upload(&creator, &CLIP.make()).await;
    let video = ready(&creator, &id).await;
    let rungs = video["renditions"].as_array().map_or(0, |all| all.iter().filter(|one| one["kind"] == "video").count());
    assert!(rungs >= 3, "{video}");
    let slow = slow_line(&video).to_string();
    let url = |format: &str| video["video_urls"][format].as_str().expect("a manifest").to_owned();
    for (player, format) in [("hls.js", "hls"), ("shaka", "hls"), ("shaka", "dash"), ("dash.js", "dash")] {
        client("play-ladder.mjs", &[&server.url(), &url(format), "--player", player, "--slow", &slow]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_chooses_qualities_previews_and_pictures() {
    let server = server();
    let (creator, admin) = (server.account("creator").await, server.admin().await);
    admin.send(admin.request(Method::POST, "/api/v1/admin/transcodes/pause")).await.expect("a pause");
    let video = playable(&creator, &CLIP.make()).await;
    let id = video["id"].as_str().expect("an id");
    let args =
        [&server.url(), id, "--user", "creator", "--password", PASSWORD, "--resume", admin.token().expect("a token")];
    let shown = client("ladder-page.mjs", &args);
    assert_eq!(shown["qualities"].as_array().map(Vec::len), Some(3), "{shown}");
    assert_eq!(shown["grew"]["before"].as_array().map(Vec::len), Some(2), "{shown}");
    assert!(shown["preview"].is_string(), "{shown}");
    assert_eq!(ready(&creator, id).await["status"], "ready");
}
