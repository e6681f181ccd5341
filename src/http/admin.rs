//! What administrators see of a running node: `GET /admin/actors`, `GET /admin/nodes`; and do to it: `POST /admin/janitor/rounds`,
//! `POST /admin/transcodes/pause` and `resume`.
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
    Router::new()
        .route("/actors", get(actors))
        .route("/nodes", get(nodes))
        .route("/janitor/rounds", post(run_janitor))
        .route("/transcodes/pause", post(pause))
        .route("/transcodes/resume", post(resume))
}

/// The supervision tree with a snapshot of each actor.
async fn actors(State(state): State<HttpState>, viewer: Viewer) -> Result<Response, Problem> {
    viewer.require(Role::Admin)?;
    Ok(axum::Json(state.actors.root.describe().await?).into_response())
}

/// Who is in the cluster, as this node sees it; a server that is alone is a cluster of one.
async fn nodes(State(state): State<HttpState>, viewer: Viewer) -> Result<Response, Problem> {
    viewer.require(Role::Admin)?;
    let nodes = &state.actors.nodes;
    let answer = serde_json::json!({ "me": nodes.me().node, "data": &*nodes.members() });
    Ok(axum::Json(answer).into_response())
}

/// Cleans up now instead of at the next round; says what was done.
async fn run_janitor(State(state): State<HttpState>, viewer: Viewer) -> Result<Response, Problem> {
    viewer.require(Role::Admin)?;
    Ok(axum::Json(state.actors.janitor.run_round().await?).into_response())
}

/// Begins no more encoding on this node; what is under way goes on.
async fn pause(State(state): State<HttpState>, viewer: Viewer) -> Result<Response, Problem> {
    set_paused(&state, &viewer, true)
}

/// Goes on with encoding.
async fn resume(State(state): State<HttpState>, viewer: Viewer) -> Result<Response, Problem> {
    set_paused(&state, &viewer, false)
}

fn set_paused(state: &HttpState, viewer: &Viewer, is_paused: bool) -> Result<Response, Problem> {
    viewer.require(Role::Admin)?;
    state.actors.transcodes.pause(is_paused);
    Ok(axum::Json(serde_json::json!({ "is_paused": state.actors.transcodes.is_paused() })).into_response())
}
