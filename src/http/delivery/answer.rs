//! From bytes to a response: conditional requests, ranges, caching (RFC 9110, RFC 9111).
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// How long an answer may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cacheability {
    /// Never changes under its name.
    Immutable,
    /// Of no use a moment later.
    Never,
    /// Changes soon: asked about each time.
    Growing,
    /// Good for this long under its name, and then of no use.
    Kept {
        /// How long.
        max_age: Duration,
    },
    /// May change: asked about again after `max_age`, served stale meanwhile.
    Revalidated {
        /// How long it is fresh.
        max_age: Duration,
    },
}

/// A whole representation, before conditions and ranges.
pub(super) struct Entity {
    pub(super) body: Bytes,
    pub(super) content_type: HeaderValue,
    /// Strong, quotes included.
    pub(super) etag: String,
    /// `None`: has no encodings; otherwise the one chosen, if any.
    pub(super) encoding: Option<Option<HeaderValue>>,
    pub(super) cacheability: Cacheability,
}

/// A representation whose bytes are still being made, or fetched: no ranges.
pub(super) struct Growing {
    /// All but its bytes.
    pub(super) head: Entity,
    /// Them.
    pub(super) body: Body,
    /// How many there will be, when that is known.
    pub(super) bytes: Option<u64>,
}

/// Either.
pub(super) enum Answer {
    /// All of it is there.
    Whole(Entity),
    /// It is being made.
    Growing(Growing),
}

impl From<Entity> for Answer {
    fn from(entity: Entity) -> Self {
        Self::Whole(entity)
    }
}

impl Answer {
    /// The answer to a GET (HEAD's body is dropped by the router).
    pub(super) fn respond(self, request: &HeaderMap, is_public: bool) -> Response {
        let Growing { head, body, bytes } = match self {
            Self::Whole(entity) => return entity.respond(request, is_public),
            Self::Growing(growing) if growing.head.is_known_to(request) => {
                return growing.head.respond(request, is_public);
            }
            Self::Growing(growing) => growing,
        };
        let mut response = Response::new(body);
        head.write_headers(response.headers_mut(), is_public);
        match bytes {
            Some(bytes) => set(response.headers_mut(), header::CONTENT_LENGTH, &bytes.to_string()),
            None => drop(response.headers_mut().remove(header::ACCEPT_RANGES)),
        }
        response.headers_mut().insert(header::CONTENT_TYPE, head.content_type);
        response
    }
}

impl Entity {
    /// The answer to a GET (HEAD's body is dropped by the router).
    pub(super) fn respond(self, request: &HeaderMap, is_public: bool) -> Response {
        let mut response = Response::new(Body::empty());
        self.write_headers(response.headers_mut(), is_public);
        if self.is_known_to(request) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        response.headers_mut().insert(header::CONTENT_TYPE, self.content_type.clone());
        match self.range(request) {
            Range::Whole => *response.body_mut() = Body::from(self.body),
            Range::Part { first, last } => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                set(
                    response.headers_mut(),
                    header::CONTENT_RANGE,
                    &format!("bytes {first}-{last}/{}", self.body.len()),
                );
                *response.body_mut() = Body::from(self.body.slice(first..=last));
            }
            Range::Unsatisfiable => {
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", self.body.len()));
                response.extensions_mut().insert(crate::http::problem::OwnBody);
            }
        }
        response
    }

    /// Whether the client has it.
    fn is_known_to(&self, request: &HeaderMap) -> bool {
        matches_any(request.get(header::IF_NONE_MATCH), &self.etag)
    }

    fn write_headers(&self, headers: &mut HeaderMap, is_public: bool) {
        set(headers, header::ETAG, &self.etag);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let scope = if is_public { "public" } else { "private" };
        let caching = match self.cacheability {
            Cacheability::Immutable => format!("{scope}, max-age=31536000, immutable"),
            Cacheability::Never => "no-store".to_owned(),
            Cacheability::Growing => format!("{scope}, no-cache"),
            Cacheability::Kept { max_age } => format!("{scope}, max-age={}", max_age.as_secs()),
            Cacheability::Revalidated { max_age } => {
                let secs = max_age.as_secs();
                format!("{scope}, max-age={secs}, stale-while-revalidate={}", secs.saturating_mul(10))
            }
        };
        set(headers, header::CACHE_CONTROL, &caching);
        if let Some(encoding) = &self.encoding {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
            encoding.iter().for_each(|encoding| {
                headers.insert(header::CONTENT_ENCODING, encoding.clone());
            });
        }
    }

    fn range(&self, request: &HeaderMap) -> Range {
        let Some(wanted) = request.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
            return Range::Whole;
        };
        let is_current = request.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == self.etag.as_bytes());
        // A form that is not understood is ignored (RFC 9110 section 14.2); so are several ranges at once.
        let Ok(parsed) = http_range_header::parse_range_header(wanted) else { return Range::Whole };
        if !is_current || parsed.ranges.len() != 1 {
            return Range::Whole;
        }
        match parsed.validate(self.body.len() as u64).ok().and_then(|ranges| ranges.into_iter().next()) {
            Some(range) => Range::Part { first: *range.start() as usize, last: *range.end() as usize },
            None => Range::Unsatisfiable,
        }
    }
}

