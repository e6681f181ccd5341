//! The family of transcode jobs: one per video whose bytes are complete and which is not ready yet.
use std::sync::Arc;

use async_trait::async_trait;
use ractor::{Actor, ActorCell, ActorRef, SpawnErr};

use super::describe::DescribeReply;
use super::nodes::Placed;
use super::remote::{Answer, Question};
use super::reply::Post;
use super::supervisor::{ChildError, Family, FamilyHandle};
use super::transcode_job::{TranscodeArguments, TranscodeDependencies, TranscodeJob, TranscodeMessage};
use super::transcode_worker::PausedBy;
use crate::domain::cluster::{Lease, Role};
use crate::domain::ids::VideoId;
use crate::domain::ladder::{Ladder, LadderState};
use crate::domain::ports::{BlobError, CatalogError, MadeSegment, ResolveError, SegmentMaker};
use crate::domain::video::VideoStatus;

/// Most jobs in memory at once: each is a few kilobytes, plus the index of a video while that is being stored. Videos
/// beyond wait in the catalog until [`TranscodesHandle::resume`] finds them.
pub const JOBS_MAX: usize = 1_000;
/// Videos looked at by one [`TranscodesHandle::resume`], per state.
const RESUME_MAX: u32 = 1_000;

/// The family of transcode jobs.
pub struct Transcodes {
    dependencies: Arc<TranscodeDependencies>,
}

impl Family for Transcodes {
    type Key = VideoId;
    type Seed = Lease;
    type Message = TranscodeMessage;
    const NAME: &'static str = "transcodes";

    async fn spawn(
        &self,
        key: &VideoId,
        lease: &Lease,
        supervisor: ActorCell,
    ) -> Result<ActorRef<TranscodeMessage>, SpawnErr> {
        let catalog = self.dependencies.catalog.fenced(lease);
        let dependencies = Arc::new(TranscodeDependencies { catalog, ..(*self.dependencies).clone() });
        let arguments = TranscodeArguments { video_id: key.clone(), dependencies };
        Ok(Actor::spawn_linked(None, TranscodeJob, arguments, supervisor).await?.0)
    }

    fn describe(reply: DescribeReply) -> TranscodeMessage {
        TranscodeMessage::Describe { reply }
    }
}

/// The only way in.
#[derive(Clone)]
pub struct TranscodesHandle {
    family: FamilyHandle<Transcodes>,
    dependencies: Arc<TranscodeDependencies>,
}

impl TranscodesHandle {
    /// A handle to the family that will be started with these dependencies.
    pub fn new(dependencies: Arc<TranscodeDependencies>) -> Self {
        Self { family: FamilyHandle::default(), dependencies }
    }

    /// The family behind it, for its supervisor.
    pub fn family(&self) -> (FamilyHandle<Transcodes>, Arc<Transcodes>) {
        (self.family.clone(), Arc::new(Transcodes { dependencies: Arc::clone(&self.dependencies) }))
    }

    /// Takes up a video whose bytes are complete, at once, if its job belongs to this node. Does nothing when it is running; a job
    /// that finds nothing to do ends.
    pub async fn start(&self, video_id: VideoId) -> Result<(), StartJobError> {
        self.job(video_id).await.map(drop)
    }

    /// The job of a video; `None` when it is another node's.
    async fn job(&self, video_id: VideoId) -> Result<Option<Post<TranscodeMessage>>, StartJobError> {
        if let Some(job) = self.family.find(video_id.clone()).await? {
            return Ok(Some(job));
        }
        match self.dependencies.nodes.claim(&placement_key(&video_id), Role::Transcode).await? {
            Placed::Here(lease) => Ok(Some(self.family.find_or_start(video_id, lease).await?)),
            Placed::At(_) | Placed::Nowhere => Ok(None),
        }
    }

    /// Takes up every video that is not ready: when a node starts, and from time to time for those that found no room.
    /// Returns how many jobs run for them.
    pub async fn resume(&self) -> Result<usize, CatalogError> {
        let mut running = 0;
        for status in [VideoStatus::Processing, VideoStatus::Verifying, VideoStatus::Playable] {
            for video in self.dependencies.catalog.videos_in(status, RESUME_MAX).await? {
                match self.start(video.id.clone()).await {
                    Ok(()) => running += 1,
                    Err(error) => tracing::warn!(video.id = %video.id, %error, "transcode job not started"),
                }
            }
        }
        for video_id in self.dependencies.catalog.open_ladders(RESUME_MAX).await? {
            if let Err(error) = self.start(video_id.clone()).await {
                tracing::warn!(video.id = %video_id, %error, "transcode job not started");
            }
        }
        Ok(running)
    }

