//! The catalog's executor on PostgreSQL: a pool of connections. Transactions are serializable; one that could not be put in order with
//! others is a value that is simply run again. Events are numbered by one transaction at a time, so that they are read in the order in
//! which they were committed.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_postgres::IsolationLevel;
use tokio_postgres::error::SqlState;

use super::executor::{CommitError, Executor, Row};
use super::schema::SchemaError;
use super::statement::{Statement, Transaction};
use crate::domain::ports::CatalogError;

mod connections;
mod replicas;
mod schema;
mod session;
mod text;
mod tls;
mod value;

use connections::{Connections, config_of};
use replicas::Replicas;
pub use replicas::{Examined, ReplicaOptions, examine};
use session::Session;
use text::Numbered;
use tls::Tls;
use value::{row_of, to_parameters};

/// How often a transaction is run again that could not be put in order with others.
const ATTEMPTS_MAX: u32 = 12;
/// Longest pause before that, for the first time; twice as long each time.
const PAUSE: Duration = Duration::from_millis(4);
/// Whoever holds this lock numbers events, until its transaction has ended.
const LOCK_EVENTS: &str = "SELECT pg_advisory_xact_lock(7813)";

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// What was told of it makes no sense.
    #[error("the catalog's address cannot be read: {0}")]
    Address(tokio_postgres::Error),
    /// What was told of a replica makes no sense.
    #[error("catalog.postgres_replicas: the address with number {number} {reason}")]
    Replica {
        /// Which one, from 1 on.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It does not answer, or refuses.
    #[error("the catalog does not answer: {0}")]
    Unavailable(String),
    /// Another server uses it.
    #[error("another server uses this catalog: one can at a time, or the nodes of one cluster")]
    InUse,
    /// The tables do not fit this program.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// How the catalog is kept in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Where it is.
    pub address: String,
    /// Connections at most.
    pub connections: usize,
    /// Whether other servers use it, too: nodes of one cluster.
    pub is_shared: bool,
    /// Those that follow it.
    pub replicas: ReplicaOptions,
}

/// A PostgreSQL database.
pub struct PostgresExecutor {
    connections: Connections,
    /// One more, for what is urgent: a node that waits for a connection while others have them all would look dead.
    urgent: Connections,
    session: Session,
    replicas: Replicas,
}

