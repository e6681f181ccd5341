//! Ports to media.
use async_trait::async_trait;
use bytes::Bytes;

use super::super::asset::{Asset, BlobKey};
use super::super::ids::VideoId;
use super::storage::BlobError;

/// What of a track is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaObject {
    /// The initialisation segment.
    Init,
    /// The segment with this number.
    Segment(u32),
    /// The key frame with this number, alone.
    KeyFrame(u32),
    /// The initialisation segment from this later epoch on, counted from 1.
    EpochInit(u32),
}

/// Why bytes could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No such track or number.
    #[error("no such media object")]
    NotFound,
    /// The stored index and the stored bytes do not fit together.
    #[error("media is damaged: {0}")]
    Damaged(String),
    /// It is being made and was not finished in time; worth another try.
    #[error("media is being made")]
    NotYet,
    /// The store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Where a segment lies that had to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeSegment {
    /// The span.
    pub span: BlobKey,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u32,
}

/// Who encodes chunks before their turn.
#[async_trait]
pub trait SegmentMaker: Send + Sync {
    /// Where segment number `segment` of a track lies, after its chunk was encoded. `NotYet` when that takes too long,
    /// `NotFound` when nobody will make it.
    async fn make(&self, video: &VideoId, track: &str, chunk: u32, segment: u32) -> Result<MadeSegment, ResolveError>;
}

/// The one way to media bytes, be they live, stored, virtual, remote or to be made.
#[async_trait]
pub trait SegmentSource: Send + Sync {
    /// The bytes of one object of a track.
    async fn resolve(&self, asset: &Asset, track: &str, object: MediaObject) -> Result<Bytes, ResolveError>;
}
