//! The IETF draft (resumable uploads) on the upload resource. Interim responses (104) are not sent: the HTTP library
//! cannot, and the draft makes them optional.
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};

use super::hashing::Check;
use super::receive::{Intake, IntakeError, receive_body};
use super::status::UploadBody;
use super::{UploadRequest, body_length, write_video_id};
use crate::actors::uploads::{NewUpload, UploadHandle};
use crate::domain::ids::UploadId;
use crate::domain::upload::error::UploadError;
use crate::domain::upload::machine::{AppendRequest, UploadStatus};
use crate::domain::upload::{Concatenation, UploadProtocol, UploadState};
use crate::http::problem::Problem;
use crate::protocols::tus::wire::draft::{self, Interop, Standing};
use crate::protocols::tus::wire::{WireError, content_type, digest};

/// A refusal, with what the draft gives it: its type, and that the upload is not complete.
struct Refused {
    problem: Problem,
    offset: Option<u64>,
}

impl<E: Into<Problem>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { problem: error.into(), offset: None }
    }
}

fn refused(error: UploadError) -> Refused {
    match error {
        UploadError::OffsetMismatch { expected, .. } => {
            Refused { problem: Problem::from(error).with_type(draft::PROBLEM_OFFSET), offset: Some(expected) }
        }
        UploadError::LengthConflict { .. } => Problem::from(error).with_type(draft::PROBLEM_LENGTH).into(),
        UploadError::Complete => {
            let detail = "The upload is complete: nothing can be appended.";
            Problem::bad_request("upload_complete", detail).with_type(draft::PROBLEM_COMPLETE).into()
        }
        other => Problem::from(other).into(),
    }
}

/// Fields that make no sense; lengths that contradict each other have a type of their own.
fn unreadable(error: WireError) -> Problem {
    let is_contradiction = matches!(error, WireError::Contradiction { field: "Upload-Length", .. });
    let problem = Problem::from(error);
    if is_contradiction { problem.with_type(draft::PROBLEM_LENGTH) } else { problem }
}

fn standing_of(request: &UploadRequest, status: &UploadStatus) -> Standing {
    let now = request.state.ports.clock.now();
    Standing {
        offset: Some(status.offset),
        length: status.length,
        is_complete: status.state == UploadState::Complete,
        size_bytes_max: request.uploads().limits().size_bytes_max,
        age_secs_max: status.expires_at.since(now).as_secs(),
    }
}

/// Adds the draft's fields to a refusal.
fn answer_refusal(refused: Refused, interop: Interop, size_bytes_max: u64) -> Response {
    let standing =
        Standing { offset: refused.offset, length: None, is_complete: false, size_bytes_max, age_secs_max: 0 };
    let mut response = refused.problem.into_response();
    let fields = draft::standing(interop, &standing).into_iter().filter(|(name, _)| name != "upload-limit");
    response.headers_mut().extend(fields);
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        response.headers_mut().extend(draft::limit(interop, size_bytes_max, None));
    }
    response
}

/// `POST /uploads`: creation, with any part of the file in the body.
pub(super) async fn create(request: UploadRequest, body: Body, interop: Interop) -> Response {
    let limit = request.uploads().limits().size_bytes_max;
    create_inner(request, body, interop).await.unwrap_or_else(|refused| answer_refusal(refused, interop, limit))
}

async fn create_inner(request: UploadRequest, body: Body, interop: Interop) -> Result<Response, Refused> {
    let mut headers = request.check_creation()?;
    let body_length = body_length(&body);
    let creation = draft::creation(&request.headers, interop, body_length).map_err(unreadable)?;
    if let (Some(length), Some(bytes)) = (creation.length, body_length)
        && bytes > length
    {
        return Err(refused(UploadError::Overrun { length }));
    }
    let (length, completes) = (creation.length, creation.completes);
    let handle = request.uploads().create(new_upload(&request, creation)?).await.map_err(refused)?;
    headers.insert(LOCATION, request.location(&handle.upload().id)?);
    write_video_id(handle.upload(), &mut headers);
    let wanted = Wanted { offset: 0, length, completes, body_length };
    // An upload that was made but not filled is told by its Location: its client goes on there.
    let status = match append_body(&request, &handle, (wanted, body)).await {
        Ok(status) => status,
        Err(mut refused) => {
            refused.problem = headers
                .iter()
                .fold(refused.problem, |problem, (name, value)| problem.with_header(name.clone(), value.clone()));
            return Err(refused);
        }
    };
    headers.extend(draft::standing(interop, &standing_of(&request, &status)));
    Ok((StatusCode::CREATED, headers, axum::Json(UploadBody::new(handle.upload(), &status))).into_response())
}

