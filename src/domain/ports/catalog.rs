//! Ports to the catalog.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::Serialize;

use super::super::account::{Login, NewUser, ProfilePatch, Rotation, User};
use super::super::asset::{BlobKey, Extent};
use super::super::cluster::{Lease, LeaseAnswer, NodeLife, NodeRow};
use super::super::events::{Event, NewEvent};
use super::super::ids::{LiveId, LoginId, PlaybackId, PlaybackSessionId, UploadId, UserId, VideoId};
use super::super::ladder::{Ladder, LadderEnding, NewLadder, Unit, UnitEnd, UnitResult};
use super::super::live::{Live, LivePatch, LiveState, LiveStep};
use super::super::playback::{SessionSummary, WatchPosition};
use super::super::time::Timestamp;
use super::super::transcode::{AttemptEnd, Attempts, WorkKind};
use super::super::trim::Trim;
use super::super::upload::Upload;
use super::super::video::{
    Failure, MediaInfo, NonStandard, OriginalState, Rendition, RenditionState, Storyboard, Thumbnail, ThumbnailMoment,
    Video, VideoDetails, VideoStatus,
};

/// Why the catalog refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// Something unique is taken; the name says what, e.g. `username`.
    #[error("{0} is already taken")]
    Conflict(&'static str),
    /// No such row.
    #[error("no such row")]
    NotFound,
    /// The row has changed since the caller read it.
    #[error("changed in the meantime")]
    Stale,
    /// The lease under which this was to be changed is another's by now.
    #[error("the lease is another's")]
    NotHeld,
    /// The account's quota would be exceeded.
    #[error("quota of {limit} exceeded: {used} in use")]
    QuotaExceeded {
        /// In use now, bytes or uploads.
        used: u64,
        /// Allowed, same unit.
        limit: u64,
    },
    /// A cursor that this query did not make.
    #[error("not a cursor of this list")]
    InvalidCursor,
    /// The database did not answer or refused; worth another try.
    #[error("catalog unavailable: {0}")]
    Unavailable(String),
    /// A stored value cannot be read.
    #[error("catalog holds an unreadable value: {0}")]
    Corrupt(String),
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Most items.
    pub limit: u32,
    /// Opaque mark from the page before.
    pub cursor: Option<String>,
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It has all that was committed before.
    Latest,
    /// It may lack what was committed in the last moments; how many is a setting.
    Recent,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Mark of the next page; `None` on the last.
    pub next_cursor: Option<String>,
    /// About how many items the whole list has.
    pub total_estimate: u64,
}

/// Accounts and sign-ins.
#[async_trait]
pub trait AccountCatalog: Send + Sync {
    /// Stores a new account with its channel and a `user.registered` event. `Conflict("username" | "email")` when taken.
    async fn register(&self, user: NewUser, now: Timestamp) -> Result<User, CatalogError>;
    /// The account with this id.
    async fn user(&self, id: &UserId) -> Result<Option<User>, CatalogError>;
    /// The account with this name or address, compared without case.
    async fn user_by_name(&self, username_or_email: &str) -> Result<Option<User>, CatalogError>;
    /// Changes a profile; `Stale` when `expected_revision` is given and another.
    async fn update_profile(
        &self,
        id: &UserId,
        patch: ProfilePatch,
        expected_revision: Option<u64>,
        now: Timestamp,
    ) -> Result<User, CatalogError>;
    /// Whether any account exists.
    async fn has_users(&self) -> Result<bool, CatalogError>;
    /// Stores a new sign-in with an `auth.login` event.
    async fn open_login(&self, login: Login) -> Result<(), CatalogError>;
    /// A sign-in, revoked or not.
    async fn login(&self, id: &LoginId) -> Result<Option<Login>, CatalogError>;
    /// Replaces the refresh token hashed `shown` by `next` in one step; reuse revokes the family (`auth.refresh_reused`).
    async fn rotate_refresh(
        &self,
        shown: &str,
        next: &str,
        address: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotation, CatalogError>;
    /// Live sign-ins of an account, newest first.
    async fn logins(&self, user: &UserId) -> Result<Vec<Login>, CatalogError>;
    /// Revokes one sign-in of this account; `NotFound` when it has no such live one.
    async fn revoke_login(&self, user: &UserId, id: &LoginId, now: Timestamp) -> Result<(), CatalogError>;
    /// Revokes all sign-ins of an account but `except`; returns how many.
    async fn revoke_logins(&self, user: &UserId, except: Option<&LoginId>, now: Timestamp)
    -> Result<u64, CatalogError>;
    /// Deletes sign-ins that ended before `before`; returns how many.
    async fn drop_ended_logins(&self, before: Timestamp) -> Result<u64, CatalogError>;
    /// Records a failed or otherwise notable sign-in in the change feed.
    async fn record_event(&self, event: NewEvent, now: Timestamp) -> Result<(), CatalogError>;
    /// A secret of this installation by name, made by `make` and stored on first use.
    async fn secret(
        &self,
        name: &'static str,
        make: &(dyn Fn() -> Vec<u8> + Send + Sync),
    ) -> Result<Vec<u8>, CatalogError>;
}

/// Limits checked inside the transaction that creates an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadQuota {
    /// Bytes one account may have stored and in flight.
    pub bytes: u64,
    /// Unfinished uploads one account may have.
    pub open_uploads: u32,
}

