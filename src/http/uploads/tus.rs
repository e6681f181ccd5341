//! tus 1.0 on the upload resource.
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};

use super::hashing::Check;
use super::receive::{Intake, IntakeError, receive_body};
use super::{UploadRequest, body_length, write_video_id};
use crate::actors::uploads::{NewUpload, UploadHandle};
use crate::domain::ids::UploadId;
use crate::domain::upload::error::UploadError;
use crate::domain::upload::machine::{AppendRequest, UploadStatus};
use crate::domain::upload::{Concatenation, Upload, UploadProtocol, UploadState};
use crate::http::problem::Problem;
use crate::protocols::tus::wire::metadata::MetadataError;
use crate::protocols::tus::wire::{WireError, content_type, v1};

const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
/// `460 Checksum Mismatch` of tus 1.0.
const CHECKSUM_MISMATCH: u16 = 460;

impl From<MetadataError> for Problem {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::Wire(error) => error.into(),
            MetadataError::Field(error) => error.into(),
        }
    }
}

/// An append that was not taken in, as tus tells it.
fn refusal(error: IntakeError) -> Problem {
    match error {
        IntakeError::DigestMismatch => {
            let status = StatusCode::from_u16(CHECKSUM_MISMATCH).unwrap_or(StatusCode::BAD_REQUEST);
            Problem::new(status, "checksum_mismatch", "The checksum is another. Nothing of this request was kept.")
        }
        other => other.into(),
    }
}

/// `POST /uploads`: creation, with the first bytes when the body brings them; or concatenation.
pub(super) async fn create(request: UploadRequest, body: Body) -> Result<Response, Problem> {
    let mut headers = request.check_creation()?;
    let creation = v1::creation(&request.headers)?;
    let body_length = body_length(&body);
    if let (true, Some(length), Some(bytes)) = (creation.has_body, creation.length, body_length)
        && bytes > length
    {
        return Err(UploadError::Overrun { length }.into());
    }
    let (has_body, check) = (creation.has_body, Check::told(creation.checksum.clone()));
    let handle = make(&request, creation).await?;
    headers.insert(LOCATION, request.location(&handle.upload().id)?);
    write_video_id(handle.upload(), &mut headers);
    let status = if has_body {
        let append =
            AppendRequest { offset: 0, body_length, declares: None, checked: check.is_some(), may_overlap: false };
        let appended = append_body(&handle, append, body, Intake::plain(body_length, check)).await;
        // The upload exists all the same: its client may go on from where it stands.
        appended.map_err(|problem| with_headers(problem, &headers))?
    } else {
        handle.inspect(false).await?
    };
    if has_body {
        headers.insert(UPLOAD_OFFSET, status.offset.into());
    }
    write_expiry(&status, &mut headers);
    Ok((StatusCode::CREATED, headers).into_response())
}

fn with_headers(problem: Problem, headers: &HeaderMap) -> Problem {
    headers.iter().fold(problem, |problem, (name, value)| problem.with_header(name.clone(), value.clone()))
}

async fn make(request: &UploadRequest, creation: v1::Creation) -> Result<UploadHandle, Problem> {
    let file_name = creation.metadata.file_name()?;
    let new = NewUpload {
        user_id: request.viewer.user_id.clone(),
        protocol: UploadProtocol::Tus,
        length: creation.length,
        concatenation: Concatenation::None,
        details: creation.metadata.details(file_name.as_deref())?,
        file_type: creation.metadata.file_type()?,
        file_name,
        expected_digest: None,
        raw_metadata: creation.raw_metadata,
        is_direct: false,
    };
    Ok(match creation.concat {
        v1::Concat::None => request.uploads().create(new).await?,
        v1::Concat::Partial => {
            request.uploads().create(NewUpload { concatenation: Concatenation::Partial, ..new }).await?
        }
        v1::Concat::Final(parts) => request.uploads().concatenate(new, parts).await?,
    })
}

