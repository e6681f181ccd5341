//! Publishers by SRT, with the programs of others that are built on the reference library.
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use playhouse::cli::client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::live::{H264, PATIENCE, Publisher, ask, complaints, in_state, make, media_url, playlist, show, text};
use crate::live_validity::judge;
use crate::support::clients::Checking;
use crate::support::lossy::{Lossy, LossyLine};
use crate::support::server::Server;
use crate::support::tools::{output, until};

const SOURCE: &str = "-re -f lavfi -i testsrc2=size=320x180:rate=30 -re -f lavfi -i sine=440:sample_rate=48000";
const AAC: &str = "-c:a aac -b:a 96k";

/// ffmpeg, publishing what these options make of the test source.
fn ffmpeg(url: &str, options: &str) -> Publisher {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error"]).args(SOURCE.split_whitespace()).args(options.split_whitespace());
    command.args(["-t", "600", "-f", "mpegts", url]);
    Publisher::run(command)
}

pub(crate) fn standard(url: &str) -> Publisher {
    ffmpeg(url, &format!("{H264} {AAC}"))
}

/// Decodes some seconds of what viewers get.
fn decode(live: &Value) {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "warning"]);
    for track in ["v0", "a0"] {
        ffmpeg.args(["-live_start_index", "-1", "-i", &media_url(live, track)]);
    }
    let run = output(ffmpeg.args(["-map", "0:v", "-map", "1:a", "-t", "3", "-f", "null", "-"]));
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

pub(crate) async fn said(server: &Server, words: &str) {
    until(&format!("the log to say {words}"), PATIENCE, || async { server.log_text().contains(words).then_some(()) })
        .await;
}

fn path(live: &Value) -> String {
    format!("/api/v1/live/{}", text(live, "/id"))
}

async fn change(creator: &Client, live: &Value, body: Value) -> Value {
    ask(creator, creator.request(Method::PATCH, &path(live)).json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_by_srt_can_be_watched() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Regatta"})).await;
    let _publisher = standard(text(&live, "/ingest/srt"));
    in_state(&creator, &live, "live").await;
    listed(&live, &["RESOLUTION=320x180", "avc1.", "mp4a.40.2"]).await;
    decode(&live);
    let watched = [text(&live, "/playback/hls"), "--seconds", "10", "--late-ms", "2000"];
    judge(&Checking::start("validate-live.mjs", &watched).summary(), &[]);
    let stats = &show(&creator, &live).await["ingest_stats"];
    assert_eq!((&stats["connected"], &stats["frame_rate"]), (&json!(true), &json!(30.0)), "{stats}");
    let link = &stats["link"];
    assert!(link["packets"].as_u64() > Some(100) && link["rtt_ms"].as_f64() > Some(0.0), "{link}");
    assert_eq!((&link["latency_ms"], &link["media_gaps"]), (&json!(120), &json!(0)), "{link}");
    let metrics = reqwest::get(format!("{}/metrics", server.url())).await.unwrap().text().await.unwrap();
    for wanted in [
        "playhouse_live_publishers{protocol=\"srt\"} 1",
        "playhouse_link_packets_total{protocol=\"srt\"}",
        "playhouse_link_rtt_seconds",
    ] {
        assert!(metrics.contains(wanted), "no {wanted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hevc_and_two_languages() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Opera"})).await;
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=error -g 60 -pix_fmt yuv420p";
    let tracks = "-map 0:v -map 1:a -map 1:a -metadata:s:a:0 language=ita -metadata:s:a:1 language=deu";
    let _publisher = ffmpeg(text(&live, "/ingest/srt"), &format!("{tracks} {hevc} {AAC}"));
    let list = listed(&live, &["hvc1.1.", "LANGUAGE=\"it\"", "LANGUAGE=\"de\"", "a1/media.m3u8"]).await;
    assert_eq!(list.matches("#EXT-X-MEDIA:TYPE=AUDIO").count(), 2, "{list}");
    decode(&live);
}