/// Uploads.
#[async_trait]
pub trait UploadCatalog: Send + Sync {
    /// Stores a new upload and, unless it is partial, its video in `uploading`. `QuotaExceeded` when it would not fit.
    async fn create_upload(
        &self,
        upload: Upload,
        playback_id: Option<PlaybackId>,
        quota: UploadQuota,
    ) -> Result<Upload, CatalogError>;
    /// The upload with this id, whatever its state.
    async fn upload(&self, id: &UploadId) -> Result<Option<Upload>, CatalogError>;
    /// Declares a deferred length; `QuotaExceeded` when it would not fit.
    async fn set_upload_length(&self, id: &UploadId, length: u64, quota: UploadQuota) -> Result<(), CatalogError>;
    /// Records the digest of the whole file as `algorithm:hex`, before the upload is complete. `Conflict("digest")` when
    /// another is recorded, or it is too late.
    async fn expect_upload_digest(&self, id: &UploadId, digest: &str) -> Result<(), CatalogError>;
    /// Moves the expiry.
    async fn set_upload_expiry(&self, id: &UploadId, expires_at: Timestamp) -> Result<(), CatalogError>;
    /// All bytes are stored: the video gets them as its source and goes to `verifying` (when a digest is expected) or
    /// `processing`, with an `upload.completed` event. Repeating it changes nothing and returns the same.
    async fn complete_upload(
        &self,
        id: &UploadId,
        extents: Vec<Extent>,
        now: Timestamp,
    ) -> Result<Upload, CatalogError>;
    /// Ends an unfinished upload and drops its video row; the caller removes the bytes. A partial upload that a final one
    /// has taken cannot be terminated (`Conflict`).
    async fn terminate_upload(&self, id: &UploadId, reason: &'static str, now: Timestamp) -> Result<(), CatalogError>;
    /// Unfinished uploads past their expiry.
    async fn expired_uploads(&self, now: Timestamp, limit: u32) -> Result<Vec<Upload>, CatalogError>;
}

/// Which videos a list holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VideoFilter {
    /// Only this account's, of every privacy and state; otherwise only public ones that can be watched.
    pub owner: Option<UserId>,
    /// Only this category.
    pub category: Option<String>,
}

/// A step in a video's life; each is one transaction with its event.
#[derive(Debug, Clone, PartialEq)]
pub enum VideoStep {
    /// The expected digest was right: on to `processing`.
    Verified,
    /// What was found in the file.
    Inspected {
        /// Tracks, codecs, duration.
        media: MediaInfo,
        /// Conditions of standard input not met.
        non_standard: Vec<NonStandard>,
    },
    /// How far the work is, with a `transcode.progress` event.
    Progress {
        /// Percent of all that is to be done.
        percent: u8,
        /// When it will all be done, once that can be told.
        ready_at: Option<Timestamp>,
    },
    /// Renditions have come further; those that are ready stay so.
    Transcoding {
        /// States by name.
        states: Vec<(String, RenditionState)>,
    },
    /// A new asset index is stored under this generation: `playable` from now on, with a `video.playable` event the first
    /// time.
    Published {
        /// Generation of the stored index.
        generation: u32,
        /// Its renditions.
        renditions: Vec<Rendition>,
        /// Blobs it refers to, its index included, with their sizes.
        blobs: Vec<Extent>,
    },
    /// Still pictures of one or more moments are stored: they replace those of the same moments, candidates together, and
    /// leave others alone. A custom one is chosen with it.
    Illustrated {
        /// Those of one moment following one another, the largest first; never empty.
        thumbnails: Vec<Thumbnail>,
        /// Their blobs.
        blobs: Vec<Extent>,
    },
    /// The owner wants this moment to stand for the video; `NotFound` when there is no picture of it.
    ThumbnailChosen(ThumbnailMoment),
    /// The owner wants this part to be shown; `None` for all of it.
    Trimmed(Option<Trim>),
    /// Small pictures for the scrubber are stored: they replace those before.
    StoryboardMade {
        /// The sheets and their layout.
        storyboard: Storyboard,
        /// Their blobs.
        blobs: Vec<Extent>,
    },
    /// Nothing is left to do: `ready`.
    Finished,
    /// Will not become playable: `failed`.
    Failed(Failure),
}

