//! The HTTP side: server, API, delivery and web page.
//!
//! A connection is driven by [`server`], every request passes [`pipeline`], and [`router`] composes the routes. Handlers
//! map a request to a response and know no listener; all they need is in [`state`].
#![allow(dead_code, reason = "the routes that use the rest follow in the next changes")]
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;

mod access;
mod accounts;
mod auth;
mod client_address;
mod delivery;
mod etag;
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
mod service_document;
pub mod state;
mod visible;

pub use auth::{FirstAdminError, Viewer, ensure_first_admin};
use pipeline::NoteRoute;
use problem::Problem;
use request_info::RequestInfo;
use state::HttpState;

/// Every route, ready to be served through a [`pipeline::Pipeline`].
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/.well-known/jwks.json", get(service_document::jwks))
        .nest("/api/v1", api(&state))
        .route_layer(NoteRoute)
        .fallback(async || Problem::not_found())
        .with_state(state.clone())
        .merge(state.delivery.routes().route_layer(NoteRoute))
}

/// Everything below `/api/v1`.
fn api(state: &HttpState) -> Router<HttpState> {
    Router::new()
        .route("/", get(service_document::show))
        .nest("/auth", auth::routes())
        .nest("/users", accounts::routes())
        .merge(playback::routes())
        .route_layer(middleware::from_fn_with_state(state.clone(), limit_by_address))
        .fallback(async || Problem::not_found())
}

/// Counts a request to the API against its address. What carries upload bytes is not below this layer: it is bounded by
/// quotas and by one writer per upload.
async fn limit_by_address(
    State(state): State<HttpState>,
    info: RequestInfo,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let allowance = state.rates.api.check(info.client().into())?;
    let mut response = next.run(request).await;
    if let Some(allowance) = allowance {
        allowance.write_to(response.headers_mut());
    }
    Ok(response)
}
