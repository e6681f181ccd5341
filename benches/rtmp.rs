//! What it costs to follow an RTMP publisher from bytes to frames, without sockets: bytes per second of one core, and the
//! share of it that a publisher of 1.6 Mb/s takes.
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use playhouse::protocols::rtmp::session::{
    ClientConfig, ClientSession, ClientUrl, MediaMessage, Medium, Purpose, ServerConfig, ServerEvent, ServerSession,
};
use playhouse::protocols::rtmp::wire::flv::audio::{AudioCodec, AudioPackets};
use playhouse::protocols::rtmp::wire::flv::emit::{AudioTrackWriter, VideoTrackWriter};
use playhouse::protocols::rtmp::wire::flv::video::{VideoCodec, VideoPackets};

/// Length of the stream.
const SECONDS: u32 = 120;
/// Bytes of a video frame and of an audio frame: 1.5 Mb/s at 25 frames per second, and 96 kb/s.
const VIDEO_BYTES: usize = 7500;
const AUDIO_BYTES: usize = 256;
/// What a read from the socket brings at most.
const READ_BYTES: usize = 64 << 10;
/// Time of one measurement.
const ROUND: Duration = Duration::from_secs(2);

fn main() {
    let stream = media();
    for (chunk_bytes, read_bytes, what) in [
        (60_000, READ_BYTES, "chunks as ffmpeg's, reads of 64 KiB"),
        (4096, READ_BYTES, "chunks as OBS's, reads of 64 KiB"),
        (128, READ_BYTES, "chunks of 128 bytes, reads of 64 KiB"),
        (4096, 1448, "chunks as OBS's, a packet at a time"),
    ] {
        let bytes = published(&stream, chunk_bytes);
        let (mut rounds, started) = (0_u32, Instant::now());
        while started.elapsed() < ROUND {
            assert_eq!(follow(&bytes, read_bytes), stream.len());
            rounds += 1;
        }
        let per_round = started.elapsed().as_secs_f64() / f64::from(rounds);
        let megabytes_per_sec = bytes.len() as f64 / per_round / 1e6;
        let share = per_round / f64::from(SECONDS) * 100.0;
        println!("{megabytes_per_sec:8.0} MB/s  {share:.5} % of a core per publisher  {what}");
    }
}

fn media() -> Vec<MediaMessage> {
    let video = VideoTrackWriter::new(VideoCodec::Avc, 0).expect("a codec with a code");
    let audio = AudioTrackWriter::new(AudioCodec::Aac, 0).expect("a codec with a code");
    let pictures = (0..SECONDS * 25).map(|index| {
        let payload = video.frame(index % 50 == 0, 40, &vec![index as u8; VIDEO_BYTES]);
        MediaMessage { medium: Medium::Video, timestamp_ms: index * 40, payload }
    });
    let sound = (0..SECONDS * 1000 / 21).map(|index| {
        let payload = audio.frame(&[index as u8; AUDIO_BYTES]);
        MediaMessage { medium: Medium::Audio, timestamp_ms: index * 21, payload }
    });
    let mut media: Vec<_> = pictures.chain(sound).collect();
    media.sort_by_key(|message| message.timestamp_ms);
    media
}

/// What a publisher sends.
fn published(media: &[MediaMessage], chunk_bytes: u32) -> Vec<u8> {
    let now = Instant::now();
    let url = ClientUrl::parse("rtmp://host/live/key").expect("a URL");
    let config = ClientConfig { chunk_bytes, ..ClientConfig::new(url, Purpose::Publish) };
    let mut client = ClientSession::new(config, 1, now);
    let mut server = ServerSession::new(ServerConfig::default(), 2, now);
    let (mut to_client, mut to_server, mut sent) = (BytesMut::new(), BytesMut::new(), Vec::new());
    let mut is_started = false;
    while !is_started {
        is_started = client.next(&mut to_client, now).expect("an orderly server").is_some();
        sent.extend_from_slice(client.output().chunk());
        to_server.extend_from_slice(client.output().chunk());
        client.output().clear();
        while let Some(event) = server.next(&mut to_server, now).expect("an orderly client") {
            if let ServerEvent::PublishRequested(_) = event {
                server.accept().expect("a request");
            }
        }
        let count = server.output().remaining();
        to_client.extend_from_slice(&server.output().copy_to_bytes(count));
    }
    for message in media {
        client.send(message.clone()).expect("room");
        let count = client.output().remaining();
        sent.extend_from_slice(&client.output().copy_to_bytes(count));
    }
    sent
}

/// Follows a publisher; the number of its frames.
fn follow(bytes: &[u8], read_bytes: usize) -> usize {
    let now = Instant::now();
    let mut session = ServerSession::new(ServerConfig::default(), 1, now);
    let (mut input, mut frames) = (BytesMut::new(), 0);
    for piece in bytes.chunks(read_bytes) {
        // The copy stands for the one out of the kernel.
        input.reserve(READ_BYTES);
        input.extend_from_slice(piece);
        while let Some(event) = session.next(&mut input, now).expect("an orderly client") {
            match event {
                ServerEvent::PublishRequested(_) => session.accept().expect("a request"),
                ServerEvent::Media(message) => frames += count(message),
                ServerEvent::Connected(_) | ServerEvent::PlayRequested(_) | ServerEvent::Ended => {}
            }
        }
        session.output().clear();
    }
    frames
}

fn count(message: MediaMessage) -> usize {
    match message.medium {
        Medium::Video => black_box(VideoPackets::read(message.payload).expect("a tag")).count(),
        Medium::Audio => black_box(AudioPackets::read(message.payload).expect("a tag")).count(),
        Medium::Data => 0,
    }
}
