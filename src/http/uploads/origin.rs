//! Browsers on other origins: which fields they may send and see. Access is by bearer tokens, never by cookies, so any
//! origin may ask.
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue,
    ORIGIN,
};
use http::{Method, StatusCode};

use crate::protocols::tus::wire::{self, Dialect, v1};

const METHODS: &str = "POST, HEAD, GET, PATCH, PUT, DELETE, OPTIONS";
const REQUEST_FIELDS: &str = "Authorization, Content-Type, Content-Range, Content-Digest, Content-MD5, \
    Content-Disposition, Repr-Digest, Idempotency-Key, Origin, Tus-Resumable, Upload-Checksum, Upload-Complete, \
    Upload-Concat, Upload-Defer-Length, Upload-Draft-Interop-Version, Upload-Incomplete, Upload-Length, Upload-Metadata, \
    Upload-Offset, X-HTTP-Method-Override, X-Request-ID, X-Requested-With";
const RESPONSE_FIELDS: &str = "Location, Playhouse-Video-Id, RateLimit, RateLimit-Policy, Retry-After, \
    Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Upload-Complete, Upload-Concat, \
    Upload-Defer-Length, Upload-Draft-Interop-Version, Upload-Expires, Upload-Incomplete, Upload-Length, Upload-Limit, \
    Upload-Metadata, Upload-Offset, X-Request-ID";
/// How long a browser may keep a preflight's answer, seconds.
const MAX_AGE_SECS: &str = "7200";

/// Answers a bare `OPTIONS`; what browsers ask is added by [`mark`].
pub(super) async fn preflight() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Adds to every answer, refusals included, what other origins need to see and the version tus clients look for.
pub(super) async fn mark(request: Request, next: Next) -> Response {
    let is_cross_origin = request.headers().contains_key(ORIGIN);
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let is_tus = matches!(wire::dialect(request.headers()), Dialect::Tus | Dialect::OtherTus);
    let mut response = next.run(request).await;
    let mut put = |name: HeaderName, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
    if is_tus {
        put(HeaderName::from_static("tus-resumable"), v1::VERSION);
    }
    if is_cross_origin {
        put(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        if is_preflight {
            put(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            put(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_FIELDS);
            put(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECS);
        } else {
            put(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_FIELDS);
        }
    }
    response
}
