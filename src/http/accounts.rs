//! Profiles: `GET|PATCH /users/me`, `GET /users/{id}`.
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::auth::Viewer;
use super::auth::first_admin::{FIRST_ADMIN, forget_password_file};
use super::etag;
use super::extract::{IdPath, Json};
use super::problem::Problem;
use super::state::HttpState;
use crate::domain::account::{Channel, Email, PASSWORD_BYTES_MAX, ProfilePatch, Role, User, check_password};
use crate::domain::ids::{ChannelId, UserId};
use crate::domain::time::Timestamp;

/// Longest display or channel name, characters.
const NAME_CHARS_MAX: usize = 100;
/// Longest channel description, characters.
const DESCRIPTION_CHARS_MAX: usize = 5000;

/// Everything below `/users`.
pub(crate) fn routes() -> Router<HttpState> {
    Router::new().route("/me", get(own).patch(update)).route("/{id}", get(public))
}

/// What everyone may know of an account.
#[derive(Serialize)]
pub(crate) struct PublicProfile {
    user_id: UserId,
    username: String,
    display_name: String,
    avatar_url: Option<String>,
    is_verified: bool,
    channel: ChannelView,
    created_at: Timestamp,
}

/// What only its owner is told besides.
#[derive(Serialize)]
pub(crate) struct OwnProfile {
    #[serde(flatten)]
    public: PublicProfile,
    email: String,
    role: Role,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct ChannelView {
    channel_id: ChannelId,
    name: String,
    description: String,
    subscriber_count: u64,
}

impl ChannelView {
    fn of(channel: &Channel) -> Self {
        Self {
            channel_id: channel.id.clone(),
            name: channel.name.clone(),
            description: channel.description.clone(),
            subscriber_count: channel.subscriber_count,
        }
    }
}

impl PublicProfile {
    fn of(user: &User) -> Self {
        Self {
            user_id: user.id.clone(),
            username: user.username.clone(),
            display_name: user.display_name.clone(),
            avatar_url: user.avatar_url.clone(),
            is_verified: user.is_verified,
            channel: ChannelView::of(&user.channel),
            created_at: user.created_at,
        }
    }
}

impl OwnProfile {
    /// Of this account.
    pub(crate) fn of(user: &User) -> Self {
        Self {
            public: PublicProfile::of(user),
            email: user.email.clone(),
            role: user.role,
            updated_at: user.updated_at,
        }
    }
}

async fn public(State(state): State<HttpState>, IdPath(id): IdPath<UserId>) -> Result<Response, Problem> {
    let user = state.ports.catalog.user(&id).await?.filter(|user| user.is_active).ok_or_else(Problem::not_found)?;
    Ok(axum::Json(PublicProfile::of(&user)).into_response())
}

async fn own(State(state): State<HttpState>, viewer: Viewer, headers: HeaderMap) -> Result<Response, Problem> {
    let user = state.ports.catalog.user(&viewer.user_id).await?.ok_or_else(Problem::not_found)?;
    etag::json(&headers, user.revision, &OwnProfile::of(&user))
}

/// A change to one's profile; absent fields stay as they are.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProfileChange {
    display_name: Option<String>,
    email: Option<String>,
    channel_name: Option<String>,
    channel_description: Option<String>,
    password: Option<String>,
    current_password: Option<String>,
}

async fn update(
    State(state): State<HttpState>,
    viewer: Viewer,
    headers: HeaderMap,
    Json(change): Json<ProfileChange>,
) -> Result<Response, Problem> {
    let expected = etag::expected_revision(&headers)?;
    let patch = patch_of(&state, &viewer, change).await?;
    let changes_password = patch.password_hash.is_some();
    let now = state.ports.clock.now();
    let user = state.ports.catalog.update_profile(&viewer.user_id, patch, expected, now).await?;
    if changes_password {
        // Whoever knew the old password is signed out; the device that changed it stays.
        let revoked = state.ports.catalog.revoke_logins(&viewer.user_id, Some(&viewer.login_id), now).await;
        state.logins.forget_all();
        revoked?;
        if user.username == FIRST_ADMIN {
            forget_password_file(&state.settings.server.data_dir);
        }
    }
    state.videos.forget_author(&user.id);
    etag::json(&HeaderMap::new(), user.revision, &OwnProfile::of(&user))
}

async fn patch_of(state: &HttpState, viewer: &Viewer, change: ProfileChange) -> Result<ProfilePatch, Problem> {
    let password_hash = match change.password {
        Some(password) => {
            check_password(&password)?;
            check_current_password(state, viewer, change.current_password).await?;
            Some(state.passwords.hash(&password, &*state.ports.entropy).await?)
        }
        None => None,
    };
    Ok(ProfilePatch {
        display_name: checked_text("display_name", change.display_name, 1, NAME_CHARS_MAX)?,
        email: change.email.map(|email| Email::parse(&email)).transpose()?,
        channel_name: checked_text("channel_name", change.channel_name, 1, NAME_CHARS_MAX)?,
        channel_description: checked_text("channel_description", change.channel_description, 0, DESCRIPTION_CHARS_MAX)?,
        password_hash,
    })
}

async fn check_current_password(state: &HttpState, viewer: &Viewer, shown: Option<String>) -> Result<(), Problem> {
    let Some(shown) = shown.filter(|shown| shown.len() <= PASSWORD_BYTES_MAX) else {
        return Err(Problem::invalid_field(
            "/current_password",
            "required",
            "Changing the password takes the current one.",
        ));
    };
    let user = state.ports.catalog.user(&viewer.user_id).await?.ok_or_else(Problem::not_found)?;
    // A stolen access token must not become a way to try passwords.
    state.rates.login_by_account.check(user.username.to_lowercase())?;
    if state.passwords.is_right(&shown, Some(user.password_hash)).await? {
        return Ok(());
    }
    Err(Problem::invalid_field("/current_password", "wrong", "This is not the current password."))
}

fn checked_text(field: &str, text: Option<String>, min: usize, max: usize) -> Result<Option<String>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let trimmed = text.trim();
    let chars = trimmed.chars().count();
    if chars < min || chars > max {
        let detail = format!("must have {min} to {max} characters, has {chars}");
        return Err(Problem::invalid_field(format!("/{field}"), "invalid", detail));
    }
    Ok(Some(trimmed.to_owned()))
}
