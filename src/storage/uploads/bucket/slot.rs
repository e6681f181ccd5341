//! One upload's way into an object store: bytes are collected into objects, one of which is on its way while the next is collected, and
//! listed in order.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use super::super::key_in;
use super::super::writer::{Drained, Slot};
use super::stored_error;
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::ids::UploadId;
use crate::domain::ports::{BlobError, BlobStore, ExtentCatalog, StoredExtents};

/// Bytes of an object, but for the last of an append. About twice as much per upload is in memory at most.
const OBJECT_BYTES: usize = 8 * 1024 * 1024;
/// Smaller ones are merged, before more is appended, when there are so many at the end of an upload, or when they come to a whole object.
const SMALL_BYTES: u64 = 5 * 1024 * 1024;
const SMALL_MAX: usize = 16;

/// One upload, its append under way and its queue.
pub(super) struct BucketSlot {
    id: UploadId,
    blobs: Arc<dyn BlobStore>,
    catalog: Arc<dyn ExtentCatalog>,
    state: tokio::sync::Mutex<State>,
    /// Pieces accepted from the writer and not yet collected. Held for moments only.
    queue: Mutex<Vec<(u64, Bytes)>>,
    /// Epoch of the writer that is alive; 0 when there is none.
    live: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Epoch of the newest writer on this server; older ones are fenced off.
    epoch: u64,
    open: Option<Open>,
}

/// An append under way.
struct Open {
    /// The catalog's number of this writer.
    writer: u64,
    /// What is listed.
    listed: Vec<Extent>,
    base: u64,
    checked: bool,
    collected: Vec<Bytes>,
    collected_bytes: usize,
    sending: Option<JoinHandle<Result<Extent, BlobError>>>,
    /// Stored and, because it is to be checked, not listed.
    unlisted: Vec<Extent>,
    objects: u64,
}

fn bytes_of(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.bytes).sum()
}

impl Open {
    fn new(stored: StoredExtents, checked: bool) -> Self {
        let base = bytes_of(&stored.extents);
        Self {
            writer: stored.writer,
            listed: stored.extents,
            base,
            checked,
            collected: Vec::new(),
            collected_bytes: 0,
            sending: None,
            unlisted: Vec::new(),
            objects: 0,
        }
    }

    /// Where the next byte of a store goes that has all that was listed.
    fn durable(&self) -> u64 {
        bytes_of(&self.listed)
    }

    /// What was collected, as one piece.
    fn take_collected(&mut self) -> Bytes {
        self.collected_bytes = 0;
        let mut pieces = std::mem::take(&mut self.collected);
        if pieces.len() == 1 {
            return pieces.swap_remove(0);
        }
        let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    }

    /// How many of the small objects at the end are to be one.
    fn mergeable(&self) -> usize {
        let small = self.listed.iter().rev().take_while(|extent| extent.bytes < SMALL_BYTES).count();
        let ending = self.listed.get(self.listed.len() - small..).unwrap_or_default();
        let is_whole = bytes_of(ending) >= OBJECT_BYTES as u64;
        if small >= SMALL_MAX || (small > 1 && is_whole) { small } else { 0 }
    }

    /// Where the next object goes.
    fn next_key(&mut self, id: &UploadId) -> BlobKey {
        self.objects += 1;
        key_in(id, &format!("{}-{}", self.writer, self.objects))
    }
}

impl BucketSlot {
    pub(super) fn new(id: UploadId, blobs: Arc<dyn BlobStore>, catalog: Arc<dyn ExtentCatalog>) -> Self {
        Self { id, blobs, catalog, state: Default::default(), queue: Mutex::default(), live: 0.into() }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Bytes)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fenced(&self) -> BlobError {
        BlobError::Unavailable(format!("{}: another writer has taken over", self.id))
    }

    /// Starts storing an object while the next one is collected.
    async fn send(&self, open: &mut Open) -> Result<(), BlobError> {
        self.settle(open).await?;
        let key = open.next_key(&self.id);
        let (bytes, blobs) = (open.take_collected(), Arc::clone(&self.blobs));
        open.sending = Some(tokio::spawn(async move {
            let extent = Extent { key, bytes: bytes.len() as u64 };
            blobs.put(&extent.key, bytes).await.map(|()| extent)
        }));
        Ok(())
    }

