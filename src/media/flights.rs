//! Bytes on their way. Whoever asks for what is being fetched already is given the same bytes as they come: one fetch, however many
//! wait for it, and each is woken by the first byte.
use std::collections::HashMap;
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream};
use tokio::sync::watch;

use crate::domain::ports::BlobError;

/// Fetches under way, by what is fetched.
pub struct Flights<K, E>(Arc<Mutex<UnderWay<K, E>>>);

type UnderWay<K, E> = HashMap<K, Arc<watch::Sender<State<E>>>>;

struct State<E> {
    pieces: Vec<Bytes>,
    end: Option<Result<(), E>>,
    /// Whether somebody asked who does not only think that somebody may ask: then it goes on, even if nobody waits any more.
    is_wanted: bool,
}

/// How much somebody needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It was asked for.
    Asked,
    /// It is of use for as long as somebody waits for it.
    WhileWaitedFor,
}

/// What came of asking.
pub enum Joined<E> {
    /// It was there.
    Found(Bytes),
    /// It is under way.
    Passenger {
        /// For its bytes.
        passenger: Passenger<E>,
        /// Whether it was not under way before.
        is_first: bool,
    },
}

/// Waits for the bytes of a fetch.
pub struct Passenger<E> {
    state: watch::Receiver<State<E>>,
    next: usize,
}

/// Brings them.
pub struct Pilot<E>(Arc<watch::Sender<State<E>>>);

impl<K, E> Clone for Flights<K, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, E> Default for Flights<K, E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, E> Flights<K, E>
where
    K: Hash + Eq + Clone + Send + 'static,
    E: From<BlobError> + Clone + Send + Sync + 'static,
{
    /// Joins the fetch of something, or begins it with `fly`, unless it turns out that it is there: what a fetch has brought is to be
    /// `found` before it ends.
    pub fn join<F>(
        &self,
        (key, need): (K, Need),
        found: impl FnOnce() -> Option<Bytes>,
        fly: impl FnOnce(Pilot<E>) -> F,
    ) -> Joined<E>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let mut under_way = self.under_way();
        if let Some(sender) = under_way.get(&key) {
            let passenger = Passenger { state: sender.subscribe(), next: 0 };
            if need == Need::Asked {
                sender.send_modify(|state| state.is_wanted = true);
            }
            return Joined::Passenger { passenger, is_first: false };
        }
        if let Some(bytes) = found() {
            return Joined::Found(bytes);
        }
        let state = State { pieces: Vec::new(), end: None, is_wanted: need == Need::Asked };
        let (sender, receiver) = watch::channel(state);
        let sender = Arc::new(sender);
        under_way.insert(key.clone(), Arc::clone(&sender));
        drop(under_way);
        let flight = fly(Pilot(Arc::clone(&sender)));
        let landing = Landing { flights: self.clone(), key, sender };
        tokio::spawn(async move { landing.when(flight).await });
        Joined::Passenger { passenger: Passenger { state: receiver, next: 0 }, is_first: true }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay<K, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a fetch, however it ends.
struct Landing<K: Hash + Eq, E> {
    flights: Flights<K, E>,
    key: K,
    sender: Arc<watch::Sender<State<E>>>,
}

impl<K, E> Landing<K, E>
where
    K: Hash + Eq + Clone + Send + 'static,
    E: From<BlobError> + Clone + Send + Sync + 'static,
{
    async fn when(self, flight: impl Future<Output = Result<(), E>>) {
        let mut flight = pin!(flight);
        let end = loop {
            let is_wanted = self.sender.borrow().is_wanted;
            tokio::select! {
                end = &mut flight => break end,
                () = self.sender.closed(), if !is_wanted => {
                    let mut under_way = self.flights.under_way();
                    if self.sender.receiver_count() == 0 && !self.sender.borrow().is_wanted {
                        under_way.remove(&self.key);
                        return;
                    }
                }
            }
        };
        self.sender.send_modify(|state| {
            state.end.get_or_insert(end);
        });
    }
}

impl<K: Hash + Eq, E> Drop for Landing<K, E> {
    fn drop(&mut self) {
        let mut under_way = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one may have begun where this one was given up.
        if under_way.get(&self.key).is_some_and(|sender| Arc::ptr_eq(sender, &self.sender)) {
            under_way.remove(&self.key);
        }
    }
}

impl<E> Pilot<E> {
    /// Some more bytes.
    pub fn push(&self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.0.send_modify(|state| state.pieces.push(bytes));
        }
    }

    /// Number of bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.borrow().pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// All bytes so far.
    pub fn so_far(&self) -> Bytes {
        joined(&self.0.borrow().pieces)
    }

    /// These were all: nobody waits for what is done with them, which is done in any case.
    pub fn land(&self) {
        self.0.send_modify(|state| {
            state.is_wanted = true;
            state.end.get_or_insert(Ok(()));
        });
    }
}

fn joined(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [one] => one.clone(),
        pieces => {
            let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
            pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
            whole.freeze()
        }
    }
}

impl<E: From<BlobError> + Clone + Send + Sync + 'static> Passenger<E> {
    async fn until(&mut self, enough: impl Fn(&State<E>) -> bool) -> Result<(), E> {
        let reached = self.state.wait_for(|state| enough(state) || state.end.is_some()).await;
        reached.map(drop).map_err(|_| BlobError::Unavailable("the fetch was cut off".to_owned()).into())
    }

    /// Waits for the first byte, or for what is in its way.
    pub async fn begun(&mut self) -> Result<(), E> {
        self.until(|state| !state.pieces.is_empty()).await?;
        let state = self.state.borrow();
        match &state.end {
            Some(Err(error)) if state.pieces.is_empty() => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// All of it.
    pub async fn whole(mut self) -> Result<Bytes, E> {
        self.until(|_| false).await?;
        let state = self.state.borrow();
        match &state.end {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(joined(&state.pieces)),
        }
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, E> {
        let next = self.next;
        self.until(|state| state.pieces.len() > next).await?;
        let state = self.state.borrow();
        if let Some(piece) = state.pieces.get(next) {
            self.next += 1;
            return Ok(Some(piece.clone()));
        }
        match &state.end {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(None),
        }
    }

    /// Its pieces as they come.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, E>> + Send + 'static {
        stream::try_unfold(self, |mut passenger| async move {
            Ok(passenger.next_piece().await?.map(|piece| (piece, passenger)))
        })
    }
}

#[cfg(test)]
mod tests;
