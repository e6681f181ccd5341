//! Whole clips: made by ffmpeg, indexed, rendered, resolved, and given back to ffmpeg as HLS. What it decodes must be what
//! it decodes from the original, without a warning.
use std::fs;
use std::path::{Path, PathBuf};

use super::wire::{render_key_frames, render_media, render_multivariant};
use crate::domain::asset::{Asset, BlobKey, Ticks, TrackKind};
use crate::domain::ports::{BlobStore, SegmentSource};
use crate::domain::trim::Cut;
use crate::media::grid::GridSettings;
use crate::media::resolve::Resolver;
use crate::media::spans::{SpanSettings, SpanWriter};
use crate::media::testing::{blobs_in, make_clip, run};
use crate::media::view::View;
use crate::protocols::testing::{PICTURES, SOUND, X264, config_of, decoded, frames_of, index, write_objects};

/// Writes all playlists and objects of an asset below a directory, as a server would give them; returns the multivariant
/// playlist's path.
pub(crate) async fn write_all(asset: &Asset, source: &dyn SegmentSource, out: &Path) -> PathBuf {
    write_objects(asset, source, out).await;
    for track in &asset.tracks {
        let dir = out.join(&track.name);
        fs::write(dir.join("media.m3u8"), render_media(asset, track, Cut::NONE)).unwrap();
        if let Some(playlist) = render_key_frames(track, Cut::NONE) {
            fs::write(dir.join("iframes.m3u8"), playlist).unwrap();
        }
    }
    fs::write(out.join("master.m3u8"), render_multivariant(&asset.tracks, View::default(), Cut::NONE)).unwrap();
    out.join("master.m3u8")
}

/// Indexes a clip, which must be standard, and writes it as HLS.
async fn publish(clip: &Path) -> (Asset, PathBuf) {
    let found = index(clip);
    assert_eq!(found.non_standard, [], "{}", clip.display());
    let playable = found.playable.unwrap();
    let root = clip.parent().unwrap();
    let blobs = blobs_in(root);
    for table in playable.tables {
        blobs.put(&table.key, table.bytes).await.unwrap();
    }
    let resolver = Resolver::new(blobs, 64 << 20);
    let out = root.join(format!("{}.hls", clip.file_name().unwrap().to_str().unwrap()));
    let master = write_all(&playable.asset, &resolver, &out).await;
    (playable.asset, master)
}

/// Presentation times of all packets of one kind of stream, seconds.
fn packet_times(input: &Path, stream: &str) -> Vec<f64> {
    let arguments = ["-v", "error", "-select_streams", stream, "-show_entries", "packet=pts_time", "-of", "csv=p=0"];
    let (out, _) = run("ffprobe", &[&arguments[..], &[input.to_str().unwrap()]].concat());
    let times = out.lines().filter_map(|line| line.trim_end_matches(',').parse().ok());
    times.collect()
}

fn earliest(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Compares every track of the HLS with the original.
fn compare(clip: &Path, asset: &Asset, master: &Path) {
    let has = |kind| asset.tracks.iter().any(|track| track.kind == kind);
    let mut starts = Vec::new();
    for (kind, stream) in [(TrackKind::Video, "v"), (TrackKind::Audio, "a")] {
        if !has(kind) {
            continue;
        }
        let ((original, _), (delivered, complaints)) =
            (decoded(clip, &format!("0:{stream}:0")), decoded(master, &format!("0:{stream}:0")));
        assert_eq!(complaints, "", "{}", clip.display());
        let (before, after) =
            (packet_times(clip, &format!("{stream}:0")), packet_times(master, &format!("{stream}:0")));
        assert_eq!(before.len(), after.len(), "{stream} packets of {}", clip.display());
        let length = |times: &[f64]| times.iter().copied().fold(0.0, f64::max) - earliest(times);
        assert!((length(&before) - length(&after)).abs() < 0.002, "{stream} length of {}", clip.display());
        starts.push((earliest(&before), earliest(&after)));
        match kind {
            TrackKind::Video => assert_eq!(original, delivered, "pictures of {}", clip.display()),
            TrackKind::Audio => assert!(delivered.ends_with(&original[2..]), "sound of {}", clip.display()),
        }
    }
    if let [video, audio] = starts[..] {
        let (before, after) = (video.0 - audio.0, video.1 - audio.1);
        assert!((before - after).abs() < 0.001, "offset of {}: {before} and now {after}", clip.display());
    }
}

async fn check(dir: &Path, name: &str, arguments: &str) -> (Asset, PathBuf) {
    let clip = make_clip(dir, name, arguments);
    let (asset, master) = publish(&clip).await;
    compare(&clip, &asset, &master);
    (asset, master)
}

#[tokio::test]
async fn pictures_with_b_frames_and_primed_sound() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = format!("{PICTURES} {SOUND} -t 11 {X264} -c:a aac -ac 2 -movflags +faststart");
    let (asset, _) = check(dir.path(), "clip.mp4", &arguments).await;
    let [video, audio] = &asset.tracks[..] else { panic!("two tracks") };
    let starts: Vec<_> = video.segments.iter().map(|segment| segment.start / i64::from(video.timescale)).collect();
    assert_eq!(starts, [1, 5, 9]);
    assert_eq!(video.segments[0].start, i64::from(video.timescale), "pictures start at the origin exactly");
    assert_eq!(audio.segments.len(), 3);
    assert!(audio.segments[0].start < i64::from(audio.timescale), "priming lies before the origin");
    assert_eq!(video.key_frames.len(), 6);
}

