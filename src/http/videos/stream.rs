//! The way to a video's stream: `GET /videos/{id}/stream?quality=&format=`, `GET /videos/{id}/manifest.m3u8`.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CACHE_CONTROL, LOCATION, VARY};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::pictures::{ThumbnailView, shown_thumbnails};
use super::view::{RenditionView, manifest_url, renditions};
use crate::domain::ids::{PlaybackSessionId, VideoId};
use crate::domain::time::Timestamp;
use crate::domain::video::{Privacy, RenditionState, Video};
use crate::http::auth::Viewer;
use crate::http::delivery::StreamFormat;
use crate::http::extract::{IdPath, Query};
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;
use crate::http::visible::visible_video;
use crate::media::view::{View, affordable};
use crate::protocols::cmcd::wire::measured_throughput;

/// Short sides that `quality` may name, besides those that the video has.
const QUALITIES: [u32; 8] = [144, 240, 360, 480, 720, 1080, 1440, 2160];

/// What the answer depends on.
const VARIES: &str = "accept, save-data, cmcd-request";
/// Short side that pictures are kept to for who asks to save data.
const SAVING_SIDE: u32 = 480;

#[derive(Debug, Deserialize)]
pub(super) struct StreamQuery {
    quality: Option<String>,
    format: Option<String>,
    session: Option<String>,
    #[serde(rename = "CMCD")]
    cmcd: Option<String>,
}

#[derive(Debug, Serialize)]
struct StreamReply {
    url: String,
    /// When the URL ends; `null` when it does not.
    expires_at: Option<Timestamp>,
    quality: String,
    format: String,
    renditions: Vec<RenditionView>,
    subtitles: [(); 0],
    thumbnails: Vec<ThumbnailView>,
}

/// Leads to the manifest: by redirection, or as JSON for who accepts it.
pub(super) async fn stream(
    State(state): State<HttpState>,
    viewer: Option<Viewer>,
    info: RequestInfo,
    IdPath(id): IdPath<VideoId>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let video = visible_video(&state, viewer.as_ref(), &id).await?;
    let (name, format) = parse_format(query.format.as_deref())?;
    let quality = query.quality.clone().unwrap_or_else(|| "auto".to_owned());
    let side = parse_quality(&video, &quality)?;
    if !video.is_playable() {
        return Err(not_playable());
    }
    let view = match side {
        Some(side) => View { only: Some(available(&video, side)?), ..View::default() },
        None => fitting(&state, &video, &query, &headers).await,
    };
    let url = manifest_url(&state, &info, &video, (format, view)).ok_or_else(not_playable)?;
    if !accepts_json(&headers) {
        return Ok(redirect(&url));
    }
    let reply = StreamReply {
        url,
        expires_at: (video.privacy != Privacy::Public).then(|| state.delivery.links_end()),
        quality,
        format: name.to_owned(),
        renditions: renditions(&video),
        subtitles: [],
        thumbnails: shown_thumbnails(&state, &info, &video),
    };
    Ok(([(VARY, VARIES), (CACHE_CONTROL, "private, no-store")], axum::Json(reply)).into_response())
}

/// A name for the manifest that ends as players expect it.
pub(super) async fn manifest(
    State(state): State<HttpState>,
    viewer: Option<Viewer>,
    info: RequestInfo,
    IdPath(id): IdPath<VideoId>,
) -> Result<Response, Problem> {
    let video = visible_video(&state, viewer.as_ref(), &id).await?;
    let url = manifest_url(&state, &info, &video, (StreamFormat::Hls, View::default()));
    url.map(|url| redirect(&url)).ok_or_else(not_playable)
}

fn redirect(url: &str) -> Response {
    (StatusCode::FOUND, [(LOCATION, url), (VARY, VARIES), (CACHE_CONTROL, "private, no-store")]).into_response()
}

fn not_playable() -> Problem {
    Problem::new(StatusCode::CONFLICT, "not_playable", "This video cannot be watched yet.")
}

fn accepts_json(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("application/json"))
}

fn parse_format(format: Option<&str>) -> Result<(&'static str, StreamFormat), Problem> {
    match format {
        None | Some("hls") => Ok(("hls", StreamFormat::Hls)),
        Some("dash") => Ok(("dash", StreamFormat::Dash)),
        Some(_) => Err(Problem::bad_request("invalid_query", "format must be hls or dash.")),
    }
}

/// The short side that a quality names, whether or not this video has it; `None` for `auto`.
fn parse_quality(video: &Video, quality: &str) -> Result<Option<u32>, Problem> {
    if quality == "auto" {
        return Ok(None);
    }
    let digits = if quality == "4k" { Some("2160") } else { quality.strip_suffix('p') };
    let side = digits.and_then(|digits| digits.parse().ok());
    let is_named = |side: &u32| QUALITIES.contains(side) || sides(video).any(|(known, _)| known == *side);
    let refusal = || Problem::bad_request("invalid_query", "quality must be auto, 144p to 2160p, or 4k.");
    side.filter(is_named).map(Some).ok_or_else(refusal)
}

/// Short side and peak bit rate of the finished renditions of pictures, whatever their shape.
fn sides(video: &Video) -> impl Iterator<Item = (u32, u64)> {
    let ready = video.renditions.iter().filter(|one| one.kind == "video" && one.state == RenditionState::Ready);
    ready.map(|one| (one.width.min(one.height), one.bandwidth))
}

fn available(video: &Video, side: u32) -> Result<u32, Problem> {
    if sides(video).any(|(known, _)| known == side) {
        return Ok(side);
    }
    let mut available: Vec<u32> = sides(video).map(|(side, _)| side).collect();
    available.sort_unstable();
    available.dedup();
    let available: Vec<String> = available.iter().rev().map(|side| format!("{side}p")).collect();
    Err(Problem::new(StatusCode::NOT_FOUND, "quality_not_available", "This video does not have that quality.")
        .with_member("available", available))
}

/// What suits the viewer's connection, by what is known of it: the player's own measurement (CTA-5004), else what its
/// session told; and less for who asks to save data (RFC 8674's client hint).
async fn fitting(state: &HttpState, video: &Video, query: &StreamQuery, headers: &HeaderMap) -> View {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let told = query.cmcd.as_deref().or_else(|| text("cmcd-request")).and_then(measured_throughput);
    let throughput = match (told, &query.session) {
        (None, Some(session)) => match PlaybackSessionId::parse(session) {
            Ok(session) => state.actors.playback.throughput(session).await,
            Err(_) => None,
        },
        (told, _) => told,
    };
    let renditions: Vec<(u32, u64)> = sides(video).collect();
    let saves = text("save-data").is_some_and(|value| value.trim().eq_ignore_ascii_case("on"));
    View {
        only: None,
        most: saves.then_some(SAVING_SIDE),
        first: throughput.and_then(|bits_per_sec| affordable(&renditions, bits_per_sec)),
    }
}
