//! Where clients begin: `GET /api/v1` says what this server is and where things are.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use serde::Serialize;

use super::request_info::RequestInfo;
use super::state::HttpState;

#[derive(Serialize)]
struct ServiceDocument {
    name: &'static str,
    version: &'static str,
    registration_open: bool,
    uploads_url: String,
    videos_url: String,
    login_url: String,
    register_url: String,
    jwks_url: String,
    upload_size_max: u64,
}

/// `GET /api/v1`.
pub(super) async fn show(State(state): State<HttpState>, info: RequestInfo) -> Response {
    let base = info.base_url(&state.settings);
    let document = ServiceDocument {
        name: "playhouse",
        version: env!("CARGO_PKG_VERSION"),
        registration_open: state.settings.accounts.registration_open,
        uploads_url: format!("{base}/api/v1/uploads"),
        videos_url: format!("{base}/api/v1/videos"),
        login_url: format!("{base}/api/v1/auth/login"),
        register_url: format!("{base}/api/v1/auth/register"),
        jwks_url: format!("{base}/.well-known/jwks.json"),
        upload_size_max: state.settings.uploads.size_max.as_u64(),
    };
    axum::Json(document).into_response()
}

/// `GET /.well-known/jwks.json`: the key that access tokens are signed with.
pub(super) async fn jwks(State(state): State<HttpState>) -> Response {
    ([(CACHE_CONTROL, "public, max-age=3600")], axum::Json(state.access_keys.jwks())).into_response()
}
