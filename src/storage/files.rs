//! Durable changes to local files and directories, and what their errors mean to callers. Everything here blocks.
use std::fs::File;
use std::io;
use std::path::Path;

use crate::domain::asset::BlobKey;
use crate::domain::ports::BlobError;

/// How often an emptied parent may be removed just before its new child is made.
const RACES_MAX: usize = 8;

/// Makes a directory's entries durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a directory with its parents, durably. Survives another thread removing an emptied parent in between.
pub(super) fn create_dir_durable(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    for _ in 0..RACES_MAX {
        create_dir_durable(parent)?;
        match std::fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => return sync_dir(parent),
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound))
}

/// Removes a file; an absent one is fine. Tells whether there was one.
pub(super) fn remove_file(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What an I/O error on this blob means to the caller.
pub(super) fn blob_error(key: &BlobKey, error: &io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::NotFound => BlobError::NotFound(key.clone()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full,
        _ => BlobError::Unavailable(format!("{key}: {error}")),
    }
}

/// Runs blocking work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(BlobError::Unavailable(error.to_string())))
}
