//! Which pages may use the API from scripts: none but our own, unless `http.cors_origins` says so. Media have rules of their
//! own, and so do uploads.
use std::time::Duration;

use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LOCATION, RETRY_AFTER,
};
use http::{Method, Uri};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::request_info::REQUEST_ID;

/// How long a browser remembers what it was allowed.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(3600);

/// A setting that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("http.cors_origins: {0:?} is not an origin like https://example.org")]
pub struct InvalidOrigin(pub String);

/// Reads `http.cors_origins`.
pub(crate) fn parse_origins(texts: &[String]) -> Result<Vec<HeaderValue>, InvalidOrigin> {
    texts.iter().map(|text| parse_origin(text).ok_or_else(|| InvalidOrigin(text.clone()))).collect()
}

fn parse_origin(text: &str) -> Option<HeaderValue> {
    let uri: Uri = text.parse().ok()?;
    let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    (origin == text).then(|| HeaderValue::from_str(text).ok()).flatten()
}

/// The rules of the API. Cookies are never part of them: a browser's session belongs to our own pages.
pub(crate) fn layer(origins: Vec<HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            ACCEPT,
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_MATCH,
            IF_NONE_MATCH,
            REQUEST_ID,
            HeaderName::from_static("idempotency-key"),
        ])
        .expose_headers([
            ETAG,
            LOCATION,
            RETRY_AFTER,
            REQUEST_ID,
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
        ])
        .max_age(PREFLIGHT_MAX_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origins_are_origins() {
        assert!(parse_origin("https://example.org").is_some() && parse_origin("http://localhost:5173").is_some());
        for bad in ["*", "example.org", "https://example.org/", "https://example.org/path", ""] {
            assert!(parse_origin(bad).is_none(), "{bad}");
        }
    }
}
