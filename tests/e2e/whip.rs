//! Publishers by WHIP: Chromium, and a stack of others that shares no code with it.
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use playhouse::cli::client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::live::{PATIENCE, Publisher, ask, complaints, in_state, make, media_url, playlist, show, text};
use crate::live_validity::judge;
use crate::support::clients::{Checking, Telling};
use crate::support::server::{PASSWORD, Server, ServerOptions};
use crate::support::tools::{ffprobe, of_cache, output, until};
use crate::whep::in_chromium;

/// aiortc, publishing until it is ended.
pub(crate) fn aiortc(url: &str, further: &[&str]) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/whip-aiortc.py");
    let mut command = Command::new(of_cache("aiortc/bin/python"));
    command.args([script, url]).args(further).stdin(Stdio::null());
    command
}

fn whip(live: &Value) -> &str {
    text(live, "/ingest/whip")
}

/// Decodes some seconds of what viewers get; how many pictures, and how loud the sound is.
fn decode(live: &Value) -> (usize, f64) {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "info", "-nostats"]);
    for track in ["v0", "a0"] {
        ffmpeg.args(["-live_start_index", "-2", "-i", &media_url(live, track)]);
    }
    let filters =
        ["-map", "0:v", "-map", "1:a", "-af", "volumedetect", "-vf", "showinfo", "-t", "4", "-f", "null", "-"];
    let run = output(ffmpeg.args(filters));
    let said = String::from_utf8_lossy(&run.stderr);
    let warnings: String = said.lines().filter(|line| line.contains("error") || line.contains("corrupt")).collect();
    assert!(run.status.success() && complaints(&warnings).is_empty(), "{said}");
    let loud = said.lines().find_map(|line| line.split("max_volume: ").nth(1)?.split(' ').next()?.parse().ok());
    (said.matches("pts_time:").count(), loud.unwrap_or(f64::MIN))
}

async fn listed(live: &Value, wanted: &[&str]) -> String {
    until(&format!("{wanted:?} to be listed"), PATIENCE, || async {
        let response = reqwest::get(text(live, "/playback/hls")).await.expect("an answer");
        let list = response.text().await.expect("text");
        wanted.iter().all(|wanted| list.contains(wanted)).then_some(list)
    })
    .await
}

