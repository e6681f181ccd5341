//! Ports to what holds bytes.
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::super::asset::{Asset, BlobKey, Extent};
use super::super::ids::{UploadId, VideoId};
use super::super::time::Timestamp;
use super::super::upload::direct::PartPlan;

/// Why a blob could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// No such blob, or the range is outside it.
    #[error("no such blob: {0}")]
    NotFound(BlobKey),
    /// The disk or bucket is full.
    #[error("storage is full")]
    Full,
    /// The store failed; worth another try.
    #[error("storage unavailable: {0}")]
    Unavailable(String),
}

/// A stored blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobMeta {
    /// Its key.
    pub key: BlobKey,
    /// Its size.
    pub bytes: u64,
    /// When it was last written.
    pub modified: Timestamp,
}

/// Immutable blobs by key.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Stores a small blob whole; replaces one of the same key.
    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<(), BlobError>;
    /// Takes over a finished local file, without copying where the store is on the same disk.
    async fn adopt(&self, key: &BlobKey, file: &Path) -> Result<u64, BlobError>;
    /// Reads a range.
    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError>;
    /// Reads the whole blob.
    async fn read_all(&self, key: &BlobKey) -> Result<Bytes, BlobError>;
    /// Streams a range in order.
    fn stream(&self, key: &BlobKey, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>>;
    /// Deletes a blob; deleting an absent one succeeds.
    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError>;
    /// Everything below a prefix (a whole path component).
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<BlobMeta, BlobError>>;
    /// The file behind a blob, when the store is a local disk.
    fn local_path(&self, key: &BlobKey) -> Option<PathBuf>;
    /// Whether this can be read without asking another machine.
    fn is_near(&self, wanted: &RangeKey) -> bool {
        self.local_path(&wanted.key).is_some()
    }
    /// Bytes free in the store, when it has an end.
    async fn free_bytes(&self) -> Result<Option<u64>, BlobError>;
}

/// Where originals are moved to when they are seldom read. By the key that they had they are found there, too, and deleted.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Copies an original there, and reads it back to see that it is the same. It stays where it is, too; repeating this is harmless.
    async fn store(&self, blob: &Extent) -> Result<(), BlobError>;
    /// Deletes an original where it was before, once it is in the archive.
    async fn release(&self, blob: &Extent) -> Result<(), BlobError>;
}

/// Some bytes of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RangeKey {
    /// The blob.
    pub key: BlobKey,
    /// Which of them; `None`: all.
    pub range: Option<Range<u64>>,
}

impl RangeKey {
    /// The id that the blob belongs to: what its key says behind its area.
    pub fn owner(&self) -> &str {
        self.key.as_str().split('/').nth(1).unwrap_or("none")
    }
}

/// Bytes of blobs that are kept near.
#[async_trait]
pub trait RangeCache: Send + Sync {
    /// Whether it is there, as far as is known.
    fn holds(&self, wanted: &RangeKey) -> bool;
    /// The bytes, if they are there.
    async fn get(&self, wanted: &RangeKey) -> Option<Bytes>;
    /// Keeps them, if there is room.
    async fn put(&self, wanted: &RangeKey, bytes: Bytes);
    /// Drops all that belongs to this id.
    async fn forget(&self, owner: &str);
}

/// The node that reads blobs for others.
#[async_trait]
pub trait Shield: Send + Sync {
    /// The bytes as it gives them; `None` when nobody reads this for this node.
    async fn fetch(&self, wanted: &RangeKey) -> Option<BoxStream<'static, Result<Bytes, BlobError>>>;
}

/// Where the bytes of unfinished uploads go. Locally, the fsynced length of the file *is* the offset.
#[async_trait]
pub trait UploadStore: Send + Sync {
    /// Makes room for a new upload.
    async fn create(&self, id: &UploadId) -> Result<(), BlobError>;
    /// The durable offset: everything before it survives a crash. Makes durable what a writer under way has stored so far,
    /// and drops the bytes of an append that was to be checked and was cut off before it was.
    async fn offset(&self, id: &UploadId) -> Result<u64, BlobError>;
    /// Opens the upload for appending at its durable offset. When `checked`, nothing counts before [`UploadWriter::finish`].
    async fn append(&self, id: &UploadId, checked: bool) -> Result<Box<dyn UploadWriter>, BlobError>;
    /// No more bytes will come: its bytes as extents, without copying.
    async fn seal(&self, id: &UploadId) -> Result<Vec<Extent>, BlobError>;
    /// Removes all its bytes; removing absent ones succeeds.
    async fn remove(&self, id: &UploadId) -> Result<(), BlobError>;
}

/// One append to an upload. Dropping it leaves what was written, unless it was to be checked.
#[async_trait]
pub trait UploadWriter: Send {
    /// The offset at which the next byte goes.
    fn offset(&self) -> u64;
    /// Writes bytes at the offset.
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError>;
    /// Makes all written bytes durable and returns the new offset.
    async fn finish(self: Box<Self>) -> Result<u64, BlobError>;
    /// Takes back all bytes of this append and returns the offset before it.
    async fn discard(self: Box<Self>) -> Result<u64, BlobError>;
}

/// Why parts that a client was to store cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// It is not there.
    #[error("part {part} is not stored")]
    Missing {
        /// Its number, from 1.
        part: u32,
    },
    /// It is too long or too short, and was deleted.
    #[error("part {part} has {found} bytes instead of {expected}")]
    Size {
        /// Its number, from 1.
        part: u32,
        /// Bytes it was to have.
        expected: u64,
        /// Bytes it had.
        found: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Uploads whose clients store the bytes by themselves, in parts, by URLs that are good for that alone.
#[async_trait]
pub trait PartStore: Send + Sync {
    /// A URL to which this part can be PUT, for so long. How long the part is shows when it is taken.
    async fn part_url(&self, id: &UploadId, part: u32, valid: Duration) -> Result<String, BlobError>;
    /// The parts that are there, by number, with their sizes.
    async fn stored_parts(&self, id: &UploadId) -> Result<BTreeMap<u32, u64>, BlobError>;
    /// Makes all parts the upload's bytes, to which no URL leads any more. Repeating it takes them once again; when it fails, all
    /// parts stay that have the right size.
    async fn take_parts(&self, id: &UploadId, plan: PartPlan) -> Result<(), PartError>;
    /// Deletes what clients have stored; what was taken stays.
    async fn drop_parts(&self, id: &UploadId) -> Result<(), BlobError>;
}

/// Stored asset indexes.
#[async_trait]
pub trait AssetStore: Send + Sync {
    /// Stores an index under its generation; returns its blob.
    async fn save_asset(&self, asset: &Asset) -> Result<Extent, BlobError>;
    /// Reads the index of this generation.
    async fn load_asset(&self, video: &VideoId, generation: u32) -> Result<Arc<Asset>, BlobError>;
}

/// One write to the journal: all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalBatch {
    /// Values to store: tree, key, value.
    pub puts: Vec<(&'static str, Vec<u8>, Vec<u8>)>,
    /// Keys to remove: tree, key.
    pub removes: Vec<(&'static str, Vec<u8>)>,
}

/// The journal did not take or give a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("journal unavailable: {0}")]
pub struct JournalError(pub String);

/// The node's own journal of what may be rebuilt or drained.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Applies a batch; on return it survives the death of the process, and power loss within the flush interval.
    async fn write(&self, batch: JournalBatch) -> Result<(), JournalError>;
    /// Every record of a tree, in key order.
    async fn scan(&self, tree: &'static str) -> Result<Vec<(Vec<u8>, Vec<u8>)>, JournalError>;
}
