//! RTMP: sessions recorded from real encoders, what a server answers a player, handshakes, and FLV tags.
#[allow(dead_code, reason = "the tests of sessions use the rest of it")]
#[path = "../rtmp/encoders.rs"]
mod encoders;
#[allow(dead_code, reason = "the tests of sessions use the rest of it")]
#[path = "../rtmp/rig.rs"]
mod rig;

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use playhouse::protocols::rtmp::session::{
    ClientConfig, ClientEvent, ClientSession, ClientUrl, MediaMessage, Medium, Purpose, Rejection, ServerConfig,
    ServerEvent, ServerSession,
};
use playhouse::protocols::rtmp::wire::amf::{Amf, AmfLimits};
use playhouse::protocols::rtmp::wire::flv::FourCc;
use playhouse::protocols::rtmp::wire::flv::audio::{AudioCodec, AudioPackets};
use playhouse::protocols::rtmp::wire::flv::emit::{AudioTrackWriter, VideoTrackWriter, data};
use playhouse::protocols::rtmp::wire::flv::script::Script;
use playhouse::protocols::rtmp::wire::flv::video::{VideoCodec, VideoPackets};
use playhouse::protocols::rtmp::wire::handshake::{ClientHandshake, ServerHandshake};
use playhouse::protocols::rtmp::wire::output::Output;

use super::targets::Target;
use rig::{Policy, Rig, Visit};

/// Bytes of each side's handshake.
const HANDSHAKE_BYTES: usize = 1 + 2 * 1536;
const URL: &str = "rtmp://host/live/key?a=b";

pub(crate) fn targets() -> Vec<Target> {
    let visits = tokio::runtime::Runtime::new().expect("a runtime").block_on(record());
    let media = visits.iter().map(|visit| visit.media.as_slice()).max_by_key(|media| media.len()).unwrap_or_default();
    vec![
        Target { name: "RTMP handshakes", samples: vec![hello()], read: read_handshake },
        Target {
            name: "RTMP publishers",
            samples: visits.iter().map(|visit| visit.raw[HANDSHAKE_BYTES..].to_vec()).collect(),
            read: read_publisher,
        },
        Target { name: "RTMP servers", samples: vec![answers(media)], read: read_server },
        Target { name: "FLV tags", samples: tags(media), read: read_tag },
    ]
}

/// Publications by ffmpeg and by both of GStreamer's elements, as short as they come.
async fn record() -> Vec<Visit> {
    let mut rig = Rig::start(Policy::default()).await;
    let url = rig.url("live/key?a=b");
    let mut visits = Vec::new();
    let clip = "-f lavfi -i testsrc2=size=64x64:rate=10:duration=0.5 -f lavfi -i sine=duration=0.5 \
                -c:v libx264 -preset ultrafast -bf 1 -pix_fmt yuv420p -c:a aac -b:a 16k -f flv";
    let ffmpeg = encoders::ffmpeg(&format!("{clip} {url}"));
    visits.push(rig.visit().await);
    encoders::succeed(ffmpeg).await;
    for sink in ["rtmp2sink", "rtmpsink"] {
        let gst = encoders::gst_launch(&format!(
            "videotestsrc num-buffers=5 ! video/x-raw,width=64,height=64,framerate=10/1 ! x264enc ! h264parse \
             ! flvmux streamable=true ! {sink} location={url}"
        ));
        visits.push(rig.visit().await);
        encoders::succeed(gst).await;
    }
    visits
}

/// A client's part of a handshake with digests.
fn hello() -> Vec<u8> {
    let mut output = Output::default();
    ClientHandshake::new(1).advance(&mut BytesMut::new(), &mut output).expect("a start");
    let mut hello = output.copy_to_bytes(output.remaining()).to_vec();
    hello.resize(HANDSHAKE_BYTES, 0);
    hello
}

fn read_handshake(input: &[u8]) -> bool {
    let read_server = ServerHandshake::new(1).advance(&mut BytesMut::from(input), &mut Output::default());
    let mut client = ClientHandshake::new(1);
    let _ = client.advance(&mut BytesMut::from(input), &mut Output::default());
    matches!(read_server, Ok(Some(_)))
}

fn read_publisher(input: &[u8]) -> bool {
    let now = Instant::now();
    let mut session = ServerSession::new(ServerConfig::default(), 1, now);
    let mut hello = BytesMut::from(&[3][..]);
    hello.resize(HANDSHAKE_BYTES, 0);
    assert_eq!(session.next(&mut hello, now), Ok(None));
    let (mut input, mut understood) = (BytesMut::from(input), false);
    while let Ok(Some(event)) = session.next(&mut input, now) {
        match event {
            ServerEvent::PublishRequested(request) | ServerEvent::PlayRequested(request) => {
                let _ = (request.target.key(), request.target.credentials());
                session.accept().expect("a request");
            }
            ServerEvent::Media(message) => understood |= read_media(message.medium, message.payload),
            ServerEvent::Connected(_) | ServerEvent::Ended => {}
        }
    }
    understood
}