enum Range {
    Whole,
    Part { first: usize, last: usize },
    Unsatisfiable,
}

fn matches_any(condition: Option<&HeaderValue>, etag: &str) -> bool {
    let Some(text) = condition.and_then(|value| value.to_str().ok()) else { return false };
    text.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Sets a header from text of ours, which is always visible ASCII.
fn set(headers: &mut HeaderMap, name: header::HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(headers: &[(header::HeaderName, &str)]) -> (StatusCode, Option<String>, Bytes) {
        let entity = Entity {
            body: Bytes::from_static(b"0123456789"),
            content_type: HeaderValue::from_static("video/mp4"),
            etag: "\"a\"".to_owned(),
            encoding: None,
            cacheability: Cacheability::Immutable,
        };
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let response = entity.respond(&headers, true);
        let range = response.headers().get(header::CONTENT_RANGE).map(|value| value.to_str().unwrap().to_owned());
        (response.status(), range, response.into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn ranges_are_served_by_the_letter() {
        let part = |range: &str, body: &'static [u8]| {
            (StatusCode::PARTIAL_CONTENT, Some(range.to_owned()), Bytes::from_static(body))
        };
        assert_eq!(ask(&[(header::RANGE, "bytes=2-4")]).await, part("bytes 2-4/10", b"234"));
        assert_eq!(ask(&[(header::RANGE, "bytes=7-")]).await, part("bytes 7-9/10", b"789"));
        assert_eq!(ask(&[(header::RANGE, "bytes=-3")]).await, part("bytes 7-9/10", b"789"));
        assert_eq!(ask(&[(header::RANGE, "bytes=5-99")]).await, part("bytes 5-9/10", b"56789"));
        assert_eq!(
            ask(&[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, "\"a\"")]).await,
            part("bytes 0-1/10", b"01")
        );
        let whole = (StatusCode::OK, None, Bytes::from_static(b"0123456789"));
        assert_eq!(ask(&[]).await, whole);
        assert_eq!(ask(&[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, "\"b\"")]).await, whole);
        assert_eq!(ask(&[(header::RANGE, "lines=0-1")]).await, whole);
        assert_eq!(ask(&[(header::RANGE, "bytes=0-1,3-4")]).await, whole);
        let (status, range, _) = ask(&[(header::RANGE, "bytes=10-")]).await;
        assert_eq!((status, range.as_deref()), (StatusCode::RANGE_NOT_SATISFIABLE, Some("bytes */10")));
    }

    #[tokio::test]
    async fn a_copy_that_is_still_good_is_not_sent_again() {
        for condition in ["\"a\"", "\"b\", W/\"a\"", "*"] {
            let (status, _, body) = ask(&[(header::IF_NONE_MATCH, condition)]).await;
            assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{condition}");
        }
        assert_eq!(ask(&[(header::IF_NONE_MATCH, "\"b\"")]).await.0, StatusCode::OK);
    }
}
