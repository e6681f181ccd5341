//! A video shown from one of its segments to another.
use std::process::Command;

use playhouse::cli::client::Client;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::live::{ask, playlist, text};
use crate::support::clients::client;
use crate::support::server::ServerOptions;
use crate::support::tools::{ffmpeg_complaints, ffprobe, output};
use crate::uploads::playable;

/// Longest segment of the clip, seconds; one that comes from a grid.
const SEGMENT_MAX: f64 = 8.0;

fn clip() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let args = "-v error -f lavfi -i testsrc2=size=320x180:rate=25 -f lavfi -i sine=440:sample_rate=48000 -t 40 \
        -c:v libx264 -preset ultrafast -g 50 -pix_fmt yuv420p -c:a aac";
    let run = output(Command::new("ffmpeg").args(args.split_whitespace()).arg(dir.path().join("clip.mp4")));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    dir
}

async fn patch(creator: &Client, id: &str, body: Value) -> Value {
    ask(creator, creator.request(Method::PATCH, &format!("/api/v1/videos/{id}")).json(&body)).await
}

/// Length of what a manifest delivers, seconds.
fn length(manifest: &str) -> f64 {
    let probed = ffprobe(manifest, &["-select_streams", "v:0", "-show_entries", "packet=pts_time"]);
    let times = probed["packets"].as_array().expect("packets").iter();
    let times: Vec<f64> = times.filter_map(|packet| packet["pts_time"].as_str()?.parse().ok()).collect();
    let (first, last) = times.iter().fold((f64::MAX, f64::MIN), |(a, b), at| (a.min(*at), b.max(*at)));
    last - first + 0.04
}

fn secs(video: &Value, pointer: &str) -> f64 {
    video.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {video}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_video_is_shown_in_part_and_nothing_is_lost() {
    let server = ServerOptions::new().set("transcode.rungs", "[90]").start();
    let creator = server.account("creator").await;
    let dir = clip();
    let whole = playable(&creator, &dir.path().join("clip.mp4")).await;
    let id = text(&whole, "/id").to_owned();
    let (hls, dash) = (text(&whole, "/video_urls/hls"), text(&whole, "/video_urls/dash"));
    let full = secs(&whole, "/duration");
    let trimmed = patch(&creator, &id, json!({"trim": {"start": 11.0, "end": 21.0}})).await;
    let (start, end) = (secs(&trimmed, "/trim/start"), secs(&trimmed, "/trim/end"));
    assert!(start <= 11.0 && start > 11.0 - SEGMENT_MAX && (21.0..21.0 + SEGMENT_MAX).contains(&end), "{start} {end}");
    assert!((secs(&trimmed, "/duration") - (end - start)).abs() < 0.002, "{trimmed}");
    assert!((secs(&trimmed, "/trim/full_duration") - full).abs() < 0.002, "{trimmed}");
    for manifest in [hls, dash] {
        assert_eq!(ffmpeg_complaints(manifest), "", "{manifest}");
        let found = length(manifest);
        assert!((found - (end - start)).abs() < 0.1, "{manifest}: {found} of {}", end - start);
    }
    let first = hls.replace("master.m3u8", "v0-1/0.m4s");
    assert_eq!(reqwest::get(&first).await.expect("an answer").status(), StatusCode::NOT_FOUND, "it is cut off");
    for (player, manifest) in [("hls.js", hls), ("shaka", hls), ("shaka", dash)] {
        let played = client("play-recording.mjs", &[&server.url(), manifest, "--player", player]);
        assert!((secs(&played, "/duration") - (end - start)).abs() < 0.3, "{player}: {played}");
    }
    let session = ask(&creator, creator.request(Method::POST, &format!("/api/v1/videos/{id}/playback"))).await;
    assert_eq!(secs(&session, "/resume_position"), 0.0);
    let same = patch(&creator, &id, json!({"trim": {"start": start, "end": end}})).await;
    assert_eq!(same["trim"], trimmed["trim"], "on the cuts");
    for bad in [json!({"start": 30, "end": 20}), json!({"start": -1}), json!({"end": 1000}), json!({"from": 1})] {
        let refused = creator.request(Method::PATCH, &format!("/api/v1/videos/{id}")).json(&json!({"trim": bad}));
        assert_eq!(refused.send().await.expect("an answer").status(), StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
    let again = patch(&creator, &id, json!({"trim": null})).await;
    assert_eq!((&again["trim"], &again["duration"]), (&Value::Null, &whole["duration"]));
    assert!(playlist(&hls.replace("master.m3u8", "v0-1/media.m3u8")).await.contains("\n0.m4s\n"), "nothing is lost");
    assert_eq!(reqwest::get(&first).await.expect("an answer").status(), StatusCode::OK);
}
