//! Encoding of one chunk of pictures: decoded once, brought into shape once, scaled as a cascade, and encoded in every rung
//! asked for, each on a thread of its own. Which pictures a chunk has, and when they are shown, is decided before the rungs
//! part, so that all of them have the same pictures at the same times.
use std::sync::Arc;

use gstreamer as gst;
use nix::time::ClockId;

use self::clock::{PictureClock, Place};
use self::decoding::Decoding;
use self::look::{Looker, Seen};
use self::picture::Studio;
use self::rung::{RungJob, RungThread, Shot, processor_seconds};
use self::scale::Scaler;
pub(super) use self::self_test::self_test;
use super::internal;
use super::worker::Reporter;
use crate::domain::ladder::Rung;
use crate::domain::video::Failure;
use crate::media::source::ExtentReader;
use crate::media::spans::SpanOfChunk;
use crate::media::work::{Answer, EncodedRung, OutputFile, PictureTask};

mod av1;
mod clock;
mod decoding;
mod deinterlace;
mod element;
pub(super) mod live;
mod look;
mod pace;
mod picture;
mod rung;
mod scale;
mod self_test;
mod settings;
pub(super) mod still;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tone_map;

/// Encodes a chunk.
pub(super) fn encode(reader: ExtentReader, task: &PictureTask, reporter: &Arc<Reporter>) -> Result<Answer, Failure> {
    check(task)?;
    let before = processor_seconds(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    let mut clock = PictureClock::new(task);
    let mut decoding = Decoding::start(reader, &task.treatment, reporter)?;
    let mut ladder = Ladder::start(task, reporter)?;
    let mut next = decoding.first_of(&clock);
    while let Some(decoded) = next {
        match clock.place(decoded.at_ns, decoded.duration_ns) {
            Place::Before | Place::Nowhere => reporter.progress(0, 1),
            Place::After => break,
            Place::Shown { pts, is_first } => {
                if !ladder.shoot(&decoded.sample, pts, is_first)? {
                    break;
                }
                let (done, total) = clock.progress(pts);
                reporter.progress(done, total);
            }
        }
        next = decoding.next();
    }
    let why = decoding.why_broken();
    drop(decoding);
    if !clock.is_complete() && !ladder.has_failed {
        return Err(pictures_missing(&clock, task, &why));
    }
    let (answer, seconds) = ladder.finish()?;
    let total = processor_seconds(ClockId::CLOCK_PROCESS_CPUTIME_ID) - before;
    Ok(with_decoder(answer, total - seconds))
}

fn check(task: &PictureTask) -> Result<(), Failure> {
    let ascending = task.cuts.len() >= 2 && task.cuts.is_sorted_by(|a, b| a < b);
    let even = |side: u32| side > 0 && side.is_multiple_of(2);
    let sizes = task.rungs.iter().all(|rung| even(rung.width) && even(rung.height));
    if !ascending || !sizes || task.rungs.is_empty() || task.timescale == 0 {
        return Err(internal("the plan of its renditions is damaged"));
    }
    Ok(())
}

fn pictures_missing(clock: &PictureClock, task: &PictureTask, why: &str) -> Failure {
    let at = task.cuts.get(clock.begun()).or(task.cuts.last()).copied().unwrap_or(0);
    let seconds = clock.source_ns(at).saturating_sub(task.start_ns) as f64 / 1e9;
    let message = format!("No picture could be decoded near {seconds:.1} s of the video{why}.");
    Failure { code: "pictures_missing".into(), message }
}

fn with_decoder(answer: Answer, rest: f64) -> Answer {
    match answer {
        Answer::EncodedPictures { rungs, tiles, tile_file, candidates, mut seconds } => {
            seconds.push(rest.max(0.0));
            Answer::EncodedPictures { rungs, tiles, tile_file, candidates, seconds }
        }
        other => other,
    }
}

/// From the decoded picture to all rungs.
struct Ladder {
    studio: Studio,
    scaler: Scaler,
    looker: Looker,
    rungs: Vec<RungThread>,
    /// Which of the scaler's pictures each rung takes.
    order: Vec<usize>,
    names: Vec<String>,
    has_failed: bool,
}

impl Ladder {
    fn start(task: &PictureTask, reporter: &Arc<Reporter>) -> Result<Self, Failure> {
        let (sizes, order) = sizes_of(&task.rungs);
        let start = |rung| RungThread::start(RungJob::new(rung, task), Arc::clone(reporter));
        Ok(Self {
            studio: Studio::new(&task.treatment),
            scaler: Scaler::new(&sizes)?,
            looker: Looker::new(task)?,
            rungs: task.rungs.iter().map(start).collect::<Result<_, _>>()?,
            order,
            names: task.rungs.iter().map(|rung| rung.name.clone()).collect(),
            has_failed: false,
        })
    }

    /// Hands a picture to all rungs; `false` when one has failed and there is no sense in going on.
    fn shoot(&mut self, sample: &gst::Sample, pts: i64, is_key: bool) -> Result<bool, Failure> {
        let picture = self.studio.take(sample)?;
        let scaled = self.scaler.scale(&picture)?;
        self.looker.look(&scaled, &picture, pts)?;
        for (rung, index) in self.rungs.iter().zip(&self.order) {
            let Some(picture) = scaled.get(*index).cloned() else { continue };
            self.has_failed |= !rung.push(Shot { picture, pts, is_key });
        }
        Ok(!self.has_failed)
    }

    fn finish(self) -> Result<(Answer, f64), Failure> {
        let (mut rungs, mut seconds) = (Vec::new(), Vec::new());
        for (rung, name) in self.rungs.into_iter().zip(self.names) {
            let (span, took) = rung.finish()?;
            rungs.push(encoded(name, span));
            seconds.push(took);
        }
        let Seen { tiles, tile_file, candidates } = self.looker.finish()?;
        let total = seconds.iter().sum();
        Ok((Answer::EncodedPictures { rungs, tiles, tile_file, candidates, seconds }, total))
    }
}

/// The sizes of all rungs, largest first, and which of them each rung has.
fn sizes_of(rungs: &[Rung]) -> (Vec<(u32, u32)>, Vec<usize>) {
    let mut sizes: Vec<(u32, u32)> = rungs.iter().map(|rung| (rung.width, rung.height)).collect();
    sizes.sort_unstable_by_key(|(width, height)| std::cmp::Reverse(u64::from(*width) * u64::from(*height)));
    sizes.dedup();
    let place = |rung: &Rung| sizes.iter().position(|size| *size == (rung.width, rung.height)).unwrap_or(0);
    let order = rungs.iter().map(place).collect();
    (sizes, order)
}

fn encoded(name: String, span: SpanOfChunk) -> EncodedRung {
    EncodedRung {
        name,
        init: span.init,
        codec: span.codec,
        reorder: span.reorder,
        video: span.video,
        span: OutputFile { key: span.span.key, path: span.span.path },
        segments: span.segments,
        key_frames: span.key_frames,
        num_frames: span.num_frames,
    }
}
