//! Delivery of media: playlists, segments and pictures of a video under its playback id.
//!
//! Public media live under `/v/{playback_id}/…`; private and unlisted ones need a token in a path prefix,
//! `/t/{token}/v/{playback_id}/…`, which relative URIs in playlists carry along by themselves. The token is no part of any
//! cache key of ours. Whoever may not watch sees 404, never 403.
//!
//! The hot path asks no database: what a playback id leads to is remembered for [`watchable::WATCHABLE_TTL`] and forgotten at
//! once when this node changes the video. Segments are shared [`Bytes`]; playlists are rendered once per generation.
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::stream::TryStreamExt;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use self::answer::{Answer, Cacheability, Entity, Growing};
use self::live::LiveDelivery;
use self::playlists::{Document, Playlists, Rendered};
use self::request::{MediaRequest, manifest_query};
use self::watchable::{Watchable, Watchables};
use super::problem::Problem;
use crate::actors::lives::{LivesHandle, Watched};
use crate::actors::media_tokens::MediaTokens;
use crate::actors::nodes::NodesHandle;
use crate::actors::playback::PlaybackHandle;
use crate::actors::playback_derived::{Fetch, Fetched};
use crate::domain::asset::Ticks;
use crate::domain::cluster::NodeName;
use crate::domain::ids::PlaybackId;
use crate::domain::live::Live;
use crate::domain::ports::{
    AssetStore, BlobStore, Catalog, Clock, MediaObject, ObjectBytes, Opened, Origin, RangeKey, SegmentSource,
};
use crate::domain::time::Timestamp;
use crate::domain::video::{Privacy, Video};
use crate::media::view::View;
use crate::protocols::dash::paths::MANIFEST;
use crate::protocols::hls::live::names::PICTURE;
use crate::protocols::hls::paths::{MULTIVARIANT, MediaPath};
use crate::protocols::hls::steering::{Pathway, STEERING, render_steering};

mod answer;
mod live;
mod playlists;
mod request;
mod watchable;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Below a video's base: its still pictures, and sheets of small ones.
const PICTURES: &str = "pictures/";
/// Below a video's base: where on the sheets which moment is.
const STORYBOARD: &str = "storyboard.vtt";

/// Protocols that players fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamFormat {
    /// HTTP Live Streaming.
    Hls,
    /// MPEG-DASH.
    Dash,
}

/// What delivery works with.
pub(crate) struct DeliveryContext {
    /// Tells what a playback id leads to.
    pub(crate) catalog: Arc<dyn Catalog>,
    /// Holds asset indexes.
    pub(crate) assets: Arc<dyn AssetStore>,
    /// The one way to segment bytes.
    pub(crate) segments: Arc<dyn SegmentSource>,
    /// Holds pictures.
    pub(crate) blobs: Arc<dyn BlobStore>,
    /// Derives sessions for players that only fetch.
    pub(crate) playback: PlaybackHandle,
    /// Leads to what is live.
    pub(crate) lives: LivesHandle,
    /// Wall-clock time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Signs and checks links to private media.
    pub(crate) tokens: Arc<MediaTokens>,
    /// `max-age` of playlists.
    pub(crate) manifest_max_age: Duration,
    /// Where players can be sent.
    pub(crate) nodes: NodesHandle,
    /// Whether playlists say that players are.
    pub(crate) is_steered: bool,
    /// What this node is called in `Cache-Status`.
    pub(crate) cache_name: String,
}

/// An answer, and where its bytes come from, if not from here.
type Served = (Answer, Option<Origin>);

/// Delivery's state; clones share it.
#[derive(Clone)]
pub(crate) struct Delivery(Arc<Inner>);

struct Inner {
    context: DeliveryContext,
    watchables: Watchables,
    playlists: Playlists,
    live: LiveDelivery,
    /// `Cache-Status` of what is near, under way and fetched.
    cache_statuses: [Option<HeaderValue>; 3],
}

fn manifest_name(format: StreamFormat) -> &'static str {
    match format {
        StreamFormat::Hls => MULTIVARIANT,
        StreamFormat::Dash => MANIFEST,
    }
}

impl Delivery {
    /// Delivery over these parts.
    pub(crate) fn new(context: DeliveryContext) -> Self {
        let watchables = Watchables::new(Arc::clone(&context.catalog), Arc::clone(&context.assets));
        let live = LiveDelivery::new((&context.blobs, &context.clock), context.is_steered);
        let playlists = Playlists::new(context.is_steered);
        let status = |result| HeaderValue::try_from(format!("{}; {result}", context.cache_name)).ok();
        let cache_statuses = ["hit", "fwd=uri-miss; collapsed", "fwd=uri-miss; stored"].map(status);
        Self(Arc::new(Inner { context, watchables, playlists, live, cache_statuses }))
    }

