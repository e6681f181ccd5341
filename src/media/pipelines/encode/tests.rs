//! Real clips through real decoders and encoders.
use std::path::Path;

use super::testing::{Encoded, encoded, joined, presentation, rung, tasks_of};
use crate::domain::ladder::{Encoder, Rung, RungCodec};
use crate::media::testing::{make_clip, run};
use crate::media::work::TilePlan;

const PICTURE: &str = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=4";
const H264: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 2 -b_strategy 0";

fn rungs() -> Vec<Rung> {
    vec![rung("v180-1", (320, 180)), rung("v144-1", (256, 144))]
}

fn all(clip: &Path, dir: &Path, rungs: &[Rung], segments: usize) -> Vec<Encoded> {
    tasks_of(clip, dir, rungs, segments).iter().map(encoded).collect()
}

/// Encodes a clip in chunks and checks what holds for all clips; returns when its pictures are shown.
fn check(clip: &Path, rungs: &[Rung]) -> (Vec<Encoded>, Vec<i64>) {
    let dir = tempfile::tempdir().unwrap();
    let chunks = all(clip, dir.path(), rungs, 1);
    let times: Vec<_> = (0..rungs.len()).map(|rung| presentation(&joined(&chunks, rung, dir.path()))).collect();
    let counted: u32 = chunks.iter().map(|chunk| chunk.rungs[0].num_frames).sum();
    assert_eq!(times[0].len(), counted as usize);
    assert!(times.windows(2).all(|pair| pair[0] == pair[1]), "{}: rungs differ", clip.display());
    (chunks, times.into_iter().next().unwrap())
}

#[test]
fn chunks_of_all_rungs_join_into_the_source() {
    let dir = tempfile::tempdir().unwrap();
    let clip = make_clip(dir.path(), "clip.mp4", &format!("{PICTURE} {H264} -g 40"));
    let (chunks, times) = check(&clip, &rungs());
    assert!(chunks.len() > 1);
    assert_eq!(times.len(), 100);
    let step = times[1] - times[0];
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == step));
    let made = &chunks[0].rungs[1];
    assert_eq!((made.video.width, made.video.height, made.video.frame_rate), (256, 144, (25, 1)));
    assert!(made.codec.starts_with("avc1.6400"), "{}", made.codec);
}

/// Highest bit rate of any second, from the sizes of the packets as they are shown.
fn highest_second(path: &Path) -> u64 {
    let path = path.to_str().unwrap();
    let arguments = ["-v", "error", "-show_entries", "packet=pts_time,size", "-of", "csv=p=0", path];
    let mut packets: Vec<(f64, u64)> = Vec::new();
    for line in run("ffprobe", &arguments).0.lines() {
        let mut fields = line.split(',');
        packets.push((fields.next().unwrap().parse().unwrap(), fields.next().unwrap().parse().unwrap()));
    }
    packets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let bits_from = |first: usize| {
        let until = packets[first].0 + 1.0 - 1e-6;
        packets[first..].iter().take_while(|packet| packet.0 < until).map(|packet| packet.1 * 8).sum()
    };
    (0..packets.len()).map(bits_from).max().unwrap()
}

#[test]
fn the_rate_holds_across_joins() {
    let dir = tempfile::tempdir().unwrap();
    let noise = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=8,noise=alls=60:allf=t";
    let clip = make_clip(dir.path(), "noise.mp4", &format!("{noise} {H264} -crf 18 -g 25"));
    let mut rung = rung("v180-1", (320, 180));
    (rung.bits_per_sec_max, rung.buffer_ms) = (600_000, 1000);
    let chunks = all(&clip, dir.path(), &[rung], 2);
    assert_eq!(chunks.len(), 4);
    let path = joined(&chunks, 0, dir.path());
    let highest = highest_second(&path);
    // A full buffer may be spent in a second, besides what comes in.
    assert!((500_000..=1_200_000).contains(&highest), "{highest}");
    let segments = chunks.iter().flat_map(|chunk| &chunk.rungs[0].segments);
    let average = segments.map(|segment| u64::from(segment.bytes)).sum::<u64>();
    assert!((480_000..=640_000).contains(&average), "{average}");
}

