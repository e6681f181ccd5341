//! The signed-in viewer, as handlers ask for it: `Viewer` refuses strangers, `Option<Viewer>` lets them in as such.
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::keys::TokenError;
use crate::domain::account::Role;
use crate::domain::ids::{LoginId, UserId};
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;

/// Who asks, by an access token that was checked and a sign-in that is still good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    /// The account.
    pub user_id: UserId,
    /// The sign-in.
    pub login_id: LoginId,
    /// What the account may do now (not when the token was issued).
    pub role: Role,
}

impl Viewer {
    /// 403 unless the account's role includes `role`.
    pub fn require(&self, role: Role) -> Result<(), Problem> {
        if self.role.includes(role) {
            return Ok(());
        }
        Err(Problem::forbidden("role_required", format!("This takes the role {role} or a higher one.")))
    }

    /// Whether the account owns what belongs to `owner`, or may act on others' content.
    pub fn may_edit(&self, owner: &UserId) -> bool {
        self.user_id == *owner || self.role.includes(Role::Moderator)
    }
}

impl FromRequestParts<HttpState> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Problem> {
        <Self as OptionalFromRequestParts<HttpState>>::from_request_parts(parts, state).await?.ok_or_else(|| {
            Problem::unauthorized("authentication_required", "Sign in and send the access token as a bearer token.")
        })
    }
}

impl OptionalFromRequestParts<HttpState> for Viewer {
    type Rejection = Problem;

    /// `None` without a token. A token that is shown must be good, so that its bearer learns that it is time to refresh.
    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Option<Self>, Problem> {
        let Some(token) = bearer_token(parts)? else { return Ok(None) };
        let now = state.ports.clock.now();
        let claims = state.access_keys.check(token, now).map_err(|error| match error {
            TokenError::Invalid => {
                Problem::unauthorized("invalid_token", "This is not an access token of this server.")
            }
            TokenError::Expired => Problem::unauthorized("token_expired", "This access token has expired. Refresh it."),
        })?;
        let login = state.logins.find(&*state.ports.catalog, &claims.sid, now).await?;
        let Some(login) = login.filter(|login| login.user_id == claims.sub) else {
            return Err(Problem::unauthorized("signed_out", "This device was signed out."));
        };
        if let Some(info) = parts.extensions.get::<RequestInfo>() {
            info.note_user(&login.user_id);
        }
        Ok(Some(Self { user_id: login.user_id, login_id: claims.sid, role: login.role }))
    }
}

fn bearer_token(parts: &Parts) -> Result<Option<&str>, Problem> {
    let Some(header) = parts.headers.get(AUTHORIZATION) else { return Ok(None) };
    let text = header.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Problem::unauthorized("invalid_token", "Only bearer tokens are understood here.")),
    }
}
