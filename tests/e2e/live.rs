//! Live streams: published by ffmpeg over RTMP, watched over HLS while they go on.
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use playhouse::cli::client::Client;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::ladder::workers;
use crate::support::clients::{Telling, client, watch_live};
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::{enhanced_ffmpeg, output, until};

/// Longest wait for something that takes a second on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// ffmpeg feeding a stream; ended by its process id.
pub(crate) struct Publisher(Child);

/// H.264 as encoders for live streams are set up, a key frame every two seconds.
pub(crate) const H264: &str = "-c:v libx264 -preset ultrafast -tune zerolatency -g 60 -pix_fmt yuv420p -b:v 600k";

impl Publisher {
    pub(crate) fn start(url: &str, codecs: &str) -> Self {
        let source = "-re -f lavfi -i testsrc2=size=320x180:rate=30 -re -f lavfi -i sine=440:sample_rate=48000";
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error"]).args(source.split_whitespace()).args(codecs.split_whitespace());
        command.args(["-t", "1200", "-f", "flv", url]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("ffmpeg"))
    }

    /// With what speaks Enhanced RTMP; all that goes between its general arguments and the address.
    pub(crate) fn enhanced(url: &str, arguments: &str) -> Self {
        let mut command = Command::new(enhanced_ffmpeg());
        command.args(["-nostdin", "-v", "error"]).args(arguments.split_whitespace());
        command.args(["-t", "120", "-f", "flv", url]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("ffmpeg"))
    }

    /// Any program; all that it is given, and nothing of what it says.
    pub(crate) fn run(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("a publisher"))
    }

    /// The same, fed by another one.
    pub(crate) fn piped(mut source: Command, mut command: Command) -> [Self; 2] {
        let source = source.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut source = source.spawn().expect("a source");
        command.stdin(source.stdout.take().expect("what it makes")).stdout(Stdio::null()).stderr(Stdio::null());
        [Self(source), Self(command.spawn().expect("a publisher"))]
    }

    pub(crate) fn standard(url: &str) -> Self {
        Self::start(url, &format!("{H264} -c:a aac -b:a 96k"))
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.until_end()).await.expect("the publisher goes on and on")
    }

    /// How it ends, however long that takes.
    pub(crate) async fn until_end(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.0.try_wait().expect("its status") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the server answers to a request that it must take.
pub(crate) async fn ask(client: &Client, request: RequestBuilder) -> Value {
    let answer = client.send(request).await.unwrap_or_else(|error| panic!("{error}"));
    answer.json().await.expect("JSON")
}

pub(crate) async fn make(client: &Client, body: Value) -> Value {
    ask(client, client.request(Method::POST, "/api/v1/live").json(&body)).await
}

pub(crate) async fn show(client: &Client, live: &Value) -> Value {
    let path = format!("/api/v1/live/{}", live["id"].as_str().expect("an id"));
    ask(client, client.request(Method::GET, &path)).await
}

pub(crate) async fn in_state(client: &Client, live: &Value, state: &str) -> Value {
    until(&format!("the stream to be {state}"), PATIENCE, || async {
        Some(show(client, live).await).filter(|shown| shown["state"] == state)
    })
    .await
}

pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

/// A media playlist, as players without low latency fetch it.
pub(crate) async fn playlist(url: &str) -> String {
    let response = reqwest::get(url).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK, "{url}");
    response.text().await.expect("text")
}

pub(crate) fn media_url(live: &Value, track: &str) -> String {
    text(live, "/playback/hls").replace("master.m3u8", &format!("{track}/media.m3u8"))
}

