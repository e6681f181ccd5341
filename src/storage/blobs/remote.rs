//! Reading from a store that is not a local directory. Stores differ in what they say of a range outside a blob; here it
//! is always [`BlobError::NotFound`].
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetResult, ObjectStore, ObjectStoreExt};

use super::store_error;
use crate::domain::asset::BlobKey;
use crate::domain::ports::BlobError;

/// One blob of a store.
pub(super) struct RemoteBlob {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) key: BlobKey,
    pub(super) path: ObjectPath,
}

impl RemoteBlob {
    async fn open(&self, range: &Range<u64>) -> Result<GetResult, BlobError> {
        let missing = || BlobError::NotFound(self.key.clone());
        let options = GetOptions::default().with_range(Some(range.clone()));
        match self.store.get_opts(&self.path, options).await {
            Ok(found) if found.range == *range => Ok(found),
            Ok(_) => Err(missing()),
            Err(error) => match self.store.head(&self.path).await {
                Ok(meta) if range.end > meta.size => Err(missing()),
                _ => Err(store_error(&self.key, error)),
            },
        }
    }

    /// Reads a range.
    pub(super) async fn read(&self, range: Range<u64>) -> Result<Bytes, BlobError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let found = self.open(&range).await?;
        found.bytes().await.map_err(|error| store_error(&self.key, error))
    }

    /// Streams a range in order, in the pieces the store sends.
    pub(super) fn stream(self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
        if range.is_empty() {
            return stream::empty().boxed();
        }
        let opened = async move {
            let found = self.open(&range).await?;
            Ok(found.into_stream().map_err(move |error| store_error(&self.key, error)))
        };
        stream::once(opened).try_flatten().boxed()
    }
}
