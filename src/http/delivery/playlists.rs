//! Playlists and their like, rendered and compressed once per generation of an asset and shared by all who ask.
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderValue;
use moka::sync::Cache;

use super::PICTURES;
use super::answer::{Cacheability, Entity};
use super::watchable::Watchable;
use crate::domain::ids::PlaybackId;
use crate::domain::trim::Cut;
use crate::media::view::View;
use crate::protocols::dash::wire as dash;
use crate::protocols::hls::steering::steered;
use crate::protocols::hls::wire as hls;
use crate::protocols::webvtt::wire as webvtt;

/// Memory for rendered playlists: an hour of 4 s segments takes about 30 KiB.
const PLAYLIST_BYTES_MAX: u64 = 16 * 1024 * 1024;
pub(super) const HLS_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.apple.mpegurl");
pub(super) const DASH_TYPE: HeaderValue = HeaderValue::from_static("application/dash+xml");
const VTT_TYPE: HeaderValue = HeaderValue::from_static("text/vtt; charset=utf-8");

/// What can be rendered of a video.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Document {
    /// The HLS multivariant playlist.
    Multivariant(View),
    /// A track's HLS media playlist.
    Media(String),
    /// A track's HLS I-frame playlist.
    KeyFrames(String),
    /// The DASH media presentation description.
    Description(View),
    /// The cues of the storyboard.
    Storyboard,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    playback: PlaybackId,
    generation: u32,
    document: Document,
    cut: Cut,
    /// Of a storyboard: its first sheet, which is named anew when it is made anew.
    sheet: Option<String>,
}

/// One playlist as sent.
pub(super) struct Rendered {
    content_type: HeaderValue,
    plain: Bytes,
    gzip: Bytes,
    digest: String,
}

pub(super) struct Playlists {
    rendered: Cache<Key, Arc<Rendered>>,
    is_steered: bool,
}

impl Playlists {
    /// Of players that are sent to several servers, or not.
    pub(super) fn new(is_steered: bool) -> Self {
        let weigh = |_: &Key, rendered: &Arc<Rendered>| rendered.weight();
        Self { rendered: Cache::builder().max_capacity(PLAYLIST_BYTES_MAX).weigher(weigh).build(), is_steered }
    }

    /// The document; `None` when there is nothing it could be of. Every one kept is of something that exists.
    pub(super) fn rendered(&self, watchable: &Watchable, document: Document) -> Option<Arc<Rendered>> {
        let asset = &*watchable.asset;
        let mut sheet = None;
        let document = match document {
            Document::Multivariant(view) => Document::Multivariant(view.within(&asset.tracks)?),
            Document::Description(view) => Document::Description(view.within(&asset.tracks)?),
            Document::Storyboard => {
                sheet = watchable.storyboard.as_ref()?.sheets.first().map(|sheet| sheet.name.clone());
                Document::Storyboard
            }
            of_track => of_track,
        };
        let key = Key {
            playback: asset.playback_id.clone(),
            generation: asset.generation,
            document,
            cut: watchable.cut,
            sheet,
        };
        let render = || render(watchable, &key.document, self.is_steered).map(Arc::new);
        self.rendered.optionally_get_with_by_ref(&key, render)
    }
}

fn render(watchable: &Watchable, document: &Document, is_steered: bool) -> Option<Rendered> {
    let asset = &*watchable.asset;
    let (content_type, text) = match document {
        Document::Multivariant(view) => {
            let playlist = hls::render_multivariant(&asset.tracks, *view, watchable.cut);
            (HLS_TYPE, if is_steered { steered(&playlist) } else { playlist })
        }
        Document::Media(track) => (HLS_TYPE, hls::render_media(asset, asset.track(track)?, watchable.cut)),
        Document::KeyFrames(track) => (HLS_TYPE, hls::render_key_frames(asset.track(track)?, watchable.cut)?),
        Document::Description(view) => (DASH_TYPE, dash::render_mpd(asset, *view, watchable.cut)),
        Document::Storyboard => {
            let storyboard = watchable.storyboard.as_ref()?;
            let uri = |sheet: &str| format!("{PICTURES}{sheet}");
            (VTT_TYPE, webvtt::render_storyboard(storyboard, watchable.shown, uri))
        }
    };
    Some(Rendered::new(content_type, text))
}

impl Rendered {
    pub(super) fn new(content_type: HeaderValue, text: String) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let digest = bs58::encode(digest.as_ref().get(..12).unwrap_or_default()).into_string();
        let gzip = compress(text.as_bytes()).unwrap_or_default();
        Self { content_type, plain: text.into(), gzip: gzip.into(), digest }
    }

    /// Memory that it takes, bytes.
    pub(super) fn weight(&self) -> u32 {
        u32::try_from(self.plain.len() + self.gzip.len()).unwrap_or(u32::MAX)
    }

    /// As sent to a client that does or does not take gzip.
    pub(super) fn entity(&self, gzip: bool, cacheability: Cacheability) -> Entity {
        let gzip = gzip && !self.gzip.is_empty();
        Entity {
            body: if gzip { self.gzip.clone() } else { self.plain.clone() },
            content_type: self.content_type.clone(),
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
