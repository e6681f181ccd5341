//! What the tests of encoding share.
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::encode;
use crate::domain::ladder::{Encoder, PictureTreatment, Reading, Rung, RungCodec};
use crate::media::pipelines::survey::survey;
use crate::media::pipelines::testing::{limits, media_of, output, reader, reporter};
use crate::media::testing::run;
use crate::media::work::{Answer, Candidate, EncodedRung, MediaLimits, PictureTask, SourceFile, Tile};

pub(super) fn rung(name: &str, (width, height): (u32, u32)) -> Rung {
    Rung {
        name: name.into(),
        codec: RungCodec::H264,
        width,
        height,
        bits_per_sec_max: 2_000_000,
        buffer_ms: 1500,
        quality: 23,
        preset: "veryfast".into(),
        encoder: Encoder { name: "x264enc".into(), version: "1".into() },
    }
}

/// A task without source, cuts and rungs, whose output goes to `dir`.
pub(super) fn task(dir: &Path) -> PictureTask {
    PictureTask {
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
        timescale: 90_000,
        cuts: Vec::new(),
        first_segment: 0,
        rungs: Vec::new(),
        tiles: None,
    }
}

/// A clip's tasks: chunks of so many segments of a second, each with these rungs.
pub(super) fn tasks_of(clip: &Path, dir: &Path, rungs: &[Rung], segments: usize) -> Vec<PictureTask> {
    let media = media_of(clip);
    let limits = MediaLimits { segment_duration: Duration::from_secs(1), ..limits() };
    let surveyed = survey(&|| reader(clip), &limits, &media, &reporter());
    let Ok(Answer::Surveyed(survey)) = surveyed else { panic!("{}: {surveyed:?}", clip.display()) };
    let video = media.video.first().unwrap();
    let chunk = |first: usize| {
        let mut task = task(dir);
        task.source = vec![source(clip)];
        task.treatment.rotation = video.rotation;
        task.treatment.deinterlace = video.interlaced;
        task.treatment.reading = survey.reading;
        task.treatment.dynamic_range = video.dynamic_range.clone();
        task.start_ns = survey.start_ns;
        task.timescale = survey.timescale;
        task.cuts = survey.cuts[first..(first + segments + 1).min(survey.cuts.len())].to_vec();
        task.first_segment = u32::try_from(first).unwrap();
        task.rungs = rungs.to_vec();
        task
    };
    (0..survey.cuts.len() - 1).step_by(segments).map(chunk).collect()
}

pub(super) fn source(clip: &Path) -> SourceFile {
    SourceFile::local(clip, 0, std::fs::metadata(clip).unwrap().len())
}

/// What a chunk's encoding came to.
pub(super) struct Encoded {
    pub(super) rungs: Vec<EncodedRung>,
    pub(super) tiles: Vec<Tile>,
    pub(super) candidates: Vec<Candidate>,
}

pub(super) fn encoded(task: &PictureTask) -> Encoded {
    match encode(reader(&task.source[0].path), task, &reporter()) {
        Ok(Answer::EncodedPictures { rungs, tiles, candidates, seconds, .. }) => {
            assert_eq!(seconds.len(), rungs.len() + 1);
            Encoded { rungs, tiles, candidates }
        }
        other => panic!("{other:?}"),
    }
}

/// The file that a player would put together from the chunks of one rung: one initialisation segment, all segments.
pub(super) fn joined(chunks: &[Encoded], rung: usize, dir: &Path) -> PathBuf {
    let first = &chunks[0].rungs[rung];
    let mut bytes = first.init.to_vec();
    for chunk in chunks {
        let made = &chunk.rungs[rung];
        assert_eq!((&made.init, &made.codec, made.reorder), (&first.init, &first.codec, first.reorder));
        let span = std::fs::read(&made.span.path).unwrap();
        assert_eq!(&span[..made.init.len()], &made.init[..]);
        for segment in &made.segments {
            bytes.extend_from_slice(&span[segment.offset as usize..(segment.offset + segment.bytes) as usize]);
        }
    }
    let path = dir.join(format!("joined-{}.mp4", first.name));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Presentation times of all pictures in ticks and in order; decoding them all must give no warning.
pub(super) fn presentation(path: &Path) -> Vec<i64> {
    let path = path.to_str().unwrap();
    let (_, said) = run("ffmpeg", &["-v", "warning", "-i", path, "-f", "null", "-"]);
    assert_eq!(said, "", "{path}");
    let arguments = ["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts", "-of", "csv=p=0", path];
    let (listed, said) = run("ffprobe", &arguments);
    assert_eq!(said, "", "{path}");
    listed.lines().map(|line| line.trim_end_matches(',').parse().unwrap()).collect()
}
