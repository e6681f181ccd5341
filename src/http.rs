//! The HTTP side: server, API, delivery and web page.
//!
//! A connection is driven by [`server`], every request passes [`pipeline`], and [`router`] composes the routes. Handlers
//! map a request to a response and know no listener; all they need is in [`state`].
#![allow(dead_code, reason = "the routes that use the rest follow in the next changes")]
use axum::Router;
use axum::routing::get;

mod access;
mod auth;
mod client_address;
mod delivery;
pub mod extract;
mod health;
mod memory;
pub mod metrics;
pub mod pipeline;
mod playback;
pub mod problem;
mod rates;
pub mod request_info;
pub mod server;
pub mod state;
mod visible;

pub use auth::Viewer;
use pipeline::NoteRoute;
use problem::Problem;
use state::HttpState;

/// Every route, ready to be served through a [`pipeline::Pipeline`].
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .nest("/api/v1", api(&state))
        .route_layer(NoteRoute)
        .fallback(async || Problem::not_found())
        .with_state(state.clone())
        .merge(state.delivery.routes().route_layer(NoteRoute))
}

/// Everything below `/api/v1`.
fn api(_state: &HttpState) -> Router<HttpState> {
    Router::new().merge(playback::routes())
}
