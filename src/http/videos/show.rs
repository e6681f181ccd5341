//! One video: `GET /videos/{id}`, and its status.
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Serialize;

use super::view::{RenditionView, VideoView, progress, renditions, time_remaining};
use crate::domain::ids::VideoId;
use crate::domain::video::{Failure, VideoStatus};
use crate::http::auth::Viewer;
use crate::http::etag;
use crate::http::extract::IdPath;
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;
use crate::http::visible::visible_video;

/// The whole record. Its tag covers the links in it too: those of private videos change with time.
pub(super) async fn show(
    State(state): State<HttpState>,
    viewer: Option<Viewer>,
    info: RequestInfo,
    IdPath(id): IdPath<VideoId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let video = visible_video(&state, viewer.as_ref(), &id).await?;
    let view = VideoView::of(&state, &info, &video).await?;
    etag::json(&headers, video.revision, &view)
}

/// `GET /videos/{id}/status`.
#[derive(Debug, Serialize)]
struct Status {
    video_id: VideoId,
    status: VideoStatus,
    progress: u8,
    /// Seconds; unknown until the work that is left has been measured.
    estimated_time_remaining: Option<u64>,
    renditions: Vec<RenditionView>,
    failure: Option<Failure>,
}

/// How far it is: small, for asking often.
pub(super) async fn status(
    State(state): State<HttpState>,
    viewer: Option<Viewer>,
    IdPath(id): IdPath<VideoId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let video = visible_video(&state, viewer.as_ref(), &id).await?;
    let status = Status {
        video_id: video.id.clone(),
        status: video.status,
        progress: progress(&video),
        estimated_time_remaining: time_remaining(&video, state.ports.clock.now()),
        renditions: renditions(&video),
        failure: video.failure.clone(),
    };
    etag::json(&headers, video.revision, &status)
}
