//! What workers are told and answer about renditions and pictures.
use serde::{Deserialize, Serialize};

use super::{MediaLimits, Output, OutputFile, SourceFile};
use crate::domain::asset::VideoProperties;
pub use crate::domain::ladder::{Candidate, SpanSegment};
use crate::domain::ladder::{PictureTreatment, Reading, Rung, SoundRung};

/// One chunk of pictures to be encoded: decoded once, encoded in every rung asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureTask {
    /// The source: the original, or exactly the fragments of this chunk.
    pub source: Vec<SourceFile>,
    /// Where spans and tiles go.
    pub output: Output,
    /// What happens to the pictures.
    pub treatment: PictureTreatment,
    /// Presentation time in the source that becomes the origin, nanoseconds.
    pub start_ns: i64,
    /// Ticks per second of `cuts`, and the timescale of the spans.
    pub timescale: u32,
    /// Starts of the chunk's segments and the end of its last one, on the output timeline. A picture belongs to the segment
    /// in which it is shown; the first one of each is an IDR picture and is shown exactly at the cut.
    pub cuts: Vec<i64>,
    /// Number of its first segment.
    pub first_segment: u32,
    /// What to encode.
    pub rungs: Vec<Rung>,
    /// Small pictures wanted besides.
    pub tiles: Option<TilePlan>,
}

/// Small pictures for the scrubber: the first shown at or after each multiple of the interval that lies in the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TilePlan {
    /// Distance, milliseconds from the timeline's origin.
    pub interval_ms: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A small picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// When it is shown, milliseconds from the timeline's origin.
    pub at_ms: u64,
    /// The JPEG picture, a range of a file or the blob it has become.
    pub picture: SourceFile,
}

/// A track of sound to be encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SoundTask {
    /// The source, whole.
    pub source: Vec<SourceFile>,
    /// Where spans go.
    pub output: Output,
    /// What to make.
    pub rung: SoundRung,
    /// Presentation time in the source that becomes the origin, nanoseconds.
    pub start_ns: i64,
    /// Where pictures are cut, in ticks of `timescale`, the end of the last segment included; empty without pictures.
    pub cuts: Vec<i64>,
    /// Ticks per second of `cuts`.
    pub timescale: u32,
    /// How long segments should be.
    pub limits: MediaLimits,
}

/// Full pictures of chosen moments, each in every size and format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StillsTask {
    /// The source: a video, or a picture that somebody uploaded.
    pub source: Vec<SourceFile>,
    /// Where pictures go.
    pub output: Output,
    /// What happens to the pictures.
    pub treatment: PictureTreatment,
    /// Presentation time in the source that becomes the origin, nanoseconds.
    pub start_ns: i64,
    /// When, milliseconds from the origin; one name a moment goes into its files' names. `[("custom", 0)]` for a picture.
    pub moments: Vec<(String, u64)>,
    /// Sizes in pixels, largest first.
    pub sizes: Vec<(u32, u32)>,
    /// Formats.
    pub formats: Vec<PictureFormat>,
}

/// A format of still pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureFormat {
    /// JPEG.
    Jpeg,
    /// WebP.
    Webp,
    /// AVIF.
    Avif,
    /// A clip in which the picture stands still, for as long as a segment of a live stream is at most: H.264 in MP4.
    Clip,
}

/// Where a source can be cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Ticks per second of `cuts`: exact for the source's frame times.
    pub timescale: u32,
    /// Presentation time in the source that becomes the origin, nanoseconds.
    pub start_ns: i64,
    /// Starts of segments, each the time of a picture (a key frame where there is one near), and the end of the last one, on
    /// the output timeline. Empty without pictures.
    pub cuts: Vec<i64>,
    /// Pictures counted.
    pub num_frames: u64,
    /// Average frames per second as a fraction.
    pub frame_rate: (u32, u32),
    /// Length of the longest track, milliseconds.
    pub duration_ms: u64,
    /// How a chunk's pictures are reached.
    pub reading: Reading,
}

/// One rung of an encoded chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodedRung {
    /// [`Rung::name`].
    pub name: String,
    /// Initialisation segment: equal in all chunks of a rung, or the chunk is refused.
    pub init: bytes::Bytes,
    /// RFC 6381 codec string.
    pub codec: String,
    /// How far decoding runs ahead of presentation, ticks; equal in all chunks of a rung.
    pub reorder: u32,
    /// Properties of the pictures.
    pub video: VideoProperties,
    /// The span: initialisation segment and segments.
    pub span: OutputFile,
    /// Its segments.
    pub segments: Vec<SpanSegment>,
    /// Sample records of its key frames, for trick play; offsets are bytes in the span.
    pub key_frames: bytes::Bytes,
    /// Pictures in it.
    pub num_frames: u32,
}

/// A still picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StillPicture {
    /// The moment's name.
    pub moment: String,
    /// Its file.
    pub file: OutputFile,
    /// Its content type.
    pub content_type: String,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
}