    /// Routes of all media.
    pub(crate) fn routes(&self) -> Router {
        Router::new()
            .route("/v/{playback}/{*tail}", get(open_media).options(preflight))
            .route("/t/{token}/v/{playback}/{*tail}", get(signed_media).options(preflight))
            .with_state(self.clone())
    }

    /// Forgets what this playback id leads to: call it after every change to a video.
    pub(crate) async fn forget(&self, playback: &PlaybackId) {
        self.0.watchables.forget(playback).await;
    }

    /// Path of a video's base, signed when it needs to be, and when that ends.
    pub(crate) fn base_path(&self, video: &Video) -> String {
        self.base_of(&video.playback_id, video.privacy)
    }

    fn base_of(&self, playback: &PlaybackId, privacy: Privacy) -> String {
        match self.token_for(playback, privacy) {
            Some(token) => format!("/t/{token}/v/{playback}"),
            None => format!("/v/{playback}"),
        }
    }

    /// What opens media that are not public.
    fn token_for(&self, playback: &PlaybackId, privacy: Privacy) -> Option<String> {
        let is_closed = privacy != Privacy::Public;
        is_closed.then(|| self.0.context.tokens.issue(playback, self.0.context.clock.now()))
    }

    /// Path of a live stream's manifest.
    pub(crate) fn live_path(&self, live: &Live, format: StreamFormat) -> String {
        format!("{}/{}", self.base_of(&live.playback_id, live.details.privacy), manifest_name(format))
    }

    /// Path to which viewers by WHEP post their offers.
    pub(crate) fn whep_path(&self, live: &Live) -> String {
        format!("{}/whep", self.base_of(&live.playback_id, live.details.privacy))
    }

    /// What players ask for a live stream by, over SRT.
    pub(crate) fn srt_stream_id(&self, live: &Live) -> String {
        let playback = &live.playback_id;
        match self.token_for(playback, live.details.privacy) {
            Some(token) => format!("read:{playback}:{token}"),
            None => format!("read:{playback}"),
        }
    }

    /// Path of a picture of what is live.
    pub(crate) fn live_picture_path(&self, live: &Live) -> String {
        format!("{}/{PICTURE}", self.base_of(&live.playback_id, live.details.privacy))
    }

    /// When links made now end.
    pub(crate) fn links_end(&self) -> Timestamp {
        self.0.context.tokens.expiry(self.0.context.clock.now())
    }

    /// Path of a video's manifest; with a session, fetching it opens no other one.
    pub(crate) fn manifest_path(
        &self,
        video: &Video,
        format: StreamFormat,
        (view, session): (View, Option<&str>),
    ) -> String {
        format!("{}/{}{}", self.base_path(video), manifest_name(format), manifest_query(view, session))
    }

    /// Path of one of a video's pictures, or of a sheet of small ones.
    pub(crate) fn picture_path(&self, video: &Video, name: &str) -> String {
        format!("{}/{PICTURES}{name}", self.base_path(video))
    }

    /// Path of the cues of a video's storyboard.
    pub(crate) fn storyboard_path(&self, video: &Video) -> String {
        format!("{}/{STORYBOARD}", self.base_path(video))
    }

    async fn answer(&self, request: MediaRequest, is_signed: bool) -> Result<Response, Problem> {
        if let Some(watched) = self.0.context.lives.find(&request.playback) {
            return self.live(&watched, &request, is_signed).await;
        }
        let Some(watchable) = self.0.watchables.find(&request.playback).await? else {
            let relayed = self.0.context.lives.relays().watch(&request.playback).await;
            return self.live(&relayed.ok_or_else(Problem::not_found)?, &request, is_signed).await;
        };
        if watchable.privacy != Privacy::Public && !is_signed {
            return Err(Problem::not_found());
        }
        if request.tail == STEERING {
            return Ok(self.steering().respond(&request.headers, false));
        }
        let (answer, origin) = match request.tail.strip_prefix(PICTURES) {
            Some(name) => self.picture(&watchable, name).await?,
            None => self.media(&watchable, &request).await?,
        };
        let mut response = answer.respond(&request.headers, watchable.privacy == Privacy::Public);
        if let Some(status) = origin.and_then(|origin| self.cache_status(origin)) {
            response.headers_mut().insert(CACHE_STATUS, status);
        }
        Ok(response)
    }

