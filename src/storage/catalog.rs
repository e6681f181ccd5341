//! The catalog: one definition of each query in SQL that SQLite and PostgreSQL both accept, run by a thin [`Executor`].
//!
//! A change is a [`Transaction`] *value*: statements with parameters and the row counts they
//! must have. Conditions (quotas, fencing, "not revoked yet") are such row counts. Where a change depends on a row's
//! content, the row is read first and the transaction holds only if its revision is still the same; if not, it is read
//! again. Events are rows of the same transaction.
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch::Sender;

use self::executor::{CommitError, Executor, Row};
use self::statement::{Statement, Transaction};
use crate::domain::cluster::Lease;
use crate::domain::ports::{Catalog, CatalogError, Freshness};

mod accounts;
mod cursor;
pub mod executor;
mod extents;
mod feed;
mod ladders;
mod leases;
mod lives;
mod logins;
mod originals;
pub mod postgres;
mod schema;
pub mod sqlite;
pub mod statement;
mod uploads;
mod videos;
mod watch;
mod work;

pub use schema::SchemaError;

/// How often a change is tried anew because its row was changed by another in between. Writers of one row are few (its
/// pipeline and its owner), so that more would mean a bug.
const EDIT_ATTEMPTS_MAX: u32 = 16;

/// All catalog ports on one database.
#[derive(Clone)]
pub struct CatalogStore {
    executor: Arc<dyn Executor>,
    /// Counts commits that wrote events.
    told: Sender<u64>,
    /// Without it nothing is changed.
    lease: Option<Lease>,
}

impl CatalogStore {
    /// The catalog on this database, whose tables are up to date.
    pub fn new(executor: Arc<dyn Executor>) -> Self {
        Self { executor, told: Sender::new(0), lease: None }
    }

    /// The same at a replica, for lists that need not be of now.
    fn replica(&self, freshness: Freshness) -> Option<Self> {
        let executor = match freshness {
            Freshness::Latest => None,
            Freshness::Recent => self.executor.replica(),
        };
        executor.map(|executor| Self { executor, ..self.clone() })
    }

    async fn rows(&self, query: Statement) -> Result<Vec<Row>, CatalogError> {
        Ok(self.executor.read(vec![query]).await?.pop().unwrap_or_default())
    }

    async fn row(&self, query: Statement) -> Result<Option<Row>, CatalogError> {
        Ok(self.rows(query).await?.into_iter().next())
    }

    async fn commit(&self, transaction: Transaction) -> Result<Vec<u64>, CommitError> {
        let tells = transaction.tells();
        let transaction = match &self.lease {
            Some(lease) => leases::fence(lease, transaction),
            None => transaction,
        };
        let rows = self.executor.commit(transaction).await.map_err(|error| match error {
            CommitError::Unmet(leases::FENCED) => CommitError::NotHeld,
            error => error,
        })?;
        if tells {
            self.told.send_modify(|commits| *commits += 1);
        }
        Ok(rows)
    }
}

/// For transactions whose expectations have no meaning of their own.
impl From<CommitError> for CatalogError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Unmet(_) => CatalogError::Stale,
            CommitError::Unique(_) => CatalogError::Conflict("id"),
            CommitError::ForeignKey => CatalogError::NotFound,
            CommitError::NotHeld => CatalogError::NotHeld,
            CommitError::Unavailable(reason) => CatalogError::Unavailable(reason),
        }
    }
}

/// What a replica said, unless the primary has to be asked instead.
fn taken<T>(listed: Result<T, CatalogError>) -> Option<Result<T, CatalogError>> {
    let is_taken = matches!(listed, Ok(_) | Err(CatalogError::InvalidCursor));
    if is_taken {
        count_list("replica");
    }
    is_taken.then_some(listed)
}

fn count_list(target: &'static str) {
    metrics::counter!("playhouse_catalog_lists_total", "target" => target).increment(1);
}

fn contended() -> CatalogError {
    CatalogError::Unavailable(format!("changed {EDIT_ATTEMPTS_MAX} times while being edited"))
}

fn to_json(value: &impl serde::Serialize) -> Result<String, CatalogError> {
    serde_json::to_string(value).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

#[async_trait]
impl Catalog for CatalogStore {
    fn fenced(&self, lease: &Lease) -> Arc<dyn Catalog> {
        Arc::new(Self { lease: Some(lease.clone()), ..self.clone() })
    }

    async fn ping(&self) -> Result<(), CatalogError> {
        self.row(Statement::new("SELECT 1 AS alive")).await.map(drop)
    }
}
