//! What is multiplexed here is read again by the demultiplexer here, and by ffmpeg.
use std::io::Write;
use std::process::{Command, Stdio};

use super::*;
use crate::media::live::timeline::Stamp;
use crate::media::mpegts::ingest::Unusable;
use crate::media::mpegts::ingest::tests::{Taken, make};
use crate::media::mpegts::packets::Packet;

const PICTURES: &str = "-f lavfi -i testsrc2=size=160x120:rate=25:duration=2";
const TONES: &str = "-f lavfi -i sine=duration=2:sample_rate=48000 -f lavfi -i sine=500:duration=2:sample_rate=48000";
const H264: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 25 -pix_fmt yuv420p";
const HEVC: &str = "-c:v libx265 -preset ultrafast -x265-params log-level=error -g 25 -pix_fmt yuv420p";

fn frame(stamp: &Stamp, timescale: u32, payload: &Bytes) -> Frame {
    let ticks = |value| Ticks { value, timescale: CLOCK }.rescale(timescale);
    let (dts, pts) = (ticks(stamp.dts), ticks(stamp.dts + stamp.composition));
    Frame { dts, pts, duration: 0, keyframe: stamp.keyframe, payload: payload.clone() }
}

fn multiplexed(taken: &Taken) -> BytesMut {
    let tracks = &taken.visits.last().expect("a visit").tracks;
    let (mut muxer, mut out) = (Muxer::default(), BytesMut::new());
    muxer.begin(tracks).expect("tracks that can be carried");
    for ((track, stamp), (_, payload)) in taken.frames.iter().zip(&taken.payloads) {
        muxer.push(*track, &frame(stamp, tracks[*track].timescale, payload), &mut out);
    }
    out
}

/// Decodes it; what ffmpeg says of it.
fn decoded(stream: &[u8]) -> String {
    let mut ffmpeg = Command::new("ffmpeg");
    let arguments = "-v info -f mpegts -i - -map 0 -xerror -err_detect explode -f null -";
    ffmpeg.args(arguments.split_whitespace()).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut running = ffmpeg.spawn().expect("ffmpeg");
    let mut input = running.stdin.take().expect("its input");
    let stream = stream.to_vec();
    let writing = std::thread::spawn(move || input.write_all(&stream));
    let run = running.wait_with_output().expect("its end");
    writing.join().expect("a writer").expect("all of it is read");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{said}");
    said
}

#[test]
fn what_is_multiplexed_is_read_again() {
    let maps = "-map 0 -map 1 -map 2 -metadata:s:a:0 language=ita -metadata:s:a:1 language=deu";
    let cases = [
        (format!("{PICTURES} {TONES} {maps} {H264} -c:a aac -b:a 64k"), ["h264", "aac", "(ita)", "(deu)"]),
        (format!("{PICTURES} {TONES} {maps} {HEVC} -c:a:0 ac3 -c:a:1 libopus"), ["hevc", "ac3", "(ita)", "opus"]),
        (format!("{PICTURES} {TONES} {maps} {H264} -c:a:0 libmp3lame -c:a:1 eac3"), ["h264", "mp3", "eac3", "(deu)"]),
    ];
    for (arguments, words) in cases {
        let source = Taken::of(&make(&arguments), usize::MAX);
        let stream = multiplexed(&source);
        assert_eq!(stream.len() % PACKET_BYTES, 0);
        let again = Taken::of(&stream, 1000);
        assert_eq!((again.unusable, again.visits.len()), (Unusable::default(), 1), "{arguments}");
        assert_eq!(again.visits[0].tracks, source.visits[0].tracks, "{arguments}");
        for track in 0..3 {
            let of = |taken: &Taken| -> Vec<(i64, i64, bool, Bytes)> {
                let both = taken.frames.iter().zip(&taken.payloads).filter(|((one, _), _)| *one == track);
                both.map(|((_, it), (_, payload))| (it.dts, it.composition, it.keyframe, payload.clone())).collect()
            };
            let (told, read) = (of(&source), of(&again));
            // Nobody knows where the last picture ends.
            assert!(read.len() + 1 >= told.len() && read.len() > 40, "{} of {}", read.len(), told.len());
            for (told, read) in told.iter().zip(&read) {
                let is_like = (told.0 - read.0).abs() <= 2 && (told.1, told.2) == (read.1, read.2);
                assert!(is_like && told.3 == read.3, "{arguments}: {} {} or {} {}", told.0, told.1, read.0, read.1);
            }
        }
        let said = decoded(&stream);
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}

/// PID, whether something starts, the clock's reading, and whether the packet is marked as one to begin with.
fn packets(stream: &[u8]) -> Vec<(u16, bool, Option<i64>, bool)> {
    let read = |bytes: &[u8]| {
        let packet = Packet::read(bytes).expect("a packet");
        let field = if bytes[3] & 0x20 != 0 && bytes[4] > 0 { bytes[5] } else { 0 };
        let clock = || bytes[6..10].iter().fold(0i64, |sum, byte| sum << 8 | i64::from(*byte)) << 1;
        (packet.pid, packet.starts, (field & 0x10 != 0).then(clock), field & 0x40 != 0)
    };
    stream.chunks(PACKET_BYTES).map(read).collect()
}

#[test]
fn readers_can_begin_at_each_key_frame_and_the_clock_goes_on() {
    let source = Taken::of(&make(&format!("{PICTURES} {TONES} -map 0 -map 1 {H264} -c:a aac -b:a 64k")), usize::MAX);
    let packets = packets(&multiplexed(&source));
    let keys: Vec<usize> = (0..packets.len()).filter(|at| packets[*at].0 == FIRST_PID && packets[*at].3).collect();
    assert_eq!(keys.len(), 2);
    for key in keys {
        assert_eq!((packets[key - 2].0, packets[key - 1].0), (PAT_PID, MAP_PID));
        assert!(packets[key].2.is_some(), "the clock");
    }
    let clock: Vec<i64> = packets.iter().filter_map(|packet| packet.2).collect();
    assert!(clock.windows(2).all(|pair| (1..=9000).contains(&(pair[1] - pair[0]))), "{clock:?}");
}

#[test]
fn other_tracks_have_another_version_of_the_map() {
    let track = |codec| TrackConfig::new(codec, 48_000);
    let aac = track(crate::media::frames::CodecConfig::Aac { config: Bytes::from_static(&[0x11, 0x90]) });
    let german = TrackConfig { language: "de".into(), ..aac.clone() };
    let (mut muxer, mut versions) = (Muxer::default(), Vec::new());
    for (number, tracks) in
        [vec![aac.clone()], vec![aac.clone()], vec![german.clone()], vec![german, aac]].iter().enumerate()
    {
        let mut out = BytesMut::new();
        muxer.begin(tracks).unwrap();
        let dts = number as i64 * 1024;
        let payload = Bytes::from_static(&[1; 600]);
        muxer.push(0, &Frame { dts, pts: dts, duration: 1024, keyframe: true, payload }, &mut out);
        let map = out.chunks(PACKET_BYTES).find(|packet| packet[1..3] == [0x50, 0]).expect("a map");
        versions.push(map[10] >> 1 & 0x1f);
    }
    assert_eq!(versions, [0, 0, 1, 2]);
}
