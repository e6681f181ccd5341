//! Uploads: tus 1.0 and the IETF draft at `/uploads`, the chunk API and the form at `/videos/upload`. Clients of the chunk API may
//! store the bytes in the bucket by themselves.
//!
//! A handler asks the upload's session for a lease, streams its body to the store in a task of its own (so that what came
//! is kept when the connection is gone) and reports how it ended. Nothing here holds a body in memory.
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, get, post, put};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;

use super::auth::Viewer;
use super::problem::Problem;
use super::request_info::RequestInfo;
use super::state::HttpState;
use crate::actors::uploads::{UploadHandle, UploadsHandle};
use crate::domain::account::Role;
use crate::domain::ids::UploadId;
use crate::domain::upload::Upload;

mod chunked;
pub(crate) mod details;
mod direct;
mod draft;
mod form;
mod hashing;
mod origin;
mod receive;
mod resource;
mod status;
mod tus;

/// The video an upload becomes, on creation and on HEAD.
const VIDEO_ID: HeaderName = HeaderName::from_static("playhouse-video-id");

/// Every route of uploads, below `/api/v1`.
pub(super) fn routes() -> Router<HttpState> {
    let resource = MethodRouter::new()
        .options(resource::discover)
        .head(resource::head)
        .get(status::show)
        .patch(resource::patch)
        .delete(resource::delete)
        .post(resource::overridden);
    Router::new()
        .route("/uploads", MethodRouter::new().options(resource::discover).post(resource::create))
        .route("/uploads/{id}", resource)
        .route("/videos/upload", post(form::upload).layer(DefaultBodyLimit::disable()).options(origin::preflight))
        .route("/videos/upload/initiate", post(chunked::initiate).options(origin::preflight))
        .route("/videos/upload/{id}", get(status::show).delete(chunked::abort).options(origin::preflight))
        .route("/videos/upload/{id}/chunk", put(chunked::chunk).options(origin::preflight))
        .route("/videos/upload/{id}/parts", get(direct::list).options(origin::preflight))
        .route("/videos/upload/{id}/complete", post(chunked::complete).options(origin::preflight))
        .layer(from_fn(origin::mark))
}

/// A request to an upload by a signed-in account; its body stays apart.
struct UploadRequest {
    state: HttpState,
    viewer: Viewer,
    info: RequestInfo,
    headers: HeaderMap,
}

impl FromRequestParts<HttpState> for UploadRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Problem> {
        let viewer = <Viewer as FromRequestParts<HttpState>>::from_request_parts(parts, state).await?;
        let Ok(info) = RequestInfo::from_request_parts(parts, state).await;
        Ok(Self { state: state.clone(), viewer, info, headers: parts.headers.clone() })
    }
}

impl UploadRequest {
    fn uploads(&self) -> &UploadsHandle {
        &self.state.actors.uploads
    }

    /// The upload, if it is the account's own (or the account is an administrator's); 404 otherwise.
    async fn find(&self, id: &UploadId) -> Result<UploadHandle, Problem> {
        Ok(self.uploads().find(id, &self.viewer.user_id, self.viewer.role).await?)
    }

    /// Whether the account may create an upload now.
    fn check_creation(&self) -> Result<HeaderMap, Problem> {
        self.viewer.require(Role::Creator)?;
        let mut headers = HeaderMap::new();
        if let Some(allowance) = self.state.rates.uploads.check(self.viewer.user_id.clone())? {
            allowance.write_to(&mut headers);
        }
        Ok(headers)
    }

    /// The address of the upload resource.
    fn location(&self, id: &UploadId) -> Result<HeaderValue, Problem> {
        let url = format!("{}/api/v1/uploads/{id}", self.info.base_url(&self.state.settings));
        HeaderValue::try_from(url).map_err(|_| Problem::internal())
    }
}

/// Bytes a body will bring, when its head tells: no body at all is one of none.
fn body_length(body: &Body) -> Option<u64> {
    body.size_hint().exact()
}

/// Names the video an upload becomes; partial uploads become none.
fn write_video_id(upload: &Upload, headers: &mut HeaderMap) {
    let value = upload.video_id.as_ref().and_then(|id| HeaderValue::from_str(id.as_str()).ok());
    if let Some(value) = value {
        headers.insert(VIDEO_ID, value);
    }
}

#[cfg(test)]
mod tests;