/// Videos.
#[async_trait]
pub trait VideoCatalog: Send + Sync {
    /// The video with this id; deleted ones are not found.
    async fn video(&self, id: &VideoId) -> Result<Option<Video>, CatalogError>;
    /// The video played under this id; deleted ones are not found.
    async fn video_by_playback(&self, id: &PlaybackId) -> Result<Option<Video>, CatalogError>;
    /// Videos, newest first.
    async fn list_videos(
        &self,
        filter: VideoFilter,
        page: PageRequest,
        freshness: Freshness,
    ) -> Result<Page<Video>, CatalogError>;
    /// Replaces a video's details with a `video.updated` event; `Stale` when `expected_revision` is given and another.
    async fn update_video(
        &self,
        id: &VideoId,
        details: VideoDetails,
        expected_revision: Option<u64>,
        now: Timestamp,
    ) -> Result<Video, CatalogError>;
    /// Takes one step; `NotFound` when the video was deleted meanwhile.
    async fn step_video(&self, id: &VideoId, step: VideoStep, now: Timestamp) -> Result<Video, CatalogError>;
    /// Videos in this state, oldest first: what a restarted node takes up again.
    async fn videos_in(&self, status: VideoStatus, limit: u32) -> Result<Vec<Video>, CatalogError>;
    /// Marks a video deleted with a `video.deleted` event; from now on it is not found.
    async fn delete_video(&self, id: &VideoId, now: Timestamp) -> Result<(), CatalogError>;
    /// Deleted videos whose bytes are still to go, each with all its blobs.
    async fn deleted_videos(&self, limit: u32) -> Result<Vec<(VideoId, Vec<BlobKey>)>, CatalogError>;
    /// Forgets a deleted video, once its bytes are gone.
    async fn purge_video(&self, id: &VideoId) -> Result<(), CatalogError>;
    /// Those of these blobs that nothing refers to: no live video, no open upload, no work under way.
    async fn orphans(&self, keys: Vec<BlobKey>) -> Result<Vec<BlobKey>, CatalogError>;
}

/// An original that has been where it is for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgedOriginal {
    /// Whose it is.
    pub video_id: VideoId,
    /// Generation of the video's asset index.
    pub asset_generation: u32,
    /// The original; empty when the video has none, as recorded broadcasts.
    pub extents: Vec<Extent>,
}

