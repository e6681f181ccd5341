use std::path::Path;

use super::*;
use crate::media::pipelines::testing::{limits, media_of, reader, reporter};
use crate::media::testing::make_clip;

const SECOND: i64 = 1_000_000_000;

fn survey_of(path: &Path) -> Survey {
    match survey(&|| reader(path), &limits(), &media_of(path), &reporter()) {
        Ok(Answer::Surveyed(survey)) => survey,
        other => panic!("{}: {other:?}", path.display()),
    }
}

fn made(dir: &Path, name: &str, arguments: &str) -> Survey {
    survey_of(&make_clip(dir, name, arguments))
}

fn pictures(seconds: u32, rate: &str) -> String {
    format!("-f lavfi -i testsrc2=size=64x36:rate={rate}:duration={seconds}")
}

fn sound(seconds: u32) -> String {
    format!("-f lavfi -i sine=frequency=440:sample_rate=48000:duration={seconds}")
}

const H264: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 2 -b_strategy 0 -sc_threshold 0";

fn seconds(survey: &Survey) -> Vec<f64> {
    survey.cuts.iter().map(|cut| *cut as f64 / f64::from(survey.timescale)).collect()
}

#[test]
fn containers_agree_on_where_pictures_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let seekable = [("a.mp4", true), ("a.mkv", true), ("a.ts", false), ("a.flv", false), ("a.avi", false)];
    for (name, is_seekable) in seekable {
        let found = made(dir.path(), name, &format!("{} {} {H264} -g 50 -c:a aac", pictures(10, "25"), sound(10)));
        assert_eq!(found.timescale, 90_000, "{name}");
        assert_eq!(seconds(&found), [1.0, 5.0, 9.0, 11.0], "{name}");
        assert_eq!((found.num_frames, found.frame_rate), (250, (25, 1)), "{name}");
        assert!((9_990..=10_060).contains(&found.duration_ms), "{name}: {} ms", found.duration_ms);
        assert_eq!(found.reading == Reading::Sought, is_seekable, "{name}");
    }
}

#[test]
fn frame_times_are_whole_ticks() {
    let dir = tempfile::tempdir().unwrap();
    for (name, rate, timescale) in [
        ("ntsc.mp4", "30000/1001", 90_000),
        ("film.mov", "24000/1001", 24_000),
        ("double.mp4", "60000/1001", 60_000),
        ("odd.mp4", "19", 10_013),
    ] {
        let found = made(dir.path(), name, &format!("{} {H264} -g 999", pictures(9, rate)));
        assert_eq!(found.timescale, timescale, "{name}");
        let (numerator, denominator) = found.frame_rate;
        let step = i64::from(denominator) * i64::from(found.timescale) / i64::from(numerator);
        let origin = i64::from(found.timescale);
        assert!(found.cuts.iter().all(|cut| (cut - origin) % step == 0), "{name}: {:?}", found.cuts);
        assert!(found.cuts.windows(2).all(|pair| pair[1] - pair[0] <= 6 * origin), "{name}: {:?}", found.cuts);
        assert_eq!(found.reading, Reading::Sought, "{name}");
    }
    let found = made(dir.path(), "ntsc.mkv", &format!("{} {H264} -g 60", pictures(9, "30000/1001")));
    assert_eq!((found.timescale, found.frame_rate), (90_000, (30_000, 1001)));
    assert_eq!(found.cuts[1], 90_000 + 4_004 * 90);
}

#[test]
fn the_origin_is_the_first_picture() {
    let dir = tempfile::tempdir().unwrap();
    let late = format!(
        "-itsoffset 0.5 {} -itsoffset 0.5 {} {H264} -g 25 -c:a aac -vsync passthrough",
        pictures(2, "25"),
        sound(2)
    );
    for name in ["late.mp4", "late.mkv"] {
        let found = made(dir.path(), name, &late);
        // ffmpeg moves everything by the sound's priming.
        assert!((found.start_ns - SECOND / 2 - 21_000_000).abs() <= 2_000_000, "{name}: {}", found.start_ns);
        assert_eq!((found.num_frames, found.cuts[0]), (50, i64::from(found.timescale)), "{name}");
    }
    // The edit list cuts into a group of pictures.
    let whole = make_clip(dir.path(), "whole.mp4", &format!("{} {H264} -g 25", pictures(3, "25")));
    let cut = made(dir.path(), "cut.mp4", &format!("-ss 1.2 -i {} -c copy", whole.display()));
    assert_eq!((cut.start_ns, cut.num_frames, cut.cuts[0]), (0, 45, i64::from(cut.timescale)));
}

#[test]
fn odd_pictures_are_surveyed() {
    let dir = tempfile::tempdir().unwrap();
    let one = made(dir.path(), "one.mp4", &format!("{} {H264} -frames:v 1", pictures(1, "25")));
    assert_eq!((seconds(&one), one.num_frames, one.duration_ms), (vec![1.0, 1.04], 1, 40));
    let still = made(dir.path(), "still.mp4", &format!("{} {H264} -g 1", pictures(30, "1/10")));
    assert_eq!((seconds(&still), still.num_frames), (vec![1.0, 11.0, 21.0, 31.0], 3));
    let drop = "-vf select='lt(t,1)+gt(t,14)' -vsync vfr";
    let gap = made(dir.path(), "gap.mkv", &format!("{} {H264} -g 25 {drop}", pictures(16, "25")));
    assert!(gap.cuts.len() >= 3 && gap.cuts.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", gap.cuts);
    let sound = made(dir.path(), "sound.mp3", &format!("{} -c:a libmp3lame", sound(3)));
    assert_eq!((sound.cuts.len(), sound.num_frames), (0, 0));
    assert!((3000..=3080).contains(&sound.duration_ms), "{} ms", sound.duration_ms);
}

#[test]
fn pictures_of_every_kind_are_surveyed() {
    let dir = tempfile::tempdir().unwrap();
    let clips = [
        ("mpeg4.avi", "-c:v mpeg4 -bf 2 -g 25", false),
        ("mjpeg.avi", "-c:v mjpeg", true),
        ("mpeg2.mpg", "-c:v mpeg2video -bf 2 -g 25", false),
        ("interlaced.ts", "-c:v mpeg2video -bf 2 -g 25 -flags +ilme+ildct", false),
        ("vp8.webm", "-c:v libvpx -deadline realtime -g 25", true),
        ("theora.ogv", "-c:v libtheora", false),
        ("windows.asf", "-c:v wmv2", false),
        ("prores.mov", "-c:v prores_ks", true),
        ("hevc.mp4", "-c:v libx265 -preset ultrafast -x265-params log-level=none", true),
        ("raw.h264", "-c:v libx264 -preset ultrafast -bf 2", false),
        ("fragmented.mp4", "-c:v libx264 -preset ultrafast -g 25 -movflags frag_keyframe+empty_moov", true),
    ];
    for (name, codec, is_seekable) in clips {
        let found = made(dir.path(), name, &format!("{} {codec}", pictures(3, "25")));
        assert_eq!((found.num_frames, found.frame_rate), (75, (25, 1)), "{name}");
        assert_eq!((found.cuts.len(), found.reading == Reading::Sought), (2, is_seekable), "{name}");
        assert!((2960..=3040).contains(&found.duration_ms), "{name}: {} ms", found.duration_ms);
    }
}
