//! Delivery of what is live: multivariant and media playlists, initialisation segments, segments and parts. Requests for what
//! is about to come are held until it is there (draft-pantos-hls-rfc8216bis section 6.2.5). Each playlist is rendered once,
//! however many ask for it.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use moka::sync::Cache;

use super::answer::{Cacheability, Entity};
use super::playlists::{HLS_TYPE, Rendered};
use super::request::MediaRequest;
use crate::actors::live_picture::Picture;
use crate::actors::lives::Watched;
use crate::domain::asset::BlobKey;
use crate::domain::ids::PlaybackId;
use crate::domain::ports::BlobStore;
use crate::http::problem::Problem;
use crate::media::live::broadcast::{Broadcast, Rendition};
use crate::media::live::listing;
use crate::media::live::ring::{Position, Stored};
use crate::media::live::stream::LiveStream;
use crate::media::view::View;
use crate::protocols::hls::live::names::LivePath;
use crate::protocols::hls::live::{BadDirective, LivePlaylist, ReloadRequest, block_for, render_live};
use crate::protocols::hls::paths::MULTIVARIANT;
use crate::protocols::hls::wire::render_multivariant;

/// How long a request waits for the first whole segment of a stream: players take a playlist without one for broken.
const FIRST_MEDIA: Duration = Duration::from_secs(15);
/// Memory for playlists: each is asked for by all viewers at once, and is of no use after the next part.
const PLAYLIST_BYTES_MAX: u64 = 64 << 20;
/// Memory for segments that are read from recordings: viewers who went back to the same moment share them.
const STORED_BYTES_MAX: u64 = 64 << 20;
/// How long blocking playlists may be kept by caches, in target durations: late followers of a part still find it.
const KEPT_TARGETS: u32 = 6;

/// How long a picture of what is live may be kept.
const PICTURE_KEPT: Duration = Duration::from_secs(10);

/// A playlist by stream, rendition (or the name of the multivariant one), version and whether it is a delta update.
type Key = (PlaybackId, String, u64, bool);

/// Playlists of live streams as they are now, and what is read of their recordings.
pub(super) struct LiveDelivery {
    playlists: Cache<Key, Arc<Rendered>>,
    stored: moka::future::Cache<(BlobKey, u64), Bytes>,
    blobs: Arc<dyn BlobStore>,
}

impl LiveDelivery {
    /// Delivery from memory, and of what is not there any more from this store.
    pub(super) fn new(blobs: Arc<dyn BlobStore>) -> Self {
        let playlists = Cache::builder().weigher(|_: &Key, rendered: &Arc<Rendered>| rendered.weight());
        let stored = moka::future::Cache::builder()
            .weigher(|_: &(BlobKey, u64), bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        Self {
            playlists: playlists.max_capacity(PLAYLIST_BYTES_MAX).time_to_live(FIRST_MEDIA).build(),
            stored: stored.max_capacity(STORED_BYTES_MAX).build(),
            blobs,
        }
    }

    async fn read(&self, Stored { key, range }: Stored) -> Result<Bytes, Problem> {
        let read = self.stored.try_get_with((key.clone(), range.start), self.blobs.read(&key, range));
        Ok(read.await.map_err(|error| (*error).clone())?)
    }

    /// What the request names.
    pub(super) async fn answer(&self, watched: &Watched, request: &MediaRequest) -> Result<Entity, Problem> {
        let stream = &*watched.stream;
        match LivePath::parse(&request.tail).ok_or_else(Problem::not_found)? {
            LivePath::Multivariant => self.multivariant(stream, request).await,
            LivePath::Picture => picture(watched, &request.playback).ok_or_else(Problem::not_found),
            LivePath::Media { track } => self.media(stream, request, track).await,
            LivePath::Init { track, epoch } => {
                let init = stream.look(|broadcast| init(broadcast, track, epoch)).ok_or_else(Problem::not_found)?;
                Ok(object(init, request))
            }
            LivePath::Segment { track, number } => {
                let find = |broadcast: &Broadcast| {
                    let segment = rendition(broadcast, track)?.ring.segment(number)?;
                    let stored = segment.stored.clone().filter(|_| segment.parts.is_empty());
                    (segment.is_complete && !segment.is_gap()).then(|| stored.ok_or_else(|| segment.bytes()))
                };
                let body = match stream.look(find).ok_or_else(Problem::not_found)? {
                    Err(in_memory) => in_memory,
                    Ok(stored) => self.read(stored).await?,
                };
                Ok(object(body, request))
            }
            LivePath::Part { track, position } => part(stream, request, (track, position)).await,
        }
    }

    async fn multivariant(&self, stream: &LiveStream, request: &MediaRequest) -> Result<Entity, Problem> {
        wait_for_media(stream).await?;
        let key = (request.playback.clone(), MULTIVARIANT.to_owned(), stream.version(), false);
        let rendered = self.playlists.optionally_get_with_by_ref(&key, || variants(stream).map(Arc::new));
        let rendered = rendered.ok_or_else(Problem::internal)?;
        Ok(rendered.entity(crate::http::accepts_gzip(&request.headers), Cacheability::Growing))
    }

    async fn media(&self, stream: &LiveStream, request: &MediaRequest, track: &str) -> Result<Entity, Problem> {
        let wanted = ReloadRequest::parse(request.query()).map_err(bad_directive)?;
        wait_for_media(stream).await?;
        let target_secs = stream.look(Broadcast::target_secs).unwrap_or(1);
        let is_answerable = |broadcast: &Broadcast| match rendition(broadcast, track) {
            None => Some(Err(Problem::not_found())),
            Some(rendition) => match wanted.is_answerable(&rendition.ring) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(bad_directive(error))),
            },
        };
        stream.wait_for(block_for(target_secs), is_answerable).await.ok_or_else(stalled)??;
        let key = (request.playback.clone(), track.to_owned(), stream.version(), wanted.skip);
        let render = || stream.look(|broadcast| rendered(broadcast, track, wanted.skip)).map(Arc::new);
        let rendered = self.playlists.optionally_get_with_by_ref(&key, render).ok_or_else(Problem::not_found)?;
        let cacheability = match wanted.segment {
            Some(_) => Cacheability::Kept { max_age: Duration::from_secs(u64::from(target_secs * KEPT_TARGETS)) },
            None => Cacheability::Growing,
        };
        Ok(rendered.entity(crate::http::accepts_gzip(&request.headers), cacheability))
    }
}

