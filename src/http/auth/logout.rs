//! `POST /auth/logout`: signs this device out, named by its cookie, its refresh token or its access token.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};

use super::refresh::{RefreshRequest, rotate};
use super::{Viewer, browser};
use crate::domain::ids::{LoginId, UserId};
use crate::domain::ports::CatalogError;
use crate::http::extract::Json;
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;

/// Signs out. A token that is no good any more is no error: the device is out either way.
pub(crate) async fn logout(
    State(state): State<HttpState>,
    info: RequestInfo,
    headers: HeaderMap,
    viewer: Result<Viewer, Problem>,
    request: Option<Json<RefreshRequest>>,
) -> Result<Response, Problem> {
    let in_cookie = browser::cookie_token(&state, &info, &headers)?;
    let in_body = request.and_then(|Json(request)| request.refresh_token);
    let shown = in_body.as_deref().or(in_cookie.as_deref());
    if let Err(problem) = &viewer
        && shown.is_none()
        && !browser::is_browser(&headers)
    {
        return Err(problem.clone());
    }
    if let Some(shown) = shown
        && let Ok((login, _)) = rotate(&state, &info, shown).await?
    {
        revoke(&state, &login.user_id, &login.id).await?;
    }
    if let Ok(viewer) = viewer {
        revoke(&state, &viewer.user_id, &viewer.login_id).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    if browser::is_browser(&headers) {
        browser::clear_cookie(&mut response, &state, &info);
    }
    Ok(response)
}

async fn revoke(state: &HttpState, user: &UserId, login: &LoginId) -> Result<(), Problem> {
    let revoked = state.ports.catalog.revoke_login(user, login, state.ports.clock.now()).await;
    state.logins.forget_all();
    match revoked {
        Ok(()) | Err(CatalogError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
