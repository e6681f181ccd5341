//! The recording of one broadcast, from its first part to the video that it becomes: no copy is made and nothing is encoded.
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::lives::Lives;
use super::transcode_job::rendition;
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::ids::{PlaybackId, VideoId};
use crate::domain::live::Archive;
use crate::domain::ports::BlobError;
use crate::media::frames::InvalidConfig;
use crate::media::live::chronicle;
use crate::media::live::recorder::{Recorded, Recorder, RecordingPlace};
use crate::media::live::recording::Recording;
use crate::media::live::recovery::{RecoveryError, recover};
use crate::media::live::stream::Keeper;

/// Pause before the store is asked again to take what is left of a broadcast that is over.
const RETRY: Duration = Duration::from_secs(1);

/// A recording under way.
pub(super) struct LiveRecording {
    video_id: VideoId,
    recorded: Arc<Recorded>,
    /// Ends with it.
    _settling: AbortOnDropHandle<()>,
}

/// Why a recording is no video yet.
#[derive(Debug, thiserror::Error)]
enum ArchiveError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Config(#[from] InvalidConfig),
}

fn place_of(lives: &Lives, video_id: &VideoId) -> RecordingPlace {
    let prefix = BlobKey::new(format!("vod-abr/{video_id}/1"));
    RecordingPlace { dir: lives.recordings.join(video_id.as_str()), prefix }
}

impl LiveRecording {
    /// Begins to record.
    pub(super) fn begin(lives: &Lives) -> Self {
        Self::go_on(lives, VideoId::random(&*lives.entropy), Recording::default())
    }

    /// Goes on with what a node has recorded that has died over it.
    pub(super) async fn recover(lives: &Lives, video_id: VideoId) -> Result<Self, RecoveryError> {
        let recording = recover(&place_of(lives, &video_id), &*lives.blobs).await?;
        Ok(Self::go_on(lives, video_id, recording))
    }

    fn go_on(lives: &Lives, video_id: VideoId, recording: Recording) -> Self {
        let place = place_of(lives, &video_id);
        let recorded = Arc::new(Recorded::new(place, recording));
        let (settled, blobs, reserve) = (Arc::clone(&recorded), Arc::clone(&lives.blobs), lives.disk_reserve_bytes);
        let settling = tokio::spawn(async move { settled.settle_for_ever(&*blobs, reserve).await });
        Self { video_id, recorded, _settling: AbortOnDropHandle::new(settling) }
    }

    /// What the broadcast will be as a video.
    pub(super) fn video_id(&self) -> &VideoId {
        &self.video_id
    }

    /// Where the timeline goes on; `None` when nothing is recorded.
    pub(super) fn end_micros(&self) -> Option<i64> {
        self.recorded.look(Recording::end_micros)
    }

    /// Whether the newest media could not be written.
    pub(super) fn is_failing(&self) -> bool {
        self.recorded.is_failing()
    }

    /// Who writes it.
    pub(super) fn keeper(&self) -> Box<dyn Keeper> {
        Box::new(Recorder::new(Arc::clone(&self.recorded)))
    }

    /// Has the store keep all that there is, so that another node can go on with it.
    pub(super) async fn hand_over(self, lives: &Lives) -> Result<(), BlobError> {
        self.recorded.hand_over(&*lives.blobs).await
    }

    /// The video that the broadcast is, now that it is over; `None` when nothing came. Asks the store until it answers.
    pub(super) async fn archive(self, lives: &Lives) -> Option<Archive> {
        loop {
            match self.try_archive(lives).await {
                Ok(archive) => return archive,
                Err(ArchiveError::Config(error)) => {
                    tracing::error!(video.id = %self.video_id, %error, "a broadcast cannot be made a video");
                    return None;
                }
                Err(ArchiveError::Blob(error)) => {
                    tracing::warn!(video.id = %self.video_id, %error, "a broadcast is not a video yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn try_archive(&self, lives: &Lives) -> Result<Option<Archive>, ArchiveError> {
        self.recorded.settle(&*lives.blobs).await?;
        let playback_id = PlaybackId::random(&*lives.entropy);
        let recording = self.recorded.look(Recording::clone);
        let asset = recording.asset(self.video_id.clone(), playback_id.clone())?;
        // What it says is in the asset.
        let _ = tokio::fs::remove_file(chronicle::path_in(self.recorded.dir())).await;
        let Some(asset) = asset else { return Ok(None) };
        let mut blobs = Vec::new();
        for key in asset.tracks.iter().flat_map(|track| &track.spans) {
            blobs.push(Extent { key: key.clone(), bytes: recording.bytes_of(key) });
        }
        blobs.push(lives.assets.save_asset(&asset).await?);
        // Empty by now.
        let _ = tokio::fs::remove_dir(self.recorded.dir()).await;
        let renditions = asset.tracks.iter().map(rendition).collect();
        let media = recording.media(&asset);
        Ok(Some(Archive { video_id: self.video_id.clone(), playback_id, media, renditions, blobs }))
    }
}