fn picture(watched: &Watched, playback: &PlaybackId) -> Option<Entity> {
    let Picture { body, segment } = watched.picture.get()?;
    Some(Entity {
        body,
        content_type: HeaderValue::from_static("image/jpeg"),
        etag: format!("\"{playback}.{segment}\""),
        encoding: None,
        cacheability: Cacheability::Kept { max_age: PICTURE_KEPT },
    })
}

async fn wait_for_media(stream: &LiveStream) -> Result<(), Problem> {
    let has_media = |broadcast: &Broadcast| {
        let is_listed = broadcast.target_secs().is_some() && broadcast.part_target().is_some();
        let is_begun = |one: &Rendition| one.ring.segments().any(|segment| segment.is_complete);
        (is_listed && broadcast.renditions().iter().all(is_begun)).then_some(())
    };
    stream.wait_for(FIRST_MEDIA, has_media).await.ok_or_else(Problem::not_found)
}

fn variants(stream: &LiveStream) -> Option<Rendered> {
    let listed = stream.look(listing::tracks);
    let tracks = listed.inspect_err(|error| tracing::error!(%error, "a live stream cannot be listed")).ok()?;
    Some(Rendered::new(HLS_TYPE, render_multivariant(&tracks, View::default())))
}

/// A part that is next may be asked for before it is there (preload hint).
async fn part(
    stream: &LiveStream,
    request: &MediaRequest,
    (track, position): (&str, Position),
) -> Result<Entity, Problem> {
    let target_secs = stream.look(Broadcast::target_secs).ok_or_else(Problem::not_found)?;
    let find = |broadcast: &Broadcast| part_in(broadcast, track, position);
    let found = stream.wait_for(block_for(target_secs), find).await.flatten();
    Ok(object(found.ok_or_else(Problem::not_found)?, request))
}

/// `None`: not yet; `Some(None)`: never.
fn part_in(broadcast: &Broadcast, track: &str, Position { segment, part }: Position) -> Option<Option<Bytes>> {
    let Some(rendition) = rendition(broadcast, track) else { return Some(None) };
    let ring = &rendition.ring;
    let next = ring.next_number();
    let Some(found) = ring.segment(segment) else {
        // The first part of the next segment is the only one of it that is hinted at.
        let is_hinted = segment == next && part == 0 && !ring.has_ended();
        return if is_hinted { None } else { Some(None) };
    };
    if let Some(found) = found.parts.get(part as usize) {
        return Some(Some(found.bytes.clone()));
    }
    let is_hinted = !found.is_complete && part as usize == found.parts.len() && !ring.has_ended();
    if is_hinted { None } else { Some(None) }
}

fn rendition<'a>(broadcast: &'a Broadcast, track: &str) -> Option<&'a Rendition> {
    broadcast.renditions().iter().find(|rendition| rendition.name == track)
}

fn init(broadcast: &Broadcast, track: &str, number: u32) -> Option<Bytes> {
    let index = broadcast.renditions().iter().position(|rendition| rendition.name == track)?;
    let epoch = broadcast.epochs().find(|epoch| epoch.number == number)?;
    epoch.tracks.get(index)?.as_ref().map(|(_, init)| init.clone())
}

fn rendered(broadcast: &Broadcast, track: &str, skip: bool) -> Option<Rendered> {
    let ring = &rendition(broadcast, track)?.ring;
    let others = broadcast.renditions().iter().filter(|rendition| rendition.name != track);
    let reports: Vec<(String, Position)> =
        others.filter_map(|other| Some((other.name.clone(), other.ring.edge()?))).collect();
    let playlist = LivePlaylist {
        ring,
        target_secs: broadcast.target_secs()?,
        part_target: broadcast.part_target()?,
        reports: &reports,
    };
    Some(Rendered::new(HLS_TYPE, render_live(&playlist, skip)))
}

fn object(body: Bytes, request: &MediaRequest) -> Entity {
    let sound = request.tail.starts_with('a');
    metrics::counter!("playhouse_delivery_bytes_total", "kind" => "live").increment(body.len() as u64);
    Entity {
        body,
        content_type: HeaderValue::from_static(if sound { "audio/mp4" } else { "video/mp4" }),
        etag: format!("\"{}.{}\"", request.playback, request.tail),
        encoding: None,
        cacheability: Cacheability::Immutable,
    }
}

fn bad_directive(error: BadDirective) -> Problem {
    Problem::bad_request("bad_directive", error.to_string())
}

fn stalled() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stream_stalled", "The stream brings nothing right now.")
        .with_retry_after(Duration::from_secs(1))
}
