//! RTMP sessions with the encoders and players of others, over real sockets.
#[path = "rtmp/encoders.rs"]
mod encoders;
#[path = "rtmp/rig.rs"]
mod rig;

use std::path::Path;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use playhouse::protocols::rtmp::session::{
    ClientConfig, ClientEvent, ClientUrl, MediaMessage, Medium, Purpose, Rejection, ServerConfig, ServerEvent,
    ServerSession, code,
};
use playhouse::protocols::rtmp::wire::amf::AmfLimits;
use playhouse::protocols::rtmp::wire::flv::audio::{AudioBody, AudioCodec, AudioPackets};
use playhouse::protocols::rtmp::wire::flv::emit::VideoTrackWriter;
use playhouse::protocols::rtmp::wire::flv::script::{Script, StreamMetadata, for_players};
use playhouse::protocols::rtmp::wire::flv::video::{VideoBody, VideoCodec, VideoPackets};

use encoders::{CLIP, clip, ffmpeg, finish, gst_launch, packets, succeed};
use rig::{Policy, Rig, Visit, client};

/// What a publication held.
#[derive(Debug, Default)]
struct Summary {
    metadata: Option<StreamMetadata>,
    video_starts: usize,
    video_frames: usize,
    key_frames: usize,
    is_reordered: bool,
    audio_starts: usize,
    audio_frames: usize,
}

/// Reads every tag.
fn summary(media: &[MediaMessage]) -> Summary {
    let mut found = Summary::default();
    for message in media {
        match message.medium {
            Medium::Data => {
                let script = Script::read(&message.payload, &AmfLimits::default()).expect("a data message");
                if let Script::Metadata(metadata) = script {
                    found.metadata = Some(*metadata);
                }
            }
            Medium::Video => {
                for packet in VideoPackets::read(message.payload.clone()).expect("a video message") {
                    let packet = packet.expect("a packet");
                    assert_eq!(packet.codec, VideoCodec::Avc);
                    match packet.body {
                        VideoBody::SequenceStart(record) => found.video_starts += usize::from(record[0] == 1),
                        VideoBody::Frame { composition_ms, .. } => {
                            found.video_frames += 1;
                            found.key_frames += usize::from(packet.kind.is_key());
                            found.is_reordered |= composition_ms > 0;
                        }
                        _ => {}
                    }
                }
            }
            Medium::Audio => {
                for packet in AudioPackets::read(message.payload.clone()).expect("an audio message") {
                    let packet = packet.expect("a packet");
                    assert_eq!(packet.codec, AudioCodec::Aac);
                    match packet.body {
                        AudioBody::SequenceStart(_) => found.audio_starts += 1,
                        _ => found.audio_frames += 1,
                    }
                }
            }
        }
    }
    found
}

fn is_in_order(media: &[MediaMessage], medium: Medium) -> bool {
    let times: Vec<_> =
        media.iter().filter(|message| message.medium == medium).map(|message| message.timestamp_ms).collect();
    times.is_sorted()
}

/// Checks a publication of two seconds of picture and sound at 25 frames per second.
fn check_clip(visit: &Visit) -> Summary {
    assert_eq!(visit.error, None);
    let found = summary(&visit.media);
    assert_eq!((found.video_frames, found.video_starts), (50, 1), "{found:?}");
    assert!(found.audio_frames >= 85 && found.audio_starts >= 1, "{found:?}");
    assert!(is_in_order(&visit.media, Medium::Video) && is_in_order(&visit.media, Medium::Audio));
    let video = found.metadata.as_ref().and_then(|metadata| metadata.video.clone()).expect("metadata of video");
    assert_eq!((video.width, video.height), (Some(320), Some(180)));
    found
}

async fn publish_clip(options: &str, path: &str) -> Visit {
    let mut rig = Rig::start(Policy::default()).await;
    let publisher = ffmpeg(&format!("{CLIP} {options} -f flv {}", rig.url(path)));
    let visit = rig.visit().await;
    succeed(publisher).await;
    visit
}

#[tokio::test]
async fn ffmpeg_publishes() {
    let visit = publish_clip("", "live/key?user=ann&pass=secret").await;
    let found = check_clip(&visit);
    assert!(found.is_reordered && found.key_frames == 2, "{found:?}");
    assert!(visit.said_end && visit.agent.starts_with("FMLE"));
    let request = visit.request.expect("a request");
    assert_eq!((request.target.key(), request.target.credentials()), (Some("key"), Some(("ann", "secret"))));
    let metadata = found.metadata.expect("metadata");
    assert!(metadata.encoder.is_some_and(|encoder| encoder.starts_with("Lavf")));
    assert_eq!(metadata.audio.and_then(|audio| audio.rate_hz), Some(48_000));
}

