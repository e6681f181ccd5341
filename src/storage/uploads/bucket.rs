//! Uploads under way in an object store. An upload is a list of objects that is kept in the catalog: a byte counts once its object is
//! stored *and* listed, on whatever server. Small objects, which short appends leave, are merged now and then, so that the list
//! stays short; sealing copies nothing.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;

use super::key_in;
use super::slots::Slots;
use super::writer::SlotWriter;
use crate::domain::asset::Extent;
use crate::domain::ids::UploadId;
use crate::domain::ports::{BlobError, BlobStore, CatalogError, ExtentCatalog, UploadStore, UploadWriter};

mod direct;
mod slot;

pub use direct::BucketParts;
use slot::BucketSlot;

/// Name of the object of an upload without bytes.
const EMPTY: &str = "empty";

/// Uploads in an object store, listed in a catalog.
pub struct BucketUploads {
    blobs: Arc<dyn BlobStore>,
    catalog: Arc<dyn ExtentCatalog>,
    slots: Slots<BucketSlot>,
}

impl BucketUploads {
    /// In `blobs`, listed in `catalog`.
    pub fn new(blobs: Arc<dyn BlobStore>, catalog: Arc<dyn ExtentCatalog>) -> Self {
        Self { blobs, catalog, slots: Slots::default() }
    }

    fn slot(&self, id: &UploadId) -> Arc<BucketSlot> {
        self.slots.get(id, || BucketSlot::new(id.clone(), Arc::clone(&self.blobs), Arc::clone(&self.catalog)))
    }
}

/// What the catalog says of an upload, as its store says it.
fn stored_error(id: &UploadId, error: CatalogError) -> BlobError {
    match error {
        CatalogError::NotFound => BlobError::NotFound(key_in(id, "")),
        CatalogError::Stale => BlobError::Unavailable(format!("{id}: another writer has taken over")),
        error => BlobError::Unavailable(format!("{id}: {error}")),
    }
}

#[async_trait]
impl UploadStore for BucketUploads {
    async fn create(&self, id: &UploadId) -> Result<(), BlobError> {
        self.catalog.open_extents(id).await.map_err(|error| stored_error(id, error))
    }

    async fn offset(&self, id: &UploadId) -> Result<u64, BlobError> {
        self.slot(id).offset().await
    }

    async fn append(&self, id: &UploadId, checked: bool) -> Result<Box<dyn UploadWriter>, BlobError> {
        Ok(Box::new(SlotWriter::open(self.slot(id), checked).await?))
    }

    async fn seal(&self, id: &UploadId) -> Result<Vec<Extent>, BlobError> {
        let extents = self.slot(id).seal().await?;
        if !extents.is_empty() {
            return Ok(extents);
        }
        let key = key_in(id, EMPTY);
        self.blobs.put(&key, Bytes::new()).await?;
        Ok(vec![Extent { key, bytes: 0 }])
    }

    async fn remove(&self, id: &UploadId) -> Result<(), BlobError> {
        self.slot(id).stop().await;
        self.catalog.drop_extents(id).await.map_err(|error| stored_error(id, error))?;
        let stored = self.blobs.list(key_in(id, "").as_str().trim_end_matches('/'));
        stored.try_for_each_concurrent(8, async |found| self.blobs.delete(&found.key).await).await
    }
}
