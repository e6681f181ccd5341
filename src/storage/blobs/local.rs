//! The local side of the blob store: positioned reads, streams of large pieces, adoption by rename. Blocks, except
//! [`mod@stream`].
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::task::JoinHandle;

use super::super::files::{blob_error, create_dir_durable, sync_dir};
use super::archive::ARCHIVE;
use crate::domain::asset::BlobKey;
use crate::domain::ports::BlobError;

/// Bytes of a streamed piece. Two per stream are in memory at most: the one being sent and the one being read.
const PIECE_BYTES: u64 = 256 * 1024;

/// Where the blobs lie.
pub(super) struct LocalBlobs {
    /// Canonical, so that it and keys make paths without surprises.
    pub(super) root: PathBuf,
    /// Where originals are moved to, if anywhere.
    pub(super) archive: Option<PathBuf>,
}

impl LocalBlobs {
    /// The file of a key that was checked.
    pub(super) fn path(&self, key: &BlobKey) -> PathBuf {
        let archived = key.as_str().strip_prefix(ARCHIVE).and_then(|name| name.strip_prefix('/'));
        match self.archive.as_ref().zip(archived) {
            Some((archive, name)) => archive.join(name),
            None => self.root.join(key.as_str()),
        }
    }
}

/// Reads exactly this range; one that reaches past the end is [`io::ErrorKind::NotFound`].
fn read_range(file: &mut File, range: Range<u64>) -> io::Result<Bytes> {
    let length = range.end.saturating_sub(range.start);
    if length == 0 {
        return Ok(Bytes::new());
    }
    // The size is checked before room is made: the range may come from outside.
    if range.end > file.metadata()?.len() {
        return Err(io::ErrorKind::NotFound.into());
    }
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes.into()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Reads a range of a file.
pub(super) fn read(path: &Path, range: Range<u64>) -> io::Result<Bytes> {
    read_range(&mut File::open(path)?, range)
}

/// Reads a whole file.
pub(super) fn read_all(path: &Path) -> io::Result<Bytes> {
    std::fs::read(path).map(Bytes::from)
}

/// Moves a finished file to its place and makes it durable. Copies only across file systems.
pub(super) fn adopt(file: &Path, place: &Path) -> io::Result<u64> {
    let source = File::open(file)?;
    source.sync_all()?;
    let bytes = source.metadata()?.len();
    let parent = place.parent().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    create_dir_durable(parent)?;
    match std::fs::rename(file, place) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy_into(&source, place, parent)?;
            std::fs::remove_file(file)?;
        }
        outcome => outcome?,
    }
    sync_dir(parent)?;
    Ok(bytes)
}

/// Copies under a name that no key can have and lists do not show, then renames.
fn copy_into(source: &File, place: &Path, parent: &Path) -> io::Result<()> {
    let staged = tempfile::Builder::new().prefix(".adopting-").tempfile_in(parent)?;
    io::copy(&mut &*source, &mut staged.as_file())?;
    staged.as_file().sync_all()?;
    staged.persist(place).map(drop).map_err(|error| error.error)
}

struct Reading {
    key: BlobKey,
    file: Arc<std::sync::Mutex<File>>,
    rest: Range<u64>,
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Reading {
    /// Starts reading the next piece while the one before is being sent.
    fn read_ahead(&mut self) {
        if self.rest.is_empty() {
            return;
        }
        let piece = self.rest.start..self.rest.end.min(self.rest.start + PIECE_BYTES);
        self.rest.start = piece.end;
        let file = self.file.clone();
        self.ahead = Some(tokio::task::spawn_blocking(move || {
            let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            read_range(&mut file, piece)
        }));
    }

    async fn next(mut self) -> Option<(Result<Bytes, BlobError>, Option<Self>)> {
        let piece = self.ahead.take()?.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        match piece {
            Ok(bytes) => {
                self.read_ahead();
                Some((Ok(bytes), Some(self)))
            }
            Err(error) => Some((Err(blob_error(&self.key, &error)), None)),
        }
    }
}

async fn open(key: BlobKey, path: PathBuf, range: Range<u64>) -> Result<Reading, BlobError> {
    let opened = tokio::task::spawn_blocking(move || File::open(path)).await;
    let file = opened.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| blob_error(&key, &error))?;
    let mut reading = Reading { key, file: Arc::new(std::sync::Mutex::new(file)), rest: range, ahead: None };
    reading.read_ahead();
    Ok(reading)
}

enum Stage {
    Closed(BlobKey, PathBuf, Range<u64>),
    Open(Reading),
    Done,
}

/// Streams a range in order, in large pieces, reading one ahead.
pub(super) fn stream(key: BlobKey, path: PathBuf, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
    stream::unfold(Stage::Closed(key, path, range), |stage| async {
        let reading = match stage {
            Stage::Closed(key, path, range) => match open(key, path, range).await {
                Ok(reading) => reading,
                Err(error) => return Some((Err(error), Stage::Done)),
            },
            Stage::Open(reading) => reading,
            Stage::Done => return None,
        };
        let (piece, rest) = reading.next().await?;
        Some((piece, rest.map_or(Stage::Done, Stage::Open)))
    })
    .boxed()
}
