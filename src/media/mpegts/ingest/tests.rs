//! Transport streams as ffmpeg makes them, whole and damaged, and such as it does not make.
use std::process::{Command, Stdio};

use super::*;
use crate::domain::cues::SplicePoint;
use crate::media::live::broadcast::{ToldCue, Visit};
use crate::media::mpegts::id3::tests::tag;
use crate::media::mpegts::packets::PACKET_BYTES;
use crate::media::mpegts::pes::tests::pes;
use crate::media::mpegts::sections::tests::section;
use crate::media::mpegts::tables::tests::{association, map};

const PICTURES: &str = "-f lavfi -i testsrc2=size=64x64:rate=25:duration=2";
const TONE: &str = "-f lavfi -i sine=duration=2:sample_rate=48000";
const H264: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 25 -pix_fmt yuv420p";

pub(in crate::media::mpegts) fn make(arguments: &str) -> Vec<u8> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error"]).args(arguments.split_whitespace()).args(["-f", "mpegts", "-"]);
    let made = ffmpeg.stderr(Stdio::inherit()).output().expect("ffmpeg");
    assert!(made.status.success() && !made.stdout.is_empty(), "{arguments}");
    made.stdout
}

/// What a stream comes to.
#[derive(Debug, Default)]
pub(in crate::media::mpegts) struct Taken {
    pub(in crate::media::mpegts) visits: Vec<Visit>,
    /// Track, times and whether decoding can begin, of each frame.
    pub(in crate::media::mpegts) frames: Vec<(usize, Stamp)>,
    pub(in crate::media::mpegts) payloads: Vec<(usize, Bytes)>,
    cues: Vec<ToldCue>,
    pub(in crate::media::mpegts) unusable: Unusable,
    refusal: Option<String>,
}

impl Taken {
    pub(in crate::media::mpegts) fn of(stream: &[u8], step: usize) -> Self {
        let (mut ingest, mut taken) = (TsIngest::default(), Self::default());
        for piece in stream.chunks(step) {
            let mut out = Vec::new();
            ingest.take(piece, Duration::ZERO, &mut out);
            for fed in out {
                match fed {
                    Fed::Visit(visit) => taken.visits.push(visit),
                    Fed::Cue(cue) => taken.cues.push(cue),
                    Fed::Frame { track, stamp, payload } => {
                        taken.frames.push((track, stamp));
                        taken.payloads.push((track, payload));
                    }
                }
            }
        }
        taken.unusable = ingest.unusable();
        taken.refusal = ingest.refusal().map(str::to_owned);
        taken
    }

    fn codecs(&self) -> Vec<String> {
        let tracks = self.visits.last().expect("a visit").tracks.iter();
        tracks.map(|track| track.codec_string().expect("a codec")).collect()
    }

    fn of_track(&self, wanted: usize) -> Vec<Stamp> {
        self.frames.iter().filter(|(track, _)| *track == wanted).map(|(_, stamp)| *stamp).collect()
    }
}

/// Ticks from each frame to the next.
fn steps(stamps: &[Stamp]) -> Vec<i64> {
    stamps.windows(2).map(|pair| (pair[1].dts - pair[0].dts) & CLOCK_MASK).collect()
}

#[test]
fn h264_and_aac_whatever_pieces_they_come_in() {
    let stream = make(&format!("{PICTURES} {TONE} {H264} -c:a aac -b:a 64k"));
    let whole = Taken::of(&stream, stream.len());
    assert_eq!((whole.unusable, whole.visits.len(), whole.refusal.as_deref()), (Unusable::default(), 1, None));
    assert_eq!(whole.codecs(), ["avc1.4d400a", "mp4a.40.2"]);
    let pictures = whole.of_track(0);
    // The end of the last one is not told.
    assert_eq!((pictures.len(), pictures.iter().filter(|stamp| stamp.keyframe).count()), (49, 2));
    assert!(steps(&pictures).iter().all(|step| *step == 3600));
    assert!(pictures.iter().any(|stamp| stamp.composition > 3600), "pictures are reordered");
    let sound = whole.of_track(1);
    assert!(sound.len() >= 93 && steps(&sound).iter().all(|step| *step == 1920), "{} packets", sound.len());
    for (track, payload) in &whole.payloads {
        let is_sane = if *track == 0 { payload.len() > 4 } else { payload[..2] != [0xff, 0xf1] };
        assert!(is_sane, "{payload:?}");
    }
    for step in [1316, 1000, 1] {
        let taken = Taken::of(&stream, step);
        assert_eq!(
            (taken.frames, taken.payloads, taken.unusable),
            (whole.frames.clone(), whole.payloads.clone(), Unusable::default())
        );
    }
}

