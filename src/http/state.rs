//! What every handler is given: ports, settings, actors' handles, keys and caches. Cloning it is one reference count.
use std::ops::Deref;
use std::sync::Arc;

use http::HeaderValue;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use super::auth::keys::{AccessKeys, KeyError};
use super::auth::logins::LoginStates;
use super::auth::passwords::Passwords;
use super::client_address::{InvalidNetwork, TrustedProxies};
use super::cors::{self, InvalidOrigin};
use super::delivery::{Delivery, DeliveryContext};
use super::rates::Rates;
use super::videos::memory::Videos;
use crate::actors::janitor::JanitorHandle;
use crate::actors::limits::SharedLimits;
use crate::actors::live_pull::PullsHandle;
use crate::actors::lives::LivesHandle;
use crate::actors::node_root::RootHandle;
use crate::actors::nodes::NodesHandle;
use crate::actors::playback::PlaybackHandle;
use crate::actors::thumbnails::ThumbnailsHandle;
use crate::actors::transcodes::TranscodesHandle;
use crate::actors::uploads::UploadsHandle;
use crate::domain::events::Event;
use crate::domain::ports::{AssetStore, BlobStore, Catalog, CatalogError, Clock, Entropy, SegmentSource};
use crate::protocols::webrtc::listener::WebrtcHandle;
use crate::settings::Settings;

/// Events after which a sign-in may be good no more, or for something else.
const ENDS_SIGN_INS: [&str; 4] = ["auth.login_revoked", "auth.logins_revoked", "auth.refresh_reused", "user.updated"];

