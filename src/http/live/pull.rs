//! `/live/{id}/pull`: another server that a stream is fetched from. What is secret in its URL is never shown.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::change::own_live;
use super::remote::Remote;
use crate::actors::live_pull::PullStats;
use crate::domain::ids::LiveId;
use crate::domain::live::pull::Pull;
use crate::domain::live::{Live, LivePatch, LiveState};
use crate::http::auth::Viewer;
use crate::http::extract::{IdPath, Json};
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::protocols::outlet::Way;

/// A pull as its owner sees it.
#[derive(Debug, Serialize)]
struct PullView {
    /// Without what may be a secret.
    url: String,
    enabled: bool,
    /// How it does, while it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<PullStats>,
}

impl PullView {
    async fn of(state: &HttpState, live: &Live) -> Result<axum::Json<Self>, Problem> {
        let Pull { shown, enabled, .. } = live.pull.clone().ok_or_else(Problem::not_found)?;
        Ok(axum::Json(Self { url: shown, enabled, stats: state.actors.pulls.stats(&live.id).await? }))
    }
}

/// What an owner says of a pull; what is left out stays, or has its default.
#[derive(Deserialize)]
pub(super) struct PullBody {
    url: Option<String>,
    /// As services tell it beside the URL: its last part, the stream id by SRT, or the bearer token by WHEP.
    stream_key: Option<String>,
    enabled: Option<bool>,
}

/// Where the stream is fetched from, and how that goes.
pub(super) async fn show(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<LiveId>,
) -> Result<Response, Problem> {
    let live = own_live(&state, &viewer, &id).await?;
    Ok(PullView::of(&state, &live).await?.into_response())
}

/// Has the stream fetched from there, from now on.
pub(super) async fn replace(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<LiveId>,
    Json(body): Json<PullBody>,
) -> Result<Response, Problem> {
    let live = own_live(&state, &viewer, &id).await?;
    if live.state == LiveState::Ended {
        return Err(Problem::new(StatusCode::CONFLICT, "ended", "This stream has ended: make a new one."));
    }
    let enabled = body.enabled.unwrap_or(true);
    let pull = match (&body.url, &live.pull) {
        (Some(url), _) => {
            let Remote { url, shown } = Remote::of(&state, &live, (url, body.stream_key.as_deref()), Way::From)?;
            Pull { url, shown, enabled }
        }
        (None, Some(before)) => Pull { enabled, ..before.clone() },
        (None, None) => return Err(Problem::invalid_field("/url", "required", "is required")),
    };
    let changed = change(&state, &live, Some(pull)).await?;
    let status = if live.pull.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, PullView::of(&state, &changed).await?).into_response())
}

/// It is fetched no more.
pub(super) async fn remove(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<LiveId>,
) -> Result<StatusCode, Problem> {
    let live = own_live(&state, &viewer, &id).await?;
    live.pull.as_ref().ok_or_else(Problem::not_found)?;
    change(&state, &live, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The same for a broadcast that its owner ends: it would begin anew at once.
pub(super) async fn switch_off(state: &HttpState, live: &Live) -> Result<(), Problem> {
    if let Some(pull) = live.pull.clone().filter(|pull| pull.enabled) {
        change(state, live, Some(Pull { enabled: false, ..pull })).await?;
    }
    Ok(())
}

async fn change(state: &HttpState, live: &Live, pull: Option<Pull>) -> Result<Live, Problem> {
    let patch = LivePatch { pull: Some(pull), ..LivePatch::default() };
    let changed = state.ports.catalog.update_live(&live.id, patch, None, state.ports.clock.now()).await?;
    state.actors.pulls.change(&changed).await?;
    Ok(changed)
}
