//! Judging what a server delivers against the file it came from.
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::clips::standard;
use crate::support::server::Server;
use crate::support::tools::{ffmpeg_complaints, ffprobe};
use crate::uploads::{manifest_url, playable};

/// A/V offset and starts may move by this much, seconds.
const OFFSET_TOLERANCE: f64 = 0.020;

/// Durations may differ by a frame of the slowest clip, seconds: containers state or omit the last one's differently.
const DURATION_TOLERANCE: f64 = 0.085;

/// One track's extent on the timeline, seconds.
#[derive(Debug, Clone, Copy)]
struct Extent {
    start: f64,
    end: f64,
    packets: usize,
}

/// Asserts that a manifest decodes without complaint, with the source's packets, durations and A/V offset.
pub(crate) fn compare_with_source(source: &Path, manifest: &str) {
    let file = source.to_str().expect("a path of text");
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    assert_eq!(ffmpeg_complaints(manifest), "", "{name}: ffmpeg complains about {manifest}");
    let (expected, delivered) = (extents(file), extents(manifest));
    for (kind, want) in &expected {
        let got = delivered.iter().find(|(other, _)| other == kind);
        let (_, got) = got.unwrap_or_else(|| panic!("{name}: no {kind} is delivered"));
        let (want_length, got_length) = (want.end - want.start, got.end - got.start);
        let differs = (want_length - got_length).abs() > DURATION_TOLERANCE;
        assert!(!differs, "{name}: {kind} is {want_length:.3} s long, delivered {got_length:.3} s");
        // Demultiplexers of streams may leave out a packet of sound that comes before the first picture.
        let may_differ = usize::from(*kind == "audio" && !is_file(&name));
        let differ = want.packets.abs_diff(got.packets);
        assert!(differ <= may_differ, "{name}: {} packets of {kind}, delivered {}", want.packets, got.packets);
    }
    if let (Some(want), Some(got)) = (offset(&expected), offset(&delivered)) {
        // Where packets of sound before the first picture may be left out, sound may begin with the picture.
        let (want, got) = if is_file(&name) { (want, got) } else { (want.max(0.0), got.max(0.0)) };
        let moved = (want - got).abs();
        assert!(moved <= OFFSET_TOLERANCE, "{name}: sound is {got:.3} s after pictures, in the source {want:.3} s");
    }
    assert_eq!(expected.len(), delivered.len(), "{name}: tracks");
}

/// Whether a container is played as it is, rather than demultiplexed as a stream.
fn is_file(name: &str) -> bool {
    name.ends_with(".mp4") || name.ends_with(".mov")
}

/// Start and end of the first track of each kind, by the packets' presentation times.
fn extents(input: &str) -> Vec<(&'static str, Extent)> {
    const ENTRIES: &str = "packet=codec_type,stream_index,pts_time,duration_time";
    let probed = ffprobe(input, &["-show_entries", ENTRIES]);
    let packets = probed["packets"].as_array().cloned().unwrap_or_default();
    ["video", "audio"].into_iter().filter_map(|kind| Some((kind, extent(&packets, kind)?))).collect()
}

fn extent(packets: &[Value], kind: &str) -> Option<Extent> {
    let of_kind: Vec<&Value> = packets.iter().filter(|packet| packet["codec_type"] == kind).collect();
    let stream = &of_kind.first()?["stream_index"];
    let number = |packet: &Value, key: &str| packet[key].as_str().and_then(|text| text.parse::<f64>().ok());
    let times: Vec<(f64, f64)> = of_kind
        .iter()
        .filter(|packet| &packet["stream_index"] == stream)
        .filter_map(|packet| Some((number(packet, "pts_time")?, number(packet, "duration_time").unwrap_or(0.0))))
        .collect();
    let start = times.iter().map(|(pts, _)| *pts).fold(f64::INFINITY, f64::min);
    let end = times.iter().map(|(pts, duration)| pts + duration).fold(f64::NEG_INFINITY, f64::max);
    Some(Extent { start, end, packets: times.len() })
}

fn offset(extents: &[(&'static str, Extent)]) -> Option<f64> {
    let start = |kind| extents.iter().find(|(other, _)| *other == kind).map(|(_, extent)| extent.start);
    Some(start("audio")? - start("video")?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_survives_a_restart_and_a_kill() {
    let mut server = Server::start();
    let client = server.account("creator").await;
    let video = playable(&client, &standard()).await;
    let id = video["id"].as_str().expect("an id").to_owned();
    assert!(server.stop().success(), "a clean stop");
    server.restart();
    let after_stop = server.client().video(&id).await.expect("the video after a stop");
    assert_eq!(ffmpeg_complaints(&manifest_url(&server.client(), &after_stop)), "");
    server.kill9();
    server.restart();
    let after_kill = server.client().video(&id).await.expect("the video after a kill");
    assert_eq!(ffmpeg_complaints(&manifest_url(&server.client(), &after_kill)), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_cacheable_and_ranges_are_exact() {
    let server = Server::start();
    let client = server.account("creator").await;
    let video = playable(&client, &standard()).await;
    let segment = first_segment(&manifest_url(&client, &video)).await;
    let whole = reqwest::get(&segment).await.expect("a segment");
    let cache_control = whole.headers()["cache-control"].to_str().expect("text").to_owned();
    assert!(cache_control.contains("immutable") && cache_control.contains("max-age=31536000"), "{cache_control}");
    let etag = whole.headers()["etag"].clone();
    let bytes = whole.bytes().await.expect("its bytes");
    let http = reqwest::Client::new();
    let part = http.get(&segment).header("Range", "bytes=100-199").send().await.expect("a part");
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], format!("bytes 100-199/{}", bytes.len()));
    assert_eq!(part.bytes().await.expect("its bytes"), bytes.slice(100..200));
    let beyond = http.get(&segment).header("Range", "bytes=999999999-").send().await.expect("an answer");
    assert_eq!(beyond.status(), 416);
    let same = http.get(&segment).header("If-None-Match", etag).send().await.expect("an answer");
    assert_eq!(same.status(), 304);
}

/// The first segment of the first variant.
pub(crate) async fn first_segment(manifest: &str) -> String {
    let variant = first_uri(manifest).await;
    first_uri(&variant).await
}

/// The first URI line of a playlist, as an absolute URL.
async fn first_uri(playlist: &str) -> String {
    let response = reqwest::get(playlist).await.expect("a playlist");
    let base = response.url().clone();
    let text = response.error_for_status().expect("a playlist").text().await.expect("text");
    let line = text.lines().find(|line| !line.is_empty() && !line.starts_with('#'));
    base.join(line.unwrap_or_else(|| panic!("no URI in {text}"))).expect("a URL").into()
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_video_removes_every_byte() {
    let server = crate::support::server::ServerOptions::new().with_busy_janitor().start();
    let client = server.account("creator").await;
    let video = playable(&client, &standard()).await;
    let segment = first_segment(&manifest_url(&client, &video)).await;
    assert!(!server.blobs().is_empty(), "an original at least");
    let path = format!("/api/v1/videos/{}", video["id"].as_str().expect("an id"));
    client.send(client.request(reqwest::Method::DELETE, &path)).await.expect("a deletion");
    crate::support::tools::until("all bytes to go", Duration::from_secs(20), || async {
        server.blobs().is_empty().then_some(())
    })
    .await;
    assert_eq!(reqwest::get(&segment).await.expect("an answer").status(), 404);
}