    /// Which nodes players are sent to; it is on each of them anew.
    fn steering(&self) -> Entity {
        let pathway = |(node, url): (NodeName, String)| {
            let host = url.parse::<Uri>().ok()?.host()?.to_owned();
            Some(Pathway { id: node.into(), host })
        };
        let pathways: Vec<Pathway> = self.0.context.nodes.pathways().into_iter().filter_map(pathway).collect();
        let told = Rendered::new(HeaderValue::from_static("application/json"), render_steering(&pathways));
        told.entity(false, Cacheability::Never)
    }

    /// What became of a request at this node (RFC 9211).
    fn cache_status(&self, origin: Origin) -> Option<HeaderValue> {
        let [near, under_way, fetched] = &self.0.cache_statuses;
        let status = match origin {
            Origin::Near => near,
            Origin::UnderWay => under_way,
            Origin::Fetched => fetched,
        };
        status.clone()
    }

    async fn live(&self, watched: &Watched, request: &MediaRequest, is_signed: bool) -> Result<Response, Problem> {
        if watched.privacy != Privacy::Public && !is_signed {
            return Err(Problem::not_found());
        }
        if request.tail == STEERING {
            return Ok(self.steering().respond(&request.headers, false));
        }
        watched.viewers.note(request.fingerprint());
        let answer = self.0.live.answer(watched, request).await?;
        Ok(answer.respond(&request.headers, watched.privacy == Privacy::Public))
    }

    async fn media(&self, watchable: &Arc<Watchable>, request: &MediaRequest) -> Result<Served, Problem> {
        let document = match request.tail.as_str() {
            MANIFEST => Document::Description(request.view()),
            STORYBOARD => Document::Storyboard,
            tail => match MediaPath::parse(tail).ok_or_else(Problem::not_found)? {
                MediaPath::Object { track, object } => {
                    self.note_segment(watchable, request, track, object);
                    return self.object(watchable, (track, object), request).await;
                }
                MediaPath::Multivariant => Document::Multivariant(request.view()),
                MediaPath::Media { track } => Document::Media(track.to_owned()),
                MediaPath::KeyFrames { track } => Document::KeyFrames(track.to_owned()),
            },
        };
        let lists_renditions = matches!(document, Document::Multivariant(_) | Document::Description(_));
        if lists_renditions {
            self.note_manifest(watchable, request);
        }
        let rendered = self.0.playlists.rendered(watchable, document).ok_or_else(Problem::not_found)?;
        let is_growing = lists_renditions && !watchable.is_finished;
        let max_age = self.0.context.manifest_max_age;
        let cacheability = if is_growing { Cacheability::Growing } else { Cacheability::Revalidated { max_age } };
        Ok((rendered.entity(super::accepts_gzip(&request.headers), cacheability).into(), None))
    }

    async fn object(
        &self,
        watchable: &Watchable,
        (track, object): (&str, MediaObject),
        request: &MediaRequest,
    ) -> Result<Served, Problem> {
        let asset = &watchable.asset;
        let of = asset.track(track).ok_or_else(Problem::not_found)?;
        if !watchable.shows(of, object) {
            return Err(Problem::not_found());
        }
        let kind = of.kind;
        let Opened { body, origin } = self.0.context.segments.open(asset, track, object).await?;
        let name = crate::protocols::hls::paths::object_name(object);
        // The track's name says in which generation it was made: later ones of the asset deliver the same bytes.
        let etag = format!("\"{}.{track}.{name}\"", asset.playback_id);
        let content_type = match kind {
            crate::domain::asset::TrackKind::Video => "video/mp4",
            crate::domain::asset::TrackKind::Audio => "audio/mp4",
        };
        let head = Entity {
            body: Bytes::new(),
            content_type: HeaderValue::from_static(content_type),
            etag,
            encoding: None,
            cacheability: Cacheability::Immutable,
        };
        let may_come = !request.headers.contains_key(header::RANGE);
        let (answer, bytes) = match body {
            ObjectBytes::Coming { bytes, stream } if may_come => {
                (Answer::Growing(Growing { head, body: Body::from_stream(stream), bytes: Some(bytes) }), bytes)
            }
            ObjectBytes::Coming { bytes, stream } => {
                let whole = stream.try_collect::<Vec<Bytes>>().await?.concat();
                (Entity { body: whole.into(), ..head }.into(), bytes)
            }
            ObjectBytes::Whole(body) => {
                let bytes = body.len() as u64;
                (Entity { body, ..head }.into(), bytes)
            }
        };
        metrics::counter!("playhouse_delivery_bytes_total", "kind" => "segment").increment(bytes);
        Ok((answer, Some(origin)))
    }

