//! The composition root: builds a node from its settings, starts it in order, stops it in reverse.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use http::Uri;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

use crate::actors::dispatcher::{self, Listener};
use crate::actors::edges;
use crate::actors::janitor::{JanitorContext, JanitorHandle};
use crate::actors::limits::share;
use crate::actors::live_keys::KeySealer;
use crate::actors::live_priority::{self, PriorityContext};
use crate::actors::live_pull::{PullContext, PullsHandle};
use crate::actors::lives::{LadderConditions, Lives, LivesHandle, PushConditions, Streams};
use crate::actors::media_tokens::MediaTokens;
use crate::actors::node_root::{RootArguments, RootHandle, Tree};
use crate::actors::nodes::NodesHandle;
use crate::actors::playback::{Playback, PlaybackHandle};
use crate::actors::remote::Switchboard;
use crate::actors::thumbnails::{Thumbnails, ThumbnailsHandle};
use crate::actors::transcode_job::{LadderDependencies, TranscodeDependencies};
use crate::actors::transcode_peers;
use crate::actors::transcode_worker::{PoolSettings, ProcessSettings, WorkerPoolHandle};
use crate::actors::transcodes::TranscodesHandle;
use crate::actors::uploads::{Uploads, UploadsHandle};
use crate::cluster::wire::versions_up_to;
use crate::cluster::{Cluster, Inbound};
use crate::domain::events::Event;
use crate::domain::ids::VideoId;
use crate::domain::ladder::live::LiveLadderSettings;
use crate::domain::playback::machine::PlaybackLimits;
use crate::domain::ports::{BlobStore, Entropy};
use crate::domain::restart::RestartPolicy;
use crate::http::ensure_first_admin;
use crate::http::metrics as http_metrics;
use crate::http::pipeline::Pipeline;
use crate::http::server::Server;
use crate::http::state::{HttpPorts, HttpServices, HttpState};
use crate::media::door::BlobDoor;
use crate::media::edge::EdgeBlobs;
use crate::media::resolve::Resolver;
use crate::media::work::{MediaLimits, ProcessLimits};
use crate::settings::{HttpSettings, HumanDuration, Settings};
use crate::storage::Storage;
use crate::system::{SystemClock, SystemEntropy};
use crate::tls::Tls;

mod cdn;
mod cluster;
mod edge;
mod families;
mod listeners;
mod storage;

use cluster::Joined;
use edge::{deleted, open_edge};
use families::Families;
use listeners::MediaListeners;
use storage::open_storage;

/// Name of the file in the data directory that says which ports were bound.
const PORTS_FILE: &str = "ports.json";

/// Ports a node listens on.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ports {
    /// HTTP.
    pub http: u16,
    /// HTTPS, unless there is no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<u16>,
    /// RTMP.
    pub rtmp: u16,
    /// RTMPS, unless there is no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmps: Option<u16>,
    /// SRT, over UDP.
    pub srt: u16,
    /// Media of WebRTC, over UDP.
    pub webrtc: u16,
    /// Other nodes, over UDP, when this is one of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<u16>,
}

/// A running node.
pub struct Node {
    /// What was bound.
    pub ports: Ports,
    server: Server,
    media: MediaListeners,
    certificates: Option<AbortOnDropHandle<()>>,
    tree: Tree,
    families: Families,
    ports_file: PathBuf,
    storage: Storage,
    door: Option<BlobDoor>,
    nodes: NodesHandle,
    cluster: Option<Cluster>,
}

/// Runs a node until it is told to stop (SIGTERM, SIGINT) or cannot be kept up.
pub async fn serve(settings: Settings, ephemeral_ports: bool) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no handler for SIGINT")?;
    let mut node = Node::start(settings, ephemeral_ports).await?;
    let collapsed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = node.tree.collapsed() => true,
        () = node.nodes.displaced() => true,
    };
    tracing::info!("stopping");
    node.stop().await;
    anyhow::ensure!(!collapsed, "a part of the node failed again and again; the log says which");
    Ok(())
}

