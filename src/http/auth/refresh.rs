//! `POST /auth/refresh`: trades a refresh token for the next one. Each is good once; showing a spent one means that it was
//! stolen from one side or the other, and signs the device out.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde::Deserialize;

use super::browser;
use super::sign_in::{RefreshToken, hash_of, token_reply};
use crate::domain::account::{Login, Rotation};
use crate::http::extract::Json;
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;

/// What it takes, unless the token is in the cookie.
#[derive(Debug, Deserialize)]
pub(crate) struct RefreshRequest {
    /// The current refresh token.
    #[serde(default)]
    pub(super) refresh_token: Option<String>,
}

/// Why a token was not traded.
pub(super) enum NotRotated {
    /// Spent before: the device is now signed out.
    Reused,
    /// Unknown, revoked or expired.
    Refused,
}

/// Rotates the token from the cookie or the body.
pub(crate) async fn refresh(
    State(state): State<HttpState>,
    info: RequestInfo,
    headers: HeaderMap,
    request: Option<Json<RefreshRequest>>,
) -> Result<Response, Problem> {
    let in_body = request.and_then(|Json(request)| request.refresh_token);
    let in_cookie = if in_body.is_none() { browser::cookie_token(&state, &info, &headers)? } else { None };
    let is_browser = in_cookie.is_some();
    let Some(shown) = in_body.or(in_cookie) else {
        return Err(Problem::unauthorized("refresh_token_missing", "There is no refresh token in this request."));
    };
    let (code, detail) = match rotate(&state, &info, &shown).await? {
        Ok((login, next)) => match state.ports.catalog.user(&login.user_id).await?.filter(|user| user.is_active) {
            Some(user) => {
                info.note_user(&user.id);
                return token_reply(&state, &info, (&user, &login.id), next, is_browser);
            }
            None => ("account_inactive", "This account is not active."),
        },
        Err(NotRotated::Reused) => {
            ("refresh_token_reused", "This token was used before, so this device was signed out. Sign in again.")
        }
        Err(NotRotated::Refused) => ("refresh_token_invalid", "This device is not signed in any more. Sign in again."),
    };
    let mut response = Problem::unauthorized(code, detail).into_response();
    if is_browser {
        browser::clear_cookie(&mut response, &state, &info);
    }
    Ok(response)
}

/// Replaces the shown token by a new one.
pub(super) async fn rotate(
    state: &HttpState,
    info: &RequestInfo,
    shown: &str,
) -> Result<Result<(Login, RefreshToken), NotRotated>, Problem> {
    let now = state.ports.clock.now();
    let next = RefreshToken::random(&*state.ports.entropy);
    let expires_at = now + state.settings.accounts.refresh_token_ttl.0;
    let address = info.client().to_string();
    match state.ports.catalog.rotate_refresh(&hash_of(shown), &next.hash(), &address, expires_at, now).await? {
        Rotation::Rotated(login) => Ok(Ok((login, next))),
        Rotation::Reused(login) => {
            state.logins.forget_all();
            metrics::counter!("playhouse_logins_total", "outcome" => "reused").increment(1);
            tracing::warn!(user.id = %login.user_id, login.id = %login.id, "a spent refresh token was shown");
            Ok(Err(NotRotated::Reused))
        }
        Rotation::Refused => Ok(Err(NotRotated::Refused)),
    }
}