#[test]
fn small_pictures_and_good_moments_come_along() {
    let dir = tempfile::tempdir().unwrap();
    let black = "-f lavfi -i color=black:size=320x180:rate=25:duration=2";
    let filter = "-filter_complex [0][1]concat=n=2";
    let clip = make_clip(dir.path(), "clip.mp4", &format!("{black} {PICTURE} {filter} {H264} -g 25"));
    let (mut tiles, mut candidates) = (Vec::new(), Vec::new());
    for mut task in tasks_of(&clip, dir.path(), &rungs(), 2) {
        task.tiles = Some(TilePlan { interval_ms: 700, width: 160, height: 90 });
        let made = encoded(&task);
        tiles.extend(made.tiles);
        candidates.push(made.candidates);
    }
    let times: Vec<_> = tiles.iter().map(|tile| tile.at_ms).collect();
    assert_eq!(times, [0, 720, 1400, 2120, 2800, 3520, 4200, 4920, 5600]);
    for tile in &tiles {
        let range = &tile.picture;
        let bytes = std::fs::read(&range.path).unwrap();
        let picture = &bytes[range.first as usize..(range.first + range.bytes) as usize];
        assert!(picture.starts_with(&[0xff, 0xd8]) && picture.ends_with(&[0xff, 0xd9]));
    }
    let best: Vec<_> = candidates.iter().map(|of_chunk| of_chunk[0].score).collect();
    assert!(best[0] < 50 && best[1] > 300 && best[2] > 300, "{best:?}");
    assert!(candidates.iter().flatten().all(|candidate| candidate.histogram.len() == 32));
    let [first, second] = &candidates[1][..] else { panic!("{:?}", candidates[1]) };
    assert!(first.score >= second.score && first.at_ms.abs_diff(second.at_ms) >= 1000);
}

