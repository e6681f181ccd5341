//! Why an upload cannot do what it was asked.
use crate::domain::ports::{BlobError, CatalogError, PartError};
use crate::domain::video::InvalidField;

/// What went wrong outside the upload's own rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadFault {
    /// The account's quota would be exceeded.
    #[error("quota of {limit} exceeded: {used} in use")]
    Quota {
        /// In use now, bytes or uploads.
        used: u64,
        /// Allowed, same unit.
        limit: u64,
    },
    /// The disk or bucket is full, or what is left of it is kept in reserve.
    #[error("storage is full")]
    Full,
    /// Something else has a hold on it, e.g. a final upload on its parts.
    #[error("{0} is in use")]
    InUse(&'static str),
    /// A part that its client was to store is not there.
    #[error("part {part} is not stored")]
    PartMissing {
        /// Its number, from 1.
        part: u32,
    },
    /// A part that its client has stored is too long or too short.
    #[error("part {part} has {found} bytes instead of {expected}")]
    PartSize {
        /// Its number, from 1.
        part: u32,
        /// Bytes it was to have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// What its client has stored is certainly no film.
    #[error("this is {0}")]
    NotMedia(&'static str),
    /// Catalog or store did not answer; worth another try.
    #[error("not available right now: {0}")]
    Unavailable(String),
}

impl From<CatalogError> for UploadFault {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::QuotaExceeded { used, limit } => Self::Quota { used, limit },
            CatalogError::Conflict(what) => Self::InUse(what),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<PartError> for UploadFault {
    fn from(error: PartError) -> Self {
        match error {
            PartError::Missing { part } => Self::PartMissing { part },
            PartError::Size { part, expected, found } => Self::PartSize { part, expected, found },
            PartError::Blob(error) => error.into(),
        }
    }
}

impl From<BlobError> for UploadFault {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Full => Self::Full,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// Why a request about an upload is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// There is none, or it is somebody else's.
    #[error("no such upload")]
    NotFound,
    /// It was ended, by its owner, by expiry, or because it cannot become a video.
    #[error("the upload was ended")]
    Ended,
    /// It has all its bytes: neither more nor fewer are possible.
    #[error("the upload is complete")]
    Complete,
    /// It is made of other uploads and takes no bytes itself.
    #[error("a final upload takes no bytes")]
    FinalUpload,
    /// Another request is writing to it and lives.
    #[error("another request is writing to this upload")]
    Locked,
    /// A later request took this one's place; what came is kept.
    #[error("a later request took over")]
    Preempted,
    /// The append does not start where the upload ends.
    #[error("the upload is at offset {expected}, not {provided}")]
    OffsetMismatch {
        /// The upload's offset.
        expected: u64,
        /// The request's.
        provided: u64,
    },
    /// A file larger than allowed.
    #[error("larger than the {limit} bytes allowed")]
    TooLarge {
        /// Largest file, bytes.
        limit: u64,
    },
    /// More bytes than the upload has left.
    #[error("more bytes than the upload's length of {length}")]
    Overrun {
        /// The upload's length.
        length: u64,
    },
    /// Two lengths that contradict each other.
    #[error("length {declared} contradicts {known}")]
    LengthConflict {
        /// What is known.
        known: u64,
        /// What the request says.
        declared: u64,
    },
    /// Bytes are missing.
    #[error("not all bytes are here: {offset} so far")]
    Incomplete {
        /// Bytes so far.
        offset: u64,
        /// Total length, unless deferred.
        length: Option<u64>,
    },
    /// A digest of the whole file that comes too late or contradicts the one given before.
    #[error("another digest was given before, or the upload is complete already")]
    DigestConflict,
    /// A part of a concatenation is missing, is not complete, is no partial upload, or is used already.
    #[error("{0} cannot be concatenated")]
    BadPart(String),
    /// More parts than allowed.
    #[error("more than {limit} parts")]
    TooManyParts {
        /// Most parts.
        limit: u32,
    },
    /// Its client stores the bytes by itself.
    #[error("this upload's bytes go to the URLs of its parts, not through this server")]
    Direct,
    /// Its client does not store the bytes by itself.
    #[error("this upload's bytes go through this server: it has no parts")]
    NotDirect,
    /// What its creator said of the video is not allowed.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// Too many uploads are in memory.
    #[error("too many uploads at once")]
    Busy,
    /// Something outside failed.
    #[error(transparent)]
    Fault(#[from] UploadFault),
}

impl From<CatalogError> for UploadError {
    fn from(error: CatalogError) -> Self {
        if error == CatalogError::NotFound { Self::NotFound } else { Self::Fault(error.into()) }
    }
}

impl From<BlobError> for UploadError {
    fn from(error: BlobError) -> Self {
        Self::Fault(error.into())
    }
}
