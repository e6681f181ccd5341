//! Decoding isolation with the real binary: what worker processes say of real files, what a broken one costs, and the
//! jobs that stand on them.
#[path = "worker/clips.rs"]
mod clips;
#[path = "worker/jobs.rs"]
mod jobs;
#[path = "worker/ladders.rs"]
mod ladders;
#[path = "worker/node.rs"]
mod node;
#[path = "worker/pool.rs"]
mod pool;

use std::path::Path;
use std::time::{Duration, Instant};

use clips::clip;
use playhouse::actors::transcode_worker::WorkError;
use playhouse::domain::asset::{AssetTrack, Ticks, TrackKind};
use playhouse::domain::video::{Failure, MediaInfo};
use playhouse::media::work::{Answer, Packaged, Task, Verdict};
use pool::{Fault, limits, output, run, source};

fn inspect(path: &Path) -> Result<(MediaInfo, Verdict), Failure> {
    let dir = tempfile::tempdir().unwrap();
    match run(Task::Inspect { source: source(path), output: output(dir.path()), limits: limits() }) {
        Ok(Answer::Inspected { media, verdict }) => Ok((media, verdict)),
        Err(WorkError::Refused(failure)) => Err(failure),
        other => panic!("{}: {other:?}", path.display()),
    }
}

/// Inspects and, when told so, remuxes.
fn judge(name: &str) -> Result<(MediaInfo, Verdict), Failure> {
    let path = clip(name);
    let (media, verdict) = inspect(&path)?;
    if verdict != Verdict::Remux {
        return Ok((media, verdict));
    }
    let dir = tempfile::tempdir().unwrap();
    match run(Task::Remux { source: source(&path), output: output(dir.path()), limits: limits(), media }) {
        Ok(Answer::Remuxed { media, verdict }) => {
            if let Verdict::Playable(made) = &verdict {
                assert!(made.files.iter().all(|file| file.path.starts_with(dir.path()) && file.path.is_file()));
            }
            Ok((media, verdict))
        }
        Err(WorkError::Refused(failure)) => Err(failure),
        other => panic!("{name}: {other:?}"),
    }
}

fn playable(name: &str) -> (MediaInfo, Packaged) {
    match judge(name) {
        Ok((media, Verdict::Playable(made))) => (media, made),
        other => panic!("{name}: {other:?}"),
    }
}

fn reasons(name: &str) -> Vec<String> {
    match judge(name) {
        Ok((_, Verdict::NonStandard(unmets))) => unmets.into_iter().map(|unmet| unmet.code).collect(),
        other => panic!("{name}: {other:?}"),
    }
}

fn refused(name: &str) -> Failure {
    match judge(name) {
        Err(failure) => failure,
        other => panic!("{name}: {other:?}"),
    }
}

fn start(track: &AssetTrack) -> Ticks {
    Ticks { value: track.segments[0].start, timescale: track.timescale }
}

#[test]
fn standard_clips_of_every_container_are_playable() {
    let containers = [
        ("plain.mp4", "mp4"),
        ("plain.mov", "mov"),
        ("plain.mkv", "matroska"),
        ("plain.ts", "mpegts"),
        ("plain.flv", "flv"),
        ("plain.avi", "avi"),
        ("fragmented.mp4", "mp4"),
        ("delayed.mkv", "matroska"),
    ];
    for (name, container) in containers {
        let (media, made) = playable(name);
        assert_eq!(media.container, container, "{name}");
        let (video, audio) = (&media.video[0], &media.audio[0]);
        assert_eq!((video.codec.as_str(), video.width, video.height), ("h264", 192, 108), "{name}");
        assert_eq!((video.frame_rate, video.bit_depth, video.chroma.as_str()), ((25, 1), 8, "4:2:0"), "{name}");
        assert_eq!((audio.codec.as_str(), audio.channels, audio.sample_rate), ("aac", 2, 48_000), "{name}");
        assert!((2350..=2500).contains(&media.duration_ms), "{name}: {} ms", media.duration_ms);
        let kinds: Vec<TrackKind> = made.tracks.iter().map(|track| track.kind).collect();
        assert_eq!(kinds, [TrackKind::Video, TrackKind::Audio], "{name}");
        assert_eq!(start(&made.tracks[0]).rescale(1000), 1000, "{name}");
    }
}

