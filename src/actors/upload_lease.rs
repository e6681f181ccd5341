//! The right to append to one upload. Its holder streams bytes to the store by itself and then says how it ended; when it
//! is dropped without a word, the session measures what is durable.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use ractor::ActorRef;
use tokio_util::sync::CancellationToken;

use super::reply::Post;
use super::upload_session::{SessionAnswer, UploadMessage};
use super::uploads::Uploads;
use crate::domain::ports::{Clock, UploadWriter};
use crate::domain::time::Timestamp;
use crate::domain::upload::Upload;
use crate::domain::upload::error::UploadError;
use crate::domain::upload::machine::{AfterAppend, AppendEnd, Grant, UploadStatus};

/// How far a writer is, shared with the session so that it can tell a live one from a dead one.
pub(super) struct WriterProgress {
    clock: Arc<dyn Clock>,
    bytes: AtomicU64,
    last_byte_millis: AtomicI64,
}

impl WriterProgress {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let now = clock.now().as_millis();
        Self { clock, bytes: AtomicU64::new(0), last_byte_millis: AtomicI64::new(now) }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn last_byte_at(&self) -> Timestamp {
        Timestamp::from_millis(self.last_byte_millis.load(Ordering::Relaxed))
    }

    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_byte_millis.store(self.clock.now().as_millis(), Ordering::Relaxed);
    }
}

/// The right to append to one upload.
pub struct WriterLease {
    grant: Grant,
    upload: Arc<Upload>,
    context: Arc<Uploads>,
    progress: Arc<WriterProgress>,
    cancel: CancellationToken,
    session: Post<UploadMessage>,
    is_reported: bool,
}

impl WriterLease {
    pub(super) fn new(
        grant: Grant,
        upload: Arc<Upload>,
        context: Arc<Uploads>,
        (progress, cancel, session): (Arc<WriterProgress>, CancellationToken, ActorRef<UploadMessage>),
    ) -> Self {
        metrics::gauge!("playhouse_upload_writers").increment(1.0);
        Self { grant, upload, context, progress, cancel, session: Post::to(session), is_reported: false }
    }

    /// Where to write and how much.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// The upload's record.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Resolves when the writer must stop: keep what came, make it durable, report.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Tells that bytes came from the client.
    pub fn note_bytes(&self, bytes: u64) {
        self.progress.add(bytes);
    }

    /// Bytes that came from the client so far.
    pub fn bytes_seen(&self) -> u64 {
        self.progress.bytes()
    }

    /// Whether the disk has room for `bytes` more without touching the reserve.
    pub async fn has_room_for(&self, bytes: u64) -> Result<bool, UploadError> {
        self.context.has_room_for(bytes).await
    }

    /// Opens the store for writing at the granted offset.
    pub async fn open(&self) -> Result<Box<dyn UploadWriter>, UploadError> {
        let writer = self.context.store.append(&self.upload.id, self.grant.checked).await?;
        let (expected, provided) = (writer.offset(), self.grant.offset);
        if expected != provided {
            return Err(UploadError::OffsetMismatch { expected, provided });
        }
        Ok(writer)
    }

    /// Reports the end of the append: everything before `offset` is durable.
    pub async fn end(mut self, offset: u64, then: AfterAppend) -> Result<UploadStatus, UploadError> {
        self.is_reported = true;
        let (generation, end) = (self.grant.generation, AppendEnd { offset, then });
        let answer = self.session.ask(|reply| UploadMessage::AppendEnded { generation, end, reply }).await?;
        match answer {
            SessionAnswer::Status(status) => Ok(status),
            SessionAnswer::Granted(_) => Err(UploadError::Locked),
        }
    }
}

impl Drop for WriterLease {
    fn drop(&mut self) {
        metrics::gauge!("playhouse_upload_writers").decrement(1.0);
        if !self.is_reported {
            let _ = self.session.tell(UploadMessage::WriterLost { generation: self.grant.generation });
        }
    }
}
