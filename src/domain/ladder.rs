//! The ladder: which renditions a video gets beside its source, and the chunks in which they are encoded.
//!
//! A plan is data, made once per generation and stored: it pins sizes, rates, encoder, version and settings, so that a
//! segment is a function of (source, plan, rung, index) whoever encodes it, and however often. A chunk is a run of segments;
//! one decode of it feeds all rungs.
use serde::{Deserialize, Serialize};

use super::video::text_enum;

pub mod live;
pub mod machine;
mod moments;
mod plan;
mod progress;
mod rates;
mod unit;

pub use moments::best_moments;
pub use plan::{Av1Policy, Encoders, Grid, LadderSettings, PlanRequest, add_av1, display_size, main_picture, plan};
pub use unit::{
    Attempted, Candidate, Ladder, LadderEnding, LadderState, MadeRung, MadeTile, MadeTiles, NewLadder, Pass,
    SpanSegment, Unit, UnitEnd, UnitResult, UnitRow, UnitState,
};

text_enum!(
    /// A codec that renditions are encoded in.
    RungCodec {
        /// H.264, 8 bits, 4:2:0.
        H264 = "h264",
        /// AV1, 8 bits, 4:2:0.
        Av1 = "av1",
    }
);

/// An encoder of this machine, as its self-test at start found it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Encoder {
    /// GStreamer's element, or `rav1e`.
    pub name: String,
    /// Its version; chunks of one rung never mix versions.
    pub version: String,
}

/// One rendition of pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rung {
    /// The asset track's name, e.g. `v720-2`: rung and generation. AV1 has `av1` behind its short side: `v720av1-2`.
    pub name: String,
    /// Its codec.
    pub codec: RungCodec,
    /// Width in pixels as shown, even; rotation and pixel shape are applied to the pictures.
    pub width: u32,
    /// Height in pixels as shown, even.
    pub height: u32,
    /// Bit rate that no second exceeds (`maxrate`), bits per second.
    pub bits_per_sec_max: u32,
    /// Decoder buffer (`bufsize`), milliseconds at that rate.
    pub buffer_ms: u32,
    /// Constant quality below the cap: x264's CRF, or rav1e's quantizer.
    pub quality: u8,
    /// Speed preset by the encoder's own name.
    pub preset: String,
    /// Who encodes all of it.
    pub encoder: Encoder,
}

impl Rung {
    /// What it is named by: its short side.
    pub fn short_side(&self) -> u32 {
        self.width.min(self.height)
    }
}

/// How pictures of the source are made into those that rungs are encoded from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureTreatment {
    /// Which of the source's picture tracks, from 0.
    pub track: u32,
    /// Clockwise rotation to apply: 0, 90, 180 or 270 degrees.
    pub rotation: u16,
    /// Whether to deinterlace.
    pub deinterlace: bool,
    /// `sdr`, `pq` or `hlg`: what is not SDR is tone-mapped to BT.709.
    pub dynamic_range: String,
    /// Frames per second above which pictures are left out (60). Below, every picture keeps its own time: variable frame
    /// rate stays variable.
    pub frame_rate_max: u32,
    /// How the source is read.
    #[serde(default)]
    pub reading: Reading,
}

/// How pictures in the middle of a source are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// By seeking: the source has an index.
    #[default]
    Sought,
    /// From the source's start, because seeking is a guess.
    FromStart,
    /// From the source's start, and few pictures say when they are shown: they follow each other evenly.
    Paced,
}

/// One rendition of sound, encoded in one continuous pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoundRung {
    /// The asset track's name, e.g. `a0-2` or, for a surround version, `a0s-2`.
    pub name: String,
    /// Which of the source's sound tracks, from 0.
    pub track: u32,
    /// Channels of the result: 1, 2 or 6.
    pub channels: u16,
    /// Bit rate, bits per second.
    pub bits_per_sec: u32,
    /// BCP 47 language, `und` when unknown.
    pub language: String,
    /// Whether a player should choose it by itself.
    pub default: bool,
}

/// A run of segments encoded at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its first segment.
    pub first_segment: u32,
    /// Number of segments, at least one.
    pub segments: u32,
}

/// Everything that is to be made of one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LadderPlan {
    /// The generation that its first publication has; part of all track names.
    pub generation: u32,
    /// Ticks per second of `cuts`, and the timescale of all rungs.
    pub timescale: u32,
    /// Presentation time in the source that becomes the timeline's origin, nanoseconds.
    pub start_ns: i64,
    /// Starts of the segments, each that of a picture, and the end of the last one, on the output timeline
    /// ([`TIMELINE_ORIGIN_SECS`](super::asset::TIMELINE_ORIGIN_SECS) included). Empty without pictures.
    pub cuts: Vec<i64>,
    /// The chunks, in order, without gap. Empty without pictures.
    pub chunks: Vec<Chunk>,
    /// What happens to pictures before they are encoded; `None` without pictures.
    pub treatment: Option<PictureTreatment>,
    /// The rungs, highest first.
    pub rungs: Vec<Rung>,
    /// Index of the lowest useful rung: its first chunks are encoded before anything else.
    pub first_rung: usize,
    /// Sound to be encoded.
    pub sound: Vec<SoundRung>,
}
