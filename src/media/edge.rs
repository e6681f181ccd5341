//! Blobs as an edge has them: what was read once is kept on this node's disk, what is not there is asked of the node that reads it
//! for all (its *shield*) before it is asked of the store, and what is under way is not fetched twice.
//!
//! Blobs never change under their keys, so nothing here is ever out of date: who may have it is decided where it is asked for.
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::flights::{Flights, Joined, Need, Passenger, Pilot};
use crate::domain::asset::BlobKey;
use crate::domain::ports::{BlobError, BlobMeta, BlobStore, RangeCache, RangeKey, Shield};

/// A blob store whose reads stay near. Everything else goes to the store itself.
#[derive(Clone)]
pub struct EdgeBlobs(Arc<Edge>);

struct Edge {
    store: Arc<dyn BlobStore>,
    kept: Option<Arc<dyn RangeCache>>,
    shield: OnceLock<Arc<dyn Shield>>,
    flights: Flights<RangeKey, BlobError>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// This node.
    Own,
    /// A node whose shield this one is.
    Peer,
}

impl EdgeBlobs {
    /// Before this store, with what is `kept` of it.
    pub fn new(store: Arc<dyn BlobStore>, kept: Option<Arc<dyn RangeCache>>) -> Self {
        Self(Arc::new(Edge { store, kept, shield: OnceLock::new(), flights: Flights::default() }))
    }

    /// From now on this is asked before the store is.
    pub fn connect(&self, shield: Arc<dyn Shield>) {
        // A second time is a mistake that changes nothing.
        let _ = self.0.shield.set(shield);
    }

    /// For a node whose shield this one is.
    pub fn for_peer(&self, key: RangeKey) -> BoxStream<'static, Result<Bytes, BlobError>> {
        self.join(key, Asker::Peer).into_stream().boxed()
    }

    /// Nothing of what belongs to this video is wanted any more.
    pub async fn forget(&self, owner: &str) {
        if let Some(kept) = &self.0.kept {
            kept.forget(owner).await;
        }
    }

    fn join(&self, key: RangeKey, asker: Asker) -> Passenger<BlobError> {
        let (edge, wanted) = (Arc::clone(&self.0), key.clone());
        let fly = |pilot| async move { edge.fetch(wanted, asker, &pilot).await };
        // Who asks here says for how long it is wanted by waiting.
        match self.0.flights.join((key, Need::WhileWaitedFor), || None, fly) {
            Joined::Passenger { passenger, .. } => passenger,
            Joined::Found(_) => unreachable!("nothing is looked for"),
        }
    }
}

impl Edge {
    async fn fetch(&self, wanted: RangeKey, asker: Asker, pilot: &Pilot<BlobError>) -> Result<(), BlobError> {
        if let Some(kept) = &self.kept
            && let Some(bytes) = kept.get(&wanted).await
        {
            count("disk", bytes.len() as u64);
            pilot.push(bytes);
            return Ok(());
        }
        if asker == Asker::Peer || !self.ask_shield(&wanted, pilot).await {
            self.ask_store(&wanted, pilot).await?;
        }
        if let Some(kept) = &self.kept {
            pilot.land();
            kept.put(&wanted, pilot.so_far()).await;
        }
        Ok(())
    }

    /// Whether the shield has given all of it. What it has given stays in any case.
    async fn ask_shield(&self, wanted: &RangeKey, pilot: &Pilot<BlobError>) -> bool {
        let Some(shield) = self.shield.get() else { return false };
        let Some(mut given) = shield.fetch(wanted).await else { return false };
        while let Some(piece) = given.next().await {
            match piece {
                Ok(bytes) => {
                    count("shield", bytes.len() as u64);
                    pilot.push(bytes);
                }
                Err(error) => {
                    metrics::counter!("playhouse_edge_errors_total", "from" => "shield").increment(1);
                    tracing::debug!(key = %wanted.key, %error, "a shield does not give it");
                    return false;
                }
            }
        }
        true
    }

    /// The rest, from the store.
    async fn ask_store(&self, wanted: &RangeKey, pilot: &Pilot<BlobError>) -> Result<(), BlobError> {
        metrics::counter!("playhouse_edge_store_requests_total").increment(1);
        let had = pilot.bytes();
        let mut given = match wanted.range.clone() {
            Some(range) => self.store.stream(&wanted.key, range.start.saturating_add(had)..range.end),
            None => {
                let whole = self.store.read_all(&wanted.key).await;
                let rest = whole.map(|whole| whole.slice(usize::try_from(had).map_or(0, |had| had.min(whole.len()))..));
                stream::iter([rest]).boxed()
            }
        };
        while let Some(piece) = given.next().await {
            let bytes = piece.inspect_err(|_| {
                metrics::counter!("playhouse_edge_errors_total", "from" => "store").increment(1);
            })?;
            count("store", bytes.len() as u64);
            pilot.push(bytes);
        }
        match wanted.range.as_ref().is_some_and(|range| range.end - range.start != pilot.bytes()) {
            true => Err(BlobError::Unavailable(format!("{}: a read came back short", wanted.key))),
            false => Ok(()),
        }
    }
}

fn count(from: &'static str, bytes: u64) {
    metrics::counter!("playhouse_edge_fill_bytes_total", "from" => from).increment(bytes);
}

#[async_trait]
impl BlobStore for EdgeBlobs {
    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<(), BlobError> {
        self.0.store.put(key, bytes).await
    }

    async fn adopt(&self, key: &BlobKey, file: &Path) -> Result<u64, BlobError> {
        self.0.store.adopt(key, file).await
    }

    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        self.join(RangeKey { key: key.clone(), range: Some(range) }, Asker::Own).whole().await
    }

    async fn read_all(&self, key: &BlobKey) -> Result<Bytes, BlobError> {
        self.join(RangeKey { key: key.clone(), range: None }, Asker::Own).whole().await
    }

    fn stream(&self, key: &BlobKey, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
        self.join(RangeKey { key: key.clone(), range: Some(range) }, Asker::Own).into_stream().boxed()
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.0.store.delete(key).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<BlobMeta, BlobError>> {
        self.0.store.list(prefix)
    }

    fn local_path(&self, key: &BlobKey) -> Option<PathBuf> {
        self.0.store.local_path(key)
    }

    fn is_near(&self, wanted: &RangeKey) -> bool {
        self.0.kept.as_ref().is_some_and(|kept| kept.holds(wanted))
    }

    async fn free_bytes(&self) -> Result<Option<u64>, BlobError> {
        self.0.store.free_bytes().await
    }
}

#[cfg(test)]
mod tests;
