//! What a transcode job does to the world, one function per effect, and what it carries from one to the next.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::begin::Started;
use super::source::SpanSource;
use super::{Packaged, TranscodeDependencies};
use crate::actors::transcode_worker::WorkError;
use crate::domain::asset::{Asset, AssetTrack, BlobKey, Extent, TrackKind};
use crate::domain::cues::Chronicle;
use crate::domain::ids::VideoId;
use crate::domain::ladder::{Ladder, LadderEnding, Unit, UnitResult};
use crate::domain::ports::{BlobError, CatalogError, VideoStep};
use crate::domain::transcode::{AttemptEnd, Attempts, Product, RecordStep, WorkKind};
use crate::domain::video::{
    Failure, MediaInfo, NonStandard, Rendition, RenditionState, Storyboard, Thumbnail, ThumbnailMoment, Video,
    VideoStatus,
};
use crate::media::work::{Answer, Output, OutputFile, SourceFile, StillPicture, Survey, Task};

/// How an effect ended.
pub enum Outcome {
    /// The video with its ladder and what units of it have made, or that there is none.
    Loaded(Option<Box<Loaded>>),
    /// A ladder is planned; `false` when nothing is to be made.
    Planned(bool),
    /// No ladder can be made.
    NotPlanned(Failure),
    /// The ladder can be made.
    LadderBegun(Box<Started>),
    /// A generation is published (the video as it is then), or not yet.
    Published(Option<Box<Video>>),
    /// All that can be made of the ladder is; results of its units.
    LadderClosed(Vec<(Unit, UnitResult)>),
    /// Attempts before the one that was recorded.
    AttemptRecorded(Attempts),
    /// A worker's answer.
    Worked(Result<Answer, WorkError>),
    /// There is nothing to make it from.
    NothingToDo,
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

/// Whether a worker may leave a file there and give it this name: nothing else in reach of a worker that a file has
/// taken over is to become a blob, and no blob of another video is to be replaced.
pub(in crate::actors) fn is_offer(file: &OutputFile, dir: &Path, video_id: &VideoId) -> bool {
    let is_file = file.path.symlink_metadata().is_ok_and(|found| found.is_file());
    let is_named = file.key.as_str().starts_with(&format!("vod-abr/{video_id}/"));
    is_file && is_named && file.path.parent() == Some(dir) && !file.key.as_str().contains("..")
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

/// What a job begins with.
pub struct Loaded {
    pub(super) video: Box<Video>,
    pub(super) ladder: Option<Ladder>,
    pub(super) results: Vec<(Unit, UnitResult)>,
    pub(super) recorded: Option<SpanSource>,
}

/// What a job knows between effects.
#[derive(Default)]
pub(super) struct Carried {
    video: Option<Box<Video>>,
    pub(super) ladder: Option<Ladder>,
    /// What units of the ladder have made, as far as still pictures are made of it.
    pub(super) results: Vec<(Unit, UnitResult)>,
    /// Pictures of a video that has no original: a recorded broadcast.
    recorded: Option<SpanSource>,
    pub(super) survey: Option<Survey>,
    pub(super) stills: Vec<StillPicture>,
    pub(super) sheets: Option<(Vec<OutputFile>, u32, u32)>,
    /// Why something of the ladder could not be made.
    pub(super) failure: Option<Failure>,
    pub(super) media: Option<MediaInfo>,
    pub(super) non_standard: Vec<NonStandard>,
    pub(super) packaged: Option<Packaged>,
    /// File, content type, width and height.
    pub(super) picture: Option<(OutputFile, String, u32, u32)>,
    /// Stored, but not yet the video's.
    pub(super) stored: Vec<Extent>,
    renditions: Vec<Rendition>,
    pub(super) thumbnails: Vec<Thumbnail>,
    pub(super) storyboard: Option<Storyboard>,
}

/// Files to be stored, and the asset that refers to them.
pub(super) struct Made {
    pub(super) files: Vec<OutputFile>,
    pub(super) asset: Option<Asset>,
}

impl Carried {
    pub(super) fn of(loaded: Loaded) -> Self {
        let Loaded { video, ladder, results, recorded } = loaded;
        Self { media: video.media.clone(), video: Some(video), ladder, results, recorded, ..Self::default() }
    }

    /// A step was taken: what was stored for it is the video's now.
    pub(super) fn stepped(&mut self, video: Video) {
        self.stored.clear();
        self.video = Some(Box::new(video));
    }

    pub(super) fn video(&self) -> Option<&Video> {
        self.video.as_deref()
    }

    pub(super) fn status(&self) -> Option<VideoStatus> {
        self.video.as_ref().map(|video| video.status)
    }

    /// The task for a worker; `None` while there is no video.
    pub(super) fn task(&self, kind: WorkKind, shared: &Shared) -> Option<Task> {
        let video = self.video.as_deref()?;
        let source = shared.source(video)?;
        // Work on a playable video adds to its asset's generation; before that, to the next one.
        let adds = matches!(kind, WorkKind::Illustrate | WorkKind::Stills | WorkKind::Storyboard);
        let generation = video.asset_generation + u32::from(!adds);
        let output = Output {
            dir: shared.task_dir(kind),
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
                let (source, duration_ms) = match &self.recorded {
                    Some(recorded) => recorded.beginning()?,
                    None => (source, media.duration_ms),
                };
                Task::Thumbnail { source, output, duration_ms, rotation }
            }
            WorkKind::Survey => Task::Survey { source, limits, media },
            WorkKind::Stills => {
                let task = self.stills_task(source, output)?;
                Task::Stills(Box::new(match &self.recorded {
                    Some(recorded) => recorded.stills_task(self.ladder.as_ref()?.plan.as_ref()?, task)?,
                    None => task,
                }))
            }
            WorkKind::Storyboard => self.storyboard_task(shared, output)?,
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
                    epochs: Vec::new(),
                    chronicle: Chronicle::default(),
                });
                Made { files, asset }
            }
            Product::Picture => {
                let picture = self.picture.take();
                self.thumbnails = picture.iter().map(thumbnail).collect();
                Made { files: picture.into_iter().map(|(file, ..)| file).collect(), asset: None }
            }
            Product::Stills => self.made_stills(),
            Product::Storyboard => self.made_storyboard(),
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
            RecordStep::Illustrated | RecordStep::StillsMade => {
                VideoStep::Illustrated { thumbnails: self.thumbnails.clone(), blobs: self.stored.clone() }
            }
            RecordStep::StoryboardMade => match self.storyboard.clone() {
                Some(storyboard) => VideoStep::StoryboardMade { storyboard, blobs: self.stored.clone() },
                None => VideoStep::Finished,
            },
            RecordStep::Finished => VideoStep::Finished,
            RecordStep::Failed(failure) => VideoStep::Failed(failure),
        }
    }
}

