//! Viewers by WHEP: Chromium, and a stack of others that shares no code with it, whatever the publisher speaks.
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use playhouse::cli::client::Client;
use reqwest::Method;
use serde_json::{Value, json};

use crate::ladder::workers;
use crate::live::{H264, PATIENCE, Publisher, ask, in_state, make, show, text};
use crate::support::clients::{Telling, client};
use crate::support::lossy::{Lossy, LossyLine};
use crate::support::machine::{Came, undisturbed};
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::{of_cache, until};

/// How far sound and pictures may be apart, milliseconds.
pub(crate) const SKEW_MAX: f64 = 80.0;
/// A flash and a beep that begin each second together.
const FLASH: &str = "-re -f lavfi -i color=c=black:s=320x180:r=30,drawbox=c=white:t=fill:enable='lt(mod(t\\,1)\\,0.15)' \
    -re -f lavfi -i aevalsrc='if(lt(mod(t\\,1)\\,0.15)\\,0.5*sin(2*PI*1000*t)\\,0)':s=48000";
/// A line on which three of a hundred packets are lost, both ways.
const LOSSY: Lossy =
    Lossy { lost_per_mille: 30, lost_back_per_mille: 30, round_trip: Duration::from_millis(20), seed: 11 };
/// How long nothing gets through.
const OUTAGE: Duration = Duration::from_secs(5);
/// H.264 as encoders make it that nobody has told otherwise, with B-frames.
const B_FRAMES: &str = "-c:v libx264 -preset veryfast -bf 2 -g 60 -pix_fmt yuv420p -b:v 800k";

pub(crate) fn whep(live: &Value) -> &str {
    text(live, "/playback/whep")
}

/// aiortc, watching; what it says at its end is one line of JSON.
pub(crate) struct Viewer(Child);

