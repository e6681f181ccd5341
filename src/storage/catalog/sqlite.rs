//! The catalog's executor on SQLite: one writer thread that commits queued transactions in groups, and a pool of reading
//! connections. WAL with `synchronous=FULL`: a commit that was answered survives power loss.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::executor::{CommitError, Executor, Row};
use super::schema::{self, SchemaError};
use super::statement::{Statement, Transaction, Value};
use crate::domain::ports::CatalogError;

mod writer;

/// Transactions waiting for the writer. A full queue makes callers wait: it holds a few group commits' worth, more would
/// only add delay.
const WRITER_QUEUE_MAX: usize = 256;
/// Prepared statements kept per connection: above the number of different texts in the catalog.
const PREPARED_MAX: usize = 192;
/// How long a connection waits for a lock, e.g. while an administrator's tool reads the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SqliteOpenError {
    /// SQLite refused.
    #[error("{path}: {source}", path = path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The tables do not fit this program.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The writer's thread could not be started.
    #[error("cannot start the catalog's writer: {0}")]
    Thread(std::io::Error),
}

/// A SQLite database file. Dropping it waits until all queued transactions are committed and the file is closed.
pub struct SqliteExecutor {
    readers: Arc<Readers>,
    writer: Option<mpsc::Sender<writer::Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl SqliteExecutor {
    /// Opens or creates the file, brings its tables up to date, and starts the writer. Blocks.
    pub fn open(path: &Path, readers: usize) -> Result<Self, SqliteOpenError> {
        Self::open_by(path, readers, system_millis)
    }

    /// The same, with the database's clock: milliseconds.
    pub(crate) fn open_by(
        path: &Path,
        readers: usize,
        clock: impl Fn() -> i64 + Clone + Send + std::panic::UnwindSafe + 'static,
    ) -> Result<Self, SqliteOpenError> {
        let failed = |source| SqliteOpenError::Sqlite { path: path.to_owned(), source };
        let mut write_connection = connect(path, clock.clone()).map_err(failed)?;
        schema::migrate(&mut write_connection)?;
        let idle: Result<Vec<_>, _> = (0..readers.max(1)).map(|_| connect_reader(path, clock.clone())).collect();
        let idle = idle.map_err(failed)?;
        let permits = Arc::new(Semaphore::new(idle.len()));
        let (writer, jobs) = mpsc::channel(WRITER_QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("catalog-writer".into())
            .spawn(move || writer::run(write_connection, jobs))
            .map_err(SqliteOpenError::Thread)?;
        let readers = Arc::new(Readers { idle: Mutex::new(idle), permits });
        Ok(Self { readers, writer: Some(writer), thread: Some(thread) })
    }
}

impl Drop for SqliteExecutor {
    fn drop(&mut self) {
        self.writer = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("catalog writer panicked");
        }
    }
}

fn system_millis() -> i64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(passed.as_millis()).unwrap_or(i64::MAX)
}

fn connect(
    path: &Path,
    clock: impl Fn() -> i64 + Send + std::panic::UnwindSafe + 'static,
) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(PREPARED_MAX);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.create_scalar_function("now_ms", 0, FunctionFlags::SQLITE_UTF8, move |_| Ok(clock()))?;
    Ok(connection)
}

fn connect_reader(
    path: &Path,
    clock: impl Fn() -> i64 + Send + std::panic::UnwindSafe + 'static,
) -> rusqlite::Result<Connection> {
    let connection = connect(path, clock)?;
    connection.pragma_update(None, "query_only", "ON")?;
    Ok(connection)
}

impl Readers {
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, queries: &[Statement]) -> Result<Vec<Vec<Row>>, CatalogError> {
        let Some(mut connection) = self.idle().pop() else {
            return Err(CatalogError::Unavailable("a reader was lost".into()));
        };
        let answer = read(&mut connection, queries);
        self.idle().push(connection);
        answer.map_err(|error| CatalogError::Unavailable(error.to_string()))
    }
}

#[async_trait]
impl Executor for SqliteExecutor {
    async fn read(&self, queries: Vec<Statement>) -> Result<Vec<Vec<Row>>, CatalogError> {
        let unavailable = |error: &dyn std::fmt::Display| CatalogError::Unavailable(error.to_string());
        let permit = self.readers.permits.clone().acquire_owned().await.map_err(|error| unavailable(&error))?;
        let readers = self.readers.clone();
        let work = tokio::task::spawn_blocking(move || {
            let answer = readers.run(&queries);
            drop(permit);
            answer
        });
        work.await.map_err(|error| unavailable(&error))?
    }

    async fn commit(&self, transaction: Transaction) -> Result<Vec<u64>, CommitError> {
        let gone = || CommitError::Unavailable("the catalog's writer has stopped".into());
        let (reply, answer) = oneshot::channel();
        let writer = self.writer.as_ref().ok_or_else(gone)?;
        writer.send(writer::Job { transaction, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn read(connection: &mut Connection, queries: &[Statement]) -> rusqlite::Result<Vec<Vec<Row>>> {
    let snapshot = connection.transaction()?;
    let answers = queries.iter().map(|query| rows(&snapshot, query)).collect();
    snapshot.finish()?;
    answers
}

fn rows(connection: &Connection, query: &Statement) -> rusqlite::Result<Vec<Row>> {
    let mut prepared = connection.prepare_cached(&query.sql)?;
    bind(&mut prepared, query)?;
    let columns: Arc<[String]> = prepared.column_names().map(str::to_owned).collect();
    let mut answer = prepared.raw_query();
    let mut rows = Vec::new();
    while let Some(row) = answer.next()? {
        let values: Result<Vec<Value>, _> = (0..columns.len()).map(|index| row.get_ref(index).map(value_of)).collect();
        rows.push(Row::new(columns.clone(), values?));
    }
    Ok(rows)
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        // The catalog has no fractional columns; a value an administrator put there is shown as text and refused above.
        ValueRef::Real(number) => Value::Text(number.to_string()),
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// Binds every parameter by name; one that is missing or left over is an error, not a silent `NULL`.
fn bind(prepared: &mut rusqlite::Statement<'_>, statement: &Statement) -> rusqlite::Result<()> {
    if prepared.parameter_count() != statement.parameters.len() {
        return Err(rusqlite::Error::InvalidParameterCount(statement.parameters.len(), prepared.parameter_count()));
    }
    for (name, value) in &statement.parameters {
        let name = format!(":{name}");
        let index = prepared.parameter_index(&name)?.ok_or(rusqlite::Error::InvalidParameterName(name))?;
        match value {
            Value::Null => prepared.raw_bind_parameter(index, rusqlite::types::Null)?,
            Value::Integer(number) => prepared.raw_bind_parameter(index, number)?,
            Value::Text(text) => prepared.raw_bind_parameter(index, text)?,
            Value::Blob(bytes) => prepared.raw_bind_parameter(index, bytes)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