    /// Ends jobs that another node has by now, or may have.
    pub async fn let_go_of_lost(&self) {
        for (video_id, job) in self.family.list().await.unwrap_or_default() {
            if self.dependencies.nodes.has_lost(&placement_key(&video_id)).await {
                tracing::warn!(video.id = %video_id, "a job is to go on at another node");
                let _ = job.tell(TranscodeMessage::LeaseLost);
            }
        }
    }

    /// Hands out no more work of encoding on this node, or does so again.
    pub fn pause(&self, is_paused: bool) {
        self.dependencies.workers.pause_encoding(PausedBy::Operator, is_paused);
    }

    /// Whether encoding is paused on this node.
    pub fn is_paused(&self) -> bool {
        self.dependencies.workers.is_encoding_paused()
    }

    /// Ends the job of a video that was deleted.
    pub async fn forget(&self, video_id: &VideoId) {
        if let Ok(Some(job)) = self.family.find(video_id.clone()).await {
            // One that has ended needs not be told.
            let _ = job.tell(TranscodeMessage::Deleted);
        }
    }

    /// Where a segment lies, once its chunk is made.
    async fn made_segment(
        &self,
        video: &VideoId,
        track: &str,
        (generation, chunk, segment): (u32, u32, u32),
    ) -> Result<Option<MadeSegment>, ResolveError> {
        let results = self.dependencies.catalog.results_of(video, generation, chunk).await.map_err(not_read)?;
        let Some(rung) = results.iter().find_map(|result| result.rung(track)) else { return Ok(None) };
        let index = segment.checked_sub(rung.first_segment).ok_or(ResolveError::NotFound)?;
        let place = rung.segments.get(index as usize).ok_or(ResolveError::NotFound)?;
        let (span, offset, bytes) = (rung.span.key.clone(), u64::from(place.offset), place.bytes);
        Ok(Some(MadeSegment { span, offset, bytes }))
    }

    /// Has a chunk made before its turn; returns whether it is made.
    async fn make_chunk(&self, video: &VideoId, generation: u32, chunk: u32) -> Result<bool, ResolveError> {
        let ladder = self.dependencies.catalog.ladder(video).await.map_err(not_read)?;
        let is_open = |ladder: &Ladder| ladder.generation == generation && ladder.state == LadderState::Open;
        if !ladder.is_some_and(|ladder| is_open(&ladder)) {
            return Ok(false);
        }
        let Some(node) = self.dependencies.nodes.elsewhere(&placement_key(video), Role::Transcode) else {
            return self.make_chunk_here(video, generation, chunk).await.ok_or(ResolveError::NotYet);
        };
        let question = Question::MakeChunk { video_id: video.clone(), generation, chunk };
        match self.dependencies.nodes.ask(&node, &question, self.dependencies.ladder.make_wait).await {
            Ok(Answer::Made(is_made)) => Ok(is_made),
            _ => Err(ResolveError::NotYet),
        }
    }

    /// Has a chunk made by a job of this node; `None` when that takes too long, or the job is another node's.
    pub(super) async fn make_chunk_here(&self, video: &VideoId, generation: u32, chunk: u32) -> Option<bool> {
        let job = self.job(video.clone()).await.ok()??;
        let wait = self.dependencies.ladder.make_wait;
        let asked = job.ask_within(wait, |reply| TranscodeMessage::MakeChunk { generation, chunk, reply }).await;
        asked.and_then(|answer| answer).ok()
    }
}

/// What a job is placed by.
fn placement_key(id: &VideoId) -> String {
    format!("job/{id}")
}

/// A job cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartJobError {
    /// There is no room, or it fails.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// Whose it is cannot be told.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

fn not_read(error: CatalogError) -> ResolveError {
    ResolveError::Blob(BlobError::Unavailable(error.to_string()))
}

/// The generation in a track's name.
fn generation_in(track: &str) -> Option<u32> {
    track.rsplit_once('-')?.1.parse().ok()
}

#[async_trait]
impl SegmentMaker for TranscodesHandle {
    async fn make(&self, video: &VideoId, track: &str, chunk: u32, segment: u32) -> Result<MadeSegment, ResolveError> {
        let generation = generation_in(track).ok_or(ResolveError::NotFound)?;
        let place = (generation, chunk, segment);
        if let Some(made) = self.made_segment(video, track, place).await? {
            return Ok(made);
        }
        let is_made = self.make_chunk(video, generation, chunk).await?;
        let otherwise = if is_made { ResolveError::NotYet } else { ResolveError::NotFound };
        self.made_segment(video, track, place).await?.ok_or(otherwise)
    }
}