impl Node {
    /// Starts everything; on return the node answers.
    pub async fn start(settings: Settings, ephemeral_ports: bool) -> Result<Self> {
        let settings = Arc::new(settings);
        let metrics = http_metrics::install().context("metrics cannot be recorded")?;
        let storage = open_storage(&settings).await?;
        let switchboard = Switchboard::new(*versions_up_to(settings.cluster.protocol_max).end());
        let joining = cluster::join(&settings, (Arc::clone(&storage.catalog), &switchboard), ephemeral_ports);
        let Joined { nodes, cluster } = joining.await?;

        let workers = WorkerPoolHandle::default();
        let door = open_door(&settings, &storage)?;
        let dependencies = transcode_dependencies((&settings, &nodes), &storage, (workers.clone(), door.as_ref()));
        let dependencies = Arc::new(dependencies);
        let transcodes = TranscodesHandle::new(Arc::clone(&dependencies));
        let uploads = UploadsHandle::new(Arc::new(uploads_context((&settings, &nodes), &storage, transcodes.clone())));
        let playback = PlaybackHandle::new(Arc::new(playback_context((&settings, &nodes), &storage)));
        let lives = LivesHandle::new(Arc::new(lives_context((&settings, &nodes), &storage, workers.clone()).await?));
        let pulls = PullsHandle::new(Arc::new(pull_context((&settings, &nodes), &storage, lives.clone())));
        let tls = open_tls(&settings, &storage).await?;
        let media = MediaListeners::open(&settings, &lives, tls.as_ref(), ephemeral_ports).await?;
        let (root, janitor) = (RootHandle::default(), JanitorHandle::default());
        let edge = open_edge(&settings, &storage, &nodes).await?;
        let ports = http_ports(&settings, &storage, (&transcodes, edge.as_ref()));
        let families = Families { transcodes, uploads, playback, lives, pulls };
        let thumbnails = ThumbnailsHandle::new(thumbnails_context(&storage, &ports, workers.clone()));
        let actors = families.http_actors(thumbnails, (root.clone(), janitor.clone(), nodes.clone()));
        let services = HttpServices {
            settings: Arc::clone(&settings),
            ports,
            actors,
            metrics,
            ingest_ports: media.ingest_ports(),
            webrtc: media.webrtc.handle(),
        };
        let state = HttpState::open(services).await.context("the HTTP side cannot start")?;

        let resume_all = families.resume_work(nodes.is_cluster());
        let uploads = families.uploads.clone();
        let cleaned = janitor_context((&settings, &nodes), &storage, (uploads, Arc::clone(&resume_all)));
        let mut branches = vec![
            workers.branch(pool_settings(&settings)?),
            live_priority::branch(priority_context(&settings, (&families.lives, &workers))),
            dispatcher::branch(Arc::clone(&storage.catalog), listeners(&state, &families.transcodes, edge.as_ref())),
            janitor.branch(Arc::new(cleaned)),
        ];
        branches.extend(families.branches(&settings));
        let limits = state.limits();
        let arguments = RootArguments { branches, policy: RestartPolicy::default(), clock: Arc::new(SystemClock) };
        let tree = Tree::grow_behind(root, arguments).await.context("the supervisors cannot start")?;
        families.resume().await?;
        // Not before there is what was here: others would be told that it is not.
        switchboard.connect(families.extensions(Arc::clone(&limits)));
        introduce_admin(&storage, &settings.server.data_dir).await?;
        let pipeline = Pipeline::new(state.clone(), crate::http::router(state.clone()));
        let (mut server, https) = listen_http(&settings, (state, pipeline), tls.as_ref(), ephemeral_ports)?;
        let certificates = tls.map(|tls| AbortOnDropHandle::new(tokio::spawn(tls.keep())));

        let (cluster, inbound) = cluster.unzip();
        if let Some(inbound) = inbound {
            serve_peers(&mut server, inbound, (&families.lives, edge), (dependencies, settings.workers.processes()));
            tokio::spawn(share(nodes.clone(), limits));
            tokio::spawn(families.playback.clone().tell_fetched());
            tokio::spawn(cluster::let_go(nodes.clone(), families.clone(), Arc::clone(&resume_all)));
            tokio::spawn(cluster::take_up(nodes.clone(), settings.cluster.lease_term.0, resume_all));
        }
        let mut ports = media.ports((server.address().port(), https));
        ports.cluster = cluster.as_ref().map(|cluster: &Cluster| cluster.handle().peers().port());
        let ports_file = settings.server.data_dir.join(PORTS_FILE);
        write_ports(&ports_file, ports).context("cannot write which ports were bound")?;
        announce(&settings, server.address(), https);
        Ok(Self { ports, server, media, certificates, tree, families, ports_file, storage, door, nodes, cluster })
    }

