//! A video's pictures as the API shows them: `GET /videos/{id}/thumbnails`, and what records say of them.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::domain::ids::VideoId;
use crate::domain::video::{Thumbnail, ThumbnailMoment, Video};
use crate::http::auth::Viewer;
use crate::http::extract::IdPath;
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;
use crate::http::visible::visible_video;

/// One still picture, in one size and format.
#[derive(Debug, Serialize)]
pub(super) struct ThumbnailView {
    url: String,
    width: u32,
    height: u32,
    content_type: String,
    moment: ThumbnailMoment,
    /// Seconds from the start.
    time: f64,
    /// Whether it stands for the video.
    chosen: bool,
}

/// Sheets of small pictures for the scrubber.
#[derive(Debug, Serialize)]
pub(super) struct StoryboardView {
    /// WebVTT that says which moment is where.
    vtt: String,
    sheets: Vec<String>,
    /// Of one small picture, pixels.
    width: u32,
    height: u32,
    columns: u32,
    rows: u32,
    /// Seconds from one small picture to the next.
    interval: f64,
    /// How many small pictures there are.
    count: u32,
    /// Seconds of the first one's time before what is shown begins.
    skipped: f64,
}

/// What `GET /videos/{id}/thumbnails` answers, and `PUT /videos/{id}/thumbnail` after a change.
#[derive(Debug, Serialize)]
pub(super) struct Pictures {
    /// The moment that stands for the video.
    chosen: Option<ThumbnailMoment>,
    data: Vec<ThumbnailView>,
}

impl Pictures {
    /// All pictures of all moments.
    pub(super) fn of(state: &HttpState, info: &RequestInfo, video: &Video) -> Self {
        let chosen = video.shown_thumbnails().next().map(|picture| picture.moment);
        Self { chosen, data: views(state, info, (video, video.thumbnails.iter())) }
    }
}

/// Pictures of every moment, in every size and format.
pub(super) async fn thumbnails(
    State(state): State<HttpState>,
    viewer: Option<Viewer>,
    info: RequestInfo,
    IdPath(id): IdPath<VideoId>,
) -> Result<Response, Problem> {
    let video = visible_video(&state, viewer.as_ref(), &id).await?;
    Ok(axum::Json(Pictures::of(&state, &info, &video)).into_response())
}

/// Pictures of the moment that stands for the video, the largest first.
pub(super) fn shown_thumbnails(state: &HttpState, info: &RequestInfo, video: &Video) -> Vec<ThumbnailView> {
    views(state, info, (video, video.shown_thumbnails()))
}

fn views<'a>(
    state: &HttpState,
    info: &RequestInfo,
    (video, pictures): (&'a Video, impl Iterator<Item = &'a Thumbnail>),
) -> Vec<ThumbnailView> {
    // A picture is delivered with the video: there is no URL that works before that.
    if !video.is_playable() {
        return Vec::new();
    }
    let chosen = video.shown_thumbnails().next().map(|picture| picture.moment);
    let base = format!("{}{}", info.media_url(&state.settings), state.delivery.picture_path(video, ""));
    let view = |picture: &Thumbnail| ThumbnailView {
        url: format!("{base}{}", picture.name),
        width: picture.width,
        height: picture.height,
        content_type: picture.content_type.clone(),
        moment: picture.moment,
        time: video.trim.map_or(picture.at_ms, |trim| trim.shown_at(picture.at_ms).unwrap_or(0)) as f64 / 1000.0,
        chosen: Some(picture.moment) == chosen,
    };
    pictures.map(view).collect()
}

/// Its storyboard, with complete URLs.
pub(super) fn storyboard(state: &HttpState, info: &RequestInfo, video: &Video) -> Option<StoryboardView> {
    let board = video.storyboard.as_ref().filter(|_| video.is_playable())?;
    let base = info.media_url(&state.settings);
    Some(StoryboardView {
        vtt: format!("{base}{}", state.delivery.storyboard_path(video)),
        sheets: board
            .sheets
            .iter()
            .map(|sheet| format!("{base}{}", state.delivery.picture_path(video, &sheet.name)))
            .collect(),
        width: board.width,
        height: board.height,
        columns: board.columns,
        rows: board.rows,
        interval: f64::from(board.interval_ms) / 1000.0,
        count: board.num_tiles,
        skipped: video.trim.map_or(0.0, |trim| trim.start_ms as f64 / 1000.0),
    })
}