/// Two publishers at once on the one port, each with a passphrase of its own and a program of its own.
#[tokio::test(flavor = "multi_thread")]
async fn publishers_of_others_encrypt_each_with_its_own_passphrase() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let first = make(&creator, json!({"title": "One", "srt_passphrase": "swordfish-of-one"})).await;
    let second = make(&creator, json!({"title": "Two", "srt_passphrase": "Two's #1 secret!".replace(' ', "_")})).await;
    assert_eq!(text(&first, "/srt_passphrase"), "swordfish-of-one");
    assert!(text(&first, "/ingest/srt").contains("&passphrase=swordfish-of-one"));
    assert!(!text(&second, "/ingest/srt").contains("passphrase"), "a URL cannot carry it");
    let (server_of, key) = (text(&second, "/ingest/srt").split('?').next().unwrap(), text(&second, "/stream_key"));
    let (stream_id, passphrase) = (format!("streamid=#!::m=publish,r={key}"), text(&second, "/srt_passphrase"));
    let mut gstreamer = Command::new("gst-launch-1.0");
    let pipeline = "-q videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=30/1 ! x264enc \
        tune=zerolatency speed-preset=ultrafast key-int-max=60 ! h264parse config-interval=1 ! mpegtsmux name=mux alignment=7 \
        audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! aacparse ! mux. mux. ! srtsink \
        wait-for-connection=false pbkeylen=32";
    gstreamer.args(pipeline.split_whitespace()).arg(format!("uri={server_of}?mode=caller"));
    gstreamer.args([stream_id, format!("passphrase={passphrase}")]);
    let _gstreamer = Publisher::run(gstreamer);
    let (_source, _transmit) = transmit(&format!("{}&pbkeylen=24", text(&first, "/ingest/srt")));
    for live in [&first, &second] {
        in_state(&creator, live, "live").await;
        listed(live, &["RESOLUTION=320x180", "mp4a.40.2"]).await;
        decode(live);
    }
    let stats = &show(&creator, &second).await["ingest_stats"]["link"];
    assert_eq!(stats["packets_undecrypted"], json!(0), "{stats}");
}

/// `srt-live-transmit`, which sends what ffmpeg hands it.
fn transmit(url: &str) -> (Publisher, Publisher) {
    let (between, transmit) = transmitter(url);
    (standard(&between), transmit)
}

/// srt-live-transmit, and where it takes what it passes on.
pub(crate) fn transmitter(url: &str) -> (String, Publisher) {
    let port = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let between = format!("udp://127.0.0.1:{port}");
    let mut transmit = Command::new("srt-live-transmit");
    transmit.args([&between, url]);
    (format!("{between}?pkt_size=1316"), Publisher::run(transmit))
}

