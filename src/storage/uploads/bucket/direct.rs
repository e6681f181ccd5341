//! Parts of uploads that clients store by themselves. Each is an object of its own below the upload's prefix, to which a URL of this
//! server leads. A URL is good for a while whatever becomes of the upload, so that parts are never an upload's bytes: they are
//! copied within the bucket, to where no URL leads, and the copies are listed.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use http::Method;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::super::key_in;
use super::stored_error;
use crate::domain::asset::Extent;
use crate::domain::ids::UploadId;
use crate::domain::ports::{BlobError, ExtentCatalog, PartError, PartStore};
use crate::domain::upload::direct::PartPlan;
use crate::storage::blobs::buckets::UploadBucket;
use crate::storage::blobs::store_error;

/// Copies within the bucket at once.
const COPIES_AT_ONCE: usize = 8;
/// Copies listed in one transaction.
const LISTED_AT_ONCE: usize = 500;
/// What names of parts begin with; no object of ours does.
const PART: &str = "part-";

/// Parts in the bucket of uploads.
pub struct BucketParts {
    bucket: UploadBucket,
    catalog: Arc<dyn ExtentCatalog>,
}

fn name_of(part: u32) -> String {
    format!("{PART}{part:05}")
}

fn path_in(id: &UploadId, name: &str) -> Path {
    Path::from(format!("{id}/{name}"))
}

impl BucketParts {
    /// In this bucket; what is taken is listed in `catalog`.
    pub fn new(bucket: UploadBucket, catalog: Arc<dyn ExtentCatalog>) -> Self {
        Self { bucket, catalog }
    }

    /// Whether all parts are there as they must be. The first that is too long or too short is deleted.
    async fn check(&self, id: &UploadId, plan: PartPlan) -> Result<(), PartError> {
        let stored = self.stored_parts(id).await?;
        for (part, expected) in (1..=plan.count()).filter_map(|part| Some((part, plan.bytes_of(part)?))) {
            let found = *stored.get(&part).ok_or(PartError::Missing { part })?;
            if found != expected {
                self.delete(id, &name_of(part)).await?;
                return Err(PartError::Size { part, expected, found });
            }
        }
        Ok(())
    }

    async fn delete(&self, id: &UploadId, name: &str) -> Result<(), BlobError> {
        match self.bucket.store.delete(&path_in(id, name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error(&key_in(id, name), error)),
        }
    }

    /// Copies a part to where no URL leads; its size is that of the copy, which stays as it is.
    async fn copy(&self, id: &UploadId, writer: u64, (part, expected): (u32, u64)) -> Result<Extent, PartError> {
        let (from, to) = (name_of(part), format!("{writer}-{part}"));
        let key = key_in(id, &to);
        match self.bucket.store.copy(&path_in(id, &from), &path_in(id, &to)).await {
            Err(object_store::Error::NotFound { .. }) => return Err(PartError::Missing { part }),
            copied => copied.map_err(|error| store_error(&key, error))?,
        }
        let copy = self.bucket.store.head(&path_in(id, &to)).await.map_err(|error| store_error(&key, error))?;
        if copy.size != expected {
            self.delete(id, &to).await?;
            return Err(PartError::Size { part, expected, found: copy.size });
        }
        Ok(Extent { key, bytes: expected })
    }
}

#[async_trait]
impl PartStore for BucketParts {
    async fn part_url(&self, id: &UploadId, part: u32, valid: Duration) -> Result<String, BlobError> {
        let name = name_of(part);
        let signed = self.bucket.signer.signed_url(Method::PUT, &path_in(id, &name), valid).await;
        Ok(signed.map_err(|error| store_error(&key_in(id, &name), error))?.into())
    }

    async fn stored_parts(&self, id: &UploadId) -> Result<BTreeMap<u32, u64>, BlobError> {
        let prefix = Path::from(id.as_str());
        let listed = self.bucket.store.list(Some(&prefix)).try_filter_map(async |found| {
            let number = found.location.filename().and_then(|name| name.strip_prefix(PART)?.parse().ok());
            Ok(number.map(|number| (number, found.size)))
        });
        listed.try_collect().await.map_err(|error| store_error(&key_in(id, PART), error))
    }

    async fn take_parts(&self, id: &UploadId, plan: PartPlan) -> Result<(), PartError> {
        self.check(id, plan).await?;
        let writer = self.catalog.begin_extents(id).await.map_err(|error| stored_error(id, error))?.writer;
        let parts: Vec<_> = (1..=plan.count()).filter_map(|part| Some((part, plan.bytes_of(part)?))).collect();
        let copies = stream::iter(parts).map(|part| self.copy(id, writer, part)).buffered(COPIES_AT_ONCE);
        let copies: Vec<Extent> = copies.try_collect().await?;
        for (index, listed) in copies.chunks(LISTED_AT_ONCE).enumerate() {
            let outcome = self.catalog.replace_extents(id, writer, index * LISTED_AT_ONCE, listed).await;
            outcome.map_err(|error| stored_error(id, error))?;
        }
        Ok(())
    }

    async fn drop_parts(&self, id: &UploadId) -> Result<(), BlobError> {
        let stored = self.stored_parts(id).await?;
        let stored = stream::iter(stored.into_keys().map(Ok));
        stored.try_for_each_concurrent(COPIES_AT_ONCE, async |part| self.delete(id, &name_of(part)).await).await
    }
}
