//! Planning a ladder: pure, so that the same source and settings give the same plan.
use std::ops::Range;

use super::rates::{AV1_SHARE, SourceRate, bits_per_sec_max};
use serde::{Deserialize, Serialize};

use super::{Chunk, Encoder, LadderPlan, PictureTreatment, Reading, Rung, RungCodec, SoundRung};
use crate::domain::asset::Ticks;
use crate::domain::video::{MediaInfo, VideoInfo, text_enum};

/// Decoder buffer of all rungs, milliseconds at their highest rate: no second exceeds that.
pub(super) const BUFFER_MS: u32 = 1000;
/// Shortest side that encoders take, pixels.
const SIDE_MIN: u32 = 16;
/// Highest short side of the AV1 rung: encoding it in software takes long.
const AV1_SHORT_SIDE_MAX: u32 = 720;
/// A rung has to be smaller than the next by this share, or it is not worth its bytes.
pub(super) const STEP: f64 = 0.9;
/// The lowest short side at which one wants to watch.
const USEFUL_SHORT_SIDE: u32 = 360;
/// Longest chunk that is decoded from the source's start, milliseconds.
const CHUNK_FROM_START_MS_MAX: u32 = 600_000;
/// Chunks at the end that are half as long as the others.
const HALVED_MAX: usize = 4;
/// Most tracks of sound that are encoded.
const SOUND_TRACKS_MAX: usize = 16;

text_enum!(
    /// Which videos get an AV1 rung.
    Av1Policy {
        /// None.
        Never = "never",
        /// Those whose owner asks for it.
        OnRequest = "on_request",
        /// All.
        Always = "always",
    }
);

/// What an operator chooses.
#[derive(Debug, Clone, PartialEq)]
pub struct LadderSettings {
    /// Short sides of rungs, pixels.
    pub short_sides: Vec<u32>,
    /// Length of chunks aimed at, milliseconds.
    pub chunk_ms: u32,
    /// Constant quality of H.264.
    pub quality: u8,
    /// Speed preset of H.264.
    pub preset: String,
    /// Quantizer of AV1.
    pub av1_quality: u8,
    /// Speed preset of AV1.
    pub av1_preset: String,
    /// Pictures per second above which some are left out.
    pub frame_rate_max: u32,
}

/// The encoders that rungs are pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoders {
    /// For H.264.
    pub h264: Encoder,
    /// For AV1, where it is wanted.
    pub av1: Option<Encoder>,
}

/// Where segments start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grid {
    /// Ticks per second of `cuts`.
    pub timescale: u32,
    /// Presentation time in the source that becomes the timeline's origin, nanoseconds.
    pub start_ns: i64,
    /// Starts of segments and the end of the last one; empty without pictures.
    pub cuts: Vec<i64>,
    /// Pictures per second.
    pub frame_rate: (u32, u32),
    /// How the source is read.
    pub reading: Reading,
    /// Runs of segments that continue one another, ascending; no chunk reaches beyond one, and what is in none has no
    /// pictures. Empty: all are one run.
    pub runs: Vec<Range<u32>>,
}

impl Encoders {
    /// Chooses among those that work on this machine, best first; `wanted` is a name, or `auto`. `None` without one for
    /// H.264.
    pub fn choose(found: &[Encoder], wanted: &str, wants_av1: bool) -> Option<Self> {
        let is_av1 = |encoder: &&Encoder| encoder.name == "rav1e";
        let by_name = found.iter().find(|encoder| encoder.name == wanted && !is_av1(encoder));
        let h264 = by_name.or_else(|| found.iter().find(|encoder| !is_av1(encoder)))?.clone();
        Some(Self { h264, av1: found.iter().find(is_av1).filter(|_| wants_av1).cloned() })
    }
}

