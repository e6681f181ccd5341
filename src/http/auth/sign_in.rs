//! Signing in: `POST /auth/login`, and the token reply that every way of signing in ends with.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, USER_AGENT};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::browser;
use crate::domain::account::{Login, PASSWORD_BYTES_MAX, User};
use crate::domain::events::NewEvent;
use crate::domain::ids::LoginId;
use crate::domain::ports::Entropy;
use crate::http::accounts::OwnProfile;
use crate::http::extract::Json;
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;

/// Random bytes of a refresh token.
const REFRESH_TOKEN_BYTES: usize = 32;
/// Longest `User-Agent` kept, characters: it is shown to the account's owner, nothing more.
const USER_AGENT_CHARS_MAX: usize = 200;
/// Longest name tried at sign-in, characters; e-mail addresses have at most 255.
const NAME_CHARS_MAX: usize = 255;

/// `POST /auth/login`.
#[derive(Debug, Deserialize)]
pub(crate) struct LoginRequest {
    username: String,
    password: String,
}

/// What every way of signing in answers.
#[derive(Serialize)]
struct TokenReply {
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    token_type: &'static str,
    expires_in: u64,
    user: OwnProfile,
}

/// Signs a device in by name or e-mail address and password.
pub(crate) async fn login(
    State(state): State<HttpState>,
    info: RequestInfo,
    headers: HeaderMap,
    Json(request): Json<LoginRequest>,
) -> Result<Response, Problem> {
    state.rates.login_by_address.check(info.client().into())?;
    let name: String = request.username.chars().take(NAME_CHARS_MAX).collect();
    state.rates.login_by_account.check(name.to_lowercase())?;
    let user = check_credentials(&state, &name, &request.password).await?;
    open_login(&state, &info, &headers, user, StatusCode::OK).await
}

async fn check_credentials(state: &HttpState, name: &str, password: &str) -> Result<User, Problem> {
    // Longer ones cannot have been set; hashing them would only be work.
    let password = password.get(..PASSWORD_BYTES_MAX.min(password.len())).unwrap_or_default();
    let user = state.ports.catalog.user_by_name(name).await?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let is_right = state.passwords.is_right(password, hash).await?;
    match user {
        Some(user) if is_right && user.is_active => Ok(user),
        user => {
            metrics::counter!("playhouse_logins_total", "outcome" => "refused").increment(1);
            if let Some(user) = user {
                let event = NewEvent::new("auth.login_failed", &user.id, serde_json::json!({}));
                state.ports.catalog.record_event(event, state.ports.clock.now()).await?;
            }
            Err(Problem::unauthorized("invalid_credentials", "The name or the password is wrong."))
        }
    }
}

/// Opens a sign-in for this account and answers with its tokens.
pub(super) async fn open_login(
    state: &HttpState,
    info: &RequestInfo,
    headers: &HeaderMap,
    user: User,
    status: StatusCode,
) -> Result<Response, Problem> {
    let now = state.ports.clock.now();
    let refresh = RefreshToken::random(&*state.ports.entropy);
    let is_browser = browser::is_browser(headers);
    let login = Login {
        id: LoginId::random(&*state.ports.entropy),
        user_id: user.id.clone(),
        refresh_hash: refresh.hash(),
        previous_hash: None,
        is_browser,
        user_agent: user_agent(headers),
        address: info.client().to_string(),
        created_at: now,
        used_at: now,
        expires_at: now + state.settings.accounts.refresh_token_ttl.0,
        revoked_at: None,
    };
    state.ports.catalog.open_login(login.clone()).await?;
    metrics::counter!("playhouse_logins_total", "outcome" => "accepted").increment(1);
    info.note_user(&user.id);
    let mut response = token_reply(state, info, (&user, &login.id), refresh, is_browser)?;
    *response.status_mut() = status;
    Ok(response)
}

/// An access token for this sign-in with the refresh token that goes with it.
pub(super) fn token_reply(
    state: &HttpState,
    info: &RequestInfo,
    (user, login): (&User, &LoginId),
    refresh: RefreshToken,
    is_browser: bool,
) -> Result<Response, Problem> {
    let ttl = state.settings.accounts.access_token_ttl.0;
    let issued = state.access_keys.issue((&user.id, user.role), login, state.ports.clock.now(), ttl);
    let reply = TokenReply {
        access_token: issued.map_err(|_| Problem::internal())?,
        refresh_token: (!is_browser).then(|| refresh.0.clone()),
        token_type: "Bearer",
        expires_in: ttl.as_secs(),
        user: OwnProfile::of(user),
    };
    let mut response = ([(CACHE_CONTROL, "no-store")], axum::Json(reply)).into_response();
    if is_browser {
        browser::set_cookie(&mut response, state, info, &refresh.0);
    }
    Ok(response)
}

fn user_agent(headers: &HeaderMap) -> String {
    let text = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.chars().take(USER_AGENT_CHARS_MAX).collect()
}

/// A refresh token: random, so that a plain SHA-256 is enough to keep it by.
pub(super) struct RefreshToken(String);

impl RefreshToken {
    /// A new one.
    pub(super) fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; REFRESH_TOKEN_BYTES];
        entropy.fill(&mut bytes);
        Self(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What is kept of it.
    pub(super) fn hash(&self) -> String {
        hash_of(&self.0)
    }
}

/// What is kept of a refresh token: SHA-256, hex.
pub(super) fn hash_of(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}
