//! The HTTP side: server, API, delivery and web page.
//!
//! A connection is driven by [`server`], every request passes [`pipeline`], and [`router`] composes the routes. Handlers
//! map a request to a response and know no listener; all they need is in [`state`].
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, HeaderValue};
use tower_http::compression::CompressionLayer;

mod access;
mod accounts;
mod admin;
mod auth;
mod client_address;
mod cors;
mod delivery;
mod etag;
pub mod extract;
pub(crate) mod forwarding;
mod freshness;
mod health;
mod live;
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
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod uploads;
mod videos;
mod visible;
mod web_page;
mod whep;
mod whip;

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
        .fallback(web_page::serve)
        .merge(signalling(&state, whep::media_routes()).route_layer(NoteRoute))
        .with_state(state.clone())
        .merge(state.delivery.routes().route_layer(NoteRoute))
}

/// Everything below `/api/v1`. What carries upload bytes does not belong below the limit by address: quotas and one writer
/// per upload bound it.
fn api(state: &HttpState) -> Router<HttpState> {
    let limited = Router::new()
        .route("/", get(service_document::show))
        .nest("/auth", auth::routes())
        .nest("/users", accounts::routes())
        .nest("/admin", admin::routes())
        .merge(videos::routes())
        .merge(playback::routes())
        .merge(live::routes())
        .route_layer(middleware::from_fn_with_state(state.clone(), limit_by_address))
        .layer(CompressionLayer::new().gzip(true))
        .layer(cors::layer(state.cors_origins.clone()));
    let signalling = signalling(state, whip::routes().merge(whep::routes()));
    limited.merge(signalling).merge(uploads::routes()).fallback(async || Problem::not_found())
}

/// Pages of other origins may publish, with a stream's key, and watch: rules of their own.
fn signalling(state: &HttpState, routes: Router<HttpState>) -> Router<HttpState> {
    routes
        .route_layer(middleware::from_fn_with_state(state.clone(), limit_by_address))
        .layer(whip::cors())
        .layer(middleware::from_fn(whip::discover))
}

/// Counts a request to the API against its address, and keeps its answer out of shared caches.
async fn limit_by_address(
    State(state): State<HttpState>,
    info: RequestInfo,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let allowance = state.rates.api.check(info.client().into())?;
    let mut response = next.run(request).await;
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
    if let Some(allowance) = allowance {
        allowance.write_to(response.headers_mut());
    }
    Ok(response)
}

/// Whether the client takes gzip.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && parts.next() != Some("q=0")
    })
}
