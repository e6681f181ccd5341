//! Blobs through `object_store`: in a local directory, or in buckets by the same type. What a key begins with is its *area*
//! (`raw-uploads`, `vod-abr`, `archive`), each of which may lie in a bucket of its own.
//!
//! Local reads go around `object_store` (measured: one hop to a blocking thread instead of two, and large streamed
//! pieces instead of 8 KiB ones); everything that changes the store goes through it, except that a local file is adopted
//! by renaming it.
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};

use super::files::{blob_error, blocking};
use crate::domain::asset::BlobKey;
use crate::domain::ports::{BlobError, BlobMeta, BlobStore};
use crate::domain::time::Timestamp;

mod archive;
pub mod buckets;
mod local;
mod remote;

/// Longest key, bytes.
const KEY_BYTES_MAX: usize = 512;

/// An area in an object store.
pub struct Area {
    /// What its keys begin with; empty: everything.
    pub name: &'static str,
    /// Where what comes after that is.
    pub store: Arc<dyn ObjectStore>,
}

/// A blob store on any object store.
pub struct Blobs {
    areas: Vec<Area>,
    local: Option<local::LocalBlobs>,
}

impl Blobs {
    /// On a local directory, which must exist. Everything stored is durable when the call returns.
    pub fn local(root: &Path) -> Result<Self, BlobError> {
        let opened = LocalFileSystem::new_with_prefix(root);
        let opened = opened.map_err(|error| BlobError::Unavailable(error.to_string()))?;
        let root = root.canonicalize().map_err(|error| BlobError::Unavailable(error.to_string()))?;
        let store = Arc::new(opened.with_automatic_cleanup(true).with_fsync(true));
        Ok(Self { areas: vec![Area { name: "", store }], local: Some(local::LocalBlobs { root, archive: None }) })
    }

    /// The same, with an archive in another directory, which must exist.
    pub fn local_with_archive(root: &Path, archive: &Path) -> Result<Self, BlobError> {
        let mut blobs = Self::local(root)?;
        let unavailable = |error: &dyn std::fmt::Display| BlobError::Unavailable(error.to_string());
        let opened = LocalFileSystem::new_with_prefix(archive).map_err(|error| unavailable(&error))?;
        let store = Arc::new(opened.with_automatic_cleanup(true).with_fsync(true));
        blobs.areas.insert(0, Area { name: archive::ARCHIVE, store });
        if let Some(local) = &mut blobs.local {
            let archive = archive.canonicalize().map_err(|error| unavailable(&error))?;
            if archive.starts_with(&local.root) || local.root.starts_with(&archive) {
                return Err(unavailable(&format!("the archive {} is in or around it", archive.display())));
            }
            local.archive = Some(archive);
        }
        Ok(blobs)
    }

    /// In buckets, or anything else that `object_store` knows. Of areas that know a key the first one has it.
    pub fn in_buckets(areas: Vec<Area>) -> Self {
        Self { areas, local: None }
    }

    /// The area of a key, and the rest of the key there.
    fn area<'a>(&self, key: &'a BlobKey) -> Result<(&Area, &'a str), BlobError> {
        let rest_in = |area: &Area| match area.name {
            "" => Some(key.as_str()),
            name => key
                .as_str()
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('/').or(rest.is_empty().then_some(rest))),
        };
        let found = self.areas.iter().find_map(|area| Some((area, rest_in(area)?)));
        found.ok_or_else(|| BlobError::NotFound(key.clone()))
    }

    /// Where a key is.
    fn place(&self, key: &BlobKey) -> Result<Place, BlobError> {
        check_key(key)?;
        let (area, rest) = self.area(key)?;
        Ok(Place { store: Arc::clone(&area.store), path: ObjectPath::from(rest), key: key.clone() })
    }

    fn local_file(&self, key: &BlobKey) -> Result<Option<PathBuf>, BlobError> {
        check_key(key)?;
        Ok(self.local.as_ref().map(|local| local.path(key)))
    }

    async fn read_at(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        if let Some(path) = self.local_file(key)? {
            let key = key.clone();
            return blocking(move || local::read(&path, range).map_err(|error| blob_error(&key, &error))).await;
        }
        self.place(key)?.read(range).await
    }

    async fn read_all_at(&self, key: &BlobKey) -> Result<Bytes, BlobError> {
        if let Some(path) = self.local_file(key)? {
            let key = key.clone();
            return blocking(move || local::read_all(&path).map_err(|error| blob_error(&key, &error))).await;
        }
        let place = self.place(key)?;
        let found = place.store.get(&place.path).await.map_err(|error| store_error(key, error))?;
        found.bytes().await.map_err(|error| store_error(key, error))
    }

    fn stream_at(&self, key: &BlobKey, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
        match (self.place(key), &self.local) {
            (Err(error), _) => stream::once(async { Err(error) }).boxed(),
            (Ok(_), Some(local)) => local::stream(key.clone(), local.path(key), range),
            (Ok(blob), None) => blob.stream(range),
        }
    }

    async fn delete_at(&self, key: &BlobKey) -> Result<(), BlobError> {
        let Ok(place) = self.place(key) else { return Ok(()) };
        match place.store.delete(&place.path).await.map_err(|error| store_error(key, error)) {
            Err(BlobError::NotFound(_)) => Ok(()),
            outcome => outcome,
        }
    }
}

