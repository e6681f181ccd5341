//! Resumable uploads: records and limits. The machine that decides on each request is in `machine`.
use serde::{Deserialize, Serialize};

use self::direct::PartPlan;
use super::asset::Extent;
use super::ids::{UploadId, UserId, VideoId};
use super::time::Timestamp;
use super::video::{VideoDetails, text_enum};

pub mod direct;
pub mod error;
pub mod machine;
pub mod sniff;

text_enum!(
    /// Which protocol created an upload; what differs later is only how it is described to its client.
    UploadProtocol {
        /// `initiate` / `chunk` / `complete`.
        Chunked = "chunked",
        /// tus 1.0.
        Tus = "tus",
        /// The IETF resumable-upload draft.
        Ietf = "ietf",
        /// One multipart form.
        Form = "form",
    }
);

text_enum!(
    /// How far an upload is.
    UploadState {
        /// Takes bytes.
        Open = "open",
        /// All bytes are here and belong to a video or wait for concatenation.
        Complete = "complete",
        /// Ended by its client or by expiry; its bytes are gone or going.
        Terminated = "terminated",
    }
);

/// What concatenation makes of an upload (tus 1.0 "Concatenation").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Concatenation {
    /// An upload of its own.
    None,
    /// A part of a later final upload; makes no video itself.
    Partial,
    /// Made of these partial uploads, in order.
    Final(Vec<UploadId>),
}

/// One resumable upload's record. The offset is not in it: the fsynced length of the file is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Whose it is.
    pub user_id: UserId,
    /// The video it becomes; partial uploads have none.
    pub video_id: Option<VideoId>,
    /// Which protocol created it.
    pub protocol: UploadProtocol,
    /// How far it is.
    pub state: UploadState,
    /// Total length in bytes; `None` while deferred.
    pub length: Option<u64>,
    /// tus concatenation.
    pub concatenation: Concatenation,
    /// What the creator said of the video.
    pub details: VideoDetails,
    /// The file's name as given by the client.
    pub file_name: Option<String>,
    /// The type as given by the client; never trusted.
    pub file_type: Option<String>,
    /// Digest of the whole file as `algorithm:hex`, checked in `verifying`.
    pub expected_digest: Option<String>,
    /// `Upload-Metadata` as sent, for tus HEAD.
    pub raw_metadata: Option<String>,
    /// Size of the parts that its client stores by itself; `None` when its bytes come through a server.
    pub part_bytes: Option<u64>,
    /// Its bytes once complete.
    pub extents: Vec<Extent>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it is dropped if it is not complete by then; moves on with each appended byte.
    pub expires_at: Timestamp,
}

impl Upload {
    /// The parts that its client stores by itself, when it does.
    pub fn parts(&self) -> Option<PartPlan> {
        Some(PartPlan::new(self.length?, self.part_bytes?))
    }
}

/// Limits on uploads; every one is a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadLimits {
    /// Largest file, bytes.
    pub size_bytes_max: u64,
    /// Bytes one account may have stored and in flight.
    pub quota_bytes_per_user: u64,
    /// Chunk size told to `initiate`, bytes.
    pub chunk_bytes: u64,
    /// Largest accepted chunk in one request, bytes.
    pub chunk_bytes_max: u64,
    /// How long an unfinished upload is kept after its last byte, seconds.
    pub expiry_secs: u64,
    /// A writer that brought no byte for this long is dead: a second one pre-empts it. Milliseconds.
    pub writer_stall_ms: u64,
    /// Free space to leave on the disk, bytes.
    pub disk_reserve_bytes: u64,
    /// Most unfinished uploads of one account.
    pub open_per_user_max: u32,
    /// Most partial uploads in one concatenation.
    pub concatenation_parts_max: u32,
}
