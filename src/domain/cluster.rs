//! Several servers as one: who is who, and who alone may do what.
//!
//! A *lease* says which life of which node alone may change something; its generation counts its holders. It has no heartbeat
//! of its own: a node renews its one row, and all its leases hold as long as it does. A node that comes back under its name is a
//! new life, and what its earlier ones held is free.
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest name of a node: it is a label of a domain name, in its certificate.
const NAME_BYTES_MAX: usize = 63;

/// A node's name: lower-case letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

/// Text that is no name of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a node: up to 63 lower-case letters, digits and hyphens, none of them first or last")]
pub struct InvalidNodeName(String);

impl NodeName {
    /// The name of a server that is alone.
    pub fn alone() -> Self {
        Self("local".into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = InvalidNodeName;
    fn from_str(text: &str) -> Result<Self, InvalidNodeName> {
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && text.bytes().all(is_good)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if is_name { Ok(Self(text.to_owned())) } else { Err(InvalidNodeName(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for NodeName {
    type Error = InvalidNodeName;
    fn try_from(text: String) -> Result<Self, InvalidNodeName> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes publishers in.
    Ingest,
    /// Works on videos.
    Transcode,
    /// Delivers media.
    Edge,
    /// Answers the API, and has what is placed by a key.
    Api,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Transcode, Self::Edge, Self::Api];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Transcode => "transcode",
            Self::Edge => "edge",
            Self::Api => "api",
        }
    }
}

/// One life of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeLife {
    /// The node.
    pub node: NodeName,
    /// When its process started, milliseconds since the Unix epoch.
    pub epoch: i64,
}

/// The right to be the only one who changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub key: String,
    /// Who has it.
    pub holder: NodeLife,
    /// Counts those who had it.
    pub generation: u64,
}

/// Whether a lease was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// It is the asker's.
    Given(Lease),
    /// Somebody else has it, and lives as far as is known.
    Held(NodeLife),
}

/// A node's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// The node and which life of it.
    pub life: NodeLife,
    /// Time since it was renewed, by the database's clock.
    pub age: Duration,
    /// How many nodes it has connections with, itself among them.
    pub reaches: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for good in ["a", "node-1", "0x"] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "\u{e4}", &"a".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }
}
