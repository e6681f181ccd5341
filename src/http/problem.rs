//! Errors as RFC 9457 `application/problem+json`: one shape for every refusal, from a wrong path to a stuck database.
//!
//! A [`Problem`] travels as a response extension and is written out by the outermost layer, which knows the request's id.
//! Which failure has which status is decided in `mapping`, nowhere else.
use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

mod mapping;
mod uploads;

/// Content type of every error body.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A refused or failed request.
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    kind: Option<&'static str>,
    code: Cow<'static, str>,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    headers: HeaderMap,
    extra: serde_json::Map<String, serde_json::Value>,
}

/// One part of the request that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the body, e.g. `/title`.
    pub pointer: String,
    /// Stable code, e.g. `required`.
    pub code: &'static str,
    /// What is wrong and what is allowed.
    pub detail: String,
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: String,
    title: String,
    status: u16,
    code: &'a str,
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(flatten)]
    extra: &'a serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A problem with a stable `code` in `snake_case` and one sentence for a person.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            status,
            kind: None,
            code: code.into(),
            detail: detail.into(),
            errors: Vec::new(),
            headers: HeaderMap::new(),
            extra: serde_json::Map::new(),
        }))
    }

    /// 400 with this code.
    pub fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401: no or no good access token. Carries the challenge that RFC 9110 section 15.5.2 asks for.
    pub fn unauthorized(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let challenge = match code {
            "invalid_token" | "token_expired" | "signed_out" => {
                HeaderValue::from_static("Bearer realm=\"playhouse\", error=\"invalid_token\"")
            }
            _ => HeaderValue::from_static("Bearer realm=\"playhouse\""),
        };
        Self::new(StatusCode::UNAUTHORIZED, code, detail).with_header(WWW_AUTHENTICATE, challenge)
    }

    /// 403: known, but not allowed.
    pub fn forbidden(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 404. Also what the unauthorised see of what they may not know about.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here, or you may not see it.")
    }

    /// 422 for one part of the body.
    pub fn invalid_field(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", "Part of the request is not acceptable.")
            .with_error(pointer, code, detail)
    }

    /// 429 with `Retry-After`.
    pub fn too_many_requests(retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests. Wait a moment and try again.")
            .with_retry_after(retry_after)
    }

    /// 500. The cause belongs in the log, not in the answer.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "The server had a problem. It has been noted.")
    }

    /// 503 with `Retry-After`.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).with_retry_after(retry_after)
    }

    /// Gives it a problem type that is registered elsewhere, as a URI.
    pub fn with_type(mut self, kind: &'static str) -> Self {
        self.0.kind = Some(kind);
        self
    }

    /// Adds one refused part.
    pub fn with_error(mut self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        self.0.errors.push(FieldError { pointer: pointer.into(), code, detail: detail.into() });
        self
    }

    /// Adds a response header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.append(name, value);
        self
    }

    /// Adds a member to the body.
    pub fn with_member(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.0.extra.insert(name.to_owned(), value.into());
        self
    }

    /// Says when to come back, in whole seconds, at least one.
    pub fn with_retry_after(self, after: Duration) -> Self {
        let secs = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.with_header(RETRY_AFTER, HeaderValue::from(secs.max(1)))
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its stable code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    pub(crate) fn body(&self, request_id: &str) -> Vec<u8> {
        let body = ProblemBody {
            r#type: self.0.kind.map_or_else(|| format!("urn:playhouse:problem:{}", self.0.code), str::to_owned),
            title: title_of(&self.0.code),
            status: self.0.status.as_u16(),
            code: &self.0.code,
            detail: &self.0.detail,
            request_id,
            errors: &self.0.errors,
            extra: &self.0.extra,
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// `too_many_requests` → `Too many requests`.
fn title_of(code: &str) -> String {
    let words = code.replace('_', " ");
    let mut chars = words.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        *response.headers_mut() = self.0.headers.clone();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes out the problem a response carries, and makes one of a bare error status that a library produced.
pub(crate) fn write_out(mut response: Response, request_id: &str) -> Response {
    let carried = response.extensions_mut().remove::<Problem>();
    let Some(problem) = carried.or_else(|| implied(&response)) else { return response };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.remove(http::header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(problem.body(request_id));
    response
}

/// An error status whose body no handler of ours wrote: it has no type, or is plain text.
fn implied(response: &Response) -> Option<Problem> {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || response.extensions().get::<OwnBody>().is_some() {
        return None;
    }
    let by_library = match response.headers().get(CONTENT_TYPE) {
        None => true,
        Some(kind) => kind.as_bytes().starts_with(b"text/plain"),
    };
    by_library.then(|| match status {
        StatusCode::METHOD_NOT_ALLOWED => method_not_allowed(response.headers().get(ALLOW)),
        _ => {
            let reason = status.canonical_reason().unwrap_or("error");
            Problem::new(status, reason.to_lowercase().replace([' ', '-'], "_"), "The request was refused.")
        }
    })
}

/// Put into the extensions of an error response whose body (or lack of one) is meant so, e.g. by a protocol.
#[derive(Debug, Clone, Copy)]
pub struct OwnBody;

fn method_not_allowed(allow: Option<&HeaderValue>) -> Problem {
    let allowed = allow.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let detail = format!("This resource answers only to {}.", allowed.replace(',', ", "));
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

#[cfg(test)]
mod tests;
