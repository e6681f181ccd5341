//! The chunk API: initiate, chunks by `Content-Range`, complete, abort.
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use serde::{Deserialize, Serialize};

use super::details::{DetailsBody, stored_digest};
use super::direct::{self, Direct};
use super::hashing::Check;
use super::receive::{Intake, receive_body};
use super::status::{UploadBody, being_completed};
use super::{UploadRequest, body_length, write_video_id};
use crate::actors::uploads::{NewUpload, UploadHandle};
use crate::domain::ids::{UploadId, VideoId};
use crate::domain::time::Timestamp;
use crate::domain::upload::error::UploadError;
use crate::domain::upload::machine::AppendRequest;
use crate::domain::upload::{Concatenation, UploadProtocol};
use crate::domain::video::VideoStatus;
use crate::http::extract::{IdPath, Json};
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::protocols::tus::wire::chunk::{ChunkRange, content_range};
use crate::protocols::tus::wire::{WireError, digest};

/// Bytes a second that digests are checked at, for estimates.
const HASH_BYTES_PER_SEC: u64 = 200_000_000;
/// Seconds that finding out what is in a file takes, for estimates.
const INSPECTION_SECS: u64 = 2;

/// What an upload is to become.
#[derive(Debug, Deserialize)]
pub(super) struct InitiateBody {
    file_size: u64,
    /// Whether the client stores the bytes by itself.
    #[serde(default)]
    direct: bool,
    #[serde(flatten)]
    details: DetailsBody,
}

#[derive(Debug, Serialize)]
struct Initiated {
    upload_id: UploadId,
    upload_url: String,
    chunk_size: u64,
    expires_at: Timestamp,
    video_id: Option<VideoId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direct: Option<Direct>,
}

/// `POST /videos/upload/initiate`.
pub(super) async fn initiate(request: UploadRequest, Json(body): Json<InitiateBody>) -> Result<Response, Problem> {
    let mut headers = request.check_creation()?;
    let InitiateBody { file_size, direct: is_direct, details: given } = body;
    if file_size == 0 {
        return Err(Problem::invalid_field("/file_size", "out_of_range", "An empty file is no video."));
    }
    let file_name = given.clean_file_name();
    direct::check(&request, is_direct)?;
    let new = NewUpload {
        user_id: request.viewer.user_id.clone(),
        protocol: UploadProtocol::Chunked,
        length: Some(file_size),
        concatenation: Concatenation::None,
        details: given.details(file_name.as_deref())?,
        expected_digest: given.stored_digest()?,
        file_name,
        file_type: given.file_type,
        raw_metadata: None,
        is_direct,
    };
    let handle = request.uploads().create(new).await?;
    let upload = handle.upload();
    let resource = format!("{}/api/v1/videos/upload/{}", request.info.base_url(&request.state.settings), upload.id);
    if let Ok(location) = HeaderValue::try_from(resource.as_str()) {
        headers.insert(LOCATION, location);
    }
    write_video_id(upload, &mut headers);
    let answer = Initiated {
        upload_id: upload.id.clone(),
        upload_url: format!("{resource}/{}", if is_direct { "parts" } else { "chunk" }),
        chunk_size: upload.part_bytes.unwrap_or(request.uploads().limits().chunk_bytes),
        expires_at: upload.expires_at,
        video_id: upload.video_id.clone(),
        direct: direct::first_parts(&request, &handle).await?,
    };
    Ok((StatusCode::CREATED, headers, axum::Json(answer)).into_response())
}

/// A range that contradicts the request or the upload: 416 with what is right.
fn bad_range(code: &'static str, detail: String, total: Option<u64>) -> Problem {
    let total = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
    let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, code, detail);
    match HeaderValue::try_from(format!("bytes */{total}")) {
        Ok(value) => problem.with_header(http::header::CONTENT_RANGE, value),
        Err(_) => problem,
    }
}

fn check_range(range: &ChunkRange, body: Option<u64>, (handle, limit): (&UploadHandle, u64)) -> Result<(), Problem> {
    let length = handle.upload().length;
    if range.bytes() > limit {
        let detail = format!("A chunk has at most {limit} bytes.");
        let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "chunk_too_large", detail);
        return Err(problem.with_member("limit", limit));
    }
    if let Some(body) = body.filter(|body| *body != range.bytes()) {
        let detail = format!("Content-Range names {} bytes, but the body has {body}.", range.bytes());
        return Err(Problem::bad_request("range_contradicts_body", detail));
    }
    match (range.total, length) {
        (Some(total), Some(length)) if total != length => {
            let detail =
                format!("Content-Range gives a total of {total} bytes, the upload was declared with {length}.");
            Err(bad_range("range_contradicts_upload", detail, Some(length)))
        }
        (_, Some(length)) if range.last >= length => {
            Err(bad_range("range_beyond_upload", format!("The upload has {length} bytes."), Some(length)))
        }
        _ => Ok(()),
    }
}

