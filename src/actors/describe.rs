//! What an actor says of itself: one serialisable snapshot for tests, the admin API and metrics alike.
use serde::Serialize;

use super::reply::{AskError, Reply};

/// One actor and the ones below it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// What it is, e.g. `upload_session`.
    pub kind: &'static str,
    /// Which one, when there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its own snapshot.
    pub state: serde_json::Value,
    /// Its children.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Description>,
}

impl Description {
    /// A description of one actor with nothing below it.
    pub fn leaf(kind: &'static str, key: impl std::fmt::Display, snapshot: &impl Serialize) -> Self {
        let state = serde_json::to_value(snapshot).unwrap_or_else(|error| error.to_string().into());
        Self { kind, key: Some(key.to_string()), state, children: Vec::new() }
    }
}

/// The answer to a `Describe` message.
pub type DescribeReply = Reply<Description, AskError>;
