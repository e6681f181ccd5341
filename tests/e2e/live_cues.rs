//! What a publisher tells of its timeline, as players and recordings have it.
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use playhouse::protocols::rtmp::session::{
    ClientConfig, ClientEvent, ClientSession, ClientUrl, MediaMessage, Medium, Purpose,
};
use playhouse::protocols::rtmp::wire::amf::{Amf, amf0};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::live::{H264, PATIENCE, in_state, make, media_url, playlist, text};
use crate::support::clients::{Checking, client};
use crate::support::server::Server;
use crate::support::tools::{output, until};

/// A `splice_insert` out of the programme for a minute, and the way back from it.
const OUT: &str = "/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowo=";
const BACK: &str = "/DAqAAAAAAAA///wDwVIAACPf0/+c2nALgAAAAAACgAIQ1VFSQAAATXqkiVF";

fn data(at: u32, name: &str, value: Amf) -> MediaMessage {
    let mut payload = BytesMut::new();
    amf0::write(&Amf::text(name), &mut payload);
    amf0::write(&value, &mut payload);
    MediaMessage { medium: Medium::Data, timestamp_ms: at, payload: payload.freeze() }
}

/// A goal at 3 s, told a second late, and a break from 4 s to 7 s.
fn cues() -> Vec<MediaMessage> {
    let goal = Amf::object([
        ("name", Amf::text("goal")),
        ("type", Amf::text("event")),
        ("time", Amf::Number(3.0)),
        ("parameters", Amf::object([("team", Amf::text("A \"B\"\n")), ("score", Amf::Number(2.0))])),
    ]);
    let splice = |section| {
        let parameters = Amf::object([("data", Amf::text(section))]);
        Amf::object([("name", Amf::text("scte35")), ("type", Amf::text("scte35")), ("parameters", parameters)])
    };
    vec![
        data(4000, "onCuePoint", goal),
        data(4001, "onCuePoint", splice(OUT)),
        data(5000, "onCuePoint", splice(OUT)),
        data(7001, "onCuePoint", splice(BACK)),
    ]
}

/// The tags of an FLV file as messages.
fn tags(file: &[u8]) -> Vec<MediaMessage> {
    let (mut at, mut found) = (9 + 4, Vec::new());
    while let Some(head) = file.get(at..at + 11) {
        let size = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
        let timestamp_ms = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        let payload = Bytes::copy_from_slice(&file[at + 11..at + 11 + size]);
        let (medium, payload) = match head[0] {
            8 => (Medium::Audio, payload),
            9 => (Medium::Video, payload),
            _ => (Medium::Data, [b"\x02\x00\x0d@setDataFrame", &payload[..]].concat().into()),
        };
        found.push(MediaMessage { medium, timestamp_ms, payload });
        at += 11 + size + 4;
    }
    found
}

fn show() -> Vec<MediaMessage> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("show.flv");
    let source = "-f lavfi -i testsrc2=size=320x180:rate=30 -f lavfi -i sine=440:sample_rate=48000 -t 100";
    let codecs = format!("{source} {H264} -c:a aac");
    let run = output(Command::new("ffmpeg").args(["-v", "error"]).args(codecs.split_whitespace()).arg(&file));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let mut messages = tags(&std::fs::read(Path::new(&file)).expect("the file"));
    messages.extend(cues());
    // Cues come behind what they are told with.
    messages.sort_by_key(|message| message.timestamp_ms);
    messages
}

/// Publishes at the pace of the messages' own times.
async fn publish(url: String, messages: Vec<MediaMessage>) {
    let url = ClientUrl::parse(&url).expect("an address");
    let mut socket = TcpStream::connect((url.host.as_str(), url.port)).await.expect("a server");
    let mut session = ClientSession::new(ClientConfig::new(url, Purpose::Publish), 7, Instant::now());
    let mut input = BytesMut::new();
    loop {
        let event = session.next(&mut input, Instant::now()).expect("an orderly server");
        socket.write_all_buf(session.output()).await.expect("a server that reads");
        match event {
            Some(ClientEvent::Started { .. }) => break,
            Some(other) => panic!("{other:?}"),
            None => assert!(socket.read_buf(&mut input).await.expect("an answer") > 0, "hung up"),
        }
    }
    let started = tokio::time::Instant::now();
    for message in messages {
        tokio::time::sleep_until(started + Duration::from_millis(message.timestamp_ms.into())).await;
        session.send(message).expect("room");
        socket.write_all_buf(session.output()).await.expect("a server that reads");
    }
}

fn ranges(playlist: &str) -> Vec<&str> {
    playlist.lines().filter(|line| line.starts_with("#EXT-X-DATERANGE")).collect()
}

