//! Still pictures that the owner of a video asks for, of a moment or a picture of their own, and slates of live streams. Worker processes make them; here
//! they are given their source, and what they made is stored and made the video's.
//!
//! No actor of its own: who asks waits for the answer, and what breaks off leaves nothing but files that the janitor takes.
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};

use super::transcode_worker::{WorkError, WorkerPoolHandle};
use crate::domain::asset::{Asset, AssetTrack, BlobKey, Extent, SegmentBytes, TIMELINE_ORIGIN_SECS, Ticks, TrackKind};
use crate::domain::ids::{PlaybackId, UploadId, VideoId};
use crate::domain::ladder::{PictureTreatment, Reading};
use crate::domain::live::{Live, Slate};
use crate::domain::ports::{
    AssetStore, BlobError, BlobStore, Catalog, CatalogError, Clock, Entropy, MediaObject, ResolveError, SegmentSource,
    VideoStep,
};
use crate::domain::video::{Failure, Thumbnail, ThumbnailMoment, Video};
use crate::media::live::slate::SlateClip;
use crate::media::work::{Answer, Output, OutputFile, PictureFormat, SourceFile, StillPicture, StillsTask, Task};

/// Pictures made at once: each holds a segment, or what was uploaded, in a file, and a place in the workers' queue.
const AT_ONCE_MAX: usize = 4;
/// Sizes of a custom picture, pixels; it keeps its shape within them.
const SIZES: [(u32, u32); 3] = [(1280, 1280), (640, 640), (320, 320)];
const FORMATS: [PictureFormat; 2] = [PictureFormat::Jpeg, PictureFormat::Webp];
const NANOS_PER_SEC: i64 = 1_000_000_000;