    /// Waits for the object on its way, and lists it.
    async fn settle(&self, open: &mut Open) -> Result<(), BlobError> {
        let Some(sending) = open.sending.take() else { return Ok(()) };
        let extent = sending.await.unwrap_or_else(|error| Err(BlobError::Unavailable(error.to_string())))?;
        if open.checked {
            open.unlisted.push(extent);
            return Ok(());
        }
        self.list(open, open.listed.len(), vec![extent]).await
    }

    async fn list(&self, open: &mut Open, from: usize, extents: Vec<Extent>) -> Result<(), BlobError> {
        let listed = self.catalog.replace_extents(&self.id, open.writer, from, &extents).await;
        listed.map_err(|error| stored_error(&self.id, error))?;
        open.listed.truncate(from);
        open.listed.extend(extents);
        Ok(())
    }

    /// Collects what the newest writer has queued, and stores what comes to whole objects.
    async fn collect(&self, state: &mut State) -> Result<(), BlobError> {
        let pieces = std::mem::take(&mut *self.queue());
        let Some(open) = &mut state.open else { return Ok(()) };
        for (_, piece) in pieces.into_iter().filter(|(epoch, _)| *epoch == state.epoch) {
            open.collected_bytes += piece.len();
            open.collected.push(piece);
            if open.collected_bytes >= OBJECT_BYTES {
                self.send(open).await?;
            }
        }
        Ok(())
    }

    /// Stores what was collected, whatever it comes to.
    async fn flush(&self, open: &mut Open) -> Result<(), BlobError> {
        self.settle(open).await?;
        if open.collected_bytes == 0 {
            return Ok(());
        }
        self.send(open).await?;
        self.settle(open).await
    }

    /// Makes one object of the small ones at the end, if they are many.
    async fn merge(&self, open: &mut Open) -> Result<(), BlobError> {
        let from = open.listed.len() - open.mergeable();
        let small = open.listed.get(from..).unwrap_or_default().to_vec();
        if small.is_empty() {
            return Ok(());
        }
        let mut whole = BytesMut::new();
        for extent in &small {
            whole.extend_from_slice(&self.blobs.read_all(&extent.key).await?);
        }
        let merged = Extent { key: open.next_key(&self.id), bytes: whole.len() as u64 };
        self.blobs.put(&merged.key, whole.freeze()).await?;
        self.list(open, from, vec![merged]).await?;
        for extent in small {
            // What stays is found by the janitor.
            let _ = self.blobs.delete(&extent.key).await;
        }
        Ok(())
    }

    /// Whatever went wrong, this writer is over: the next one begins behind what is listed.
    fn given_up(&self, state: &mut State) -> u64 {
        let durable = state.open.take().map_or(0, |open| open.durable());
        state.epoch += 1;
        self.live.store(0, Ordering::Release);
        durable
    }

    /// Ends whatever writer there is, here and on every other server.
    async fn take_over(&self, state: &mut State) -> Result<StoredExtents, BlobError> {
        if let Err(error) = self.finish_dropped(state).await {
            tracing::warn!(upload.id = %self.id, %error, "last bytes of a dropped writer not stored");
        }
        self.given_up(state);
        self.catalog.begin_extents(&self.id).await.map_err(|error| stored_error(&self.id, error))
    }

    /// A dead writer's last bytes are welcome.
    async fn finish_dropped(&self, state: &mut State) -> Result<(), BlobError> {
        self.collect(state).await?;
        match &mut state.open {
            Some(open) if !open.checked => self.flush(open).await,
            _ => Ok(()),
        }
    }