fn date_of(line: &str) -> f64 {
    let date = line.split("START-DATE=\"").nth(1).or(line.split("DATE-TIME:").nth(1)).expect("a date");
    let date = date.split('"').next().expect("text");
    let parsed = time::OffsetDateTime::parse(date, &time::format_description::well_known::Rfc3339).expect("RFC 3339");
    parsed.unix_timestamp_nanos() as f64 / 1e9
}

/// How long after the beginning of a playlist a range begins, seconds.
fn offset(playlist: &str, range: &str) -> f64 {
    let first = playlist.lines().find(|line| line.starts_with("#EXT-X-PROGRAM-DATE-TIME")).expect("a date");
    date_of(range) - date_of(first)
}

fn check_ranges(list: &str) {
    let found = ranges(list);
    let [goal, out, back] = found.as_slice() else { panic!("{found:?} in {list}") };
    assert!(goal.contains("CLASS=\"goal\"") && goal.contains("X-TEAM=\"A 'B'\",X-SCORE=2"), "{goal}");
    assert!(out.contains("PLANNED-DURATION=60.294,SCTE35-OUT=0xFC302F") && back.contains("SCTE35-IN=0xFC30"), "{out}");
    let id = |line: &str| line.split(',').next().map(str::to_owned);
    assert!(id(out) == id(back) && id(out) != id(goal) && back.contains(",DURATION=3.000,"), "{back}");
    let (goal, out) = (offset(list, goal), offset(list, out));
    assert!((goal - 3.0).abs() < 0.1 && (out - 4.0).abs() < 0.1, "{goal} {out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publisher_tells_reaches_players_and_the_recording() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Final"})).await;
    let publishing = tokio::spawn(publish(text(&live, "/ingest/rtmp").to_owned(), show()));
    let publishing = AbortOnDropHandle::new(publishing);
    in_state(&creator, &live, "live").await;
    let (pictures, sound) = (media_url(&live, "v0"), media_url(&live, "a0"));
    let list = until("both ends of the break", PATIENCE, || async {
        Some(playlist(&pictures).await).filter(|list| list.contains("SCTE35-IN"))
    })
    .await;
    check_ranges(&list);
    let heard = playlist(&sound).await;
    assert_eq!(ranges(&heard), ranges(&list), "the same in every rendition");
    let mpd = playlist(text(&live, "/playback/dash")).await;
    let is_told = |mpd: &str| mpd.contains("urn:scte:scte35:2014:xml+bin") && mpd.contains(&format!("<Binary>{OUT}"));
    assert!(is_told(&mpd) && mpd.contains("&quot;class&quot;:&quot;goal&quot;"), "{mpd}");
    let checking =
        Checking::start("validate-live.mjs", &[text(&live, "/playback/hls"), "--seconds", "16", "--late-ms", "2000"]);
    let hls = client("play-cues.mjs", &[&server.url(), text(&live, "/playback/hls"), "--count", "2"]);
    assert_eq!(hls["found"][0]["class"], "goal", "{hls}");
    let told = hls["found"].as_array().expect("cues");
    let of_break = told.iter().find(|cue| cue["values"]["SCTE35-OUT"].is_string()).expect("the break");
    assert_eq!(of_break["duration"], json!(3), "its end is known: {of_break}");
    let dash = [&server.url(), text(&live, "/playback/dash"), "--player", "shaka", "--count", "3"];
    eprintln!("shaka: {}", client("play-cues.mjs", &dash));
    let summary = checking.summary();
    let broken = summary["broken"].as_object().expect("what is broken");
    assert!(broken.keys().all(|rule| !rule.starts_with("range.") && !rule.starts_with("delta.")), "{summary}");
    for rule in ["range.attributes", "range.same-id", "range.removal", "range.everywhere", "delta.equivalent"] {
        assert!(summary["checked"][rule].as_u64() > Some(0), "{rule} was never looked at: {summary}");
    }
    let end = creator.request(Method::POST, &format!("/api/v1/live/{}/end", text(&live, "/id")));
    creator.send(end).await.expect("an end");
    let ended = in_state(&creator, &live, "ended").await;
    drop(publishing);
    let video = creator.video(text(&ended, "/video_id")).await.expect("the recording");
    let recorded = text(&video, "/video_urls/hls").replace("master.m3u8", "v0-1/media.m3u8");
    check_ranges(&playlist(&recorded).await);
    let mpd = playlist(text(&video, "/video_urls/dash")).await;
    assert!(is_told(&mpd) && mpd.contains("&quot;class&quot;:&quot;goal&quot;"), "{mpd}");
}
