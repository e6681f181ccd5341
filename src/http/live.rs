//! Live streams: made, shown, changed, ended and deleted by their owners; watched by everyone who may.
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, patch, post};

use super::state::HttpState;

mod change;
mod pull;
mod push;
mod remote;
mod show;
mod slate;
mod view;

/// Routes below `/api/v1`.
pub(super) fn routes() -> Router<HttpState> {
    Router::new()
        .route("/live", get(show::list).post(change::create))
        .route("/live/{id}", get(show::show).patch(change::update).delete(change::delete))
        .route("/live/{id}/end", post(change::end))
        .route("/live/{id}/key", post(change::rotate_key))
        .route("/live/{id}/pull", get(pull::show).put(pull::replace).delete(pull::remove))
        .route("/live/{id}/pushes", get(push::list).post(push::create))
        .route("/live/{id}/pushes/{push}", patch(push::update).delete(push::remove))
        .route(
            "/live/{id}/slate",
            get(slate::show).put(slate::replace).delete(slate::remove).layer(DefaultBodyLimit::disable()),
        )
}
