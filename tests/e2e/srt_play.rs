//! Readers by SRT, with the programs of others that are built on the reference library.
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use playhouse::cli::client::Client;
use reqwest::Method;
use serde_json::{Value, json};

use crate::live::{H264, PATIENCE, Publisher, ask, complaints, in_state, make, show, text};
use crate::srt::{said, standard};
use crate::support::lossy::{Lossy, LossyLine};
use crate::support::server::Server;
use crate::support::tools::{enhanced_ffmpeg, ffprobe, output, until};

/// Decodes some seconds of what a URL gives; what ffmpeg says of it.
fn decode(url: &str, seconds: u32) -> String {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "warning", "-i", url, "-map", "0", "-t", &seconds.to_string(), "-f", "null", "-"]);
    let run = output(&mut ffmpeg);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{url}: {said}");
    complaints(&said).join("\n")
}

/// Codecs of the streams that a URL has, and their languages.
fn codecs(url: &str) -> Vec<String> {
    let probed = ffprobe(url, &["-show_streams"]);
    let streams = probed["streams"].as_array().expect("streams");
    let told = |stream: &Value| {
        let language = stream["tags"]["language"].as_str().unwrap_or_default();
        format!("{} {language}", stream["codec_name"].as_str().expect("a codec")).trim().to_owned()
    };
    streams.iter().map(told).collect()
}