#[tokio::test]
async fn ffmpeg_with_other_flags_and_paths() {
    let visit = publish_clip("-flvflags no_duration_filesize+no_sequence_end", "key").await;
    check_clip(&visit);
    assert_eq!(visit.request.as_ref().and_then(|request| request.target.key()), Some("key"), "no application");
    let visit = publish_clip("-vn", "live/a/key").await;
    let found = summary(&visit.media);
    assert_eq!((found.video_frames, found.audio_starts), (0, 1), "sound alone");
    assert_eq!(visit.request.as_ref().and_then(|request| request.target.key()), Some("key"));
    let visit = publish_clip("-an -flvflags no_metadata", "live/camera?key=secret").await;
    let found = summary(&visit.media);
    assert_eq!((found.video_frames, found.audio_frames), (50, 0), "pictures alone");
    assert_eq!(visit.request.as_ref().and_then(|request| request.target.key()), Some("secret"));
}

#[tokio::test]
async fn ffmpeg_beyond_the_24_bits_of_a_timestamp() {
    let visit = publish_clip("-b:v 20M -output_ts_offset 20000", "live/key").await;
    let found = summary(&visit.media);
    assert_eq!((found.video_frames, visit.error), (50, None), "{found:?}");
    let last = visit.media.last().expect("media").timestamp_ms;
    assert!((20_001_000..20_003_000).contains(&last), "{last}");
    assert!(is_in_order(&visit.media, Medium::Video));
}

async fn gst_clip(sink: &str) -> Visit {
    let mut rig = Rig::start(Policy::default()).await;
    let url = rig.url("live/key");
    let publisher = gst_launch(&format!(
        "flvmux name=mux streamable=true ! {sink} location={url} \
         videotestsrc num-buffers=50 ! video/x-raw,width=320,height=180,framerate=25/1 \
         ! x264enc speed-preset=ultrafast key-int-max=25 ! h264parse ! queue ! mux. \
         audiotestsrc num-buffers=96 samplesperbuffer=1000 ! audio/x-raw,rate=48000,channels=2 \
         ! avenc_aac ! aacparse ! queue ! mux."
    ));
    let visit = rig.visit().await;
    succeed(publisher).await;
    visit
}

#[tokio::test]
async fn gstreamer_rtmp2sink_publishes() {
    let visit = gst_clip("rtmp2sink").await;
    check_clip(&visit);
    assert_eq!(visit.request.expect("a request").target.key(), Some("key"));
}

#[tokio::test]
async fn gstreamer_rtmpsink_publishes() {
    let visit = gst_clip("rtmpsink").await;
    check_clip(&visit);
    assert_eq!(visit.request.expect("a request").target.key(), Some("key"));
}

#[tokio::test]
async fn encoders_show_why_they_are_refused() {
    let description = "This stream key is not known.";
    let rejection = Some(Rejection::new(code::PUBLISH_BAD_NAME, description));
    let mut rig = Rig::start(Policy { rejection, ..Policy::default() }).await;
    let url = rig.url("live/wrong");
    let (succeeded, said) = finish(ffmpeg(&format!("{CLIP} -f flv {url}"))).await;
    assert!(!succeeded && said.contains(description), "{said}");
    assert!(rig.visit().await.media.is_empty());
    let pipeline = "videotestsrc num-buffers=50 ! x264enc ! flvmux ! rtmp2sink location=";
    let (succeeded, said) = finish(gst_launch(&format!("{pipeline}{url}"))).await;
    assert!(!succeeded && said.contains(description), "{said}");
}

#[tokio::test]
async fn a_publisher_that_is_killed_just_ends() {
    let mut rig = Rig::start(Policy::default()).await;
    let mut publisher =
        ffmpeg(&format!("-re {} -f flv {}", CLIP.replace("duration=2", "duration=60"), rig.url("live/key")));
    for _ in 0..20 {
        rig.progress.recv().await.expect("progress");
    }
    publisher.kill().await.expect("killed");
    let visit = rig.visit().await;
    assert_eq!((visit.said_end, visit.error), (false, None));
    assert!(visit.media.len() >= 15);
}

/// Events of a session that is given `raw` in pieces.
fn replay(raw: &[u8], step: usize) -> Vec<ServerEvent> {
    let now = Instant::now();
    let mut session = ServerSession::new(ServerConfig::default(), 1, now);
    let (mut input, mut events) = (BytesMut::new(), Vec::new());
    for piece in raw.chunks(step) {
        input.extend_from_slice(piece);
        while let Some(event) = session.next(&mut input, now).expect("an orderly client") {
            let asks = matches!(event, ServerEvent::PublishRequested(_));
            events.push(event);
            if asks {
                session.accept().expect("a request");
            }
        }
    }
    events
}

