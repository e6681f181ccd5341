//! Live streams made and changed by their owners.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::pull;
use super::show::visible_live;
use super::view::LiveView;
use crate::domain::ids::{LiveId, PlaybackId};
use crate::domain::live::{
    LadderChoice, LatencyMode, Live, LiveChoices, LivePatch, LiveState, Passphrase, SealedPassphrase, StoredKey,
    StreamKey,
};
use crate::domain::ports::CatalogError;
use crate::http::auth::Viewer;
use crate::http::etag;
use crate::http::extract::{IdPath, Json};
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;
use crate::http::uploads::details::DetailsBody;
use crate::http::videos::change::{Change, present};
use crate::settings::LiveSettings;

/// What an owner chooses; what is left out stays, or has its default.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct ChoicesBody {
    latency: Option<LatencyMode>,
    /// Seconds.
    dvr_window: Option<u64>,
    permanent: Option<bool>,
    archive: Option<bool>,
    ladder: Option<LadderChoice>,
}

impl ChoicesBody {
    fn apply(self, choices: LiveChoices, settings: &LiveSettings) -> Result<LiveChoices, Problem> {
        let longest = settings.window_max.0.as_secs();
        if self.dvr_window.is_some_and(|secs| secs > longest) {
            let detail = format!("at most {longest} seconds on this server");
            return Err(Problem::invalid_field("/dvr_window", "out_of_range", detail));
        }
        let choices = LiveChoices {
            latency: self.latency.unwrap_or(choices.latency),
            window_ms: self.dvr_window.map_or(choices.window_ms, |secs| secs.saturating_mul(1000)),
            permanent: self.permanent.unwrap_or(choices.permanent),
            archive: self.archive.unwrap_or(choices.archive),
            ladder: self.ladder.unwrap_or(choices.ladder),
        };
        choices.validate()?;
        Ok(choices)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct NewLive {
    #[serde(flatten)]
    details: DetailsBody,
    #[serde(flatten)]
    choices: ChoicesBody,
    #[serde(default)]
    srt_passphrase: Option<String>,
}

/// Makes a live stream: its key and URLs are good from now on.
pub(super) async fn create(
    State(state): State<HttpState>,
    viewer: Viewer,
    info: RequestInfo,
    Json(body): Json<NewLive>,
) -> Result<Response, Problem> {
    let (entropy, now) = (&*state.ports.entropy, state.ports.clock.now());
    let settings = &state.settings.live;
    let user = state.ports.catalog.user(&viewer.user_id).await?.ok_or_else(Problem::not_found)?;
    let live = Live {
        id: LiveId::random(entropy),
        playback_id: PlaybackId::random(entropy),
        user_id: user.id,
        channel_id: user.channel.id,
        details: body.details.details(None)?,
        choices: body.choices.apply(default_choices(settings), settings)?,
        key: new_key(&state)?,
        passphrase: body.srt_passphrase.map(|text| sealed(&state, text)).transpose()?,
        slate: None,
        pushes: Vec::new(),
        pull: None,
        state: LiveState::Idle,
        generation: 0,
        video_id: None,
        recording: None,
        started_at: None,
        ended_at: None,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    state.ports.catalog.create_live(live.clone()).await?;
    let view = LiveView::of(&state, (&info, Some(&viewer)), &live).await?;
    let location = format!("/api/v1/live/{}", live.id);
    let mut response = etag::json(&HeaderMap::new(), live.revision, &view)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(([(http::header::LOCATION, location)], response).into_response())
}

fn default_choices(settings: &LiveSettings) -> LiveChoices {
    let window_ms = u64::try_from(settings.window.0.as_millis()).unwrap_or(u64::MAX);
    LiveChoices { window_ms, ..LiveChoices::default() }
}

fn sealed(state: &HttpState, passphrase: String) -> Result<SealedPassphrase, Problem> {
    let passphrase = Passphrase::parse(passphrase)?;
    state.actors.lives.keys().store_passphrase(&passphrase).map_err(|_| {
        tracing::error!("a passphrase cannot be sealed");
        Problem::internal()
    })
}

fn new_key(state: &HttpState) -> Result<StoredKey, Problem> {
    let key = StreamKey::random(&*state.ports.entropy);
    state.actors.lives.keys().store(&key).map_err(|_| {
        tracing::error!("a stream key cannot be sealed");
        Problem::internal()
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct ChangedLive {
    #[serde(flatten)]
    details: Change,
    #[serde(flatten)]
    choices: ChoicesBody,
    /// `null`: none any more.
    #[serde(default, deserialize_with = "present")]
    srt_passphrase: Option<Option<String>>,
}

/// Changes what its owner said and chose (RFC 7396); with `If-Match` only when nobody else has meanwhile.
pub(super) async fn update(
    State(state): State<HttpState>,
    viewer: Viewer,
    info: RequestInfo,
    IdPath(id): IdPath<LiveId>,
    headers: HeaderMap,
    Json(body): Json<ChangedLive>,
) -> Result<Response, Problem> {
    let live = own_live(&state, &viewer, &id).await?;
    if body.details.trims() {
        return Err(Problem::invalid_field("/trim", "not_available", "Its recordings can be trimmed, not the stream."));
    }
    let details = body.details.parse()?.apply(live.details);
    details.validate()?;
    let passphrase = body.srt_passphrase.map(|told| told.map(|text| sealed(&state, text)).transpose()).transpose()?;
    let patch = LivePatch {
        details: Some(details),
        choices: Some(body.choices.apply(live.choices, &state.settings.live)?),
        passphrase,
        ..LivePatch::default()
    };
    let expected = etag::expected_revision(&headers)?.or(Some(live.revision));
    changed(&state, (&info, &viewer), (&id, patch, expected)).await
}

/// Makes a new stream key; whoever publishes with the old one is cut off at once.
pub(super) async fn rotate_key(
    State(state): State<HttpState>,
    viewer: Viewer,
    info: RequestInfo,
    IdPath(id): IdPath<LiveId>,
) -> Result<Response, Problem> {
    own_live(&state, &viewer, &id).await?;
    let patch = LivePatch { key: Some(new_key(&state)?), ..LivePatch::default() };
    changed(&state, (&info, &viewer), (&id, patch, None)).await
}

pub(super) async fn changed(
    state: &HttpState,
    (info, viewer): (&RequestInfo, &Viewer),
    (id, patch, expected): (&LiveId, LivePatch, Option<u64>),
) -> Result<Response, Problem> {
    let live = state.ports.catalog.update_live(id, patch, expected, state.ports.clock.now()).await?;
    state.actors.lives.change(&live).await?;
    let view = LiveView::of(state, (info, Some(viewer)), &live).await?;
    etag::json(&HeaderMap::new(), live.revision, &view)
}

/// Ends the broadcast. Without one there is nothing to be done.
pub(super) async fn end(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<LiveId>,
) -> Result<StatusCode, Problem> {
    let live = own_live(&state, &viewer, &id).await?;
    pull::switch_off(&state, &live).await?;
    state.actors.lives.end(&live).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a stream that is not live.
pub(super) async fn delete(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<LiveId>,
) -> Result<StatusCode, Problem> {
    let live = own_live(&state, &viewer, &id).await?;
    pull::switch_off(&state, &live).await?;
    match state.ports.catalog.delete_live(&id, state.ports.clock.now()).await {
        Err(CatalogError::Conflict(_)) => {
            Err(Problem::new(StatusCode::CONFLICT, "live", "End the broadcast before you delete the stream."))
        }
        deleted => {
            deleted?;
            Ok(StatusCode::NO_CONTENT)
        }
    }
}

/// The live stream, when this viewer may change it; who may only see it gets 403.
pub(super) async fn own_live(state: &HttpState, viewer: &Viewer, id: &LiveId) -> Result<Live, Problem> {
    let live = visible_live(state, Some(viewer), id).await?;
    if viewer.may_edit(&live.user_id) {
        return Ok(live);
    }
    Err(Problem::forbidden("not_yours", "Only its owner and moderators may change this stream."))
}
