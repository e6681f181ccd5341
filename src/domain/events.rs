//! The change feed's rows: facts, written in the transaction that makes the change.
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// What happened, before it has a place in the feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    /// Past tense with its subject first, e.g. `upload.completed`, `video.playable`.
    pub kind: &'static str,
    /// The id it is about; events of one key keep their order everywhere.
    pub key: String,
    /// Details as JSON.
    pub payload: serde_json::Value,
}

impl NewEvent {
    /// An event about `key`.
    pub fn new(kind: &'static str, key: impl std::fmt::Display, payload: serde_json::Value) -> Self {
        Self { kind, key: key.to_string(), payload }
    }
}

/// One row of the change feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Place in commit order.
    pub sequence: u64,
    /// Past tense with its subject first.
    pub kind: String,
    /// The id it is about.
    pub key: String,
    /// Details.
    pub payload: serde_json::Value,
    /// When it was committed.
    pub at: Timestamp,
}