    /// Stops in reverse: no new requests, the ones under way answered, sessions summed up, actors ended, storage closed.
    pub async fn stop(self) {
        let _ = std::fs::remove_file(&self.ports_file);
        self.nodes.drain().await;
        tokio::join!(self.families.let_go_of_lost(), self.server.stop());
        self.families.playback.close_all().await;
        self.tree.stop().await;
        self.media.stop().await;
        drop(self.certificates);
        self.nodes.leave().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
        drop((self.door, self.storage));
        tracing::info!("stopped");
    }
}

/// Serves what other nodes ask this one for.
fn serve_peers(
    server: &mut Server,
    inbound: Inbound,
    (lives, edge): (&LivesHandle, Option<EdgeBlobs>),
    (dependencies, workers): (Arc<TranscodeDependencies>, usize),
) {
    tokio::spawn(transcode_peers::serve(dependencies, workers, inbound.work));
    server.serve_peers(inbound.requests);
    tokio::spawn(lives.relays().clone().serve(inbound.relays));
    if let Some(edge) = edge {
        tokio::spawn(edges::serve(edge, inbound.fills));
    }
}

fn priority_context(settings: &Settings, (lives, workers): (&LivesHandle, &WorkerPoolHandle)) -> PriorityContext {
    PriorityContext { lives: lives.clone(), workers: workers.clone(), lateness_max: settings.live.lateness_max.0 }
}

/// Makes the first account and says its password.
async fn introduce_admin(storage: &Storage, data_dir: &Path) -> Result<()> {
    let made = ensure_first_admin(&*storage.catalog, (&SystemClock, &SystemEntropy), data_dir).await;
    if let Some(password) = made.context("the first account cannot be made")? {
        println!(
            "First start: sign in as admin with the password {password} and change it (kept in {} until then)",
            data_dir.join("first-run-admin.txt").display()
        );
    }
    Ok(())
}

/// Who hears of every change.
fn listeners(state: &HttpState, transcodes: &TranscodesHandle, edge: Option<&EdgeBlobs>) -> Vec<Listener> {
    let mut listeners = vec![listener(state.clone()), worker(transcodes.clone())];
    listeners.extend(edge.cloned().map(deleted));
    listeners.extend(cdn::purging(&state.settings.cdn, state.actors.nodes.clone()));
    listeners
}

/// What keeps things in memory hears of every change.
fn listener(state: HttpState) -> Listener {
    Arc::new(move |event| {
        let state = state.clone();
        Box::pin(async move { state.note_event(&event).await })
    })
}

/// Work on deleted videos ends at once, and that on recorded broadcasts begins.
fn worker(transcodes: TranscodesHandle) -> Listener {
    Arc::new(move |event: Event| {
        let transcodes = transcodes.clone();
        Box::pin(async move {
            let recorded = event.payload.get("video_id").and_then(|id| id.as_str()).and_then(|id| id.parse().ok());
            match (event.kind.as_str(), event.key.parse().ok(), recorded) {
                ("video.deleted", Some(video), _) => transcodes.forget(&video).await,
                // Whose job it is may be another node than the one that has taken it in.
                ("live.ended" | "upload.completed", _, Some(video)) => {
                    // One that finds no room is found by the janitor.
                    let _ = transcodes.start(video).await;
                }
                _ => {}
            }
        })
    })
}

fn listen_address((address, port): (IpAddr, u16), ephemeral_ports: bool) -> SocketAddr {
    match ephemeral_ports {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        false => SocketAddr::new(address, port),
    }
}

fn occupied(address: SocketAddr, setting: &str) -> String {
    format!("cannot listen on {address}; if another program uses that port, set {setting} or stop it")
}

/// Both HTTP listeners; the port of the one with TLS.
fn listen_http(
    settings: &Settings,
    (state, pipeline): (HttpState, Pipeline),
    tls: Option<&Tls>,
    ephemeral_ports: bool,
) -> Result<(Server, Option<u16>)> {
    // A port that was chosen stays.
    let is_free = ephemeral_ports && settings.http.port == HttpSettings::default().port;
    let address = listen_address((settings.http.address, settings.http.port), is_free);
    let mut server = Server::bind(state, pipeline, address).with_context(|| occupied(address, "http.port"))?;
    let Some(tls) = tls else { return Ok((server, None)) };
    let address = listen_address((settings.http.address, settings.http.https_port), ephemeral_ports);
    let bound = server.bind_secure(address, tls.https()?).with_context(|| occupied(address, "http.https_port"))?;
    Ok((server, Some(bound.port())))
}

