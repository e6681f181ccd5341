//! Which failure has which status: the one place.
use std::time::Duration;

use http::StatusCode;

use super::Problem;
use crate::actors::live_pull::PullFailure;
use crate::actors::reply::AskError;
use crate::actors::supervisor::ChildError;
use crate::domain::ports::{BlobError, CatalogError, ResolveError};
use crate::domain::video::InvalidField;
use crate::http::auth::passwords::HashError;

/// When to try again after something that is expected to pass by itself.
const SOON: Duration = Duration::from_secs(1);
/// When to try again after something that takes a person or a while.
const LATER: Duration = Duration::from_secs(30);

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Conflict(what) => Problem::new(
                StatusCode::CONFLICT,
                format!("{what}_taken"),
                error.to_string(),
            )
            .with_error(format!("/{what}"), "taken", format!("This {what} is already taken.")),
            CatalogError::NotFound => Problem::not_found(),
            CatalogError::Stale => Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "changed_meanwhile",
                "It was changed by someone else meanwhile. Load it again and repeat your change.",
            ),
            // 413 rather than 507: clients repeat what failed with a 5xx, and repeating will not help here.
            CatalogError::QuotaExceeded { used, limit } => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "quota_exceeded", "Your quota would be exceeded.")
                    .with_member("used", used)
                    .with_member("limit", limit)
            }
            CatalogError::InvalidCursor => {
                Problem::bad_request("invalid_cursor", "This cursor does not belong to this list. Start without one.")
            }
            CatalogError::NotHeld => Problem::unavailable("Another node has this by now. Ask again.", SOON),
            CatalogError::Unavailable(cause) => {
                tracing::error!(error = cause, "catalog unavailable");
                Problem::unavailable("The catalog does not answer right now.", SOON)
            }
            CatalogError::Corrupt(cause) => {
                tracing::error!(error = cause, "catalog holds an unreadable value");
                Problem::internal()
            }
        }
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NotFound(key) => {
                tracing::warn!(blob.key = %key, "blob is missing");
                Problem::not_found()
            }
            BlobError::Full => {
                Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", "The server's storage is full.")
                    .with_retry_after(LATER)
            }
            BlobError::Unavailable(cause) => {
                tracing::error!(error = cause, "blob storage unavailable");
                Problem::unavailable("Storage does not answer right now.", SOON)
            }
        }
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::NotFound => Problem::not_found(),
            ResolveError::Damaged(cause) => {
                tracing::error!(error = cause, "media is damaged");
                Problem::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "media_damaged",
                    "This part of the video cannot be read.",
                )
            }
            ResolveError::NotYet => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "media_in_the_making",
                "This part of the video is still being made.",
            )
            .with_retry_after(SOON),
            ResolveError::Blob(error) => error.into(),
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        Problem::unavailable(error.to_string(), SOON)
    }
}

impl From<ChildError> for Problem {
    fn from(error: ChildError) -> Self {
        match error {
            ChildError::Restarting { after } => Problem::unavailable("It is being restarted.", after),
            ChildError::GivenUp => Problem::unavailable("It failed too often to be tried again at once.", LATER),
            ChildError::TooMany => Problem::unavailable("Too many of these are open on this server.", LATER),
            ChildError::NotStarted => Problem::unavailable("It could not be started.", SOON),
            ChildError::Ask(error) => error.into(),
        }
    }
}

impl From<PullFailure> for Problem {
    fn from(failure: PullFailure) -> Self {
        match failure {
            PullFailure::Nowhere => Problem::unavailable("No node takes streams in right now.", LATER),
            PullFailure::Catalog(error) => error.into(),
            PullFailure::Child(error) => error.into(),
            PullFailure::Node(error) => {
                tracing::warn!(%error, "the node that fetches a stream does not answer");
                Problem::unavailable("The node that fetches this stream does not answer right now.", SOON)
            }
        }
    }
}

impl From<InvalidField> for Problem {
    fn from(error: InvalidField) -> Self {
        Problem::invalid_field(format!("/{}", error.field), "invalid", error.message)
    }
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        tracing::error!(%error, "hashing failed");
        Problem::unavailable("Passwords cannot be checked right now.", SOON)
    }
}
