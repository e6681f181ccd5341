//! What Enhanced RTMP brings: more codecs, and several tracks, published by an ffmpeg that speaks it.
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::live::{
    PATIENCE, Publisher, ask, complaints, decoded_secs, end, in_state, make, media_url, playlist, show, text,
};
use crate::live_validity::judge;
use crate::support::clients::{Checking, watch_live};
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::{output, until};

/// Pictures and sound, one of each.
const SOURCE: &str = "-re -f lavfi -i testsrc2=size=320x180:rate=30 -re -f lavfi -i sine=440:sample_rate=48000";
const HEVC_HDR: &str = "-vf setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc -c:v libx265 \
    -preset ultrafast -x265-params log-level=error -g 60 -pix_fmt yuv420p10le";
const AV1: &str = "-c:v libsvtav1 -preset 12 -g 60 -svtav1-params lp=1 -pix_fmt yuv420p";
const VP9: &str = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 60 -pix_fmt yuv420p -b:v 400k";
const OPUS: &str = "-c:a libopus -b:a 64k";
const H264: &str = "-c:v libx264 -preset ultrafast -tune zerolatency -g 60 -pix_fmt yuv420p";

/// Decodes some seconds of a live stream's pictures and sound with ffmpeg, which must not complain.
fn decode(live: &Value, seconds: &str) {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "warning"]);
    for track in ["v0", "a0"] {
        ffmpeg.args(["-live_start_index", "-1", "-i", &media_url(live, track)]);
    }
    let run = output(ffmpeg.args(["-map", "0:v", "-map", "1:a", "-t", seconds, "-f", "null", "-"]));
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && complaints(&said).is_empty(), "{said}");
}

