//! What the tests of this room share: a whole HTTP side on a loopback port, over real storage in a directory of its own.
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::pipeline::Pipeline;
use super::server::Server;
use super::state::{HttpActors, HttpPorts, HttpServices, HttpState, IngestPorts};
use crate::actors::janitor::JanitorHandle;
use crate::actors::live_keys::KeySealer;
use crate::actors::live_pull::{PullContext, PullsHandle};
use crate::actors::lives::{LadderConditions, Lives, LivesHandle, PushConditions, Streams};
use crate::actors::media_tokens::MediaTokens;
use crate::actors::node_root::{Branch, RootArguments, Tree};
use crate::actors::nodes::NodesHandle;
use crate::actors::playback::{Playback, PlaybackHandle};
use crate::actors::supervisor::SupervisorArguments;
use crate::actors::thumbnails::{Thumbnails, ThumbnailsHandle};
use crate::actors::transcode_job::{LadderDependencies, TranscodeDependencies};
use crate::actors::transcode_worker::{ProcessSettings, WorkerPoolHandle};
use crate::actors::transcodes::TranscodesHandle;
use crate::actors::uploads::{Uploads, UploadsHandle};
use crate::domain::asset::{Asset, AssetTrack, BlobKey, Extent, Segment, SegmentBytes, TrackKind, VideoProperties};
use crate::domain::cluster::{NodeLife, NodeName};
use crate::domain::ids::{PlaybackId, UploadId, UserId, VideoId};
use crate::domain::ladder::live::LiveLadderSettings;
use crate::domain::playback::machine::PlaybackLimits;
use crate::domain::ports::{Clock, Entropy, UploadQuota, VideoStep};
use crate::domain::restart::RestartPolicy;
use crate::domain::upload::{Concatenation, Upload, UploadProtocol, UploadState};
use crate::domain::video::{Privacy, Rendition, RenditionState, Thumbnail, ThumbnailMoment, Video, VideoDetails};
use crate::media::resolve::Resolver;
use crate::media::work::{MediaLimits, ProcessLimits};
use crate::protocols::webrtc::listener::{WebrtcContexts, WebrtcHandle, WebrtcListener};
use crate::protocols::webrtc::publishing::PublishContext;
use crate::protocols::webrtc::watching::WatchContext;
use crate::settings::Settings;
use crate::storage::{Embedded, EmbeddedOptions, Storage};
use crate::system::{SystemClock, SystemEntropy};

/// A password every test account has.
pub(super) const PASSWORD: &str = "correct horse battery";
/// Bytes of the only segment of test videos.
pub(super) const SEGMENT_BYTES: usize = 1000;

/// A running HTTP side.
pub(super) struct World {
    pub(super) state: HttpState,
    pub(super) storage: Storage,
    pub(super) client: reqwest::Client,
    pub(super) server: Server,
    _tree: Tree,
    dir: TempDir,
}

/// A signed-in account.
#[derive(Debug, Clone)]
pub(super) struct SignedIn {
    pub(super) user_id: UserId,
    pub(super) access: String,
    pub(super) refresh: String,
}

/// The only node there is.
pub(super) fn alone(storage: &Storage) -> NodesHandle {
    NodesHandle::alone(NodeLife { node: NodeName::alone(), epoch: 1 }, Arc::clone(&storage.catalog))
}

/// Work on videos, never started.
pub(super) fn idle_transcodes(settings: &Settings, storage: &Storage) -> TranscodesHandle {
    TranscodesHandle::new(Arc::new(TranscodeDependencies {
        catalog: Arc::clone(&storage.catalog),
        blobs: Arc::clone(&storage.blobs),
        assets: Arc::clone(&storage.assets),
        clock: Arc::new(SystemClock),
        door: None,
        nodes: alone(storage),
        workers: WorkerPoolHandle::default(),
        work_dir: storage.data_dir.work(),
        limits: MediaLimits {
            segment_duration: settings.media.segment_duration.0,
            gop_duration_max: settings.media.gop_duration_max.0,
            bit_rate_max: settings.media.bit_rate_max,
            moov_bytes_max: settings.media.moov_size_max.as_u64(),
        },
        attempts_max: settings.workers.attempts_max,
        ladder: LadderDependencies {
            settings: settings.transcode.ladder(),
            av1: settings.transcode.av1,
            encoder: settings.transcode.encoder.clone(),
            encoders: Arc::default(),
            lease: NodeLife { node: NodeName::alone(), epoch: 1 },
            in_flight_max: 1,
            make_wait: settings.transcode.make_wait.0,
        },
    }))
}