#[tokio::test]
async fn pieces_of_any_size_make_the_same_events() {
    let visits = [publish_clip("-b:v 4M", "live/key").await, gst_clip("rtmp2sink").await, gst_clip("rtmpsink").await];
    for visit in visits {
        let whole = replay(&visit.raw, usize::MAX);
        assert_eq!(whole.iter().filter(|event| matches!(event, ServerEvent::Media(_))).count(), visit.media.len());
        for step in [1, 7, 1000] {
            assert!(replay(&visit.raw, step) == whole, "in pieces of {step} bytes");
        }
    }
}

/// The clip as a file, and as messages of somebody who published it.
async fn published(dir: &Path) -> (String, Vec<MediaMessage>) {
    let file = dir.join("clip.flv").display().to_string();
    clip(Path::new(&file)).await;
    let mut rig = Rig::start(Policy::default()).await;
    let publisher = ffmpeg(&format!("-i {file} -map 0 -c copy -f flv {}", rig.url("live/key")));
    let visit = rig.visit().await;
    succeed(publisher).await;
    (file, visit.media)
}

/// Checks that an input holds the pictures and sound of a file, but for so many packets at most.
async fn same_packets(input: &str, file: &str, missing_max: usize) {
    let (found, expected) = (packets(input).await, packets(file).await);
    let missing: Vec<_> = expected.iter().filter(|packet| !found.contains(packet)).collect();
    let is_same = missing.len() <= missing_max && found.len() + missing.len() == expected.len();
    assert!(is_same, "{} of {}, without {missing:?}", found.len(), expected.len());
}

#[tokio::test]
async fn ffmpeg_and_gstreamer_play_what_was_published() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, media) = published(dir.path()).await;
    let rig = Rig::start(Policy { recording: media.into(), ..Policy::default() }).await;
    // Told that the stream has ended, both may forget the packet they have in hand.
    same_packets(&rig.url("live/name"), &file, 1).await;
    let played = dir.path().join("played.flv").display().to_string();
    succeed(gst_launch(&format!("rtmp2src location={} ! filesink location={played}", rig.url("live/name")))).await;
    same_packets(&played, &file, 1).await;
}

fn config(url: &str, purpose: Purpose) -> ClientConfig {
    ClientConfig::new(ClientUrl::parse(url).expect("a URL"), purpose)
}

#[tokio::test]
async fn our_client_publishes_and_plays() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, mut media) = published(dir.path()).await;
    let writer = VideoTrackWriter::new(VideoCodec::Hevc, 1).expect("a codec with a code");
    let second = writer.frame(true, 0, &[1; 3000]);
    media.push(MediaMessage { medium: Medium::Video, timestamp_ms: 3000, payload: second });
    let mut rig = Rig::start(Policy { recording: media.clone().into(), ..Policy::default() }).await;
    let (events, _) = client(config(&rig.url("live/key"), Purpose::Publish), &media).await;
    assert!(matches!(events[..], [ClientEvent::Started { .. }]), "{events:?}");
    let visit = rig.visit().await;
    assert!(visit.media == media && visit.said_end);
    let (events, received) = client(config(&rig.url("live/key"), Purpose::Play), &[]).await;
    assert!(matches!(events[..], [ClientEvent::Started { .. }, ClientEvent::Ended]), "{events:?}");
    assert!(received[0].payload == for_players(media[0].payload.clone()) && received[1..] == media[1..]);
}

#[tokio::test]
async fn our_client_publishes_to_ffmpeg() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, media) = published(dir.path()).await;
    let copy = dir.path().join("copy.flv").display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let url = format!("rtmp://127.0.0.1:{port}/live/key");
    let server = ffmpeg(&format!("-listen 1 -i {url} -map 0 -c copy -f flv {copy}"));
    let (events, _) = client(config(&url, Purpose::Publish), &media).await;
    assert!(matches!(events[..], [ClientEvent::Started { .. }]), "{events:?}");
    succeed(server).await;
    same_packets(&copy, &file, 0).await;
}

#[tokio::test]
async fn our_client_is_told_why_it_is_refused() {
    let rejection = Rejection::new(code::PUBLISH_DENIED, "Live streaming is switched off.");
    let rig = Rig::start(Policy { rejection: Some(rejection.clone()), ..Policy::default() }).await;
    let message = MediaMessage { medium: Medium::Audio, timestamp_ms: 0, payload: Bytes::new() };
    let (events, _) = client(config(&rig.url("live/key"), Purpose::Publish), &[message]).await;
    assert_eq!(events, [ClientEvent::Rejected(rejection)]);
}
