//! The upload resource: tells tus 1.0 from the IETF draft and hands over.
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use super::{UploadRequest, draft, status, tus};
use crate::actors::uploads::UploadHandle;
use crate::domain::ids::UploadId;
use crate::domain::upload::UploadProtocol;
use crate::http::extract::IdPath;
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::protocols::tus::wire::draft::Interop;
use crate::protocols::tus::wire::{self, Dialect, v1};

const METHOD_OVERRIDE: &str = "x-http-method-override";
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// `OPTIONS`: what is spoken here, and the limits. Needs no account.
pub(super) async fn discover(State(state): State<HttpState>, headers: HeaderMap) -> Response {
    let limit = state.actors.uploads.limits().size_bytes_max;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().extend(v1::discovery(limit));
    let interop = wire::draft::interop(&headers).unwrap_or(Interop::Newest);
    response.headers_mut().extend(wire::draft::limit(interop, limit, None));
    let types = HeaderValue::from_static("application/partial-upload, application/offset+octet-stream");
    response.headers_mut().insert(ACCEPT_PATCH, types);
    response
}

/// 412 with the versions spoken: the request names none or another.
fn unknown_version() -> Problem {
    let detail = "Send Tus-Resumable: 1.0.0, or Upload-Complete as the IETF draft has it.";
    Problem::new(StatusCode::PRECONDITION_FAILED, "unsupported_version", detail)
        .with_header(HeaderName::from_static("tus-version"), HeaderValue::from_static(v1::VERSION))
}

/// `POST /uploads`.
pub(super) async fn create(request: UploadRequest, body: Body) -> Result<Response, Problem> {
    match wire::dialect(&request.headers) {
        Dialect::Tus => tus::create(request, body).await,
        Dialect::Draft(interop) => Ok(draft::create(request, body, interop).await),
        Dialect::OtherTus | Dialect::Unmarked => Err(unknown_version()),
    }
}

/// `PATCH /uploads/{id}`.
pub(super) async fn patch(
    IdPath(id): IdPath<UploadId>,
    request: UploadRequest,
    body: Body,
) -> Result<Response, Problem> {
    match wire::dialect(&request.headers) {
        Dialect::Tus => tus::patch(&id, request, body).await,
        Dialect::Draft(interop) => Ok(draft::patch(&id, (request, body), interop).await),
        Dialect::OtherTus | Dialect::Unmarked => Err(unknown_version()),
    }
}

/// The dialect of a request that need not say: final clients of the draft mark only what carries a body.
fn resolve(dialect: Dialect, handle: &UploadHandle) -> Dialect {
    match (dialect, handle.upload().protocol) {
        (Dialect::Unmarked, UploadProtocol::Ietf) => Dialect::Draft(Interop::Newest),
        (Dialect::Unmarked, _) => Dialect::Tus,
        (marked, _) => marked,
    }
}

/// `HEAD /uploads/{id}`.
pub(super) async fn head(IdPath(id): IdPath<UploadId>, request: UploadRequest) -> Result<Response, Problem> {
    let handle = request.find(&id).await?;
    match resolve(wire::dialect(&request.headers), &handle) {
        Dialect::Draft(interop) => draft::head(&request, &handle, interop).await,
        Dialect::OtherTus => Err(unknown_version()),
        Dialect::Tus | Dialect::Unmarked => tus::head(&handle).await,
    }
}

/// `DELETE /uploads/{id}`.
pub(super) async fn delete(IdPath(id): IdPath<UploadId>, request: UploadRequest) -> Result<Response, Problem> {
    if wire::dialect(&request.headers) == Dialect::OtherTus {
        return Err(unknown_version());
    }
    request.find(&id).await?.terminate("terminated").await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /uploads/{id}` for clients that can send nothing but POST (tus 1.0, `X-HTTP-Method-Override`).
pub(super) async fn overridden(id: IdPath<UploadId>, request: UploadRequest, body: Body) -> Result<Response, Problem> {
    let method = request.headers.get(METHOD_OVERRIDE).and_then(|value| Method::from_bytes(value.as_bytes()).ok());
    match method {
        Some(Method::PATCH) => patch(id, request, body).await,
        Some(Method::DELETE) => delete(id, request).await,
        Some(Method::HEAD) => head(id, request).await,
        Some(Method::GET) => status::show(id, request).await,
        _ => {
            let allow = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH");
            Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Send PATCH to append.")
                .with_header(http::header::ALLOW, allow))
        }
    }
}
