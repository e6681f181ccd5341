//! Pushes: other servers that a live stream's broadcasts are sent to while they go on.
use serde::{Deserialize, Serialize};

use super::InvalidField;
use crate::domain::ids::PushId;

/// Longest name, characters.
const NAME_CHARS_MAX: usize = 100;

/// A secret text as the catalog keeps it: sealed, in base 58.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedText(pub String);

impl std::fmt::Debug for SealedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedText")
    }
}

/// A server that broadcasts are pushed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Its id.
    pub id: PushId,
    /// What its owner calls it.
    pub name: String,
    /// Its URL, the key being part of it.
    pub url: SealedText,
    /// The URL without what may be a secret.
    pub shown: String,
    /// Whether broadcasts are sent there.
    pub enabled: bool,
}

/// Checks a name.
pub fn check_name(name: &str) -> Result<(), InvalidField> {
    if name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let message = format!("must be at most {NAME_CHARS_MAX} characters on one line");
    Err(InvalidField { field: "name", message })
}