/// What a picture is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PictureOrigin {
    /// The picture that is shown then, milliseconds from the start; the last one after the end.
    Moment(u64),
    /// A picture of the owner's own, as it came.
    Own(Bytes),
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum ThumbnailError {
    /// The video has no pictures that can be decoded yet.
    #[error("this video has no pictures yet")]
    NoPictures,
    /// What was given cannot be used; says why.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// Too many pictures are being made; worth another try.
    #[error("too many pictures are being made")]
    Busy,
    /// The workers are not available; worth another try.
    #[error(transparent)]
    Workers(WorkError),
    /// A file could not be written, or a worker left something else than pictures.
    #[error("{0}")]
    Broken(String),
    /// The record could not be read or changed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The video's own bytes could not be had.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

impl From<std::io::Error> for ThumbnailError {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What pictures are made with.
pub struct Thumbnails {
    /// Holds the record.
    pub catalog: Arc<dyn Catalog>,
    /// Take the pictures.
    pub blobs: Arc<dyn BlobStore>,
    /// Say what a video's tracks are.
    pub assets: Arc<dyn AssetStore>,
    /// Give their segments.
    pub segments: Arc<dyn SegmentSource>,
    /// Decode and encode.
    pub workers: WorkerPoolHandle,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// For names that are used once.
    pub entropy: Arc<dyn Entropy>,
    /// An existing directory for files in the making.
    pub work_dir: std::path::PathBuf,
}

/// The only way in; clones share its bound.
#[derive(Clone)]
pub struct ThumbnailsHandle {
    context: Arc<Thumbnails>,
    places: Arc<Semaphore>,
}

impl ThumbnailsHandle {
    /// A handle that makes pictures with these parts.
    pub fn new(context: Thumbnails) -> Self {
        Self { context: Arc::new(context), places: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    /// Makes this the video's picture, in place of the one that was there; returns the video as it is then.
    pub async fn make(&self, video: &Video, origin: PictureOrigin) -> Result<Video, ThumbnailError> {
        let _place = self.places.try_acquire().map_err(|_| ThumbnailError::Busy)?;
        let dir = self.context.new_dir()?;
        let (bytes, at_ms, rotation) = match origin {
            PictureOrigin::Own(bytes) => (vec![bytes], 0, 0),
            PictureOrigin::Moment(at_ms) => self.context.moment(video, at_ms).await?,
        };
        let of = Subject { id: &video.id, playback_id: &video.playback_id, generation: video.asset_generation };
        let sizes = Wanted { at_ms, rotation, sizes: &SIZES, formats: &FORMATS };
        let stored = self.context.made(of, (&dir, bytes), sizes).await?;
        self.context.keep(video, at_ms, stored).await
    }

    /// Makes a picture of a live stream's owner what its viewers can be shown instead of the stream.
    pub async fn make_slate(&self, live: &Live, picture: Bytes) -> Result<Slate, ThumbnailError> {
        let _place = self.places.try_acquire().map_err(|_| ThumbnailError::Busy)?;
        let dir = self.context.new_dir()?;
        let of = Subject { id: &live.id, playback_id: &live.playback_id, generation: 0 };
        let formats = [PictureFormat::Clip, PictureFormat::Jpeg];
        let wanted = Wanted { at_ms: 0, rotation: 0, sizes: &SIZES[..1], formats: &formats };
        let stored = self.context.made(of, (&dir, vec![picture]), wanted).await?;
        let [(_, clip), (_, picture)] =
            <[_; 2]>::try_from(stored).map_err(|_| ThumbnailError::Broken("a worker made no clip".into()))?;
        let file = self.context.blobs.read_all(&clip.key).await?;
        SlateClip::read(&file).map_err(|error| ThumbnailError::Broken(error.to_string()))?;
        Ok(Slate { clip, picture })
    }
}

/// What pictures belong to.
struct Subject<'a, Id> {
    id: &'a Id,
    playback_id: &'a PlaybackId,
    generation: u32,
}

/// Which pictures.
struct Wanted<'a> {
    at_ms: u64,
    rotation: u16,
    sizes: &'a [(u32, u32)],
    formats: &'a [PictureFormat],
}

/// What a worker offers.
struct Offered<'a> {
    dir: &'a Path,
    key_prefix: BlobKey,
}

impl Offered<'_> {
    /// Whether a worker may leave a file there and give it this name: nothing else in reach of a worker that a file has
    /// taken over is to become a blob, and no other blob is to be replaced.
    fn is_ours(&self, file: &OutputFile) -> bool {
        let is_file = file.path.symlink_metadata().is_ok_and(|found| found.is_file());
        let name = file.key.as_str().strip_prefix(self.key_prefix.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let is_named = name.is_some_and(|name| !name.is_empty() && !name.contains('/') && !name.contains(".."));
        is_file && is_named && file.path.parent() == Some(self.dir)
    }
}

impl Thumbnails {
    fn new_dir(&self) -> std::io::Result<TempDir> {
        tempfile::Builder::new().prefix("stills-").tempdir_in(&self.work_dir)
    }

    /// Has a worker make pictures of these bytes, and stores them: in the order of sizes, formats.
    async fn made<Id: std::fmt::Display>(
        &self,
        of: Subject<'_, Id>,
        (dir, bytes): (&TempDir, Vec<Bytes>),
        wanted: Wanted<'_>,
    ) -> Result<Vec<(StillPicture, Extent)>, ThumbnailError> {
        let task = self.task(of, (dir, bytes), wanted).await?;
        let offered = Offered { dir: dir.path(), key_prefix: task.output.key_prefix.clone() };
        let (progress, _) = watch::channel(0);
        let pictures = match self.workers.run(Task::Stills(Box::new(task)), progress).await {
            Ok(Answer::StillsMade { pictures }) if !pictures.is_empty() => pictures,
            Ok(_) => return Err(ThumbnailError::Broken("a worker made no picture".into())),
            Err(error) => return Err(refusal(error)),
        };
        if let Some(strange) = pictures.iter().find(|picture| !offered.is_ours(&picture.file)) {
            return Err(ThumbnailError::Broken(format!("a worker offers {}", strange.file.key)));
        }
        let mut stored = Vec::new();
        for picture in pictures {
            let OutputFile { key, path } = picture.file.clone();
            let bytes = self.blobs.adopt(&key, &path).await?;
            stored.push((picture, Extent { key, bytes }));
        }
        Ok(stored)
    }

    async fn task<Id: std::fmt::Display>(
        &self,
        of: Subject<'_, Id>,
        (dir, bytes): (&TempDir, Vec<Bytes>),
        Wanted { at_ms, rotation, sizes, formats }: Wanted<'_>,
    ) -> Result<StillsTask, ThumbnailError> {
        let path = dir.path().join("source");
        let whole = bytes.concat();
        tokio::fs::write(&path, &whole).await?;
        // A part of the key that was never used before, so that no picture's name is.
        let unique = UploadId::random(&*self.entropy);
        let unique = unique.as_str().rsplit('_').next().unwrap_or_default().to_owned();
        Ok(StillsTask {
            source: vec![SourceFile::local(path, 0, whole.len() as u64)],
            output: Output {
                dir: dir.path().to_owned(),
                key_prefix: BlobKey::new(format!("vod-abr/{}/{unique}", of.id)),
                // Pictures have none of their own.
                video_id: VideoId::random(&*self.entropy),
                playback_id: of.playback_id.clone(),
                generation: of.generation,
            },
            treatment: PictureTreatment {
                track: 0,
                rotation,
                deinterlace: false,
                dynamic_range: "sdr".into(),
                frame_rate_max: 60,
                reading: Reading::Sought,
            },
            start_ns: i64::from(TIMELINE_ORIGIN_SECS) * NANOS_PER_SEC,
            moments: vec![(ThumbnailMoment::Custom.to_string(), at_ms)],
            sizes: sizes.to_vec(),
            formats: formats.to_vec(),
        })
    }

    /// The segment of the best rendition in which a moment lies, as a file that players could play; the moment, which is
    /// within it; and how its pictures are to be turned.
    async fn moment(&self, video: &Video, at_ms: u64) -> Result<(Vec<Bytes>, u64, u16), ThumbnailError> {
        let asset = self.assets.load_asset(&video.id, video.asset_generation).await?;
        let track = best(&asset).ok_or(ThumbnailError::NoPictures)?;
        let (number, at_ms) = segment_at(track, at_ms).ok_or(ThumbnailError::NoPictures)?;
        let init = self.segments.resolve(&asset, &track.name, MediaObject::Init).await?;
        let segment = self.segments.resolve(&asset, &track.name, MediaObject::Segment(number)).await?;
        Ok((vec![init, segment], at_ms, track.video.as_ref().map_or(0, |video| video.rotation)))
    }

    async fn keep(
        &self,
        video: &Video,
        at_ms: u64,
        stored: Vec<(StillPicture, Extent)>,
    ) -> Result<Video, ThumbnailError> {
        let thumbnail = |(picture, blob): &(StillPicture, Extent)| Thumbnail {
            name: Thumbnail::name_of(&blob.key),
            moment: ThumbnailMoment::Custom,
            at_ms,
            key: blob.key.clone(),
            content_type: picture.content_type.clone(),
            width: picture.width,
            height: picture.height,
        };
        let thumbnails = stored.iter().map(thumbnail).collect();
        let blobs = stored.into_iter().map(|(_, blob)| blob).collect();
        let step = VideoStep::Illustrated { thumbnails, blobs };
        Ok(self.catalog.step_video(&video.id, step, self.clock.now()).await?)
    }
}

fn refusal(error: WorkError) -> ThumbnailError {
    match error {
        WorkError::Refused(failure) => ThumbnailError::Refused(failure),
        WorkError::Crashed | WorkError::Hung => ThumbnailError::Refused(Failure {
            code: "not_a_picture".into(),
            message: "No picture could be made of this.".into(),
        }),
        WorkError::Busy => ThumbnailError::Busy,
        other => ThumbnailError::Workers(other),
    }
}

/// The largest rendition of pictures that is there whole; H.264 before others, which take longer to decode.
fn best(asset: &Asset) -> Option<&AssetTrack> {
    let is_whole = |track: &&AssetTrack| {
        let is_made = |bytes: &SegmentBytes| matches!(bytes, SegmentBytes::Make { .. });
        track.kind == TrackKind::Video && !track.segments.iter().any(|segment| is_made(&segment.source))
    };
    let size = |track: &&AssetTrack| track.video.as_ref().map_or(0, |video| video.short_side());
    let any = || asset.tracks.iter().filter(|track| track.kind == TrackKind::Video);
    let whole = any().filter(is_whole).max_by_key(|track| (track.codec.starts_with("avc"), size(track)));
    whole.or_else(|| any().max_by_key(size))
}

/// Number of the segment that shows this moment, and the moment, moved to the nearest one that there is.
fn segment_at(track: &AssetTrack, at_ms: u64) -> Option<(u32, u64)> {
    let origin_ms = i64::from(TIMELINE_ORIGIN_SECS) * 1000;
    let wanted = Ticks { value: i64::try_from(at_ms).unwrap_or(i64::MAX).saturating_add(origin_ms), timescale: 1000 };
    let wanted = wanted.rescale(track.timescale);
    let number = track.segments.iter().rposition(|segment| segment.start <= wanted).unwrap_or(0);
    let segment = track.segments.get(number)?;
    // A tick before the end at the latest.
    let shown = wanted.clamp(segment.start, segment.start + i64::from(segment.duration.max(1)) - 1);
    let shown_ms = Ticks { value: shown, timescale: track.timescale }.rescale(1000) - origin_ms;
    Some((u32::try_from(number).ok()?, u64::try_from(shown_ms).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::asset::{Segment, VideoProperties};
    use crate::media::testing::{empty_asset, empty_track};

    fn track(name: &str, codec: &str, height: u32, source: SegmentBytes) -> AssetTrack {
        let segment = |start| Segment { start, duration: 180_000, bytes: 1, source: source.clone() };
        AssetTrack {
            codec: codec.into(),
            video: Some(VideoProperties { width: height * 2, height, rotation: 0, frame_rate: (25, 1) }),
            segments: vec![segment(90_000), segment(270_000), segment(540_000)],
            ..empty_track(name)
        }
    }

    const SPAN: SegmentBytes = SegmentBytes::Span { span: 0, offset: 0, bytes: 1 };

    #[test]
    fn moments_lie_in_segments() {
        let track = track("v", "avc1", 720, SPAN);
        let at = |ms| segment_at(&track, ms).unwrap();
        assert_eq!((at(0), at(1999), at(2000)), ((0, 0), (0, 1999), (1, 2000)));
        assert_eq!((at(4500).0, at(5000)), (1, (2, 5000)), "in a gap, the last picture before it");
        assert!(at(4500).1 < 4000);
        let (number, shown) = at(u64::MAX);
        assert!(number == 2 && (6990..7000).contains(&shown), "the last picture: {shown}");
        assert_eq!(segment_at(&empty_track("v"), 0), None);
    }

    #[test]
    fn the_best_rendition_that_is_there() {
        let make = SegmentBytes::Make { chunk: 0 };
        let mut asset = empty_asset();
        assert!(best(&asset).is_none());
        asset.tracks = vec![track("v1080", "avc1.6", 1080, make.clone())];
        assert_eq!(best(&asset).unwrap().name, "v1080", "it is made when asked for");
        asset.tracks.extend([track("v360", "avc1.6", 360, SPAN), track("v720av1", "av01.0", 720, SPAN)]);
        assert_eq!(best(&asset).unwrap().name, "v360");
        asset.tracks.remove(1);
        assert_eq!(best(&asset).unwrap().name, "v720av1");
    }
}
