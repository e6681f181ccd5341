//! Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload): interop versions 3 to 6 (drafts -01 to -05) as today's
//! clients speak them, and the newest (8), by `Upload-Draft-Interop-Version` or, without it, by the fields of the newest.
use http::header::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, Item, Parser};

use super::metadata::Metadata;
use super::{VALUE_BYTES_MAX, WireError, content_type, text};

/// The media type of an append's body, from interop version 6 on.
pub const BODY_TYPE: &str = "application/partial-upload";
/// The interop version of the newest draft.
const NEWEST: u64 = 8;
/// The problem type of a wrong offset.
pub const PROBLEM_OFFSET: &str = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset";
/// The problem type of lengths that contradict each other.
pub const PROBLEM_LENGTH: &str = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length";
/// The problem type of an append to a complete upload (drafts before -10).
pub const PROBLEM_COMPLETE: &str = "https://iana.org/assignments/http-problem-types#completed-upload";

/// Which iteration of the draft is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interop {
    /// Draft -01: `Upload-Incomplete`.
    V3,
    /// Draft -02.
    V4,
    /// Draft -03.
    V5,
    /// Drafts -04 and -05: `application/partial-upload`, limits, `Upload-Length`.
    V6,
    /// The newest.
    Newest,
}

impl Interop {
    fn number(self) -> u64 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
            Self::V6 => 6,
            Self::Newest => NEWEST,
        }
    }
}

/// Which iteration a request speaks, if any.
pub fn interop(headers: &HeaderMap) -> Option<Interop> {
    if headers.contains_key("upload-draft-interop-version") {
        return Some(match integer(headers, "upload-draft-interop-version") {
            Some(3) => Interop::V3,
            Some(4) => Interop::V4,
            Some(5) => Interop::V5,
            Some(6) => Interop::V6,
            _ => Interop::Newest,
        });
    }
    if headers.contains_key("upload-incomplete") {
        return Some(Interop::V3);
    }
    let is_newest = headers.contains_key("upload-complete") || content_type(headers).as_deref() == Some(BODY_TYPE);
    is_newest.then_some(Interop::Newest)
}

/// A creation request.
#[derive(Debug, Clone, PartialEq)]
pub struct Creation {
    /// Total length, when it is told or follows.
    pub length: Option<u64>,
    /// Whether the body is the whole file.
    pub completes: bool,
    /// What is said of the file.
    pub metadata: Metadata,
    /// `Upload-Metadata` as sent, which some clients use here as well.
    pub raw_metadata: Option<String>,
    /// The file's name by `Content-Disposition`.
    pub file_name: Option<String>,
    /// The file's type.
    pub file_type: Option<String>,
}

/// An append request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Append {
    /// Where its body goes.
    pub offset: u64,
    /// Total length, when it is told or follows.
    pub length: Option<u64>,
    /// Whether the body is the last one.
    pub completes: bool,
}

/// An Item field's bare value; one that is absent, repeated or malformed is ignored, as the draft says.
fn item(headers: &HeaderMap, name: &str) -> Option<BareItem> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    if value.len() > VALUE_BYTES_MAX {
        return None;
    }
    Parser::new(value.as_bytes()).parse::<Item>().ok().map(|item| item.bare_item)
}

fn integer(headers: &HeaderMap, name: &str) -> Option<u64> {
    let BareItem::Integer(value) = item(headers, name)? else { return None };
    u64::try_from(i64::from(value)).ok()
}

fn completeness(headers: &HeaderMap, interop: Interop) -> Option<bool> {
    let (name, is_inverted) =
        if interop == Interop::V3 { ("upload-incomplete", true) } else { ("upload-complete", false) };
    let BareItem::Boolean(value) = item(headers, name)? else { return None };
    Some(value != is_inverted)
}

/// The file's length, as the request tells it and as follows from its body: both must agree.
fn length(headers: &HeaderMap, offset: u64, body: Option<u64>, completes: bool) -> Result<Option<u64>, WireError> {
    let told = integer(headers, "upload-length");
    let follows = body.filter(|_| completes).and_then(|bytes| offset.checked_add(bytes));
    match (told, follows) {
        (Some(told), Some(follows)) if told != follows => Err(WireError::Contradiction {
            field: "Upload-Length",
            message: format!("says {told}, but the last body ends at {follows}"),
        }),
        _ => Ok(told.or(follows)),
    }
}