/// Number of the newest segment, and how many parts of it are listed behind the last whole one.
fn edge(playlist: &str) -> (u64, u64) {
    let tag = |name: &str| playlist.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
    let first = tag("#EXT-X-MEDIA-SEQUENCE:").expect("a sequence number");
    let whole = playlist.lines().filter(|line| line.starts_with("#EXTINF")).count() as u64;
    let after = playlist.rsplit("#EXTINF").next().unwrap_or_default();
    (first + whole, after.lines().filter(|line| line.starts_with("#EXT-X-PART:")).count() as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_can_be_watched_at_once() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Concert"})).await;
    assert_eq!(live["state"], "idle");
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    let shown = in_state(&creator, &live, "live").await;
    assert!(shown["started_at"].is_string(), "{shown}");
    let manifest = text(&live, "/playback/hls");
    let multivariant = playlist(manifest).await;
    assert!(multivariant.contains("RESOLUTION=320x180") && multivariant.contains("mp4a.40.2"), "{multivariant}");
    let watched = output(Command::new("ffmpeg").args(["-v", "warning", "-i", manifest, "-t", "5", "-f", "null", "-"]));
    let said = String::from_utf8_lossy(&watched.stderr);
    assert!(watched.status.success() && complaints(&said).is_empty(), "{said}");
    let public: Value = reqwest::get(format!("{}/api/v1/live", server.url())).await.unwrap().json().await.unwrap();
    let listed = &public["data"][0];
    assert_eq!((&listed["id"], listed.get("stream_key")), (&live["id"], None), "a key is its owner's business");
    let pictured = until("a picture", PATIENCE, || async {
        Some(show(&creator, &live).await).filter(|shown| shown["thumbnail"].is_string())
    })
    .await;
    let picture = reqwest::get(text(&pictured, "/thumbnail")).await.expect("the picture").bytes().await.expect("bytes");
    assert_eq!(picture.get(..3), Some(&[0xff, 0xd8, 0xff][..]), "a JPEG of {} bytes", picture.len());
    let shown = show(&creator, &live).await;
    assert_eq!(shown["viewers"], json!(2), "ffmpeg, and this test: {shown}");
    let stats = &shown["ingest_stats"];
    assert_eq!((&stats["width"], &stats["gop_secs"]), (&json!(320), &json!(2.0)), "{stats}");
    assert_eq!((&stats["connected"], &stats["frame_rate"]), (&json!(true), &json!(30.0)), "{stats}");
}

/// What ffmpeg has to say, but that it hands itself the initialisation segment anew with every reload of a live playlist.
pub(crate) fn complaints(said: &str) -> Vec<&str> {
    let is_own =
        |line: &&str| line.ends_with("duplicated MOOV Atom. Skipped it") || line.contains("Last message repeated");
    said.lines().filter(|line| !is_own(line)).collect()
}

/// The last whole segment of a playlist, and whether it is a gap.
fn newest_segment(playlist: &str) -> (String, bool) {
    let lines: Vec<&str> = playlist.lines().collect();
    let last = lines.iter().rposition(|line| line.starts_with("#EXTINF")).expect("a segment");
    (lines[last + 1].to_owned(), lines[last - 1] == "#EXT-X-GAP")
}

/// Kills the worker that encodes a live stream's ladder, if there is one.
pub(crate) fn kill_ladder(server: &Server) -> bool {
    let is_live = |worker: &&i32| {
        std::fs::read_to_string(format!("/proc/{worker}/cmdline")).is_ok_and(|line| line.contains("--live"))
    };
    let worker = workers(server).iter().find(is_live).copied();
    worker.is_some_and(|worker| kill(Pid::from_raw(worker), Signal::SIGKILL).is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ladder_goes_with_its_stream_and_its_worker_may_die() {
    // However far behind a busy machine is, the rung is not given up.
    let server = ServerOptions::new().set("live.rungs", "[90]").set("live.rung_lag_max", "2m").start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Match", "ladder": "full", "dvr_window": 60})).await;
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    let has_rung = || async {
        let shown = show(&creator, &live).await;
        let encodes = shown["ingest_stats"]["ladder"]["added_latency_ms"].is_i64();
        let is_listed = encodes && playlist(text(&live, "/playback/hls")).await.contains("r90");
        is_listed.then_some(shown)
    };
    let shown = until("the rung", PATIENCE, has_rung).await;
    assert_eq!(shown["ingest_stats"]["ladder"]["rungs"][0]["name"], "r90", "{shown}");
    let multivariant = playlist(text(&live, "/playback/hls")).await;
    assert!(
        multivariant.contains("RESOLUTION=160x90") && multivariant.contains("RESOLUTION=320x180"),
        "{multivariant}"
    );
    let rung = media_url(&live, "r90");
    let watched = output(Command::new("ffmpeg").args(["-v", "warning", "-i", &rung, "-t", "4", "-f", "null", "-"]));
    let said = String::from_utf8_lossy(&watched.stderr);
    // What a busy machine encodes too late is a gap, which ffmpeg asks for all the same.
    let has_gap = playlist(&rung).await.contains("#EXT-X-GAP");
    assert!(watched.status.success() && (has_gap || complaints(&said).is_empty()), "{said}");
    assert!(kill_ladder(&server), "there is a worker of the stream's own");
    let killed_at = newest_segment(&playlist(&rung).await).0;
    until("the rung to go on", PATIENCE, || async {
        let restarts = show(&creator, &live).await["ingest_stats"]["ladder"]["restarts"].as_u64();
        let (newest, is_gap) = newest_segment(&playlist(&rung).await);
        (restarts == Some(1) && newest > killed_at && !is_gap).then_some(())
    })
    .await;
    let source = playlist(&media_url(&live, "v0")).await;
    assert!(!source.contains("#EXT-X-GAP"), "the source is untouched: {source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dash_lists_segments_that_are_not_alike() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Cuts"})).await;
    let keys = "-force_key_frames expr:gte(t,floor(n_forced*n_forced*0.3))";
    let codecs = format!("{H264} {keys} -c:a aac").replace("-g 60", "-g 250");
    let _publisher = Publisher::start(text(&live, "/ingest/rtmp"), &codecs);
    in_state(&creator, &live, "live").await;
    until("segments of other lengths", PATIENCE, || async {
        let shown = show(&creator, &live).await;
        let mpd = playlist(text(&live, "/playback/dash")).await;
        (shown["playback"]["low_latency_dash"] == json!(false) && mpd.contains("SegmentTimeline")).then_some(())
    })
    .await;
    let flags = ["--seconds", "5", "--latency-max", "25", "--whole"];
    watch_live(&server.url(), text(&live, "/playback/dash"), "dash.js", &flags).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_stream_goes_with_it_from_before_its_start_to_its_recording() {
    let server = ServerOptions::new().set("transcode.rungs", "[90]").start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Rehearsal"})).await;
    let mut page = Telling::start("live-page.mjs", &[&server.url(), text(&live, "/id"), "--latency-max", "20"]);
    page.wait_for("waiting");
    let publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    page.wait_for("plays");
    page.wait_for("afar");
    drop(publisher);
    page.wait_for("away");
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    page.wait_for("returns");
    end(&creator, &live).await;
    page.wait_for("ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_are_answered_when_the_part_is_there() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Match"})).await;
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&creator, &live, "live").await;
    let media = media_url(&live, "v0");
    for _ in 0..8 {
        let (segment, part) = edge(&playlist(&media).await);
        let next = playlist(&format!("{media}?_HLS_msn={segment}&_HLS_part={part}")).await;
        let found = edge(&next);
        assert!(found > (segment, part), "asked for {segment}.{part}, got {found:?}\n{next}");
        let hint = next.lines().find_map(|line| line.strip_prefix("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\""));
        let name = hint.and_then(|hint| hint.strip_suffix('"')).expect("a hint");
        let hinted = reqwest::get(media.replace("media.m3u8", name)).await.expect("the hinted part");
        assert_eq!(hinted.status(), StatusCode::OK, "{name}");
        assert!(hinted.bytes().await.expect("its bytes").len() > 100);
    }
    let (segment, _) = edge(&playlist(&media).await);
    let status = async |query: String| reqwest::get(format!("{media}?{query}")).await.expect("an answer").status();
    assert_eq!(status(format!("_HLS_msn={}", segment + 10)).await, StatusCode::BAD_REQUEST);
    assert_eq!(status("_HLS_part=1".into()).await, StatusCode::BAD_REQUEST);
    assert_eq!(status("_HLS_msn=x".into()).await, StatusCode::BAD_REQUEST);
    for unknown in ["v7/media.m3u8", "v0/999999999.m4s", "v0/init-77.mp4", "v0/init.mp4"] {
        let url = text(&live, "/playback/hls").replace("master.m3u8", unknown);
        assert_eq!(reqwest::get(url).await.expect("an answer").status(), StatusCode::NOT_FOUND, "{unknown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_publisher_wins_and_viewers_see_one_stream() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Show"})).await;
    let mut first = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&creator, &live, "live").await;
    let media = media_url(&live, "v0");
    let before = edge(&playlist(&media).await);
    let second = Publisher::standard(text(&live, "/ingest/rtmp"));
    first.ended().await;
    let after = until("segments of the second publisher", PATIENCE, || async {
        Some(playlist(&media).await).filter(|list| list.contains("#EXT-X-DISCONTINUITY\n"))
    })
    .await;
    assert!(edge(&after) > before, "{before:?} then\n{after}");
    let path = format!("/api/v1/live/{}/key", text(&live, "/id"));
    let rotated = ask(&creator, creator.request(Method::POST, &path)).await;
    let mut second = second;
    second.ended().await;
    let mut stale = Publisher::standard(text(&live, "/ingest/rtmp"));
    assert!(!stale.ended().await.success(), "the old key is good for nothing");
    let _third = Publisher::standard(text(&rotated, "/ingest/rtmp"));
    until("a third epoch", PATIENCE, || async {
        Some(playlist(&media).await).filter(|list| list.matches("#EXT-X-MAP").count() >= 3)
    })
    .await;
    let end = creator.request(Method::POST, &format!("/api/v1/live/{}/end", text(&live, "/id")));
    creator.send(end).await.expect("an end");
    in_state(&creator, &live, "ended").await;
    let ended = playlist(&media).await;
    assert!(ended.ends_with("#EXT-X-ENDLIST\n"), "{ended}");
    let mut late = Publisher::standard(text(&rotated, "/ingest/rtmp"));
    assert!(!late.ended().await.success(), "what has ended cannot be fed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_comes_back_goes_on_and_one_that_does_not_ends_the_broadcast() {
    let mut server = ServerOptions::new().set("live.reconnect_grace", "3s").start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Walk"})).await;
    let publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&creator, &live, "live").await;
    // Who leaves before there is anything to see leaves no trace.
    playlist(&media_url(&live, "v0")).await;
    drop(publisher);
    let publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    until("the return", PATIENCE, || async {
        Some(playlist(&media_url(&live, "v0")).await).filter(|list| list.contains("#EXT-X-DISCONTINUITY\n"))
    })
    .await;
    assert_eq!(show(&creator, &live).await["state"], "live");
    // The node dies with the broadcast, and is back before its publisher's time is over.
    server.kill9();
    server.restart();
    drop(publisher);
    let mut creator = server.client();
    creator.login("creator", "correct horse battery").await.expect("a sign-in");
    let live = show(&creator, &live).await;
    let publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    until("media after the restart", PATIENCE, || async {
        let response = reqwest::get(media_url(&live, "v0")).await.expect("an answer");
        (response.status() == StatusCode::OK).then_some(())
    })
    .await;
    drop(publisher);
    let ended = in_state(&creator, &live, "ended").await;
    assert!(ended["ended_at"].is_string(), "{ended}");
    // Three visits, before and after the crash, are one video.
    let video = creator.video(text(&ended, "/video_id")).await.expect("the recording");
    let hls = playlist(text(&video, "/video_urls/hls")).await;
    let media = text(&video, "/video_urls/hls").replace("master.m3u8", "v0-1/media.m3u8");
    // What the second one had sent before the crash may be less than a segment of both tracks.
    let breaks = playlist(&media).await.matches("#EXT-X-DISCONTINUITY").count();
    assert!((1..=2).contains(&breaks), "{hls}");
    decoded_secs(text(&video, "/video_urls/hls"));
}

