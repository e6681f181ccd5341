//! A server with three accounts, and clients that speak to it by request or by raw bytes.
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytesize::ByteSize;
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::actors::janitor::JanitorHandle;
use crate::actors::node_root::{Branch, RootArguments, Tree};
use crate::actors::playback::{Playback, PlaybackHandle};
use crate::actors::supervisor::SupervisorArguments;
use crate::actors::uploads::{Uploads, UploadsHandle};
use crate::domain::account::{Email, Login, NewUser, Role, Username};
use crate::domain::ids::{ChannelId, LoginId, UploadId, UserId, VideoId};
use crate::domain::playback::machine::PlaybackLimits;
use crate::domain::ports::Clock;
use crate::domain::restart::RestartPolicy;
use crate::domain::video::Video;
use crate::http::pipeline::Pipeline;
use crate::http::router;
use crate::http::server::Server;
use crate::http::state::{HttpActors, HttpPorts, HttpServices, HttpState, IngestPorts};
use crate::media::resolve::Resolver;
use crate::settings::Settings;
use crate::storage::{Embedded, EmbeddedOptions, Storage};
use crate::system::{SystemClock, SystemEntropy};

pub(super) const SIZE_MAX: u64 = 4 * 1024 * 1024;
pub(super) const STALL: Duration = Duration::from_millis(400);

/// A running server.
pub(super) struct World {
    pub(super) storage: Storage,
    pub(super) completed: Arc<Mutex<Vec<VideoId>>>,
    pub(super) uploads: UploadsHandle,
    pub(super) base: String,
    address: SocketAddr,
    client: reqwest::Client,
    tokens: [String; 3],
    _tree: Tree,
    _server: Server,
    _dir: tempfile::TempDir,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(super) enum Who {
    /// A creator.
    Alice,
    /// Another creator.
    Bob,
    /// A viewer, who may not upload.
    Vera,
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.uploads.size_max = ByteSize::b(SIZE_MAX);
    settings.uploads.quota_per_user = ByteSize::b(3 * SIZE_MAX);
    settings.uploads.chunk_size = ByteSize::kib(64);
    settings.uploads.chunk_size_max = ByteSize::mib(2);
    settings.uploads.writer_stall.0 = STALL;
    settings.uploads.open_per_user_max = 8;
    settings.uploads.disk_reserve = ByteSize::b(0);
    settings.rates.uploads_per_minute_per_account = 0;
    settings
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(settings()).await
    }

    pub(super) async fn with_settings(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        Self::with(settings).await
    }

    async fn with(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Embedded::open(dir.path(), EmbeddedOptions::default()).await.unwrap();
        let completed: Arc<Mutex<Vec<VideoId>>> = Arc::default();
        let (uploads, tree) = start_uploads(&storage, &settings, Arc::clone(&completed)).await;
        let playback = Playback {
            nodes: crate::http::testing::alone(&storage),
            catalog: storage.catalog.clone(),
            journal: storage.journal.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            limits: PlaybackLimits { idle_ms: 1000, view_after_ms: 1000 },
        };
        let ports = HttpPorts {
            catalog: storage.catalog.clone(),
            assets: storage.assets.clone(),
            segments: Arc::new(Resolver::new(storage.blobs.clone(), 1024 * 1024)),
            blobs: storage.blobs.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        };
        let transcodes = crate::http::testing::idle_transcodes(&settings, &storage);
        let lives = crate::http::testing::idle_lives(&storage).await;
        let services = HttpServices {
            settings: Arc::new(settings),
            ports,
            actors: HttpActors {
                uploads: uploads.clone(),
                playback: PlaybackHandle::new(Arc::new(playback)),
                root: tree.handle.clone(),
                janitor: JanitorHandle::default(),
                thumbnails: crate::http::testing::thumbnails_of(&storage, dir.path()),
                transcodes,
                pulls: crate::http::testing::idle_pulls(&storage, &lives),
                lives: lives.clone(),
                nodes: crate::http::testing::alone(&storage),
            },
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            ingest_ports: IngestPorts { rtmp: 1935, rtmps: None, srt: 8890 },
            webrtc: crate::http::testing::webrtc_of(&lives).await,
        };
        let state = HttpState::open(services).await.unwrap();
        let tokens = [
            account(&state, "alice", Role::Creator).await,
            account(&state, "bob", Role::Creator).await,
            account(&state, "vera", Role::Viewer).await,
        ];
        let pipeline = Pipeline::new(state.clone(), router(state.clone()));
        let server = Server::bind(state, pipeline, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = server.address();
        let base = format!("http://{address}");
        let client = reqwest::Client::new();
        Self { storage, completed, uploads, base, address, client, tokens, _tree: tree, _server: server, _dir: dir }
    }

    pub(super) fn token(&self, who: Who) -> &str {
        &self.tokens[who as usize]
    }

    /// A request of this account; `path` below `/api/v1`, or a whole URL.
    pub(super) fn ask(&self, who: Who, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(self.token(who))
    }

    pub(super) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}/api/v1{path}", self.base) };
        self.client.request(method, url).timeout(Duration::from_secs(20))
    }

    pub(super) async fn video(&self, id: &str) -> Video {
        self.storage.catalog.video(&VideoId::parse(id).unwrap()).await.unwrap().expect("the video")
    }

    /// The bytes of a video's source.
    pub(super) async fn source(&self, id: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for extent in self.video(id).await.source {
            bytes.extend_from_slice(&self.storage.blobs.read_all(&extent.key).await.unwrap());
        }
        bytes
    }

    /// The durable bytes of the upload at this URL.
    pub(super) async fn durable(&self, url: &str) -> u64 {
        self.storage.uploads.offset(&id_of(url)).await.unwrap()
    }

    /// A connection of this account's that has sent the head of a request and nothing else.
    pub(super) async fn raw(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let (line, fields) = head.split_once('\n').unwrap_or((head, ""));
        let fields: String = fields.lines().map(|field| format!("{}\r\n", field.trim())).collect();
        let token = self.token(Who::Alice);
        let head =
            format!("{line} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n{fields}\r\n", self.address);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    /// The path of a URL of this server.
    pub(super) fn path<'a>(&self, url: &'a str) -> &'a str {
        url.strip_prefix(&self.base).expect("a URL of this server")
    }
}