/// Reads a creation request whose body has `body` bytes, as far as known.
pub fn creation(headers: &HeaderMap, interop: Interop, body: Option<u64>) -> Result<Creation, WireError> {
    let field = if interop == Interop::V3 { "Upload-Incomplete" } else { "Upload-Complete" };
    let completes = completeness(headers, interop).or(
        // A whole file in one request needs no field in the oldest iteration, and some clients leave it out there.
        (interop < Interop::Newest).then_some(integer(headers, "upload-length").is_some_and(|told| body == Some(told))),
    );
    let completes = completes.ok_or(WireError::Missing(field))?;
    let raw_metadata = text(headers, "upload-metadata", "Upload-Metadata")?;
    let kind = content_type(headers).filter(|kind| kind != BODY_TYPE);
    Ok(Creation {
        length: length(headers, 0, body, completes)?,
        completes,
        metadata: Metadata::parse(raw_metadata.unwrap_or_default())?,
        raw_metadata: raw_metadata.filter(|raw| !raw.is_empty()).map(str::to_owned),
        file_name: disposition_file_name(headers),
        file_type: kind,
    })
}

/// Reads an append request whose body has `body` bytes, as far as known; its media type is the caller's to check.
pub fn append(headers: &HeaderMap, interop: Interop, body: Option<u64>) -> Result<Append, WireError> {
    let offset = integer(headers, "upload-offset").ok_or(WireError::Missing("Upload-Offset"))?;
    let completes = match completeness(headers, interop) {
        Some(completes) => completes,
        // Left out by clients that send an empty body, and by the oldest iterations.
        None if interop < Interop::Newest => false,
        None => return Err(WireError::Missing("Upload-Complete")),
    };
    Ok(Append { offset, length: length(headers, offset, body, completes)?, completes })
}

/// `filename*` or `filename` of `Content-Disposition` (RFC 6266).
fn disposition_file_name(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(http::header::CONTENT_DISPOSITION)?.to_str().ok()?;
    let mut plain = None;
    for parameter in value.split(';').skip(1) {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "filename*" => {
                let encoded = value.get(..7).filter(|start| start.eq_ignore_ascii_case("utf-8''"));
                if let Some(name) = encoded.and_then(|_| percent_decoded(value.get(7..)?)) {
                    return super::metadata::clean_file_name(&name);
                }
            }
            "filename" => plain = Some(value.trim_matches('"').to_owned()),
            _ => {}
        }
    }
    plain.and_then(|name| super::metadata::clean_file_name(&name))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Where an upload stands, as responses of the draft tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The durable offset, when it is told.
    pub offset: Option<u64>,
    /// Total length, when known.
    pub length: Option<u64>,
    /// Whether it is complete.
    pub is_complete: bool,
    /// Largest file, bytes.
    pub size_bytes_max: u64,
    /// How much longer it is kept, seconds.
    pub age_secs_max: u64,
}

/// A response's fields.
pub fn standing(interop: Interop, standing: &Standing) -> Vec<(HeaderName, HeaderValue)> {
    let flag = |value| HeaderValue::from_static(if value { "?1" } else { "?0" });
    let mut fields = vec![match interop {
        Interop::V3 => (HeaderName::from_static("upload-incomplete"), flag(!standing.is_complete)),
        _ => (HeaderName::from_static("upload-complete"), flag(standing.is_complete)),
    }];
    let number = HeaderValue::from(interop.number());
    fields.push((HeaderName::from_static("upload-draft-interop-version"), number));
    if let Some(offset) = standing.offset {
        fields.push((HeaderName::from_static("upload-offset"), HeaderValue::from(offset)));
    }
    if let Some(length) = standing.length.filter(|_| interop >= Interop::V6) {
        fields.push((HeaderName::from_static("upload-length"), HeaderValue::from(length)));
    }
    let age = (!standing.is_complete).then_some(standing.age_secs_max);
    fields.extend(limit(interop, standing.size_bytes_max, age));
    fields
}

/// `Upload-Limit`, where the iteration has it.
pub fn limit(interop: Interop, size_bytes_max: u64, age_secs_max: Option<u64>) -> Option<(HeaderName, HeaderValue)> {
    if interop < Interop::V6 {
        return None;
    }
    let age_name = if interop == Interop::V6 { "expires" } else { "max-age" };
    let age = age_secs_max.map(|age| format!(", {age_name}={age}")).unwrap_or_default();
    let value = HeaderValue::try_from(format!("max-size={size_bytes_max}, min-size=0{age}")).ok()?;
    Some((HeaderName::from_static("upload-limit"), value))
}