/// What the reference library says when it is not let in.
fn rejected(url: &str) -> String {
    let mut source = Command::new("yes").stdout(Stdio::piped()).spawn().expect("a source");
    let mut transmit = Command::new("srt-live-transmit");
    transmit.args(["-v", "-a:no", "-t:10", "file://con", url]).stdin(source.stdout.take().expect("its bytes"));
    let run = transmit.output().expect("srt-live-transmit");
    // It may have ended with its reader.
    let _ = source.kill();
    let _ = source.wait();
    String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_rejected_with_a_reason() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Closed", "srt_passphrase": "swordfish-again"})).await;
    let url = text(&live, "/ingest/srt").to_owned();
    let open = make(&creator, json!({"title": "Open"})).await;
    let open_url = text(&open, "/ingest/srt").to_owned();
    let cases = [
        (url.replace("swordfish", "catfish"), "the caller has another passphrase than the stream"),
        (url.split("&passphrase").next().unwrap().to_owned(), "the caller does not encrypt"),
        (format!("{open_url}&passphrase=swordfish-again"), "the caller encrypts, and the stream has no passphrase"),
        (open_url.replace("publish:", "publish:not"), "no stream has this stream key"),
        (open_url.replace("publish:", "read:"), "nothing is live under this playback id"),
        (open_url.split('?').next().unwrap().to_owned(), "there is no stream id"),
    ];
    for (url, reason) in cases {
        let mut publisher = standard(&url);
        assert!(!publisher.ended().await.success(), "{reason}");
        said(&server, reason).await;
        let told = rejected(&url);
        assert!(told.to_lowercase().contains("reject"), "{reason}: {told}");
    }
    assert_eq!(show(&creator, &live).await["state"], "idle", "nobody fed it");
    let shown = change(&creator, &live, json!({"srt_passphrase": null})).await;
    assert_eq!(shown.get("srt_passphrase"), None, "{shown}");
    let _publisher = standard(text(&shown, "/ingest/srt"));
    in_state(&creator, &live, "live").await;
    let refused = creator.request(Method::PATCH, &path(&live)).json(&json!({"srt_passphrase": "short"}));
    let refused = creator.send(refused).await.expect_err("too short").to_string();
    assert!(refused.contains("422"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_publisher_wins_whatever_its_protocol() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Relay", "permanent": true})).await;
    let mut first = standard(text(&live, "/ingest/srt"));
    in_state(&creator, &live, "live").await;
    listed(&live, &["avc1."]).await;
    let mut second = Publisher::standard(text(&live, "/ingest/rtmp"));
    assert!(!first.ended().await.success(), "it is told to go");
    let mut third = standard(text(&live, "/ingest/srt"));
    assert!(!second.ended().await.success());
    until("the third one's figures", PATIENCE, || async {
        Some(show(&creator, &live).await).filter(|shown| shown["ingest_stats"]["link"]["packets"].as_u64() > Some(0))
    })
    .await;
    let rotated = ask(&creator, creator.request(Method::POST, &format!("{}/key", path(&live)))).await;
    assert!(!third.ended().await.success(), "its key is no good any more");
    assert_ne!(text(&rotated, "/ingest/srt"), text(&live, "/ingest/srt"));
    until("it to be gone", PATIENCE, || async {
        Some(show(&creator, &live).await).filter(|shown| shown["ingest_stats"]["connected"] == false)
    })
    .await;
    let mut fourth = standard(text(&rotated, "/ingest/srt"));
    until("the fourth one", PATIENCE, || async {
        Some(show(&creator, &live).await).filter(|shown| shown["ingest_stats"]["connected"] == true)
    })
    .await;
    let end = creator.request(Method::POST, &format!("{}/end", path(&live)));
    creator.send(end).await.expect("its end");
    assert!(!fourth.ended().await.success());
    let list = playlist(text(&live, "/playback/hls")).await;
    assert!(list.contains("v0/media.m3u8"), "{list}");
    tokio::time::timeout(Duration::from_secs(60), in_state(&creator, &live, "idle")).await.expect("it has ended");
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What is lost is sent again. With a latency that a busy machine does not use up; `SRT_LATENCY_MS=120 SRT_PACKETS=20000` is what
/// it is for otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_loses_packets_loses_no_media() {
    let (latency_ms, packets) = (number("SRT_LATENCY_MS", 2000), number("SRT_PACKETS", 3000));
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Far away"})).await;
    let url: reqwest::Url = text(&live, "/ingest/srt").parse().expect("a URL");
    let address = format!("127.0.0.1:{}", url.port().expect("a port")).parse().expect("an address");
    let lossy = Lossy { lost_per_mille: 50, lost_back_per_mille: 0, round_trip: Duration::from_millis(20), seed: 7 };
    let line = LossyLine::start(address, lossy).await;
    let through = format!("srt://{}?{}&latency={}", line.address, url.query().expect("a query"), latency_ms * 1000);
    let many = "-c:v libx264 -preset ultrafast -tune zerolatency -g 60 -pix_fmt yuv420p -b:v 6M -minrate 6M -maxrate 6M \
        -bufsize 3M -nal-hrd cbr";
    let _publisher = ffmpeg(&through, &format!("{many} {AAC}"));
    in_state(&creator, &live, "live").await;
    let link = until("packets to come", 4 * PATIENCE, || async {
        let link = show(&creator, &live).await["ingest_stats"]["link"].clone();
        Some(link).filter(|link| link["packets"].as_u64() >= Some(packets))
    })
    .await;
    eprintln!("{link}");
    assert!(link["packets_recovered"].as_u64() > Some(packets / 50), "{link}");
    assert_eq!((&link["packets_dropped"], &link["media_gaps"]), (&json!(0), &json!(0)), "{link}");
    assert_eq!(link["latency_ms"], json!(latency_ms), "the larger of both sides' wishes");
    listed(&live, &["avc1."]).await;
    decode(&live);
}

/// A caller that says whatever it likes.
struct Stranger {
    socket: UdpSocket,
    random: StdRng,
    number: u32,
}

impl Stranger {
    fn new(server: SocketAddr, seed: u64) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(server).expect("the server's address");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        Self { socket, random: StdRng::seed_from_u64(seed), number: 1000 + seed as u32 }
    }

    fn handshake(&self, kind: u32, (version, flags, cookie): (u32, u32, u32)) -> Vec<u8> {
        let words = [0x8000_0000, 0, 0, 0, version, flags, 77, 1500, 8192, kind, self.number, cookie, 0, 0, 0, 0];
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Shakes hands for this stream, but for some bytes; the number of the connection, if there is one.
    fn shake(&mut self, stream_id: &str) -> Option<u32> {
        let mut answer = [0; 1500];
        let word = |answer: &[u8], at: usize| u32::from_be_bytes(answer[at..at + 4].try_into().expect("four bytes"));
        // Datagrams may be lost: those before it have sent many at once.
        let mut asked = (0..20).filter_map(|_| {
            self.socket.send(&self.handshake(1, (4, 2, 0))).expect("sent");
            self.socket.recv(&mut answer).ok()
        });
        asked.next().expect("a cookie");
        let mut conclusion = self.handshake(u32::MAX, (5, 5, word(&answer, 44)));
        let hello = [0x0001_0003, 0x0001_0501, 0xbf, 0x0078_0078, 0x0005_0000 | stream_id.len().div_ceil(4) as u32];
        conclusion.extend(hello.iter().flat_map(|word: &u32| word.to_be_bytes()));
        for word in stream_id.as_bytes().chunks(4) {
            conclusion.extend((0..4).rev().map(|at| word.get(at).copied().unwrap_or(0)));
        }
        for _ in 0..self.random.random_range(0..4) {
            let at = self.random.random_range(48..conclusion.len());
            conclusion[at] = self.random.random();
        }
        self.socket.send(&conclusion).expect("sent");
        self.socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        self.socket.recv(&mut answer).ok()?;
        (word(&answer, 36) == u32::MAX).then(|| word(&answer, 40))
    }

    /// Sends packets of every kind, mostly nonsense.
    fn babble(&mut self, connection: u32) {
        for _ in 0..30 {
            let kind = [0, 1, 2, 3, 4, 5, 6, 7, 8, 0x7fff][self.random.random_range(0..10)];
            let is_data = self.random.random_range(0..3) == 0;
            let first = if is_data { self.random.random::<u32>() >> 1 } else { 0x8000_0000 | kind << 16 };
            let mut datagram: Vec<u8> = [first, self.random.random(), self.random.random(), connection]
                .iter()
                .flat_map(|word| word.to_be_bytes())
                .collect();
            datagram.extend((0..self.random.random_range(0..100)).map(|_| self.random.random::<u8>()));
            // The connection may be closed to the one that sends.
            let _ = self.socket.send(&datagram);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_callers_cost_nobody_else_anything() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Quiet"})).await;
    let other = make(&creator, json!({"title": "Besieged", "permanent": true})).await;
    let _publisher = standard(text(&live, "/ingest/srt"));
    in_state(&creator, &live, "live").await;
    listed(&live, &["avc1."]).await;
    let url: reqwest::Url = text(&live, "/ingest/srt").parse().expect("a URL");
    let address = format!("127.0.0.1:{}", url.port().expect("a port")).parse().expect("an address");
    let stream_id = format!("publish:{}", text(&other, "/stream_key"));
    let siege = tokio::task::spawn_blocking(move || {
        let mut connected = 0;
        for seed in 0..300 {
            let mut stranger = Stranger::new(address, seed);
            let connection = stranger.shake(&stream_id);
            connected += usize::from(connection.is_some());
            stranger.babble(connection.unwrap_or(seed as u32));
        }
        connected
    });
    let connected = siege.await.expect("a siege");
    assert!(connected > 30, "{connected} of them were let in");
    let link = show(&creator, &live).await["ingest_stats"]["link"].clone();
    assert_eq!((&link["media_gaps"], &link["media_damaged"]), (&json!(0), &json!(0)), "{link}");
    decode(&live);
    let _welcome = standard(text(&other, "/ingest/srt"));
    listed(&other, &["avc1.", "mp4a.40.2"]).await;
    decode(&other);
    eprintln!("{connected} were let in, {} tasks panicked", server.log_text().matches("panicked at").count());
}