/// Decodes all of a manifest with ffmpeg, which must not complain; returns the length of its pictures.
pub(crate) fn decoded_secs(manifest: &str) -> f64 {
    let arguments = ["-v", "warning", "-progress", "-", "-i", manifest, "-map", "0:v:0", "-map", "0:a:0"];
    let run = output(Command::new("ffmpeg").args(arguments).args(["-f", "null", "-"]));
    let said = String::from_utf8_lossy(&run.stderr);
    // Across a discontinuity ffmpeg moves times itself, and hands itself initialisation segments anew.
    let expected = ["timestamp discontinuity", "duplicated MOOV Atom. Skipped it"];
    let complaints: Vec<&str> = said.lines().filter(|line| !expected.iter().any(|one| line.contains(one))).collect();
    assert!(run.status.success() && complaints.is_empty(), "{manifest}: {said}");
    let progress = String::from_utf8_lossy(&run.stdout).into_owned();
    let mut micros = progress.lines().filter_map(|line| line.strip_prefix("out_time_us=")?.parse::<f64>().ok());
    micros.next_back().expect("a time") / 1e6
}

pub(crate) async fn end(client: &Client, live: &Value) {
    let end = client.request(Method::POST, &format!("/api/v1/live/{}/end", text(live, "/id")));
    client.send(end).await.expect("an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_broadcast_is_a_video_at_once_and_gets_its_rungs() {
    let server = ServerOptions::new().set("transcode.rungs", "[90]").start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Premiere", "description": "With an encore."})).await;
    let publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&creator, &live, "live").await;
    let media = media_url(&live, "v0");
    until("three segments", PATIENCE, || async { (edge(&playlist(&media).await).0 & 0xff_ffff >= 3).then_some(()) })
        .await;
    assert_eq!(show(&creator, &live).await["ingest_stats"]["recording"], json!(true));
    drop(publisher);
    // The encore is of another size, which ffmpeg cannot follow in HLS.
    let encore = "-vf scale=160:90 -c:a aac -ar 44100";
    let publisher = Publisher::start(text(&live, "/ingest/rtmp"), &format!("{H264} {encore}"));
    until("another epoch", PATIENCE, || async {
        let list = playlist(&media).await;
        let after = list.split("#EXT-X-DISCONTINUITY\n").nth(1)?;
        (after.matches("#EXTINF").count() >= 2).then_some(())
    })
    .await;
    end(&creator, &live).await;
    let ended = in_state(&creator, &live, "ended").await;
    drop(publisher);
    let video = creator.video(text(&ended, "/video_id")).await.expect("the video");
    assert_eq!((&video["title"], &video["description"]), (&json!("Premiere"), &json!("With an encore.")));
    assert!(["playable", "ready"].contains(&text(&video, "/status")), "{video}");
    let (hls, dash) = (text(&video, "/video_urls/hls"), text(&video, "/video_urls/dash"));
    assert!(video["duration"].as_f64().is_some_and(|secs| secs > 9.0), "{video}");
    let description = playlist(dash).await;
    assert_eq!(description.matches("<Period ").count(), 2, "{description}");
    let ready = until("the ladder", 2 * PATIENCE, || async {
        let video = creator.video(text(&ended, "/video_id")).await.expect("the video");
        Some(video).filter(|video| video["status"] == "ready")
    })
    .await;
    let renditions = ready["renditions"].as_array().expect("renditions");
    assert!(renditions.iter().any(|one| one["quality"] == "90p" || one["rung"] == "90p"), "{ready}");
    assert!(!ready["thumbnails"].as_array().expect("thumbnails").is_empty(), "{ready}");
    for (player, manifest) in [("hls.js", hls), ("shaka", hls), ("shaka", dash), ("dash.js", dash)] {
        let played = client("play-recording.mjs", &[&server.url(), manifest, "--player", player]);
        let heights = played["heights"].as_array().expect("heights");
        assert!(heights.contains(&json!(90)), "{player}: {played}");
        eprintln!("{player} {manifest}: {played}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_belong_to_their_owners() {
    let server = Server::start();
    let (creator, other) = (server.account("creator").await, server.account("other").await);
    let live = make(&creator, json!({"title": "Secret", "privacy": "private", "dvr_window": 60})).await;
    let path = format!("/api/v1/live/{}", text(&live, "/id"));
    let status = async |client: &Client, method: Method, path: &str| {
        client.request(method, path).send().await.expect("an answer").status()
    };
    assert_eq!(status(&other, Method::GET, &path).await, StatusCode::NOT_FOUND);
    assert_eq!(status(&other, Method::POST, &format!("{path}/end")).await, StatusCode::NOT_FOUND);
    let change = json!({"privacy": "public", "title": "Open"});
    let open = ask(&creator, creator.request(Method::PATCH, &path).json(&change)).await;
    assert_eq!((text(&open, "/title"), &open["dvr_window"]), ("Open", &json!(60)));
    let seen = ask(&other, other.request(Method::GET, &path)).await;
    assert!(seen.get("stream_key").is_none() && seen.get("ingest").is_none(), "{seen}");
    assert_eq!(status(&other, Method::DELETE, &path).await, StatusCode::FORBIDDEN);
    for window in [1, 100_000] {
        let bad = creator.request(Method::POST, "/api/v1/live").json(&json!({"title": "x", "dvr_window": window}));
        assert_eq!(bad.send().await.expect("an answer").status(), StatusCode::UNPROCESSABLE_ENTITY, "{window}");
    }
    assert_eq!(status(&creator, Method::DELETE, &path).await, StatusCode::NO_CONTENT);
    assert_eq!(status(&creator, Method::GET, &path).await, StatusCode::NOT_FOUND);
}

/// The value of a metric, labels included in its name.
fn metric(all: &str, name: &str) -> f64 {
    let found = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {all}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_normal_latency_is_whole_segments_and_metrics_tell_of_it() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Lecture", "latency": "normal"})).await;
    let publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&creator, &live, "live").await;
    let media = media_url(&live, "v0");
    let list = until("two segments", PATIENCE, || async {
        Some(playlist(&media).await).filter(|list| list.matches("#EXTINF").count() >= 2)
    })
    .await;
    assert!(!list.contains("#EXT-X-PART") && !list.contains("PRELOAD"), "{list}");
    assert!(list.contains("CAN-BLOCK-RELOAD=YES") && list.contains(",HOLD-BACK=6.0\n"), "{list}");
    let (next, _) = edge(&list);
    let reloaded = playlist(&format!("{media}?_HLS_msn={next}")).await;
    assert!(edge(&reloaded).0 > next, "answered when the segment is whole: {reloaded}");
    let watched = output(Command::new("ffmpeg").args(["-v", "warning", "-i", &media, "-t", "4", "-f", "null", "-"]));
    let said = String::from_utf8_lossy(&watched.stderr);
    assert!(watched.status.success() && complaints(&said).is_empty(), "{said}");
    assert_eq!(show(&creator, &live).await["playback"]["low_latency_dash"], json!(false));
    let told = || async { playlist(&format!("{}/metrics", server.url())).await };
    let all = until("what has happened", PATIENCE, || async {
        Some(told().await).filter(|all| all.contains("playhouse_live_epochs_total 1"))
    })
    .await;
    assert_eq!(metric(&all, "playhouse_live_streams{state=\"publishing\"}"), 1.0);
    assert_eq!(metric(&all, "playhouse_live_publishers{protocol=\"rtmp\"}"), 1.0);
    for name in [
        "playhouse_live_ingest_bytes_total{protocol=\"rtmp\"}",
        "playhouse_live_ingest_bits_per_second",
        "playhouse_live_viewers",
        "playhouse_live_part_lateness_seconds_count",
        "playhouse_live_playlist_requests_total{kind=\"blocking\"}",
    ] {
        assert!(metric(&all, name) > 0.0, "{name}");
    }
    drop(publisher);
    until("nobody to publish", PATIENCE, || async {
        let all = told().await;
        let publishers = metric(&all, "playhouse_live_publishers{protocol=\"rtmp\"}");
        (publishers == 0.0 && metric(&all, "playhouse_live_streams{state=\"away\"}") == 1.0).then_some(())
    })
    .await;
}