/// Where originals are.
#[async_trait]
pub trait OriginalCatalog: Send + Sync {
    /// Originals that have been in this state since before a time, longest first, of videos that are as old and of which all is made
    /// that was planned.
    async fn aged_originals(
        &self,
        state: OriginalState,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<AgedOriginal>, CatalogError>;
    /// Notes that an original is elsewhere now, with a `video.original_moved` event, or that it stays where it is for as long again. A
    /// deleted one is the video's no more. `Stale` when it is in another state, is to be read, or the video was deleted.
    async fn move_original(
        &self,
        video: &VideoId,
        from_to: (OriginalState, OriginalState),
        now: Timestamp,
    ) -> Result<(), CatalogError>;
}

/// Attempts at work on videos, recorded before they start, so that they are known whatever they do to the node.
#[async_trait]
pub trait WorkCatalog: Send + Sync {
    /// Records that an attempt begins; returns those before it that ended badly. One that was begun and never ended
    /// counts as interrupted from now on. `NotFound` when the video was deleted.
    async fn begin_attempt(&self, video: &VideoId, work: WorkKind, now: Timestamp) -> Result<Attempts, CatalogError>;
    /// Records how the attempt ended. Repeating it changes nothing.
    async fn end_attempt(
        &self,
        video: &VideoId,
        work: WorkKind,
        end: AttemptEnd,
        now: Timestamp,
    ) -> Result<(), CatalogError>;
}

/// Ladders: plans, and the units in which they are made. A finished unit is never done again.
#[async_trait]
pub trait LadderCatalog: Send + Sync {
    /// Stores a plan with its units and the video's renditions, with a `transcode.started` event. `NotFound` when the video
    /// was deleted, `Conflict` when this generation has a plan.
    async fn start_ladder(&self, ladder: NewLadder, now: Timestamp) -> Result<Video, CatalogError>;
    /// The video's newest ladder with all its units.
    async fn ladder(&self, video: &VideoId) -> Result<Option<Ladder>, CatalogError>;
    /// Takes back what is leased: nobody works on it any more. Each counts as interrupted; returns how many there were.
    async fn reclaim_units(&self, video: &VideoId, generation: u32, now: Timestamp) -> Result<u64, CatalogError>;
    /// Records that an attempt at a unit begins. `Stale` when it is leased, done or failed, `NotFound` when the video was
    /// deleted. A unit that was not planned (a chunk asked for early) is added.
    async fn lease_unit(
        &self,
        ladder: (&VideoId, u32),
        unit: Unit,
        lease: &NodeLife,
        now: Timestamp,
    ) -> Result<(), CatalogError>;
    /// Records a unit's result; its blobs are the video's from now on. `Stale` when the lease is another's.
    async fn finish_unit(
        &self,
        ladder: (&VideoId, u32),
        unit: Unit,
        lease: &NodeLife,
        (result, now): (&UnitResult, Timestamp),
    ) -> Result<(), CatalogError>;
    /// Records how an attempt ended otherwise. Repeating it changes nothing.
    async fn end_unit(
        &self,
        ladder: (&VideoId, u32),
        unit: Unit,
        end: &UnitEnd,
        now: Timestamp,
    ) -> Result<(), CatalogError>;
    /// Results of all units that are done.
    async fn unit_results(&self, video: &VideoId, generation: u32) -> Result<Vec<(Unit, UnitResult)>, CatalogError>;
    /// Results of one chunk or track of sound, those of all passes.
    async fn results_of(&self, video: &VideoId, generation: u32, number: u32) -> Result<Vec<UnitResult>, CatalogError>;
    /// Ends a ladder, unless its owner has asked for more meanwhile. An abandoned one loses all that its units have made.
    async fn end_ladder(
        &self,
        ladder: (&VideoId, u32),
        ending: LadderEnding,
        now: Timestamp,
    ) -> Result<(), CatalogError>;
    /// Opens a ladder again with a larger plan and more units.
    async fn extend_ladder(&self, ladder: NewLadder, now: Timestamp) -> Result<Video, CatalogError>;
    /// Notes that its owner wants the video in AV1. `NotFound` when it has no ladder.
    async fn request_av1(&self, video: &VideoId, now: Timestamp) -> Result<(), CatalogError>;
    /// Videos with a ladder that is open, oldest first.
    async fn open_ladders(&self, limit: u32) -> Result<Vec<VideoId>, CatalogError>;
}

/// What viewers leave behind.
#[async_trait]
pub trait WatchCatalog: Send + Sync {
    /// Where this account left off in this video.
    async fn watch_position(&self, user: &UserId, video: &VideoId) -> Result<Option<WatchPosition>, CatalogError>;
    /// Stores where it left off.
    async fn record_position(&self, position: WatchPosition) -> Result<(), CatalogError>;
    /// Counts a view of this session, once however often it is asked.
    async fn count_view(
        &self,
        session: &PlaybackSessionId,
        video: &VideoId,
        now: Timestamp,
    ) -> Result<(), CatalogError>;
    /// Stores what a session came to, once however often it is asked.
    async fn record_session(&self, summary: SessionSummary) -> Result<(), CatalogError>;
}

/// The transactional change feed.
#[async_trait]
pub trait ChangeFeed: Send + Sync {
    /// Events after `sequence` in commit order.
    async fn events_after(&self, sequence: u64, limit: u32) -> Result<Vec<Event>, CatalogError>;
    /// The sequence of the last event; 0 before the first.
    async fn last_event(&self) -> Result<u64, CatalogError>;
    /// Yields after this process committed events, once for any number of them; other nodes' are found by asking.
    fn told(&self) -> BoxStream<'static, ()>;
}

/// Live streams.
#[async_trait]
pub trait LiveCatalog: Send + Sync {
    /// Stores a new live stream with a `live.created` event.
    async fn create_live(&self, live: Live) -> Result<(), CatalogError>;
    /// The live stream with this id.
    async fn live(&self, id: &LiveId) -> Result<Option<Live>, CatalogError>;
    /// The live stream played under this id.
    async fn live_by_playback(&self, id: &PlaybackId) -> Result<Option<Live>, CatalogError>;
    /// The live stream whose key has this digest.
    async fn live_by_key(&self, hash: &str) -> Result<Option<Live>, CatalogError>;
    /// Live streams, newest first: an account's own of every state and privacy, or the public ones that are live.
    async fn list_lives(
        &self,
        owner: Option<&UserId>,
        page: PageRequest,
        freshness: Freshness,
    ) -> Result<Page<Live>, CatalogError>;
    /// Changes a live stream with a `live.updated` event; `Stale` when `expected_revision` is given and another.
    async fn update_live(
        &self,
        id: &LiveId,
        patch: LivePatch,
        expected_revision: Option<u64>,
        now: Timestamp,
    ) -> Result<Live, CatalogError>;
    /// Gives the next generation of the publishing lease. `NotFound` when the stream has ended or never was.
    async fn lease_live(&self, id: &LiveId, now: Timestamp) -> Result<u64, CatalogError>;
    /// Takes one step, with a `live.started` or `live.ended` event; a step that was taken before changes nothing.
    async fn step_live(&self, id: &LiveId, step: LiveStep, now: Timestamp) -> Result<Live, CatalogError>;
    /// Live streams in this state, oldest first: what a restarted node takes up again.
    async fn lives_in(&self, state: LiveState, limit: u32) -> Result<Vec<Live>, CatalogError>;
    /// Live streams that may be fetched from elsewhere and have not ended: those that are live first, so many of each state.
    async fn lives_pulled(&self, limit: u32) -> Result<Vec<Live>, CatalogError>;
    /// Deletes a live stream that is not live, with a `live.deleted` event; its videos stay. `Conflict("live")` while it is.
    async fn delete_live(&self, id: &LiveId, now: Timestamp) -> Result<(), CatalogError>;
}

/// Where the bytes of an upload under way lie, in an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredExtents {
    /// Which writer it had last; only that one may add to it.
    pub writer: u64,
    /// What is stored, in order.
    pub extents: Vec<Extent>,
}

