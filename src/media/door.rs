//! A door at which worker processes ask this node for blobs that are not on its disk: a Unix socket, and on it one question after the
//! other. What is read in order is one request to the store.
//!
//! A question is the range's first byte, the end of what may be wanted later, its length and the key; an answer is whether there is
//! one, a length, and so many bytes of the blob or of the reason.
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use crate::domain::asset::BlobKey;
use crate::domain::ports::{BlobError, BlobStore};

/// Longest range of one answer.
pub(super) const RANGE_BYTES_MAX: u32 = 1 << 20;
/// Longest key.
const KEY_BYTES_MAX: u16 = 512;
/// Longest wait of a worker for an answer: the store repeats what fails meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause after the listener has failed, e.g. for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const FOUND: u8 = 0;
const NOT_FOUND: u8 = 1;
const FAILED: u8 = 2;

/// The open door; shut when dropped.
pub struct BlobDoor {
    dir: tempfile::TempDir,
    _task: AbortOnDropHandle<()>,
}

impl BlobDoor {
    /// Opens a door to these blobs, for processes of this user.
    pub fn open(blobs: Arc<dyn BlobStore>) -> io::Result<Self> {
        // Names of sockets are short, those of data directories may not be. Nobody else may look into it.
        let dir = tempfile::Builder::new().prefix("playhouse-").tempdir()?;
        let listener = UnixListener::bind(Self::path_in(dir.path()))?;
        let task = tokio::spawn(async move {
            let mut visits = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => drop(visits.spawn(visit(stream, Arc::clone(&blobs)))),
                        Err(error) => {
                            tracing::warn!(%error, "the door to the blobs is stuck");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    },
                    Some(_) = visits.join_next() => {}
                }
            }
        });
        Ok(Self { dir, _task: AbortOnDropHandle::new(task) })
    }

    fn path_in(dir: &Path) -> PathBuf {
        dir.join("blobs")
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        Self::path_in(self.dir.path())
    }
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    first: u64,
    until: u64,
    length: u32,
    key: BlobKey,
}

/// A blob that is being read in order.
struct Reading {
    key: BlobKey,
    position: u64,
    stream: BoxStream<'static, Result<Bytes, BlobError>>,
    rest: Bytes,
}

async fn visit(mut stream: UnixStream, blobs: Arc<dyn BlobStore>) {
    let mut reading = None;
    // A worker that is gone, or talks nonsense, is not answered any more.
    while let Ok(question) = read_question(&mut stream).await {
        let answer = answer(&question, &mut reading, &*blobs).await;
        let (status, body) = match answer {
            Ok(bytes) => (FOUND, bytes),
            Err(error @ BlobError::NotFound(_)) => (NOT_FOUND, error.to_string().into()),
            Err(error) => (FAILED, error.to_string().into()),
        };
        let mut head = vec![status];
        head.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
        if stream.write_all(&head).await.is_err() || stream.write_all(&body).await.is_err() {
            return;
        }
    }
}

async fn read_question(stream: &mut UnixStream) -> io::Result<Question> {
    let (first, until, length) = (stream.read_u64().await?, stream.read_u64().await?, stream.read_u32().await?);
    let key_bytes = stream.read_u16().await?;
    if key_bytes > KEY_BYTES_MAX || length > RANGE_BYTES_MAX || first.saturating_add(length.into()) > until {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut key = vec![0; key_bytes.into()];
    stream.read_exact(&mut key).await?;
    let key = String::from_utf8(key).map_err(io::Error::other)?;
    Ok(Question { first, until, length, key: BlobKey::new(key) })
}

/// Answers from what is being read, or from a new reading; one that breaks off is begun again once.
async fn answer(question: &Question, reading: &mut Option<Reading>, blobs: &dyn BlobStore) -> Result<Bytes, BlobError> {
    let goes_on = |reading: &Reading| reading.key == question.key && reading.position == question.first;
    let known = reading.take().filter(goes_on);
    let is_new = known.is_none();
    let mut current = known.unwrap_or_else(|| begin(question, blobs));
    let mut taken = current.take(question.length).await;
    if matches!(taken, Err(BlobError::Unavailable(_))) && !is_new {
        current = begin(question, blobs);
        taken = current.take(question.length).await;
    }
    let bytes = taken?;
    *reading = Some(current);
    Ok(bytes)
}

fn begin(question: &Question, blobs: &dyn BlobStore) -> Reading {
    let stream = blobs.stream(&question.key, question.first..question.until);
    Reading { key: question.key.clone(), position: question.first, stream, rest: Bytes::new() }
}

impl Reading {
    async fn take(&mut self, length: u32) -> Result<Bytes, BlobError> {
        let length = length as usize;
        let mut taken = Vec::with_capacity(length);
        while taken.len() < length {
            if self.rest.is_empty() {
                let piece = self.stream.next().await;
                self.rest = piece.ok_or_else(|| BlobError::Unavailable(format!("{}: ends early", self.key)))??;
            }
            let now = self.rest.split_to(self.rest.len().min(length - taken.len()));
            taken.extend_from_slice(&now);
        }
        self.position += length as u64;
        Ok(taken.into())
    }
}

/// A worker's way through a door; blocks.
#[derive(Debug)]
pub(super) struct DoorClient(BlockingStream);

impl DoorClient {
    /// Goes to a door.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let stream = BlockingStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self(stream))
    }

    /// A range of a blob of which nothing after `until` will be wanted.
    pub(super) fn read(&mut self, key: &BlobKey, first: u64, length: u32, until: u64) -> io::Result<Bytes> {
        let mut question = [&first.to_be_bytes()[..], &until.to_be_bytes(), &length.to_be_bytes()].concat();
        let key_bytes = u16::try_from(key.as_str().len()).map_err(io::Error::other)?;
        question.extend_from_slice(&key_bytes.to_be_bytes());
        question.extend_from_slice(key.as_str().as_bytes());
        self.0.write_all(&question)?;
        let mut head = [0; 5];
        self.0.read_exact(&mut head)?;
        let mut head = &head[..];
        let (status, length) = (head.get_u8(), head.get_u32());
        let mut body = vec![0; length.min(RANGE_BYTES_MAX) as usize];
        self.0.read_exact(&mut body)?;
        let reason = |kind| io::Error::new(kind, String::from_utf8_lossy(&body).into_owned());
        match status {
            FOUND => Ok(body.into()),
            NOT_FOUND => Err(reason(io::ErrorKind::NotFound)),
            _ => Err(reason(io::ErrorKind::Other)),
        }
    }
}
