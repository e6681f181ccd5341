//! What operators' tools ask: is it alive, may it be sent requests, how is it doing.
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::problem::Problem;
use super::state::HttpState;

/// How long the catalog has to answer before the node calls itself not ready.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /healthz`: the process answers.
pub(super) async fn live() -> Response {
    ([(CACHE_CONTROL, "no-store")], "ok\n").into_response()
}

/// `GET /readyz`: the node may be sent requests; 503 while it drains or is cut off from others, or when the catalog does not answer. Of a
/// cluster all nodes stay ready while the catalog answers nobody: what is watched goes on.
pub(super) async fn ready(State(state): State<HttpState>) -> Result<Response, Problem> {
    if state.draining().is_cancelled() {
        return Err(Problem::unavailable("This node is stopping.", Duration::from_secs(5)));
    }
    if state.actors.nodes.is_aside() {
        return Err(Problem::unavailable("This node is cut off from the others.", Duration::from_secs(5)));
    }
    if state.actors.nodes.is_outdone() {
        return Err(Problem::unavailable("The catalog answers other nodes, and not this one.", PING_TIMEOUT));
    }
    if !state.actors.nodes.is_cluster() {
        match tokio::time::timeout(PING_TIMEOUT, state.ports.catalog.ping()).await {
            Ok(answer) => answer?,
            Err(_) => return Err(Problem::unavailable("The catalog does not answer in time.", PING_TIMEOUT)),
        }
    }
    Ok(([(CACHE_CONTROL, "no-store")], "ready\n").into_response())
}

/// `GET /metrics`: Prometheus' text format.
pub(super) async fn metrics(State(state): State<HttpState>) -> Response {
    state.actors.lives.measure();
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    metrics::gauge!("playhouse_tasks").set(tasks as f64);
    state.metrics.run_upkeep();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), (CACHE_CONTROL, "no-store")], state.metrics.render())
        .into_response()
}