/// Bytes of uploads under way, where they lie in an object store: a byte counts once it is in an extent that is recorded here.
#[async_trait]
pub trait ExtentCatalog: Send + Sync {
    /// Makes room for an upload; one that has some keeps it.
    async fn open_extents(&self, id: &UploadId) -> Result<(), CatalogError>;
    /// What is stored of it.
    async fn extents(&self, id: &UploadId) -> Result<StoredExtents, CatalogError>;
    /// Lets the next writer begin; those before it can add no more.
    async fn begin_extents(&self, id: &UploadId) -> Result<StoredExtents, CatalogError>;
    /// Replaces the extents from number `from` on. `Stale` when another writer has begun.
    async fn replace_extents(
        &self,
        id: &UploadId,
        writer: u64,
        from: usize,
        extents: &[Extent],
    ) -> Result<(), CatalogError>;
    /// Forgets an upload's extents; nobody can add to it any more.
    async fn drop_extents(&self, id: &UploadId) -> Result<(), CatalogError>;
}

/// Nodes and their leases. Time is the database's.
#[async_trait]
pub trait LeaseCatalog: Send + Sync {
    /// A node lives, and has connections with so many, itself among them. `Stale` when a later life of it has said so.
    async fn renew_node(&self, life: &NodeLife, reaches: u32) -> Result<(), CatalogError>;
    /// A node leaves: what it held is free.
    async fn leave_node(&self, life: &NodeLife) -> Result<(), CatalogError>;
    /// All nodes that have not left, by name.
    async fn nodes(&self) -> Result<Vec<NodeRow>, CatalogError>;
    /// Takes a lease that is free, of an earlier life of the asker, or of a node that has not been renewed for `lapse` or longer;
    /// without that, silent nodes keep theirs. One that is the asker's stays as it is.
    async fn take_lease(
        &self,
        key: &str,
        asker: &NodeLife,
        lapse: Option<Duration>,
    ) -> Result<LeaseAnswer, CatalogError>;
    /// Who has a lease, dead or alive.
    async fn lease(&self, key: &str) -> Result<Option<Lease>, CatalogError>;
    /// Gives a lease back; one that is another's by now stays as it is.
    async fn release_lease(&self, lease: &Lease) -> Result<(), CatalogError>;
    /// The end of what a lease is for.
    async fn drop_lease(&self, lease: &Lease) -> Result<(), CatalogError>;
}

/// The whole catalog.
#[async_trait]
pub trait Catalog:
    AccountCatalog
    + UploadCatalog
    + VideoCatalog
    + OriginalCatalog
    + WorkCatalog
    + LadderCatalog
    + WatchCatalog
    + LiveCatalog
    + ChangeFeed
    + ExtentCatalog
    + LeaseCatalog
{
    /// The same for the holder of a lease: it changes nothing any more once that is another's (`Unavailable`).
    fn fenced(&self, lease: &Lease) -> Arc<dyn Catalog>;
    /// Whether the database answers.
    async fn ping(&self) -> Result<(), CatalogError>;
}
