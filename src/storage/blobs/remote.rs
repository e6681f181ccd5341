//! A store that is not a local directory. Stores differ in what they say of a range outside a blob; here it is always
//! [`BlobError::NotFound`].
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::{GetOptions, GetResult, ObjectStoreExt, WriteMultipart};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::super::files::blob_error;
use super::{Place, store_error};
use crate::domain::ports::BlobError;

/// Files up to this size are stored by one request, larger ones in parts of it.
const PART_BYTES: usize = 16 * 1024 * 1024;
/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 3;

impl Place {
    async fn open(&self, range: &Range<u64>) -> Result<GetResult, BlobError> {
        let missing = || BlobError::NotFound(self.key.clone());
        let options = GetOptions::default().with_range(Some(range.clone()));
        match self.store.get_opts(&self.path, options).await {
            Ok(found) if found.range == *range => Ok(found),
            Ok(_) => Err(missing()),
            Err(error @ object_store::Error::NotFound { .. }) => Err(store_error(&self.key, error)),
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

    /// Stores a finished file, which goes.
    pub(super) async fn upload(&self, path: &Path) -> Result<u64, BlobError> {
        let io = |error: std::io::Error| blob_error(&self.key, &error);
        let mut file = File::open(path).await.map_err(io)?;
        let bytes = file.metadata().await.map_err(io)?.len();
        if bytes <= PART_BYTES as u64 {
            let mut whole = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
            file.read_to_end(&mut whole).await.map_err(io)?;
            let stored = self.store.put(&self.path, whole.into()).await;
            stored.map_err(|error| store_error(&self.key, error))?;
        } else {
            self.upload_parts(file).await?;
        }
        tokio::fs::remove_file(path).await.map_err(io)?;
        Ok(bytes)
    }

    async fn upload_parts(&self, mut file: File) -> Result<(), BlobError> {
        let failed = |error| store_error(&self.key, error);
        let begun = self.store.put_multipart(&self.path).await.map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(begun, PART_BYTES);
        let sent = async {
            loop {
                let mut part = Vec::with_capacity(PART_BYTES);
                let read = (&mut file).take(PART_BYTES as u64).read_to_end(&mut part).await;
                if read.map_err(|error| blob_error(&self.key, &error))? == 0 {
                    return Ok(());
                }
                upload.wait_for_capacity(PARTS_AT_ONCE).await.map_err(failed)?;
                upload.put(part.into());
            }
        };
        if let Err(error) = sent.await {
            // Parts that stay cost room until the bucket's own rule for them.
            let _ = upload.abort().await;
            return Err(error);
        }
        upload.finish().await.map(drop).map_err(failed)
    }
}
