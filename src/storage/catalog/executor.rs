//! What a database must do for the catalog: read in one snapshot, commit a transaction value. All that differs between
//! databases is behind this, and their DDL.
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::statement::{Statement, Transaction, Value};
use crate::domain::ports::CatalogError;
use crate::domain::time::Timestamp;

/// Why a transaction was not applied. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A statement did not change as many rows as it must; named as the statement says.
    #[error("expectation not met: {0}")]
    Unmet(&'static str),
    /// A unique constraint; the text holds the columns' or the constraint's name.
    #[error("not unique: {0}")]
    Unique(String),
    /// A row that another refers to does not exist.
    #[error("refers to a row that does not exist")]
    ForeignKey,
    /// The lease that this was to be done under is another's.
    #[error("the lease is another's")]
    NotHeld,
    /// The database did not answer, is full or refused.
    #[error("{0}")]
    Unavailable(String),
}

/// Runs statements on one database. Never blocks the thread it is polled on.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Runs queries in one snapshot; the answers are in their order.
    async fn read(&self, queries: Vec<Statement>) -> Result<Vec<Vec<Row>>, CatalogError>;
    /// Applies a transaction durably; answers with the rows changed by each statement. Readers see it from then on.
    async fn commit(&self, transaction: Transaction) -> Result<Vec<u64>, CommitError>;
    /// A copy of the database that is known to be fresh enough for lists, if there is any: it reads alone, and may fail at that
    /// at any time.
    fn replica(&self) -> Option<Arc<dyn Executor>> {
        None
    }
    /// Moves when others may have committed events; `None` where nobody else does.
    fn told(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

/// One row of an answer, read by column name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

fn unreadable(column: &str, reason: impl std::fmt::Display) -> CatalogError {
    CatalogError::Corrupt(format!("column {column}: {reason}"))
}

impl Row {
    /// A row of these columns.
    pub fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    fn value(&self, column: &str) -> Result<&Value, CatalogError> {
        let index = self.columns.iter().position(|name| name == column);
        index.and_then(|index| self.values.get(index)).ok_or_else(|| unreadable(column, "not in the answer"))
    }

    /// A whole number or `NULL`.
    pub fn optional_integer(&self, column: &str) -> Result<Option<i64>, CatalogError> {
        match self.value(column)? {
            Value::Null => Ok(None),
            Value::Integer(value) => Ok(Some(*value)),
            other => Err(unreadable(column, format_args!("expected a number, found {other:?}"))),
        }
    }

    /// A whole number.
    pub fn integer(&self, column: &str) -> Result<i64, CatalogError> {
        self.optional_integer(column)?.ok_or_else(|| unreadable(column, "is null"))
    }

    /// A number within the type asked for.
    pub fn number<N: TryFrom<i64>>(&self, column: &str) -> Result<N, CatalogError> {
        let value = self.integer(column)?;
        N::try_from(value).map_err(|_| unreadable(column, format_args!("{value} is out of range")))
    }

    /// A number within the type asked for, or `NULL`.
    pub fn optional_number<N: TryFrom<i64>>(&self, column: &str) -> Result<Option<N>, CatalogError> {
        self.optional_integer(column)?.map(|_| self.number(column)).transpose()
    }

    /// A flag.
    pub fn flag(&self, column: &str) -> Result<bool, CatalogError> {
        Ok(self.integer(column)? != 0)
    }

    /// An instant.
    pub fn time(&self, column: &str) -> Result<Timestamp, CatalogError> {
        self.integer(column).map(Timestamp::from_millis)
    }

    /// An instant or `NULL`.
    pub fn optional_time(&self, column: &str) -> Result<Option<Timestamp>, CatalogError> {
        Ok(self.optional_integer(column)?.map(Timestamp::from_millis))
    }

    /// Text or `NULL`.
    pub fn optional_text(&self, column: &str) -> Result<Option<&str>, CatalogError> {
        match self.value(column)? {
            Value::Null => Ok(None),
            Value::Text(value) => Ok(Some(value)),
            other => Err(unreadable(column, format_args!("expected text, found {other:?}"))),
        }
    }

    /// Text.
    pub fn text(&self, column: &str) -> Result<&str, CatalogError> {
        self.optional_text(column)?.ok_or_else(|| unreadable(column, "is null"))
    }

    /// Text as an owned value.
    pub fn string(&self, column: &str) -> Result<String, CatalogError> {
        self.text(column).map(str::to_owned)
    }

    /// Text as an owned value, or `NULL`.
    pub fn optional_string(&self, column: &str) -> Result<Option<String>, CatalogError> {
        Ok(self.optional_text(column)?.map(str::to_owned))
    }

    /// Bytes or `NULL`.
    pub fn optional_blob(&self, column: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        match self.value(column)? {
            Value::Null => Ok(None),
            Value::Blob(value) => Ok(Some(value.clone())),
            other => Err(unreadable(column, format_args!("expected bytes, found {other:?}"))),
        }
    }

    /// Bytes.
    pub fn blob(&self, column: &str) -> Result<Vec<u8>, CatalogError> {
        self.optional_blob(column)?.ok_or_else(|| unreadable(column, "is null"))
    }

    /// An id.
    pub fn id<I: std::str::FromStr<Err: std::fmt::Display>>(&self, column: &str) -> Result<I, CatalogError> {
        self.text(column)?.parse().map_err(|error| unreadable(column, error))
    }

    /// An id or `NULL`.
    pub fn optional_id<I: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        column: &str,
    ) -> Result<Option<I>, CatalogError> {
        self.optional_text(column)?.map(|_| self.id(column)).transpose()
    }

    /// One of a fixed set of texts.
    pub fn one_of<E>(&self, column: &str, parse: impl Fn(&str) -> Option<E>) -> Result<E, CatalogError> {
        let text = self.text(column)?;
        parse(text).ok_or_else(|| unreadable(column, format_args!("unknown value {text:?}")))
    }

    /// One of the texts that `parse` knows, or `NULL`.
    pub fn optional_one_of<E>(
        &self,
        column: &str,
        parse: impl Fn(&str) -> Option<E>,
    ) -> Result<Option<E>, CatalogError> {
        self.optional_text(column)?.map(|_| self.one_of(column, parse)).transpose()
    }

    /// A JSON value.
    pub fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, CatalogError> {
        serde_json::from_str(self.text(column)?).map_err(|error| unreadable(column, error))
    }

    /// A JSON value or `NULL`.
    pub fn optional_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, CatalogError> {
        self.optional_text(column)?.map(|_| self.json(column)).transpose()
    }
}
