//! Where an upload stands, as JSON.
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use serde::Serialize;

use super::{UploadRequest, write_video_id};
use crate::domain::ids::{UploadId, VideoId};
use crate::domain::time::Timestamp;
use crate::domain::upload::machine::UploadStatus;
use crate::domain::upload::{Upload, UploadState};
use crate::http::extract::IdPath;
use crate::http::problem::Problem;

/// Where an upload stands.
#[derive(Debug, Serialize)]
pub(super) struct UploadBody {
    upload_id: UploadId,
    /// The video it becomes; partial uploads become none.
    video_id: Option<VideoId>,
    /// Durable bytes.
    bytes_uploaded: u64,
    /// The file's length, unless deferred.
    total_bytes: Option<u64>,
    /// `uploading`, `uploaded` (all bytes are here), `completing` (the client's parts are being taken over), `complete` (they belong to
    /// the video), `ended`.
    status: &'static str,
    /// When it is dropped if it stays unfinished.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl UploadBody {
    pub(super) fn new(upload: &Upload, status: &UploadStatus) -> Self {
        Self {
            upload_id: upload.id.clone(),
            video_id: upload.video_id.clone(),
            bytes_uploaded: status.offset,
            total_bytes: status.length,
            status: match status.state {
                UploadState::Open if status.length == Some(status.offset) => "uploaded",
                UploadState::Open => "uploading",
                UploadState::Complete => "complete",
                UploadState::Terminated => "ended",
            },
            expires_at: (status.state == UploadState::Open).then_some(status.expires_at),
        }
    }
}

/// 202: its parts are being taken over, and a request for the same is answered when that is done.
pub(super) fn being_completed(upload: &Upload) -> Response {
    let body = UploadBody {
        upload_id: upload.id.clone(),
        video_id: upload.video_id.clone(),
        bytes_uploaded: upload.length.unwrap_or(0),
        total_bytes: upload.length,
        status: "completing",
        expires_at: None,
    };
    let mut response = (StatusCode::ACCEPTED, axum::Json(body)).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    write_video_id(upload, response.headers_mut());
    response
}

/// `GET`: where it stands. Leaves a live writer alone.
pub(super) async fn show(IdPath(id): IdPath<UploadId>, request: UploadRequest) -> Result<Response, Problem> {
    let handle = request.find(&id).await?;
    if handle.is_being_completed() {
        return Ok(being_completed(handle.upload()));
    }
    let status = handle.inspect(false).await?;
    let mut response = axum::Json(UploadBody::new(handle.upload(), &status)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    write_video_id(handle.upload(), response.headers_mut());
    Ok(response)
}