/// `PUT /videos/upload/{id}/chunk`: appends; bytes that are held already are skipped, a gap is refused.
pub(super) async fn chunk(
    IdPath(id): IdPath<UploadId>,
    request: UploadRequest,
    body: Body,
) -> Result<Response, Problem> {
    let handle = request.find(&id).await?;
    let range = content_range(&request.headers).map_err(|error| match error {
        WireError::Contradiction { message, .. } => {
            bad_range("range_contradicts_itself", format!("Content-Range {message}."), handle.upload().length)
        }
        other => other.into(),
    })?;
    let limit = request.uploads().limits().chunk_bytes_max;
    check_range(&range, body_length(&body), (&handle, limit))?;
    let of_content = digest::of_content(&request.headers)?;
    let check = match (of_content, digest::of_representation(&request.headers)?) {
        (Some(checksum), _) => Check::Told(checksum),
        // Of a PUT with a range, the representation is the range (RFC 9530, appendix B).
        (None, of_range) => Check::told(of_range),
    };
    let append = AppendRequest {
        offset: range.first,
        body_length: Some(range.bytes()),
        declares: None,
        checked: check.is_some(),
        may_overlap: true,
    };
    let intake = Intake::plain(Some(range.bytes()), check);
    let status = match handle.begin_append(append).await? {
        Ok(lease) => receive_body(lease, body, intake).await?,
        Err(status) => status,
    };
    Ok(axum::Json(UploadBody::new(handle.upload(), &status)).into_response())
}

/// What a finished upload must be.
#[derive(Debug, Default, Deserialize)]
pub(super) struct CompleteBody {
    digest: Option<String>,
}

#[derive(Debug, Serialize)]
struct Completed {
    video_id: Option<VideoId>,
    upload_id: UploadId,
    status: VideoStatus,
    /// Seconds, a guess.
    estimated_processing_time: u64,
    url: String,
}

/// `POST /videos/upload/{id}/complete`: makes the video of it; repeating it is harmless. 202 while that takes long.
pub(super) async fn complete(
    IdPath(id): IdPath<UploadId>,
    request: UploadRequest,
    given: Option<Json<CompleteBody>>,
) -> Result<Response, Problem> {
    let handle = request.find(&id).await?;
    let digest = match given.and_then(|Json(body)| body.digest) {
        Some(text) => Some(stored_digest(&text)?),
        None => digest::of_representation(&request.headers)?.map(|checksum| checksum.to_stored()),
    };
    if handle.complete(digest.as_deref()).await?.is_none() {
        return Ok(being_completed(handle.upload()));
    }
    let base = request.info.base_url(&request.state.settings);
    Ok(axum::Json(completed(&request.state, &handle, &base).await?).into_response())
}

/// What a completed upload's video is called and how long it will take.
async fn completed(state: &HttpState, handle: &UploadHandle, base: &str) -> Result<Completed, Problem> {
    let upload = handle.upload();
    let video = match &upload.video_id {
        Some(id) => state.ports.catalog.video(id).await?,
        None => None,
    };
    let video = video.ok_or(UploadError::Ended)?;
    let hashing = video.expected_digest.as_ref().map_or(0, |_| video.file_size / HASH_BYTES_PER_SEC);
    let is_under_way = matches!(video.status, VideoStatus::Verifying | VideoStatus::Processing);
    Ok(Completed {
        url: format!("{base}/watch/{}", video.id),
        video_id: Some(video.id),
        upload_id: upload.id.clone(),
        status: video.status,
        estimated_processing_time: if is_under_way { hashing + INSPECTION_SECS } else { 0 },
    })
}

/// The answer to a form whose file has become a video.
pub(super) async fn created(state: &HttpState, handle: &UploadHandle, base: &str) -> Result<Response, Problem> {
    let body = completed(state, handle, base).await?;
    let mut response = (StatusCode::CREATED, axum::Json(body)).into_response();
    write_video_id(handle.upload(), response.headers_mut());
    Ok(response)
}

/// `DELETE /videos/upload/{id}`: ends it and removes its bytes.
pub(super) async fn abort(IdPath(id): IdPath<UploadId>, request: UploadRequest) -> Result<Response, Problem> {
    request.find(&id).await?.terminate("terminated").await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