/// What a ladder is planned for.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The generation it will have.
    pub generation: u32,
    /// What is in the source.
    pub media: &'a MediaInfo,
    /// Where its segments start.
    pub grid: &'a Grid,
    /// Whether its pictures are delivered as they came, and every player plays them.
    pub keeps_pictures: bool,
    /// Short sides of other pictures that are, pixels.
    pub own_sides: &'a [u32],
    /// Whether its sound is delivered as it came.
    pub keeps_sound: bool,
    /// Who encodes.
    pub encoders: &'a Encoders,
    /// How.
    pub settings: &'a LadderSettings,
}

/// Plans a ladder. It may have no rungs and no sound: then nothing is to be made.
pub fn plan(request: PlanRequest) -> LadderPlan {
    let track = main_picture(request.media).filter(|_| request.grid.cuts.len() > 1);
    let sound = if request.keeps_sound { Vec::new() } else { sound(request) };
    let mut plan = LadderPlan {
        generation: request.generation,
        timescale: request.grid.timescale,
        start_ns: request.grid.start_ns,
        cuts: Vec::new(),
        chunks: Vec::new(),
        treatment: None,
        rungs: Vec::new(),
        first_rung: 0,
        sound,
    };
    let Some((number, video)) = track else { return plan };
    plan.rungs = rungs(request, video);
    if request.encoders.av1.is_some() {
        plan.rungs.extend(av1_rung(request, video));
    }
    plan.cuts.clone_from(&request.grid.cuts);
    plan.chunks = chunks(request.grid, request.settings.chunk_ms);
    plan.first_rung = first_rung(&plan.rungs);
    plan.treatment = Some(PictureTreatment {
        track: number,
        rotation: video.rotation,
        deinterlace: video.interlaced,
        dynamic_range: if video.dynamic_range.is_empty() { "sdr".into() } else { video.dynamic_range.clone() },
        frame_rate_max: request.settings.frame_rate_max,
        reading: request.grid.reading,
    });
    plan
}

/// Adds an AV1 rung to a plan that has none; returns whether it has one now.
pub fn add_av1(plan: &mut LadderPlan, request: PlanRequest) -> bool {
    let has_av1 = |plan: &LadderPlan| plan.rungs.iter().any(|rung| rung.codec == RungCodec::Av1);
    if let (false, Some((_, video))) = (has_av1(plan) || plan.chunks.is_empty(), main_picture(request.media)) {
        plan.rungs.extend(av1_rung(request, video));
    }
    has_av1(plan)
}

/// The track that is watched: the first one that is no cover picture.
pub fn main_picture(media: &MediaInfo) -> Option<(u32, &VideoInfo)> {
    let is_cover = |video: &VideoInfo| matches!(video.codec.as_str(), "png" | "gif" | "bmp");
    let numbered = || (0u32..).zip(&media.video);
    numbered().find(|(_, video)| !is_cover(video) && video.width > 0).or_else(|| numbered().next())
}

/// Width and height as shown: pixel shape and rotation applied.
pub fn display_size(video: &VideoInfo) -> (u32, u32) {
    let (width, height) = (u64::from(video.width), u64::from(video.height));
    let stretched = |side: u64, by: u32, over: u32| side * u64::from(by) / u64::from(over.max(1));
    let (width, height) = match video.pixel_aspect {
        (0, _) | (_, 0) => (width, height),
        (x, y) if x >= y => (stretched(width, x, y), height),
        (x, y) => (width, stretched(height, y, x)),
    };
    let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX).max(1);
    if video.rotation % 180 == 90 { (side(height), side(width)) } else { (side(width), side(height)) }
}

/// The size of a rung with this short side: same shape, even sides.
pub(super) fn size_of(display: (u32, u32), short_side: u32) -> (u32, u32) {
    let short = u64::from(display.0.min(display.1).max(1));
    let scaled = |side: u32| {
        let side = (u64::from(side) * u64::from(short_side) + short) / (short * 2) * 2;
        u32::try_from(side).unwrap_or(u32::MAX).max(SIDE_MIN)
    };
    (scaled(display.0), scaled(display.1))
}