/// One blob in its store.
struct Place {
    store: Arc<dyn ObjectStore>,
    path: ObjectPath,
    key: BlobKey,
}

/// A key is a path: parts of letters, digits, `.`, `_`, `-` that do not start with a dot. Nothing outside the store can
/// be named.
fn check_key(key: &BlobKey) -> Result<(), BlobError> {
    let good_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let key_text = key.as_str();
    if key_text.len() > KEY_BYTES_MAX || !key_text.split('/').all(good_part) {
        return Err(BlobError::NotFound(key.clone()));
    }
    Ok(())
}

pub(in crate::storage) fn store_error(key: &BlobKey, error: object_store::Error) -> BlobError {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return BlobError::NotFound(key.clone());
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return blob_error(key, io);
        }
        source = cause.source();
    }
    BlobError::Unavailable(format!("{key}: {error}"))
}

/// `None` for a file in the making, which has a name no key can have.
fn meta_of(area: &str, found: &object_store::ObjectMeta) -> Option<BlobMeta> {
    let key = BlobKey::new(match area {
        "" => found.location.to_string(),
        area => format!("{area}/{}", found.location),
    });
    check_key(&key).ok()?;
    Some(BlobMeta { key, bytes: found.size, modified: Timestamp::from_millis(found.last_modified.timestamp_millis()) })
}

#[async_trait]
impl BlobStore for Blobs {
    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<(), BlobError> {
        let place = self.place(key)?;
        place.store.put(&place.path, bytes.into()).await.map(drop).map_err(|error| store_error(key, error))
    }

    async fn adopt(&self, key: &BlobKey, file: &Path) -> Result<u64, BlobError> {
        let Some(path) = self.local_file(key)? else { return self.place(key)?.upload(file).await };
        let (key, file) = (key.clone(), file.to_owned());
        blocking(move || local::adopt(&file, &path).map_err(|error| blob_error(&key, &error))).await
    }

    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        let found = self.read_at(key, range.clone()).await;
        match self.elsewhere(key, &found) {
            Some(archived) => self.read_at(&archived, range).await,
            None => found,
        }
    }

    async fn read_all(&self, key: &BlobKey) -> Result<Bytes, BlobError> {
        let found = self.read_all_at(key).await;
        match self.elsewhere(key, &found) {
            Some(archived) => self.read_all_at(&archived).await,
            None => found,
        }
    }

    fn stream(&self, key: &BlobKey, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
        self.stream_wherever(key, |key| self.stream_at(key, range.clone()))
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        if let Some(archived) = self.archived(key) {
            self.delete_at(&archived).await?;
        }
        self.delete_at(key).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<BlobMeta, BlobError>> {
        let key = BlobKey::new(prefix);
        let checked = check_key(&key).and_then(|()| self.area(&key));
        let (area, rest) = match checked {
            Ok(found) => found,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        let (name, path) = (area.name, ObjectPath::from(rest));
        let listed = area.store.list((!rest.is_empty()).then_some(&path)).filter_map(move |entry| {
            let entry = match entry {
                Ok(found) => meta_of(name, &found).map(Ok),
                // Nothing below the prefix, or deleted while it was being listed.
                Err(object_store::Error::NotFound { .. }) => None,
                Err(error) => Some(Err(store_error(&key, error))),
            };
            std::future::ready(entry)
        });
        listed.boxed()
    }

    fn local_path(&self, key: &BlobKey) -> Option<PathBuf> {
        let path = self.local_file(key).ok().flatten()?;
        let archived = self.archived(key).filter(|_| !path.exists());
        let archived = archived.and_then(|key| self.local_file(&key).ok().flatten());
        Some(archived.filter(|path| path.exists()).unwrap_or(path))
    }

    async fn free_bytes(&self) -> Result<Option<u64>, BlobError> {
        let Some(root) = self.local.as_ref().map(|local| local.root.clone()) else { return Ok(None) };
        let asked = blocking(move || {
            let found = nix::sys::statvfs::statvfs(&root);
            found.map_err(|error| BlobError::Unavailable(error.to_string()))
        });
        let found = asked.await?;
        Ok(Some(found.blocks_available() as u64 * found.fragment_size() as u64))
    }
}

#[cfg(test)]
mod tests;
