//! One append: collects what arrives into pieces worth a step of their own, and writes one piece while the next arrives.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::domain::ports::{BlobError, UploadWriter};

/// Bytes collected before they are written. Twice as much per upload is in memory at most, plus what one call brings.
const PIECE_BYTES: usize = 512 * 1024;

/// The offset reached, also when it is short of what was queued.
pub(super) type Drained = (u64, Result<(), BlobError>);

/// The one way to an upload's bytes: steps that happen one after the other, in the order they were asked for, whoever was dropped
/// in between. The writer with the newest epoch alone is listened to.
#[async_trait]
pub(super) trait Slot: Send + Sync + 'static {
    /// Adds a piece of this writer to the queue. Does not block: the next step takes it.
    fn enqueue(&self, epoch: u64, piece: Bytes);
    /// The writer is gone; what it has queued is still taken by the next step. Tells whether it was alive until now.
    fn leave(&self, epoch: u64) -> bool;
    /// Starts an append and fences off the writer before it; answers with the new writer's epoch and offset.
    async fn begin(self: Arc<Self>, checked: bool) -> Result<(u64, u64), BlobError>;
    /// Takes what is queued.
    async fn drain(self: Arc<Self>, epoch: u64) -> Drained;
    /// Takes what is queued, makes everything durable and ends the append. When that fails, an append that was to be
    /// checked is taken back, another keeps what is whole.
    async fn finish(self: Arc<Self>, epoch: u64) -> Result<u64, BlobError>;
    /// Takes back all bytes of this append.
    async fn discard(self: Arc<Self>, epoch: u64) -> Result<u64, BlobError>;
}

/// A writer on a slot. Dropping it leaves what was written, unless it was to be checked.
pub(super) struct SlotWriter<S: Slot> {
    slot: Arc<S>,
    epoch: u64,
    offset: u64,
    /// Not yet given to the slot.
    collected: Vec<Bytes>,
    collected_bytes: usize,
    writing: Option<JoinHandle<Drained>>,
    /// Why bytes of this append are missing. What was to be checked can then not count.
    failure: Option<BlobError>,
    checked: bool,
}

impl<S: Slot> SlotWriter<S> {
    /// Starts an append.
    pub(super) async fn open(slot: Arc<S>, checked: bool) -> Result<Self, BlobError> {
        let (epoch, offset) = Arc::clone(&slot).begin(checked).await?;
        let collected = Vec::new();
        Ok(Self { slot, epoch, offset, collected, collected_bytes: 0, writing: None, failure: None, checked })
    }

    /// Waits for the piece that is being written. After a failure the offset is where the file ends.
    async fn written(&mut self) -> Result<(), BlobError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let drained = writing.await;
        self.writing = None;
        let (offset, outcome) = drained.unwrap_or_else(|error| (0, Err(BlobError::Unavailable(error.to_string()))));
        if let Err(error) = &outcome {
            self.collected.clear();
            self.collected_bytes = 0;
            self.offset = offset;
            self.failure = Some(error.clone());
        }
        outcome
    }

    fn enqueue_collected(&mut self) {
        self.collected.drain(..).for_each(|piece| self.slot.enqueue(self.epoch, piece));
        self.collected_bytes = 0;
    }
}

#[async_trait]
impl<S: Slot> UploadWriter for SlotWriter<S> {
    fn offset(&self) -> u64 {
        self.offset
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.offset += bytes.len() as u64;
        self.collected_bytes += bytes.len();
        self.collected.push(bytes);
        if self.collected_bytes < PIECE_BYTES {
            return Ok(());
        }
        self.written().await?;
        self.enqueue_collected();
        self.writing = Some(tokio::spawn(self.slot.clone().drain(self.epoch)));
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, BlobError> {
        let written = self.written().await;
        if self.checked
            && let Some(failure) = self.failure.clone()
        {
            self.discard().await?;
            return Err(failure);
        }
        self.enqueue_collected();
        let finished = self.slot.clone().finish(self.epoch).await;
        written.and(finished)
    }

    async fn discard(mut self: Box<Self>) -> Result<u64, BlobError> {
        self.collected.clear();
        self.slot.clone().discard(self.epoch).await
    }
}

impl<S: Slot> Drop for SlotWriter<S> {
    /// Never blocks: what is left is written by a step of its own, or by the next one asked for.
    fn drop(&mut self) {
        if !self.slot.leave(self.epoch) || self.checked {
            return;
        }
        self.enqueue_collected();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.slot.clone().drain(self.epoch));
        }
    }
}
