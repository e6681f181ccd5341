//! The units in which a ladder is made: what is leased, attempted, counted and kept, each on its own.
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::LadderPlan;
use crate::domain::asset::{AssetTrack, BlobKey, Extent, VideoProperties};
use crate::domain::ids::VideoId;
use crate::domain::video::{Failure, Rendition, text_enum};

text_enum!(
    /// What a unit is part of; in the order in which passes begin.
    Pass {
        /// A chunk in the first rung alone: the first chunk of every video, and those that viewers ask for early.
        First = "first",
        /// A track of sound.
        Sound = "sound",
        /// A chunk in all H.264 rungs that it was not encoded in yet.
        Rest = "rest",
        /// A chunk in AV1.
        Av1 = "av1",
    }
);

/// One piece of work of a ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unit {
    /// What it is part of.
    pub pass: Pass,
    /// The chunk, or the index into [`LadderPlan::sound`].
    pub number: u32,
}

impl Unit {
    /// A unit of a pass.
    pub const fn new(pass: Pass, number: u32) -> Self {
        Self { pass, number }
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.pass, self.number)
    }
}

text_enum!(
    /// How far a unit is.
    UnitState {
        /// Nobody works on it.
        Queued = "queued",
        /// Somebody does.
        Leased = "leased",
        /// Its result is stored.
        Done = "done",
        /// It will not be made.
        Failed = "failed",
    }
);

/// Attempts at a unit that did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attempted {
    /// Ended with their worker process.
    pub crashed: u32,
    /// Ended with the server.
    pub interrupted: u32,
    /// Brought something that does not fit to the other chunks.
    pub refused: u32,
}

/// A unit as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitRow {
    /// Which one.
    pub unit: Unit,
    /// How far it is.
    pub state: UnitState,
    /// Attempts before now.
    pub attempted: Attempted,
}

/// How an attempt at a unit ended, other than with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitEnd {
    /// With its worker process.
    Crashed,
    /// With something that does not fit to the other chunks.
    Refused,
    /// Before it came to a worker; it does not count.
    Withdrawn,
    /// For good.
    Failed(Failure),
}

text_enum!(
    /// How far a ladder is.
    LadderState {
        /// Something is left to do.
        Open = "open",
        /// Everything is made.
        Done = "done",
        /// Something could not be made.
        Failed = "failed",
        /// Another plan took its place.
        Abandoned = "abandoned",
    }
);

/// A ladder that begins.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLadder {
    /// Whose it is.
    pub video_id: VideoId,
    /// Its plan.
    pub plan: LadderPlan,
    /// Its units.
    pub units: Vec<Unit>,
    /// All renditions that the video has and will have.
    pub renditions: Vec<Rendition>,
}

/// How a ladder ends.
#[derive(Debug, Clone, PartialEq)]
pub struct LadderEnding {
    /// How far it is from now on.
    pub state: LadderState,
    /// Why something could not be made, with a `transcode.failed` event.
    pub failure: Option<Failure>,
    /// Blobs that are the video's no more.
    pub disowned: Vec<BlobKey>,
}

impl LadderEnding {
    /// An end without failure.
    pub fn of(state: LadderState) -> Self {
        Self { state, failure: None, disowned: Vec::new() }
    }
}

/// A ladder as recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    /// Its generation, known even when the plan cannot be read.
    pub generation: u32,
    /// How far it is.
    pub state: LadderState,
    /// Its plan; `None` when this program cannot read it.
    pub plan: Option<LadderPlan>,
    /// Whether its owner wants AV1, which the plan does not have yet.
    pub wants_av1: bool,
    /// Its units.
    pub units: Vec<UnitRow>,
}

/// One segment of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanSegment {
    /// Start on the output timeline.
    pub start: i64,
    /// Duration in ticks.
    pub duration: u32,
    /// First byte in the span.
    pub offset: u32,
    /// Number of bytes.
    pub bytes: u32,
}

/// A moment that would make a good thumbnail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// When it is shown, milliseconds from the origin.
    pub at_ms: u64,
    /// 0 to 1000: sharp, well lit and full of contrast is high; black, white and blurred is low.
    pub score: u16,
    /// Coarse histogram of brightness and colour, in parts of 255: what tells scenes apart.
    pub histogram: Vec<u8>,
}

/// One rung of a chunk, stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MadeRung {
    /// [`Rung::name`](super::Rung::name).
    pub name: String,
    /// Initialisation segment; equal in all chunks.
    pub init: Bytes,
    /// RFC 6381 codec string; equal in all chunks.
    pub codec: String,
    /// How far decoding runs ahead of presentation, ticks; equal in all chunks.
    pub reorder: u32,
    /// Properties of the pictures.
    pub video: VideoProperties,
    /// The span.
    pub span: Extent,
    /// Number of its first segment.
    pub first_segment: u32,
    /// Its segments.
    pub segments: Vec<SpanSegment>,
    /// Sample records of its key frames; offsets are bytes in the span.
    pub key_frames: Bytes,
    /// Pictures in it.
    pub num_frames: u32,
}

impl MadeRung {
    /// Whether both can be parts of one track.
    pub fn fits(&self, other: &Self) -> bool {
        self.init == other.init && self.codec == other.codec && self.reorder == other.reorder
    }
}

/// A small picture in [`MadeTiles::blob`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeTile {
    /// When it is shown, milliseconds from the origin.
    pub at_ms: u64,
    /// First byte.
    pub first: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// Small pictures of a chunk, kept until they are laid out on sheets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeTiles {
    /// Where they lie.
    pub blob: Extent,
    /// In order.
    pub tiles: Vec<MadeTile>,
}

/// What a unit came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum UnitResult {
    /// A chunk.
    Pictures {
        /// In the order asked for.
        rungs: Vec<MadeRung>,
        /// Small pictures.
        tiles: Option<MadeTiles>,
        /// Its best moments, best first.
        candidates: Vec<Candidate>,
    },
    /// Sound.
    Sound {
        /// The track; `None` when there was no sound in it.
        track: Option<Box<AssetTrack>>,
        /// The blobs it refers to.
        blobs: Vec<Extent>,
    },
}

impl UnitResult {
    /// Everything it keeps in the blob store.
    pub fn blobs(&self) -> Vec<Extent> {
        match self {
            Self::Pictures { rungs, tiles, .. } => {
                let spans = rungs.iter().map(|rung| rung.span.clone());
                spans.chain(tiles.iter().map(|tiles| tiles.blob.clone())).collect()
            }
            Self::Sound { blobs, .. } => blobs.clone(),
        }
    }

    /// This rung of the chunk.
    pub fn rung(&self, name: &str) -> Option<&MadeRung> {
        match self {
            Self::Pictures { rungs, .. } => rungs.iter().find(|rung| rung.name == name),
            Self::Sound { .. } => None,
        }
    }
}
