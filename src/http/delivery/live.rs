//! Delivery of what is live: multivariant and media playlists, initialisation segments, segments and parts. Requests for what
//! is about to come are held until it is there (draft-pantos-hls-rfc8216bis section 6.2.5). Each playlist is rendered once,
//! however many ask for it.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use moka::sync::Cache;

use super::answer::{Answer, Cacheability, Entity, Growing};
use super::playlists::{DASH_TYPE, HLS_TYPE, Rendered};
use super::request::MediaRequest;
use crate::actors::live_picture::Picture;
use crate::actors::lives::Watched;
use crate::domain::asset::BlobKey;
use crate::domain::cues::Cue;
use crate::domain::ids::PlaybackId;
use crate::domain::ports::{BlobStore, Clock};
use crate::domain::time::Timestamp;
use crate::http::problem::Problem;
use crate::media::live::broadcast::{Broadcast, Rendition};
use crate::media::live::listing;
use crate::media::live::part::empty_segment;
use crate::media::live::ring::{Beginning, Position, Ring, Stored};
use crate::media::live::stream::LiveStream;
use crate::media::view::View;
use crate::protocols::dash::paths::{CLOCK, MANIFEST};
use crate::protocols::dash::wire::{LivePresentation, render_live_mpd};
use crate::protocols::hls::live::names::LivePath;
use crate::protocols::hls::live::{BadDirective, LivePlaylist, ReloadRequest, block_for, render_live};
use crate::protocols::hls::paths::MULTIVARIANT;
use crate::protocols::hls::steering::steered;
use crate::protocols::hls::wire::render_live_multivariant;

mod growing;

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
    clock: Arc<dyn Clock>,
    is_steered: bool,
}

