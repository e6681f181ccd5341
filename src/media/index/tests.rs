use std::io::Cursor;
use std::time::{Duration, Instant};

use super::*;
use crate::media::movie::fields::FourCc;
use crate::media::testing::{empty_asset, make_clip};

fn index(file: &[u8]) -> Result<MovieIndex, MovieError> {
    let Asset { video_id, playback_id, .. } = empty_asset();
    let source = vec![Extent { key: BlobKey::new("source"), bytes: file.len() as u64 }];
    let (table_prefix, settings) = (BlobKey::new("vod"), IndexSettings::default());
    let request = IndexRequest { video_id, playback_id, generation: 1, source, table_prefix, settings };
    index_movie(&mut Cursor::new(file), &request)
}

fn clip(name: &str, more: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let arguments = format!(
        "-f lavfi -i testsrc2=s=64x48:r=25:d=1 -f lavfi -i sine=440:d=1 -c:v libx264 -preset ultrafast -bf 2 \
         -b_strategy 0 -g 10 -pix_fmt yuv420p -c:a aac {more}"
    );
    std::fs::read(make_clip(dir.path(), name, &arguments)).unwrap()
}

/// Where the body of the `number`th box of this type starts.
fn body_of(file: &[u8], kind: &FourCc, number: usize) -> usize {
    file.windows(4).enumerate().filter(|(_, window)| window == kind).nth(number).unwrap().0 + 4
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn codes(file: &[u8]) -> Vec<String> {
    index(file).unwrap().non_standard.into_iter().map(|reason| reason.code).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn mutate(file: &mut Vec<u8>, moov: std::ops::Range<usize>, random: &mut Random) {
    const TELLING: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
    for _ in 0..1 + random.below(6) {
        let at = moov.start + random.below(moov.len());
        let width = [1, 2, 4, 8][random.below(4)];
        let value = if random.below(2) == 0 { TELLING[random.below(6)] } else { random.below(256) as u8 };
        file.iter_mut().skip(at).take(width).for_each(|byte| *byte = value);
    }
    if random.below(4) == 0 {
        file.truncate(random.below(file.len()));
    }
}

#[test]
fn thousands_of_damaged_files_never_panic_or_take_long() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut refused, mut played) = (0, 0);
    for (name, more) in [("clip.mp4", ""), ("clip.mov", "-movflags +faststart"), ("f.mp4", "-movflags frag_keyframe")] {
        let file = clip(name, more);
        let start = body_of(&file, b"moov", 0) - 8;
        let moov = start..start + u32::from_be_bytes(file[start..start + 4].try_into().unwrap()) as usize;
        for _ in 0..2000 {
            let mut damaged = file.clone();
            mutate(&mut damaged, moov.clone(), &mut random);
            let started = Instant::now();
            match index(&damaged) {
                Ok(found) => played += u32::from(found.playable.is_some()),
                Err(_) => refused += 1,
            }
            assert!(started.elapsed() < Duration::from_secs(20));
        }
    }
    assert!(refused > 1000 && played > 200, "{refused} refused, {played} played");
}

#[test]
fn broken_files_are_told_apart() {
    let file = clip("clip.mp4", "");
    let front = clip("front.mp4", "-movflags +faststart");
    let code = |bytes: &[u8]| index(bytes).unwrap_err().code();
    assert_eq!(code(b""), "empty");
    assert_eq!(code(b"GIF89a and then some more bytes"), "not_a_video");
    assert_eq!(code(&file[..4]), "not_a_video");
    assert_eq!(code(&file[..file.len() / 2]), "truncated");
    assert_eq!(code(&file[..file.len() - 100]), "truncated");
    assert_eq!(code(&front[..front.len() - 100]), "truncated");
    let message = index(&file[..file.len() / 2]).unwrap_err().to_string();
    assert_eq!(message, "the file ends before its index: it is truncated or still being written");
    let mut damaged = file.clone();
    let counts = body_of(&damaged, b"stsz", 0) + 8;
    put(&mut damaged, counts, &[0, 255, 255, 255]);
    assert_eq!(code(&damaged), "damaged");
}

#[test]
fn edit_lists_that_matter_are_not_standard() {
    let file = clip("clip.mp4", "");
    assert_eq!(codes(&file), Vec::<String>::new());
    let first_edit = body_of(&file, b"elst", 0) + 8;
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = file.clone();
        put(&mut changed, first_edit + at, bytes);
        codes(&changed)
    };
    assert_eq!(with(8, &[0, 2, 0, 0]), ["edit_list"], "double speed");
    assert_eq!(with(0, &[0, 0, 0, 250]), ["edit_list"], "ends early");
    assert_eq!(with(4, &2048u32.to_be_bytes()), ["edit_list"], "cuts into the first group");
    assert_eq!(with(4, &1_000_000u32.to_be_bytes()), ["edit_list"], "cuts more than the origin allows");
    let nothing_cut = [1080u32.to_be_bytes(), 0u32.to_be_bytes()].concat();
    assert_eq!(with(0, &nothing_cut), Vec::<String>::new());
    assert_eq!(with(0, &0u32.to_be_bytes()), Vec::<String>::new(), "no end");
}

#[test]
fn key_frames_that_are_none_are_found() {
    let mut file = clip("clip.mp4", "");
    let table = body_of(&file, b"stss", 0) + 8;
    put(&mut file, table, &2u32.to_be_bytes());
    assert_eq!(codes(&file), ["first_picture"]);
}

#[test]
fn parameter_sets_that_change_are_found() {
    let mut file = clip("clip.mp4", "-bsf:v dump_extra=freq=keyframe");
    assert_eq!(codes(&file), Vec::<String>::new(), "repeated ones are fine");
    let record = body_of(&file, b"avcC", 0);
    let length = usize::from(u16::from_be_bytes([file[record + 6], file[record + 7]]));
    let sps = file[record + 8..record + 8 + length].to_vec();
    let in_band = file.windows(length).position(|window| window == sps).unwrap();
    assert!(in_band < record, "the first copy is in the media");
    file[in_band + length - 1] ^= 0x10;
    assert_eq!(codes(&file), ["parameter_sets"]);
}

#[test]
fn what_was_found_is_told() {
    let info = index(&clip("clip.mov", "-metadata:s:a language=ger -ac 2")).unwrap().info;
    assert_eq!((info.container.as_str(), info.video.len(), info.audio.len()), ("mov", 1, 1));
    assert!((1000..1100).contains(&info.duration_ms));
    let (video, audio) = (&info.video[0], &info.audio[0]);
    assert_eq!((video.codec.as_str(), video.width, video.height, video.frame_rate), ("h264", 64, 48, (25, 1)));
    assert_eq!((video.bit_depth, video.chroma.as_str(), video.dynamic_range.as_str()), (8, "4:2:0", "sdr"));
    assert_eq!((audio.codec.as_str(), audio.channels, audio.sample_rate), ("aac", 2, 44_100));
    assert_eq!(audio.language, "de");
}
