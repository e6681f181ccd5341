use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::*;
use crate::domain::ladder::{PictureTreatment, Reading};
use crate::media::live::slate::SlateClip;
use crate::media::pipelines::survey::survey;
use crate::media::pipelines::testing::{limits, media_of, output, reader, reporter};
use crate::media::testing::{make_clip, run};
use crate::media::work::PictureFormat;

fn task(dir: &Path, moments: &[(&str, u64)], sizes: &[(u32, u32)]) -> StillsTask {
    StillsTask {
        source: Vec::new(),
        output: output(dir),
        treatment: PictureTreatment {
            track: 0,
            rotation: 0,
            deinterlace: false,
            dynamic_range: "sdr".into(),
            frame_rate_max: 60,
            reading: Reading::Sought,
        },
        start_ns: 0,
        moments: moments.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect(),
        sizes: sizes.to_vec(),
        formats: vec![PictureFormat::Jpeg, PictureFormat::Webp, PictureFormat::Avif],
    }
}

fn made(path: &Path, task: &StillsTask) -> Vec<StillPicture> {
    match stills(&|| reader(path), task, &reporter()) {
        Ok(Answer::StillsMade { pictures }) => pictures,
        other => panic!("{}: {other:?}", path.display()),
    }
}

fn refused(path: &Path, task: &StillsTask) -> String {
    stills(&|| reader(path), task, &reporter()).unwrap_err().code
}

/// Average brightness of a picture as ffmpeg sees it.
fn brightness(path: &Path) -> u32 {
    let path = path.to_str().unwrap();
    let arguments =
        ["-v", "error", "-i", path, "-vf", "scale=1:1,format=gray", "-frames:v", "1", "-f", "rawvideo", "-y"];
    let out = format!("{path}.gray");
    run("ffmpeg", &[&arguments[..], &[&out]].concat());
    u32::from(std::fs::read(out).unwrap()[0])
}

/// Brightness of the picture that ffmpeg shows at a second of a clip, in this size: averaging is not exact, and errs with it.
fn brightness_at(clip: &Path, second: &str, (width, height): (u32, u32)) -> u32 {
    let still = clip.with_extension(format!("{second}.jpg"));
    let (clip, out, scale) = (clip.to_str().unwrap(), still.to_str().unwrap(), format!("scale={width}:{height}"));
    run("ffmpeg", &["-v", "error", "-ss", second, "-i", clip, "-frames:v", "1", "-vf", &scale, "-y", out]);
    brightness(&still)
}

fn size(path: &Path) -> (u32, u32) {
    let size = imagesize::size(path).unwrap();
    (u32::try_from(size.width).unwrap(), u32::try_from(size.height).unwrap())
}

#[test]
fn the_picture_shown_at_a_moment_comes_out_in_all_sizes_and_formats() {
    let dir = tempfile::tempdir().unwrap();
    // Each second is brighter than the last; key frames are rare.
    let source = "-f lavfi -i color=black:size=320x180:rate=25:duration=6,geq=lum='16+32*floor(T)':cb=128:cr=128";
    let clip = make_clip(dir.path(), "steps.mp4", &format!("{source} -c:v libx264 -pix_fmt yuv420p -g 250 -bf 2"));
    let task = task(dir.path(), &[("early", 960), ("late", 5000)], &[(4000, 4000), (160, 160)]);
    let pictures = made(&clip, &task);
    let names: Vec<String> =
        pictures.iter().map(|picture| picture.file.key.as_str().rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(names[..3], ["early-320x180.jpg", "early-320x180.webp", "early-320x180.avif"]);
    assert_eq!(names[6..8], ["late-320x180.jpg", "late-320x180.webp"]);
    assert_eq!(names[11], "late-160x90.avif");
    for picture in &pictures {
        let path = &picture.file.path;
        assert_eq!(size(path), (picture.width, picture.height), "{}", path.display());
        let second = if picture.moment == "early" { "0.96" } else { "5" };
        let expected = brightness_at(&clip, second, (picture.width, picture.height));
        let found = brightness(path);
        assert!(found.abs_diff(expected) <= 8, "{}: {found} instead of {expected}", path.display());
    }
}

#[test]
fn treatment_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let clip = make_clip(dir.path(), "a.mp4", "-f lavfi -i testsrc2=size=320x180:rate=25:duration=1 -c:v libx264");
    let mut task = task(dir.path(), &[("one", 500)], &[(640, 640)]);
    task.formats = vec![PictureFormat::Jpeg];
    task.treatment.rotation = 90;
    assert_eq!((made(&clip, &task)[0].width, made(&clip, &task)[0].height), (180, 320));
    let wide = "-f lavfi -i testsrc2=size=96x108:rate=25:duration=1 -vf setsar=2/1 -c:v libx264";
    task.treatment.rotation = 0;
    let wide = made(&make_clip(dir.path(), "wide.mp4", wide), &task);
    assert_eq!((wide[0].width, wide[0].height), (192, 108));
}

