//! What a transcode job does to the world, one function per effect, and what it carries from one to the next.
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Packaged, TranscodeDependencies};
use crate::actors::transcode_worker::WorkError;
use crate::domain::asset::{Asset, AssetTrack, BlobKey, Extent, TrackKind};
use crate::domain::ids::VideoId;
use crate::domain::ports::{BlobError, CatalogError, VideoStep};
use crate::domain::transcode::{AttemptEnd, Attempts, Product, RecordStep, WorkKind};
use crate::domain::video::{
    MediaInfo, NonStandard, Rendition, RenditionState, Thumbnail, ThumbnailMoment, Video, VideoStatus,
};
use crate::media::work::{Answer, Output, OutputFile, SourceFile, Task};

/// How an effect ended.
pub enum Outcome {
    /// The video, or that there is none.
    Loaded(Option<Box<Video>>),
    /// Attempts before the one that was recorded.
    AttemptRecorded(Attempts),
    /// A worker's answer.
    Worked(Result<Answer, WorkError>),
    /// The attempt's end is recorded.
    AttemptEnded,
    /// These blobs are stored and not yet anybody's.
    Stored(Vec<Extent>),
    /// The video after the step.
    Stepped(Box<Video>),
    /// The video is not there any more, or somebody else is further.
    Gone,
    /// Worth another try; says why.
    Unavailable(String),
    /// The pause is over.
    RetryDue,
}