/// The certificate, found or made.
async fn open_tls(settings: &Arc<Settings>, storage: &Storage) -> Result<Option<Tls>> {
    let (settings, dir) = (Arc::clone(settings), storage.data_dir.tls());
    let opened = tokio::task::spawn_blocking(move || {
        let public: Option<Uri> = settings.server.public_url.parse().ok();
        let host = public.as_ref().and_then(Uri::host);
        Tls::open(&settings.tls, (&dir, host), Arc::new(SystemClock))
    });
    opened.await?.context("there is no certificate for HTTPS and RTMPS; see the settings under [tls]")
}

/// Rungs that go on come before those that can wait.
fn live_process(settings: &Settings) -> Result<ProcessSettings> {
    let mut process = pool_settings(settings)?.process;
    process.limits.nice /= 2;
    Ok(process)
}

async fn lives_context(
    (settings, nodes): (&Settings, &NodesHandle),
    storage: &Storage,
    workers: WorkerPoolHandle,
) -> Result<Lives> {
    let ladder = LadderConditions {
        settings: LiveLadderSettings { short_sides: settings.live.rungs.clone(), preset: settings.live.preset.clone() },
        process: live_process(settings)?,
        lag_max: settings.live.rung_lag_max.0,
        frame_rate_max: settings.transcode.frame_rate_max,
    };
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let keys = KeySealer::load(&*storage.catalog, &entropy).await.context("stream keys cannot be read")?;
    let tokens = MediaTokens::load(&*storage.catalog, &entropy, settings.playback.token_ttl.0).await;
    let tokens = Arc::new(tokens.context("tokens of links cannot be read")?);
    Ok(Lives {
        nodes: nodes.clone(),
        keys,
        tokens,
        ladder,
        catalog: Arc::clone(&storage.catalog),
        blobs: Arc::clone(&storage.blobs),
        assets: Arc::clone(&storage.assets),
        clock: Arc::new(SystemClock),
        entropy,
        recordings: storage.data_dir.recordings(),
        disk_reserve_bytes: settings.uploads.disk_reserve.as_u64(),
        makes_aac: settings.live.aac_sibling,
        memory_window: settings.live.memory_window.0,
        unrecorded_window_max: settings.live.unrecorded_window_max.0,
        workers,
        work_dir: storage.data_dir.work(),
        push: PushConditions { to_private: settings.live.push_to_private, srt_latency: settings.live.srt_latency.0 },
        picture_interval: settings.live.thumbnail_interval.0,
        grace: settings.live.reconnect_grace.0,
        linger: settings.live.linger.0,
        relay_fan_out: settings.cluster.relay_fan_out,
        streams: Streams::default(),
    })
}

fn pull_context((settings, nodes): (&Settings, &NodesHandle), storage: &Storage, lives: LivesHandle) -> PullContext {
    PullContext {
        nodes: nodes.clone(),
        lives,
        catalog: Arc::clone(&storage.catalog),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        from_private: settings.live.pull_from_private,
        srt_latency: settings.live.srt_latency.0,
        webrtc_latency: settings.live.webrtc_latency.0,
        silence_max: settings.live.idle_timeout.0,
    }
}

/// Workers cannot read buckets by themselves.
fn open_door(settings: &Settings, storage: &Storage) -> Result<Option<BlobDoor>> {
    let opened = settings.blobs.is_remote().then(|| BlobDoor::open(Arc::clone(&storage.blobs)));
    opened.transpose().context("workers cannot be given blobs")
}

fn pool_settings(settings: &Settings) -> Result<PoolSettings> {
    let limits = ProcessLimits {
        nice: settings.workers.nice,
        address_space_bytes_max: settings.workers.address_space_max.as_u64(),
    };
    let process = ProcessSettings {
        program: std::env::current_exe().context("cannot tell where this program is")?,
        environment: Vec::new(),
        limits,
        watchdog: settings.workers.watchdog.0,
    };
    Ok(PoolSettings { processes: settings.workers.processes, process })
}

fn transcode_dependencies(
    (settings, nodes): (&Settings, &NodesHandle),
    storage: &Storage,
    (workers, door): (WorkerPoolHandle, Option<&BlobDoor>),
) -> TranscodeDependencies {
    TranscodeDependencies {
        catalog: Arc::clone(&storage.catalog),
        blobs: Arc::clone(&storage.blobs),
        assets: Arc::clone(&storage.assets),
        clock: Arc::new(SystemClock),
        nodes: nodes.clone(),
        door: door.map(BlobDoor::path),
        workers,
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
            lease: nodes.me().clone(),
            in_flight_max: settings.workers.processes() + 1,
            make_wait: settings.transcode.make_wait.0,
        },
    }
}