#[tokio::test]
async fn frames_remuxed_into_spans() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = format!("{PICTURES} {SOUND} -t 21 {X264} -c:a aac -ac 2");
    let clip = make_clip(dir.path(), "clip.mp4", &arguments);
    let (mut asset, frames) = frames_of(&clip);
    let configs = asset.tracks.iter().map(config_of).collect();
    let settings = SpanSettings {
        dir: dir.path().to_owned(),
        prefix: BlobKey::new("spans"),
        generation: 2,
        start: Ticks { value: 0, timescale: 1 },
        grid: GridSettings::default(),
        span_ms: 8000,
        bits_per_sec_max: 50_000_000,
    };
    let mut writer = SpanWriter::new(configs, settings).unwrap();
    frames.into_iter().for_each(|(track, frame)| writer.push(track, frame).unwrap());
    let made = writer.finish().unwrap();
    assert_eq!((made.spans.len(), made.num_dropped, made.num_repaired), (6, 0, 0));
    run("ffmpeg", &["-v", "error", "-i", made.spans[1].path.to_str().unwrap(), "-f", "null", "-"]);
    let blobs = blobs_in(dir.path());
    for span in &made.spans {
        assert_eq!(blobs.adopt(&span.key, &span.path).await.unwrap(), span.bytes);
    }
    for table in made.tables {
        blobs.put(&table.key, table.bytes).await.unwrap();
    }
    let starts = |asset: &Asset| -> Vec<Vec<i64>> {
        asset.tracks.iter().map(|track| track.segments.iter().map(|segment| segment.start).collect()).collect()
    };
    let expected = starts(&asset);
    asset.tracks = made.tracks;
    assert_eq!(starts(&asset), expected, "both ways cut at the same places");
    let master = write_all(&asset, &Resolver::new(blobs, 64 << 20), &dir.path().join("hls")).await;
    compare(&clip, &asset, &master);
}

#[tokio::test]
async fn quicktime_turned_with_index_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let upright = make_clip(dir.path(), "upright.mov", &format!("{PICTURES} {SOUND} -t 3 {X264} -c:a aac -ac 1"));
    let arguments = format!("-i {} -c copy -metadata:s:v rotate=90", upright.display());
    let (asset, master) = check(dir.path(), "turned.mov", &arguments).await;
    let rotation = |input: &Path| {
        let entries = "stream_side_data=rotation";
        run("ffprobe", &["-v", "error", "-show_entries", entries, "-of", "csv=p=0", input.to_str().unwrap()]).0
    };
    let counterclockwise = rotation(&dir.path().join("turned.mov"));
    assert_eq!(counterclockwise.trim(), "90");
    let init = master.with_file_name(format!("{}/init.mp4", asset.tracks[0].name));
    assert_eq!(rotation(&init).trim(), counterclockwise.trim());
    let video = asset.tracks[0].video.as_ref().unwrap();
    assert_eq!((video.rotation, video.display_size()), (270, (180, 320)));
    assert!(fs::read_to_string(&master).unwrap().contains("RESOLUTION=180x320,FRAME-RATE=25.000"));
}

