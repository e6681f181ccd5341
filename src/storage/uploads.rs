//! Uploads under way, on the disk of the blob store: the file of an upload is already the blob it becomes, so that
//! sealing copies nothing. [`BucketUploads`] are those in an object store.
//!
//! The file's length is the offset; it is fsynced before anyone is told of it. An append that is *to be checked* first
//! makes a marker durable that holds the offset to fall back to. Every upload has a `Slot` through which all
//! work on its file goes, one step at a time: a writer that was dropped, fenced off or cut off in the middle of a step
//! can never write after its successor.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::files::blocking;
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::ids::UploadId;
use crate::domain::ports::{BlobError, UploadStore, UploadWriter};

mod bucket;
mod file;
mod slot;
mod slots;
mod writer;

pub use bucket::{BucketParts, BucketUploads};
use slot::LocalSlot;
use slots::Slots;
use writer::SlotWriter;

/// Uploads in the directory of a local blob store.
pub struct LocalUploads {
    root: PathBuf,
    slots: Slots<LocalSlot>,
}

/// The blob an upload becomes.
fn key_of(id: &UploadId) -> BlobKey {
    key_in(id, "0")
}

/// An upload's blob of this name.
fn key_in(id: &UploadId, name: &str) -> BlobKey {
    BlobKey(format!("raw-uploads/{id}/{name}"))
}

impl LocalUploads {
    /// Below `root`, which is also the blob store's.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), slots: Slots::default() }
    }

    fn slot(&self, id: &UploadId) -> Arc<LocalSlot> {
        self.slots.get(id, || LocalSlot::new(key_of(id), self.root.join("raw-uploads").join(id.as_str())))
    }
}

#[async_trait]
impl UploadStore for LocalUploads {
    async fn create(&self, id: &UploadId) -> Result<(), BlobError> {
        let slot = self.slot(id);
        blocking(move || slot.create()).await
    }

    async fn offset(&self, id: &UploadId) -> Result<u64, BlobError> {
        let slot = self.slot(id);
        blocking(move || slot.offset()).await
    }

    async fn append(&self, id: &UploadId, checked: bool) -> Result<Box<dyn UploadWriter>, BlobError> {
        let slot = self.slot(id);
        Ok(Box::new(SlotWriter::open(slot, checked).await?))
    }

    async fn seal(&self, id: &UploadId) -> Result<Vec<Extent>, BlobError> {
        let slot = self.slot(id);
        let bytes = blocking(move || slot.seal()).await?;
        Ok(vec![Extent { key: key_of(id), bytes }])
    }

    async fn remove(&self, id: &UploadId) -> Result<(), BlobError> {
        let slot = self.slot(id);
        blocking(move || slot.remove()).await
    }
}

#[cfg(test)]
mod tests;
