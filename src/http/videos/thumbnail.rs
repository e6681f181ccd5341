//! `PUT /videos/{id}/thumbnail`: the owner chooses what stands for a video, as `{"time": seconds}`, `{"candidate": name}`,
//! or with a picture of their own, as the body or as a form's file.
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::change::{editable_video, forget};
use super::pictures::Pictures;
use crate::actors::thumbnails::{PictureOrigin, ThumbnailError};
use crate::domain::ids::VideoId;
use crate::domain::ports::{CatalogError, VideoStep};
use crate::domain::video::{ThumbnailMoment, Video};
use crate::http::auth::Viewer;
use crate::http::extract::{IdPath, Json, read_limited};
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;

/// Most fields of a form.
const FIELDS_MAX: usize = 16;
/// Longest time believed: ten years.
const SECONDS_MAX: f64 = 315_360_000.0;
const FORM: &str = "multipart/form-data";

#[derive(Debug, Deserialize)]
struct Choice {
    time: Option<f64>,
    candidate: Option<String>,
}

/// What the owner wants.
enum Wanted {
    Candidate(ThumbnailMoment),
    Made(PictureOrigin),
}

/// Chooses, and answers with all pictures as they are then.
pub(super) async fn choose(
    State(state): State<HttpState>,
    viewer: Viewer,
    info: RequestInfo,
    IdPath(id): IdPath<VideoId>,
    request: Request,
) -> Result<Response, Problem> {
    let video = editable_video(&state, &viewer, &id).await?;
    if !video.is_playable() {
        return Err(Problem::new(StatusCode::CONFLICT, "not_playable", "This video has no pictures yet."));
    }
    let changed = match parse(&state, request).await? {
        Wanted::Candidate(moment) => candidate(&state, &video, moment).await?,
        Wanted::Made(PictureOrigin::Moment(ms)) => {
            let origin = PictureOrigin::Moment(ms + video.trim.map_or(0, |trim| trim.start_ms));
            state.actors.thumbnails.make(&video, origin).await?
        }
        Wanted::Made(origin) => state.actors.thumbnails.make(&video, origin).await?,
    };
    forget(&state, &changed).await;
    Ok(axum::Json(Pictures::of(&state, &info, &changed)).into_response())
}

async fn candidate(state: &HttpState, video: &Video, moment: ThumbnailMoment) -> Result<Video, Problem> {
    let step = VideoStep::ThumbnailChosen(moment);
    match state.ports.catalog.step_video(&video.id, step, state.ports.clock.now()).await {
        Err(CatalogError::NotFound) => Err(no_candidate()),
        stepped => Ok(stepped?),
    }
}

fn no_candidate() -> Problem {
    let detail = "There is no such picture. GET …/thumbnails lists those there are.";
    Problem::invalid_field("/candidate", "not_available", detail)
}

async fn parse(state: &HttpState, request: Request) -> Result<Wanted, Problem> {
    let kind = essence(request.headers());
    if kind == FORM || kind == "application/octet-stream" || kind.starts_with("image/") {
        return Ok(Wanted::Made(PictureOrigin::Own(uploaded(state, request).await?)));
    }
    let Json(choice) =
        <Json<Choice> as FromRequest<HttpState>>::from_request(request, state).await.map_err(|problem| {
            if problem.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE { other_type() } else { problem }
        })?;
    choice.parse()
}

/// A picture that is uploaded as it is, or as a form's file.
pub(in crate::http) async fn uploaded(state: &HttpState, request: Request) -> Result<Bytes, Problem> {
    let limit = usize::try_from(state.settings.uploads.picture_size_max.as_u64()).unwrap_or(usize::MAX);
    let bytes = match essence(request.headers()) == FORM {
        true => form(state, request, limit).await?,
        false => read_limited(request, limit).await?,
    };
    if bytes.is_empty() {
        return Err(Problem::invalid_field("/image", "required", "The picture is empty."));
    }
    Ok(bytes)
}

fn other_type() -> Problem {
    let detail = "The body must be JSON, a picture (image/…), or multipart/form-data with a picture.";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

fn essence(headers: &HeaderMap) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

impl Choice {
    fn parse(self) -> Result<Wanted, Problem> {
        match (self.time, self.candidate) {
            (Some(time), None) if (0.0..=SECONDS_MAX).contains(&time) => {
                Ok(Wanted::Made(PictureOrigin::Moment((time * 1000.0) as u64)))
            }
            (Some(_), None) => {
                Err(Problem::invalid_field("/time", "out_of_range", "must be seconds from the start of the video"))
            }
            (None, Some(name)) => ThumbnailMoment::parse(&name).map(Wanted::Candidate).ok_or_else(no_candidate),
            _ => Err(Problem::invalid_field("", "required", "Give either a time or a candidate.")),
        }
    }
}

/// The first file of a form.
async fn form(state: &HttpState, request: Request, limit: usize) -> Result<Bytes, Problem> {
    let mut form = Multipart::from_request(request, state).await.map_err(|_| other_type())?;
    for _ in 0..FIELDS_MAX {
        let Some(mut field) = form.next_field().await.map_err(|error| broken(&error))? else { break };
        if field.file_name().is_none() && field.name() != Some("image") {
            continue;
        }
        let mut bytes = Vec::new();
        while let Some(piece) = field.chunk().await.map_err(|error| broken(&error))? {
            if bytes.len() + piece.len() > limit {
                let detail = format!("A picture may have at most {limit} bytes.");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
            }
            bytes.extend_from_slice(&piece);
        }
        return Ok(bytes.into());
    }
    Err(Problem::invalid_field("/image", "required", "The form has no picture."))
}

fn broken(error: &MultipartError) -> Problem {
    let is_large = error.status() == StatusCode::PAYLOAD_TOO_LARGE;
    let code = if is_large { "body_too_large" } else { "invalid_form" };
    Problem::new(error.status(), code, format!("The form cannot be read: {}.", error.body_text()))
}

impl From<ThumbnailError> for Problem {
    fn from(error: ThumbnailError) -> Self {
        match error {
            ThumbnailError::NoPictures => Self::new(StatusCode::CONFLICT, "no_pictures", error.to_string()),
            ThumbnailError::Refused(failure) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, failure.code, failure.message)
            }
            ThumbnailError::Busy | ThumbnailError::Workers(_) => {
                Self::unavailable("No picture can be made right now.", std::time::Duration::from_secs(5))
            }
            ThumbnailError::Broken(cause) => {
                tracing::error!(error = cause, "a thumbnail could not be made");
                Self::internal()
            }
            ThumbnailError::Catalog(error) => error.into(),
            ThumbnailError::Blob(error) => error.into(),
            ThumbnailError::Resolve(error) => error.into(),
        }
    }
}