#[test]
fn uploaded_pictures_are_taken_whatever_their_kind() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(dir.path(), &[("custom", 0)], &[(100, 100)]);
    for name in ["a.png", "a.jpg", "a.webp", "a.gif"] {
        let picture = make_clip(dir.path(), name, "-f lavfi -i testsrc2=size=300x200 -frames:v 1");
        let pictures = made(&picture, &task);
        assert_eq!(pictures.len(), 3, "{name}");
        assert!(pictures.iter().all(|picture| (picture.width, picture.height) == (100, 66)), "{name}");
        let differ =
            pictures.iter().map(|picture| brightness(&picture.file.path).abs_diff(brightness(&dir.path().join(name))));
        assert!(differ.clone().all(|by| by <= 12), "{name}: {:?}", differ.collect::<Vec<_>>());
    }
}

#[test]
fn a_picture_that_stands_still_is_a_slate() {
    let dir = tempfile::tempdir().unwrap();
    let picture = make_clip(dir.path(), "a.png", "-f lavfi -i testsrc2=size=321x641 -frames:v 1");
    let mut task = task(dir.path(), &[("custom", 0)], &[(400, 400)]);
    task.formats = vec![PictureFormat::Clip, PictureFormat::Jpeg];
    let pictures = made(&picture, &task);
    let [clip, still] = &pictures[..] else { panic!("{pictures:?}") };
    assert_eq!((clip.width, clip.height, clip.content_type.as_str()), (200, 400, "video/mp4"));
    let file = Bytes::from(std::fs::read(&clip.file.path).unwrap());
    let slate = SlateClip::read(&file).unwrap();
    assert_eq!(slate.len(), 250);
    let expected = brightness(&still.file.path);
    for second in ["0", "9.9"] {
        assert!(brightness_at(&clip.file.path, second, (200, 400)).abs_diff(expected) <= 8);
    }
    for length in (0..file.len()).step_by(file.len() / 50) {
        assert!(SlateClip::read(&file.slice(..length)).is_err(), "cut off after {length}");
    }
}

#[test]
fn hostile_pictures_are_refused_before_they_are_decoded() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(dir.path(), &[("custom", 0)], &[(100, 100)]);
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let picture = make_clip(dir.path(), "a.png", "-f lavfi -i testsrc2=size=64x64 -frames:v 1");
    let mut bomb = std::fs::read(&picture).unwrap();
    bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    assert_eq!(refused(&write("bomb.png", &bomb), &task), "picture_too_large");
    let half = std::fs::read(&picture).unwrap();
    assert_eq!(refused(&write("half.png", &half[..half.len() / 2]), &task), "not_a_picture");
    assert_eq!(refused(&write("text.png", b"Dear diary,\ntoday I took no picture.\n"), &task), "not_a_picture");
    assert_eq!(refused(&write("noise.png", &[7u8; 5000]), &task), "not_a_picture");
    assert_eq!(refused(&write("empty.png", b""), &task), "not_a_picture");
}

#[test]
fn a_source_without_index_is_read_once_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let steps = "-f lavfi -i color=black:size=64x36:rate=25:duration=8,geq=lum='16+floor(T)*20':cb=128:cr=128";
    let clip = make_clip(dir.path(), "steps.mpg", &format!("{steps} -c:v mpeg2video -g 12 -bf 2 -q:v 2"));
    let mut task = task(dir.path(), &[("late", 6500), ("early", 1500), ("middle", 4500)], &[(64, 36)]);
    (task.treatment.reading, task.formats) = (Reading::FromStart, vec![PictureFormat::Jpeg]);
    let surveyed = survey(&|| reader(&clip), &limits(), &media_of(&clip), &reporter());
    let Ok(Answer::Surveyed(survey)) = surveyed else { panic!("{surveyed:?}") };
    task.start_ns = survey.start_ns;
    let pictures = made(&clip, &task);
    let found: Vec<_> = pictures.iter().map(|one| (one.moment.as_str(), brightness(&one.file.path))).collect();
    let expected = [("early", 1.5), ("middle", 4.5), ("late", 6.5)];
    assert_eq!(found.len(), 3);
    for ((moment, found), (wanted, second)) in found.iter().zip(expected) {
        let bright = brightness_at(&clip, &second.to_string(), (64, 36));
        assert!(*moment == wanted && found.abs_diff(bright) <= 3, "{moment}: {found} instead of {bright}");
    }
}