/// The ports handlers use.
#[derive(Clone)]
pub struct HttpPorts {
    /// Records.
    pub catalog: Arc<dyn Catalog>,
    /// Asset indexes.
    pub assets: Arc<dyn AssetStore>,
    /// Media bytes.
    pub segments: Arc<dyn SegmentSource>,
    /// Blobs, for pictures and recordings.
    pub blobs: Arc<dyn BlobStore>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Handles of the actors that handlers talk to.
#[derive(Clone)]
pub struct HttpActors {
    /// Viewer sessions.
    pub playback: PlaybackHandle,
    /// Live streams.
    pub lives: LivesHandle,
    /// What is fetched for them from elsewhere.
    pub pulls: PullsHandle,
    /// The whole tree, to describe it.
    pub root: RootHandle,
    /// Clean-up rounds.
    pub janitor: JanitorHandle,
    /// Uploads.
    pub uploads: UploadsHandle,
    /// Still pictures that owners ask for.
    pub thumbnails: ThumbnailsHandle,
    /// Work on videos.
    pub transcodes: TranscodesHandle,
    /// Other nodes.
    pub nodes: NodesHandle,
}

/// Where publishers are taken in, for the URLs told to them.
#[derive(Debug, Clone, Copy)]
pub struct IngestPorts {
    /// RTMP.
    pub rtmp: u16,
    /// RTMPS, when there is any TLS.
    pub rtmps: Option<u16>,
    /// SRT.
    pub srt: u16,
}

/// What the composition root gives.
#[derive(Clone)]
pub struct HttpServices {
    /// All settings.
    pub settings: Arc<Settings>,
    /// Ports.
    pub ports: HttpPorts,
    /// Actors.
    pub actors: HttpActors,
    /// What `/metrics` renders.
    pub metrics: PrometheusHandle,
    /// Where publishers are taken in.
    pub ingest_ports: IngestPorts,
    /// Sessions of WebRTC.
    pub webrtc: WebrtcHandle,
}

/// The HTTP side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HttpStateError {
    /// The catalog did not give the installation's secrets.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A stored key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A setting cannot be used.
    #[error(transparent)]
    Proxies(#[from] InvalidNetwork),
    /// A setting cannot be used.
    #[error(transparent)]
    Origins(#[from] InvalidOrigin),
}

/// What every handler is given.
#[derive(Clone)]
pub struct HttpState(Arc<HttpContext>);

/// The insides of [`HttpState`].
pub struct HttpContext {
    /// All settings.
    pub settings: Arc<Settings>,
    /// Ports.
    pub ports: HttpPorts,
    /// Actors.
    pub actors: HttpActors,
    /// What `/metrics` renders.
    pub metrics: PrometheusHandle,
    /// Where publishers are taken in.
    pub ingest_ports: IngestPorts,
    /// Sessions of WebRTC.
    pub webrtc: WebrtcHandle,
    /// Signs and checks access tokens.
    pub(crate) access_keys: AccessKeys,
    /// Hashes and checks passwords.
    pub(crate) passwords: Passwords,
    /// Which sign-ins are still good.
    pub(crate) logins: LoginStates,
    /// Who asked how often.
    pub(crate) rates: Arc<Rates>,
    /// Hot records.
    pub(crate) videos: Videos,
    /// Whose `X-Forwarded-For` counts.
    pub(crate) trusted_proxies: TrustedProxies,
    /// Delivers media, and makes the links to it.
    pub(crate) delivery: Delivery,
    /// Origins whose pages may use the API.
    pub(crate) cors_origins: Vec<HeaderValue>,
    draining: CancellationToken,
}

fn delivery(settings: &Settings, ports: &HttpPorts, actors: &HttpActors) -> Delivery {
    let (playback, lives) = (actors.playback.clone(), actors.lives.clone());
    let cache_name = settings.cluster.name().map_or_else(|| "playhouse".to_owned(), String::from);
    Delivery::new(DeliveryContext {
        cache_name,
        nodes: actors.nodes.clone(),
        is_steered: settings.cluster.name().is_some() && !settings.cluster.public_url.is_empty(),
        catalog: Arc::clone(&ports.catalog),
        assets: Arc::clone(&ports.assets),
        segments: Arc::clone(&ports.segments),
        blobs: Arc::clone(&ports.blobs),
        playback,
        tokens: Arc::clone(lives.tokens()),
        lives,
        clock: Arc::clone(&ports.clock),
        manifest_max_age: settings.playback.manifest_max_age.0,
    })
}

impl HttpState {
    /// Loads (at first start: makes) the installation's keys.
    pub async fn open(services: HttpServices) -> Result<Self, HttpStateError> {
        let HttpServices { settings, ports, actors, metrics, ingest_ports, webrtc } = services;
        let context = HttpContext {
            access_keys: AccessKeys::load(&*ports.catalog, &ports.entropy).await?,
            passwords: Passwords::new(settings.accounts.hashes_at_once),
            logins: LoginStates::default(),
            rates: Arc::new(Rates::new(&settings.rates, actors.nodes.is_cluster())),
            videos: Videos::default(),
            trusted_proxies: TrustedProxies::parse(&settings.http.trusted_proxies)?,
            cors_origins: cors::parse_origins(&settings.http.cors_origins)?,
            delivery: delivery(&settings, &ports, &actors),
            ingest_ports,
            webrtc,
            draining: CancellationToken::new(),
            settings,
            ports,
            actors,
            metrics,
        };
        Ok(Self(Arc::new(context)))
    }
}

impl HttpState {
    /// Limits that all nodes count together.
    pub fn limits(&self) -> Arc<dyn SharedLimits> {
        Arc::clone(&self.rates) as Arc<dyn SharedLimits>
    }

    /// Drops what is kept in memory of whatever this event is about: to be told of every event of the change feed.
    pub async fn note_event(&self, event: &Event) {
        let id = |name| event.payload.get(name).and_then(serde_json::Value::as_str);
        if ENDS_SIGN_INS.contains(&event.kind.as_str()) {
            self.logins.forget_all();
        }
        if let Some(video) = id("video_id").and_then(|id| id.parse().ok()) {
            self.videos.forget(&video);
        }
        if let Some(playback) = id("playback_id").and_then(|id| id.parse().ok()) {
            self.delivery.forget(&playback).await;
            self.actors.lives.relays().note_changed(&playback).await;
        }
        if let Some(live) = id("live_id").and_then(|id| id.parse().ok()) {
            self.actors.pulls.note_changed(&live).await;
        }
    }
}

impl Deref for HttpState {
    type Target = HttpContext;
    fn deref(&self) -> &HttpContext {
        &self.0
    }
}

impl HttpContext {
    /// Cancelled when the node begins to stop: `/readyz` says so, and whoever holds a request answers it.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }
}
