//! Watching, as the API sees it: open a session, send beacons, keep a position.
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::auth::Viewer;
use super::delivery::StreamFormat;
use super::extract::{IdPath, Json};
use super::problem::Problem;
use super::request_info::RequestInfo;
use super::state::HttpState;
use super::visible::visible_video;
use crate::actors::playback::PlaybackError;
use crate::domain::ids::{PlaybackSessionId, VideoId};
use crate::domain::playback::WatchPosition;
use crate::domain::playback::machine::{Heartbeat, PlayerEvent};
use crate::domain::time::Timestamp;
use crate::domain::video::Privacy;
use crate::media::view::View;

/// Most events, and most rebufferings, in one beacon.
const BEACON_ITEMS_MAX: usize = 100;
/// Longest position and duration believed: ten years.
const SECONDS_MAX: f64 = 315_360_000.0;

/// Routes below `/api/v1`.
pub(super) fn routes() -> Router<HttpState> {
    Router::new()
        .route("/videos/{id}/playback", post(open))
        .route("/videos/{id}/heartbeat", post(heartbeat))
        .route("/videos/{id}/watch-position", post(record_position).get(position))
}

/// An opened session.
#[derive(Debug, Serialize)]
struct Opened {
    /// To be named in every heartbeat.
    session: PlaybackSessionId,
    /// Where this account left off, seconds; 0 when it was watched to the end or never.
    resume_position: f64,
    /// Where to play from.
    urls: Urls,
    /// When the URLs of private and unlisted media end; absent for public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// Seconds between heartbeats.
    heartbeat_interval: u64,
}

#[derive(Debug, Serialize)]
struct Urls {
    hls: String,
    dash: String,
}

/// Seconds between a player's beacons: a crash of the player loses at most this much of what it watched.
const HEARTBEAT_INTERVAL_SECS: u64 = 10;

async fn open(
    State(state): State<HttpState>,
    viewer: Option<Viewer>,
    info: RequestInfo,
    IdPath(id): IdPath<VideoId>,
) -> Result<(StatusCode, axum::Json<Opened>), Problem> {
    let video = visible_video(&state, viewer.as_ref(), &id).await?;
    if !video.is_playable() {
        return Err(Problem::new(StatusCode::CONFLICT, "not_playable", "This video cannot be watched yet."));
    }
    let user = viewer.map(|viewer| viewer.user_id);
    let watched = match &user {
        Some(user) => state.ports.catalog.watch_position(user, &id).await?,
        None => None,
    };
    let duration_ms = video.duration_ms().unwrap_or(0);
    let session = state.actors.playback.open(&video.id, duration_ms, user).await?;
    let base = info.media_url(&state.settings);
    let url = |format| {
        let path = state.delivery.manifest_path(&video, format, (View::default(), Some(session.as_str())));
        format!("{base}{path}")
    };
    let urls = Urls { hls: url(StreamFormat::Hls), dash: url(StreamFormat::Dash) };
    let opened = Opened {
        session,
        resume_position: watched
            .filter(|watched| !watched.completed)
            // It may have been trimmed since.
            .filter(|watched| duration_ms == 0 || watched.position_ms < duration_ms)
            .map_or(0.0, |watched| watched.position_ms as f64 / 1000.0),
        urls,
        expires_at: (video.privacy != Privacy::Public).then(|| state.delivery.links_end()),
        heartbeat_interval: HEARTBEAT_INTERVAL_SECS,
    };
    Ok((StatusCode::CREATED, axum::Json(opened)))
}

/// A beacon, as players send it.
#[derive(Debug, Deserialize)]
struct Beacon {
    session: String,
    seq: u64,
    progress_sec: f64,
    #[serde(default)]
    buffer_events: Vec<BufferEvent>,
    startup_ms: Option<f64>,
    bitrate: Option<f64>,
    throughput: Option<f64>,
    #[serde(default)]
    events: Vec<BeaconEvent>,
}

#[derive(Debug, Deserialize)]
struct BufferEvent {
    duration_ms: f64,
}

#[derive(Debug, Deserialize)]
struct BeaconEvent {
    r#type: EventKind,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EventKind {
    Play,
    Pause,
    Seek,
    End,
}

impl From<EventKind> for PlayerEvent {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Play => Self::Play,
            EventKind::Pause => Self::Pause,
            EventKind::Seek => Self::Seek,
            EventKind::End => Self::End,
        }
    }
}

