//! `POST /videos/{id}/renditions`: an owner asks for a rendition that is not made of every video.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::change::editable_video;
use crate::domain::ids::VideoId;
use crate::domain::ladder::{Av1Policy, RungCodec};
use crate::domain::ports::CatalogError;
use crate::domain::video::OriginalState;
use crate::http::auth::Viewer;
use crate::http::extract::{IdPath, Json};
use crate::http::problem::Problem;
use crate::http::state::HttpState;

/// What is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    codec: String,
}

/// Has an AV1 rendition made, now or when what is planned is done. Asking again changes nothing.
pub(super) async fn request(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<VideoId>,
    Json(wanted): Json<Wanted>,
) -> Result<Response, Problem> {
    let video = editable_video(&state, &viewer, &id).await?;
    if RungCodec::parse(&wanted.codec) != Some(RungCodec::Av1) {
        return Err(Problem::invalid_field("/codec", "unknown", "Only av1 can be asked for."));
    }
    if state.settings.transcode.av1 == Av1Policy::Never {
        return Err(Problem::forbidden("av1_disabled", "This server makes no AV1 renditions."));
    }
    let has_av1 = video.renditions.iter().any(|rendition| rendition.codec.starts_with("av01"));
    if !has_av1 && video.original == OriginalState::Deleted {
        let detail = "The video's original was deleted, as this server keeps originals for a while only.";
        return Err(Problem::new(StatusCode::CONFLICT, "original_deleted", detail));
    }
    if !has_av1 {
        let asked = state.ports.catalog.request_av1(&id, state.ports.clock.now()).await;
        asked.map_err(|error| match error {
            CatalogError::NotFound => {
                Problem::new(StatusCode::CONFLICT, "no_ladder", "Nothing is encoded of this video (yet).")
            }
            error => error.into(),
        })?;
        // One that cannot be started now is found by the next round of the janitor.
        let _ = state.actors.transcodes.start(id.clone()).await;
    }
    Ok((StatusCode::ACCEPTED, axum::Json(json!({ "video_id": id, "codec": "av1" }))).into_response())
}