impl PostgresExecutor {
    /// Connects, keeps servers out that may not be there, too, and brings the tables up to date. Replicas may come later.
    pub async fn open(options: &PostgresOptions) -> Result<Self, PostgresOpenError> {
        let PostgresOptions { address, connections, is_shared, replicas } = options;
        let unavailable = |error: &(dyn std::error::Error + 'static)| PostgresOpenError::Unavailable(in_full(error));
        let config = config_of(address).map_err(PostgresOpenError::Address)?;
        let tls = Tls::new().map_err(|error| unavailable(&error))?;
        let session = Session::begin(config.clone(), tls.clone(), *is_shared).await?;
        let connections = Connections::new((config.clone(), tls.clone()), *connections);
        let connections = connections.map_err(PostgresOpenError::Unavailable)?;
        let urgent = Connections::new((config.clone(), tls.clone()), 1).map_err(PostgresOpenError::Unavailable)?;
        let mut connection = connections.get().await.map_err(PostgresOpenError::Unavailable)?;
        schema::migrate(&mut connection).await?;
        drop(connection);
        let replicas = Replicas::watch(replicas, (config, tls), options.connections)?;
        Ok(Self { connections, urgent, session, replicas })
    }

    fn connections_for(&self, statements: &[Statement]) -> &Connections {
        if statements.iter().any(|statement| statement.is_urgent) { &self.urgent } else { &self.connections }
    }

    async fn try_commit(&self, transaction: &Transaction) -> Result<Vec<u64>, Failure> {
        let connections = self.connections_for(&transaction.statements);
        let mut connection = connections.get().await.map_err(Failure::Other)?;
        let open = connection.build_transaction().isolation_level(IsolationLevel::Serializable).start();
        let open = open.await.map_err(Failure::NotBegun)?;
        let mut changed = Vec::with_capacity(transaction.statements.len());
        let mut is_numbering = false;
        for statement in &transaction.statements {
            if statement.is_event() && !std::mem::replace(&mut is_numbering, true) {
                open.batch_execute(LOCK_EVENTS).await?;
                open.batch_execute(session::TELL).await?;
            }
            let numbered = connections.numbered(&statement.sql);
            let prepared = open.prepare_cached(&numbered.sql).await?;
            let rows = open.execute(&prepared, &to_parameters(&numbered, statement)?).await?;
            if let Some(unmet) = statement.unmet(rows) {
                return Err(Failure::Unmet(unmet));
            }
            changed.push(rows);
        }
        open.commit().await?;
        Ok(changed)
    }
}

/// Why something was not done.
enum Failure {
    Database(tokio_postgres::Error),
    /// Nothing was done.
    NotBegun(tokio_postgres::Error),
    Unmet(&'static str),
    Other(String),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl Failure {
    /// Whether nothing was done, and the same may do when it is run again.
    fn is_to_be_repeated(&self) -> bool {
        let error = match self {
            Self::Database(error) => error,
            Self::NotBegun(error) => return error.is_closed(),
            Self::Unmet(_) | Self::Other(_) => return false,
        };
        matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
    }

    /// Whether the connection broke, of which another one knows nothing.
    fn is_of_connection(&self) -> bool {
        let Self::Database(error) = self else { return false };
        let shuts_down = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
        error.is_closed() || error.code().is_some_and(|code| shuts_down.contains(code))
    }
}

impl From<Failure> for CommitError {
    fn from(failure: Failure) -> Self {
        let error = match failure {
            Failure::Unmet(what) => return Self::Unmet(what),
            Failure::Other(reason) => return Self::Unavailable(reason),
            Failure::Database(error) | Failure::NotBegun(error) => error,
        };
        let constraint = || error.as_db_error().and_then(|told| told.constraint()).unwrap_or_default().to_owned();
        match error.code() {
            Some(&SqlState::UNIQUE_VIOLATION) => Self::Unique(constraint()),
            Some(&SqlState::FOREIGN_KEY_VIOLATION) => Self::ForeignKey,
            _ => Self::Unavailable(in_full(&error)),
        }
    }
}

impl From<Failure> for CatalogError {
    fn from(failure: Failure) -> Self {
        CommitError::from(failure).into()
    }
}

/// An error with what caused it: what the database says lies within.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string);
    causes.fold(error.to_string(), |told, cause| if told.contains(&cause) { told } else { format!("{told}: {cause}") })
}

#[async_trait]
impl Executor for PostgresExecutor {
    fn told(&self) -> Option<watch::Receiver<u64>> {
        Some(self.session.told())
    }

    fn replica(&self) -> Option<Arc<dyn Executor>> {
        self.replicas.pick().map(|replica| replica as Arc<dyn Executor>)
    }

    async fn read(&self, queries: Vec<Statement>) -> Result<Vec<Vec<Row>>, CatalogError> {
        let connections = self.connections_for(&queries);
        match connections.read(&queries).await {
            // A connection of the pool may have been closed meanwhile; nothing was changed.
            Err(failure) if failure.is_of_connection() || failure.is_to_be_repeated() => {
                connections.read(&queries).await
            }
            outcome => outcome,
        }
        .map_err(CatalogError::from)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Vec<u64>, CommitError> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            match self.try_commit(&transaction).await {
                Err(failure) if failure.is_to_be_repeated() => {}
                outcome => return outcome.map_err(CommitError::from),
            }
            // Those that collided are not to do so again at the same time.
            tokio::time::sleep(pause.mul_f64(rand::random())).await;
            pause *= 2;
        }
        self.try_commit(&transaction).await.map_err(CommitError::from)
    }
}

#[cfg(test)]
mod tests;
