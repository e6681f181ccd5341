//! What is seen in passing: small pictures for the scrubber, and moments that would make good thumbnails. Looks at two
//! pictures per second, small ones, which the rungs need anyway.
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::picture::Picture;
use super::scale::Scaler;
use crate::domain::asset::{BlobKey, TIMELINE_ORIGIN_SECS};
use crate::domain::video::Failure;
use crate::media::pipelines::internal;
use crate::media::work::{Candidate, OutputFile, PictureTask, SourceFile, Tile, TilePlan};

/// Shortest distance between pictures that are judged.
const JUDGED_EVERY_MS: u64 = 500;
/// Long side of the pictures that are judged, so that scores of all sources compare.
const JUDGED_SIDE: u32 = 256;
/// Candidates of one chunk are this far apart, and there are this many.
const APART_MS: u64 = 1000;
const CANDIDATES: usize = 2;
/// Bins of brightness; there are as many of colour, four by four.
const BINS: usize = 16;
/// How long one small picture may take to be written.
const JPEG_TIME_MAX: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// Looks at a chunk's pictures.
pub(super) struct Looker {
    timescale: i64,
    end_ms: u64,
    tiles: Option<Tiles>,
    judge: Scaler,
    judged: Vec<Candidate>,
    next_judged_ms: u64,
}

/// What was seen.
pub(super) struct Seen {
    pub(super) tiles: Vec<Tile>,
    pub(super) tile_file: Option<OutputFile>,
    pub(super) candidates: Vec<Candidate>,
}

struct Tiles {
    plan: TilePlan,
    scaler: Scaler,
    path: PathBuf,
    key: BlobKey,
    file: File,
    bytes: u64,
    made: Vec<Tile>,
    next_ms: u64,
    /// The last picture of the chunk, for a moment behind it.
    last: Option<(Picture, u64)>,
}

impl Looker {
    pub(super) fn new(task: &PictureTask) -> Result<Self, Failure> {
        let timescale = i64::from(task.timescale.max(1));
        let ms = |ticks: Option<&i64>| from_origin_ms(ticks.copied().unwrap_or(0), timescale);
        let start_ms = ms(task.cuts.first());
        let tiles = task.tiles.map(|plan| Tiles::new(task, plan, start_ms)).transpose()?;
        let size = task.rungs.first().map_or((JUDGED_SIDE, JUDGED_SIDE), |rung| small(rung.width, rung.height));
        Ok(Self {
            timescale,
            end_ms: ms(task.cuts.last()),
            tiles,
            judge: Scaler::new(&[size])?,
            judged: Vec::new(),
            next_judged_ms: 0,
        })
    }

    /// Looks at the picture shown at `pts`: `scaled` are those of the rungs, largest first.
    pub(super) fn look(&mut self, scaled: &[Picture], original: &Picture, pts: i64) -> Result<(), Failure> {
        let at_ms = from_origin_ms(pts, self.timescale);
        let smallest = scaled.last().unwrap_or(original);
        if at_ms >= self.next_judged_ms {
            self.next_judged_ms = at_ms + JUDGED_EVERY_MS;
            let small = self.judge.scale(smallest)?;
            let judged = small.first().map(|picture| judge(picture, at_ms)).transpose()?;
            self.judged.extend(judged);
        }
        match &mut self.tiles {
            Some(tiles) => tiles.look(scaled, original, at_ms),
            None => Ok(()),
        }
    }

    /// No more pictures will come.
    pub(super) fn finish(self) -> Result<Seen, Failure> {
        let candidates = best(self.judged);
        let Some(tiles) = self.tiles else { return Ok(Seen { tiles: Vec::new(), tile_file: None, candidates }) };
        let (tiles, tile_file) = tiles.finish(self.end_ms)?;
        Ok(Seen { tiles, tile_file, candidates })
    }
}

fn from_origin_ms(ticks: i64, timescale: i64) -> u64 {
    let ticks = ticks - i64::from(TIMELINE_ORIGIN_SECS) * timescale;
    u64::try_from(i128::from(ticks) * 1000 / i128::from(timescale)).unwrap_or(0)
}

/// A size of this shape to judge by.
fn small(width: u32, height: u32) -> (u32, u32) {
    let longest = width.max(height).max(1);
    let side = |side: u32| (side.min(side * JUDGED_SIDE / longest) / 2 * 2).max(16);
    (side(width), side(height))
}

impl Tiles {
    fn new(task: &PictureTask, plan: TilePlan, start_ms: u64) -> Result<Self, Failure> {
        let name = format!("tiles-{}-{}.jpegs", task.output.generation, task.first_segment);
        let path = task.output.dir.join(&name);
        let even = |side: u32| (side / 2 * 2).max(2);
        Ok(Self {
            scaler: Scaler::new(&[(even(plan.width), even(plan.height))])?,
            file: File::create(&path).map_err(internal)?,
            key: BlobKey::new(format!("{}/{name}", task.output.key_prefix)),
            path,
            bytes: 0,
            made: Vec::new(),
            next_ms: start_ms.next_multiple_of(u64::from(plan.interval_ms.max(1))),
            last: None,
            plan,
        })
    }

    fn look(&mut self, scaled: &[Picture], original: &Picture, at_ms: u64) -> Result<(), Failure> {
        let (width, height) = (self.plan.width, self.plan.height);
        let large_enough = |picture: &&Picture| picture.size().0 >= width && picture.size().1 >= height;
        let picture = scaled.iter().rev().find(large_enough).unwrap_or(original);
        if at_ms < self.next_ms {
            self.last = Some((picture.clone(), at_ms));
            return Ok(());
        }
        self.make(picture, at_ms)
    }

