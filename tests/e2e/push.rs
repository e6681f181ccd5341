//! Broadcasts that are pushed to other servers while they go on.
use std::net::{TcpListener, UdpSocket};
use std::process::Command;

use playhouse::cli::client::Client;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::live::{PATIENCE, Publisher, ask, in_state, make, media_url, playlist, show, text};
use crate::support::clients::client;
use crate::support::server::{PASSWORD, Server, ServerOptions};
use crate::support::tools::{ffmpeg_complaints, ffprobe, of_cache, output, until};

fn private() -> Server {
    ServerOptions::new().set("live.push_to_private", "true").start()
}

fn pushes(live: &Value) -> String {
    format!("/api/v1/live/{}/pushes", text(live, "/id"))
}

async fn push_to(creator: &Client, live: &Value, body: Value) -> Value {
    ask(creator, creator.request(Method::POST, &pushes(live)).json(&body)).await
}

/// What is known of a push once it is so.
async fn push_in(creator: &Client, live: &Value, state: &str) -> Value {
    until(&format!("the push to be {state}"), PATIENCE, || async {
        let listed = ask(creator, creator.request(Method::GET, &pushes(live))).await;
        Some(listed["data"][0].clone()).filter(|push| push["stats"]["state"] == state)
    })
    .await
}

/// A server, somebody signed in to it, and a stream of theirs.
type Side = (Server, Client, Value);

/// One that pushes, and one with a stream like this to be pushed to.
async fn two_servers(copy: Value) -> (Side, Side) {
    let (here, there) = (private(), Server::start());
    let (creator, other) = (here.account("creator").await, there.account("other").await);
    let live = make(&creator, json!({"title": "Match"})).await;
    let copy = make(&other, copy).await;
    ((here, creator, live), (there, other, copy))
}

/// Where to publish to a stream, in two parts as services tell it.
fn application_and_key(live: &Value) -> (&str, &str) {
    let (url, key) = (text(live, "/ingest/rtmp"), text(live, "/stream_key"));
    let application = url.strip_suffix(&format!("/{key}")).expect("a URL that ends with the key");
    (application, key)
}

