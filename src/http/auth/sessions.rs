//! The devices an account is signed in on: `GET /auth/sessions`, `DELETE /auth/sessions/{id}`, `DELETE /auth/sessions`.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use super::Viewer;
use crate::domain::account::Login;
use crate::domain::ids::LoginId;
use crate::domain::time::Timestamp;
use crate::http::extract::IdPath;
use crate::http::problem::Problem;
use crate::http::state::HttpState;

/// One device, without its tokens.
#[derive(Serialize)]
struct Session {
    id: LoginId,
    user_agent: String,
    address: String,
    is_browser: bool,
    created_at: Timestamp,
    used_at: Timestamp,
    expires_at: Timestamp,
    current: bool,
}

/// Every live one, newest first.
pub(crate) async fn list(State(state): State<HttpState>, viewer: Viewer) -> Result<Response, Problem> {
    let logins = state.ports.catalog.logins(&viewer.user_id).await?;
    let shown = |login: Login| Session {
        current: login.id == viewer.login_id,
        id: login.id,
        user_agent: login.user_agent,
        address: login.address,
        is_browser: login.is_browser,
        created_at: login.created_at,
        used_at: login.used_at,
        expires_at: login.expires_at,
    };
    let data: Vec<_> = logins.into_iter().map(shown).collect();
    Ok(axum::Json(serde_json::json!({ "data": data })).into_response())
}

/// Signs one device out.
pub(crate) async fn revoke(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<LoginId>,
) -> Result<StatusCode, Problem> {
    let revoked = state.ports.catalog.revoke_login(&viewer.user_id, &id, state.ports.clock.now()).await;
    state.logins.forget_all();
    revoked?;
    Ok(StatusCode::NO_CONTENT)
}

/// Signs every device out but the one that asks.
pub(crate) async fn revoke_others(State(state): State<HttpState>, viewer: Viewer) -> Result<Response, Problem> {
    let now = state.ports.clock.now();
    let revoked = state.ports.catalog.revoke_logins(&viewer.user_id, Some(&viewer.login_id), now).await;
    state.logins.forget_all();
    Ok(axum::Json(serde_json::json!({ "revoked": revoked? })).into_response())
}
