//! SRT: transport streams, stream ids, and the heads of datagrams.
use std::process::Command;
use std::time::Duration;

use playhouse::media::codecs::annexb::AnnexB;
use playhouse::media::codecs::scte35::{SpliceInfo, splice_time};
use playhouse::media::live::lineup::Fed;
use playhouse::media::mpegts::ingest::TsIngest;
use playhouse::protocols::srt::wire::{FromReader, Head, StreamRequest};

use super::targets::Target;

const PICTURES: &str = "-f lavfi -i testsrc2=size=64x64:rate=10:duration=0.5";
const TONE: &str = "-f lavfi -i sine=duration=0.3:sample_rate=48000";

pub(crate) fn targets() -> Vec<Target> {
    let stream = |options: &str| make(&format!("{PICTURES} {TONE} {options}"));
    let streams = vec![
        stream("-c:v libx264 -preset ultrafast -bf 1 -pix_fmt yuv420p -c:a aac -b:a 16k"),
        stream("-c:v libx265 -preset ultrafast -x265-params log-level=error -pix_fmt yuv420p -c:a ac3 -b:a 64k"),
        make(&format!(
            "{TONE} {TONE} {TONE} -map 0 -map 1 -map 2 -c:a:0 aac -c:a:1 libmp3lame -c:a:2 eac3 -mpegts_flags latm"
        )),
        make(&format!("{TONE} -c:a libopus -b:a 32k")),
    ];
    vec![
        Target { name: "transport streams", samples: streams, read: read_stream },
        Target { name: "splice information", samples: vec![SPLICE.to_vec()], read: read_splice },
        Target {
            name: "SRT stream ids",
            samples: [&b"publish:live/abc"[..], b"#!::m=publish,r=abc,u=ann", b"read:abc"].map(<[u8]>::to_vec).to_vec(),
            read: |input| std::str::from_utf8(input).is_ok_and(|text| StreamRequest::parse(text).is_ok()),
        },
        Target { name: "SRT datagrams", samples: vec![induction()], read: |input| Head::read(input).is_some() },
        Target { name: "SRT readers", samples: from_readers(), read: |input| FromReader::read(input).is_some() },
    ]
}

/// An acknowledgement, and a report of losses.
fn from_readers() -> Vec<Vec<u8>> {
    let packet = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect();
    vec![packet(&[0x8002_0000, 7, 0, 9, 555, 20_000, 1, 8192]), packet(&[0x8003_0000, 0, 0, 9, 5, 0x8000_0007, 9])]
}

fn make(arguments: &str) -> Vec<u8> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error"]).args(arguments.split_whitespace()).args(["-f", "mpegts", "-"]);
    let made = ffmpeg.output().expect("ffmpeg");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

fn read_stream(input: &[u8]) -> bool {
    let (mut ingest, mut out) = (TsIngest::default(), Vec::new());
    let mut frames = 0;
    for piece in input.chunks(1316) {
        ingest.take(piece, Duration::ZERO, &mut out);
        frames += out.drain(..).filter(|fed| matches!(fed, Fed::Frame { .. })).count();
    }
    let _ = (AnnexB::new(input).count(), ingest.unusable());
    frames > 0
}

/// `splice_insert` of SCTE 35's section 14.
const SPLICE: &[u8] =
    b"\xfc\x30\x2f\0\0\0\0\0\0\xff\xff\xf0\x14\x05\x48\0\0\x8f\x7f\xef\xfe\x73\x69\xc0\x2e\xfe\0\x52\xcc\xf5\
    \0\0\0\0\0\x0a\0\x08CUEI\0\0\x01\x35\x62\xdb\xa3\x0a";

fn read_splice(input: &[u8]) -> bool {
    let _ = SpliceInfo::read(input);
    splice_time(input).is_some()
}

fn induction() -> Vec<u8> {
    let mut datagram = vec![0; 64];
    (datagram[0], datagram[19], datagram[39]) = (0x80, 4, 1);
    datagram
}
