//! The way to a video's stream: `GET /videos/{id}/stream?quality=&format=`, `GET /videos/{id}/manifest.m3u8`.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CACHE_CONTROL, LOCATION, VARY};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::view::{RenditionView, ThumbnailView, hls_url, renditions, thumbnails};
use crate::domain::ids::VideoId;
use crate::domain::time::Timestamp;
use crate::domain::video::{Privacy, RenditionState, Video};
use crate::http::auth::Viewer;
use crate::http::extract::{IdPath, Query};
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;
use crate::http::visible::visible_video;

/// Short sides that `quality` may name.
const QUALITIES: [u32; 8] = [144, 240, 360, 480, 720, 1080, 1440, 2160];

#[derive(Debug, Deserialize)]
pub(super) struct StreamQuery {
    quality: Option<String>,
    format: Option<String>,
}

#[derive(Debug, Serialize)]
struct StreamReply {
    url: String,
    /// When the URL ends; `null` when it does not.
    expires_at: Option<Timestamp>,
    quality: String,
    format: &'static str,
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
    check_format(query.format.as_deref().unwrap_or("hls"))?;
    let quality = query.quality.unwrap_or_else(|| "auto".to_owned());
    let url = hls_url(&state, &info, &video).ok_or_else(not_playable)?;
    check_quality(&video, &quality)?;
    if !accepts_json(&headers) {
        return Ok(redirect(&url));
    }
    let reply = StreamReply {
        url,
        expires_at: (video.privacy != Privacy::Public).then(|| state.delivery.links_end()),
        quality,
        format: "hls",
        renditions: renditions(&video),
        subtitles: [],
        thumbnails: thumbnails(&state, &info, &video),
    };
    Ok(([(VARY, "accept"), (CACHE_CONTROL, "private, no-store")], axum::Json(reply)).into_response())
}

/// A name for the manifest that ends as players expect it.
pub(super) async fn manifest(
    State(state): State<HttpState>,
    viewer: Option<Viewer>,
    info: RequestInfo,
    IdPath(id): IdPath<VideoId>,
) -> Result<Response, Problem> {
    let video = visible_video(&state, viewer.as_ref(), &id).await?;
    hls_url(&state, &info, &video).map(|url| redirect(&url)).ok_or_else(not_playable)
}

fn redirect(url: &str) -> Response {
    (StatusCode::FOUND, [(LOCATION, url), (VARY, "accept"), (CACHE_CONTROL, "private, no-store")]).into_response()
}

fn not_playable() -> Problem {
    Problem::new(StatusCode::CONFLICT, "not_playable", "This video cannot be watched yet.")
}

fn accepts_json(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("application/json"))
}

fn check_format(format: &str) -> Result<(), Problem> {
    match format {
        "hls" => Ok(()),
        "dash" => {
            let detail = "DASH is not available yet. Ask for format=hls.";
            Err(Problem::new(StatusCode::NOT_FOUND, "format_not_available", detail))
        }
        _ => Err(Problem::bad_request("invalid_query", "format must be hls or dash.")),
    }
}

/// A quality is there when a finished rendition has that short side, whatever its shape.
fn check_quality(video: &Video, quality: &str) -> Result<(), Problem> {
    let short_side = match quality {
        "auto" => return Ok(()),
        "4k" => Some(2160),
        named => named.strip_suffix('p').and_then(|digits| digits.parse().ok()).filter(|side| QUALITIES.contains(side)),
    };
    let Some(short_side) = short_side else {
        return Err(Problem::bad_request("invalid_query", "quality must be auto, 144p to 2160p, or 4k."));
    };
    let ready = video.renditions.iter().filter(|one| one.kind == "video" && one.state == RenditionState::Ready);
    let sides: Vec<u32> = ready.map(|one| one.width.min(one.height)).collect();
    if sides.contains(&short_side) {
        return Ok(());
    }
    let available: Vec<String> = sides.iter().map(|side| format!("{side}p")).collect();
    Err(Problem::new(StatusCode::NOT_FOUND, "quality_not_available", "This video does not have that quality.")
        .with_member("available", available))
}
