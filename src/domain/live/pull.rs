//! Pulls: a server elsewhere that a live stream is fetched from, instead of being sent by a publisher.
use serde::{Deserialize, Serialize};

use super::push::SealedText;

/// Where a stream is fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Its URL, with what is secret in it.
    pub url: SealedText,
    /// The URL without what may be a secret.
    pub shown: String,
    /// Whether it is fetched now.
    pub enabled: bool,
}