    fn make(&mut self, picture: &Picture, at_ms: u64) -> Result<(), Failure> {
        let scaled = self.scaler.scale(picture)?;
        let jpeg = scaled.first().map(to_jpeg).transpose()?.unwrap_or_default();
        self.file.write_all(&jpeg).map_err(internal)?;
        let range = SourceFile::local(self.path.clone(), self.bytes, jpeg.len() as u64);
        self.bytes += range.bytes;
        self.made.push(Tile { at_ms, picture: range });
        self.next_ms = at_ms.max(self.next_ms) / u64::from(self.plan.interval_ms.max(1)) + 1;
        self.next_ms *= u64::from(self.plan.interval_ms.max(1));
        self.last = None;
        Ok(())
    }

    fn finish(mut self, end_ms: u64) -> Result<(Vec<Tile>, Option<OutputFile>), Failure> {
        if let Some((picture, at_ms)) = self.last.take().filter(|_| self.next_ms < end_ms) {
            self.make(&picture, at_ms)?;
        }
        self.file.sync_data().map_err(internal)?;
        let file = (!self.made.is_empty()).then_some(OutputFile { key: self.key, path: self.path });
        Ok((self.made, file))
    }
}

fn to_jpeg(picture: &Picture) -> Result<Vec<u8>, Failure> {
    let caps = picture.info.to_caps().map_err(internal)?;
    let sample = gst::Sample::builder().buffer(&picture.buffer).caps(&caps).build();
    let jpeg = gst::Caps::new_empty_simple("image/jpeg");
    let made = gst_video::convert_sample(&sample, &jpeg, Some(JPEG_TIME_MAX)).map_err(internal)?;
    let buffer = made.buffer().ok_or_else(|| internal("no small picture came out"))?;
    Ok(buffer.map_readable().map_err(internal)?.to_vec())
}

/// Best first, not too near to each other.
fn best(mut judged: Vec<Candidate>) -> Vec<Candidate> {
    judged.sort_by_key(|candidate| std::cmp::Reverse(candidate.score));
    let mut chosen: Vec<Candidate> = Vec::new();
    for candidate in judged {
        if chosen.iter().all(|other| other.at_ms.abs_diff(candidate.at_ms) >= APART_MS) {
            chosen.push(candidate);
        }
        if chosen.len() == CANDIDATES {
            break;
        }
    }
    chosen
}

/// Judges a picture by its sharpness (variance of the Laplacian of luma), contrast and brightness.
fn judge(picture: &Picture, at_ms: u64) -> Result<Candidate, Failure> {
    let frame = picture.frame()?;
    let lines = |plane: usize| {
        let stride = frame.plane_stride().get(plane).and_then(|stride| usize::try_from(*stride).ok()).unwrap_or(1);
        let width = frame.info().comp_width(plane as u8) as usize;
        let bytes = frame.plane_data(plane as u32).map_err(internal)?;
        Ok::<_, Failure>(bytes.chunks(stride.max(1)).map(|line| line.get(..width).unwrap_or(line)).collect::<Vec<_>>())
    };
    let luma = lines(0)?;
    let values = || luma.iter().flat_map(|line| line.iter().map(|value| f64::from(*value)));
    let (mean, variance) = moments(values());
    let (_, laplacian) = moments(laplacians(&luma));
    let bright = (mean - 16.0).min(235.0 - mean) / 50.0;
    let contrast = variance.sqrt() / 50.0;
    let sharp = (1.0 + laplacian).ln() / 2000.0f64.ln();
    let score = bright.clamp(0.0, 1.0) * contrast.clamp(0.0, 1.0).sqrt() * sharp.clamp(0.0, 1.0);
    let histogram = histogram(&luma, &lines(1)?, &lines(2)?);
    Ok(Candidate { at_ms, score: (score * 1000.0) as u16, histogram })
}

/// Mean and variance.
fn moments(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        (count, sum, squares) = (count + 1.0, sum + value, squares + value * value);
    }
    let mean = sum / f64::max(count, 1.0);
    (mean, (squares / f64::max(count, 1.0) - mean * mean).max(0.0))
}

fn laplacians<'a>(luma: &'a [&'a [u8]]) -> impl Iterator<Item = f64> + 'a {
    luma.windows(3).flat_map(|lines| {
        let [above, line, below] = lines else { return Vec::new() };
        let middle = line.windows(3).zip(above.iter().skip(1).zip(below.iter().skip(1)));
        let value = |(around, (above, below)): (&[u8], (&u8, &u8))| match around {
            [left, at, right] => {
                f64::from(*left) + f64::from(*right) + f64::from(*above) + f64::from(*below) - 4.0 * f64::from(*at)
            }
            _ => 0.0,
        };
        middle.map(value).collect::<Vec<_>>()
    })
}

/// Shares of brightness, then of colour, each in parts of 255.
fn histogram(luma: &[&[u8]], cb: &[&[u8]], cr: &[&[u8]]) -> Vec<u8> {
    let (mut bright, mut colour) = ([0u32; BINS], [0u32; BINS]);
    let count = |bins: &mut [u32; BINS], index: u8| {
        if let Some(bin) = bins.get_mut(usize::from(index)) {
            *bin += 1;
        }
    };
    luma.iter().flat_map(|line| line.iter()).for_each(|value| count(&mut bright, value >> 4));
    let pairs = cb.iter().zip(cr).flat_map(|(cb, cr)| cb.iter().zip(cr.iter()));
    pairs.for_each(|(cb, cr)| count(&mut colour, (cb >> 6) << 2 | cr >> 6));
    let shares = |bins: [u32; BINS]| {
        let total = bins.iter().map(|bin| u64::from(*bin)).sum::<u64>().max(1);
        bins.into_iter().map(move |bin| (u64::from(bin) * 255 / total) as u8)
    };
    shares(bright).chain(shares(colour)).collect()
}