async fn append_body(
    handle: &UploadHandle,
    append: AppendRequest,
    body: Body,
    intake: Intake,
) -> Result<UploadStatus, Problem> {
    match handle.begin_append(append).await? {
        Ok(lease) => receive_body(lease, body, intake).await.map_err(refusal),
        Err(status) => Ok(status),
    }
}

/// `PATCH /uploads/{id}`.
pub(super) async fn patch(id: &UploadId, request: UploadRequest, body: Body) -> Result<Response, Problem> {
    let handle = request.find(id).await?;
    if content_type(&request.headers).as_deref() != Some(v1::BODY_TYPE) {
        let detail = format!("The body of an append is {}.", v1::BODY_TYPE);
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    }
    let append = v1::append(&request.headers)?;
    let body_length = body_length(&body);
    let check = if append.has_checksum_trailer { Check::Trailer } else { Check::told(append.checksum) };
    let wanted = AppendRequest {
        offset: append.offset,
        body_length,
        declares: append.length,
        checked: check.is_some(),
        may_overlap: false,
    };
    let status = append_body(&handle, wanted, body, Intake::plain(body_length, check)).await?;
    let mut headers = HeaderMap::new();
    headers.insert(UPLOAD_OFFSET, status.offset.into());
    write_expiry(&status, &mut headers);
    write_video_id(handle.upload(), &mut headers);
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// `HEAD /uploads/{id}`.
pub(super) async fn head(handle: &UploadHandle) -> Result<Response, Problem> {
    let status = handle.inspect(false).await?;
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(UPLOAD_OFFSET, status.offset.into());
    match status.length {
        Some(length) => headers.insert(UPLOAD_LENGTH, length.into()),
        None => headers.insert(UPLOAD_DEFER_LENGTH, HeaderValue::from_static("1")),
    };
    write_as_sent(handle.upload(), &mut headers);
    write_expiry(&status, &mut headers);
    write_video_id(handle.upload(), &mut headers);
    Ok((StatusCode::OK, headers).into_response())
}

/// The fields whose values are repeated as the creation sent them.
fn write_as_sent(upload: &Upload, headers: &mut HeaderMap) {
    let concat = match &upload.concatenation {
        Concatenation::None => None,
        Concatenation::Partial => Some("partial".to_owned()),
        Concatenation::Final(parts) => {
            let urls: Vec<String> = parts.iter().map(|part| format!("/api/v1/uploads/{part}")).collect();
            Some(format!("final;{}", urls.join(" ")))
        }
    };
    let fields = [(UPLOAD_CONCAT, concat), (UPLOAD_METADATA, upload.raw_metadata.clone())];
    for (name, value) in fields {
        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
            headers.insert(name, value);
        }
    }
}

fn write_expiry(status: &UploadStatus, headers: &mut HeaderMap) {
    if status.state == UploadState::Open
        && let Some(date) = v1::http_date(status.expires_at)
    {
        headers.insert(UPLOAD_EXPIRES, date);
    }
}

/// When a client should ask again about a body that stalled.
const STALLED_RETRY: Duration = Duration::from_secs(1);

impl From<IntakeError> for Problem {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Upload(error) => error.into(),
            IntakeError::DigestMismatch => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "digest_mismatch",
                "The digest is another. Nothing of this request was kept; send it again.",
            ),
            IntakeError::NotMedia(what) => Problem::not_media(what),
            IntakeError::TooLong(told) => Problem::bad_request(
                "body_too_long",
                format!("The body is longer than the {told} bytes the request told."),
            ),
            IntakeError::Broken { has_stalled: true } => {
                Problem::new(StatusCode::REQUEST_TIMEOUT, "body_stalled", "The request's body stopped arriving.")
                    .with_retry_after(STALLED_RETRY)
            }
            IntakeError::Broken { has_stalled: false } => {
                Problem::bad_request("body_incomplete", "The request's body broke off. What arrived is kept.")
            }
            IntakeError::Trailer(error) => WireError::into(error),
        }
    }
}