impl LiveDelivery {
    /// Delivery from memory, and of what is not there any more from this store.
    pub(super) fn new((blobs, clock): (&Arc<dyn BlobStore>, &Arc<dyn Clock>), is_steered: bool) -> Self {
        let playlists = Cache::builder().weigher(|_: &Key, rendered: &Arc<Rendered>| rendered.weight());
        let stored = moka::future::Cache::builder()
            .weigher(|_: &(BlobKey, u64), bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        Self {
            playlists: playlists.max_capacity(PLAYLIST_BYTES_MAX).time_to_live(FIRST_MEDIA).build(),
            stored: stored.max_capacity(STORED_BYTES_MAX).build(),
            blobs: Arc::clone(blobs),
            clock: Arc::clone(clock),
            is_steered,
        }
    }

    async fn read(&self, Stored { key, range }: Stored) -> Result<Bytes, Problem> {
        let read = self.stored.try_get_with((key.clone(), range.start), self.blobs.read(&key, range));
        Ok(read.await.map_err(|error| (*error).clone())?)
    }

    /// What the request names.
    pub(super) async fn answer(&self, watched: &Watched, request: &MediaRequest) -> Result<Answer, Problem> {
        let stream = &*watched.stream;
        let path = match request.tail.as_str() {
            MANIFEST => return Ok(self.description(stream, request).await?.into()),
            CLOCK => return Ok(time(self.clock.now()).into()),
            tail => LivePath::parse(tail).ok_or_else(Problem::not_found)?,
        };
        if let LivePath::Segment { track, epoch, number } = path {
            return self.segment(watched, request, (track, epoch, number)).await;
        }
        let entity = match path {
            LivePath::Multivariant => self.multivariant(stream, request).await,
            LivePath::Picture => picture(watched, &request.playback).ok_or_else(Problem::not_found),
            LivePath::Media { track } => self.media(stream, request, track).await,
            LivePath::Init { track, epoch } => {
                let init = stream.look(|broadcast| init(broadcast, track, epoch)).ok_or_else(Problem::not_found)?;
                Ok(object(init, request))
            }
            LivePath::Part { track, epoch, position } => part(stream, request, (track, epoch, position)).await,
            LivePath::Segment { .. } => Err(Problem::not_found()),
        };
        Ok(entity?.into())
    }

    async fn segment(
        &self,
        watched: &Watched,
        request: &MediaRequest,
        (track, epoch, number): (&str, u32, u64),
    ) -> Result<Answer, Problem> {
        let stream = &watched.stream;
        let patience = block_for(stream.look(Broadcast::target_secs).ok_or_else(Problem::not_found)?);
        let may_grow = !request.headers.contains_key(header::RANGE);
        let find = |broadcast: &Broadcast| match segment_in(broadcast, track, (epoch, number)) {
            None if may_grow && growing::has_begun(broadcast, track, number) => Some(Found::Growing),
            found => found.map(|found| found.map_or(Found::Nothing, Found::Whole)),
        };
        let body = match stream.wait_for(patience, find).await.unwrap_or(Found::Nothing) {
            Found::Nothing => return Err(Problem::not_found()),
            Found::Growing => {
                let body = growing::body(stream, (track, number), patience);
                return Ok(Answer::Growing(Growing { head: object_headers(request), body, bytes: None }));
            }
            Found::Whole(Whole::InMemory(bytes)) => bytes,
            Found::Whole(Whole::Stored(stored)) => self.read(stored).await?,
        };
        Ok(object(body, request).into())
    }

    async fn description(&self, stream: &LiveStream, request: &MediaRequest) -> Result<Entity, Problem> {
        wait_for_media(stream, |_| true).await?;
        let is_known = |broadcast: &Broadcast| broadcast.periods().is_known().then_some(());
        stream.wait_for(FIRST_MEDIA, is_known).await.ok_or_else(Problem::not_found)?;
        let key = (request.playback.clone(), MANIFEST.to_owned(), stream.look(segments_seen), false);
        let render = || stream.look(|broadcast| described(broadcast, self.clock.now())).map(Arc::new);
        let rendered = self.playlists.optionally_get_with_by_ref(&key, render).ok_or_else(Problem::internal)?;
        Ok(rendered.entity(crate::http::accepts_gzip(&request.headers), Cacheability::Growing))
    }

    async fn multivariant(&self, stream: &LiveStream, request: &MediaRequest) -> Result<Entity, Problem> {
        wait_for_media(stream, |_| true).await?;
        let key = (request.playback.clone(), MULTIVARIANT.to_owned(), stream.version(), false);
        let rendered =
            self.playlists.optionally_get_with_by_ref(&key, || variants(stream, self.is_steered).map(Arc::new));
        let rendered = rendered.ok_or_else(Problem::internal)?;
        Ok(rendered.entity(crate::http::accepts_gzip(&request.headers), Cacheability::Growing))
    }

    async fn media(&self, stream: &LiveStream, request: &MediaRequest, track: &str) -> Result<Entity, Problem> {
        let wanted = ReloadRequest::parse(request.query()).map_err(bad_directive)?;
        wait_for_media(stream, |one| one.name == track).await?;
        let target_secs = stream.look(Broadcast::target_secs).unwrap_or(1);
        let part_target = stream.look(Broadcast::part_target).ok_or_else(Problem::not_found)?;
        let is_answerable = |broadcast: &Broadcast| match rendition(broadcast, track) {
            None => Some(Err(Problem::not_found())),
            Some(rendition) => match wanted.is_answerable(&rendition.ring, part_target) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(bad_directive(error))),
            },
        };
        let kind = match (wanted.segment, wanted.skip) {
            (_, true) => "delta",
            (Some(_), false) => "blocking",
            (None, false) => "plain",
        };
        metrics::counter!("playhouse_live_playlist_requests_total", "kind" => kind).increment(1);
        let blocked = wanted.segment.map(|_| Blocked::new());
        stream.wait_for(block_for(target_secs), is_answerable).await.ok_or_else(stalled)??;
        drop(blocked);
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

/// A request in the gauge of those that wait.
struct Blocked;

impl Blocked {
    fn new() -> Self {
        metrics::gauge!("playhouse_live_playlist_requests_blocked").increment(1.0);
        Self
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        metrics::gauge!("playhouse_live_playlist_requests_blocked").decrement(1.0);
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

/// Waits until these renditions have something.
async fn wait_for_media(stream: &LiveStream, of: impl Fn(&Rendition) -> bool) -> Result<(), Problem> {
    let has_media = |broadcast: &Broadcast| {
        let is_listed = broadcast.target_secs().is_some() && broadcast.part_target().is_some();
        let is_begun = |one: &Rendition| one.is_rung() || one.ring.segments().any(|segment| segment.is_complete);
        (is_listed && broadcast.renditions().iter().filter(|one| of(one)).all(is_begun)).then_some(())
    };
    stream.wait_for(FIRST_MEDIA, has_media).await.ok_or_else(Problem::not_found)
}

fn variants(stream: &LiveStream, is_steered: bool) -> Option<Rendered> {
    let listed = stream.look(listing::tracks);
    let tracks = listed.inspect_err(|error| tracing::error!(%error, "a live stream cannot be listed")).ok()?;
    let playlist = render_live_multivariant(&tracks);
    Some(Rendered::new(HLS_TYPE, if is_steered { steered(&playlist) } else { playlist }))
}

/// A part that is next may be asked for before it is there (preload hint).
async fn part(
    stream: &LiveStream,
    request: &MediaRequest,
    (track, epoch, position): (&str, u32, Position),
) -> Result<Entity, Problem> {
    let target_secs = stream.look(Broadcast::target_secs).ok_or_else(Problem::not_found)?;
    let find = |broadcast: &Broadcast| part_in(broadcast, track, (epoch, position));
    let found = stream.wait_for(block_for(target_secs), find).await.flatten();
    Ok(object(found.ok_or_else(Problem::not_found)?, request))
}

/// `None`: not yet; `Some(None)`: never.
fn part_in(broadcast: &Broadcast, track: &str, (epoch, at): (u32, Position)) -> Option<Option<Bytes>> {
    let Position { segment, part } = at;
    let Some(rendition) = rendition(broadcast, track) else { return Some(None) };
    let ring = &rendition.ring;
    let next = ring.next_number();
    let Some(found) = ring.fetchable(segment) else {
        // The first part of the next segment is the only one of it that is hinted at.
        let is_hinted = segment == next && part == 0 && !ring.has_ended();
        return if is_hinted { None } else { Some(None) };
    };
    if found.beginning.epoch != epoch {
        return Some(None);
    }
    if let Some(found) = found.parts.get(part as usize) {
        return Some(Some(found.bytes.clone()));
    }
    let is_hinted = !found.is_complete && part as usize == found.parts.len() && !ring.has_ended();
    if is_hinted { None } else { Some(None) }
}

fn rendition<'a>(broadcast: &'a Broadcast, track: &str) -> Option<&'a Rendition> {
    broadcast.renditions().iter().find(|rendition| rendition.name == track)
}

/// What there is of a segment that was asked for.
enum Found {
    Nothing,
    Growing,
    Whole(Whole),
}

/// A whole segment's bytes.
enum Whole {
    InMemory(Bytes),
    Stored(Stored),
}

/// `None`: it is not whole yet; `Some(None)`: it never will be.
fn segment_in(broadcast: &Broadcast, track: &str, (epoch, number): (u32, u64)) -> Option<Option<Whole>> {
    let Some(rendition) = rendition(broadcast, track) else { return Some(None) };
    let ring = &rendition.ring;
    let Some(segment) = ring.fetchable(number) else {
        // A rung is not as far as its source.
        let furthest = broadcast.renditions().iter().map(|other| other.ring.next_number()).max().unwrap_or(0);
        let is_next = (ring.next_number()..=furthest).contains(&number);
        // Whoever computes which segment is the last one may be wrong by the rounding of one.
        let last = ring.segments().next_back().filter(|_| is_next && ring.has_ended());
        let behind = last.and_then(|last| nothing(broadcast, track, last.following()));
        return if is_next && !ring.has_ended() { None } else { Some(behind.map(Whole::InMemory)) };
    };
    let stored = segment.stored.clone().filter(|_| segment.parts.is_empty());
    let beginning = segment.beginning;
    if beginning.epoch != epoch {
        // Somebody counts on, as if that epoch had not ended.
        return Some(nothing(broadcast, track, Beginning { epoch, ..beginning }).map(Whole::InMemory));
    }
    let whole = || match stored {
        _ if segment.is_gap() => nothing(broadcast, track, beginning).map(Whole::InMemory),
        Some(stored) => Some(Whole::Stored(stored)),
        None => Some(Whole::InMemory(segment.bytes())),
    };
    segment.is_complete.then(whole)
}

/// DASH has no tag that says that a segment has no media: its players ask for it.
fn nothing(broadcast: &Broadcast, track: &str, beginning: Beginning) -> Option<Bytes> {
    let index = broadcast.renditions().iter().position(|rendition| rendition.name == track)?;
    let epoch = broadcast.epochs().find(|epoch| epoch.number == beginning.epoch)?;
    let (config, _) = epoch.tracks.get(index)?.as_ref()?;
    Some(empty_segment(&beginning, config.timescale))
}

/// Tells whether segments have begun or ended since.
fn segments_seen(broadcast: &Broadcast) -> u64 {
    let of_rendition = |rendition: &Rendition| {
        let newest = rendition.ring.segments().next_back();
        newest.map_or(0, |newest| {
            newest.beginning.number * 4 + u64::from(newest.size > 0) * 2 + u64::from(newest.is_complete)
        })
    };
    let seen: u64 = broadcast.renditions().iter().map(of_rendition).sum();
    (seen + broadcast.health().cues) * 4 + u64::from(broadcast.is_fed()) * 2 + u64::from(broadcast.has_ended())
}

fn described(broadcast: &Broadcast, published: Timestamp) -> Option<Rendered> {
    let listed = listing::periods(broadcast);
    let periods = listed.inspect_err(|error| tracing::error!(%error, "a live stream cannot be described")).ok()?;
    let cues: Vec<Cue> = broadcast.cues().cloned().collect();
    let live = LivePresentation {
        periods: &periods,
        anchor: broadcast.anchor()?,
        published,
        window: broadcast.window(),
        target_secs: broadcast.target_secs()?,
        part_target: broadcast.part_target()?,
        has_ended: broadcast.has_ended(),
        low_latency: broadcast.is_low_latency(),
        cues: &cues,
    };
    Some(Rendered::new(DASH_TYPE, render_live_mpd(&live, View::default())))
}

/// What time it is (`urn:mpeg:dash:utc:http-iso:2014`).
fn time(now: Timestamp) -> Entity {
    Entity {
        body: now.to_string().into(),
        content_type: HeaderValue::from_static("text/plain; charset=utf-8"),
        etag: format!("\"{}\"", now.as_millis()),
        encoding: None,
        cacheability: Cacheability::Never,
    }
}

fn init(broadcast: &Broadcast, track: &str, number: u32) -> Option<Bytes> {
    let index = broadcast.renditions().iter().position(|rendition| rendition.name == track)?;
    let epoch = broadcast.epochs().find(|epoch| epoch.number == number)?;
    epoch.tracks.get(index)?.as_ref().map(|(_, init)| init.clone())
}

fn rendered(broadcast: &Broadcast, track: &str, skip: bool) -> Option<Rendered> {
    let ring = &rendition(broadcast, track)?.ring;
    // What players have not been told of yet is of no interest to them.
    let is_known = |other: &&Rendition| !other.is_rung() || other.ring.has_had_media();
    let others = broadcast.renditions().iter().filter(|rendition| rendition.name != track).filter(is_known);
    let others: Vec<(&str, &Ring)> = others.map(|other| (other.name.as_str(), &other.ring)).collect();
    let cues: Vec<Cue> = broadcast.cues().cloned().collect();
    let playlist = LivePlaylist {
        ring,
        low_latency: broadcast.is_low_latency(),
        cues: &cues,
        target_secs: broadcast.target_secs()?,
        part_target: broadcast.part_target()?,
        hold_back_parts: broadcast.hold_back_parts(),
        others: &others,
    };
    Some(Rendered::new(HLS_TYPE, render_live(&playlist, skip)))
}

fn object(body: Bytes, request: &MediaRequest) -> Entity {
    metrics::counter!("playhouse_delivery_bytes_total", "kind" => "live").increment(body.len() as u64);
    Entity { body, ..object_headers(request) }
}

/// A media object but for its bytes.
fn object_headers(request: &MediaRequest) -> Entity {
    let sound = request.tail.starts_with('a');
    Entity {
        body: Bytes::new(),
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
