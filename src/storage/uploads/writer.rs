//! One append: collects what arrives into pieces worth a hop to a blocking thread, and writes one piece while the next
//! arrives.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::super::files::blocking;
use super::slot::Slot;
use crate::domain::ports::{BlobError, UploadWriter};

/// Bytes collected before they are written. Twice as much per upload is in memory at most, plus what one call brings.
const PIECE_BYTES: usize = 512 * 1024;

type Drained = (u64, Result<(), BlobError>);

/// A writer on a slot. Dropping it leaves what was written, unless it was to be checked.
pub(super) struct LocalWriter {
    slot: Arc<Slot>,
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

impl LocalWriter {
    /// Starts an append. Blocks.
    pub(super) fn open(slot: Arc<Slot>, checked: bool) -> Result<Self, BlobError> {
        let (epoch, offset) = slot.begin(checked)?;
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
impl UploadWriter for LocalWriter {
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
        let (slot, epoch) = (self.slot.clone(), self.epoch);
        self.writing = Some(tokio::task::spawn_blocking(move || slot.drain(epoch)));
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
        let (slot, epoch) = (self.slot.clone(), self.epoch);
        let finished = blocking(move || slot.finish(epoch)).await;
        written.and(finished)
    }

    async fn discard(mut self: Box<Self>) -> Result<u64, BlobError> {
        self.collected.clear();
        let (slot, epoch) = (self.slot.clone(), self.epoch);
        blocking(move || slot.discard(epoch)).await
    }
}

impl Drop for LocalWriter {
    /// Never blocks an async thread: what is left is written by a step of its own, or by the next one asked for.
    fn drop(&mut self) {
        if !self.slot.leave(self.epoch) || self.checked {
            return;
        }
        self.enqueue_collected();
        let (slot, epoch) = (self.slot.clone(), self.epoch);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || slot.drain(epoch))),
            Err(_) => drop(slot.drain(epoch)),
        }
    }
}
