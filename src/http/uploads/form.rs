//! One multipart form: fields first, then the file, streamed as it arrives. It cannot be resumed: what breaks off is gone.
use axum::body::HttpBody;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::StatusCode;
use http_body::Frame;

use super::UploadRequest;
use super::chunked;
use super::details::{DetailsBody, Tags};
use super::hashing::Check;
use super::receive::{Intake, receive};
use crate::actors::uploads::{NewUpload, UploadHandle};
use crate::domain::upload::error::UploadError;
use crate::domain::upload::machine::AppendRequest;
use crate::domain::upload::{Concatenation, UploadProtocol};
use crate::http::problem::Problem;

/// Most fields before the file.
const FIELDS_MAX: usize = 64;
/// Longest field, bytes: a description of the longest length fits, whatever its script.
const FIELD_BYTES_MAX: usize = 32 * 1024;
/// What boundaries and fields may add to a file of the largest size.
const OVERHEAD_BYTES_MAX: u64 = 1024 * 1024;

fn broken(error: &MultipartError) -> Problem {
    let status = error.status();
    let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "body_too_large" } else { "invalid_form" };
    Problem::new(status, code, format!("The form cannot be read: {}.", error.body_text()))
}

/// `POST /videos/upload`.
pub(super) async fn upload(request: UploadRequest, form: Request) -> Result<Response, Problem> {
    let headers = request.check_creation()?;
    let limit = request.uploads().limits().size_bytes_max;
    if form.body().size_hint().exact().is_some_and(|length| length > limit.saturating_add(OVERHEAD_BYTES_MAX)) {
        return Err(UploadError::TooLarge { limit }.into());
    }
    // In a task of its own: when the connection is gone, the upload is still ended.
    let task = tokio::spawn(take_form(request, form));
    let outcome = task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a form's task ended");
        Err(Problem::internal())
    });
    outcome.map(|response| (headers, response).into_response())
}

async fn take_form(request: UploadRequest, form: Request) -> Result<Response, Problem> {
    let UploadRequest { state, viewer, info, .. } = request;
    let mut form = Multipart::from_request(form, &state).await.map_err(|_| {
        let detail = "The body must be multipart/form-data with a boundary.";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    })?;
    let mut given = DetailsBody::default();
    for _ in 0..FIELDS_MAX {
        let Some(field) = form.next_field().await.map_err(|error| broken(&error))? else {
            return Err(Problem::invalid_field("/file", "required", "The form has no file."));
        };
        if field.file_name().is_none() && !matches!(field.name(), Some("file" | "video")) {
            take_field(field, &mut given).await?;
            continue;
        }
        let file_name = field.file_name().and_then(crate::protocols::tus::wire::metadata::clean_file_name);
        let new = NewUpload {
            user_id: viewer.user_id.clone(),
            protocol: UploadProtocol::Form,
            length: None,
            concatenation: Concatenation::None,
            details: given.details(file_name.as_deref())?,
            expected_digest: given.stored_digest()?,
            file_type: field.content_type().map(str::to_owned),
            file_name,
            raw_metadata: None,
            is_direct: false,
        };
        let handle = state.actors.uploads.create(new).await?;
        let base = info.base_url(&state.settings);
        return match take_file(field, &handle).await {
            Ok(()) => chunked::created(&state, &handle, &base).await,
            Err(problem) => {
                end(&handle).await;
                Err(problem)
            }
        };
    }
    Err(Problem::bad_request("too_many_fields", format!("A form has at most {FIELDS_MAX} fields before its file.")))
}

/// Ends the upload of a form that did not arrive whole; it may have been ended already.
async fn end(handle: &UploadHandle) {
    if let Err(error) = handle.terminate("form_broken").await {
        tracing::warn!(upload.id = %handle.upload().id, %error, "the upload of a broken form not ended yet");
    }
}

async fn take_field(mut field: Field<'_>, given: &mut DetailsBody) -> Result<(), Problem> {
    let name = field.name().unwrap_or_default().to_owned();
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|error| broken(&error))? {
        if bytes.len() + piece.len() > FIELD_BYTES_MAX {
            let detail = format!("A field has at most {FIELD_BYTES_MAX} bytes.");
            return Err(Problem::invalid_field(format!("/{name}"), "too_long", detail));
        }
        bytes.extend_from_slice(&piece);
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Problem::invalid_field(format!("/{name}"), "invalid", "This field must be UTF-8 text."))?;
    match name.as_str() {
        "title" => given.title = Some(text),
        "description" => given.description = Some(text),
        "category" => given.category = Some(text),
        "privacy" => given.privacy = Some(text),
        "digest" => given.digest = Some(text),
        // Repeated fields add up, one field may hold several.
        "tags" | "tags[]" => match &mut given.tags {
            Some(Tags::Text(tags)) => {
                tags.push(',');
                tags.push_str(&text);
            }
            tags => *tags = Some(Tags::Text(text)),
        },
        _ => {}
    }
    Ok(())
}

async fn take_file(field: Field<'_>, handle: &UploadHandle) -> Result<(), Problem> {
    let append = AppendRequest { offset: 0, body_length: None, declares: None, checked: false, may_overlap: false };
    let lease = match handle.begin_append(append).await? {
        Ok(lease) => lease,
        Err(_) => return Ok(()),
    };
    let frames = field.map(|piece| piece.map(Frame::data).map_err(axum::Error::new));
    let intake = Intake { completes: true, ..Intake::plain(None, Check::None) };
    receive(lease, frames, intake).await?;
    Ok(())
}
