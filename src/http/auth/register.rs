//! `POST /auth/register`: a new account, signed in at once.
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::sign_in::open_login;
use crate::domain::account::{Email, NewUser, Role, Username, check_password};
use crate::domain::ids::{ChannelId, UserId};
use crate::domain::video::InvalidField;
use crate::http::extract::Json;
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;

/// What it takes.
#[derive(Debug, Deserialize)]
pub(crate) struct RegisterRequest {
    username: String,
    email: String,
    password: String,
}

/// Makes the account with its channel. Who registers may upload.
pub(crate) async fn register(
    State(state): State<HttpState>,
    info: RequestInfo,
    headers: HeaderMap,
    Json(request): Json<RegisterRequest>,
) -> Result<Response, Problem> {
    if !state.settings.accounts.registration_open {
        return Err(Problem::forbidden("registration_closed", "New accounts are made by the administrators here."));
    }
    state.rates.register.check(info.client().into())?;
    let (username, email) = check(&request)?;
    let new_user = NewUser {
        id: UserId::random(&*state.ports.entropy),
        channel_id: ChannelId::random(&*state.ports.entropy),
        username,
        email,
        password_hash: state.passwords.hash(&request.password, &*state.ports.entropy).await?,
        role: Role::Creator,
    };
    let user = state.ports.catalog.register(new_user, state.ports.clock.now()).await?;
    open_login(&state, &info, &headers, user, StatusCode::CREATED).await
}

/// Names every field that is wrong at once, so that a form is corrected in one go.
fn check(request: &RegisterRequest) -> Result<(Username, Email), Problem> {
    let checked = (Username::parse(&request.username), Email::parse(&request.email), check_password(&request.password));
    match checked {
        (Ok(username), Ok(email), Ok(())) => Ok((username, email)),
        (username, email, password) => Err(all_of([username.err(), email.err(), password.err()])),
    }
}

fn all_of(errors: [Option<InvalidField>; 3]) -> Problem {
    let problem =
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", "Part of the request is not acceptable.");
    errors
        .into_iter()
        .flatten()
        .fold(problem, |problem, error| problem.with_error(format!("/{}", error.field), "invalid", error.message))
}
