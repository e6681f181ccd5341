//! `Content-Range` of the chunk API (RFC 9110 section 14.4): `bytes first-last/total`.
use http::header::HeaderMap;

use super::{WireError, number, text};

const FIELD: &str = "Content-Range";

/// Where a chunk lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRange {
    /// Its first byte.
    pub first: u64,
    /// Its last byte; never below the first.
    pub last: u64,
    /// The file's length, when it is told; always above the last byte.
    pub total: Option<u64>,
}

impl ChunkRange {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// Reads the field. A range that contradicts itself is a [`WireError::Contradiction`].
pub fn content_range(headers: &HeaderMap) -> Result<ChunkRange, WireError> {
    let value = text(headers, "content-range", FIELD)?.ok_or(WireError::Missing(FIELD))?;
    let wrong = || WireError::invalid(FIELD, "must be like: bytes 0-5242879/104857600");
    let (unit, rest) = value.split_once(' ').ok_or_else(wrong)?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return Err(wrong());
    }
    let (range, total) = rest.trim().split_once('/').ok_or_else(wrong)?;
    let (first, last) = range.split_once('-').ok_or_else(wrong)?;
    let (first, last) = (number(FIELD, first)?, number(FIELD, last)?);
    let total = if total == "*" { None } else { Some(number(FIELD, total)?) };
    let contradiction = |message: String| Err(WireError::Contradiction { field: FIELD, message });
    if last < first || last == u64::MAX {
        return contradiction(format!("ends at {last}, before it starts at {first}"));
    }
    match total {
        Some(total) if last >= total => contradiction(format!("ends at {last}, beyond the total of {total} bytes")),
        _ => Ok(ChunkRange { first, last, total }),
    }
}