/// Short sides of rungs, highest first.
fn short_sides(source: u32, keeps_pictures: bool, settings: &LadderSettings) -> Vec<u32> {
    let mut sides = settings.short_sides.clone();
    sides.sort_unstable_by(|a, b| b.cmp(a));
    sides.dedup();
    let highest = sides.first().copied().unwrap_or(source);
    let near = (f64::from(source) * STEP) as u32;
    if keeps_pictures {
        sides.retain(|side| *side <= near);
        return sides;
    }
    sides.retain(|side| *side <= source);
    if sides.first().is_none_or(|top| *top < near && source <= highest) {
        sides.insert(0, source);
    }
    sides
}

/// Whether of these two short sides one is enough.
pub(super) fn is_near(one: u32, other: u32) -> bool {
    f64::from(one.min(other)) > f64::from(one.max(other)) * STEP
}

fn rungs(request: PlanRequest, video: &VideoInfo) -> Vec<Rung> {
    let display = display_size(video);
    let mut sides = short_sides(display.0.min(display.1), request.keeps_pictures, request.settings);
    sides.retain(|side| !request.own_sides.iter().any(|own| is_near(*side, *own)));
    let settings = request.settings;
    let rung = |side: u32| Rung {
        name: format!("v{side}-{}", request.generation),
        codec: RungCodec::H264,
        quality: settings.quality,
        preset: settings.preset.clone(),
        encoder: request.encoders.h264.clone(),
        ..blank(request, video, side)
    };
    sides.into_iter().map(rung).collect()
}

fn av1_rung(request: PlanRequest, video: &VideoInfo) -> Option<Rung> {
    let display = display_size(video);
    let source = display.0.min(display.1).min(AV1_SHORT_SIDE_MAX);
    let side = request.settings.short_sides.iter().copied().filter(|side| *side <= source).max().unwrap_or(source);
    let blank = blank(request, video, side);
    Some(Rung {
        name: format!("v{side}av1-{}", request.generation),
        codec: RungCodec::Av1,
        quality: request.settings.av1_quality,
        preset: request.settings.av1_preset.clone(),
        encoder: request.encoders.av1.clone()?,
        bits_per_sec_max: (f64::from(blank.bits_per_sec_max) * AV1_SHARE) as u32,
        ..blank
    })
}

/// A rung of this size without codec.
fn blank(request: PlanRequest, video: &VideoInfo, short_side: u32) -> Rung {
    let (width, height) = size_of(display_size(video), short_side);
    let source = SourceRate::of(video, request.media.bit_rate);
    let rate = bits_per_sec_max(u64::from(width) * u64::from(height), frame_rate(request, video), source);
    Rung {
        name: String::new(),
        codec: RungCodec::H264,
        width,
        height,
        bits_per_sec_max: (rate / 1000.0).round() as u32 * 1000,
        buffer_ms: BUFFER_MS,
        quality: 0,
        preset: String::new(),
        encoder: request.encoders.h264.clone(),
    }
}

fn frame_rate(request: PlanRequest, video: &VideoInfo) -> (u32, u32) {
    if request.grid.frame_rate.0 > 0 { request.grid.frame_rate } else { video.frame_rate }
}

/// The lowest one that is useful, else the highest.
fn first_rung(rungs: &[Rung]) -> usize {
    let useful = |rung: &Rung| rung.codec == RungCodec::H264 && rung.short_side() >= USEFUL_SHORT_SIDE;
    rungs.iter().rposition(useful).unwrap_or(0)
}