async fn start_uploads(
    storage: &Storage,
    settings: &Settings,
    completed: Arc<Mutex<Vec<VideoId>>>,
) -> (UploadsHandle, Tree) {
    let context = Uploads {
        catalog: storage.catalog.clone(),
        store: storage.uploads.clone(),
        direct: None,
        blobs: storage.blobs.clone(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        limits: settings.uploads.limits(),
        session_idle: settings.uploads.session_idle.0,
        nodes: crate::http::testing::alone(storage),
        on_complete: Arc::new(move |video| completed.lock().unwrap().push(video)),
    };
    let uploads = UploadsHandle::new(Arc::new(context));
    let (handle, family) = uploads.family();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let policy = RestartPolicy::default();
    let arguments =
        SupervisorArguments { family, policy: policy.clone(), children_max: 1000, clock: Arc::clone(&clock) };
    let branches = vec![Branch::family(handle, arguments)];
    (uploads, Tree::grow(RootArguments { branches, policy, clock }).await.unwrap())
}

async fn account(state: &HttpState, name: &str, role: Role) -> String {
    let (catalog, now) = (&state.ports.catalog, SystemClock.now());
    let new = NewUser {
        id: UserId::random(&SystemEntropy),
        channel_id: ChannelId::random(&SystemEntropy),
        username: Username::parse(name).unwrap(),
        email: Email::parse(&format!("{name}@example.org")).unwrap(),
        password_hash: "x".into(),
        role,
    };
    let user = catalog.register(new, now).await.unwrap();
    let login = Login {
        id: LoginId::random(&SystemEntropy),
        user_id: user.id.clone(),
        refresh_hash: name.into(),
        previous_hash: None,
        is_browser: false,
        user_agent: String::new(),
        address: String::new(),
        created_at: now,
        used_at: now,
        expires_at: now + Duration::from_secs(3600),
        revoked_at: None,
    };
    catalog.open_login(login.clone()).await.unwrap();
    state.access_keys.issue((&user.id, role), &login.id, now, Duration::from_secs(3600)).unwrap()
}

/// The upload a URL names.
pub(super) fn id_of(url: &str) -> UploadId {
    UploadId::parse(url.rsplit('/').next().unwrap()).unwrap()
}

/// A header's value as text; empty when it is not there.
pub(super) fn field<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Checks the status and, for a refusal, the problem's code.
#[track_caller]
pub(super) fn expect(status: u16, response: &Response) {
    assert_eq!(response.status(), StatusCode::from_u16(status).unwrap(), "{:?}", response.headers());
}

/// The problem in a refusal.
pub(super) async fn problem(status: u16, response: Response) -> Value {
    expect(status, &response);
    assert_eq!(field(&response, "content-type"), "application/problem+json");
    response.json().await.unwrap()
}

/// So many bytes that are no known kind of file.
pub(super) fn film(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] | 0x80).collect()
}

/// Everything a server sends until it closes, or for a while.
pub(super) async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = async {
        let mut piece = [0; 4096];
        loop {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
            }
            if bytes.windows(4).any(|window| window == b"\r\n\r\n") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("an answer");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