#[test]
fn hevc_with_two_languages() {
    let options = "-map 0:v -map 1:a -map 1:a -c:v libx265 -preset ultrafast -x265-params log-level=error:bframes=2 \
        -g 25 -pix_fmt yuv420p -c:a aac -b:a 64k -metadata:s:a:0 language=deu -metadata:s:a:1 language=fre";
    let taken = Taken::of(&make(&format!("{PICTURES} {TONE} {options}")), 1316);
    assert_eq!((taken.unusable, taken.visits.len()), (Unusable::default(), 1));
    assert!(taken.codecs()[0].starts_with("hvc1.1."), "{:?}", taken.codecs());
    let tracks = &taken.visits[0].tracks;
    let told: Vec<_> = tracks[1..].iter().map(|track| (track.language.as_str(), track.default)).collect();
    assert_eq!(told, [("de", true), ("fr", false)]);
    assert_eq!(taken.of_track(0).len(), 49);
    assert!(taken.of_track(2).len() >= 93);
}

#[test]
fn sound_of_every_codec() {
    let kinds = [
        ("-c:a aac -mpegts_flags latm", "mp4a.40.2", 1920),
        ("-c:a libmp3lame", "mp4a.6B", 2160),
        ("-c:a ac3", "ac-3", 2880),
        ("-c:a eac3", "ec-3", 2880),
        ("-c:a eac3 -mpegts_flags system_b", "ec-3", 2880),
        ("-c:a libopus", "opus", 1800),
        ("-c:a libopus -ac 6", "opus", 1800),
    ];
    for (options, codec, length) in kinds {
        let taken = Taken::of(&make(&format!("{TONE} {options}")), 1316);
        assert_eq!((taken.codecs(), taken.unusable), (vec![codec.to_owned()], Unusable::default()), "{options}");
        let steps = steps(&taken.of_track(0));
        let is_near = |step: &i64| (step - length).abs() <= 1;
        assert!(steps.len() as i64 >= 178_000 / length - 3 && steps.iter().all(is_near), "{options}: {steps:?}");
    }
}

#[test]
fn codecs_that_are_not_taken_are_named() {
    let refused = |options: &str| Taken::of(&make(options), 1316).refusal.expect(options);
    assert!(refused(&format!("{PICTURES} -c:v mpeg2video")).starts_with("MPEG-2 video cannot be published here"));
    assert!(refused(&format!("{TONE} -c:a mp2")).starts_with("MPEG audio of layer 1 or 2 cannot"));
}

#[test]
fn the_clock_runs_over_its_end() {
    let options = format!("{PICTURES} {TONE} {H264} -c:a aac -output_ts_offset 95442");
    let taken = Taken::of(&make(&options), 1316);
    let pictures = taken.of_track(0);
    assert!(pictures.windows(2).any(|pair| pair[1].dts < pair[0].dts), "it does");
    assert!(steps(&pictures).iter().all(|step| *step == 3600));
    assert!(pictures.iter().all(|stamp| (0..=18_000).contains(&stamp.composition)));
    assert!(steps(&taken.of_track(1)).iter().all(|step| *step == 1920));
}

#[test]
fn what_is_lost_is_counted_and_the_rest_goes_on() {
    let stream = make(&format!("{PICTURES} {TONE} {H264} -c:a aac -b:a 64k"));
    let kept = stream.chunks(PACKET_BYTES).enumerate().filter(|(number, _)| number % 50 != 49);
    let lossy: Vec<u8> = kept.flat_map(|(_, packet)| packet).copied().collect();
    let taken = Taken::of(&lossy, 1316);
    assert!(taken.unusable.gaps > 0 && taken.unusable.damaged > 0, "{:?}", taken.unusable);
    let pictures = taken.of_track(0);
    assert!((25..49).contains(&pictures.len()), "{} pictures", pictures.len());
    assert!(steps(&taken.of_track(1)).iter().all(|step| step % 1920 == 0 && *step > 0));
    let repeated: Vec<u8> = stream.chunks(PACKET_BYTES).flat_map(|packet| [packet, packet].concat()).collect();
    assert_eq!(Taken::of(&repeated, 1316).frames.len(), Taken::of(&stream, 1316).frames.len());
    let late = [&stream[PACKET_BYTES + 5..PACKET_BYTES * 40], &stream].concat();
    let taken = Taken::of(&late, 1316);
    assert!(taken.unusable.skipped_bytes > 0 && taken.of_track(0).len() >= 48, "{:?}", taken.unusable);
}