/// The sound's start beside the pictures', as ffprobe reads it from the same file. The first packet of sound may be gone
/// where a container gives it no time of its own.
#[test]
fn sound_stays_where_it_was_beside_the_pictures() {
    let offsets =
        [("plain.mkv", -21), ("plain.flv", -21), ("delayed.mkv", -421), ("fragmented.mp4", -80), ("plain.ts", 0)];
    for (name, expected_ms) in offsets {
        let (_, made) = playable(name);
        let [video, audio] = [0, 1].map(|index| start(&made.tracks[index]).rescale(1000));
        assert!((audio - video - expected_ms).abs() <= 2, "{name}: {} ms", audio - video);
    }
}

#[test]
fn odd_but_standard_clips_are_playable() {
    assert_eq!(playable("portrait.mp4").1.tracks[0].video.as_ref().unwrap().display_size(), (108, 192));
    let rotated = playable("rotated.mp4").1.tracks[0].video.clone().unwrap();
    assert_eq!((rotated.rotation % 180, rotated.display_size()), (90, (108, 192)));
    assert_eq!(playable("no-audio.mkv").1.tracks.len(), 1);
    for name in ["audio-only.mkv", "audio-only.m4a", "audio-only.aac"] {
        let (media, made) = playable(name);
        assert!(media.video.is_empty() && made.tracks[0].kind == TrackKind::Audio, "{name}");
        let start_ms = start(&made.tracks[0]).rescale(1000);
        // An edit list puts what the codec needs to get going before the start.
        assert!((975..=1000).contains(&start_ms), "{name}: {start_ms} ms");
    }
    for name in ["one-frame.mp4", "one-frame.mkv"] {
        let (media, made) = playable(name);
        assert_eq!((media.duration_ms, made.tracks[0].segments.len()), (40, 1), "{name}");
    }
    let (media, made) = playable("surround.mkv");
    assert_eq!((media.audio[0].layout.as_str(), media.audio[0].language.as_str()), ("5.1", "de"));
    assert_eq!(made.tracks[1].audio.as_ref().unwrap().language, "de");
}

#[test]
fn what_is_not_standard_is_named() {
    assert_eq!(reasons("ten-bit.mkv"), ["bit_depth"]);
    assert_eq!(reasons("hevc.mkv"), ["video_codec"]);
    assert_eq!(reasons("hevc.mp4"), ["video_codec"]);
    assert_eq!(reasons("vp9-opus.webm"), ["video_codec", "audio_codec"]);
    assert_eq!(reasons("av1.mkv"), ["video_codec"]);
    assert_eq!(reasons("opus.mkv"), ["audio_codec"]);
    assert_eq!(reasons("mpeg4-mp3.avi"), ["video_codec", "audio_codec"]);
    assert_eq!(reasons("audio-only.mp3"), ["audio_codec"]);
    assert_eq!(reasons("interlaced.ts"), ["interlaced"]);
    assert_eq!(reasons("long-gop.mkv"), ["gop_length"]);
    assert_eq!(reasons("hdr.mkv"), ["video_codec", "bit_depth", "dynamic_range"]);
}

#[test]
fn what_is_found_is_told() {
    let (media, _) = judge("hdr.mkv").unwrap();
    let video = &media.video[0];
    assert_eq!((video.codec.as_str(), video.profile.as_deref()), ("hevc", Some("Main 10")));
    assert_eq!((video.dynamic_range.as_str(), video.bit_depth), ("pq", 10));
    let (media, _) = judge("live.webm").unwrap();
    assert_eq!((media.container.as_str(), media.video[0].codec.as_str()), ("webm", "vp8"));
    assert!((2300..=2500).contains(&media.duration_ms), "counted: {} ms", media.duration_ms);
    assert_eq!(media.video[0].frame_rate, (25, 1));
}