/// Whole segments, as many as come nearest to the length aimed at. Where each chunk is decoded from the source's start, each
/// is twice as long as the last one, so that no more is decoded in vain than is encoded; up to a length that one can afford
/// to make again. The last ones are half as long elsewhere: workers then have nothing left to do at about the same time.
fn chunks(grid: &Grid, chunk_ms: u32) -> Vec<Chunk> {
    let ticks = |ms: u32| i64::from(ms) * i64::from(grid.timescale) / 1000;
    let (mut target, target_max) = (ticks(chunk_ms), ticks(chunk_ms.max(CHUNK_FROM_START_MS_MAX)));
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut length = 0;
    for (number, segment) in (0u32..).zip(grid.cuts.windows(2)) {
        let &[start, end] = segment else { continue };
        let duration = end - start;
        if !grid.runs.is_empty() && !grid.runs.iter().any(|run| run.contains(&number)) {
            continue;
        }
        let begins_run = grid.runs.iter().any(|run| run.start == number);
        match chunks.last_mut().filter(|_| !begins_run && length + duration / 2 <= target) {
            Some(chunk) => {
                chunk.segments += 1;
                length += duration;
            }
            None => {
                if grid.reading != Reading::Sought && !chunks.is_empty() {
                    target = (target * 2).min(target_max);
                }
                chunks.push(Chunk { first_segment: number, segments: 1 });
                length = duration;
            }
        }
    }
    if grid.reading == Reading::Sought {
        let halved = HALVED_MAX.min(chunks.len() / 2);
        let last = chunks.split_off(chunks.len() - halved);
        chunks.extend(last.into_iter().flat_map(halves));
    }
    chunks
}

fn halves(chunk: Chunk) -> impl Iterator<Item = Chunk> {
    let Chunk { first_segment, segments } = chunk;
    let first = segments.div_ceil(2);
    let second = Chunk { first_segment: first_segment + first, segments: segments - first };
    [Chunk { first_segment, segments: first }, second].into_iter().filter(|half| half.segments > 0)
}

fn sound(request: PlanRequest) -> Vec<SoundRung> {
    let mut rungs = Vec::new();
    for (number, audio) in (0u32..).zip(request.media.audio.iter().take(SOUND_TRACKS_MAX)) {
        let (channels, bits_per_sec) = if audio.channels == 1 { (1, 96_000) } else { (2, 128_000) };
        let language = if audio.language.is_empty() { "und".into() } else { audio.language.clone() };
        let rung = SoundRung {
            name: format!("a{number}-{}", request.generation),
            track: number,
            channels,
            bits_per_sec,
            language,
            default: number == 0,
        };
        let surround = SoundRung {
            name: format!("a{number}s-{}", request.generation),
            channels: 6,
            bits_per_sec: 384_000,
            ..rung.clone()
        };
        rungs.push(rung);
        if audio.channels >= 6 {
            rungs.push(surround);
        }
    }
    rungs
}

impl LadderPlan {
    /// Index of the chunk that holds this segment.
    pub fn chunk_of(&self, segment: u32) -> Option<u32> {
        let after = self.chunks.partition_point(|chunk| chunk.first_segment <= segment);
        u32::try_from(after.checked_sub(1)?).ok()
    }

    /// Where a chunk's segments start, and where its last one ends.
    pub fn cuts_of(&self, chunk: u32) -> Option<&[i64]> {
        let chunk = self.chunks.get(chunk as usize)?;
        let first = chunk.first_segment as usize;
        self.cuts.get(first..=first.checked_add(chunk.segments as usize)?)
    }

    /// Length of a chunk, milliseconds.
    pub fn chunk_ms(&self, chunk: u32) -> u64 {
        let (Some(first), Some(last)) =
            (self.cuts_of(chunk).and_then(|cuts| cuts.first()), self.cuts_of(chunk).and_then(|cuts| cuts.last()))
        else {
            return 0;
        };
        let length = Ticks { value: last - first, timescale: self.timescale };
        u64::try_from(length.rescale(1000)).unwrap_or(0)
    }

    /// Length of all pictures, milliseconds.
    pub fn pictures_ms(&self) -> u64 {
        (0u32..).take(self.chunks.len()).map(|chunk| self.chunk_ms(chunk)).sum()
    }

    /// Indexes of the rungs in this codec.
    pub fn rungs_in(&self, codec: RungCodec) -> Vec<usize> {
        (0..self.rungs.len()).filter(|index| self.rungs.get(*index).is_some_and(|rung| rung.codec == codec)).collect()
    }
}

#[cfg(test)]
mod tests;
