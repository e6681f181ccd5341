//! `/live/{id}/pushes`: other servers that a stream's broadcasts are sent to. What is secret in their URLs is never shown.
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Serialize};

use super::change::own_live;
use super::remote::Remote;
use crate::actors::lives::PushStats;
use crate::domain::ids::{LiveId, PushId};
use crate::domain::live::push::{Push, check_name};
use crate::domain::live::{Live, LivePatch};
use crate::domain::ports::CatalogError;
use crate::http::auth::Viewer;
use crate::http::extract::{IdPath, Json};
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::protocols::outlet::Way;

/// How often a change is made on top of another one.
const ATTEMPTS: usize = 5;

/// A push as its owner sees it.
#[derive(Debug, Serialize)]
struct PushView {
    id: PushId,
    name: String,
    /// Without what may be a secret.
    url: String,
    enabled: bool,
    /// How it does, while a broadcast goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<PushStats>,
}

impl PushView {
    fn of(push: &Push, stats: &[PushStats]) -> Self {
        let stats = stats.iter().find(|stats| stats.id == push.id).cloned();
        let Push { id, name, shown, enabled, .. } = push.clone();
        Self { id, name, url: shown, enabled, stats }
    }
}

#[derive(Debug, Serialize)]
struct PushList {
    data: Vec<PushView>,
}

/// What an owner says of a push; what is left out stays, or has its default.
#[derive(Deserialize)]
pub(super) struct PushBody {
    name: Option<String>,
    url: Option<String>,
    /// As services tell it beside the URL: its last part, the stream id by SRT, or the bearer token by WHIP.
    stream_key: Option<String>,
    enabled: Option<bool>,
}

impl PushBody {
    /// `None` when it says no URL.
    fn target(&self, state: &HttpState, live: &Live) -> Result<Option<Remote>, Problem> {
        match (&self.url, &self.stream_key) {
            (Some(url), key) => Remote::of(state, live, (url, key.as_deref()), Way::To).map(Some),
            (None, None) => Ok(None),
            (None, Some(_)) => {
                Err(Problem::invalid_field("/stream_key", "invalid", "Give the URL together with its key."))
            }
        }
    }

    fn name(&self) -> Result<Option<String>, Problem> {
        let Some(name) = self.name.as_deref().map(str::trim) else { return Ok(None) };
        check_name(name)?;
        Ok(Some(name.to_owned()))
    }
}

/// All of them, and how they do.
pub(super) async fn list(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<LiveId>,
) -> Result<Response, Problem> {
    let live = own_live(&state, &viewer, &id).await?;
    let stats = state.actors.lives.stats(&live.id).await?.map(|stats| stats.pushes).unwrap_or_default();
    let data = live.pushes.iter().map(|push| PushView::of(push, &stats)).collect();
    Ok(axum::Json(PushList { data }).into_response())
}

/// One more, from now on.
pub(super) async fn create(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<LiveId>,
    Json(body): Json<PushBody>,
) -> Result<Response, Problem> {
    let live = own_live(&state, &viewer, &id).await?;
    let target = body.target(&state, &live)?;
    let Remote { url, shown } = target.ok_or_else(|| Problem::invalid_field("/url", "required", "is required"))?;
    let (name, enabled) = (body.name()?.unwrap_or_default(), body.enabled.unwrap_or(true));
    let push = Push { id: PushId::random(&*state.ports.entropy), name, url, shown, enabled };
    let most = state.settings.live.pushes_max;
    edit(&state, &viewer, &id, |pushes| {
        if pushes.len() >= most {
            let detail = format!("A stream can be pushed to {most} servers at most.");
            return Err(Problem::new(StatusCode::CONFLICT, "too_many_pushes", detail));
        }
        pushes.push(push.clone());
        Ok(())
    })
    .await?;
    let location = format!("/api/v1/live/{id}/pushes/{}", push.id);
    let view = axum::Json(PushView::of(&push, &[]));
    Ok((StatusCode::CREATED, [(LOCATION, location)], view).into_response())
}

/// Changes its name, where it goes, or whether.
pub(super) async fn update(
    State(state): State<HttpState>,
    viewer: Viewer,
    Path(ids): Path<(String, String)>,
    Json(body): Json<PushBody>,
) -> Result<Response, Problem> {
    let (id, push) = parse(&ids)?;
    let live = own_live(&state, &viewer, &id).await?;
    let (target, name) = (body.target(&state, &live)?, body.name()?);
    let live = edit(&state, &viewer, &id, |pushes| {
        let push = pushes.iter_mut().find(|known| known.id == push).ok_or_else(Problem::not_found)?;
        push.name = name.clone().unwrap_or(std::mem::take(&mut push.name));
        push.enabled = body.enabled.unwrap_or(push.enabled);
        if let Some(Remote { url, shown }) = &target {
            (push.url, push.shown) = (url.clone(), shown.clone());
        }
        Ok(())
    })
    .await?;
    let changed = live.pushes.iter().find(|known| known.id == push).ok_or_else(Problem::not_found)?;
    Ok(axum::Json(PushView::of(changed, &[])).into_response())
}

/// None any more; the server is told farewell.
pub(super) async fn remove(
    State(state): State<HttpState>,
    viewer: Viewer,
    Path(ids): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (id, push) = parse(&ids)?;
    edit(&state, &viewer, &id, |pushes| {
        let before = pushes.len();
        pushes.retain(|known| known.id != push);
        if pushes.len() < before { Ok(()) } else { Err(Problem::not_found()) }
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse((live, push): &(String, String)) -> Result<(LiveId, PushId), Problem> {
    let not_found = |_| Problem::not_found();
    Ok((live.parse().map_err(not_found)?, push.parse().map_err(not_found)?))
}

/// Changes a stream's pushes as they are now; others may change the stream meanwhile.
async fn edit(
    state: &HttpState,
    viewer: &Viewer,
    id: &LiveId,
    mut change: impl FnMut(&mut Vec<Push>) -> Result<(), Problem>,
) -> Result<Live, Problem> {
    let mut attempt = 1;
    loop {
        let live = own_live(state, viewer, id).await?;
        let mut pushes = live.pushes;
        change(&mut pushes)?;
        let patch = LivePatch { pushes: Some(pushes), ..LivePatch::default() };
        match state.ports.catalog.update_live(id, patch, Some(live.revision), state.ports.clock.now()).await {
            Err(CatalogError::Stale) if attempt < ATTEMPTS => attempt += 1,
            changed => {
                let changed = changed?;
                state.actors.lives.change(&changed).await?;
                return Ok(changed);
            }
        }
    }
}