#[test]
fn another_programme_is_another_visit() {
    let first = make(&format!("{PICTURES} {TONE} {H264} -c:a aac"));
    let second = make(&format!("{PICTURES} {TONE} {H264} -s 96x64 -c:a ac3"));
    let taken = Taken::of(&[first, second].concat(), 1316);
    // The sound may be there before the first picture of the other size.
    assert!(matches!(taken.visits.len(), 2 | 3), "{} visits", taken.visits.len());
    assert_eq!(taken.codecs(), ["avc1.4d400a", "ac-3"]);
    let size = taken.visits.last().unwrap().tracks[0].video_properties((25, 1)).unwrap().unwrap();
    assert_eq!((size.width, size.height), (96, 64));
}

/// A packet of this PID that begins something.
fn packet(pid: u16, counter: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = pid.to_be_bytes();
    let mut packet = vec![0x47, 0x40 | high, low, 0x30 | counter];
    let fill = PACKET_BYTES - 5 - payload.len();
    packet.push(fill as u8);
    packet.extend((0..fill).map(|at| if at == 0 { 0 } else { 0xff }));
    packet.extend(payload);
    packet
}

fn table(pid: u16, section: &[u8]) -> Vec<u8> {
    packet(pid, 0, &[&[0], section].concat())
}

/// `splice_insert` at a time: out of the programme for 30 s.
fn splice(time: i64) -> Vec<u8> {
    let insert =
        [&7u32.to_be_bytes()[..], &[0x7f, 0xef], &ticks(0xfe, time), &ticks(0xfe, 2_700_000), &[0; 4]].concat();
    let head = [0, 0, 0, 0, 0, 10, 0xff, 0xff, 0xf0, insert.len() as u8, 5];
    section(0xfc, &[&head[..], &insert, &[0, 0]].concat())
}

fn ticks(first: u8, ticks: i64) -> [u8; 5] {
    let [_, _, _, high, rest @ ..] = ticks.to_be_bytes();
    [first | high & 1, rest[0], rest[1], rest[2], rest[3]]
}

#[test]
fn breaks_and_tags_are_told() {
    let adts = [&[0xff, 0xf1, 0x4c, 0x80, 0x02, 0x1f, 0xfc][..], &[0; 9]].concat();
    let sound = |counter: u8, time: i64| packet(0x101, counter, &pes(0xc0, (time, time), &adts));
    let mut stream = [
        table(0, &association(0x100)),
        table(0x100, &map(&[(0x0f, 0x101, &[]), (0x86, 0x102, b"\x05\x04CUEI"), (0x15, 0x103, &[])])),
        sound(0, 900_000),
        packet(0x103, 0, &pes(0xbd, (903_000, 903_000), &tag("score", "2:1"))),
    ]
    .concat();
    stream.extend(table(0x102, &splice(990_000)));
    stream.extend(packet(
        0x102,
        1,
        &[&[0], &section(0xfc, &[0, 0, 0, 0, 0, 10, 0xff, 0xff, 0xf0, 0, 0, 0, 0])[..]].concat(),
    ));
    stream.extend((1..60).flat_map(|n| sound((n % 16) as u8, 900_000 + n * 1920)));
    let taken = Taken::of(&stream, 1316);
    assert_eq!((taken.codecs(), taken.unusable), (vec!["mp4a.40.2".to_owned()], Unusable::default()));
    let [tag, out] = &taken.cues[..] else { panic!("{:?}", taken.cues) };
    assert_eq!((tag.time, tag.class.as_deref(), tag.values.len()), (903_000, Some("org.id3"), 1));
    assert_eq!(tag.values[0].0, "SCORE");
    // The adjustment of ten ticks is the section's own.
    assert_eq!((out.time, out.event.as_deref(), out.length_micros), (990_010, Some("7"), Some(30_000_000)));
    assert_eq!(out.splice.as_ref().map(|splice| splice.point), Some(SplicePoint::Out));
}