/// What a server tells of the copy it gets, once there is a segment of it; ffmpeg decodes that without a complaint.
pub(crate) async fn arrives(other: &Client, copy: &Value) -> Value {
    let stats = until("the copy's first segment", PATIENCE, || async {
        Some(show(other, copy).await["ingest_stats"].clone()).filter(|stats| stats["gop_secs"] == json!(2.0))
    })
    .await;
    let mut ffmpeg = Command::new("ffmpeg");
    let watched = output(ffmpeg.args(["-v", "error", "-i", &media_url(copy, "v0"), "-t", "4", "-f", "null", "-"]));
    assert!(watched.status.success() && watched.stderr.is_empty(), "{}", String::from_utf8_lossy(&watched.stderr));
    stats
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_goes_to_another_server_whatever_happens_there() {
    let ((here, creator, live), (_there, other, copy)) = two_servers(json!({"title": "Copy"})).await;
    let (application, key) = application_and_key(&copy);
    let made = push_to(&creator, &live, json!({"name": "Elsewhere", "url": application, "stream_key": key})).await;
    assert_eq!((&made["name"], &made["enabled"]), (&json!("Elsewhere"), &json!(true)));
    assert_eq!(made["url"], json!(format!("{application}/…")));
    let publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&other, &copy, "live").await;
    let sending = push_in(&creator, &live, "sending").await;
    assert_eq!(sending["stats"]["failures"], json!(0), "{sending}");
    let stats = arrives(&other, &copy).await;
    assert_eq!((&stats["width"], &stats["frame_rate"]), (&json!(320), &json!(30.0)), "{stats}");
    // Its owner over there takes another key: the old one is refused from now on.
    let path = format!("/api/v1/live/{}/key", text(&copy, "/id"));
    let rotated = ask(&other, other.request(Method::POST, &path)).await;
    let failed = push_in(&creator, &live, "failed").await;
    let own = media_url(&live, "v0");
    assert!(!playlist(&own).await.contains("#EXT-X-DISCONTINUITY"), "the broadcast notices nothing");
    let path = format!("{}/{}", pushes(&live), text(&made, "/id"));
    let changed = json!({"url": text(&rotated, "/ingest/rtmp")});
    ask(&creator, creator.request(Method::PATCH, &path).json(&changed)).await;
    push_in(&creator, &live, "sending").await;
    until("the copy to go on", PATIENCE, || async {
        let shown = show(&other, &copy).await;
        (shown["ingest_stats"]["connected"] == json!(true)).then_some(())
    })
    .await;
    // It is said goodbye to, not left waiting.
    let removed = creator.send(creator.request(Method::DELETE, &path)).await.expect("an answer");
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    until("the copy to be left", PATIENCE, || async {
        (show(&other, &copy).await["ingest_stats"]["connected"] == json!(false)).then_some(())
    })
    .await;
    for secret in [key, text(&rotated, "/stream_key")] {
        let told = format!("{made}{sending}{failed}{}", here.log_text());
        assert!(!told.contains(secret), "keys are secrets");
    }
    drop(publisher);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_peoples_servers_record_what_is_pushed() {
    let server = private();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Match"})).await;
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let url = format!("rtmp://127.0.0.1:{port}/live/key?from=here");
    push_to(&creator, &live, json!({"url": url})).await;
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    // Nobody is there yet.
    let failed = push_in(&creator, &live, "failed").await;
    assert!(text(&failed, "/stats/error").contains("refused"), "{failed}");
    let dir = tempfile::tempdir().expect("a directory");
    let recorded = dir.path().join("recorded.flv");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-listen", "1", "-i", &url, "-c", "copy"]).arg(&recorded);
    let mut listening = Publisher::run(ffmpeg);
    until("five seconds of it", PATIENCE, || async {
        let sending = push_in(&creator, &live, "sending").await;
        (sending["stats"]["bytes_sent"].as_u64() > Some(400_000)).then_some(())
    })
    .await;
    let path = format!("/api/v1/live/{}/end", text(&live, "/id"));
    creator.send(creator.request(Method::POST, &path)).await.expect("the end");
    assert!(listening.ended().await.success());
    let found = ffprobe(recorded.to_str().expect("a path"), &["-count_frames", "-show_streams"]);
    let streams = found["streams"].as_array().expect("streams");
    let frames = |kind: &str| {
        let stream = streams.iter().find(|stream| stream["codec_type"] == kind).expect("a stream");
        text(stream, "/nb_read_frames").parse::<u32>().expect("a number")
    };
    assert!(frames("video") > 100 && frames("audio") > 150, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_pushed_to_by_srt() {
    let wanted = json!({"title": "Copy", "srt_passphrase": "correct-horse"});
    let ((here, creator, live), (there, other, copy)) = two_servers(wanted).await;
    let port = there.port_of("srt");
    let server = format!("srt://127.0.0.1:{port}?passphrase=correct-horse&pbkeylen=32");
    let key = format!("publish:{}", text(&copy, "/stream_key"));
    let made = push_to(&creator, &live, json!({"url": server, "stream_key": key})).await;
    assert_eq!(made["url"], json!(format!("srt://127.0.0.1:{port}?…")));
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&other, &copy, "live").await;
    push_in(&creator, &live, "sending").await;
    arrives(&other, &copy).await;
    let path = format!("{}/{}", pushes(&live), text(&made, "/id"));
    let wrong = json!({"url": server.replace("correct", "another"), "stream_key": key});
    ask(&creator, creator.request(Method::PATCH, &path).json(&wrong)).await;
    let failed = push_in(&creator, &live, "failed").await;
    assert!(text(&failed, "/stats/error").starts_with("the server refuses"), "{failed}");
    assert!(!format!("{failed}{}", here.log_text()).contains(text(&copy, "/stream_key")), "keys are secrets");
    // The reference library's own listener.
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
    let dir = tempfile::tempdir().expect("a directory");
    let received = dir.path().join("received.ts");
    let mut listener = Command::new("ffmpeg");
    let url = format!("srt://127.0.0.1:{port}?mode=listener");
    listener.args(["-nostdin", "-v", "error", "-i", &url, "-c", "copy", "-flush_packets", "1"]).arg(&received);
    let _listener = Publisher::run(listener);
    push_to(&creator, &live, json!({"url": format!("srt://127.0.0.1:{port}")})).await;
    until("a megabyte", PATIENCE, || async { std::fs::metadata(&received).ok().filter(|file| file.len() > 1_000_000) })
        .await;
    let complaints = ffmpeg_complaints(received.to_str().expect("a path"));
    assert!(complaints.lines().all(|line| line.contains("truncated") || line.contains("corrupt")), "{complaints}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_pushed_to_by_whip() {
    let ((here, creator, live), (_there, other, copy)) = two_servers(json!({"title": "Copy"})).await;
    let (endpoint, key) = text(&copy, "/ingest/whip").rsplit_once('/').expect("an address with a key");
    let url = endpoint.replace("http://", "whip://");
    let made = push_to(&creator, &live, json!({"url": url, "stream_key": key})).await;
    assert_eq!(made["url"], json!(format!("{}/…", endpoint.split("/api").next().expect("a server"))));
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&other, &copy, "live").await;
    push_in(&creator, &live, "sending").await;
    let stats = until("the copy", PATIENCE, || async {
        Some(show(&other, &copy).await["ingest_stats"].clone()).filter(|stats| stats["gop_secs"].as_f64() > Some(1.9))
    })
    .await;
    assert_eq!((&stats["width"], &stats["link"]["media_damaged"]), (&json!(320), &json!(0)), "{stats}");
    let path = format!("{}/{}", pushes(&live), text(&made, "/id"));
    let wrong = json!({"url": url, "stream_key": format!("{key}x")});
    ask(&creator, creator.request(Method::PATCH, &path).json(&wrong)).await;
    let failed = push_in(&creator, &live, "failed").await;
    assert!(text(&failed, "/stats/error").starts_with("the server answers 401"), "{failed}");
    assert!(!format!("{failed}{}", here.log_text()).contains(key), "keys are secrets");
    creator.send(creator.request(Method::DELETE, &path)).await.expect("its deletion");
    // Another stack, which makes checks of its own and sends on once.
    let server = Aiortc::start(&["--token", "hush-hush"]);
    let url = format!("whip://127.0.0.1:{}/moved/whip", server.port);
    let made = push_to(&creator, &live, json!({"url": url, "stream_key": "hush-hush"})).await;
    let told = until("pictures and sound", PATIENCE, || async {
        let told = server.told().await?;
        let frames = |kind: &str| told[kind]["frames"].as_u64();
        (frames("video") > Some(90) && frames("audio") > Some(150)).then_some(told)
    })
    .await;
    assert_eq!((&told["video"]["sizes"], &told["refused"]), (&json!([[320, 180]]), &json!(0)), "{told}");
    assert!(told["audio"]["loud"].as_f64() > Some(0.05), "{told}");
    let path = format!("{}/{}", pushes(&live), text(&made, "/id"));
    creator.send(creator.request(Method::DELETE, &path)).await.expect("its deletion");
    until("the farewell", PATIENCE, || async { server.told().await.filter(|told| told["ended"] == 1) }).await;
    assert!(!here.log_text().contains("hush-hush"), "tokens are secrets");
}

/// A server by WHIP and WHEP that shares no code with ours.
pub(crate) struct Aiortc {
    pub(crate) port: u16,
    _process: Publisher,
}

impl Aiortc {
    pub(crate) fn start(further: &[&str]) -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/webrtc-server-aiortc.py");
        let mut command = Command::new(of_cache("aiortc/bin/python"));
        command.args([script, &port.to_string()]).args(further);
        Self { port, _process: Publisher::run(command) }
    }

    /// What it tells of itself, once it is there.
    pub(crate) async fn told(&self) -> Option<Value> {
        reqwest::get(format!("http://127.0.0.1:{}/", self.port)).await.ok()?.json().await.ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pushed_to_is_told() {
    let server = ServerOptions::new().set("live.pushes_max", "2").start();
    let (creator, stranger) = (server.account("creator").await, server.account("stranger").await);
    let live = make(&creator, json!({"title": "Match"})).await;
    let own = text(&live, "/ingest/rtmp");
    for (body, pointer) in [
        (json!({}), "/url"),
        (json!({"stream_key": "key"}), "/stream_key"),
        (json!({"url": "http://example.org/live/key"}), "/url"),
        (json!({"url": "rtmp://example.org/live/"}), "/url"),
        (json!({"url": "wheps://example.org/live/key"}), "/url"),
        (json!({"url": "rtmp://user:password@example.org/live/key"}), "/url"),
        (json!({"url": own}), "/url"),
        (json!({"url": "rtmp://example.org/live/key", "name": "two\nlines"}), "/name"),
    ] {
        let request = creator.request(Method::POST, &pushes(&live)).json(&body);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let problem: Value = answer.json().await.expect("a problem");
        assert_eq!(problem["errors"][0]["pointer"], json!(pointer), "{body}: {problem}");
    }
    let asked = stranger.request(Method::GET, &pushes(&live)).send().await.expect("an answer");
    assert!(matches!(asked.status(), StatusCode::FORBIDDEN | StatusCode::NOT_FOUND), "{}", asked.status());
    let port = server.port_of("rtmp");
    let body = json!({"url": format!("rtmp://127.0.0.1:{port}/live/key")});
    push_to(&creator, &live, body.clone()).await;
    push_to(&creator, &live, json!({"url": "rtmp://example.org/live/key", "enabled": false})).await;
    let full = creator.request(Method::POST, &pushes(&live)).json(&body).send().await.expect("an answer");
    assert_eq!(full.status(), StatusCode::CONFLICT);
    let _publisher = Publisher::standard(own);
    let failed = push_in(&creator, &live, "failed").await;
    assert!(text(&failed, "/stats/error").contains("public internet"), "{failed}");
    let listed = ask(&creator, creator.request(Method::GET, &pushes(&live))).await;
    assert_eq!(listed["data"][1].get("stats"), None, "what is not enabled is not tried: {listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_sends_a_stream_elsewhere() {
    let ((here, creator, live), (_there, _, copy)) = two_servers(json!({"title": "Copy"})).await;
    let (application, key) = application_and_key(&copy);
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&creator, &live, "live").await;
    let who = ["--user", "creator", "--password", PASSWORD, "--key", key];
    client("push-page.mjs", &[&[&here.url(), text(&live, "/id"), application][..], &who].concat());
}