impl Viewer {
    pub(crate) fn start(url: &str, further: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/whep-aiortc.py");
        let mut command = Command::new(of_cache("aiortc/bin/python"));
        command.args([script, url]).args(further).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().expect("aiortc"))
    }

    pub(crate) async fn told(mut self) -> Value {
        for _ in 0..PATIENCE.as_millis() / 50 {
            if self.0.try_wait().expect("its status").is_some() {
                let mut printed = String::new();
                let out = self.0.stdout.take().expect("what it says");
                std::io::Read::read_to_string(&mut { out }, &mut printed).expect("text");
                return serde_json::from_str(printed.trim()).unwrap_or_else(|error| panic!("{printed}: {error}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the viewer goes on and on");
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn watched(url: &str, further: &[&str]) -> Value {
    Viewer::start(url, further).told().await
}

/// Chromium, watching.
pub(crate) async fn in_chromium(server: &Server, live: &Value, further: &[&str]) -> Value {
    let arguments: Vec<String> =
        [&server.url(), whep(live)].into_iter().chain(further.iter().copied()).map(str::to_owned).collect();
    let watch = move || client("whep-chromium.mjs", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(watch).await.expect("Chromium")
}

/// The same; a flash and a beep that belong together come together.
async fn in_step(server: &Server, live: &Value) -> Value {
    undisturbed("sound and pictures", async || {
        let told = in_chromium(server, live, &["--settle", "40", "--seconds", "10", "--skew"]).await;
        eprintln!("first picture {} ms, skew {} ms", told["first_picture_ms"], told["skew"]["median_ms"]);
        let skews = ["/skew/median_ms", "/believed_skew_ms"].map(|skew| told.pointer(skew).and_then(Value::as_f64));
        let is_close = number(&told, "/skew/beeps") >= 6.0
            && skews.into_iter().all(|skew| skew.is_some_and(|skew| skew.abs() < SKEW_MAX));
        let reason = told.to_string();
        if is_close { Came::Good(told) } else { Came::Rough(told, reason) }
    })
    .await
}

/// How much a count of pictures has grown.
fn grown(told: &Value, what: &str) -> f64 {
    number(told, &format!("/after/video/{what}")) - number(told, &format!("/before/video/{what}"))
}

pub(crate) fn number(told: &Value, pointer: &str) -> f64 {
    told.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {told}"))
}

/// Pictures and sound go on.
pub(crate) fn plays(told: &Value) {
    assert_eq!((&told["status"], &told["ended"]), (&json!(201), &json!(true)), "{told}");
    assert!(number(told, "/video/frames") > 60.0 && number(told, "/audio/frames") > 100.0, "{told}");
    assert!(number(told, "/audio/loud") > 0.1, "{told}");
}

async fn stats(creator: &Client, live: &Value) -> Value {
    show(creator, live).await["ingest_stats"]["whep"].clone()
}

async fn begun(creator: &Client, live: &Value) {
    in_state(creator, live, "live").await;
}

/// Waits until a publisher is there, or is not.
async fn connected(creator: &Client, live: &Value, is: bool) {
    until("a publisher to come or go", PATIENCE, || async {
        Some(show(creator, live).await).filter(|shown| shown["ingest_stats"]["connected"] == is)
    })
    .await;
}

/// A server that takes no pictures of what is live meanwhile: that makes a small machine play sound late.
pub(crate) fn quiet() -> ServerOptions {
    ServerOptions::new().set("live.thumbnail_interval", "10m")
}

/// Whether a process encodes for viewers: the streams here have no ladder.
pub(crate) fn has_encoder(server: &Server) -> bool {
    let is_live = |worker: &i32| {
        std::fs::read_to_string(format!("/proc/{worker}/cmdline")).is_ok_and(|line| line.contains("--live"))
    };
    workers(server).iter().any(is_live)
}

/// ffmpeg, making a flash and a beep a second of these codecs, in this format.
pub(crate) fn flash(codecs: &str, (format, to): (&str, &str)) -> Command {
    let mut command = Command::new("ffmpeg");
    let arguments = FLASH.split_whitespace().map(|word| word.replace('\'', ""));
    command.args(["-nostdin", "-v", "error"]).args(arguments).args(codecs.split_whitespace());
    command.args(["-t", "600", "-f", format, to]);
    command
}

fn flashing(url: &str, codecs: &str) -> Publisher {
    Publisher::run(flash(codecs, ("flv", url)))
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_watch_in_step_with_sound() {
    let server = quiet().start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Fireworks"})).await;
    let _publisher = flashing(text(&live, "/ingest/rtmp"), &format!("{H264} -c:a aac -b:a 96k"));
    begun(&creator, &live).await;
    let told = in_step(&server, &live).await;
    assert_eq!((&told["ok"], &told["deleted"]), (&json!(true), &json!(200)), "{told}");
    assert_eq!(told["after"]["video"]["codec"], "video/H264");
    assert_eq!(told["streams"].as_array().map(Vec::len), Some(1), "both are of one stream: {told}");
    let frames = number(&told, "/after/video/frames") - number(&told, "/before/video/frames");
    assert!(frames > 120.0 && number(&told, "/after/audio/energy") > 0.0, "{told}");
    until("nobody to be left", PATIENCE, || async { stats(&creator, &live).await.is_null().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codecs_that_a_viewer_takes_go_as_they_come() {
    let server = Server::start();
    let creator = server.account("creator").await;
    for codec in ["VP9", "AV1"] {
        let live = make(&creator, json!({"title": codec})).await;
        let url = server.url();
        let options =
            [url.as_str(), text(&live, "/ingest/whip"), "--codec", codec, "--width", "320", "--height", "180"];
        let mut publisher = Telling::start("whip-chromium.mjs", &options);
        publisher.wait_for("connected");
        begun(&creator, &live).await;
        let told = in_chromium(&server, &live, &["--seconds", "4"]).await;
        assert_eq!(told["after"]["video"]["codec"], format!("video/{codec}"), "{told}");
        let frames = number(&told, "/after/video/frames") - number(&told, "/before/video/frames");
        assert!(frames > 30.0 && number(&told, "/after/audio/energy") > 0.0, "{told}");
        // Who does not take it gets H.264.
        // What encodes for it starts with it, which takes a while.
        let viewer = Viewer::start(whep(&live), &["--seconds", "6"]);
        let stats = until("the reason", PATIENCE, || async {
            Some(stats(&creator, &live).await).filter(|stats| stats["encoded"] == true)
        })
        .await;
        assert_eq!(stats["reason"], format!("the source is {codec}, which not every viewer's browser takes"));
        let told = viewer.told().await;
        assert!(number(&told, "/video/frames") > 30.0, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_browsers_do_not_decode_is_encoded() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let source = "-re -f lavfi -i testsrc2=size=320x180:rate=30 -re -f lavfi -i sine=440:sample_rate=44100";
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=error:bframes=0 -g 60 -pix_fmt yuv420p";
    let reason = "the source is HEVC, which not every viewer's browser takes";
    for (codecs, reason) in [
        (format!("{hevc} -ar 48000 -c:a ac3 -b:a 128k"), Some(reason)),
        (format!("{H264} -c:a libmp3lame -b:a 96k"), None),
    ] {
        let live = make(&creator, json!({"title": "Old tape"})).await;
        let _publisher = Publisher::enhanced(text(&live, "/ingest/rtmp"), &format!("{source} {codecs}"));
        begun(&creator, &live).await;
        let viewer = Viewer::start(whep(&live), &["--seconds", "4"]);
        let stats = until("the reason", PATIENCE, || async {
            Some(stats(&creator, &live).await).filter(|stats| stats["sound_encoded"] == true)
        })
        .await;
        assert_eq!((stats["reason"].as_str(), &stats["encoded"]), (reason, &json!(reason.is_some())), "{codecs}");
        plays(&viewer.told().await);
    }
}

/// What is lost is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn viewers_over_a_line_that_loses_packets_go_on() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Far away"})).await;
    let _publisher = flashing(text(&live, "/ingest/rtmp"), &format!("{H264} -b:v 2M -c:a aac -b:a 96k"));
    begun(&creator, &live).await;
    let address = format!("127.0.0.1:{}", server.port_of("webrtc")).parse().expect("an address");
    let line = LossyLine::start(address, LOSSY).await;
    let port = line.address.port().to_string();
    let told = undisturbed("a lossy line", async || {
        let told = in_chromium(&server, &live, &["--port", &port, "--settle", "4", "--seconds", "20"]).await;
        assert!(grown(&told, "frames") > 200.0, "{told}");
        // Freezes are less than 2 % of the time.
        let (is_smooth, reason) = (grown(&told, "frames") > 560.0 && grown(&told, "frozenS") < 0.4, told.to_string());
        if is_smooth { Came::Good(told) } else { Came::Rough(told, reason) }
    })
    .await;
    eprintln!("{}", told["after"]["video"]);
    assert!(number(&told, "/after/video/nacks") > 0.0, "{told}");
    let metrics = reqwest::get(format!("{}/metrics", server.url())).await.unwrap().text().await.unwrap();
    let again = "playhouse_link_packets_recovered_total{protocol=\"whep\"} ";
    let again = metrics.lines().find_map(|line| line.strip_prefix(again)?.parse::<u64>().ok());
    assert!(again.is_some_and(|count| count > 5), "{again:?}");
    // Nothing at all gets through for a while.
    let is_watched = async || stats(&creator, &live).await["viewers"] == 1;
    let (comes, goes) =
        (|| async { is_watched().await.then_some(()) }, || async { (!is_watched().await).then_some(()) });
    until("the viewer before to be gone", PATIENCE, goes).await;
    let cut = async {
        until("the viewer", PATIENCE, comes).await;
        // Its handshake loses packets, too.
        tokio::time::sleep(Duration::from_secs(8)).await;
        line.cut_for(OUTAGE).await;
    };
    let over_the_line = ["--port", &port, "--seconds", "25"];
    let (told, ()) = tokio::join!(in_chromium(&server, &live, &over_the_line), cut);
    assert_eq!(told["after"]["state"], "connected", "{told}");
    assert!(grown(&told, "frames") > 300.0, "{told}");
}

/// The ladder's rungs are for who has less than the source needs, until they have more again.
#[tokio::test(flavor = "multi_thread")]
async fn viewers_over_a_narrow_line_are_sent_a_rung_for_as_long() {
    let server = quiet().start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "From the train", "ladder": "full"})).await;
    let mut encoder = Command::new("ffmpeg");
    let source = "-re -f lavfi -i testsrc2=size=640x360:rate=30 -re -f lavfi -i sine=440:sample_rate=48000 -t 600";
    let codecs = "-c:v libx264 -preset ultrafast -tune zerolatency -g 30 -b:v 2500k -minrate 2500k -maxrate 2500k \
        -bufsize 500k -x264-params nal-hrd=cbr -pix_fmt yuv420p -c:a aac -f flv";
    encoder.args(["-nostdin", "-v", "error"]).args(source.split_whitespace()).args(codecs.split_whitespace());
    encoder.arg(text(&live, "/ingest/rtmp"));
    let _publisher = Publisher::run(encoder);
    begun(&creator, &live).await;
    until("a rung", PATIENCE, || async {
        let latency = &show(&creator, &live).await["ingest_stats"]["ladder"]["added_latency_ms"];
        latency.is_i64().then_some(())
    })
    .await;
    let address = format!("127.0.0.1:{}", server.port_of("webrtc")).parse().expect("an address");
    let line = LossyLine::start(address, Lossy { lost_per_mille: 0, lost_back_per_mille: 0, ..LOSSY }).await;
    let (url, port) = (server.url(), line.address.port().to_string());
    let mut viewer =
        Telling::start("whep-chromium.mjs", &[&url, whep(&live), "--port", &port, "--sizes", "--seconds", "90"]);
    viewer.wait_for("640x360");
    line.narrow_to(1_200_000);
    viewer.wait_for("426x240");
    line.narrow_to(0);
    viewer.wait_for("640x360");
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_over_a_line_that_loses_packets_go_on() {
    let server = quiet().start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "On the road", "ladder": "source"})).await;
    let address = format!("127.0.0.1:{}", server.port_of("webrtc")).parse().expect("an address");
    let line = LossyLine::start(address, LOSSY).await;
    let (url, port) = (server.url(), line.address.port().to_string());
    let options = [&url, text(&live, "/ingest/whip"), "--port", &port, "--width", "320", "--height", "180"];
    let mut publisher = Telling::start("whip-chromium.mjs", &options);
    publisher.wait_for("connected");
    begun(&creator, &live).await;
    undisturbed("a lossy line", async || {
        let told = in_chromium(&server, &live, &["--settle", "4", "--seconds", "20"]).await;
        let (is_smooth, reason) = (grown(&told, "frozenS") < 0.4, told.to_string());
        assert!(grown(&told, "frames") > 200.0, "{told}");
        if is_smooth { Came::Good(()) } else { Came::Rough((), reason) }
    })
    .await;
    line.cut_for(OUTAGE).await;
    let told = in_chromium(&server, &live, &["--settle", "3", "--seconds", "5"]).await;
    // The browser finds out step by step how much the line carries again.
    assert!(grown(&told, "frames") > 20.0, "{told}");
    assert_eq!(show(&creator, &live).await["ingest_stats"]["connected"], true, "the same publisher goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_start_ice_anew() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "On the train"})).await;
    let _publisher = flashing(text(&live, "/ingest/rtmp"), &format!("{H264} -c:a aac -b:a 96k"));
    begun(&creator, &live).await;
    let told = in_chromium(&server, &live, &["--restart", "--seconds", "6"]).await;
    assert_eq!((&told["ok"], &told["restarted"]), (&json!(true), &json!(200)), "{told}");
    let frames = number(&told, "/after/video/frames") - number(&told, "/before/video/frames");
    assert!(frames > 120.0 && told["after"]["state"] == "connected", "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_with_b_frames_are_encoded_while_somebody_needs_them() {
    let server = quiet().start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Film"})).await;
    let _publisher = flashing(text(&live, "/ingest/rtmp"), &format!("{B_FRAMES} -c:a aac -b:a 96k"));
    begun(&creator, &live).await;
    let viewer = Viewer::start(whep(&live), &["--seconds", "4"]);
    let told = until("the reason", PATIENCE, || async {
        Some(stats(&creator, &live).await).filter(|stats| stats["encoded"] == true)
    })
    .await;
    let expected = json!({"viewers": 1, "encoded": true, "reason": "the source has B-frames", "sound_encoded": true});
    assert_eq!(told, expected);
    let told = viewer.told().await;
    plays(&told);
    assert_eq!(told["video"]["sizes"], json!([[320, 180]]), "{told}");
    in_step(&server, &live).await;
    assert!(has_encoder(&server));
    until("the encoder to be gone", PATIENCE, || async { (!has_encoder(&server)).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_stack_watches_and_ends_its_session() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Regatta", "ladder": "source"})).await;
    let _publisher = flashing(text(&live, "/ingest/rtmp"), &format!("{H264} -c:a aac -b:a 96k"));
    begun(&creator, &live).await;
    let told = watched(whep(&live), &["--seconds", "5"]).await;
    plays(&told);
    assert_eq!((&told["deleted"], &told["deleted_again"]), (&json!(200), &json!(404)));
    assert!(text(&told, "/location").contains("/api/v1/whep/sessions/"), "{told}");
    let metrics = reqwest::get(format!("{}/metrics", server.url())).await.unwrap().text().await.unwrap();
    let counted = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name}{{protocol=\"whep\"}} ")));
        line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    };
    assert!(counted("playhouse_link_packets_total") > 100.0 && counted("playhouse_live_egress_bytes_total") > 10_000.0);
    assert_eq!(counted("playhouse_live_readers"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_public_is_watched_with_its_token_alone() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Rehearsal", "privacy": "private"})).await;
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    begun(&creator, &live).await;
    let url = whep(&live).to_owned();
    let (base, rest) = url.split_once("/t/").expect("a token");
    let (token, path) = rest.split_once('/').expect("a path");
    let bare = format!("{base}/{path}");
    for stranger in [bare.clone(), url.replace(token, &format!("{token}A")), bare.replace("plb_", "plb_x")] {
        assert_eq!(watched(&stranger, &[]).await["status"], 404, "{stranger}");
    }
    assert_eq!(watched(&bare, &["--token", "no"]).await["status"], 404);
    plays(&watched(&bare, &["--token", token]).await);
    plays(&watched(&url, &[]).await);
    // Who may watch no more is hung up on.
    let path = format!("/api/v1/live/{}", text(&live, "/id"));
    let change = |privacy: &str| creator.request(Method::PATCH, &path).json(&json!({"privacy": privacy}));
    let opened = ask(&creator, change("public")).await;
    assert_eq!(whep(&opened), bare);
    let viewer = Viewer::start(&bare, &["--until-ended"]);
    until("the viewer", PATIENCE, || async {
        Some(()).filter(|()| server.log_text().matches("whep session begun").count() == 3)
    })
    .await;
    until("it to watch", PATIENCE, || async {
        Some(stats(&creator, &live).await).filter(|stats| stats["viewers"] == 1)
    })
    .await;
    ask(&creator, change("private")).await;
    assert_eq!(viewer.told().await["ended"], true);
    assert!(server.log_text().contains("whep session ended"), "{}", server.log_text());
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_outlive_their_publisher() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Marathon"})).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/whip-aiortc.py");
    let publish = || {
        let mut command = Command::new(of_cache("aiortc/bin/python"));
        command.args([script, text(&live, "/ingest/whip")]);
        Publisher::run(command)
    };
    let first = publish();
    begun(&creator, &live).await;
    connected(&creator, &live, true).await;
    let viewer = Viewer::start(whep(&live), &["--until-ended"]);
    until("it to watch", PATIENCE, || async {
        Some(stats(&creator, &live).await).filter(|stats| stats["viewers"] == 1)
    })
    .await;
    let sound = stats(&creator, &live).await;
    assert_eq!(
        (&sound["encoded"], &sound["sound_encoded"]),
        (&json!(false), &json!(false)),
        "Opus and H.264 go as they are"
    );
    let sent = || async {
        let metrics = reqwest::get(format!("{}/metrics", server.url())).await.unwrap().text().await.unwrap();
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("playhouse_live_egress_bytes_total{protocol=\"whep\"} "));
        line.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)
    };
    until("media", PATIENCE, || async { (sent().await > 100_000).then_some(()) }).await;
    drop(first);
    connected(&creator, &live, false).await;
    let _second = publish();
    connected(&creator, &live, true).await;
    let before = sent().await;
    until("media to go on", PATIENCE, || async { (sent().await > before + 50_000).then_some(()) }).await;
    let end = creator.request(Method::POST, &format!("/api/v1/live/{}/end", text(&live, "/id")));
    creator.send(end).await.expect("its end");
    let told = viewer.told().await;
    assert!(
        told["ended"] == true && number(&told, "/video/frames") > 60.0 && number(&told, "/audio/frames") > 100.0,
        "{told}"
    );
    assert!(server.log_text().contains("the stream is over"));
    assert_eq!(watched(whep(&live), &[]).await["status"], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_are_refused_by_the_letter() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Quiet"})).await;
    let http = reqwest::Client::new();
    let post = |kind: &'static str, body: &'static str| http.post(whep(&live)).header("content-type", kind).body(body);
    let status =
        |request: reqwest::RequestBuilder| async { request.send().await.expect("an answer").status().as_u16() };
    const SDP: &str = "application/sdp";
    assert_eq!(status(post(SDP, "v=0")).await, 404, "nothing is live");
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    begun(&creator, &live).await;
    assert_eq!(status(post("application/json", "{}")).await, 415);
    assert_eq!(status(post(SDP, "v=0").header("accept", "text/html")).await, 406);
    assert_eq!(status(post(SDP, "v=0\r\nhello")).await, 400);
    assert_eq!(status(http.get(whep(&live))).await, 405);
    let sending = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        a=fingerprint:sha-256 5E:7A:34:6F:0D:5B:5C:48:99:0C:6C:5B:1F:87:9F:9D:5C:27:0B:06:3A:4C:A8:1E:3A:7E:4F:10:6B:1B:5C:11\r\n\
        a=setup:actpass\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n";
    assert_eq!(status(post(SDP, sending)).await, 422, "viewers receive");
    let vp8 = sending.replace("sendonly", "recvonly").replace("H264", "VP8");
    let refused = http.post(whep(&live)).header("content-type", SDP).body(vp8).send().await.expect("an answer");
    let told: Value = refused.json().await.expect("JSON");
    assert!(
        told["status"] == 422 && text(&told, "/detail").contains("VP8") && text(&told, "/detail").contains("H.264"),
        "{told}"
    );
    let preflight = http.request(Method::OPTIONS, whep(&live)).header("origin", "https://elsewhere.example");
    let preflight = preflight.header("access-control-request-method", "POST").send().await.expect("an answer");
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert_eq!(status(http.delete(format!("{}/api/v1/whep/sessions/nobody", server.url()))).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_plays_with_the_lowest_latency_and_falls_back_by_itself() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Derby"})).await;
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    begun(&creator, &live).await;
    let arguments = [server.url(), text(&live, "/id").to_owned()];
    let page = move || client("lowest-latency-page.mjs", &[&arguments[0], &arguments[1]]);
    let told = tokio::task::spawn_blocking(page).await.expect("a page");
    assert_eq!(told["ok"], true, "{told}");
}