fn client() -> ClientSession {
    let url = ClientUrl::parse(URL).expect("a URL");
    ClientSession::new(ClientConfig::new(url, Purpose::Play), 1, Instant::now())
}

/// What a server sends to our client that plays, without the handshake.
fn answers(media: &[MediaMessage]) -> Vec<u8> {
    let now = Instant::now();
    let (mut client, mut server) = (client(), ServerSession::new(ServerConfig::default(), 1, now));
    let (mut to_client, mut to_server, mut answers) = (BytesMut::new(), BytesMut::new(), Vec::new());
    loop {
        while client.next(&mut to_client, now).expect("an orderly server").is_some() {}
        to_server.extend_from_slice(&drain(client.output()));
        while let Some(event) = server.next(&mut to_server, now).expect("an orderly client") {
            if let ServerEvent::PlayRequested(_) = event {
                server.accept().expect("a request");
                media.iter().for_each(|message| server.send(message.clone()).expect("room"));
                server.end(&Rejection::new("", "The end."));
            }
        }
        let answer = drain(server.output());
        to_client.extend_from_slice(&answer);
        answers.extend_from_slice(&answer);
        if server.is_closing() {
            // The server's handshake is signed; the target plays one that is not.
            return answers.split_off(HANDSHAKE_BYTES);
        }
    }
}

fn drain(output: &mut Output) -> Bytes {
    output.copy_to_bytes(output.remaining())
}

fn read_server(input: &[u8]) -> bool {
    let now = Instant::now();
    let mut session = client();
    let mut hello = BytesMut::from(&[3][..]);
    hello.resize(HANDSHAKE_BYTES, 0);
    assert_eq!(session.next(&mut hello, now), Ok(None));
    let (mut input, mut understood) = (BytesMut::from(input), false);
    while let Ok(Some(event)) = session.next(&mut input, now) {
        understood |= matches!(event, ClientEvent::Media(_));
    }
    understood
}

/// Payloads of media messages, each behind a byte that says of what.
fn tags(media: &[MediaMessage]) -> Vec<Vec<u8>> {
    let mut tags: Vec<Vec<u8>> = Vec::new();
    let mut add = |medium: Medium, payload: &[u8]| tags.push([&[medium as u8], payload].concat());
    for message in media.iter().take(8) {
        add(message.medium, &message.payload);
    }
    for (codec, track) in [(VideoCodec::Hevc, 0), (VideoCodec::Av1, 1), (VideoCodec::Vp9, 2)] {
        let writer = VideoTrackWriter::new(codec, track).expect("a codec with a code");
        add(Medium::Video, &writer.sequence_start(&[1; 20]));
        add(Medium::Video, &writer.frame(true, 40, &[2; 20]));
    }
    let opus = AudioTrackWriter::new(AudioCodec::Opus, 1).expect("a codec with a code");
    add(Medium::Audio, &opus.frame(&[3; 20]));
    add(Medium::Audio, b"\x94Opus\x02\x02\x01\x00");
    add(Medium::Video, b"\xa6\x21avc1\x00\x00\x00\x04\x00\x00\x05xvp09\x01\x00\x00\x01y");
    add(Medium::Video, b"\x97\x02\x01\xe2\x40\x03hvc1z");
    let config = Amf::object([("bitDepth", Amf::Number(10.0)), ("colorPrimaries", Amf::Number(9.0))]);
    let color = data("colorInfo", &[Amf::object([("colorConfig", config)])]);
    add(Medium::Video, &[b"\x94hvc1", &color[..]].concat());
    let track = Amf::object([("width", Amf::Number(640.0)), ("videocodecid", Amf::Number(FourCc::AV1.number()))]);
    let metadata = Amf::object([("width", Amf::text("1280")), ("videoTrackIdInfoMap", Amf::object([("1", track)]))]);
    add(Medium::Data, &data("@setDataFrame", &[Amf::text("onMetaData"), metadata]));
    let section = Amf::text("/DAlAAAAAAAAAP/wFAUAAAABf+/+LRQrAP4BI9MIAAEBAQAAfxV6SQ==");
    add(Medium::Data, &data("onAdCue", &[Amf::object([("cue", section), ("duration", Amf::Number(30.0))])]));
    add(Medium::Data, b"\x02\x00\x04onFI\x11\x0a\x1b\x01\x03a\x06\x05hi\x05bb\x06\x02\x01\x11\x09\x05\x01\x03\x02");
    tags
}

fn read_tag(input: &[u8]) -> bool {
    let media = [Medium::Audio, Medium::Video, Medium::Data];
    let Some((first, payload)) = input.split_first() else { return false };
    let medium = media[usize::from(*first) % media.len()];
    read_media(medium, Bytes::copy_from_slice(payload))
}

fn read_media(medium: Medium, payload: Bytes) -> bool {
    match medium {
        Medium::Audio => AudioPackets::read(payload).is_ok_and(|packets| packets.filter(Result::is_ok).count() > 0),
        Medium::Video => VideoPackets::read(payload).is_ok_and(|packets| packets.filter(Result::is_ok).count() > 0),
        Medium::Data => Script::read(&payload, &AmfLimits::default()).is_ok(),
    }
}