/// Starts the work on a video whose bytes are all here. One that finds no room is taken up by a later round.
fn start_work(transcodes: &TranscodesHandle, video_id: VideoId) {
    let transcodes = transcodes.clone();
    tokio::spawn(async move {
        if let Err(error) = transcodes.start(video_id.clone()).await {
            tracing::warn!(video.id = %video_id, %error, "work on a video starts later");
        }
    });
}

fn uploads_context(
    (settings, nodes): (&Settings, &NodesHandle),
    storage: &Storage,
    transcodes: TranscodesHandle,
) -> Uploads {
    Uploads {
        catalog: Arc::clone(&storage.catalog),
        store: Arc::clone(&storage.uploads),
        direct: self::storage::direct_uploads(&settings.blobs, storage),
        blobs: Arc::clone(&storage.blobs),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        limits: settings.uploads.limits(),
        session_idle: settings.uploads.session_idle.0,
        on_complete: Arc::new(move |video_id| start_work(&transcodes, video_id)),
        nodes: nodes.clone(),
    }
}

fn playback_context((settings, nodes): (&Settings, &NodesHandle), storage: &Storage) -> Playback {
    let limits = PlaybackLimits {
        idle_ms: millis(settings.playback.session_idle),
        view_after_ms: millis(settings.playback.view_after),
    };
    Playback {
        nodes: nodes.clone(),
        catalog: Arc::clone(&storage.catalog),
        journal: Arc::clone(&storage.journal),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        limits,
    }
}

fn janitor_context(
    (settings, nodes): (&Settings, &NodesHandle),
    storage: &Storage,
    (uploads, resume_work): (UploadsHandle, Arc<dyn Fn() + Send + Sync>),
) -> JanitorContext {
    JanitorContext {
        nodes: nodes.clone(),
        catalog: Arc::clone(&storage.catalog),
        blobs: Arc::clone(&storage.blobs),
        originals: self::storage::originals_policy(&settings.blobs, storage),
        uploads,
        resume_work,
        clock: Arc::new(SystemClock),
        interval: settings.janitor.interval.0,
        orphan_age: settings.janitor.orphan_age.0,
        orphan_interval: settings.janitor.orphan_interval.0,
    }
}

fn http_ports(
    settings: &Settings,
    storage: &Storage,
    (transcodes, edge): (&TranscodesHandle, Option<&EdgeBlobs>),
) -> HttpPorts {
    let blobs: Arc<dyn BlobStore> = match edge {
        Some(edge) => Arc::new(edge.clone()),
        None => Arc::clone(&storage.blobs),
    };
    // Of a disk, the next segments are as near as this one.
    let look_ahead = edge.map_or(0, |_| settings.edge.look_ahead);
    let resolver = Resolver::new(Arc::clone(&blobs), settings.media.segment_cache.as_u64())
        .with_maker(Arc::new(transcodes.clone()))
        .with_look_ahead(look_ahead);
    HttpPorts {
        catalog: Arc::clone(&storage.catalog),
        assets: Arc::clone(&storage.assets),
        segments: Arc::new(resolver),
        blobs,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    }
}

fn thumbnails_context(storage: &Storage, ports: &HttpPorts, workers: WorkerPoolHandle) -> Thumbnails {
    Thumbnails {
        catalog: Arc::clone(&storage.catalog),
        blobs: Arc::clone(&storage.blobs),
        assets: Arc::clone(&storage.assets),
        segments: Arc::clone(&ports.segments),
        workers,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        work_dir: storage.data_dir.work(),
    }
}

fn millis(duration: HumanDuration) -> u64 {
    u64::try_from(duration.0.as_millis()).unwrap_or(u64::MAX)
}

/// Written whole under another name first: whoever waits for the file never reads half of it.
fn write_ports(file: &Path, ports: Ports) -> Result<()> {
    let draft = file.with_extension("json.new");
    std::fs::write(&draft, serde_json::to_vec(&ports)?)?;
    std::fs::rename(&draft, file)?;
    Ok(())
}

/// Says on standard output where the node is to be found.
fn announce(settings: &Settings, address: SocketAddr, https: Option<u16>) {
    let host = if address.ip().is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() };
    let secure = https.map(|port| format!(" and https://{host}:{port}")).unwrap_or_default();
    let url = match settings.server.public_url.as_str() {
        "" => format!("http://{host}:{}{secure}", address.port()),
        public_url => public_url.to_owned(),
    };
    println!("Playhouse is ready at {url}");
}