/// Live streams that nobody can publish to.
pub(super) async fn idle_lives(storage: &Storage) -> LivesHandle {
    let limits = ProcessLimits { nice: 0, address_space_bytes_max: 0 };
    let process =
        ProcessSettings { program: "none".into(), environment: Vec::new(), limits, watchdog: Duration::from_secs(1) };
    let ladder = LadderConditions {
        settings: LiveLadderSettings { short_sides: Vec::new(), preset: String::new() },
        process,
        lag_max: Duration::from_secs(1),
        frame_rate_max: 60,
    };
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    LivesHandle::new(Arc::new(Lives {
        nodes: alone(storage),
        tokens: Arc::new(MediaTokens::new(&[7; 32], Duration::from_secs(3600))),
        keys: KeySealer::load(&*storage.catalog, &entropy).await.unwrap(),
        ladder,
        catalog: storage.catalog.clone(),
        blobs: storage.blobs.clone(),
        assets: storage.assets.clone(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        recordings: storage.data_dir.recordings(),
        disk_reserve_bytes: 0,
        makes_aac: false,
        memory_window: Duration::from_secs(60),
        unrecorded_window_max: Duration::from_secs(60),
        workers: WorkerPoolHandle::default(),
        work_dir: storage.data_dir.work(),
        push: PushConditions { to_private: true, srt_latency: Duration::from_millis(120) },
        picture_interval: Duration::from_secs(60),
        grace: Duration::from_secs(1),
        linger: Duration::from_secs(1),
        relay_fan_out: 1,
        streams: Streams::default(),
    }))
}

/// Nothing is fetched from elsewhere.
pub(super) fn idle_pulls(storage: &Storage, lives: &LivesHandle) -> PullsHandle {
    PullsHandle::new(Arc::new(PullContext {
        nodes: alone(storage),
        lives: lives.clone(),
        catalog: storage.catalog.clone(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        from_private: false,
        srt_latency: Duration::from_millis(120),
        webrtc_latency: Duration::from_millis(300),
        silence_max: Duration::from_secs(20),
    }))
}

/// The port of WebRTC, on which nothing comes.
pub(super) async fn webrtc_of(lives: &LivesHandle) -> WebrtcHandle {
    let publish = PublishContext {
        gate: Arc::new(lives.clone()),
        clock: Arc::new(SystemClock),
        latency: Duration::from_millis(300),
        silence_max: Duration::from_secs(20),
    };
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let watch = WatchContext { audience: Arc::new(lives.clone()), clock: Arc::new(SystemClock) };
    let contexts = WebrtcContexts { publish, watch, sessions_max: (8, 4) };
    WebrtcListener::bind((address, &[]), contexts, Arc::new(SystemEntropy)).await.unwrap().handle()
}

impl World {
    /// With limits out of the way.
    pub(super) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// With other settings.
    pub(super) async fn start_with(adjust: impl FnOnce(&mut Settings)) -> Self {
        let dir = TempDir::new().unwrap();
        let settings = settings_in(dir.path(), adjust);
        let storage = Embedded::open(dir.path(), EmbeddedOptions::default()).await.unwrap();
        let (tree, playback) = grow(&storage).await;
        let lives = idle_lives(&storage).await;
        let actors = HttpActors {
            playback,
            root: tree.handle.clone(),
            janitor: JanitorHandle::default(),
            uploads: uploads_of(&settings, &storage),
            thumbnails: thumbnails_of(&storage, dir.path()),
            transcodes: idle_transcodes(&settings, &storage),
            nodes: alone(&storage),
            pulls: idle_pulls(&storage, &lives),
            lives,
        };
        let ports = HttpPorts {
            catalog: storage.catalog.clone(),
            assets: storage.assets.clone(),
            segments: Arc::new(Resolver::new(storage.blobs.clone(), 1 << 20)),
            blobs: storage.blobs.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        };
        let metrics = super::metrics::detached();
        let ingest_ports = IngestPorts { rtmp: 1935, rtmps: Some(1936), srt: 8890 };
        let webrtc = webrtc_of(&actors.lives).await;
        let services = HttpServices { settings: Arc::new(settings), ports, actors, metrics, ingest_ports, webrtc };
        let state = HttpState::open(services).await.unwrap();
        let pipeline = Pipeline::new(state.clone(), super::router(state.clone()));
        let server = Server::bind(state.clone(), pipeline, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { state, storage, client, server, _tree: tree, dir }
    }

    pub(super) fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    /// A request to the API.
    pub(super) fn api(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(&format!("/api/v1{path}")))
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    /// Registers an account.
    pub(super) async fn register(&self, username: &str) -> SignedIn {
        let body = json!({ "username": username, "email": format!("{username}@example.org"), "password": PASSWORD });
        let response = self.api(Method::POST, "/auth/register").json(&body).send().await.unwrap();
        assert_eq!(response.status(), 201);
        SignedIn::of(&response.json().await.unwrap())
    }

    /// Signs an account in once more.
    pub(super) async fn login(&self, username: &str, password: &str) -> Response {
        let body = json!({ "username": username, "password": password });
        self.api(Method::POST, "/auth/login").json(&body).send().await.unwrap()
    }

    pub(super) async fn refresh(&self, token: &str) -> Response {
        self.api(Method::POST, "/auth/refresh").json(&json!({ "refresh_token": token })).send().await.unwrap()
    }

    /// Who this token says one is: the status of `GET /users/me`.
    pub(super) async fn me(&self, access: &str) -> u16 {
        self.api(Method::GET, "/users/me").bearer_auth(access).send().await.unwrap().status().as_u16()
    }

    /// A video whose upload was created but not finished.
    pub(super) async fn uploading(&self, owner: &UserId, privacy: Privacy) -> Video {
        let (upload, playback_id) = new_upload(owner, privacy);
        let quota = UploadQuota { bytes: u64::MAX >> 1, open_uploads: 100 };
        let upload = self.storage.catalog.create_upload(upload, Some(playback_id), quota).await.unwrap();
        self.storage.catalog.video(&upload.video_id.unwrap()).await.unwrap().unwrap()
    }

    /// A video that can be watched: one track with one segment in a span, and one picture.
    pub(super) async fn playable(&self, owner: &UserId, privacy: Privacy) -> Video {
        let (upload, playback_id) = new_upload(owner, privacy);
        let quota = UploadQuota { bytes: u64::MAX >> 1, open_uploads: 100 };
        let catalog = &self.storage.catalog;
        let upload = catalog.create_upload(upload, Some(playback_id.clone()), quota).await.unwrap();
        let video_id = upload.video_id.clone().unwrap();
        let now = SystemClock.now();
        let original = self.put(&format!("raw-uploads/{}/0", upload.id), SEGMENT_BYTES).await;
        catalog.complete_upload(&upload.id, vec![original], now).await.unwrap();
        let span = self.put(&format!("vod-abr/{video_id}/1/span-0"), SEGMENT_BYTES).await;
        let asset = one_segment_asset(&video_id, playback_id, span.key.clone());
        let index = self.storage.assets.save_asset(&asset).await.unwrap();
        let published =
            VideoStep::Published { generation: 1, renditions: vec![one_rendition()], blobs: vec![index, span] };
        catalog.step_video(&video_id, published, now).await.unwrap();
        let picture = self.put(&format!("vod-abr/{video_id}/1/poster.jpg"), 10).await;
        let thumbnail = Thumbnail {
            name: "poster.jpg".into(),
            moment: ThumbnailMoment::Early,
            at_ms: 0,
            key: picture.key.clone(),
            content_type: "image/jpeg".into(),
            width: 320,
            height: 180,
        };
        let illustrated = VideoStep::Illustrated { thumbnails: vec![thumbnail], blobs: vec![picture] };
        catalog.step_video(&video_id, illustrated, now).await.unwrap();
        catalog.step_video(&video_id, VideoStep::Finished, now).await.unwrap()
    }

    async fn put(&self, key: &str, bytes: usize) -> Extent {
        let key = BlobKey::new(key);
        let content: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
        self.storage.blobs.put(&key, content.into()).await.unwrap();
        Extent { key, bytes: bytes as u64 }
    }
}

impl SignedIn {
    pub(super) fn of(reply: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            user_id: UserId::parse(&text(&reply["user"]["user_id"])).unwrap(),
            access: text(&reply["access_token"]),
            refresh: text(&reply["refresh_token"]),
        }
    }
}

fn settings_in(dir: &Path, adjust: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    settings.server.data_dir = dir.to_owned();
    settings.rates.api_per_minute = 0;
    settings.rates.login_per_minute_per_account = 0;
    settings.rates.login_per_minute_per_address = 0;
    settings.rates.register_per_minute = 0;
    adjust(&mut settings);
    settings
}

/// Nothing here uploads: the family behind it is not started.
fn uploads_of(settings: &Settings, storage: &Storage) -> UploadsHandle {
    UploadsHandle::new(Arc::new(Uploads {
        catalog: storage.catalog.clone(),
        store: storage.uploads.clone(),
        direct: None,
        blobs: storage.blobs.clone(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        limits: settings.uploads.limits(),
        session_idle: settings.uploads.session_idle.0,
        nodes: alone(storage),
        on_complete: Arc::new(|_| ()),
    }))
}

/// Nothing here decodes: the workers behind it are not started.
pub(super) fn thumbnails_of(storage: &Storage, dir: &Path) -> ThumbnailsHandle {
    ThumbnailsHandle::new(Thumbnails {
        catalog: storage.catalog.clone(),
        blobs: storage.blobs.clone(),
        assets: storage.assets.clone(),
        segments: Arc::new(Resolver::new(storage.blobs.clone(), 1 << 20)),
        workers: WorkerPoolHandle::default(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        work_dir: dir.to_owned(),
    })
}

async fn grow(storage: &Storage) -> (Tree, PlaybackHandle) {
    let playback = PlaybackHandle::new(Arc::new(Playback {
        nodes: alone(storage),
        catalog: storage.catalog.clone(),
        journal: storage.journal.clone(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        limits: PlaybackLimits { idle_ms: 60_000, view_after_ms: 1_000 },
    }));
    let (handle, family) = playback.family();
    let policy = RestartPolicy::default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let arguments = SupervisorArguments { family, policy: policy.clone(), children_max: 100, clock: clock.clone() };
    let branches = vec![Branch::family(handle, arguments)];
    let tree = Tree::grow(RootArguments { branches, policy, clock }).await.unwrap();
    (tree, playback)
}

fn new_upload(owner: &UserId, privacy: Privacy) -> (Upload, PlaybackId) {
    let now = SystemClock.now();
    let upload = Upload {
        id: UploadId::random(&SystemEntropy),
        user_id: owner.clone(),
        video_id: Some(VideoId::random(&SystemEntropy)),
        protocol: UploadProtocol::Tus,
        state: UploadState::Open,
        length: Some(SEGMENT_BYTES as u64),
        concatenation: Concatenation::None,
        details: VideoDetails {
            title: "A test".into(),
            description: String::new(),
            category: None,
            tags: Vec::new(),
            privacy,
        },
        file_name: None,
        file_type: None,
        expected_digest: None,
        raw_metadata: None,
        part_bytes: None,
        extents: Vec::new(),
        created_at: now,
        expires_at: now + std::time::Duration::from_secs(3600),
    };
    (upload, PlaybackId::random(&SystemEntropy))
}

fn one_segment_asset(video: &VideoId, playback_id: PlaybackId, span: BlobKey) -> Asset {
    let source = SegmentBytes::Span { span: 0, offset: 0, bytes: SEGMENT_BYTES as u32 };
    let track = AssetTrack {
        name: "v0-1".into(),
        kind: TrackKind::Video,
        codec: "avc1.64001f".into(),
        timescale: 90_000,
        video: Some(VideoProperties { width: 320, height: 180, rotation: 0, frame_rate: (25, 1) }),
        audio: None,
        init: Bytes::from_static(b"an initialisation segment"),
        reorder: 0,
        sample_table: None,
        spans: vec![span],
        segments: vec![Segment { start: 90_000, duration: 360_000, bytes: SEGMENT_BYTES as u32, source }],
        key_frames: Vec::new(),
    };
    Asset {
        video_id: video.clone(),
        playback_id,
        generation: 1,
        source: Vec::new(),
        tracks: vec![track],
        epochs: Vec::new(),
        chronicle: Default::default(),
    }
}

fn one_rendition() -> Rendition {
    Rendition {
        name: "v0-1".into(),
        kind: "video".into(),
        codec: "avc1.64001f".into(),
        rung: "source".into(),
        width: 320,
        height: 180,
        frame_rate_milli: 25_000,
        bandwidth: 2000,
        average_bandwidth: 2000,
        state: RenditionState::Ready,
    }
}
