//! Stored asset indexes: one blob per generation, decoded once and kept in a byte-bounded cache. A generation never
//! changes, so that nothing has to be invalidated.
use std::mem::size_of;
use std::sync::Arc;

use async_trait::async_trait;
use moka::future::Cache;
use serde::Deserialize;

use super::codec::{self, CodecError, Versioned};
use super::files::blocking;
use crate::domain::asset::{Asset, AssetEpoch, AssetTrack, BlobKey, Extent, KeyFrame, Segment};
use crate::domain::cues::{Chronicle, Cue};
use crate::domain::ids::{PlaybackId, VideoId};
use crate::domain::ports::{AssetStore, BlobError, BlobStore};

impl Versioned for Asset {
    const VERSION: u8 = 3;
    /// A day of video in ten tracks of 2 s segments is 12 MiB.
    const BYTES_MAX: usize = 64 * 1024 * 1024;

    fn from_older(version: u8, body: &[u8]) -> Option<Result<Self, CodecError>> {
        match version {
            1 => Some(codec::decode_body::<FirstForm>(body).map(Self::from)),
            2 => Some(codec::decode_body::<SecondForm>(body).map(Self::from)),
            _ => None,
        }
    }
}

/// Version 1: an asset without epochs.
#[derive(Deserialize)]
struct FirstForm {
    video_id: VideoId,
    playback_id: PlaybackId,
    generation: u32,
    source: Vec<Extent>,
    tracks: Vec<AssetTrack>,
}

impl From<FirstForm> for Asset {
    fn from(FirstForm { video_id, playback_id, generation, source, tracks }: FirstForm) -> Self {
        SecondForm { video_id, playback_id, generation, source, tracks, epochs: Vec::new() }.into()
    }
}

/// Version 2: an asset without a chronicle.
#[derive(Deserialize)]
struct SecondForm {
    video_id: VideoId,
    playback_id: PlaybackId,
    generation: u32,
    source: Vec<Extent>,
    tracks: Vec<AssetTrack>,
    epochs: Vec<AssetEpoch>,
}

impl From<SecondForm> for Asset {
    fn from(SecondForm { video_id, playback_id, generation, source, tracks, epochs }: SecondForm) -> Self {
        Self { video_id, playback_id, generation, source, tracks, epochs, chronicle: Chronicle::default() }
    }
}

/// Asset indexes in a blob store.
pub struct Assets {
    blobs: Arc<dyn BlobStore>,
    decoded: Cache<(VideoId, u32), Arc<Asset>>,
}

/// Where an index lies.
fn key_of(video: &VideoId, generation: u32) -> BlobKey {
    BlobKey(format!("vod-abr/{video}/{generation}/asset"))
}

/// About how much memory a decoded index takes.
fn weight(asset: &Asset) -> u32 {
    let track_bytes = |track: &AssetTrack| {
        track.init.len()
            + track.segments.len() * size_of::<Segment>()
            + track.key_frames.len() * size_of::<KeyFrame>()
            + track.spans.iter().map(|span| span.as_str().len() + size_of::<BlobKey>()).sum::<usize>()
            + size_of_val(track)
    };
    let epoch_bytes = |epoch: &AssetEpoch| {
        size_of_val(epoch) + epoch.inits.iter().map(|(name, init)| name.len() + init.len()).sum::<usize>()
    };
    let bytes = size_of::<Asset>()
        + asset.tracks.iter().map(track_bytes).sum::<usize>()
        + asset.source.iter().map(|extent| extent.key.as_str().len() + size_of::<Extent>()).sum::<usize>()
        + asset.epochs.iter().map(epoch_bytes).sum::<usize>()
        + size_of_val(asset.chronicle.anchors.as_slice())
        + asset.chronicle.cues.iter().map(|cue| size_of::<Cue>() + cue.weight()).sum::<usize>();
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Assets {
    /// Indexes in this store, of which at most `cache_bytes` are kept decoded.
    pub fn new(blobs: Arc<dyn BlobStore>, cache_bytes: u64) -> Self {
        let weigh = |_: &(VideoId, u32), asset: &Arc<Asset>| weight(asset);
        let decoded = Cache::builder().name("assets").weigher(weigh).max_capacity(cache_bytes).build();
        Self { blobs, decoded }
    }

    async fn read(&self, video: &VideoId, generation: u32) -> Result<Arc<Asset>, BlobError> {
        let key = key_of(video, generation);
        let bytes = self.blobs.read_all(&key).await?;
        let unreadable = move |error| BlobError::Unavailable(format!("asset index {key}: {error}"));
        blocking(move || codec::decode(&bytes).map(Arc::new).map_err(unreadable)).await
    }
}

#[async_trait]
impl AssetStore for Assets {
    async fn save_asset(&self, asset: &Asset) -> Result<Extent, BlobError> {
        let key = key_of(&asset.video_id, asset.generation);
        let bytes = codec::encode(asset).map_err(|error| BlobError::Unavailable(format!("{key}: {error}")))?;
        let extent = Extent { key, bytes: bytes.len() as u64 };
        self.blobs.put(&extent.key, bytes.into()).await?;
        self.decoded.invalidate(&(asset.video_id.clone(), asset.generation)).await;
        Ok(extent)
    }

    async fn load_asset(&self, video: &VideoId, generation: u32) -> Result<Arc<Asset>, BlobError> {
        let loaded = self.decoded.try_get_with((video.clone(), generation), self.read(video, generation)).await;
        loaded.map_err(|error: Arc<BlobError>| (*error).clone())
    }
}

#[cfg(test)]
mod tests;
