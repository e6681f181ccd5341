//! Streams that are fetched from other servers.
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use playhouse::cli::client::Client;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::kill::signed_in;
use crate::live::{H264, PATIENCE, Publisher, ask, in_state, make, media_url, show, text};
use crate::push::{Aiortc, arrives};
use crate::support::clients::client;
use crate::support::server::{PASSWORD, Server, ServerOptions};
use crate::support::tools::{output, until};

fn private() -> Server {
    ServerOptions::new().set("live.pull_from_private", "true").start()
}

fn path(live: &Value) -> String {
    format!("/api/v1/live/{}/pull", text(live, "/id"))
}

pub(crate) async fn pull_from(creator: &Client, live: &Value, body: Value) -> Value {
    ask(creator, creator.request(Method::PUT, &path(live)).json(&body)).await
}

/// What is known of a pull once it is so.
pub(crate) async fn pull_in(creator: &Client, live: &Value, state: &str) -> Value {
    until(&format!("the pull to be {state}"), PATIENCE, || async {
        let shown = ask(creator, creator.request(Method::GET, &path(live))).await;
        Some(shown).filter(|pull| pull["stats"]["state"] == state)
    })
    .await
}

/// What RTMP servers of others do: they send a stream to whoever plays it.
pub(crate) fn sends(url: &str) -> Publisher {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30"]);
    ffmpeg.args(["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
    ffmpeg.args(H264.split_whitespace()).args(["-c:a", "aac", "-t", "120", "-f", "flv", "-listen", "1", url]);
    Publisher::run(ffmpeg)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_fetched_by_srt_whatever_happens_there() {
    let (here, there) = (private(), Server::start());
    let (creator, other) = (here.account("creator").await, there.account("other").await);
    let origin = make(&other, json!({"title": "Origin", "permanent": true, "srt_passphrase": "correct-horse"})).await;
    let live = make(&creator, json!({"title": "Fetched"})).await;
    let publisher = Publisher::standard(text(&origin, "/ingest/rtmp"));
    in_state(&other, &origin, "live").await;
    let url = format!("{}&passphrase=correct-horse", text(&origin, "/playback/srt"));
    let made = pull_from(&creator, &live, json!({"url": url})).await;
    let shown = format!("srt://127.0.0.1:{}?…", there.port_of("srt"));
    assert_eq!((&made["url"], &made["enabled"]), (&json!(shown), &json!(true)));
    in_state(&creator, &live, "live").await;
    let stats = arrives(&creator, &live).await;
    assert!(stats["link"]["packets"].as_u64() > Some(100), "{stats}");
    // Whoever has the key comes first, and the pull comes back when they leave.
    let own = Publisher::standard(text(&live, "/ingest/rtmp"));
    pull_in(&creator, &live, "waiting").await;
    drop(own);
    pull_in(&creator, &live, "receiving").await;
    // The server there is gone for a moment, and its broadcast with it.
    drop(publisher);
    let end = format!("/api/v1/live/{}/end", text(&origin, "/id"));
    other.send(other.request(Method::POST, &end)).await.expect("its end");
    pull_in(&creator, &live, "failed").await;
    let _publisher = Publisher::standard(text(&origin, "/ingest/rtmp"));
    let again = pull_in(&creator, &live, "receiving").await;
    assert!(again["stats"]["failures"].as_u64() > Some(1), "{again}");
    assert_eq!(show(&creator, &live).await["state"], json!("live"), "the broadcast has waited for it");
    // Who ends the broadcast does not want it to begin anew.
    let end = format!("/api/v1/live/{}/end", text(&live, "/id"));
    creator.send(creator.request(Method::POST, &end)).await.expect("the end");
    in_state(&creator, &live, "ended").await;
    let off = ask(&creator, creator.request(Method::GET, &path(&live))).await;
    assert_eq!((&off["enabled"], &off["stats"]), (&json!(false), &Value::Null), "{off}");
    assert!(!here.log_text().contains("correct-horse"), "passphrases are secrets");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_fetched_by_rtmp_also_after_a_restart() {
    let mut here = private();
    let creator = here.account("creator").await;
    let live = make(&creator, json!({"title": "Fetched"})).await;
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let application = format!("rtmp://127.0.0.1:{port}/live");
    let made = pull_from(&creator, &live, json!({"url": application, "stream_key": "secret-name"})).await;
    assert_eq!(made["url"], json!(format!("{application}/…")));
    // Nobody is there yet.
    let failed = pull_in(&creator, &live, "failed").await;
    assert!(text(&failed, "/stats/error").contains("refused"), "{failed}");
    let url = format!("{application}/secret-name");
    let sender = sends(&url);
    pull_in(&creator, &live, "receiving").await;
    in_state(&creator, &live, "live").await;
    arrives(&creator, &live).await;
    here.kill9();
    drop(sender);
    let _sender = sends(&url);
    here.restart();
    let creator = signed_in(&here).await;
    pull_in(&creator, &live, "receiving").await;
    let gone = creator.send(creator.request(Method::DELETE, &path(&live))).await.expect("its deletion");
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert!(!format!("{failed}{}", here.log_text()).contains("secret-name"), "names of streams may be keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_fetched_by_whep() {
    let (here, there) = (private(), Server::start());
    let (creator, other) = (here.account("creator").await, there.account("other").await);
    let origin = make(&other, json!({"title": "Origin", "privacy": "private"})).await;
    let live = make(&creator, json!({"title": "Fetched"})).await;
    let _publisher = Publisher::standard(text(&origin, "/ingest/rtmp"));
    in_state(&other, &origin, "live").await;
    let whep = text(&show(&other, &origin).await, "/playback/whep").replace("http://", "whep://");
    let made = pull_from(&creator, &live, json!({"url": whep})).await;
    assert!(text(&made, "/url").ends_with("/…"), "{made}");
    pull_in(&creator, &live, "receiving").await;
    let stats = until("the copy", PATIENCE, || async {
        Some(show(&creator, &live).await["ingest_stats"].clone()).filter(|stats| stats["gop_secs"].as_f64() > Some(1.9))
    })
    .await;
    assert_eq!((&stats["width"], &stats["link"]["media_damaged"]), (&json!(320), &json!(0)), "{stats}");
    let token = whep.split("/t/").nth(1).and_then(|rest| rest.split('/').next()).expect("a token");
    assert!(!here.log_text().contains(token), "tokens are secrets");
    // Another stack, which asks for a token.
    let server = Aiortc::start(&["--token", "hush-hush"]);
    let url = format!("whep://127.0.0.1:{}/whep", server.port);
    pull_from(&creator, &live, json!({"url": url, "stream_key": "another-token"})).await;
    let failed = until("its refusal", PATIENCE, || async {
        let failed = pull_in(&creator, &live, "failed").await;
        text(&failed, "/stats/error").contains("401").then_some(failed)
    })
    .await;
    assert!(text(&failed, "/stats/error").contains("this token is not known here"), "{failed}");
    pull_from(&creator, &live, json!({"url": url, "stream_key": "hush-hush"})).await;
    pull_in(&creator, &live, "receiving").await;
    until("its pictures", PATIENCE, || async {
        let stats = show(&creator, &live).await["ingest_stats"].clone();
        (stats["link"]["packets"].as_u64() > Some(200) && stats["frame_rate"].as_f64() > Some(25.0)).then_some(())
    })
    .await;
    pull_from(&creator, &live, json!({"enabled": false})).await;
    until("the farewell", PATIENCE, || async { server.told().await.filter(|told| told["ended"] == 1) }).await;
}

/// A server that plays bars and a tone by RTSP.
struct RtspServer {
    url: String,
    process: std::process::Child,
}

impl RtspServer {
    fn start(further: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/rtsp-server.py");
        let mut process = Command::new("/usr/bin/python3");
        let mut process = process.arg(script).args(further).stdout(Stdio::piped()).spawn().expect("python3");
        let mut url = String::new();
        BufReader::new(process.stdout.take().expect("what it says")).read_line(&mut url).expect("its URL");
        Self { url: url.trim().to_owned(), process }
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_fetched_by_rtsp() {
    let here = private();
    let creator = here.account("creator").await;
    let live = make(&creator, json!({"title": "Camera"})).await;
    let camera = RtspServer::start(&["--user", "admin", "--password", "hush-hush"]);
    pull_from(&creator, &live, json!({"url": camera.url})).await;
    let failed = pull_in(&creator, &live, "failed").await;
    assert!(text(&failed, "/stats/error").contains("401"), "{failed}");
    let url = camera.url.replace("rtsp://", "rtsp://admin:hush-hush@");
    let made = pull_from(&creator, &live, json!({"url": url})).await;
    assert_eq!(made["url"], json!(camera.url.replace("/cam", "/…")));
    pull_in(&creator, &live, "receiving").await;
    in_state(&creator, &live, "live").await;
    let seen = arrives_every_second(&creator, &live).await;
    assert_eq!((&seen["width"], &seen["audio_codec"]), (&json!(320), &json!("mp4a.40.2")), "{seen}");
    // It is switched off and on, as cameras are, and sends pictures that overtake others now.
    let port = camera.url.rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
    drop(camera);
    pull_in(&creator, &live, "failed").await;
    let _camera = RtspServer::start(&["--port", &port, "--b-frames", "2"]);
    pull_in(&creator, &live, "receiving").await;
    arrives_every_second(&creator, &live).await;
    assert!(!here.log_text().contains("hush-hush"), "passwords are secrets");
    // HEVC, without sound.
    let other = RtspServer::start(&["--codec", "h265", "--silent"]);
    let second = make(&creator, json!({"title": "Another camera"})).await;
    pull_from(&creator, &second, json!({"url": other.url})).await;
    arrives_every_second(&creator, &second).await;
    // What nobody can use.
    let other = RtspServer::start(&["--codec", "vp8", "--silent"]);
    pull_from(&creator, &second, json!({"url": other.url})).await;
    let failed = pull_in(&creator, &second, "failed").await;
    assert!(text(&failed, "/stats/error").contains("no pictures in H.264 or HEVC"), "{failed}");
}

/// A directory that a server of files shows, and an encoder that writes playlists into it.
struct HlsServer {
    dir: tempfile::TempDir,
    port: u16,
    files: std::process::Child,
}

impl HlsServer {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(dir.path()).arg("0");
        let mut files = python.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("python3");
        let mut said = String::new();
        BufReader::new(files.stdout.take().expect("what it says")).read_line(&mut said).expect("its port");
        let port =
            said.split("port ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|port| port.parse().ok());
        Self { dir, port: port.unwrap_or_else(|| panic!("no port: {said}")), files }
    }

    fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// Begins to write segments of two seconds, with a key frame a second; further arguments end with the playlist's name.
    fn writes(&self, further: &[&str]) -> Publisher {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30"]);
        ffmpeg.args(["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-c:a", "aac", "-t", "120"]);
        ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-pix_fmt", "yuv420p"]);
        ffmpeg.args(["-f", "hls", "-hls_time", "2", "-hls_list_size", "5"]).args(further);
        ffmpeg.current_dir(self.dir.path());
        Publisher::run(ffmpeg)
    }
}

impl Drop for HlsServer {
    fn drop(&mut self) {
        let _ = self.files.kill();
        let _ = self.files.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_fetched_by_hls() {
    let settings = [("live.pull_from_private", "true"), ("live.idle_timeout", "5s")];
    let here = settings.into_iter().fold(ServerOptions::new(), |options, (key, value)| options.set(key, value)).start();
    let there = HlsServer::start();
    let creator = here.account("creator").await;
    let live = make(&creator, json!({"title": "Fetched"})).await;
    // Nothing is there yet; then transport streams, which end and begin anew.
    let made = pull_from(&creator, &live, json!({"url": there.url("ts.m3u8?token=hush-hush")})).await;
    assert_eq!(made["url"], json!(there.url("…")));
    let failed = pull_in(&creator, &live, "failed").await;
    assert!(text(&failed, "/stats/error").contains("404"), "{failed}");
    let encoder = there.writes(&["-bf", "0", "ts.m3u8"]);
    pull_in(&creator, &live, "receiving").await;
    in_state(&creator, &live, "live").await;
    let seen = arrives_every_second(&creator, &live).await;
    assert_eq!((&seen["width"], &seen["audio_codec"]), (&json!(320), &json!("mp4a.40.2")), "{seen}");
    drop(encoder);
    let failed = pull_in(&creator, &live, "failed").await;
    assert!(text(&failed, "/stats/error").contains("nothing came for 8 s"), "{failed}");
    let _encoder = there.writes(&["-bf", "0", "ts.m3u8"]);
    pull_in(&creator, &live, "receiving").await;
    // Fragments with pictures that overtake others, and sound in a playlist of its own.
    let split =
        ["-bf", "2", "-map", "0:v", "-map", "1:a", "-hls_segment_type", "fmp4", "-master_pl_name", "master.m3u8"];
    let named = ["-var_stream_map", "v:0,agroup:a,name:v a:0,agroup:a,name:a", "media-%v.m3u8"];
    let _split = there.writes(&[&split[..], &named].concat());
    let second = make(&creator, json!({"title": "Also fetched"})).await;
    pull_from(&creator, &second, json!({"url": there.url("master.m3u8")})).await;
    let seen = arrives_every_second(&creator, &second).await;
    assert_eq!((&seen["width"], &seen["audio_codec"]), (&json!(320), &json!("mp4a.40.2")), "{seen}");
    // From a server like this one, where only those with a token may watch.
    let origin = Server::start();
    let other = origin.account("other").await;
    let private = make(&other, json!({"title": "Origin", "privacy": "private"})).await;
    let _publisher = Publisher::standard(text(&private, "/ingest/rtmp"));
    in_state(&other, &private, "live").await;
    let url = text(&show(&other, &private).await, "/playback/hls").to_owned();
    let third = make(&creator, json!({"title": "From the like of it"})).await;
    pull_from(&creator, &third, json!({"url": url})).await;
    pull_in(&creator, &third, "receiving").await;
    arrives(&creator, &third).await;
    // What nobody can use.
    for (name, said) in [("", "no playlist of HLS"), ("media-v0.m4s", "no playlist of HLS")] {
        pull_from(&creator, &third, json!({"url": there.url(name)})).await;
        let failed = pull_in(&creator, &third, "failed").await;
        assert!(text(&failed, "/stats/error").contains(said), "{failed}");
    }
    let token = url.split("/t/").nth(1).and_then(|rest| rest.split('/').next()).expect("a token");
    let log = here.log_text();
    assert!(!log.contains("hush-hush") && !log.contains(token), "tokens are secrets");
}

/// Waits for what comes with a key frame a second, and decodes it.
async fn arrives_every_second(creator: &Client, live: &Value) -> Value {
    let stats = until("a segment", PATIENCE, || async {
        let stats = show(creator, live).await["ingest_stats"].clone();
        Some(stats).filter(|stats| stats["gop_secs"].as_f64().is_some_and(|secs| (0.9..1.1).contains(&secs)))
    })
    .await;
    let mut ffmpeg = Command::new("ffmpeg");
    let watched = output(ffmpeg.args(["-v", "error", "-i", &media_url(live, "v0"), "-t", "3", "-f", "null", "-"]));
    assert!(watched.status.success() && watched.stderr.is_empty(), "{}", String::from_utf8_lossy(&watched.stderr));
    stats
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fetches_a_stream_from_elsewhere() {
    let server = private();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Fetched"})).await;
    let sender = Aiortc::start(&["--token", "hush-hush"]);
    let url = format!("whep://127.0.0.1:{}/whep", sender.port);
    until("the server", PATIENCE, || sender.told()).await;
    let who = ["--user", "creator", "--password", PASSWORD, "--key", "hush-hush"];
    let page = [server.url(), text(&live, "/id").to_owned(), url];
    let page = move || client("pull-page.mjs", &[&page.each_ref().map(String::as_str)[..], &who].concat());
    tokio::task::spawn_blocking(page).await.expect("the page");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_is_said() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Fetched"})).await;
    let own = text(&live, "/playback/hls").rsplit('/').nth(1).expect("a playback id").to_owned();
    for (url, said) in [
        ("ftp://host/stream".to_owned(), "must begin with"),
        ("srt://host".to_owned(), "no host and port"),
        (format!("srt://localhost:1?streamid=read:{own}"), "leads back to this stream"),
    ] {
        let answer =
            creator.request(Method::PUT, &path(&live)).json(&json!({"url": url})).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{url}");
        let refused = answer.text().await.expect("a problem");
        assert!(refused.contains(said), "{url}: {refused}");
    }
    pull_from(&creator, &live, json!({"url": "rtmp://127.0.0.1/live/name"})).await;
    let failed = pull_in(&creator, &live, "failed").await;
    assert!(text(&failed, "/stats/error").contains("not an address of the public internet"), "{failed}");
    let off = pull_from(&creator, &live, json!({"enabled": false})).await;
    assert_eq!((&off["enabled"], &off["stats"]), (&json!(false), &Value::Null), "{off}");
}
