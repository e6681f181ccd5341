//! What a playback id leads to, remembered so that delivery asks no database per request.
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use crate::domain::asset::{Asset, AssetTrack, BlobKey};
use crate::domain::ids::{PlaybackId, VideoId};
use crate::domain::ports::{AssetStore, BlobError, Catalog, CatalogError, MediaObject};
use crate::domain::trim::{Cut, Trim};
use crate::domain::video::{Privacy, Storyboard, Thumbnail, VideoStatus};
use crate::http::problem::Problem;

/// How long it is believed. A change by this node is seen at once, one by another when the change feed tells of it; this bounds how long it
/// is not seen when that is late.
pub(super) const WATCHABLE_TTL: Duration = Duration::from_secs(1);
/// Playback ids remembered, absent ones included: bounds what requests for names that do not exist can take.
const WATCHABLES_MAX: u64 = 10_000;
const SHEET_TYPE: &str = "image/jpeg";

/// A video as delivery sees it.
pub(super) struct Watchable {
    pub(super) video_id: VideoId,
    pub(super) privacy: Privacy,
    pub(super) duration_ms: u64,
    /// Whether no rendition is going to be added.
    pub(super) is_finished: bool,
    pictures: Vec<Thumbnail>,
    pub(super) storyboard: Option<Storyboard>,
    pub(super) asset: Arc<Asset>,
    /// What is shown of it.
    pub(super) shown: Trim,
    pub(super) cut: Cut,
}

impl Watchable {
    /// Whether a media object is part of what is shown.
    pub(super) fn shows(&self, track: &AssetTrack, object: MediaObject) -> bool {
        match object {
            MediaObject::Segment(number) => {
                let segment = track.segments.get(number as usize);
                segment.is_none_or(|segment| self.cut.keeps_segment(track, segment))
            }
            MediaObject::KeyFrame(number) => {
                let key = track.key_frames.get(number as usize).filter(|_| self.cut != Cut::NONE);
                key.is_none_or(|key| self.cut.keeps(track, key.start, key.duration))
            }
            MediaObject::Init | MediaObject::EpochInit(_) => true,
        }
    }

    /// Blob and content type of the picture, or sheet of small pictures, of this name.
    pub(super) fn picture(&self, name: &str) -> Option<(&BlobKey, &str)> {
        let still = self.pictures.iter().find(|picture| picture.name == name);
        let mut sheets = self.storyboard.iter().flat_map(|storyboard| &storyboard.sheets);
        still
            .map(|picture| (&picture.key, picture.content_type.as_str()))
            .or_else(|| sheets.find(|sheet| sheet.name == name).map(|sheet| (&sheet.key, SHEET_TYPE)))
    }
}

#[derive(Debug, Clone, thiserror::Error)]
enum FindError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Blob(#[from] BlobError),
}

pub(super) struct Watchables {
    catalog: Arc<dyn Catalog>,
    assets: Arc<dyn AssetStore>,
    known: Cache<PlaybackId, Option<Arc<Watchable>>>,
}

impl Watchables {
    pub(super) fn new(catalog: Arc<dyn Catalog>, assets: Arc<dyn AssetStore>) -> Self {
        let known = Cache::builder().max_capacity(WATCHABLES_MAX).time_to_live(WATCHABLE_TTL).build();
        Self { catalog, assets, known }
    }

    /// What this id leads to, if it can be watched now. Many askers at once cause one look-up.
    pub(super) async fn find(&self, playback: &PlaybackId) -> Result<Option<Arc<Watchable>>, Problem> {
        let found = self.known.try_get_with_by_ref(playback, self.look_up(playback)).await;
        found.map_err(|error| match &*error {
            FindError::Catalog(error) => error.clone().into(),
            FindError::Blob(error) => error.clone().into(),
        })
    }

    pub(super) async fn forget(&self, playback: &PlaybackId) {
        self.known.invalidate(playback).await;
    }

    async fn look_up(&self, playback: &PlaybackId) -> Result<Option<Arc<Watchable>>, FindError> {
        let Some(video) = self.catalog.video_by_playback(playback).await?.filter(|video| video.is_playable()) else {
            return Ok(None);
        };
        let asset = self.assets.load_asset(&video.id, video.asset_generation).await?;
        let whole = Trim { start_ms: 0, end_ms: video.media.map_or(0, |media| media.duration_ms) };
        let (shown, cut) = video.trim.and_then(|trim| asset.cut(trim)).unwrap_or((whole, Cut::NONE));
        Ok(Some(Arc::new(Watchable {
            video_id: video.id,
            privacy: video.privacy,
            duration_ms: shown.duration_ms(),
            shown,
            cut,
            is_finished: video.status == VideoStatus::Ready,
            pictures: video.thumbnails,
            storyboard: video.storyboard,
            asset,
        })))
    }
}
