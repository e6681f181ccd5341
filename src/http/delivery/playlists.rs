//! Playlists, rendered and compressed once per generation of an asset and shared by all who ask.
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderValue;
use moka::sync::Cache;

use super::answer::{Cacheability, Entity};
use crate::domain::asset::Asset;
use crate::domain::ids::PlaybackId;
use crate::protocols::hls::paths::MediaPath;
use crate::protocols::hls::wire;

/// Memory for rendered playlists: an hour of 4 s segments takes about 30 KiB.
const PLAYLIST_BYTES_MAX: u64 = 16 * 1024 * 1024;
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.apple.mpegurl");

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Multivariant,
    Media(String),
    KeyFrames(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    playback: PlaybackId,
    generation: u32,
    name: Name,
}

/// One playlist as sent.
pub(super) struct Rendered {
    plain: Bytes,
    gzip: Bytes,
    digest: String,
}

pub(super) struct Playlists(Cache<Key, Arc<Rendered>>);

impl Default for Playlists {
    fn default() -> Self {
        let weigh = |_: &Key, rendered: &Arc<Rendered>| {
            u32::try_from(rendered.plain.len() + rendered.gzip.len()).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(PLAYLIST_BYTES_MAX).weigher(weigh).build())
    }
}

impl Playlists {
    /// The playlist of this name, `None` when the asset has no such track.
    pub(super) fn rendered(&self, asset: &Asset, path: MediaPath<'_>) -> Option<Arc<Rendered>> {
        let name = match path {
            MediaPath::Multivariant => Name::Multivariant,
            MediaPath::Media { track } => Name::Media(asset.track(track)?.name.clone()),
            MediaPath::KeyFrames { track } => {
                Name::KeyFrames(asset.track(track).filter(|track| !track.key_frames.is_empty())?.name.clone())
            }
            MediaPath::Object { .. } => return None,
        };
        let key = Key { playback: asset.playback_id.clone(), generation: asset.generation, name };
        self.0.optionally_get_with_by_ref(&key, || render(asset, &key.name).map(Rendered::new).map(Arc::new))
    }
}

fn render(asset: &Asset, name: &Name) -> Option<String> {
    match name {
        Name::Multivariant => Some(wire::render_multivariant(asset)),
        Name::Media(track) => Some(wire::render_media(asset, asset.track(track)?)),
        Name::KeyFrames(track) => Some(wire::render_key_frames(asset.track(track)?)),
    }
}

impl Rendered {
    fn new(text: String) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let digest = bs58::encode(digest.as_ref().get(..12).unwrap_or_default()).into_string();
        let gzip = compress(text.as_bytes()).unwrap_or_default();
        Self { plain: text.into(), gzip: gzip.into(), digest }
    }

    /// As sent to a client that does or does not take gzip.
    pub(super) fn entity(&self, gzip: bool, cacheability: Cacheability) -> Entity {
        let gzip = gzip && !self.gzip.is_empty();
        Entity {
            body: if gzip { self.gzip.clone() } else { self.plain.clone() },
            content_type: CONTENT_TYPE,
            etag: if gzip { format!("\"{}.gz\"", self.digest) } else { format!("\"{}\"", self.digest) },
            encoding: Some(gzip.then_some(HeaderValue::from_static("gzip"))),
            cacheability,
        }
    }
}

fn compress(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text)?;
    encoder.finish()
}
