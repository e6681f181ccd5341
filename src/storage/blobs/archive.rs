//! Originals in the archive: the same names, in an area of its own. Whoever reads an original finds it there when it is not where it was
//! uploaded to.
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, WriteMultipart};
use sha2::{Digest, Sha256};

use super::{Blobs, store_error};
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::ports::{Archive, BlobError};

/// The area of uploads and originals.
const UPLOADS: &str = "raw-uploads";
/// The area of originals that have been moved.
pub(super) const ARCHIVE: &str = "archive";
/// Bytes of one part of what is copied.
const PART_BYTES: usize = 16 * 1024 * 1024;
/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 3;

/// What was read, in order.
#[derive(Default)]
struct Seen {
    bytes: u64,
    digest: Sha256,
}

impl Seen {
    fn note(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.digest.update(piece);
    }

    fn end(self) -> (u64, Vec<u8>) {
        (self.bytes, self.digest.finalize().to_vec())
    }
}

impl Blobs {
    /// Whether originals can be moved.
    pub fn has_archive(&self) -> bool {
        self.areas.iter().any(|area| area.name == ARCHIVE)
    }

    /// Where an original is once it was moved; `None` of other blobs, and without an archive.
    pub(super) fn archived(&self, key: &BlobKey) -> Option<BlobKey> {
        let name = key.as_str().strip_prefix(UPLOADS)?.strip_prefix('/')?;
        self.has_archive().then(|| BlobKey(format!("{ARCHIVE}/{name}")))
    }

    /// Where to look for what was not found at its key, if anywhere.
    pub(super) fn elsewhere<T>(&self, key: &BlobKey, found: &Result<T, BlobError>) -> Option<BlobKey> {
        self.archived(key).filter(|_| matches!(found, Err(BlobError::NotFound(_))))
    }

    /// A stream of what is at a key, or in the archive when nothing is there.
    pub(super) fn stream_wherever(
        &self,
        key: &BlobKey,
        stream: impl Fn(&BlobKey) -> BoxStream<'static, Result<Bytes, BlobError>>,
    ) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let Some(archived) = self.archived(key) else { return stream(key) };
        let (mut first, second) = (stream(key).peekable(), stream(&archived));
        let chosen = async move {
            match Pin::new(&mut first).peek().await {
                Some(Err(BlobError::NotFound(_))) => second,
                _ => first.boxed(),
            }
        };
        stream::once(chosen).flatten().boxed()
    }

    async fn seen_at(&self, blob: &Extent, key: &BlobKey) -> Result<(u64, Vec<u8>), BlobError> {
        let mut seen = Seen::default();
        let mut pieces = self.stream_at(key, 0..blob.bytes);
        while let Some(piece) = pieces.try_next().await? {
            seen.note(&piece);
        }
        Ok(seen.end())
    }

    /// Copies a blob under another key; what was read comes back.
    async fn copy(&self, blob: &Extent, to: &BlobKey) -> Result<(u64, Vec<u8>), BlobError> {
        let place = self.place(to)?;
        let failed = |error| store_error(to, error);
        let begun = place.store.put_multipart(&place.path).await.map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(begun, PART_BYTES);
        let mut seen = Seen::default();
        let mut pieces = self.stream_at(&blob.key, 0..blob.bytes);
        let copied = async {
            while let Some(piece) = pieces.try_next().await? {
                seen.note(&piece);
                upload.wait_for_capacity(PARTS_AT_ONCE).await.map_err(failed)?;
                upload.put(piece);
            }
            Ok(())
        };
        if let Err(error) = copied.await {
            // Parts that stay cost room until the bucket's own rule for them.
            let _ = upload.abort().await;
            return Err(error);
        }
        upload.finish().await.map_err(failed)?;
        Ok(seen.end())
    }
}

#[async_trait]
impl Archive for Blobs {
    async fn store(&self, blob: &Extent) -> Result<(), BlobError> {
        let Some(to) = self.archived(&blob.key) else { return Err(BlobError::NotFound(blob.key.clone())) };
        let differs = |what: &str| Err(BlobError::Unavailable(format!("{}: {what}", blob.key)));
        let read = self.copy(blob, &to).await?;
        if read.0 != blob.bytes {
            return differs("shorter than it was stored");
        }
        match self.seen_at(blob, &to).await? == read {
            true => Ok(()),
            false => differs("its copy in the archive differs"),
        }
    }

    async fn release(&self, blob: &Extent) -> Result<(), BlobError> {
        let Some(archived) = self.archived(&blob.key) else { return Err(BlobError::NotFound(blob.key.clone())) };
        let copy = self.place(&archived)?;
        let found = copy.store.head(&copy.path).await.map_err(|error| store_error(&archived, error))?;
        if found.size != blob.bytes {
            let told = format!("{archived}: has {} bytes instead of {}", found.size, blob.bytes);
            return Err(BlobError::Unavailable(told));
        }
        self.delete_at(&blob.key).await
    }
}
