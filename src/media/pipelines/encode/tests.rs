//! Real clips through real decoders and encoders.
use std::path::Path;

use super::testing::{Encoded, encoded, joined, presentation, rung, tasks_of};
use crate::domain::ladder::Rung;
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
    let chunks = all(clip, dir.path(), rungs, 2);
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
