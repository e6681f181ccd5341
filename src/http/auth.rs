//! Who asks: passwords, access tokens, sign-ins, and the extractor handlers use.
use axum::Router;
use axum::routing::{delete, get, post};

use super::state::HttpState;

pub(crate) mod browser;
pub(crate) mod first_admin;
pub(crate) mod keys;
pub(crate) mod logins;
mod logout;
pub(crate) mod passwords;
mod refresh;
mod register;
mod sessions;
mod sign_in;
mod viewer;

pub use first_admin::{FirstAdminError, ensure_first_admin};
pub use viewer::Viewer;

/// Everything below `/auth`.
pub(crate) fn routes() -> Router<HttpState> {
    Router::new()
        .route("/register", post(register::register))
        .route("/login", post(sign_in::login))
        .route("/refresh", post(refresh::refresh))
        .route("/logout", post(logout::logout))
        .route("/sessions", get(sessions::list).delete(sessions::revoke_others))
        .route("/sessions/{id}", delete(sessions::revoke))
}