/// The multivariant playlist, once it has all of these in it.
async fn listed(live: &Value, wanted: &[&str]) -> String {
    until(&format!("{wanted:?} to be listed"), PATIENCE, || async {
        let response = reqwest::get(text(live, "/playback/hls")).await.expect("an answer");
        let list = response.text().await.expect("text");
        wanted.iter().all(|wanted| list.contains(wanted)).then_some(list)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn hevc_of_ten_bits_and_opus_are_watched_live_and_as_a_video() {
    let server = ServerOptions::new().set("transcode.rungs", "[90]").start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Aurora"})).await;
    let publisher = Publisher::enhanced(text(&live, "/ingest/rtmp"), &format!("{SOURCE} {HEVC_HDR} {OPUS}"));
    in_state(&creator, &live, "live").await;
    listed(&live, &["hvc1.2.4.L60.", "opus", "RESOLUTION=320x180", "VIDEO-RANGE=PQ"]).await;
    decode(&live, "4");
    let arguments = [text(&live, "/playback/hls"), "--seconds", "8", "--late-ms", "2000"];
    judge(&Checking::start("validate-live.mjs", &arguments).summary(), &[]);
    let mpd = playlist(text(&live, "/playback/dash")).await;
    assert!(mpd.contains("codecs=\"hvc1.2.4.L60.") && mpd.contains("codecs=\"opus\""), "{mpd}");
    end(&creator, &live).await;
    drop(publisher);
    let ended = in_state(&creator, &live, "ended").await;
    let video = until("its rung", 2 * PATIENCE, || async {
        let video = creator.video(text(&ended, "/video_id")).await.expect("the video");
        Some(video).filter(|video| video["status"] == "ready")
    })
    .await;
    let hls = text(&video, "/video_urls/hls");
    let list = playlist(hls).await;
    assert!(list.contains("hvc1.2.4.L60.") && list.contains("VIDEO-RANGE=PQ") && list.contains("avc1."), "{list}");
    assert!(!list.contains("INDEPENDENT-SEGMENTS"), "groups of pictures of HEVC are open: {list}");
    assert!(decoded_secs(hls) > 4.0);
    assert_eq!(video["codec"], json!("hevc"), "{video}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hevc_has_a_ladder_and_a_picture() {
    // However long mapping of tones takes on a busy machine.
    let server = ServerOptions::new().set("live.rungs", "[90]").set("live.rung_lag_max", "60s").start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Aurora", "ladder": "full"})).await;
    let _publisher = Publisher::enhanced(text(&live, "/ingest/rtmp"), &format!("{SOURCE} {HEVC_HDR} {OPUS}"));
    in_state(&creator, &live, "live").await;
    listed(&live, &["r90/media.m3u8", "RESOLUTION=160x90", "avc1.", "hvc1."]).await;
    until("a picture", PATIENCE, || async {
        Some(show(&creator, &live).await).filter(|shown| shown["thumbnail"].is_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_play_av1_and_opus() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Talk"})).await;
    let _publisher = Publisher::enhanced(text(&live, "/ingest/rtmp"), &format!("{SOURCE} {AV1} {OPUS}"));
    in_state(&creator, &live, "live").await;
    listed(&live, &["av01.0.00M.08", "opus"]).await;
    for (player, manifest) in [("hls.js", "/playback/hls"), ("shaka", "/playback/dash")] {
        watch_live(&server.url(), text(&live, manifest), player, &["--seconds", "5", "--latency-max", "20"]).await;
    }
    decode(&live, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn codecs_are_pushed_to_servers_that_take_them() {
    let here = ServerOptions::new().set("live.push_to_private", "true").start();
    let there = Server::start();
    let (creator, other) = (here.account("creator").await, there.account("other").await);
    let live = make(&creator, json!({"title": "Talk"})).await;
    for (codecs, wanted) in
        [(format!("{HEVC_HDR} {OPUS}"), ["hvc1.2.4.", "opus"]), (format!("{VP9} -c:a flac"), ["vp09.", "flac"])]
    {
        let copy = make(&other, json!({"title": "Copy"})).await;
        let path = format!("/api/v1/live/{}/pushes", text(&live, "/id"));
        let push = json!({"url": text(&copy, "/ingest/rtmp")});
        ask(&creator, creator.request(Method::POST, &path).json(&push)).await;
        let publisher = Publisher::enhanced(text(&live, "/ingest/rtmp"), &format!("{SOURCE} {codecs}"));
        listed(&copy, &wanted).await;
        decode(&copy, "3");
        drop(publisher);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_codecs_are_watched_and_unknown_ones_are_refused() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let kinds = [
        (VP9, "-c:a flac", ["vp09.00.11.08", "flac"]),
        (H264, "-c:a ac3 -b:a 128k", ["avc1.", "ac-3"]),
        (H264, "-c:a eac3 -b:a 96k", ["avc1.", "ec-3"]),
        (H264, "-c:a libmp3lame -b:a 96k", ["avc1.", "mp4a.6B"]),
    ];
    for (pictures, sound, codecs) in kinds {
        let live = make(&creator, json!({"title": sound})).await;
        let _publisher = Publisher::enhanced(text(&live, "/ingest/rtmp"), &format!("{SOURCE} {pictures} {sound}"));
        listed(&live, &codecs).await;
        decode(&live, "2");
    }
    let live = make(&creator, json!({"title": "Relay"})).await;
    let url = text(&live, "/ingest/rtmp");
    let _first = Publisher::enhanced(url, &format!("{SOURCE} {H264} {OPUS}"));
    listed(&live, &["avc1.", "opus"]).await;
    let _second = Publisher::enhanced(url, &format!("{SOURCE} {VP9} -c:a flac"));
    listed(&live, &["vp09.00.11.08", "flac"]).await;
    let mut old = Publisher::enhanced(url, &format!("{SOURCE} -c:v flv -c:a aac"));
    assert!(!old.ended().await.success(), "Sorenson H.263 is refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_track_of_a_publisher_is_a_rendition() {
    let server = ServerOptions::new().set("live.rungs", "[90]").set("live.rung_lag_max", "60s").start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Parliament", "ladder": "full", "dvr_window": 60})).await;
    let more = "-re -f lavfi -i sine=880:sample_rate=48000 -map 0:v -map 0:v -map 1:a -map 2:a -s:v:1 160x90 -b:v:0 600k \
        -b:v:1 200k -c:a aac -b:a 96k";
    let publisher = Publisher::enhanced(text(&live, "/ingest/rtmp"), &format!("{SOURCE} {more} {H264}"));
    in_state(&creator, &live, "live").await;
    let tracks = ["RESOLUTION=320x180", "RESOLUTION=160x90", "v1/media.m3u8", "a1/media.m3u8"];
    let list = listed(&live, &tracks).await;
    assert_eq!(list.matches("#EXT-X-MEDIA:TYPE=AUDIO").count(), 2, "{list}");
    let summary =
        Checking::start("validate-live.mjs", &[text(&live, "/playback/hls"), "--seconds", "12", "--late-ms", "2000"]);
    judge(&summary.summary(), &[]);
    for (player, manifest) in [("hls.js", "/playback/hls"), ("shaka", "/playback/dash")] {
        watch_live(&server.url(), text(&live, manifest), player, &["--seconds", "5", "--latency-max", "20"]).await;
    }
    let shown = show(&creator, &live).await;
    assert_eq!(shown["ingest_stats"]["ladder"]["rungs"], json!([]), "what comes is not made again: {shown}");
    end(&creator, &live).await;
    drop(publisher);
    let ended = in_state(&creator, &live, "ended").await;
    let video = creator.video(text(&ended, "/video_id")).await.expect("the video");
    let list = playlist(text(&video, "/video_urls/hls")).await;
    assert!(["v0-1/", "v1-1/", "a0-1/", "a1-1/"].iter().all(|track| list.contains(track)), "{list}");
    assert!(decoded_secs(text(&video, "/video_urls/hls")) > 10.0);
}