/// The API's address, once there is a picture to begin with.
async fn readable(creator: &Client, live: &Value) -> String {
    in_state(creator, live, "live").await;
    until("its first segment", PATIENCE, || async {
        let answer = reqwest::get(text(live, "/playback/hls")).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    text(&show(creator, live).await, "/playback/srt").to_owned()
}

/// A reader that writes what it gets, as it is.
pub(crate) struct Recorder(Child, tempfile::NamedTempFile);

impl Recorder {
    pub(crate) fn start(url: &str) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-y", "-i", url, "-map", "0", "-c", "copy", "-flush_packets", "1"]);
        ffmpeg.args(["-f", "mpegts"]).arg(file.path()).stderr(Stdio::null());
        Self(ffmpeg.spawn().expect("ffmpeg"), file)
    }

    pub(crate) fn len(&self) -> u64 {
        self.1.as_file().metadata().expect("its size").len()
    }

    pub(crate) async fn grows(&self, bytes: u64) {
        let aim = self.len() + bytes;
        until("a reader to get more", PATIENCE, || async { (self.len() >= aim).then_some(()) }).await;
    }

    async fn ended(&mut self) {
        for _ in 0..PATIENCE.as_millis() / 50 {
            if self.0.try_wait().expect("its status").is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the reader goes on and on");
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_live_is_read_by_programs_of_others() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Regatta"})).await;
    let rtmp = Publisher::standard(text(&live, "/ingest/rtmp"));
    let url = readable(&creator, &live).await;
    assert_eq!(codecs(&url), ["h264", "aac"]);
    assert_eq!(decode(&url, 3), "");
    let mut transmit = Command::new("timeout");
    transmit.args([
        "-s",
        "INT",
        "5",
        "srt-live-transmit",
        "-q",
        &url.replace("read:", "#!::m=request,r="),
        "file://con",
    ]);
    let got = output(&mut transmit).stdout;
    assert!(
        got.len() > 100_000 && got.len().is_multiple_of(188) && got.chunks(188).all(|packet| packet[0] == 0x47),
        "{}",
        got.len()
    );
    let metrics = reqwest::get(format!("{}/metrics", server.url())).await.unwrap().text().await.unwrap();
    for wanted in ["playhouse_live_readers{protocol=\"srt\"} ", "playhouse_srt_readers_packets_total "] {
        assert!(metrics.contains(wanted), "no {wanted}");
    }
    // A reader outlives its publisher, whatever protocol comes next.
    let reader = Recorder::start(&url);
    reader.grows(200_000).await;
    drop(rtmp);
    until("it to be gone", PATIENCE, || async {
        Some(show(&creator, &live).await).filter(|shown| shown["ingest_stats"]["connected"] == false)
    })
    .await;
    let _srt = standard(text(&live, "/ingest/srt"));
    reader.grows(400_000).await;
    let mut reader = reader;
    let end = creator.request(Method::POST, &format!("/api/v1/live/{}/end", text(&live, "/id")));
    creator.send(end).await.expect("its end");
    reader.ended().await;
    let packets = ffprobe(reader.1.path().to_str().expect("a path"), &["-show_packets", "-select_streams", "v"]);
    let packets = packets["packets"].as_array().expect("packets");
    let times: Vec<f64> = packets.iter().filter_map(|packet| packet["dts_time"].as_str()?.parse().ok()).collect();
    assert!(times.len() > 100 && times.windows(2).all(|pair| pair[1] > pair[0]), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_encrypt_like_publishers_and_get_every_language() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Opera", "srt_passphrase": "swordfish-of-two"})).await;
    let mut publisher = Command::new("ffmpeg");
    let source =
        "-nostdin -v error -re -f lavfi -i testsrc2=size=320x180:rate=30 -re -f lavfi -i sine=440:sample_rate=48000";
    let hevc =
        "-c:v libx265 -preset ultrafast -x265-params log-level=error -g 60 -pix_fmt yuv420p -c:a aac -c:a:1 libopus";
    let tracks =
        "-map 0:v -map 1:a -map 1:a -metadata:s:a:0 language=ita -metadata:s:a:1 language=deu -t 600 -f mpegts";
    publisher.args([source, hevc, tracks].iter().flat_map(|part| part.split_whitespace()));
    publisher.arg(text(&live, "/ingest/srt"));
    let _publisher = Publisher::run(publisher);
    let url = readable(&creator, &live).await;
    assert!(url.contains("&passphrase=swordfish-of-two"), "the owner's is complete: {url}");
    assert_eq!(codecs(&url), ["hevc", "aac ita", "opus deu"]);
    assert_eq!(decode(&url, 3), "");
    let public: Value = reqwest::get(format!("{}/api/v1/live", server.url())).await.unwrap().json().await.unwrap();
    let shown = text(&public["data"][0], "/playback/srt").to_owned();
    assert!(!shown.contains("passphrase"), "{shown}");
    let refused = output(Command::new("ffprobe").args(["-v", "error", &shown]));
    assert!(!refused.status.success());
    said(&server, "the caller does not encrypt").await;
    let wrong = output(Command::new("ffprobe").args(["-v", "error", &url.replace("swordfish", "catfish")]));
    assert!(!wrong.status.success());
    said(&server, "the caller has another passphrase than the stream").await;
    let (address, query) = url.split_once('?').expect("a query");
    let id = query.split(['=', '&']).nth(1).expect("a stream id");
    let mut gstreamer = Command::new("gst-launch-1.0");
    gstreamer.args(["-q", "srtsrc", &format!("uri={address}?mode=caller"), &format!("streamid={id}")]);
    gstreamer.args([
        "passphrase=swordfish-of-two",
        "pbkeylen=32",
        "num-buffers=300",
        "!",
        "filesink",
        "location=/dev/stdout",
    ]);
    let got = output(&mut gstreamer).stdout;
    assert!(got.len() > 50_000 && got.chunks_exact(188).all(|packet| packet[0] == 0x47), "{} bytes", got.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_public_is_read_with_its_token_alone() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Rehearsal", "privacy": "private"})).await;
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    let url = readable(&creator, &live).await;
    assert_eq!(codecs(&url), ["h264", "aac"]);
    let (bare, _) = url.rsplit_once(':').expect("a token");
    for stranger in [bare.to_owned(), format!("{bare}:"), format!("{url}AA"), bare.replace("read:", "read:not")] {
        let refused = output(Command::new("ffprobe").args(["-v", "error", &stranger]));
        assert!(!refused.status.success(), "{stranger}");
    }
    assert_eq!(server.log_text().matches("nothing is live under this playback id").count(), 4);
    let path = format!("/api/v1/live/{}", text(&live, "/id"));
    let change = |privacy: &str| creator.request(Method::PATCH, &path).json(&json!({"privacy": privacy}));
    let opened = ask(&creator, change("public")).await;
    assert_eq!(text(&opened, "/playback/srt"), bare);
    let mut reader = Recorder::start(bare);
    reader.grows(100_000).await;
    ask(&creator, change("private")).await;
    reader.ended().await;
    said(&server, "srt reader ended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_transport_streams_cannot_carry_is_said() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Tomorrow"})).await;
    let av1 = "-re -f lavfi -i testsrc2=size=320x180:rate=30 -c:v libsvtav1 -preset 12 -g 60 -pix_fmt yuv420p";
    assert!(enhanced_ffmpeg().exists());
    let _publisher = Publisher::enhanced(text(&live, "/ingest/rtmp"), av1);
    let url = readable(&creator, &live).await;
    let refused = output(Command::new("ffprobe").args(["-v", "error", &url]));
    assert!(!refused.status.success());
    said(&server, "transport streams cannot carry this AV1: watch it over HLS or DASH").await;
}

/// How long packets are held for a reader that wants this, milliseconds.
async fn held_for(url: &str, wanted: u32) -> u64 {
    let dir = tempfile::tempdir().expect("a directory");
    let stats = dir.path().join("stats.json");
    let mut reader = Command::new("srt-live-transmit");
    reader
        .args(["-s", "1", "-pf", "json", "-statsout"])
        .arg(&stats)
        .args([&format!("{url}&latency={wanted}"), "file://con"]);
    let _reader = Publisher::run(reader);
    until("the reader's figures", PATIENCE, || async {
        let told = std::fs::read_to_string(&stats).ok()?;
        let first = serde_json::from_str::<Value>(told.lines().next()?).ok()?;
        first["recv"]["msTsbPdDelay"].as_u64()
    })
    .await
}

/// What is lost is sent again, as long as the reader wants it.
#[tokio::test(flavor = "multi_thread")]
async fn readers_over_a_line_that_loses_packets_miss_nothing() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Far away"})).await;
    let _publisher = Publisher::start(text(&live, "/ingest/rtmp"), &format!("{H264} -b:v 3M -c:a aac -b:a 96k"));
    let url: reqwest::Url = readable(&creator, &live).await.parse().expect("a URL");
    let address = format!("127.0.0.1:{}", url.port().expect("a port")).parse().expect("an address");
    let lossy = Lossy { lost_per_mille: 50, lost_back_per_mille: 50, round_trip: Duration::from_millis(20), seed: 11 };
    let line = LossyLine::start(address, lossy).await;
    let held = [held_for(url.as_str(), 50).await, held_for(url.as_str(), 2000).await];
    assert_eq!(held, [120, 2000], "what the side wants that wants more");
    let through = format!("srt://{}?{}&latency=2000000", line.address, url.query().expect("a query"));
    assert_eq!(tokio::task::spawn_blocking(move || decode(&through, 6)).await.expect("a reader"), "");
    let metrics = reqwest::get(format!("{}/metrics", server.url())).await.unwrap().text().await.unwrap();
    let again = metrics.lines().find_map(|line| line.strip_prefix("playhouse_srt_readers_packets_again_total "));
    assert!(again.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 20), "{again:?}");
}
