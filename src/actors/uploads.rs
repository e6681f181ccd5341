//! The uploads family: creates uploads, leads requests to their sessions, and ends what has expired.
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef, SpawnErr};

use super::describe::DescribeReply;
use super::nodes::NodesHandle;
use super::reply::AskError;
use super::supervisor::{ChildError, Family, FamilyHandle};
use super::upload_lease::WriterLease;
use super::upload_session::{SessionAnswer, UploadArguments, UploadMessage, UploadSessionActor};
use crate::domain::account::Role;
use crate::domain::cluster::Role as NodeRole;
use crate::domain::ids::{PlaybackId, UploadId, UserId, VideoId};
use crate::domain::ports::{BlobStore, Catalog, CatalogError, Clock, Entropy, UploadQuota, UploadStore};
use crate::domain::upload::error::{UploadError, UploadFault};
use crate::domain::upload::machine::{AppendRequest, Request, UploadRules, UploadStatus};
use crate::domain::upload::{Concatenation, Upload, UploadLimits, UploadProtocol, UploadState};
use crate::domain::video::VideoDetails;

pub mod direct;

use direct::{Completions, DirectUploads};

/// How often a session that left or failed between being found and being asked is looked for again.
const ASK_ATTEMPTS_MAX: usize = 3;
/// Longest wait for a failed session's restart within one request.
const RESTART_WAIT_MAX: Duration = Duration::from_secs(2);

/// Longest wait for an upload to be completed whose parts have to be taken over first; that goes on when nobody waits any more.
const TAKING_OVER_MAX: Duration = Duration::from_secs(15 * 60);

/// Called once for each video whose bytes are all here.
pub type OnComplete = Arc<dyn Fn(VideoId) + Send + Sync>;

/// What upload sessions need.
pub struct Uploads {
    /// Records, quotas, videos.
    pub catalog: Arc<dyn Catalog>,
    /// Bytes of uploads under way.
    pub store: Arc<dyn UploadStore>,
    /// How clients store parts by themselves, where they may.
    pub direct: Option<DirectUploads>,
    /// Says how much room is left.
    pub blobs: Arc<dyn BlobStore>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// For ids.
    pub entropy: Arc<dyn Entropy>,
    /// Sizes and times.
    pub limits: UploadLimits,
    /// How long a session without requests stays in memory.
    pub session_idle: Duration,
    /// Starts the work on a video.
    pub on_complete: OnComplete,
    /// Where sessions belong.
    pub nodes: NodesHandle,
}

/// What an upload's session is placed by.
pub fn placement_key(id: &UploadId) -> String {
    format!("upload/{id}")
}

impl Uploads {
    pub(super) fn rules(&self) -> UploadRules {
        UploadRules {
            size_bytes_max: self.limits.size_bytes_max,
            stall: Duration::from_millis(self.limits.writer_stall_ms),
            expiry: Duration::from_secs(self.limits.expiry_secs),
            idle: self.session_idle,
        }
    }

    pub(super) fn quota(&self) -> UploadQuota {
        UploadQuota { bytes: self.limits.quota_bytes_per_user, open_uploads: self.limits.open_per_user_max }
    }

    /// Whether the disk has room for `bytes` more without touching the reserve.
    pub(super) async fn has_room_for(&self, bytes: u64) -> Result<bool, UploadError> {
        let free = self.blobs.free_bytes().await?;
        Ok(free.is_none_or(|free| free >= bytes.saturating_add(self.limits.disk_reserve_bytes)))
    }
}

impl Family for Uploads {
    type Key = UploadId;
    type Seed = Arc<Uploads>;
    type Message = UploadMessage;
    const NAME: &'static str = "uploads";

    async fn spawn(
        &self,
        key: &UploadId,
        context: &Arc<Uploads>,
        supervisor: ActorCell,
    ) -> Result<ActorRef<UploadMessage>, SpawnErr> {
        let arguments = UploadArguments { id: key.clone(), context: Arc::clone(context) };
        Ok(Actor::spawn_linked(None, UploadSessionActor, arguments, supervisor).await?.0)
    }

    fn describe(reply: DescribeReply) -> UploadMessage {
        UploadMessage::Describe { reply }
    }
}

impl From<AskError> for UploadError {
    fn from(error: AskError) -> Self {
        Self::Fault(UploadFault::Unavailable(error.to_string()))
    }
}

impl From<ChildError> for UploadError {
    fn from(error: ChildError) -> Self {
        match error {
            ChildError::TooMany => Self::Busy,
            other => Self::Fault(UploadFault::Unavailable(other.to_string())),
        }
    }
}

