//! What administrators see of a running node: `GET /admin/actors`; and do to it: `POST /admin/janitor/rounds`.
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::auth::Viewer;
use super::problem::Problem;
use super::state::HttpState;
use crate::domain::account::Role;

/// Everything below `/admin`.
pub(super) fn routes() -> Router<HttpState> {
    Router::new().route("/actors", get(actors)).route("/janitor/rounds", post(run_janitor))
}

/// The supervision tree with a snapshot of each actor.
async fn actors(State(state): State<HttpState>, viewer: Viewer) -> Result<Response, Problem> {
    viewer.require(Role::Admin)?;
    Ok(axum::Json(state.actors.root.describe().await?).into_response())
}

/// Cleans up now instead of at the next round; says what was done.
async fn run_janitor(State(state): State<HttpState>, viewer: Viewer) -> Result<Response, Problem> {
    viewer.require(Role::Admin)?;
    Ok(axum::Json(state.actors.janitor.run_round().await?).into_response())
}
