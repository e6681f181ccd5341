//! Ports to media.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

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

/// Where the bytes of an object come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// They were in memory, or on this node's disk.
    Near,
    /// Somebody else had asked for them, and they are on their way.
    UnderWay,
    /// They are fetched or made.
    Fetched,
}

/// The bytes of an object.
pub enum ObjectBytes {
    /// All of them.
    Whole(Bytes),
    /// As they come.
    Coming {
        /// How many there will be.
        bytes: u64,
        /// They.
        stream: BoxStream<'static, Result<Bytes, ResolveError>>,
    },
}

/// An object, and where it comes from.
pub struct Opened {
    /// Its bytes.
    pub body: ObjectBytes,
    /// Where they come from.
    pub origin: Origin,
}

/// The one way to media bytes, be they live, stored, virtual, remote or to be made.
#[async_trait]
pub trait SegmentSource: Send + Sync {
    /// The bytes of one object of a track.
    async fn resolve(&self, asset: &Arc<Asset>, track: &str, object: MediaObject) -> Result<Bytes, ResolveError>;

    /// The same, without waiting for more than the first of them.
    async fn open(&self, asset: &Arc<Asset>, track: &str, object: MediaObject) -> Result<Opened, ResolveError>;

    /// A viewer plays a track and has come to this segment: what it will ask for next may be fetched already.
    fn look_ahead(&self, viewer: u64, asset: &Arc<Asset>, track: &str, segment: u32);
}
