//! Entity tags of records: what edits are conditioned on and what spares unchanged answers.
use std::hash::{DefaultHasher, Hasher};

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::problem::Problem;

/// The tag of a record: its revision, and whatever else of the answer changes without one (counts).
pub(crate) fn of_revision(revision: u64, rest: u64) -> String {
    format!("\"r{revision}-{rest:x}\"")
}

/// A record as JSON, tagged by its revision and all that is in the answer; 304 when the client has just that.
pub(crate) fn json(headers: &HeaderMap, revision: u64, value: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "an answer could not be written");
        Problem::internal()
    })?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&body);
    let tag = of_revision(revision, hasher.finish());
    if is_current(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [header(&tag)]).into_response());
    }
    let content_type = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(([header(&tag), content_type], body).into_response())
}

/// The header with this tag.
pub(crate) fn header(tag: &str) -> (HeaderName, HeaderValue) {
    (ETAG, HeaderValue::from_str(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\"")))
}

/// The revision an edit is conditioned on; `None` when it is unconditional. Weak tags count too: proxies that compress make
/// ours weak.
pub(crate) fn expected_revision(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    text.split(',').find_map(|tag| revision_in(tag.trim())).map(Some).ok_or_else(|| {
        Problem::new(StatusCode::PRECONDITION_FAILED, "unknown_etag", "If-Match names no version of this resource.")
    })
}

fn revision_in(tag: &str) -> Option<u64> {
    let opaque = tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?;
    opaque.strip_prefix('r')?.split('-').next()?.parse().ok()
}

/// Whether the client has this version already (RFC 9110 section 13.1.2: weak comparison).
pub(crate) fn is_current(headers: &HeaderMap, tag: &str) -> bool {
    let listed = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    listed
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|listed| listed == "*" || listed.strip_prefix("W/").unwrap_or(listed) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(if_match: &str) -> Result<Option<u64>, StatusCode> {
        let headers = HeaderMap::from_iter([(IF_MATCH, if_match.parse().unwrap())]);
        expected_revision(&headers).map_err(|problem| problem.status())
    }

    #[test]
    fn edits_name_a_revision() {
        assert_eq!(revision(&of_revision(12, 0xab)), Ok(Some(12)));
        assert_eq!(revision("W/\"r12-ab\""), Ok(Some(12)));
        assert_eq!(revision("*"), Ok(None));
        assert_eq!(expected_revision(&HeaderMap::new()).unwrap(), None);
        for bad in ["\"12\"", "r12", "\"r-1\"", ""] {
            assert_eq!(revision(bad), Err(StatusCode::PRECONDITION_FAILED), "{bad}");
        }
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let has = |tags: &str| is_current(&HeaderMap::from_iter([(IF_NONE_MATCH, tags.parse().unwrap())]), "\"r1-0\"");
        assert!(has("\"r1-0\"") && has("\"x\", W/\"r1-0\"") && has("*"));
        assert!(!has("\"r1-1\"") && !has("") && !is_current(&HeaderMap::new(), "\"r1-0\""));
    }
}
