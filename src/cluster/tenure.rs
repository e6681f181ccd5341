//! A node's row in the catalog: as long as it is renewed, the node has what its leases say. Whether another node's row has run out is
//! for the database's clock to say, and only once this node has seen the database work for a whole term: after it was down, everybody
//! gets the time to renew.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::domain::cluster::NodeLife;
use crate::domain::ports::{Catalog, CatalogError};

/// How often the row is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(1);

/// How long the database has worked without a break.
#[derive(Debug, Clone)]
pub struct Tenure {
    term: Duration,
    works_since: Arc<Mutex<Option<Instant>>>,
    /// Whether a later life of this node has taken its place.
    is_over: watch::Receiver<bool>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl Tenure {
    /// Renews the row of this life from now on.
    pub async fn start(catalog: Arc<dyn Catalog>, life: NodeLife, term: Duration) -> Result<Self, CatalogError> {
        catalog.renew_node(&life).await?;
        let works_since = Arc::new(Mutex::new(Some(Instant::now())));
        let (over, is_over) = watch::channel(false);
        let task = tokio::spawn(renew(catalog, life, (Arc::clone(&works_since), over)));
        Ok(Self { term, works_since, is_over, _task: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// How long a node must have been silent for its leases to be free; `None` while that cannot be told.
    pub fn lapse(&self) -> Option<Duration> {
        let works_since = *self.works_since.lock().unwrap_or_else(PoisonError::into_inner);
        works_since.filter(|since| since.elapsed() >= self.term).map(|_| self.term)
    }

    /// Until a later life of this node has taken its place.
    pub async fn over(&self) {
        let mut is_over = self.is_over.clone();
        if is_over.wait_for(|is_over| *is_over).await.is_err() {
            std::future::pending().await
        }
    }
}

async fn renew(
    catalog: Arc<dyn Catalog>,
    life: NodeLife,
    (works_since, over): (Arc<Mutex<Option<Instant>>>, watch::Sender<bool>),
) {
    let mut rounds = tokio::time::interval(RENEWED_EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let renewed = tokio::time::timeout(RENEWED_EVERY * 2, catalog.renew_node(&life)).await;
        let renewed = renewed.unwrap_or_else(|_| Err(CatalogError::Unavailable("no answer".into())));
        let mut since = works_since.lock().unwrap_or_else(PoisonError::into_inner);
        match renewed {
            Ok(()) => drop(since.get_or_insert_with(Instant::now)),
            Err(CatalogError::Stale) => {
                tracing::error!(node = %life.node, "another process goes by this node's name");
                over.send_replace(true);
                return;
            }
            Err(error) => {
                if since.take().is_some() {
                    tracing::warn!(%error, "this node's row in the catalog is not renewed");
                }
            }
        }
    }
}