/// A track that is listed, as the API shows it.
pub(in crate::actors) fn rendition(track: &AssetTrack) -> Rendition {
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

/// How a video's ladder is left when its record comes to an end.
pub(super) struct Closing {
    pub(super) generation: u32,
    pub(super) ending: LadderEnding,
}

/// What every effect needs.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) video_id: VideoId,
    pub(super) dependencies: Arc<TranscodeDependencies>,
}

impl Shared {
    /// Everything in the making for this video.
    pub(super) fn work_dir(&self) -> PathBuf {
        self.dependencies.work_dir.join(self.video_id.as_str())
    }

    /// Where one kind of work leaves its files.
    pub(super) fn task_dir(&self, kind: WorkKind) -> PathBuf {
        self.work_dir().join(kind.as_str())
    }

    /// A blob as workers read it, whole as far as it is known here.
    pub(super) fn place(&self, key: &BlobKey, bytes: u64) -> Option<SourceFile> {
        let dependencies = &self.dependencies;
        match dependencies.blobs.local_path(key) {
            Some(path) => Some(SourceFile::local(path, 0, bytes)),
            None => Some(SourceFile { path: dependencies.door.clone()?, key: Some(key.clone()), first: 0, bytes }),
        }
    }

    /// The original as workers read it; `None` when a part of it is out of their reach.
    pub(super) fn source(&self, video: &Video) -> Option<Vec<SourceFile>> {
        video.source.iter().map(|extent| self.place(&extent.key, extent.bytes)).collect()
    }

