use std::path::Path;

use super::*;
use crate::domain::video::MediaInfo;
use crate::media::pipelines::survey::survey;
use crate::media::pipelines::testing::{limits, media_of, output, reader, reporter};
use crate::media::testing::{make_clip, run};
use crate::media::work::Survey;

fn survey_of(path: &Path, media: &MediaInfo) -> Survey {
    match survey(&|| reader(path), &limits(), media, &reporter()) {
        Ok(Answer::Surveyed(survey)) => survey,
        other => panic!("{}: {other:?}", path.display()),
    }
}

fn num_decoded(path: &Path) -> u64 {
    let count = ["-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames"];
    let arguments: Vec<&str> = count.into_iter().chain(["-of", "csv=p=0", path.to_str().unwrap()]).collect();
    // Transport streams are told of once a program.
    run("ffprobe", &arguments).0.lines().next().unwrap().trim_end_matches(',').parse().unwrap()
}

#[test]
fn copies_keep_all_pictures_and_times_and_can_be_sought_in() {
    let dir = tempfile::tempdir().unwrap();
    let source =
        "-f lavfi -i testsrc2=size=64x36:rate=30000/1001:duration=9 -f lavfi -i sine=sample_rate=48000:duration=9";
    let (name, codecs) = ("h264.ts", "-c:v libx264 -preset ultrafast -bf 2 -g 60 -c:a aac");
    let clip = make_clip(dir.path(), name, &format!("{source} {codecs}"));
    let media = media_of(&clip);
    let original = survey_of(&clip, &media);
    let Ok(Answer::Staged { file }) = stage(reader(&clip), &output(dir.path()), &reporter()) else {
        panic!("{name} cannot be staged");
    };
    assert_eq!(num_decoded(&file.path), num_decoded(&clip), "{name}");
    let staged = survey_of(&file.path, &media_of(&file.path));
    assert!(staged.is_seekable, "{name}");
    assert_eq!(staged.num_frames, original.num_frames, "{name}");
    assert!((staged.start_ns - original.start_ns).abs() <= 1_000_000, "{name}: {}", staged.start_ns);
    let seconds = |survey: &Survey| -> Vec<f64> {
        survey.cuts.iter().map(|cut| *cut as f64 / f64::from(survey.timescale)).collect()
    };
    let (cuts, expected) = (seconds(&staged), seconds(&original));
    let is_near = cuts.len() == expected.len() && cuts.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 0.002);
    assert!(is_near, "{name}: {cuts:?} instead of {expected:?}");
    assert_eq!(media_of(&file.path).audio.len(), 1, "{name}");
}
