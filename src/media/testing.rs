//! What the tests of this room share: clips made by ffmpeg, and the real blob store (for tests alone: the room itself
//! knows its port only).
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use bytes::Bytes;

use crate::domain::asset::{Asset, AssetTrack, TrackKind};
use crate::domain::ids::{PlaybackId, VideoId};
use crate::media::codecs::h264::AvcConfig;
use crate::storage::blobs::Blobs;

/// The real store over a directory.
pub(crate) fn blobs_in(root: &Path) -> Arc<Blobs> {
    Arc::new(Blobs::local(root).unwrap())
}

pub(crate) fn video_id() -> VideoId {
    VideoId::parse("vid_testtesttest").unwrap()
}

pub(crate) fn empty_asset() -> Asset {
    let playback_id = PlaybackId::parse(&format!("{}_testtesttest", PlaybackId::PREFIX)).unwrap();
    Asset {
        video_id: video_id(),
        playback_id,
        generation: 1,
        source: Vec::new(),
        tracks: Vec::new(),
        epochs: Vec::new(),
        chronicle: Default::default(),
    }
}

pub(crate) fn empty_track(name: &str) -> AssetTrack {
    AssetTrack {
        name: name.into(),
        kind: TrackKind::Video,
        codec: "avc1.64001f".into(),
        timescale: 90_000,
        video: None,
        audio: None,
        init: Bytes::new(),
        reorder: 0,
        sample_table: None,
        spans: Vec::new(),
        segments: Vec::new(),
        key_frames: Vec::new(),
    }
}

/// Runs a program and returns what it printed on both streams; fails the test when it fails.
fn output(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let output = output(program, arguments);
    (text(&output.stdout), text(&output.stderr))
}

/// The same of a program that puts out something else than text.
pub(crate) fn run_bytes(program: &str, arguments: &[&str]) -> Vec<u8> {
    output(program, arguments).stdout
}

/// Makes a clip: `arguments` (split at spaces) go between the common ones and the file's path.
pub(crate) fn make_clip(dir: &Path, name: &str, arguments: &str) -> PathBuf {
    let path = dir.join(name);
    let mut all = vec!["-v", "error", "-y"];
    all.extend(arguments.split_whitespace());
    all.extend(["-fflags", "+bitexact", "-flags", "+bitexact", "-threads", "2", path.to_str().unwrap()]);
    run("ffmpeg", &all);
    path
}

/// Parameter sets of x264 for 320x240, High profile.
pub(crate) const SPS_AND_PPS: (&[u8], &[u8]) = (
    &[
        0x67, 0x64, 0x00, 0x0D, 0xAC, 0xD9, 0x41, 0x41, 0xFA, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03,
        0x03, 0x20, 0xF1, 0x42, 0x99, 0x60,
    ],
    &[0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0],
);

/// An `avcC` body of these.
pub(crate) fn avcc() -> Bytes {
    let (sps, pps) = SPS_AND_PPS;
    AvcConfig::from_parameter_sets(vec![sps.into()], vec![pps.into()]).unwrap().to_bytes()
}

/// An `hvcC` body as ffmpeg and x265 make it: 320x180 in 8 bits, hex.
pub(crate) const HVCC: &str = "0101600000009000000000003cf000fcfdf8f800000f0320000100184\
    0010c01ffff01600000030090000003000003003c959409210001002b42010101600000030090000003000003003ca00a080c1f3e595952930bc05a02\
    0000030002000003003c1022000100064401c073c189";
/// The same in 10 bits with the colours of HDR10, and with words of the encoder's own.
pub(crate) const HVCC_HDR: &str = "0102200000009000000000003cf000fcfdfafa00000f04200001001840010c01ffff02200000030090000003000003003c959409210001002e\
    42010102200000030090000003000003003ca00a080c1f3b6595952930bc05a848804820000003002000000303c122000100064401c073c189270001\
    00064e0105aabbcc";

/// Bytes of their hexadecimal digits.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
