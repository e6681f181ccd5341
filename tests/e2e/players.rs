//! Ladders in players: hls.js, shaka-player and dash.js in Chromium, and the page's own menus.
use std::time::Duration;

use playhouse::cli::client::Client;
use serde_json::Value;

use crate::support::clients::client;
use crate::support::clips::Recipe;
use crate::support::server::{PASSWORD, Server};
use crate::support::tools::until;
use crate::uploads::{playable, upload};

/// All renditions of the clip are there within this, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(300);

/// Long enough to switch to and fro, of two languages.
const CLIP: Recipe = Recipe {
    name: "ladder.mp4",
    args: "-f lavfi -i testsrc2=size=640x360:rate=25:duration=30 -f lavfi -i sine=440:d=30 -f lavfi -i sine=660:d=30 \
        -map 0 -map 1 -map 2 -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu -c:v libx264 -preset veryfast \
        -pix_fmt yuv420p -g 50 -bf 2 -flags +cgop -b:v 1500k -c:a aac -b:a 96k",
};

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
    let server = Server::start();
    let creator = server.account("creator").await;
    let id = upload(&creator, &CLIP.make()).await;
    let video = ready(&creator, &id).await;
    let rungs = video["renditions"].as_array().map_or(0, |all| all.iter().filter(|one| one["kind"] == "video").count());
    assert!(rungs >= 3, "{video}");
    let slow = slow_line(&video).to_string();
    let url = |format: &str| video["video_urls"][format].as_str().expect("a manifest").to_owned();
    for (player, format) in [("hls.js", "hls"), ("shaka", "dash"), ("dash.js", "dash")] {
        client("play-ladder.mjs", &[&server.url(), &url(format), "--player", player, "--slow", &slow]);
    }
    client("play-ladder.mjs", &[&server.url(), &url("hls"), "--player", "shaka", "--no-auto"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_chooses_qualities_previews_and_pictures() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let video = playable(&creator, &CLIP.make()).await;
    let id = video["id"].as_str().expect("an id");
    ready(&creator, id).await;
    let shown = client("ladder-page.mjs", &[&server.url(), id, "--user", "creator", "--password", PASSWORD]);
    assert!(shown["qualities"].as_array().is_some_and(|all| all.len() >= 3), "{shown}");
    assert!(shown["preview"].is_string(), "{shown}");
}
