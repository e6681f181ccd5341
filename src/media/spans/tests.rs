use bytes::Bytes;

use super::*;
use crate::domain::asset::SegmentBytes;
use crate::media::frames::CodecConfig;
use crate::media::testing::{SPS_AND_PPS, avcc};

fn settings(dir: &std::path::Path) -> SpanSettings {
    SpanSettings {
        dir: dir.to_owned(),
        prefix: BlobKey::new("vod/x"),
        generation: 1,
        start: Ticks { value: 0, timescale: 1 },
        grid: GridSettings::default(),
        span_ms: 8000,
        bits_per_sec_max: 50_000_000,
    }
}

fn sound(dir: &std::path::Path) -> SpanWriter {
    let config = TrackConfig::new(CodecConfig::Aac { config: Bytes::from_static(&[0x11, 0x90]) }, 48_000);
    SpanWriter::new(vec![config], settings(dir)).unwrap()
}

fn pictures(dir: &std::path::Path) -> SpanWriter {
    SpanWriter::new(vec![TrackConfig::new(CodecConfig::H264 { avcc: avcc() }, 1000)], settings(dir)).unwrap()
}

fn packet(at: i64) -> Frame {
    Frame { dts: at, pts: at, duration: 1024, keyframe: true, payload: Bytes::from_static(b"packet") }
}

fn picture(at: i64, idr: bool) -> Frame {
    let payload = Bytes::from_static(if idr { &[0, 0, 0, 2, 0x65, 1] } else { &[0, 0, 0, 2, 0x41, 1] });
    Frame { dts: at, pts: at, duration: 40, keyframe: idr, payload }
}

#[test]
fn sound_with_millisecond_times_comes_out_even() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = sound(dir.path());
    for index in 0..1000i64 {
        let milliseconds = index * 1024 * 1000 / 48_000;
        writer.push(0, packet(milliseconds * 48)).unwrap();
    }
    let made = writer.finish().unwrap();
    let track = &made.tracks[0];
    let durations: Vec<u32> = track.segments.iter().map(|segment| segment.duration).collect();
    assert!(durations.iter().all(|duration| duration % 1024 == 0 && *duration <= 6 * 48_000), "{durations:?}");
    assert_eq!(track.duration_ticks(), 1000 * 1024);
    assert_eq!(track.segments[0].start, 48_000);
    assert_eq!((made.spans.len(), made.tables.len(), made.num_repaired), (2, 0, 0));
    for span in &made.spans {
        assert_eq!(std::fs::metadata(&span.path).unwrap().len(), span.bytes);
    }
}

#[test]
fn pictures_before_the_first_key_frame_are_dropped_and_groups_must_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = pictures(dir.path());
    for index in 0..200 {
        writer.push(0, picture(index * 40, index % 50 == 10)).unwrap();
    }
    let made = writer.finish().unwrap();
    assert_eq!(made.num_dropped, 10);
    let track = &made.tracks[0];
    assert_eq!(track.segments.iter().map(|segment| segment.duration).collect::<Vec<_>>(), [4000, 3600]);
    assert_eq!(track.key_frames.len(), 4);
    assert_eq!(track.key_frames[3].source, SegmentBytes::Virtual { first: 3, samples: 1 });
    assert_eq!(track.video.as_ref().unwrap().frame_rate, (25, 1));

    let mut writer = pictures(dir.path());
    let pushed = (0..300).try_for_each(|index| writer.push(0, picture(index * 40, index == 0)));
    assert!(matches!(pushed, Err(SpanError::NonStandard(reason)) if reason.code == "gop_length"));
}

#[test]
fn claimed_key_frames_and_changed_parameter_sets_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = pictures(dir.path());
    writer.push(0, picture(0, true)).unwrap();
    writer.push(0, Frame { keyframe: true, ..picture(2000, false) }).unwrap();
    let same = [&[0, 0, 0, SPS_AND_PPS.0.len() as u8][..], SPS_AND_PPS.0, &[0, 0, 0, 2, 0x65, 1]].concat();
    writer.push(0, Frame { payload: same.clone().into(), ..picture(4000, true) }).unwrap();
    let mut other = same;
    other[10] ^= 1;
    let refused = writer.push(0, Frame { payload: other.into(), ..picture(6000, true) });
    assert!(matches!(refused, Err(SpanError::NonStandard(reason)) if reason.code == "parameter_sets"));
    let made = writer.finish().unwrap();
    assert_eq!(made.tracks[0].key_frames.len(), 2);
}

#[test]
fn times_that_go_back_are_repaired_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = pictures(dir.path());
    for at in [0, 40, 30, 80] {
        writer.push(0, picture(at, at == 0)).unwrap();
    }
    let made = writer.finish().unwrap();
    assert_eq!(made.num_repaired, 1);
    assert_eq!(made.tracks[0].duration_ticks(), 120);
}
