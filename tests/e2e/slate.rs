//! What viewers see while a publisher is away.
use std::process::Command;
use std::time::Duration;

use playhouse::cli::client::Client;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::live::{H264, PATIENCE, Publisher, ask, end, in_state, make, media_url, playlist, show, text};
use crate::live_validity::judge;
use crate::support::clients::Checking;
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::{output, until};

/// How long the session is watched, seconds.
const WATCHED: &str = "24";
/// What is due may come this late on a machine that runs the whole suite.
const LATE_MS: &str = "2000";

/// A picture of one colour in this format, as ffmpeg makes it.
fn picture(colour: &str, codec: &str) -> Vec<u8> {
    let source = format!("color={colour}:size=321x241");
    let arguments =
        ["-v", "error", "-f", "lavfi", "-i", &source, "-frames:v", "1", "-f", "image2pipe", "-c:v", codec, "-"];
    let made = output(Command::new("ffmpeg").args(arguments));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

fn slate_path(live: &Value) -> String {
    format!("/api/v1/live/{}/slate", text(live, "/id"))
}

async fn put(client: &Client, live: &Value, kind: &str, body: Vec<u8>) -> reqwest::Response {
    let request = client.request(Method::PUT, &slate_path(live)).header("content-type", kind).body(body);
    request.send().await.expect("an answer")
}

/// Average colours of the pictures of this many seconds, one a second; ffmpeg must not complain.
fn colours(url: &str, seconds: &str) -> Vec<[u8; 3]> {
    let filter = "fps=1,scale=1:1:flags=area,format=rgb24";
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i", url, "-map", "0:v:0", "-t", seconds, "-vf", filter, "-f", "rawvideo", "-"]);
    let decoded = output(&mut command);
    assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
    decoded.stdout.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

fn is_red([red, green, blue]: [u8; 3]) -> bool {
    red > 200 && green < 60 && blue < 60
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_see_the_slate_while_the_publisher_is_away_and_never_afterwards() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Match"})).await;
    let changed = put(&creator, &live, "image/png", picture("red", "png")).await;
    assert_eq!(changed.status(), StatusCode::OK);
    let changed: Value = changed.json().await.expect("JSON");
    let shown = reqwest::get(text(&changed, "/slate")).await.expect("the picture");
    assert_eq!(shown.headers()["content-type"], "image/jpeg");

    let publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&creator, &live, "live").await;
    let media = media_url(&live, "v0");
    until("two segments", PATIENCE, || async {
        Some(playlist(&media).await).filter(|list| list.matches("#EXTINF").count() >= 2)
    })
    .await;
    let hls = text(&live, "/playback/hls");
    let checking = Checking::start("validate-live.mjs", &[hls, "--seconds", WATCHED, "--late-ms", LATE_MS]);
    let playing = hls_js_plays(&server.url(), hls);
    tokio::time::sleep(Duration::from_secs(4)).await;
    drop(publisher);
    let told = until("the slate", PATIENCE, || async {
        Some(show(&creator, &live).await["ingest_stats"].take()).filter(|stats| stats["slate"] == json!(true))
    })
    .await;
    assert_eq!(told["connected"], json!(false), "{told}");
    let seen = until("nothing but the slate", PATIENCE, || async {
        let seen = colours(hls, "2");
        seen.iter().all(|colour| is_red(*colour)).then_some(seen)
    })
    .await;
    assert!(!seen.is_empty());
    let list = playlist(&media).await;
    assert!(list.contains("#EXT-X-DISCONTINUITY\n") && !list.contains("#EXT-X-GAP"), "{list}");

    let publisher = Publisher::start(text(&live, "/ingest/rtmp"), &format!("{H264} -c:a aac -ar 44100"));
    until("the publisher", PATIENCE, || async {
        let stats = &show(&creator, &live).await["ingest_stats"];
        (stats["connected"] == json!(true) && stats["slate"] == json!(false)).then_some(())
    })
    .await;
    judge(&checking.summary(), &["time.new-initialisation", "align.discontinuity"]);
    eprintln!("hls.js: {}", playing.summary());
    end(&creator, &live).await;
    drop(publisher);
    let ended = in_state(&creator, &live, "ended").await;
    let video = creator.video(text(&ended, "/video_id")).await.expect("the recording");
    let recording = text(&video, "/video_urls/hls");
    let seen = colours(recording, "600");
    assert!(seen.len() > 6 && !seen.iter().any(|colour| is_red(*colour)), "{seen:?}");
}

/// hls.js, which goes on from the stream to the slate and back.
fn hls_js_plays(base: &str, manifest: &str) -> Checking {
    let busy = ["--seconds", "20", "--latency-max", "30"];
    Checking::start("play-live.mjs", &[&[base, manifest], &busy[..]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn slates_are_pictures_and_their_owners() {
    let server = ServerOptions::new().set("uploads.picture_size_max", "200 kB").start();
    let (creator, other) = (server.account("creator").await, server.account("other").await);
    let live = make(&creator, json!({"title": "Match"})).await;
    let get = || async { reqwest::get(format!("{}{}", server.url(), slate_path(&live))).await.expect("an answer") };
    assert_eq!((&live["slate"], get().await.status()), (&Value::Null, StatusCode::NOT_FOUND));
    for (kind, codec) in [("image/jpeg", "mjpeg"), ("image/gif", "gif"), ("application/octet-stream", "png")] {
        assert_eq!(put(&creator, &live, kind, picture("blue", codec)).await.status(), StatusCode::OK, "{kind}");
    }
    assert_eq!(put(&other, &live, "image/png", picture("red", "png")).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(put(&creator, &live, "image/png", vec![7; 300_000]).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    for body in [Vec::new(), b"no picture".to_vec(), picture("red", "png")[..60].to_vec()] {
        let refused = put(&creator, &live, "image/png", body).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(get().await.status(), StatusCode::OK, "what was refused changes nothing");
    let bare = ask(&creator, creator.request(Method::DELETE, &slate_path(&live))).await;
    assert_eq!((&bare["slate"], get().await.status()), (&Value::Null, StatusCode::NOT_FOUND));
}