#[tokio::test]
async fn surround_sound_and_odd_sizes_and_late_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = format!(
        "{SOUND} -itsoffset 2.5 -f lavfi -i testsrc2=s=322x182:r=30000/1001:d=6 -map 1 -map 0 -t 14 -fps_mode:v passthrough {X264} -g 30 \
         -c:a aac -ac 6"
    );
    let (asset, _) = check(dir.path(), "late.mp4", &arguments).await;
    let [video, audio] = &asset.tracks[..] else { panic!("two tracks") };
    assert!(video.segments[0].start > 34 * i64::from(video.timescale) / 10, "origin and 2.5 s");
    assert_eq!(audio.audio.as_ref().unwrap().channels, 6);
    let longest = audio.segments.iter().map(|segment| segment.duration).max().unwrap();
    let longest = Ticks { value: longest.into(), timescale: audio.timescale };
    assert!(longest.as_secs_f64() <= 10.0, "{longest:?}");
    let properties = video.video.as_ref().unwrap();
    assert_eq!((properties.width, properties.height, properties.frame_rate), (322, 182, (30_000, 1001)));
}

#[tokio::test]
async fn pictures_alone_and_sound_alone_and_one_picture() {
    let dir = tempfile::tempdir().unwrap();
    let (asset, _) =
        check(dir.path(), "mute.mp4", &format!("{PICTURES} -t 2 {X264} -movflags negative_cts_offsets")).await;
    assert_eq!(asset.tracks.len(), 1);
    let (asset, master) = check(dir.path(), "sound.m4a", &format!("{SOUND} -t 13 -c:a aac")).await;
    assert_eq!(asset.tracks[0].segments.len(), 3);
    let multivariant = fs::read_to_string(master).unwrap();
    assert!(multivariant.contains("CODECS=\"mp4a.40.2\"\na0-1/media.m3u8\n") && !multivariant.contains("EXT-X-MEDIA"));
    let (asset, _) = check(dir.path(), "one.mp4", &format!("{PICTURES} -frames:v 1 {X264}")).await;
    assert_eq!((asset.tracks[0].segments.len(), asset.tracks[0].segments[0].duration), (1, 512));
    assert!(render_media(&asset, &asset.tracks[0], Cut::NONE).contains("TARGETDURATION:1\n"));
}

#[tokio::test]
async fn key_frames_are_objects_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let clip = make_clip(dir.path(), "clip.mp4", &format!("{PICTURES} -t 8 {X264}"));
    let (asset, master) = publish(&clip).await;
    let playlist = master.with_file_name("v0-1").join("iframes.m3u8");
    let (pictures, complaints) = decoded(&playlist, "0:v:0");
    assert_eq!(complaints, "");
    let (all, _) = decoded(&clip, "0:v:0");
    assert_eq!(pictures, [0, 50, 100, 150].map(|index| all[index].clone()));
    assert_eq!(asset.tracks[0].key_frames.len(), 4);
}

#[test]
fn non_standard_clips_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let short = "-f lavfi -i testsrc2=s=128x96:r=25:d=0.4";
    let long = "-f lavfi -i testsrc2=s=128x96:r=5:d=13";
    let x264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";
    let cases = [
        ("gop_length", "long.mp4", format!("{long} {x264} -g 1000")),
        ("open_gop", "open.mp4", format!("{long} {x264} -g 20 -bf 2 -x264-params open-gop=1")),
        ("bit_depth", "deep.mp4", format!("{short} -c:v libx264 -preset ultrafast -pix_fmt yuv420p10le")),
        ("chroma", "chroma.mp4", format!("{short} -c:v libx264 -preset ultrafast -pix_fmt yuv422p")),
        ("interlaced", "fields.mp4", format!("{short} {x264} -flags +ildct+ilme")),
        (
            "dynamic_range",
            "hdr.mp4",
            format!("{short} {x264} -color_trc smpte2084 -color_primaries bt2020 -colorspace bt2020nc"),
        ),
        ("video_codec", "mpeg4.mp4", format!("{short} -c:v mpeg4")),
        ("audio_codec", "mp3.mp4", format!("{short} {SOUND} -t 0.4 {x264} -c:a libmp3lame")),
        ("audio_codec", "opus.mp4", format!("{short} {SOUND} -t 0.4 {x264} -c:a libopus -strict -2")),
        ("fragmented", "fragments.mp4", format!("{short} {x264} -movflags frag_keyframe+empty_moov")),
        (
            "bit_rate",
            "noise.mp4",
            format!("-f lavfi -i nullsrc=s=960x540:r=60:d=1.1,geq=random(1)*255:128:128 {x264} -qp 1"),
        ),
    ];
    for (code, name, arguments) in cases {
        let found = index(&make_clip(dir.path(), name, &arguments));
        let codes: Vec<_> = found.non_standard.iter().map(|reason| reason.code.as_str()).collect();
        assert_eq!(codes, [code], "{name}: {:?}", found.non_standard);
        assert!(found.playable.is_none() && !found.info.video.is_empty());
    }
}