/// Clips of other codecs and shapes: what makes them, how many pictures they have, and the rung's size.
const CLIPS: &[(&str, &str, usize, (u32, u32))] = &[
    (
        "hevc10.mkv",
        "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params log-level=none:keyint=30",
        60,
        WIDE,
    ),
    ("hevc.mp4", "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=30", 60, WIDE),
    ("high10.mkv", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p10le", 60, WIDE),
    ("chroma422.mp4", "-c:v libx264 -preset ultrafast -pix_fmt yuv422p", 60, WIDE),
    ("chroma444.mp4", "-c:v libx264 -preset ultrafast -pix_fmt yuv444p", 60, WIDE),
    ("grey.mp4", "-c:v libx264 -preset ultrafast -pix_fmt gray", 60, WIDE),
    ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 30", 60, WIDE),
    ("vp8.mkv", "-c:v libvpx -deadline realtime -cpu-used 8 -g 30", 60, WIDE),
    ("av1.mp4", "-c:v libsvtav1 -preset 12 -g 30", 60, WIDE),
    ("mpeg2.mkv", "-c:v mpeg2video -q:v 4 -bf 2 -g 12", 60, WIDE),
    ("mpeg2.mp4", "-c:v mpeg2video -q:v 4 -g 12", 60, WIDE),
    ("mpeg4.avi", "-c:v mpeg4 -q:v 4 -bf 2 -g 30", 60, WIDE),
    ("h264.avi", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 2 -g 30", 60, WIDE),
    ("mpeg2.ts", "-c:v mpeg2video -q:v 4 -bf 2 -g 15", 60, WIDE),
    ("mpeg2.mpg", "-f lavfi -i sine=r=48000:d=2 -c:v mpeg2video -q:v 4 -bf 2 -g 15 -c:a ac3", 60, WIDE),
    ("interlaced.ts", "-c:v mpeg2video -q:v 4 -bf 2 -g 15 -flags +ilme+ildct", 60, WIDE),
    ("hevc.ts", "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -x265-params log-level=none:keyint=30", 60, WIDE),
    ("h264.flv", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 2 -g 30", 60, WIDE),
    ("sorenson.flv", "-c:v flv1 -q:v 4 -g 30", 60, WIDE),
    ("windows.asf", "-c:v wmv2 -q:v 4 -g 30", 60, WIDE),
    ("theora.ogv", "-c:v libtheora -q:v 7 -g 30", 60, WIDE),
    ("raw.h264", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 2 -g 30", 60, WIDE),
    ("prores.mov", "-c:v prores_ks -profile:v 2", 60, WIDE),
    ("mjpeg.avi", "-c:v mjpeg -q:v 4 -pix_fmt yuvj422p", 60, WIDE),
    ("odd.mkv", "-vf scale=321:181 -c:v libx264 -preset ultrafast -pix_fmt yuv444p", 60, WIDE),
    ("portrait.mp4", "-vf transpose=1 -c:v libx264 -preset ultrafast -pix_fmt yuv420p", 60, TALL),
    (
        "interlaced.mp4",
        "-vf tinterlace=interleave_top,fieldorder=tff -flags +ilme+ildct -c:v libx264 -pix_fmt yuv420p",
        30,
        WIDE,
    ),
];
const WIDE: (u32, u32) = (256, 144);
const TALL: (u32, u32) = (144, 256);

#[test]
fn whatever_can_be_decoded_is_encoded_whole() {
    let dir = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=size=320x180:rate=30:duration=2";
    for (name, recipe, pictures, size) in CLIPS {
        let clip = make_clip(dir.path(), name, &format!("{source} {recipe}"));
        let (chunks, times) = check(&clip, &[rung("v144-1", *size)]);
        assert!(chunks.len() > 1, "{name}");
        assert_eq!(times.len(), *pictures, "{name}");
        let step = times[1] - times[0];
        let even = times.windows(2).all(|pair| (pair[1] - pair[0] - step).abs() * 1000 <= step.max(1) * 70);
        assert!(even, "{name}: {times:?}");
        assert_eq!((chunks[0].rungs[0].video.width, chunks[0].rungs[0].video.height), *size);
    }
}

/// Mean of all luma and of all colour samples of the picture at this time.
fn means(path: &Path, at: &str, filter: &str) -> [f64; 3] {
    let filter = format!("{filter}signalstats,metadata=print:file=-");
    let arguments =
        ["-v", "error", "-ss", at, "-i", path.to_str().unwrap(), "-frames:v", "1", "-vf", &filter, "-f", "null", "-"];
    let (listed, _) = run("ffmpeg", &arguments);
    ["YAVG", "UAVG", "VAVG"].map(|name| {
        let key = format!("lavfi.signalstats.{name}=");
        listed.lines().find_map(|line| line.strip_prefix(&key)).unwrap().parse().unwrap()
    })
}

#[test]
fn rotation_and_pixel_shape_are_applied_to_the_pictures() {
    let dir = tempfile::tempdir().unwrap();
    // White above, black below; turned clockwise, white is on the right.
    let halves = "-f lavfi -i color=black:size=320x180:rate=25:duration=1,drawbox=w=320:h=90:color=white:t=fill";
    let plain = make_clip(dir.path(), "plain.mp4", &format!("{halves} {H264}"));
    let source = format!("-i {} -c copy -metadata:s:v:0 rotate=90", plain.display());
    let turned = make_clip(dir.path(), "turned.mp4", &source);
    let rungs = [rung("v144-1", TALL)];
    let tasks = tasks_of(&turned, dir.path(), &rungs, 2);
    let rotation = tasks[0].treatment.rotation;
    assert!(rotation == 90 || rotation == 270);
    let path = joined(&tasks.iter().map(encoded).collect::<Vec<_>>(), 0, dir.path());
    let [left, right] = ["crop=60:256:0:0,", "crop=60:256:84:0,"].map(|crop| means(&path, "0", crop)[0]);
    let (bright, dark) = if rotation == 90 { (right, left) } else { (left, right) };
    assert!(bright > 200.0 && dark < 40.0, "{left} {right}");
}

#[test]
fn pictures_keep_their_own_times() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = format!("{PICTURE} -vf select=not(mod(n\\,7))+lt(mod(n\\,50)\\,9) -vsync vfr {H264} -g 30");
    for name in ["vfr.mp4", "vfr.mkv"] {
        let clip = make_clip(dir.path(), name, &recipe);
        let (_, times) = check(&clip, &rungs());
        let listed = run(
            "ffprobe",
            &["-v", "error", "-show_entries", "frame=pts_time", "-of", "csv=p=0", clip.to_str().unwrap()],
        );
        let source: Vec<f64> = listed
            .0
            .lines()
            .map(|line| line.trim_end_matches(','))
            .filter(|line| !line.is_empty())
            .map(|line| line.parse().unwrap())
            .collect();
        assert_eq!(times.len(), source.len(), "{name}");
        let tasks = tasks_of(&clip, dir.path(), &rungs(), 2);
        let timescale = f64::from(tasks[0].timescale);
        for (made, source_at) in times.iter().zip(&source) {
            let made = (made - times[0]) as f64 / timescale;
            assert!((made - (source_at - source[0])).abs() < 0.0015, "{name}: {made} {source_at}");
        }
    }
}

#[test]
fn a_change_of_resolution_stays_within_the_rung() {
    let dir = tempfile::tempdir().unwrap();
    for (name, size) in [("a.ts", "320x180"), ("b.ts", "480x270")] {
        make_clip(dir.path(), name, &format!("-f lavfi -i testsrc2=size={size}:rate=25:duration=2 {H264} -g 25"));
    }
    let list = dir.path().join("list");
    std::fs::write(&list, "file a.ts\nfile b.ts\n").unwrap();
    let both = make_clip(dir.path(), "both.mkv", &format!("-f concat -i {} -c copy", list.display()));
    let (_, times) = check(&both, &rungs());
    assert!((98..=100).contains(&times.len()), "{}", times.len());
}

#[test]
fn high_dynamic_range_becomes_sdr_of_the_right_brightness() {
    let dir = tempfile::tempdir().unwrap();
    // PQ code 0.508 of luma is 100 cd/m², that is half of SDR white.
    let grey = "-f lavfi -i color=black:size=320x180:rate=25:duration=1,format=yuv420p10le,lutyuv=y=509:u=512:v=512";
    let tags = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -c:v libx265 -preset ultrafast";
    let params = "-x265-params log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc";
    let clip = make_clip(dir.path(), "hdr.mp4", &format!("{grey} {tags} {params}"));
    let tasks = tasks_of(&clip, dir.path(), &rungs(), 2);
    assert_eq!(tasks[0].treatment.dynamic_range, "pq");
    let path = joined(&tasks.iter().map(encoded).collect::<Vec<_>>(), 0, dir.path());
    let [luma, blue, red] = means(&path, "0", "");
    assert!((145.0..185.0).contains(&luma) && (blue - 128.0).abs() < 3.0 && (red - 128.0).abs() < 3.0, "{luma}");
    let path = path.to_str().unwrap();
    let fields = "stream=pix_fmt,color_space,color_transfer,color_range";
    let (listed, _) = run("ffprobe", &["-v", "error", "-show_entries", fields, "-of", "csv=p=0", path]);
    assert_eq!(listed.trim(), "yuv420p,tv,bt709,bt709");
}

#[test]
fn what_cannot_be_decoded_fails_with_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let clip = make_clip(dir.path(), "clip.mp4", &format!("{PICTURE} {H264} -g 25"));
    let mut task = tasks_of(&clip, dir.path(), &rungs(), 2).pop().unwrap();
    let last = *task.cuts.last().unwrap();
    task.cuts.push(last + i64::from(task.timescale));
    let failed = super::encode(
        crate::media::pipelines::testing::reader(&clip),
        &task,
        &crate::media::pipelines::testing::reporter(),
    );
    let failure = failed.unwrap_err();
    assert_eq!(failure.code, "pictures_missing");
    assert!(failure.message.contains("4.0 s"), "{}", failure.message);
}

#[test]
fn av1_has_the_same_pictures_at_the_same_times() {
    let dir = tempfile::tempdir().unwrap();
    let picture = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=2";
    let clip = make_clip(dir.path(), "clip.mp4", &format!("{picture} {H264} -g 25"));
    let mut av1 = rung("v144av1-1", WIDE);
    (av1.codec, av1.preset, av1.quality) = (RungCodec::Av1, "10".into(), 100);
    av1.encoder = Encoder { name: "rav1e".into(), version: playhouse_kernels::av1::version() };
    let chunks = all(&clip, dir.path(), &[rung("v144-1", WIDE), av1], 1);
    assert_eq!(chunks.len(), 2);
    let made = &chunks[0].rungs[1];
    assert_eq!((made.codec.as_str(), made.reorder, made.num_frames), ("av01.0.01M.08", 0, 25));
    assert_eq!((made.video.width, made.video.height), WIDE);
    let times = [0, 1].map(|rung| presentation(&joined(&chunks, rung, dir.path())));
    assert_eq!(times[0], times[1]);
    assert_eq!(times[1].len(), 50);
}