/// What a client wants to upload.
#[derive(Debug, Clone, PartialEq)]
pub struct NewUpload {
    /// Whose it is.
    pub user_id: UserId,
    /// Which protocol creates it.
    pub protocol: UploadProtocol,
    /// Total length in bytes, unless deferred.
    pub length: Option<u64>,
    /// Whether it is a part, or made of parts.
    pub concatenation: Concatenation,
    /// What its creator says of the video.
    pub details: VideoDetails,
    /// The file's name.
    pub file_name: Option<String>,
    /// The type its client gives it; never trusted.
    pub file_type: Option<String>,
    /// Digest of the whole file as `algorithm:hex`.
    pub expected_digest: Option<String>,
    /// `Upload-Metadata` as sent.
    pub raw_metadata: Option<String>,
    /// Whether its client stores the bytes by itself; needs a length.
    pub is_direct: bool,
}

/// The only way in.
#[derive(Clone)]
pub struct UploadsHandle {
    family: FamilyHandle<Uploads>,
    context: Arc<Uploads>,
    completions: Completions,
}

impl UploadsHandle {
    /// A handle to the family that will be started with `context`.
    pub fn new(context: Arc<Uploads>) -> Self {
        Self { family: FamilyHandle::default(), context, completions: Completions::default() }
    }

    /// The family behind it, for its supervisor.
    pub fn family(&self) -> (FamilyHandle<Uploads>, Arc<Uploads>) {
        (self.family.clone(), Arc::clone(&self.context))
    }

    /// Whether clients may store the bytes of uploads by themselves.
    pub fn takes_direct(&self) -> bool {
        self.context.direct.is_some()
    }

    /// Sizes and times.
    pub fn limits(&self) -> &UploadLimits {
        &self.context.limits
    }

    /// Stores a new upload. Sizes, quota and disk room are checked before anything is kept.
    pub async fn create(&self, new: NewUpload) -> Result<UploadHandle, UploadError> {
        let context = &self.context;
        let limit = context.limits.size_bytes_max;
        if new.length.is_some_and(|length| length > limit) {
            return Err(UploadError::TooLarge { limit });
        }
        new.details.validate()?;
        if !context.has_room_for(new.length.unwrap_or(0)).await? {
            return Err(UploadFault::Full.into());
        }
        let part_bytes = new.is_direct.then(|| context.part_bytes_of(new.length)).transpose()?;
        let protocol = new.protocol.as_str();
        let (mut upload, playback_id) = self.record(new);
        upload.part_bytes = part_bytes;
        let upload = context.catalog.create_upload(upload, playback_id, context.quota()).await?;
        context.store.create(&upload.id).await?;
        metrics::counter!("playhouse_uploads_created_total", "protocol" => protocol).increment(1);
        tracing::info!(upload.id = %upload.id, user.id = %upload.user_id, protocol, length = ?upload.length, "upload created");
        Ok(self.handle_of(upload))
    }

    /// Makes a final upload of complete partial ones, without copying.
    pub async fn concatenate(&self, mut new: NewUpload, parts: Vec<UploadId>) -> Result<UploadHandle, UploadError> {
        let limit = self.context.limits.concatenation_parts_max;
        if parts.is_empty() || parts.len() > usize::try_from(limit).unwrap_or(usize::MAX) {
            return Err(UploadError::TooManyParts { limit });
        }
        new.details.validate()?;
        let mut length = 0u64;
        for id in &parts {
            length = length.saturating_add(self.part_length(id, &new.user_id).await?);
        }
        if length > self.context.limits.size_bytes_max {
            return Err(UploadError::TooLarge { limit: self.context.limits.size_bytes_max });
        }
        new.length = Some(length);
        new.concatenation = Concatenation::Final(parts);
        let (upload, playback_id) = self.record(new);
        let upload = self.context.catalog.create_upload(upload, playback_id, self.context.quota()).await?;
        metrics::counter!("playhouse_uploads_created_total", "protocol" => upload.protocol.as_str()).increment(1);
        let handle = self.handle_of(upload);
        handle.complete_now().await?;
        Ok(handle)
    }

    async fn part_length(&self, id: &UploadId, user: &UserId) -> Result<u64, UploadError> {
        let bad = || UploadError::BadPart(id.to_string());
        let part = self.context.catalog.upload(id).await?.filter(|part| part.user_id == *user).ok_or_else(bad)?;
        let is_good = part.concatenation == Concatenation::Partial && part.state == UploadState::Complete;
        part.length.filter(|_| is_good).ok_or_else(bad)
    }

    fn record(&self, new: NewUpload) -> (Upload, Option<PlaybackId>) {
        let context = &self.context;
        let now = context.clock.now();
        let makes_video = new.concatenation != Concatenation::Partial;
        let upload = Upload {
            id: context.nodes.draw_own(NodeRole::Api, placement_key, || UploadId::random(&*context.entropy)),
            user_id: new.user_id,
            video_id: makes_video.then(|| VideoId::random(&*context.entropy)),
            protocol: new.protocol,
            state: UploadState::Open,
            length: new.length,
            concatenation: new.concatenation,
            details: new.details,
            file_name: new.file_name,
            file_type: new.file_type,
            expected_digest: new.expected_digest,
            raw_metadata: new.raw_metadata,
            part_bytes: None,
            extents: Vec::new(),
            created_at: now,
            expires_at: now + Duration::from_secs(context.limits.expiry_secs),
        };
        (upload, makes_video.then(|| PlaybackId::random(&*context.entropy)))
    }

