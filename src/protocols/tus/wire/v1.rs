//! tus 1.0 (tus.io/protocols/resumable-upload): core, creation, creation-with-upload, creation-defer-length, expiration,
//! checksum with trailer, termination, concatenation.
use http::header::{HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;

use super::digest::{CHECKSUM_ALGORITHMS, Checksum};
use super::metadata::Metadata;
use super::{WireError, content_type, optional_number, text};
use crate::domain::ids::UploadId;
use crate::domain::time::Timestamp;

/// The version spoken.
pub const VERSION: &str = "1.0.0";
/// The extensions spoken.
pub const EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,\
     termination,concatenation";
/// The media type of an append's body.
pub const BODY_TYPE: &str = "application/offset+octet-stream";
/// Longest list of parts that is looked into; the setting may be lower.
const PARTS_MAX: usize = 10_000;

/// What concatenation a creation asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concat {
    /// None.
    None,
    /// A part.
    Partial,
    /// Made of these parts, in order.
    Final(Vec<UploadId>),
}

/// A creation request.
#[derive(Debug, Clone, PartialEq)]
pub struct Creation {
    /// Total length; `None` when deferred, or when made of parts.
    pub length: Option<u64>,
    /// What is said of the file.
    pub metadata: Metadata,
    /// `Upload-Metadata` as sent.
    pub raw_metadata: Option<String>,
    /// Concatenation.
    pub concat: Concat,
    /// Whether the body is the first append.
    pub has_body: bool,
    /// Digest of that body.
    pub checksum: Option<Checksum>,
}

/// An append request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Where its body goes.
    pub offset: u64,
    /// A deferred length, declared now.
    pub length: Option<u64>,
    /// Digest of the body.
    pub checksum: Option<Checksum>,
    /// Whether the digest comes in a trailer.
    pub has_checksum_trailer: bool,
}

/// Reads a creation request.
pub fn creation(headers: &HeaderMap) -> Result<Creation, WireError> {
    let concat = concat(headers)?;
    let length = optional_number(headers, "upload-length", "Upload-Length")?;
    let is_deferred = deferral(headers)?;
    match (&concat, length, is_deferred) {
        (Concat::Final(_), None, false) => {}
        (Concat::Final(_), ..) => {
            return Err(contradiction("Upload-Length", "a final upload's length is that of its parts"));
        }
        (_, Some(_), true) => {
            return Err(contradiction("Upload-Defer-Length", "contradicts Upload-Length"));
        }
        (_, None, false) => return Err(WireError::Missing("Upload-Length")),
        _ => {}
    }
    let raw_metadata = text(headers, "upload-metadata", "Upload-Metadata")?;
    let has_body = content_type(headers).as_deref() == Some(BODY_TYPE);
    if has_body && matches!(concat, Concat::Final(_)) {
        return Err(contradiction("Upload-Concat", "a final upload takes no bytes"));
    }
    Ok(Creation {
        length,
        metadata: Metadata::parse(raw_metadata.unwrap_or_default())?,
        raw_metadata: raw_metadata.filter(|raw| !raw.is_empty()).map(str::to_owned),
        concat,
        has_body,
        checksum: checksum(headers)?,
    })
}

/// Reads an append request; its media type is the caller's to check.
pub fn append(headers: &HeaderMap) -> Result<Append, WireError> {
    let offset =
        optional_number(headers, "upload-offset", "Upload-Offset")?.ok_or(WireError::Missing("Upload-Offset"))?;
    let checksum = checksum(headers)?;
    let announces = headers.get_all("trailer").iter().filter_map(|value| value.to_str().ok());
    let has_trailer =
        announces.flat_map(|names| names.split(',')).any(|name| name.trim().eq_ignore_ascii_case("upload-checksum"));
    Ok(Append {
        offset,
        length: optional_number(headers, "upload-length", "Upload-Length")?,
        has_checksum_trailer: has_trailer && checksum.is_none(),
        checksum,
    })
}

/// `Upload-Checksum`, of a request's head or of its trailer.
pub fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, WireError> {
    text(headers, "upload-checksum", "Upload-Checksum")?.map(Checksum::from_tus).transpose()
}

fn contradiction(field: &'static str, message: &str) -> WireError {
    WireError::Contradiction { field, message: message.to_owned() }
}

fn deferral(headers: &HeaderMap) -> Result<bool, WireError> {
    match text(headers, "upload-defer-length", "Upload-Defer-Length")? {
        None => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(WireError::invalid("Upload-Defer-Length", "must be 1")),
    }
}

fn concat(headers: &HeaderMap) -> Result<Concat, WireError> {
    const FIELD: &str = "Upload-Concat";
    let Some(value) = text(headers, "upload-concat", FIELD)? else { return Ok(Concat::None) };
    if value == "partial" {
        return Ok(Concat::Partial);
    }
    let Some(urls) = value.strip_prefix("final;") else {
        return Err(WireError::invalid(FIELD, "must be partial, or final; followed by URLs"));
    };
    let mut parts = Vec::new();
    for url in urls.split_ascii_whitespace() {
        if parts.len() >= PARTS_MAX {
            return Err(WireError::invalid(FIELD, format!("names more than {PARTS_MAX} parts")));
        }
        parts.push(part_id(url).ok_or_else(|| WireError::invalid(FIELD, "names a URL that is no upload's"))?);
    }
    if parts.is_empty() {
        return Err(WireError::invalid(FIELD, "names no part"));
    }
    Ok(Concat::Final(parts))
}

/// The id at the end of an upload's URL, absolute or relative.
fn part_id(url: &str) -> Option<UploadId> {
    let path = url.split(['?', '#']).next()?;
    UploadId::parse(path.trim_end_matches('/').rsplit('/').next()?).ok()
}

/// An instant as header fields have it (RFC 9110 section 5.6.7, IMF-fixdate).
pub fn http_date(at: Timestamp) -> Option<HeaderValue> {
    let at = OffsetDateTime::from_unix_timestamp(at.as_secs()).ok()?;
    let (day, month) = (at.weekday().to_string(), at.month().to_string());
    let text = format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        day.get(..3)?,
        at.day(),
        month.get(..3)?,
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    );
    HeaderValue::try_from(text).ok()
}

/// What discovery answers: versions, extensions, limits.
pub fn discovery(size_bytes_max: u64) -> Vec<(HeaderName, HeaderValue)> {
    vec![
        (HeaderName::from_static("tus-resumable"), HeaderValue::from_static(VERSION)),
        (HeaderName::from_static("tus-version"), HeaderValue::from_static(VERSION)),
        (HeaderName::from_static("tus-extension"), HeaderValue::from_static(EXTENSIONS)),
        (HeaderName::from_static("tus-max-size"), HeaderValue::from(size_bytes_max)),
        (HeaderName::from_static("tus-checksum-algorithm"), HeaderValue::from_static(CHECKSUM_ALGORITHMS)),
    ]
}
