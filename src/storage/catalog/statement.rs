//! Statements and transactions as values. SQL is written once, in the form SQLite and PostgreSQL both accept, with
//! parameters bound by name (`:name`); an executor runs it.
use std::borrow::Cow;

use crate::domain::account::Role;
use crate::domain::asset::BlobKey;
use crate::domain::cluster::NodeName;
use crate::domain::events::NewEvent;
use crate::domain::ids::{ChannelId, LiveId, LoginId, PlaybackId, PlaybackSessionId, UploadId, UserId, VideoId};
use crate::domain::ladder::{LadderState, Pass, UnitState};
use crate::domain::live::LiveState;
use crate::domain::time::Timestamp;
use crate::domain::upload::{UploadProtocol, UploadState};
use crate::domain::video::{OriginalState, Privacy, RenditionState, ThumbnailMoment, VideoStatus};

/// One value of a parameter or a column. Flags are integers, JSON is text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// SQL `NULL`.
    Null,
    /// A whole number; times are milliseconds.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// What a statement of a transaction must do for the transaction to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// Change exactly this many rows; the name says what was not met otherwise.
    Rows(u64, &'static str),
}

/// One SQL statement with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The text; mostly constant, so that executors can keep it prepared.
    pub sql: Cow<'static, str>,
    /// Name without colon, and value. Each parameter of the text exactly once.
    pub parameters: Vec<(Cow<'static, str>, Value)>,
    /// Looked at in transactions only.
    pub expect: Expect,
    /// Whether it waits for nothing else, where connections are few.
    pub is_urgent: bool,
}

impl Statement {
    /// A statement without parameters that may change any number of rows.
    pub fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), parameters: Vec::new(), expect: Expect::Any, is_urgent: false }
    }

    /// Binds one parameter.
    pub fn bind(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Waits for nothing else, where connections are few.
    pub fn urgent(self) -> Self {
        Self { is_urgent: true, ..self }
    }

    /// Binds each value of an `IN (…)` list made by `in_list`.
    pub fn bind_list(mut self, name: &'static str, values: impl IntoIterator<Item = String>) -> Self {
        let mut padding = Value::Null;
        let mut count = 0;
        for value in values {
            padding = Value::Text(value);
            self.parameters.push((format!("{name}{count}").into(), padding.clone()));
            count += 1;
        }
        for index in count..padded_len(count) {
            self.parameters.push((format!("{name}{index}").into(), padding.clone()));
        }
        self
    }

    /// Whether it adds an event to the change feed.
    pub(super) fn is_event(&self) -> bool {
        self.sql == INSERT_EVENT
    }

    /// What is not met when it has changed so many rows.
    pub(super) fn unmet(&self, rows: u64) -> Option<&'static str> {
        match self.expect {
            Expect::Rows(expected, otherwise) if rows != expected => Some(otherwise),
            _ => None,
        }
    }

    /// Must change exactly one row, or the transaction fails as `otherwise`.
    pub fn one_row(self, otherwise: &'static str) -> Self {
        self.rows(1, otherwise)
    }

    /// Must change exactly `count` rows, or the transaction fails as `otherwise`.
    pub fn rows(mut self, count: u64, otherwise: &'static str) -> Self {
        self.expect = Expect::Rows(count, otherwise);
        self
    }
}

/// Lengths of `IN` lists are rounded up to a power of two, so that few different texts have to be kept prepared.
fn padded_len(count: usize) -> usize {
    count.max(1).next_power_of_two()
}

/// `:name0, :name1, …` for [`Statement::bind_list`] with `count` values.
pub(super) fn in_list(name: &str, count: usize) -> String {
    let names: Vec<String> = (0..padded_len(count)).map(|index| format!(":{name}{index}")).collect();
    names.join(", ")
}

/// An ordered list of statements, applied all or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// In order.
    pub statements: Vec<Statement>,
}

const INSERT_EVENT: &str =
    "INSERT INTO events (kind, subject, payload, committed_at) VALUES (:kind, :subject, :payload, :at)";

impl Transaction {
    /// Whether it writes events.
    pub fn tells(&self) -> bool {
        self.statements.iter().any(Statement::is_event)
    }

    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a statement.
    pub fn then(mut self, statement: Statement) -> Self {
        self.statements.push(statement);
        self
    }

    /// Adds several statements.
    pub fn then_all(mut self, statements: impl IntoIterator<Item = Statement>) -> Self {
        self.statements.extend(statements);
        self
    }

    /// Adds an event to the change feed.
    pub fn event(self, event: NewEvent, at: Timestamp) -> Self {
        let statement = Statement::new(INSERT_EVENT)
            .bind("kind", event.kind)
            .bind("subject", event.key)
            .bind("payload", event.payload.to_string())
            .bind("at", at);
        self.then(statement)
    }

    /// Adds several events.
    pub fn events(self, events: Vec<NewEvent>, at: Timestamp) -> Self {
        events.into_iter().fold(self, |transaction, event| transaction.event(event, at))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Integer(value)
    }
}

impl From<u64> for Value {
    /// Sizes and counts never come near 2^63; one that did is held at the end of the range.
    fn from(value: u64) -> Self {
        Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Integer(i64::from(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Value::Text(value.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Value::Blob(value)
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Value::Integer(value.as_millis())
    }
}

impl From<&BlobKey> for Value {
    fn from(value: &BlobKey) -> Self {
        Value::Text(value.as_str().to_owned())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

macro_rules! integer_values {
    ($($kind:ty),+) => { $(impl From<$kind> for Value {
        fn from(value: $kind) -> Self { Value::Integer(i64::from(value)) }
    })+ };
}
integer_values!(u8, u16, u32);

macro_rules! text_values {
    ($($kind:ty),+) => { $(impl From<$kind> for Value {
        fn from(value: $kind) -> Self { Value::Text(value.as_str().to_owned()) }
    })+ };
}
text_values!(&NodeName, &ChannelId, &LiveId, &LoginId, &PlaybackId, &PlaybackSessionId, &UploadId, &UserId, &VideoId);
text_values!(LadderState, LiveState, Pass, UnitState);
text_values!(OriginalState, Privacy, RenditionState, Role, ThumbnailMoment, UploadProtocol, UploadState, VideoStatus);