#[test]
fn what_is_no_video_is_refused_in_plain_words() {
    let cases = [
        ("empty.mp4", "empty", "The file is empty"),
        ("text.mp4", "not_a_video", "This is a text file, not a video."),
        ("picture.mp4", "not_a_video", "This is a JPEG picture, not a video."),
        ("noise.ts", "not_a_video", "no kind of video"),
        ("cut.mp4", "truncated", "ends before its index"),
        ("cut.mkv", "truncated", "cut off or is still being written"),
    ];
    for (name, code, words) in cases {
        let failure = refused(name);
        assert_eq!(failure.code, code, "{name}: {}", failure.message);
        assert!(failure.message.contains(words), "{name}: {}", failure.message);
    }
}

#[test]
fn a_source_in_several_files_is_one() {
    let whole = clip("plain.mkv");
    let bytes = std::fs::read(&whole).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut parts = Vec::new();
    for (number, part) in bytes.chunks(bytes.len() / 3 + 1).enumerate() {
        let path = dir.path().join(number.to_string());
        std::fs::write(&path, part).unwrap();
        parts.extend(source(&path));
    }
    let answer = run(Task::Inspect { source: parts, output: output(dir.path()), limits: limits() }).unwrap();
    let Answer::Inspected { media, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(media, inspect(&whole).unwrap().0);
}

#[test]
fn digests_are_checked() {
    let path = clip("text.mp4");
    let digest = |expected: &str| run(Task::Digest { source: source(&path), expected: expected.into() });
    assert_eq!(digest(&format!("sha256:{}", clips::sha256("text.mp4"))), Ok(Answer::Digested));
    let wrong = digest("md5:00000000000000000000000000000000").unwrap_err();
    assert!(matches!(wrong, WorkError::Refused(failure) if failure.code == "digest_mismatch"));
    let unknown = digest("crc32:00000000").unwrap_err();
    assert!(matches!(unknown, WorkError::Refused(failure) if failure.code == "digest_unsupported"));
}

fn picture(name: &str, rotation: u16) -> (u32, u32, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = clip(name);
    let task = Task::Thumbnail { source: source(&path), output: output(dir.path()), duration_ms: 2400, rotation };
    match run(task) {
        Ok(Answer::Illustrated { file, content_type, width, height }) => {
            assert_eq!(content_type, "image/jpeg");
            (width, height, std::fs::read(file.path).unwrap())
        }
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn thumbnails_are_upright_and_of_the_right_shape() {
    for name in ["plain.mp4", "plain.ts", "hevc.mkv", "vp9-opus.webm", "mpeg4-mp3.avi", "one-frame.mkv", "ten-bit.mkv"]
    {
        let (width, height, jpeg) = picture(name, 0);
        assert_eq!((width, height), (192, 108), "{name}");
        assert!(jpeg.starts_with(b"\xff\xd8\xff") && jpeg.len() > 1000, "{name}: {} bytes", jpeg.len());
    }
    let (width, height, _) = picture("plain.mp4", 90);
    assert_eq!((width, height), (108, 192));
    let (width, height, _) = picture("anamorphic.mp4", 0);
    assert_eq!(width * 9 / 16, height);
}

#[test]
fn a_thumbnail_is_not_black_if_that_can_be_avoided() {
    let (_, _, jpeg) = picture("black-start.mp4", 0);
    let black = picture("black.mp4", 0).2;
    assert!(jpeg.len() > black.len() * 2, "{} bytes, a black one has {}", jpeg.len(), black.len());
}

#[test]
fn a_worker_that_crashes_or_hangs_costs_one_task() {
    for (action, expected) in [("crash", WorkError::Crashed), ("hang", WorkError::Hung)] {
        let fault = Fault::new(action, "digest", 1, Duration::from_millis(600));
        let path = clip("text.mp4");
        let expected_digest = format!("sha256:{}", clips::sha256("text.mp4"));
        let digest = || fault.run(Task::Digest { source: source(&path), expected: expected_digest.clone() });
        let started = Instant::now();
        assert_eq!(digest(), Err(expected), "{action}");
        assert!(started.elapsed() < Duration::from_secs(20), "{action}: {:?}", started.elapsed());
        assert_eq!(digest(), Ok(Answer::Digested), "{action}");
    }
}

#[test]
fn without_a_binary_tasks_are_refused_for_now() {
    let path = clip("text.mp4");
    let task = Task::Digest { source: source(&path), expected: "md5:00".into() };
    assert_eq!(pool::run_without_binary(task), Err(WorkError::NoWorker));
}