async fn said(server: &Server, words: &str) {
    until(&format!("the log to say {words}"), PATIENCE, || async { server.log_text().contains(words).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_publishes_and_everybody_watches() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "From my desk"})).await;
    // So small that the browser does not begin with something smaller: ffmpeg takes the first size for that of all.
    let small = ["--width", "320", "--height", "180"];
    let url = server.url();
    let arguments = [&[url.as_str(), whip(&live)][..], &small].concat();
    let mut chromium = Telling::start("whip-chromium.mjs", &arguments);
    chromium.wait_for("connected");
    in_state(&creator, &live, "live").await;
    listed(&live, &["avc1.", "opus", "RESOLUTION="]).await;
    let (pictures, loud) = decode(&live);
    assert!(pictures > 20 && loud > -60.0, "{pictures} pictures, sound of {loud} dB");
    let stats = &show(&creator, &live).await["ingest_stats"];
    let link = &stats["link"];
    eprintln!("{stats}");
    assert_eq!(
        (&stats["connected"], &link["media_damaged"], &link["media_gaps"]),
        (&json!(true), &json!(0), &json!(0)),
        "{stats}"
    );
    let counted = |name: &str| link[name].as_u64().unwrap_or(0);
    assert!(
        counted("packets") > 100 && counted("key_frame_requests") > 1 && link["rtt_ms"].as_f64() > Some(0.0),
        "{link}"
    );
    let metrics = reqwest::get(format!("{}/metrics", server.url())).await.unwrap().text().await.unwrap();
    for wanted in ["playhouse_live_publishers{protocol=\"whip\"} 1", "playhouse_link_packets_total{protocol=\"whip\"}"]
    {
        assert!(metrics.contains(wanted), "no {wanted}");
    }
    drop(chromium);
    until("it to be gone", PATIENCE, || async {
        Some(show(&creator, &live).await).filter(|shown| shown["ingest_stats"]["connected"] == false)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_publishes_in_two_sizes_and_both_are_renditions() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Large and small"})).await;
    let options = [&server.url(), whip(&live), "--layers", "2", "--width", "640", "--height", "360"];
    let mut chromium = Telling::start("whip-chromium.mjs", &options);
    chromium.wait_for("connected");
    let list = listed(&live, &["RESOLUTION=640x360", "RESOLUTION=320x180", "v1/media.m3u8"]).await;
    assert_eq!(list.matches("RESOLUTION=").count(), 2, "{list}");
    let segments = async |rendition: &str| {
        let playlist = playlist(&media_url(&live, rendition)).await;
        let durations =
            playlist.lines().filter_map(|line| line.strip_prefix("#EXTINF:")?.split(',').next()?.parse().ok());
        (playlist.contains("#EXT-X-GAP"), durations.collect::<Vec<f64>>())
    };
    until("segments of both to begin together", PATIENCE, || async {
        let ((has_gap, large), (also_gap, small)) = (segments("v0").await, segments("v1").await);
        let count = large.len().min(small.len());
        let are_alike =
            large.iter().rev().zip(small.iter().rev()).take(2).all(|(one, other)| (one - other).abs() < 0.05);
        (count >= 3 && large.len() == small.len() && are_alike && !has_gap && !also_gap).then_some(())
    })
    .await;
    for (rendition, width) in [("v0", 640), ("v1", 320)] {
        let probed = ffprobe(
            &media_url(&live, rendition),
            &["-show_entries", "stream=width", "-show_entries", "packet=flags", "-read_intervals", "%+4"],
        );
        assert!(probed["streams"].as_array().expect("streams").iter().all(|one| one["width"] == width), "{probed}");
        let packets = probed["packets"].as_array().map_or(0, Vec::len);
        assert!(packets > 40, "{packets} pictures of {rendition}");
    }
    let stats = show(&creator, &live).await["ingest_stats"].clone();
    eprintln!("{stats}");
    assert_eq!((&stats["width"], &stats["link"]["media_damaged"]), (&json!(640), &json!(0)), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_choose_among_codecs() {
    let server = Server::start();
    let creator = server.account("creator").await;
    for (codec, listed_as) in [("VP9", "vp09."), ("AV1", "av01."), ("VP8", "avc1.")] {
        let live = make(&creator, json!({"title": codec})).await;
        let options = [&server.url(), whip(&live), "--codec", codec, "--width", "320", "--height", "180"];
        let mut chromium = Telling::start("whip-chromium.mjs", &options);
        chromium.wait_for("connected");
        listed(&live, &[listed_as, "opus"]).await;
        let (pictures, loud) = decode(&live);
        assert!(pictures > 10 && loud > -60.0, "{codec}: {pictures} pictures, sound of {loud} dB");
    }
}

/// Networks that let nothing through but connections, and firewalls that were opened for TCP alone.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_reached_by_udp_publishes_and_watches_by_tcp() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Behind a wall"})).await;
    let options = [&server.url(), whip(&live), "--tcp", "--flash", "--width", "320", "--height", "180"];
    let mut chromium = Telling::start("whip-chromium.mjs", &options);
    chromium.wait_for("connected");
    listed(&live, &["avc1.", "opus"]).await;
    let (pictures, loud) = decode(&live);
    assert!(pictures > 20 && loud > -60.0, "{pictures} pictures, sound of {loud} dB");
    let seen = in_chromium(&server, &show(&creator, &live).await, &["--tcp", "--seconds", "4"]).await;
    let count = |when: &str| seen.pointer(&format!("/{when}/video/frames")).and_then(Value::as_u64).unwrap_or(0);
    assert!(count("after") > count("before") + 40 && seen["after"]["by"] == "tcp", "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_stream_goes_live_by_keys() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Right here"})).await;
    let arguments = [&server.url(), text(&live, "/id"), "--user", "creator", "--password", PASSWORD];
    let mut page = Telling::start("go-live-page.mjs", &arguments);
    page.wait_for("live");
    in_state(&creator, &live, "live").await;
    listed(&live, &["avc1.", "opus"]).await;
    page.wait_for("stopped");
    until("it to be gone", PATIENCE, || async {
        Some(show(&creator, &live).await).filter(|shown| shown["ingest_stats"]["connected"] == false)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_stack_publishes_with_a_token_until_it_is_taken_over() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Relay", "permanent": true})).await;
    let (endpoint, key) = whip(&live).rsplit_once('/').expect("an address with a key");
    let first = Publisher::run(aiortc(endpoint, &["--token", key, "--flash"]));
    in_state(&creator, &live, "live").await;
    listed(&live, &["avc1.", "opus", "RESOLUTION=320x180"]).await;
    // A flash is a picture of its own kind: the first segments are of other lengths than those behind them.
    // Its pictures come at one rate; cameras of browsers take them when they like, and parts differ with them.
    let watched = [text(&live, "/playback/hls"), "--seconds", "12", "--late-ms", "3000"];
    let checking = Checking::start("validate-live.mjs", &watched);
    let (pictures, loud) = decode(&live);
    assert!(pictures > 40 && loud > -30.0, "{pictures} pictures, sound of {loud} dB");
    judge(&checking.summary(), &[]);

    let mut first = first;
    let mut second = Publisher::standard(text(&live, "/ingest/rtmp"));
    first.ended().await;
    said(&server, "another publisher has taken over").await;
    let mut third = Publisher::run(aiortc(whip(&live), &[]));
    assert!(!second.ended().await.success());
    until("the third one's figures", PATIENCE, || async {
        Some(show(&creator, &live).await).filter(|shown| shown["ingest_stats"]["link"]["packets"].as_u64() > Some(0))
    })
    .await;
    let path = format!("/api/v1/live/{}", text(&live, "/id"));
    let rotated = ask(&creator, creator.request(Method::POST, &format!("{path}/key"))).await;
    third.ended().await;
    said(&server, "the stream key has changed").await;
    assert_ne!(whip(&rotated), whip(&live));
    let refused = aiortc(whip(&live), &[]).output().expect("aiortc");
    let told: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(told["status"], 404, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_ended_is_not_published_to() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Over"})).await;
    let mut publisher = Publisher::run(aiortc(whip(&live), &[]));
    in_state(&creator, &live, "live").await;
    listed(&live, &["avc1."]).await;
    let end = creator.request(Method::POST, &format!("/api/v1/live/{}/end", text(&live, "/id")));
    creator.send(end).await.expect("its end");
    publisher.ended().await;
    in_state(&creator, &live, "ended").await;
    let refused = aiortc(whip(&live), &[]).output().expect("aiortc");
    let told: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(told["status"], 403, "{told}");
}

async fn sent(creator: &Client, live: &Value) -> u64 {
    show(creator, live).await["ingest_stats"]["link"]["packets"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_datagrams_cost_nobody_anything() {
    let server = ServerOptions::new().start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Quiet"})).await;
    let _publisher = Publisher::run(aiortc(whip(&live), &[]));
    in_state(&creator, &live, "live").await;
    listed(&live, &["avc1."]).await;
    // One that never connects, whose name is known to the stranger.
    let other = make(&creator, json!({"title": "Besieged"})).await;
    let begun = aiortc(whip(&other), &["--offer-only"]).output().expect("aiortc");
    let told: Value = serde_json::from_slice(&begun.stdout).expect("JSON");
    let name =
        text(&told, "/answer").lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).expect("a name").to_owned();
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a port");
    stranger.connect(("127.0.0.1", server.port_of("webrtc"))).expect("an address");
    let mut random = StdRng::seed_from_u64(7);
    let before = sent(&creator, &live).await;
    for round in 0..20_000u32 {
        let mut datagram: Vec<u8> = (0..random.random_range(0..1500)).map(|_| random.random()).collect();
        if round % 2 == 0 && datagram.len() > 60 {
            let first = [0, 20, 22, 23, 128, 200][random.random_range(0..6)];
            datagram[0] = first;
            datagram[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            let user = format!("{name}:x");
            datagram[20..22].copy_from_slice(&[0, 6]);
            datagram[22..24].copy_from_slice(&(user.len() as u16).to_be_bytes());
            datagram[24..24 + user.len()].copy_from_slice(user.as_bytes());
        }
        let _ = stranger.send(&datagram);
        if round % 200 == 0 {
            tokio::task::yield_now().await;
        }
    }
    until("media to go on", PATIENCE, || async { (sent(&creator, &live).await > before + 100).then_some(()) }).await;
    decode(&live);
    said(&server, "the publisher cannot be reached").await;
    assert!(!server.log_text().contains("panicked"), "{}", server.log_text());
    assert_eq!(show(&creator, &other).await["state"], "idle");
}
