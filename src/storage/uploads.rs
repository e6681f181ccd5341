//! Uploads under way, on the disk of the blob store: the file of an upload is already the blob it becomes, so that
//! sealing copies nothing.
//!
//! The file's length is the offset; it is fsynced before anyone is told of it. An append that is *to be checked* first
//! makes a marker durable that holds the offset to fall back to. Every upload has a `slot::Slot` through which all
//! work on its file goes, one step at a time: a writer that was dropped, fenced off or cut off in the middle of a step
//! can never write after its successor.
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;

use super::files::blocking;
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::ids::UploadId;
use crate::domain::ports::{BlobError, UploadStore, UploadWriter};

mod file;
mod slot;
mod writer;

use slot::Slot;
use writer::LocalWriter;

/// Slots of uploads no one works on are dropped when there are this many.
const SLOTS_SWEEP_MIN: usize = 64;

/// Uploads in the directory of a local blob store.
pub struct LocalUploads {
    root: PathBuf,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    by_id: HashMap<UploadId, Weak<Slot>>,
    sweep_at: usize,
}

/// The blob an upload becomes.
fn key_of(id: &UploadId) -> BlobKey {
    BlobKey(format!("raw-uploads/{id}/0"))
}

impl LocalUploads {
    /// Below `root`, which is also the blob store's.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), slots: Mutex::default() }
    }

    fn slot(&self, id: &UploadId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.by_id.get(id).and_then(Weak::upgrade) {
            return slot;
        }
        if slots.by_id.len() >= slots.sweep_at.max(SLOTS_SWEEP_MIN) {
            slots.by_id.retain(|_, slot| slot.strong_count() > 0);
            slots.sweep_at = slots.by_id.len() * 2;
        }
        let slot = Arc::new(Slot::new(key_of(id), self.root.join("raw-uploads").join(id.as_str())));
        slots.by_id.insert(id.clone(), Arc::downgrade(&slot));
        slot
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
        let writer = blocking(move || LocalWriter::open(slot, checked)).await?;
        Ok(Box::new(writer))
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
