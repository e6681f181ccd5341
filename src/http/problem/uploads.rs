//! Refusals of uploads.
use std::time::Duration;

use http::StatusCode;
use http::header::HeaderName;

use super::Problem;
use crate::domain::upload::error::{UploadError, UploadFault};
use crate::protocols::tus::wire::WireError;

/// When to look again at an upload that another request is writing to.
const LOCKED_RETRY: Duration = Duration::from_secs(1);
/// When to look again for room on a full disk.
const FULL_RETRY: Duration = Duration::from_secs(60);
/// When to try again after a fault that should pass.
const FAULT_RETRY: Duration = Duration::from_secs(2);
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

impl Problem {
    /// A file that is certainly no film; its upload was ended.
    pub(in crate::http) fn not_media(what: &'static str) -> Self {
        let detail = format!("This file is {what}, not a video. The upload was ended.");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_media", detail).with_member("detected", what)
    }
}

impl From<UploadFault> for Problem {
    fn from(fault: UploadFault) -> Self {
        match fault {
            UploadFault::Quota { used, limit } => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "quota_exceeded", "Your quota would be exceeded.")
                    .with_member("used", used)
                    .with_member("limit", limit)
            }
            UploadFault::Full => {
                let detail = "The server's disk is full. What arrived is kept; go on later.";
                Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", detail).with_retry_after(FULL_RETRY)
            }
            UploadFault::InUse(_) => {
                Problem::new(StatusCode::CONFLICT, "in_use", "It is part of another upload and cannot be ended.")
            }
            UploadFault::PartMissing { part } => {
                let detail = format!("Part {part} is not stored. Put it to its URL, then complete again.");
                Problem::new(StatusCode::CONFLICT, "part_missing", detail).with_member("part_number", part)
            }
            UploadFault::PartSize { part, expected, found } => {
                let detail =
                    format!("Part {part} had {found} bytes instead of {expected}. Put it to a URL of its again.");
                Problem::new(StatusCode::CONFLICT, "part_size", detail)
                    .with_member("part_number", part)
                    .with_member("expected_bytes", expected)
                    .with_member("stored_bytes", found)
            }
            UploadFault::NotMedia(what) => Problem::not_media(what),
            UploadFault::Unavailable(cause) => {
                tracing::error!(error = cause, "upload not available");
                Problem::unavailable("This upload cannot be reached right now.", FAULT_RETRY)
            }
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        let detail = format!("{}.", capitalised(&error.to_string()));
        let conflict = |code: &'static str| Problem::new(StatusCode::CONFLICT, code, detail.clone());
        let too_large = |code: &'static str, limit: u64| {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail.clone()).with_member("limit", limit)
        };
        match error {
            UploadError::NotFound => Problem::not_found(),
            UploadError::Ended => Problem::new(StatusCode::GONE, "upload_ended", detail),
            UploadError::Complete => conflict("upload_complete"),
            UploadError::FinalUpload => Problem::forbidden("final_upload", detail),
            UploadError::Locked => {
                Problem::new(StatusCode::LOCKED, "upload_locked", detail).with_retry_after(LOCKED_RETRY)
            }
            UploadError::Preempted => conflict("upload_taken_over"),
            UploadError::OffsetMismatch { expected, provided } => conflict("offset_mismatch")
                .with_header(UPLOAD_OFFSET, expected.into())
                .with_member("bytes_uploaded", expected)
                .with_member("expected-offset", expected)
                .with_member("provided-offset", provided),
            UploadError::TooLarge { limit } => too_large("file_too_large", limit),
            UploadError::Overrun { length } => too_large("length_exceeded", length),
            UploadError::LengthConflict { known, .. } => {
                Problem::bad_request("length_conflict", detail).with_member("total_bytes", known)
            }
            UploadError::Incomplete { offset, length } => {
                let problem = conflict("upload_incomplete").with_member("bytes_uploaded", offset);
                let missing = length.map(|length| length.saturating_sub(offset));
                problem.with_member("total_bytes", length).with_member("missing_bytes", missing)
            }
            UploadError::Direct => conflict("direct_upload"),
            UploadError::NotDirect => conflict("not_a_direct_upload"),
            UploadError::DigestConflict => conflict("digest_conflict"),
            UploadError::BadPart(_) => Problem::bad_request("bad_part", detail),
            UploadError::TooManyParts { limit } => {
                Problem::bad_request("too_many_parts", format!("A concatenation has 1 to {limit} parts."))
            }
            UploadError::Invalid(field) => field.into(),
            UploadError::Busy => Problem::unavailable("Too many uploads are open on this server.", FULL_RETRY),
            UploadError::Fault(fault) => fault.into(),
        }
    }
}

impl From<WireError> for Problem {
    fn from(error: WireError) -> Self {
        let code = match &error {
            WireError::Missing(_) => "missing_header",
            WireError::Invalid { .. } => "invalid_header",
            WireError::Contradiction { .. } => "contradicting_header",
            WireError::UnknownAlgorithm { .. } => "unknown_algorithm",
        };
        Problem::bad_request(code, format!("{error}.")).with_member("header", error.field())
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
