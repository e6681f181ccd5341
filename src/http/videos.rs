//! Videos: lists, records, edits, and the way to their streams.
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};

use super::state::HttpState;

pub(crate) mod change;
pub(crate) mod list;
pub(crate) mod memory;
mod pictures;
mod renditions;
mod show;
mod stream;
pub(in crate::http) mod thumbnail;
mod view;

/// Routes below `/api/v1`.
pub(crate) fn routes() -> Router<HttpState> {
    Router::new()
        .route("/videos", get(list::list))
        .route("/videos/{id}", get(show::show).patch(change::update).delete(change::delete))
        .route("/videos/{id}/status", get(show::status))
        .route("/videos/{id}/thumbnails", get(pictures::thumbnails))
        .route("/videos/{id}/thumbnail", put(thumbnail::choose).layer(DefaultBodyLimit::disable()))
        .route("/videos/{id}/renditions", post(renditions::request))
        .route("/videos/{id}/stream", get(stream::stream))
        .route("/videos/{id}/manifest.m3u8", get(stream::manifest))
}
