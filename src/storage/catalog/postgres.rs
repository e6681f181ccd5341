//! The catalog's executor on PostgreSQL: a pool of connections. Transactions are serializable; one that could not be put in order with
//! others is a value that is simply run again. Events are numbered by one transaction at a time, so that they are read in the order in
//! which they were committed.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{GenericClient, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio::sync::watch;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, IsolationLevel};

use super::executor::{CommitError, Executor, Row};
use super::schema::SchemaError;
use super::statement::{Statement, Transaction};
use crate::domain::ports::CatalogError;

mod schema;
mod session;
mod text;
mod tls;
mod value;

use session::Session;
use text::Numbered;
use tls::Tls;
use value::{row_of, to_parameters};

/// How long one waits for a connection of the pool, and for a new one.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// A peer that acknowledges nothing for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How often a transaction is run again that could not be put in order with others.
const ATTEMPTS_MAX: u32 = 12;
/// Longest pause before that, for the first time; twice as long each time.
const PAUSE: Duration = Duration::from_millis(4);
/// Texts kept numbered: above the number of different ones in the catalog.
const TEXTS_MAX: usize = 1024;
/// Whoever holds this lock numbers events, until its transaction has ended.
const LOCK_EVENTS: &str = "SELECT pg_advisory_xact_lock(7813)";

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// What was told of it makes no sense.
    #[error("the catalog's address cannot be read: {0}")]
    Address(tokio_postgres::Error),
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
}

/// A PostgreSQL database.
pub struct PostgresExecutor {
    pool: Pool,
    session: Session,
    texts: Mutex<HashMap<String, Arc<Numbered>>>,
}

impl PostgresExecutor {
    /// Connects, keeps servers out that may not be there, too, and brings the tables up to date.
    pub async fn open(options: &PostgresOptions) -> Result<Self, PostgresOpenError> {
        let PostgresOptions { address, connections, is_shared } = options;
        let unavailable = |error: &(dyn std::error::Error + 'static)| PostgresOpenError::Unavailable(in_full(error));
        let mut config: Config = address.parse().map_err(PostgresOpenError::Address)?;
        config.connect_timeout(CONNECTION_WAIT).tcp_user_timeout(SILENCE_MAX).keepalives_idle(SILENCE_MAX);
        config.application_name("playhouse");
        // What is there already is no news.
        let options = format!("{} -c client_min_messages=warning", config.get_options().unwrap_or_default());
        config.options(options.trim_start());
        if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) {
            // A socket of this machine has no name that a certificate could be for.
            config.ssl_mode(SslMode::Disable);
        }
        let tls = Tls::new().map_err(|error| unavailable(&error))?;
        let session = Session::begin(config.clone(), tls.clone(), *is_shared).await?;
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(config, tls, recycling))
            .max_size((*connections).max(1))
            .wait_timeout(Some(CONNECTION_WAIT))
            .create_timeout(Some(CONNECTION_WAIT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| unavailable(&error))?;
        let mut connection = pool.get().await.map_err(|error| unavailable(&error))?;
        schema::migrate(&mut connection).await?;
        drop(connection);
        Ok(Self { pool, session, texts: Mutex::default() })
    }

    async fn connection(&self) -> Result<Object, String> {
        self.pool.get().await.map_err(|error| in_full(&error))
    }

    fn numbered(&self, sql: &str) -> Arc<Numbered> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = texts.get(sql) {
            return Arc::clone(known);
        }
        if texts.len() >= TEXTS_MAX {
            texts.clear();
        }
        let numbered = Arc::new(Numbered::of(sql));
        texts.insert(sql.to_owned(), Arc::clone(&numbered));
        numbered
    }

    async fn rows(&self, client: &impl GenericClient, query: &Statement) -> Result<Vec<Row>, Failure> {
        let numbered = self.numbered(&query.sql);
        let prepared = client.prepare_cached(&numbered.sql).await?;
        let columns: Arc<[String]> = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
        let parameters = to_parameters(&numbered, query)?;
        let rows = client.query(&prepared, &parameters).await?;
        rows.iter().map(|row| row_of(&columns, row)).collect()
    }

    async fn try_read(&self, queries: &[Statement]) -> Result<Vec<Vec<Row>>, Failure> {
        let mut connection = self.connection().await.map_err(Failure::Other)?;
        if let [query] = queries {
            // One has a snapshot of its own.
            return Ok(vec![self.rows(&connection, query).await?]);
        }
        let snapshot = connection.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let snapshot = snapshot.start().await?;
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            answers.push(self.rows(&snapshot, query).await?);
        }
        snapshot.commit().await?;
        Ok(answers)
    }

    async fn try_commit(&self, transaction: &Transaction) -> Result<Vec<u64>, Failure> {
        let mut connection = self.connection().await.map_err(Failure::Other)?;
        let open = connection.build_transaction().isolation_level(IsolationLevel::Serializable).start();
        let open = open.await.map_err(Failure::NotBegun)?;
        let mut changed = Vec::with_capacity(transaction.statements.len());
        let mut is_numbering = false;
        for statement in &transaction.statements {
            if statement.is_event() && !std::mem::replace(&mut is_numbering, true) {
                open.batch_execute(LOCK_EVENTS).await?;
                open.batch_execute(session::TELL).await?;
            }
            let numbered = self.numbered(&statement.sql);
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

    async fn read(&self, queries: Vec<Statement>) -> Result<Vec<Vec<Row>>, CatalogError> {
        match self.try_read(&queries).await {
            // A connection of the pool may have been closed meanwhile; nothing was changed.
            Err(failure) if failure.is_of_connection() || failure.is_to_be_repeated() => self.try_read(&queries).await,
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