    async fn picture(&self, watchable: &Watchable, name: &str) -> Result<Served, Problem> {
        let (key, content_type) = watchable.picture(name).ok_or_else(Problem::not_found)?;
        let blobs = &self.0.context.blobs;
        let is_near = blobs.is_near(&RangeKey { key: key.clone(), range: None });
        let body = blobs.read_all(key).await?;
        let content_type = HeaderValue::from_str(content_type).map_err(|_| Problem::internal())?;
        let etag = format!("\"{}.{name}.{}\"", watchable.asset.playback_id, body.len());
        let entity = Entity { body, content_type, etag, encoding: None, cacheability: Cacheability::Immutable };
        Ok((entity.into(), Some(if is_near { Origin::Near } else { Origin::Fetched })))
    }

    /// A player that fetched a manifest without a session of its own gets a derived one; playback does not wait for it.
    fn note_manifest(&self, watchable: &Arc<Watchable>, request: &MediaRequest) {
        if request.has_session() || request.method != Method::GET {
            return;
        }
        let (playback, watchable, fingerprint) =
            (self.0.context.playback.clone(), Arc::clone(watchable), request.fingerprint());
        tokio::spawn(async move {
            let (video_id, duration_ms) = (watchable.video_id.clone(), watchable.duration_ms);
            let what = Fetched::Manifest { video_id, duration_ms };
            if let Err(error) = playback.fetched(Fetch { player: fingerprint, what }).await {
                tracing::debug!(%error, "no session for a bare player");
            }
        });
    }

    fn note_segment(&self, watchable: &Watchable, request: &MediaRequest, track: &str, object: MediaObject) {
        let MediaObject::Segment(number) = object else { return };
        let fingerprint = request.fingerprint();
        self.0.context.segments.look_ahead(fingerprint, &watchable.asset, track, number);
        let playback = &self.0.context.playback;
        if request.method != Method::GET || !playback.is_followed(fingerprint) {
            return;
        }
        let Some(track) = watchable.asset.track(track).filter(|track| is_counted(watchable, track)) else { return };
        let Some(segment) = track.segments.get(number as usize) else { return };
        let duration = Ticks { value: i64::from(segment.duration), timescale: track.timescale };
        let media_ms = u64::try_from(duration.rescale(1000)).unwrap_or(0);
        let playback = playback.clone();
        let fetch = Fetch { player: fingerprint, what: Fetched::Segment { media_ms } };
        tokio::spawn(async move { playback.fetched(fetch).await });
    }
}

/// Media time counts once, though sound and picture are fetched apart: by the asset's first kind of track.
fn is_counted(watchable: &Watchable, track: &crate::domain::asset::AssetTrack) -> bool {
    watchable.asset.tracks.first().is_some_and(|first| first.kind == track.kind)
}

async fn open_media(
    State(delivery): State<Delivery>,
    Path((playback, tail)): Path<(String, String)>,
    request: axum::extract::Request,
) -> Response {
    let answer = async { delivery.answer(MediaRequest::new(request, &playback, tail)?, false).await };
    finish(answer.await)
}

async fn signed_media(
    State(delivery): State<Delivery>,
    Path((token, playback, tail)): Path<(String, String, String)>,
    request: axum::extract::Request,
) -> Response {
    let answer = async {
        let request = MediaRequest::new(request, &playback, tail)?;
        let context = &delivery.0.context;
        if !context.tokens.verify(&token, &request.playback, context.clock.now()) {
            return Err(Problem::not_found());
        }
        delivery.answer(request, true).await
    };
    finish(answer.await)
}

/// Players on any page may read media and why they may not; a 404 is remembered for a second only.
fn finish(answer: Result<Response, Problem>) -> Response {
    let mut response = match answer {
        Ok(response) => response,
        Err(problem) => {
            let is_missing = problem.status() == StatusCode::NOT_FOUND;
            let mut response = problem.into_response();
            if is_missing {
                response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert("timing-allow-origin", HeaderValue::from_static("*"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("content-length, content-range, accept-ranges, etag, date, cache-status"),
    );
    response
}

async fn preflight() -> Response {
    let mut response = Response::new(Body::from(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
