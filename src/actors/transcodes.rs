//! The family of transcode jobs: one per video whose bytes are complete and which is not ready yet.
use std::sync::Arc;

use ractor::{Actor, ActorCell, ActorRef, SpawnErr};

use super::describe::DescribeReply;
use super::supervisor::{ChildError, Family, FamilyHandle};
use super::transcode_job::{TranscodeArguments, TranscodeDependencies, TranscodeJob, TranscodeMessage};
use crate::domain::ids::VideoId;
use crate::domain::ports::CatalogError;
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
    type Seed = ();
    type Message = TranscodeMessage;
    const NAME: &'static str = "transcodes";

    async fn spawn(
        &self,
        key: &VideoId,
        (): &(),
        supervisor: ActorCell,
    ) -> Result<ActorRef<TranscodeMessage>, SpawnErr> {
        let arguments = TranscodeArguments { video_id: key.clone(), dependencies: Arc::clone(&self.dependencies) };
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

    /// Takes up a video whose bytes are complete, at once. Does nothing when its job is running; a job that finds nothing
    /// to do ends.
    pub async fn start(&self, video_id: VideoId) -> Result<(), ChildError> {
        self.family.find_or_start(video_id, ()).await.map(drop)
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
        Ok(running)
    }
}
