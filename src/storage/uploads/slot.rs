//! The one way to an upload's file: every step takes the slot's lock on a blocking thread and first writes what is still
//! queued, so that steps happen in the order they were asked for, whoever was dropped in between.
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::super::files::{blob_error, blocking};
use super::file::{Appending, Paths};
use super::writer::{Drained, Slot};
use crate::domain::asset::BlobKey;
use crate::domain::ports::BlobError;

/// One upload's file, its lock and its queue.
pub(super) struct LocalSlot {
    key: BlobKey,
    paths: Paths,
    state: Mutex<State>,
    /// Pieces accepted from the writer and not yet in the file. Held for moments only.
    queue: Mutex<Vec<(u64, Bytes)>>,
    /// Epoch of the writer that is alive; 0 when there is none.
    live: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Epoch of the newest writer; older ones are fenced off.
    epoch: u64,
    open: Option<Appending>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalSlot {
    pub(super) fn new(key: BlobKey, dir: PathBuf) -> Self {
        Self { key, paths: Paths::new(dir), state: Mutex::default(), queue: Mutex::default(), live: 0.into() }
    }

    fn io(&self, error: &std::io::Error) -> BlobError {
        blob_error(&self.key, error)
    }

    /// Writes what is queued by the newest writer; pieces of older ones are dropped. Stops at the first that fails.
    fn write_queued(&self, state: &mut State) -> Result<(), BlobError> {
        let pieces = std::mem::take(&mut *lock(&self.queue));
        let Some(open) = &mut state.open else { return Ok(()) };
        for (_, piece) in pieces.iter().filter(|(epoch, _)| *epoch == state.epoch) {
            open.write(piece).map_err(|error| self.io(&error))?;
        }
        Ok(())
    }

    /// Ends whatever writer there is, and brings the file to its durable offset.
    fn take_over(&self, state: &mut State) -> Result<(std::fs::File, u64), BlobError> {
        // A dead writer's last bytes are welcome, but not needed: its client sends them again.
        if let Err(error) = self.write_queued(state) {
            tracing::warn!(blob.key = %self.key, %error, "last bytes of a dropped writer not written");
        }
        state.epoch += 1;
        state.open = None;
        self.live.store(0, Ordering::Release);
        self.paths.recover().map_err(|error| self.io(&error))
    }

    pub(super) fn create(&self) -> Result<(), BlobError> {
        let _state = lock(&self.state);
        self.paths.create().map_err(|error| self.io(&error))
    }

    /// The durable offset. A living writer goes on, and what it has stored so far is made durable; when that fails it is
    /// fenced off, because its later bytes would leave a gap.
    pub(super) fn offset(&self) -> Result<u64, BlobError> {
        let mut state = lock(&self.state);
        if self.live.load(Ordering::Acquire) == 0 || state.open.is_none() {
            return self.take_over(&mut state).map(|(_, length)| length);
        }
        let synced = self.sync_living(&mut state);
        if synced.is_err() {
            state.epoch += 1;
            state.open = None;
            self.live.store(0, Ordering::Release);
        }
        synced
    }

    fn sync_living(&self, state: &mut State) -> Result<u64, BlobError> {
        if let Some(open) = state.open.as_ref().filter(|open| open.checked) {
            return Ok(open.base);
        }
        self.write_queued(state)?;
        let Some(open) = &mut state.open else { return Err(BlobError::NotFound(self.key.clone())) };
        open.sync().map_err(|error| self.io(&error))?;
        Ok(open.synced)
    }

    fn begin_now(&self, checked: bool) -> Result<(u64, u64), BlobError> {
        let mut state = lock(&self.state);
        let (file, base) = self.take_over(&mut state)?;
        if checked {
            self.paths.set_marker(base).map_err(|error| self.io(&error))?;
        }
        state.open = Some(Appending::new(file, base, checked));
        self.live.store(state.epoch, Ordering::Release);
        Ok((state.epoch, base))
    }

    fn open_as(&self, state: &State, epoch: u64) -> Result<(), BlobError> {
        if state.epoch == epoch && state.open.is_some() {
            return Ok(());
        }
        Err(BlobError::Unavailable(format!("{}: another writer has taken over", self.key)))
    }

    fn drain_now(&self, epoch: u64) -> Drained {
        let mut state = lock(&self.state);
        let outcome = self.open_as(&state, epoch).and_then(|()| self.write_queued(&mut state));
        (state.open.as_ref().map_or(0, |open| open.written), outcome)
    }

    fn finish_now(&self, epoch: u64) -> Result<u64, BlobError> {
        let mut state = lock(&self.state);
        self.open_as(&state, epoch)?;
        let written = self.write_queued(&mut state);
        let Some(mut open) = state.open.take() else { return Err(BlobError::NotFound(self.key.clone())) };
        self.leave(epoch);
        let synced = open.sync().map_err(|error| self.io(&error));
        let durable = written.and(synced);
        if !open.checked {
            return durable.map(|()| open.written);
        }
        if let Err(error) = durable {
            open.rewind().and_then(|()| self.paths.clear_marker()).map_err(|error| self.io(&error))?;
            return Err(error);
        }
        self.paths.clear_marker().map_err(|error| self.io(&error))?;
        Ok(open.written)
    }

    fn discard_now(&self, epoch: u64) -> Result<u64, BlobError> {
        let mut state = lock(&self.state);
        self.open_as(&state, epoch)?;
        lock(&self.queue).clear();
        let Some(mut open) = state.open.take() else { return Err(BlobError::NotFound(self.key.clone())) };
        self.leave(epoch);
        open.rewind().and_then(|()| self.paths.clear_marker()).map_err(|error| self.io(&error))?;
        Ok(open.base)
    }

    /// Ends all writing; answers with the length.
    pub(super) fn seal(&self) -> Result<u64, BlobError> {
        let mut state = lock(&self.state);
        self.take_over(&mut state).map(|(_, length)| length)
    }

    pub(super) fn remove(&self) -> Result<(), BlobError> {
        let mut state = lock(&self.state);
        lock(&self.queue).clear();
        state.epoch += 1;
        state.open = None;
        self.live.store(0, Ordering::Release);
        self.paths.remove().map_err(|error| self.io(&error))
    }
}

#[async_trait]
impl Slot for LocalSlot {
    fn enqueue(&self, epoch: u64, piece: Bytes) {
        lock(&self.queue).push((epoch, piece));
    }

    fn leave(&self, epoch: u64) -> bool {
        self.live.compare_exchange(epoch, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    async fn begin(self: Arc<Self>, checked: bool) -> Result<(u64, u64), BlobError> {
        blocking(move || self.begin_now(checked)).await
    }

    async fn drain(self: Arc<Self>, epoch: u64) -> Drained {
        let drained = tokio::task::spawn_blocking(move || self.drain_now(epoch)).await;
        drained.unwrap_or_else(|error| (0, Err(BlobError::Unavailable(error.to_string()))))
    }

    async fn finish(self: Arc<Self>, epoch: u64) -> Result<u64, BlobError> {
        blocking(move || self.finish_now(epoch)).await
    }

    async fn discard(self: Arc<Self>, epoch: u64) -> Result<u64, BlobError> {
        blocking(move || self.discard_now(epoch)).await
    }
}