    pub(super) async fn load(self) -> Outcome {
        self.try_load().await.unwrap_or_else(|outcome| outcome)
    }

    async fn try_load(&self) -> Result<Outcome, Outcome> {
        let catalog = &self.dependencies.catalog;
        let Some(video) = catalog.video(&self.video_id).await? else { return Ok(Outcome::Loaded(None)) };
        let mut ladder = None;
        if matches!(video.status, VideoStatus::Processing | VideoStatus::Playable | VideoStatus::Ready) {
            ladder = self.usable_ladder(&video).await?;
        }
        let results = match &ladder {
            Some(ladder) if video.status != VideoStatus::Ready => {
                catalog.unit_results(&self.video_id, ladder.generation).await?
            }
            _ => Vec::new(),
        };
        let recorded = self.recorded(&video).await?;
        Ok(Outcome::Loaded(Some(Box::new(Loaded { video: Box::new(video), ladder, results, recorded }))))
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
            return Outcome::NothingToDo;
        };
        // What an attempt before this one left there is of no use.
        let dir = self.task_dir(kind);
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

    pub(super) fn is_ours(&self, file: &OutputFile, dir: &Path) -> bool {
        is_offer(file, dir, &self.video_id)
    }

    pub(super) async fn store(self, made: Made, kind: WorkKind) -> Outcome {
        let mut stored = Vec::new();
        let dir = self.task_dir(kind);
        if let Some(file) = made.files.iter().find(|file| !self.is_ours(file, &dir)) {
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

    pub(super) async fn step(self, step: VideoStep, closing: Option<Closing>) -> Outcome {
        let now = self.dependencies.clock.now();
        let is_failing = matches!(step, VideoStep::Failed(_));
        if !is_failing && let Err(error) = self.close_ladder(closing.as_ref()).await {
            return error.into();
        }
        let video = match self.dependencies.catalog.step_video(&self.video_id, step, now).await {
            Ok(video) => video,
            Err(error) => return error.into(),
        };
        // A ladder of a failed video is nobody's business any more; what is left of it goes with the video.
        if is_failing && let Err(error) = self.close_ladder(closing.as_ref()).await {
            tracing::warn!(video.id = %self.video_id, %error, "ladder of a failed video not closed");
        }
        Outcome::Stepped(Box::new(video))
    }

    async fn close_ladder(&self, closing: Option<&Closing>) -> Result<(), CatalogError> {
        let Some(Closing { generation, ending }) = closing else { return Ok(()) };
        let now = self.dependencies.clock.now();
        self.dependencies.catalog.end_ladder((&self.video_id, *generation), ending.clone(), now).await?;
        for key in &ending.disowned {
            if let Err(error) = self.dependencies.blobs.delete(key).await {
                tracing::warn!(blob.key = %key, %error, "small pictures not removed");
            }
        }
        Ok(())
    }

    /// Reads what units have made, for still pictures.
    pub(super) async fn read_results(self, generation: u32) -> Outcome {
        match self.dependencies.catalog.unit_results(&self.video_id, generation).await {
            Ok(results) => Outcome::LadderClosed(results),
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

pub(super) async fn remove_dir(dir: &std::path::Path) {
    match tokio::fs::remove_dir_all(dir).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(dir = %dir.display(), %error, "work directory not removed");
        }
        _ => {}
    }
}
