//! Opaque list marks: the place of the last item in its order, bound to the list it was made for.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::ports::CatalogError;
use crate::domain::time::Timestamp;
use crate::storage::codec::{self, Versioned};

/// A place in a list ordered by time and id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    list: [u8; 8],
    /// The last item's time.
    pub(super) at_ms: i64,
    /// The last item's id.
    pub(super) id: String,
}

impl Versioned for Cursor {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 128;
}

/// Names a list with its filters; cursors of one list are refused by another.
fn list_tag(list: &str) -> [u8; 8] {
    let mut tag = [0; 8];
    tag.iter_mut().zip(Sha256::digest(list.as_bytes())).for_each(|(to, from)| *to = from);
    tag
}

impl Cursor {
    /// After the item with this time and id.
    pub(super) fn after(list: &str, at: Timestamp, id: impl std::fmt::Display) -> Self {
        Self { list: list_tag(list), at_ms: at.as_millis(), id: id.to_string() }
    }

    /// As given to clients.
    pub(super) fn to_text(&self) -> Result<String, CatalogError> {
        let bytes = codec::encode(self).map_err(|error| CatalogError::Corrupt(error.to_string()))?;
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads what a client gave back.
    pub(super) fn parse(list: &str, text: &str) -> Result<Self, CatalogError> {
        if text.len() > Self::BYTES_MAX * 2 {
            return Err(CatalogError::InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CatalogError::InvalidCursor)?;
        let cursor: Self = codec::decode(&bytes).map_err(|_| CatalogError::InvalidCursor)?;
        if cursor.list == list_tag(list) { Ok(cursor) } else { Err(CatalogError::InvalidCursor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_list_only() {
        let cursor = Cursor::after("videos", Timestamp::from_millis(5), "vid_x");
        let text = cursor.to_text().unwrap();
        assert_eq!(Cursor::parse("videos", &text), Ok(cursor));
        assert_eq!(Cursor::parse("logins", &text), Err(CatalogError::InvalidCursor));
        for bad in ["", "AA", "!!", &text[1..], &"A".repeat(100_000)] {
            assert_eq!(Cursor::parse("videos", bad), Err(CatalogError::InvalidCursor), "{bad}");
        }
    }
}