    /// The durable offset. A living writer goes on, and what it has brought so far is stored.
    pub(super) async fn offset(&self) -> Result<u64, BlobError> {
        let mut state = self.state.lock().await;
        let is_living = self.live.load(Ordering::Acquire) != 0;
        match &state.open {
            Some(open) if open.checked && is_living => return Ok(open.base),
            _ => {}
        }
        if let Err(error) = self.finish_dropped(&mut state).await {
            self.given_up(&mut state);
            if is_living {
                return Err(error);
            }
        }
        let stored = self.catalog.extents(&self.id).await.map_err(|error| stored_error(&self.id, error))?;
        Ok(bytes_of(&stored.extents))
    }

    /// Ends all writing; answers with what is listed.
    pub(super) async fn seal(&self) -> Result<Vec<Extent>, BlobError> {
        let mut state = self.state.lock().await;
        Ok(self.take_over(&mut state).await?.extents)
    }

    /// Ends all writing on this server.
    pub(super) async fn stop(&self) {
        let mut state = self.state.lock().await;
        self.queue().clear();
        self.given_up(&mut state);
    }

    fn open_as<'a>(&self, state: &'a mut State, epoch: u64) -> Result<&'a mut Open, BlobError> {
        let is_newest = state.epoch == epoch;
        state.open.as_mut().filter(|_| is_newest).ok_or_else(|| self.fenced())
    }

    /// Stores and lists all of an append.
    async fn complete(&self, state: &mut State, epoch: u64) -> Result<u64, BlobError> {
        self.collect(state).await?;
        let open = self.open_as(state, epoch)?;
        self.flush(open).await?;
        let unlisted = std::mem::take(&mut open.unlisted);
        if !unlisted.is_empty() {
            self.list(open, open.listed.len(), unlisted).await?;
        }
        Ok(open.durable())
    }
}

#[async_trait]
impl Slot for BucketSlot {
    fn enqueue(&self, epoch: u64, piece: Bytes) {
        self.queue().push((epoch, piece));
    }

    fn leave(&self, epoch: u64) -> bool {
        self.live.compare_exchange(epoch, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    async fn begin(self: Arc<Self>, checked: bool) -> Result<(u64, u64), BlobError> {
        let mut state = self.state.lock().await;
        let stored = self.take_over(&mut state).await?;
        let mut open = Open::new(stored, checked);
        self.merge(&mut open).await?;
        let base = open.base;
        state.open = Some(open);
        self.live.store(state.epoch, Ordering::Release);
        Ok((state.epoch, base))
    }

    async fn drain(self: Arc<Self>, epoch: u64) -> Drained {
        let mut state = self.state.lock().await;
        let mut outcome = self.open_as(&mut state, epoch).map(drop);
        if outcome.is_ok() {
            outcome = self.collect(&mut state).await;
        }
        // Nobody may ever come back for what a dropped writer has left.
        if outcome.is_ok() && self.live.load(Ordering::Acquire) != epoch {
            outcome = self.finish_dropped(&mut state).await;
        }
        match (&outcome, &state.open) {
            (Ok(()), Some(open)) => (open.durable() + open.collected_bytes as u64, outcome),
            _ if state.epoch == epoch => (self.given_up(&mut state), outcome),
            _ => (0, outcome),
        }
    }

    async fn finish(self: Arc<Self>, epoch: u64) -> Result<u64, BlobError> {
        let mut state = self.state.lock().await;
        self.open_as(&mut state, epoch)?;
        let completed = self.complete(&mut state, epoch).await;
        self.given_up(&mut state);
        completed
    }

    async fn discard(self: Arc<Self>, epoch: u64) -> Result<u64, BlobError> {
        let mut state = self.state.lock().await;
        let open = self.open_as(&mut state, epoch)?;
        self.queue().clear();
        (open.collected, open.collected_bytes) = (Vec::new(), 0);
        if let Some(sending) = open.sending.take() {
            // Stored or not, it is not listed.
            let _ = sending.await;
        }
        let kept = open.listed.partition_point({
            let mut end = 0;
            let base = open.base;
            move |extent| {
                end += extent.bytes;
                end <= base
            }
        });
        let base = open.base;
        let listed = self.list(open, kept, Vec::new()).await;
        self.given_up(&mut state);
        listed.map(|()| base)
    }
}