impl From<CatalogError> for Outcome {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NotFound | CatalogError::Stale => Self::Gone,
            error => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<BlobError> for Outcome {
    fn from(error: BlobError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What a job knows between effects.
#[derive(Default)]
pub(super) struct Carried {
    video: Option<Box<Video>>,
    pub(super) media: Option<MediaInfo>,
    pub(super) non_standard: Vec<NonStandard>,
    pub(super) packaged: Option<Packaged>,
    /// File, content type, width and height.
    pub(super) picture: Option<(OutputFile, String, u32, u32)>,
    /// Stored, but not yet the video's.
    pub(super) stored: Vec<Extent>,
    renditions: Vec<Rendition>,
    thumbnails: Vec<Thumbnail>,
}

/// Files to be stored, and the asset that refers to them.
pub(super) struct Made {
    files: Vec<OutputFile>,
    asset: Option<Asset>,
}

impl Carried {
    pub(super) fn of(video: Video) -> Self {
        Self { media: video.media.clone(), video: Some(Box::new(video)), ..Self::default() }
    }

    pub(super) fn stepped(&mut self, video: Video) {
        if matches!(video.status, VideoStatus::Playable | VideoStatus::Ready) {
            // Published: they are the video's now.
            self.stored.clear();
        }
        self.video = Some(Box::new(video));
    }

    pub(super) fn status(&self) -> Option<VideoStatus> {
        self.video.as_ref().map(|video| video.status)
    }

    /// The task for a worker; `None` while there is no video.
    pub(super) fn task(&self, kind: WorkKind, shared: &Shared) -> Option<Task> {
        let video = self.video.as_deref()?;
        let source = shared.source(video)?;
        // Work on a playable video adds to its asset's generation; before that, to the next one.
        let generation = video.asset_generation + u32::from(kind != WorkKind::Illustrate);
        let output = Output {
            dir: shared.work_dir(),
            key_prefix: BlobKey::new(format!("vod-abr/{}/{generation}", video.id)),
            video_id: video.id.clone(),
            playback_id: video.playback_id.clone(),
            generation,
        };
        let limits = shared.dependencies.limits.clone();
        let media = self.media.clone().unwrap_or_default();
        Some(match kind {
            WorkKind::Verify => Task::Digest { source, expected: video.expected_digest.clone().unwrap_or_default() },
            WorkKind::Inspect => Task::Inspect { source, output, limits },
            WorkKind::Remux => Task::Remux { source, output, limits, media },
            WorkKind::Illustrate => {
                let rotation = media.video.first().map_or(0, |video| video.rotation);
                Task::Thumbnail { source, output, duration_ms: media.duration_ms, rotation }
            }
        })
    }

    /// Takes what is to be stored.
    pub(super) fn made(&mut self, product: Product) -> Made {
        match product {
            Product::Asset => {
                let packaged = self.packaged.take();
                let (tracks, files) = packaged.map(|made| (made.tracks, made.files)).unwrap_or_default();
                self.renditions = tracks.iter().map(rendition).collect();
                let asset = self.video.as_deref().map(|video| Asset {
                    video_id: video.id.clone(),
                    playback_id: video.playback_id.clone(),
                    generation: video.asset_generation + 1,
                    source: video.source.clone(),
                    tracks,
                });
                Made { files, asset }
            }
            Product::Picture => {
                let picture = self.picture.take();
                self.thumbnails = picture.iter().map(thumbnail).collect();
                Made { files: picture.into_iter().map(|(file, ..)| file).collect(), asset: None }
            }
        }
    }

    /// The step in the catalog's words.
    pub(super) fn step(&self, step: RecordStep) -> VideoStep {
        match step {
            RecordStep::Verified => VideoStep::Verified,
            RecordStep::Inspected => VideoStep::Inspected {
                media: self.media.clone().unwrap_or_default(),
                non_standard: self.non_standard.clone(),
            },
            RecordStep::Published => VideoStep::Published {
                generation: self.video.as_ref().map_or(0, |video| video.asset_generation) + 1,
                renditions: self.renditions.clone(),
                blobs: self.stored.clone(),
            },
            RecordStep::Illustrated => {
                VideoStep::Illustrated { thumbnails: self.thumbnails.clone(), blobs: self.stored.clone() }
            }
            RecordStep::Finished => VideoStep::Finished,
            RecordStep::Failed(failure) => VideoStep::Failed(failure),
        }
    }
}

fn rendition(track: &AssetTrack) -> Rendition {
    let (width, height) = track.video.as_ref().map_or((0, 0), |video| video.display_size());
    let (frames, seconds) = track.video.as_ref().map_or((0, 1), |video| video.frame_rate);
    let frame_rate_milli = u64::from(frames) * 1000 / u64::from(seconds.max(1));
    let language = track.audio.as_ref().map(|audio| audio.language.clone());
    Rendition {
        name: track.name.clone(),
        kind: if track.kind == TrackKind::Video { "video".into() } else { "audio".into() },
        codec: track.codec.clone(),
        rung: language.unwrap_or_else(|| "source".into()),
        width,
        height,
        frame_rate_milli: u32::try_from(frame_rate_milli).unwrap_or(u32::MAX),
        bandwidth: track.peak_bits_per_sec(),
        average_bandwidth: track.average_bits_per_sec(),
        state: RenditionState::Ready,
    }
}

fn thumbnail((file, content_type, width, height): &(OutputFile, String, u32, u32)) -> Thumbnail {
    Thumbnail {
        name: Thumbnail::name_of(&file.key),
        moment: ThumbnailMoment::Early,
        at_ms: 0,
        key: file.key.clone(),
        content_type: content_type.clone(),
        width: *width,
        height: *height,
    }
}

/// What every effect needs.
pub(super) struct Shared {
    pub(super) video_id: VideoId,
    pub(super) dependencies: Arc<TranscodeDependencies>,
}

impl Shared {
    fn work_dir(&self) -> PathBuf {
        self.dependencies.work_dir.join(self.video_id.as_str())
    }

    /// The original as local files; `None` when a part of it is not on this machine.
    fn source(&self, video: &Video) -> Option<Vec<SourceFile>> {
        let file = |extent: &Extent| {
            Some(SourceFile { path: self.dependencies.blobs.local_path(&extent.key)?, first: 0, bytes: extent.bytes })
        };
        video.source.iter().map(file).collect()
    }

    pub(super) async fn load(self) -> Outcome {
        match self.dependencies.catalog.video(&self.video_id).await {
            Ok(video) => Outcome::Loaded(video.map(Box::new)),
            Err(error) => error.into(),
        }
    }

    pub(super) async fn record_attempt(self, kind: WorkKind) -> Outcome {
        let now = self.dependencies.clock.now();
        match self.dependencies.catalog.begin_attempt(&self.video_id, kind, now).await {
            Ok(attempts) => Outcome::AttemptRecorded(attempts),
            Err(error) => error.into(),
        }
    }

    pub(super) async fn end_attempt(self, kind: WorkKind, end: AttemptEnd) -> Outcome {
        let now = self.dependencies.clock.now();
        match self.dependencies.catalog.end_attempt(&self.video_id, kind, end, now).await {
            Ok(()) => Outcome::AttemptEnded,
            Err(error) => error.into(),
        }
    }

    pub(super) async fn work(self, kind: WorkKind, task: Option<Task>, progress: watch::Sender<u8>) -> Outcome {
        let Some(task) = task else {
            return Outcome::Unavailable("the original is not on this machine".into());
        };
        // What an attempt before this one left there is of no use.
        let dir = self.work_dir();
        remove_dir(&dir).await;
        if let Err(error) = tokio::fs::create_dir_all(&dir).await {
            return Outcome::Unavailable(format!("{}: {error}", dir.display()));
        }
        let started = std::time::Instant::now();
        let answer = self.dependencies.workers.run(task, progress).await;
        let (millis, error) = (started.elapsed().as_millis() as u64, answer.as_ref().err());
        tracing::info!(video.id = %self.video_id, work = %kind, millis, error = error.map(tracing::field::display), "work on video ended");
        Outcome::Worked(answer)
    }

    /// Whether a worker may leave a file there and give it this name: nothing else in reach of a worker that a file has
    /// taken over is to become a blob, and no blob of another video is to be replaced.
    fn is_ours(&self, file: &OutputFile) -> bool {
        let dir = self.work_dir();
        let is_file = file.path.symlink_metadata().is_ok_and(|found| found.is_file());
        let is_named = file.key.as_str().starts_with(&format!("vod-abr/{}/", self.video_id));
        is_file && is_named && file.path.parent() == Some(&dir) && !file.key.as_str().contains("..")
    }

    pub(super) async fn store(self, made: Made) -> Outcome {
        let mut stored = Vec::new();
        if let Some(file) = made.files.iter().find(|file| !self.is_ours(file)) {
            return Outcome::Unavailable(format!("a worker offers {} as {}", file.path.display(), file.key));
        }
        for file in made.files {
            match self.dependencies.blobs.adopt(&file.key, &file.path).await {
                Ok(bytes) => stored.push(Extent { key: file.key, bytes }),
                Err(error) => return error.into(),
            }
        }
        if let Some(asset) = made.asset {
            match self.dependencies.assets.save_asset(&asset).await {
                Ok(index) => stored.push(index),
                Err(error) => return error.into(),
            }
        }
        Outcome::Stored(stored)
    }

    pub(super) async fn step(self, step: VideoStep) -> Outcome {
        let now = self.dependencies.clock.now();
        match self.dependencies.catalog.step_video(&self.video_id, step, now).await {
            Ok(video) => Outcome::Stepped(Box::new(video)),
            Err(error) => error.into(),
        }
    }

    /// Removes files in the making and blobs that became nobody's. What cannot be removed is left to the janitor.
    pub(super) async fn clean_up(self, unpublished: Vec<Extent>) {
        remove_dir(&self.work_dir()).await;
        for extent in unpublished {
            if let Err(error) = self.dependencies.blobs.delete(&extent.key).await {
                tracing::warn!(blob.key = %extent.key, %error, "blob of an ended job not removed");
            }
        }
    }
}

async fn remove_dir(dir: &std::path::Path) {
    match tokio::fs::remove_dir_all(dir).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(dir = %dir.display(), %error, "work directory not removed");
        }
        _ => {}
    }
}