/// A number of seconds or milliseconds from outside, in whole milliseconds.
fn millis(pointer: &str, value: f64, per_unit: f64) -> Result<u64, Problem> {
    if !(0.0..=SECONDS_MAX * 1000.0 / per_unit).contains(&value) {
        return Err(Problem::invalid_field(pointer, "out_of_range", "must be a number that is not negative"));
    }
    Ok((value * per_unit) as u64)
}

impl Beacon {
    fn parse(self) -> Result<(PlaybackSessionId, Heartbeat), Problem> {
        if self.events.len() > BEACON_ITEMS_MAX || self.buffer_events.len() > BEACON_ITEMS_MAX {
            let detail = format!("at most {BEACON_ITEMS_MAX} events in one heartbeat");
            return Err(Problem::invalid_field("/events", "too_many", detail));
        }
        let session = PlaybackSessionId::parse(&self.session).map_err(|_| no_session())?;
        let rebuffers = self.buffer_events.iter().map(|event| millis("/buffer_events", event.duration_ms, 1.0));
        let beat = Heartbeat {
            sequence: self.seq,
            position_ms: millis("/progress_sec", self.progress_sec, 1000.0)?,
            rebuffers_ms: rebuffers.collect::<Result<_, _>>()?,
            startup_ms: self.startup_ms.map(|value| millis("/startup_ms", value, 1.0)).transpose()?,
            bit_rate: self.bitrate.map(|value| millis("/bitrate", value, 1.0)).transpose()?,
            throughput: self.throughput.map(|value| millis("/throughput", value, 1.0)).transpose()?,
            events: self.events.iter().map(|event| event.r#type.into()).collect(),
        };
        Ok((session, beat))
    }
}

fn no_session() -> Problem {
    let detail = "There is no such playback session any more. Open a new one.";
    Problem::new(StatusCode::NOT_FOUND, "session_not_found", detail)
}

impl From<PlaybackError> for Problem {
    fn from(error: PlaybackError) -> Self {
        match error {
            PlaybackError::NoSession => no_session(),
            PlaybackError::OtherVideo => Problem::new(StatusCode::CONFLICT, "other_video", error.to_string()),
            PlaybackError::Unavailable(error) => error.into(),
        }
    }
}

/// Takes a beacon. The session's id is the right to speak for it, so that `sendBeacon`, which carries no bearer token, works.
async fn heartbeat(
    State(state): State<HttpState>,
    IdPath(id): IdPath<VideoId>,
    Json(beacon): Json<Beacon>,
) -> Result<StatusCode, Problem> {
    let (session, beat) = beacon.parse()?;
    state.actors.playback.heartbeat(session, id, beat).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct PositionUpdate {
    position: f64,
    duration: f64,
}

#[derive(Debug, Serialize)]
struct PositionRecorded {
    success: bool,
    position: f64,
}

async fn record_position(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<VideoId>,
    Json(update): Json<PositionUpdate>,
) -> Result<axum::Json<PositionRecorded>, Problem> {
    let video = visible_video(&state, Some(&viewer), &id).await?;
    let duration_ms = millis("/duration", update.duration, 1000.0)?;
    let position_ms = millis("/position", update.position, 1000.0)?;
    let now = state.ports.clock.now();
    let recorded = WatchPosition::at(viewer.user_id, video.id.clone(), (position_ms, duration_ms), now);
    let position = recorded.position_ms as f64 / 1000.0;
    state.ports.catalog.record_position(recorded).await?;
    Ok(axum::Json(PositionRecorded { success: true, position }))
}

/// Where a viewer left off.
#[derive(Debug, Serialize)]
struct Position {
    position: f64,
    watched_percent: f64,
    completed: bool,
    updated_at: Option<Timestamp>,
}

async fn position(
    State(state): State<HttpState>,
    viewer: Viewer,
    IdPath(id): IdPath<VideoId>,
) -> Result<axum::Json<Position>, Problem> {
    visible_video(&state, Some(&viewer), &id).await?;
    let stored = state.ports.catalog.watch_position(&viewer.user_id, &id).await?;
    Ok(axum::Json(Position {
        position: stored.as_ref().map_or(0.0, |stored| stored.position_ms as f64 / 1000.0),
        watched_percent: stored.as_ref().map_or(0.0, |stored| f64::from(stored.watched_per_myriad) / 100.0),
        completed: stored.as_ref().is_some_and(|stored| stored.completed),
        updated_at: stored.map(|stored| stored.updated_at),
    }))
}