    fn handle_of(&self, upload: Upload) -> UploadHandle {
        let (family, completions) = (self.family.clone(), self.completions.clone());
        UploadHandle { family, context: Arc::clone(&self.context), completions, upload }
    }

    /// The upload with this id, if it is this account's (or the account is an administrator's).
    pub async fn find(&self, id: &UploadId, user: &UserId, role: Role) -> Result<UploadHandle, UploadError> {
        let upload = self.context.catalog.upload(id).await?.ok_or(UploadError::NotFound)?;
        if upload.user_id != *user && !role.includes(Role::Admin) {
            return Err(UploadError::NotFound);
        }
        Ok(self.handle_of(upload))
    }

    /// Ends this upload if it has expired; one that has all its bytes is completed instead, one that is being written to
    /// is left alone. Answers whether it is over.
    pub async fn expire(&self, upload: Upload) -> Result<bool, UploadError> {
        let status = self.handle_of(upload).ask_status(Request::Expire).await?;
        Ok(status.state != UploadState::Open)
    }
}

/// One upload.
#[derive(Clone)]
pub struct UploadHandle {
    family: FamilyHandle<Uploads>,
    context: Arc<Uploads>,
    completions: Completions,
    upload: Upload,
}

impl UploadHandle {
    /// Its record, as it was when the handle was made.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Asks its session, which is started when it is not running. A session that left in between is started again.
    async fn ask(&self, request: Request) -> Result<SessionAnswer, UploadError> {
        let takes_over = self.upload.part_bytes.is_some() && request == Request::Complete;
        let patience = if takes_over { TAKING_OVER_MAX } else { super::reply::ASK_TIMEOUT };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let outcome = match self.family.find_or_start(self.upload.id.clone(), Arc::clone(&self.context)).await {
                Err(ChildError::Restarting { after }) if attempt < ASK_ATTEMPTS_MAX => {
                    tokio::time::sleep(after.min(RESTART_WAIT_MAX)).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
                Ok(session) => {
                    let request = request.clone();
                    session.ask_within(patience, |reply| UploadMessage::Ask { request, reply }).await
                }
            };
            match outcome {
                Err(AskError::Gone) if attempt < ASK_ATTEMPTS_MAX => tokio::task::yield_now().await,
                Err(error) => return Err(error.into()),
                Ok(answer) => return answer,
            }
        }
    }

    async fn ask_status(&self, request: Request) -> Result<UploadStatus, UploadError> {
        match self.ask(request).await? {
            SessionAnswer::Status(status) => Ok(status),
            SessionAnswer::Granted(_) => Err(UploadError::Locked),
        }
    }

    /// Where it stands; the offset is durable. With `preempt`, a writer under way is ended first.
    pub async fn inspect(&self, preempt: bool) -> Result<UploadStatus, UploadError> {
        self.ask_status(Request::Inspect { preempt }).await
    }

    /// Asks for the right to append. A status instead of a lease means that what the request brings is held already and
    /// the upload is complete.
    pub async fn begin_append(&self, request: AppendRequest) -> Result<Result<WriterLease, UploadStatus>, UploadError> {
        if self.upload.part_bytes.is_some() {
            return Err(UploadError::Direct);
        }
        Ok(match self.ask(Request::Append(request)).await? {
            SessionAnswer::Granted(lease) => Ok(lease),
            SessionAnswer::Status(status) => Err(status),
        })
    }

    /// Makes the video of it once all bytes are here; repeating it is harmless. A digest (`algorithm:hex`) is checked
    /// before the video is worked on. `None`: it takes long, and goes on.
    pub async fn complete(&self, digest: Option<&str>) -> Result<Option<UploadStatus>, UploadError> {
        if let Some(digest) = digest {
            self.context.catalog.expect_upload_digest(&self.upload.id, digest).await.map_err(|error| match error {
                CatalogError::Conflict(_) => UploadError::DigestConflict,
                other => other.into(),
            })?;
        }
        match self.upload.part_bytes {
            Some(_) => self.complete_in_time().await,
            None => self.complete_now().await.map(Some),
        }
    }

    async fn complete_now(&self) -> Result<UploadStatus, UploadError> {
        let completed = self.ask_status(Request::Complete).await;
        if let Err(UploadError::Fault(UploadFault::NotMedia(_))) = completed {
            self.terminate("not_media").await?;
        }
        completed
    }

    /// Ends it and removes its bytes.
    pub async fn terminate(&self, reason: &'static str) -> Result<UploadStatus, UploadError> {
        self.ask_status(Request::Terminate { reason }).await
    }
}

#[cfg(test)]
mod tests;