fn new_upload(request: &UploadRequest, creation: draft::Creation) -> Result<NewUpload, Refused> {
    let file_name = match creation.file_name {
        Some(name) => Some(name),
        None => creation.metadata.file_name()?,
    };
    let file_type = match creation.metadata.file_type()? {
        Some(kind) => Some(kind),
        None => creation.file_type,
    };
    Ok(NewUpload {
        user_id: request.viewer.user_id.clone(),
        protocol: UploadProtocol::Ietf,
        length: creation.length,
        concatenation: Concatenation::None,
        details: creation.metadata.details(file_name.as_deref())?,
        file_name,
        file_type,
        expected_digest: digest::of_representation(&request.headers)?.map(|checksum| checksum.to_stored()),
        raw_metadata: creation.raw_metadata,
        is_direct: false,
    })
}

struct Wanted {
    offset: u64,
    length: Option<u64>,
    completes: bool,
    body_length: Option<u64>,
}

async fn append_body(
    request: &UploadRequest,
    handle: &UploadHandle,
    (wanted, body): (Wanted, Body),
) -> Result<UploadStatus, Refused> {
    let check = Check::told(digest::of_content(&request.headers)?);
    let append = AppendRequest {
        offset: wanted.offset,
        body_length: wanted.body_length,
        declares: wanted.length,
        checked: check.is_some(),
        may_overlap: false,
    };
    let lease = match handle.begin_append(append).await.map_err(refused)? {
        Ok(lease) => lease,
        Err(status) => return Ok(status),
    };
    let intake = Intake { completes: wanted.completes, overrun_ends: true, ..Intake::plain(wanted.body_length, check) };
    receive_body(lease, body, intake).await.map_err(|error| match error {
        IntakeError::Upload(error) => refused(error),
        other => Problem::from(other).into(),
    })
}

/// `PATCH /uploads/{id}`: append.
pub(super) async fn patch(id: &UploadId, (request, body): (UploadRequest, Body), interop: Interop) -> Response {
    let limit = request.uploads().limits().size_bytes_max;
    patch_inner(id, (request, body), interop).await.unwrap_or_else(|refused| answer_refusal(refused, interop, limit))
}

async fn patch_inner(
    id: &UploadId,
    (request, body): (UploadRequest, Body),
    interop: Interop,
) -> Result<Response, Refused> {
    let handle = request.find(id).await?;
    if interop >= Interop::V6 && content_type(&request.headers).as_deref() != Some(draft::BODY_TYPE) {
        let detail = format!("The body of an append is {}.", draft::BODY_TYPE);
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail).into());
    }
    let body_length = body_length(&body);
    let append = draft::append(&request.headers, interop, body_length).map_err(unreadable)?;
    let wanted = Wanted { offset: append.offset, length: append.length, completes: append.completes, body_length };
    let status = append_body(&request, &handle, (wanted, body)).await?;
    let mut headers = HeaderMap::new();
    headers.extend(draft::standing(interop, &standing_of(&request, &status)));
    write_video_id(handle.upload(), &mut headers);
    if status.state != UploadState::Complete {
        return Ok((StatusCode::NO_CONTENT, headers).into_response());
    }
    Ok((StatusCode::OK, headers, axum::Json(UploadBody::new(handle.upload(), &status))).into_response())
}

/// `HEAD /uploads/{id}`: the offset. A writer under way is ended first, so that the offset told stays good (draft,
/// "Concurrency").
pub(super) async fn head(
    request: &UploadRequest,
    handle: &UploadHandle,
    interop: Interop,
) -> Result<Response, Problem> {
    let status = handle.inspect(true).await?;
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(draft::standing(interop, &standing_of(request, &status)));
    write_video_id(handle.upload(), &mut headers);
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}
