//! Typed settings: `config/playhouse.toml`, environment variables `PLAYHOUSE_SECTION__KEY`, then command-line flags, later
//! ones winning. Unknown keys are refused; sizes and durations have units (`4 GiB`, `30 s`).
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::ladder::{Av1Policy, LadderSettings};
use crate::domain::upload::UploadLimits;
use crate::protocols::webrtc::wire::links::IceServer;

/// A duration written with its unit, e.g. `30s`, `15m`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
    const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty = $default:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type),+ }
        impl Default for $name {
            fn default() -> Self { Self { $($field: $default),+ } }
        }
    };
}

mod catalog;
mod cluster;

pub use catalog::CatalogSettings;
pub use cluster::{BlobSettings, CdnSettings, ClusterSettings, EdgeSettings, OriginalsThen};

section!(
    /// The node as a whole.
    ServerSettings {
        /// Where everything is kept.
        data_dir: PathBuf = "data".into(),
        /// What every generated URL starts with; empty: the address the request came to.
        public_url: String = String::new(),
        /// How long a stopping node waits for requests under way.
        drain_timeout: HumanDuration = HumanDuration::secs(20),
        /// How long a stopping node answers `/readyz` with 503 before it closes its listeners, so that balancers notice.
        drain_delay: HumanDuration = HumanDuration::secs(0),
    }
);

section!(
    /// The HTTP listener.
    HttpSettings {
        /// Address to listen on.
        address: IpAddr = IpAddr::from([0, 0, 0, 0]),
        /// Port to listen on.
        port: u16 = 8080,
        /// Port for HTTPS, unless there is no TLS.
        https_port: u16 = 8443,
        /// Most connections at once, to each of the ports; further ones wait in the kernel's queue, those by SRT are left out.
        connections_max: usize = 10_000,
        /// Time a client has to send a request's head; also how long an HTTP/1.1 connection may be idle between two.
        header_timeout: HumanDuration = HumanDuration::secs(15),
        /// Largest request head, in HTTP/2 the size of its header list.
        header_bytes_max: ByteSize = ByteSize::kib(64),
        /// Requests of one HTTP/2 connection at once.
        http2_streams_max: u32 = 128,
        /// Time after which a silent HTTP/2 connection is asked whether it lives; it has as long to say so.
        http2_ping: HumanDuration = HumanDuration::secs(20),
        /// Largest JSON body.
        json_bytes_max: ByteSize = ByteSize::mib(1),
        /// Time without a byte after which a request body is given up, and a client that takes nothing of its answers.
        body_stall_timeout: HumanDuration = HumanDuration::secs(60),
        /// Addresses or networks (CIDR) whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
        trusted_proxies: Vec<String> = Vec::new(),
        /// Whether connections of those begin with a header of the PROXY protocol, as HAProxy's `send-proxy` makes it.
        proxy_protocol: bool = false,
        /// Origins whose pages may use the API from scripts, e.g. `https://example.org`. Media are open to every page.
        cors_origins: Vec<String> = Vec::new(),
        /// Whether the cookie of browser sessions carries `Secure` (set it when the site is reached over HTTPS).
        secure_cookies: bool = false,
    }
);

/// Where the certificate of HTTPS and RTMPS comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// There is none, and nothing is served over TLS.
    Off,
    /// Made by the server.
    SelfSigned,
    /// Files of the operator.
    Files,
    /// A certificate authority, by ACME.
    Acme,
}

section!(
    /// TLS, for HTTPS and RTMPS.
    TlsSettings {
        /// Where the certificate comes from.
        mode: TlsMode = TlsMode::SelfSigned,
        /// Certificate chain in PEM, with `files`.
        certificate: PathBuf = PathBuf::new(),
        /// Its key in PEM, with `files`.
        key: PathBuf = PathBuf::new(),
        /// Domains to get a certificate for, with `acme`.
        acme_domains: Vec<String> = Vec::new(),
        /// How the authority may reach the operator, as URLs (`mailto:`).
        acme_contact: Vec<String> = Vec::new(),
        /// The authority's directory.
        acme_directory: String = "https://acme-v02.api.letsencrypt.org/directory".into(),
        /// Whether the operator agrees to the authority's terms of service.
        acme_terms_accepted: bool = false,
        /// Certificate, in PEM, that vouches for the authority's own server; empty: those that this machine trusts.
        acme_authority_roots: PathBuf = PathBuf::new(),
        /// Time between looks at files that may have changed and certificates that may run out.
        check_interval: HumanDuration = HumanDuration::secs(10),
        /// How long browsers are to ask for this site over HTTPS only (HSTS), when its public URL says HTTPS. 0: not said.
        hsts_max_age: HumanDuration = HumanDuration::secs(180 * 24 * 3600),
    }
);

section!(
    /// Logs.
    LogSettings {
        /// What is logged, in the form of `tracing`'s `EnvFilter`, e.g. `info,playhouse=debug`.
        filter: String = "info".into(),
        /// One JSON object a line instead of text.
        json: bool = false,
    }
);

section!(
    /// Accounts and sign-ins.
    AccountSettings {
        /// Whether anyone may register.
        registration_open: bool = true,
        /// Life of an access token.
        access_token_ttl: HumanDuration = HumanDuration::secs(15 * 60),
        /// Life of a sign-in without use.
        refresh_token_ttl: HumanDuration = HumanDuration::secs(30 * 24 * 3600),
        /// Password hashes computed at once; further sign-ins wait. Each takes 19 MiB and a core.
        hashes_at_once: usize = 2,
    }
);

section!(
    /// Request limits, per address unless said otherwise, as tokens that refill evenly over a minute.
    RateSettings {
        /// Requests to the API per minute and address. 0, here and below: no limit.
        api_per_minute: u32 = 600,
        /// Sign-in attempts per minute and address.
        login_per_minute_per_address: u32 = 20,
        /// Sign-in attempts per minute and account, whatever the address.
        login_per_minute_per_account: u32 = 10,
        /// Registrations per minute and address.
        register_per_minute: u32 = 10,
        /// Uploads created per minute and account.
        uploads_per_minute_per_account: u32 = 60,
        /// Addresses and accounts remembered at most; beyond that the longest unseen are forgotten.
        keys_max: u64 = 100_000,
    }
);

section!(
    /// Uploads.
    UploadSettings {
        /// Largest file.
        size_max: ByteSize = ByteSize::gib(4),
        /// Bytes one account may have stored and in flight.
        quota_per_user: ByteSize = ByteSize::gib(100),
        /// Unfinished uploads one account may have.
        open_per_user_max: u32 = 100,
        /// Chunk size told to clients of `initiate`.
        chunk_size: ByteSize = ByteSize::mib(5),
        /// Largest chunk accepted in one request of the chunk API.
        chunk_size_max: ByteSize = ByteSize::mib(200),
        /// How long an unfinished upload is kept after its last byte.
        expiry: HumanDuration = HumanDuration::secs(24 * 3600),
        /// A writer that brought no byte for this long is dead: a second one pre-empts it.
        writer_stall: HumanDuration = HumanDuration::millis(2000),
        /// Free space to leave on the disk.
        disk_reserve: ByteSize = ByteSize::mib(512),
        /// Largest picture that an owner may upload for a video.
        picture_size_max: ByteSize = ByteSize::mib(20),
        /// Most partial uploads in one concatenation.
        concatenation_parts_max: u32 = 1000,
        /// Most upload sessions in memory at once.
        sessions_max: usize = 10_000,
        /// An upload session without requests leaves memory after this long; its bytes stay.
        session_idle: HumanDuration = HumanDuration::secs(120),
    }
);

impl UploadSettings {
    /// As upload sessions want them.
    pub fn limits(&self) -> UploadLimits {
        UploadLimits {
            size_bytes_max: self.size_max.as_u64(),
            quota_bytes_per_user: self.quota_per_user.as_u64(),
            chunk_bytes: self.chunk_size.as_u64(),
            chunk_bytes_max: self.chunk_size_max.as_u64(),
            expiry_secs: self.expiry.0.as_secs(),
            writer_stall_ms: u64::try_from(self.writer_stall.0.as_millis()).unwrap_or(u64::MAX),
            disk_reserve_bytes: self.disk_reserve.as_u64(),
            open_per_user_max: self.open_per_user_max,
            concatenation_parts_max: self.concatenation_parts_max,
        }
    }
}

section!(
    /// Inspection and packaging.
    MediaSettings {
        /// Aimed-at segment duration of stored video.
        segment_duration: HumanDuration = HumanDuration::secs(4),
        /// Longest GOP of standard input; also the longest segment.
        gop_duration_max: HumanDuration = HumanDuration::secs(10),
        /// Highest bit rate of standard input, bits per second.
        bit_rate_max: u64 = 50_000_000,
        /// Largest `moov` box read.
        moov_size_max: ByteSize = ByteSize::mib(256),
        /// Memory for finished segments, shared by all viewers.
        segment_cache: ByteSize = ByteSize::mib(96),
        /// Memory for asset indexes.
        asset_cache: ByteSize = ByteSize::mib(32),
    }
);

section!(
    /// Worker processes, which do all decoding of outside bytes.
    WorkerSettings {
        /// Processes at once; 0: one per core.
        processes: usize = 0,
        /// Nice level of a worker.
        nice: i32 = 10,
        /// Address space of a worker.
        address_space_max: ByteSize = ByteSize::gib(8),
        /// A task without a sign of progress for this long is ended with its worker.
        watchdog: HumanDuration = HumanDuration::secs(30),
        /// Attempts at a task before it fails its video.
        attempts_max: u32 = 2,
    }
);

impl WorkerSettings {
    /// Processes at once, on this machine.
    pub fn processes(&self) -> usize {
        match self.processes {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            processes => processes,
        }
    }
}

section!(
    /// Ladders: what is made of a video besides the source as it came.
    TranscodeSettings {
        /// Short sides of renditions, pixels; never above the source.
        rungs: Vec<u32> = vec![144, 240, 360, 480, 720, 1080, 1440, 2160],
        /// Aimed-at length of the chunks in which renditions are encoded.
        chunk_duration: HumanDuration = HumanDuration::secs(8),
        /// Encoder of H.264: `auto` or a name.
        encoder: String = "auto".into(),
        /// Constant quality of H.264 (CRF).
        quality: u8 = 23,
        /// Speed preset of H.264.
        preset: String = "veryfast".into(),
        /// Which videos get an AV1 rendition.
        av1: Av1Policy = Av1Policy::OnRequest,
        /// Quantizer of AV1.
        av1_quality: u8 = 110,
        /// Speed preset of AV1.
        av1_preset: String = "10".into(),
        /// Pictures per second above which some are left out.
        frame_rate_max: u32 = 60,
        /// Longest wait of a viewer for a part that is not encoded yet.
        make_wait: HumanDuration = HumanDuration::secs(20),
    }
);

impl TranscodeSettings {
    /// As plans want them.
    pub fn ladder(&self) -> LadderSettings {
        LadderSettings {
            short_sides: self.rungs.clone(),
            chunk_ms: u32::try_from(self.chunk_duration.0.as_millis()).unwrap_or(u32::MAX),
            quality: self.quality,
            preset: self.preset.clone(),
            av1_quality: self.av1_quality,
            av1_preset: self.av1_preset.clone(),
            frame_rate_max: self.frame_rate_max,
        }
    }
}

section!(
    /// Watching.
    PlaybackSettings {
        /// A session without a heartbeat or request for this long has ended.
        session_idle: HumanDuration = HumanDuration::secs(60),
        /// Most sessions in memory at once; beyond that videos play without one.
        sessions_max: usize = 100_000,
        /// Watched time after which a session counts as a view (or the whole video, when shorter).
        view_after: HumanDuration = HumanDuration::secs(1),
        /// Life of the token in links to private and unlisted media.
        token_ttl: HumanDuration = HumanDuration::secs(6 * 3600),
        /// `max-age` of stored manifests.
        manifest_max_age: HumanDuration = HumanDuration::secs(60),
    }
);

section!(
    /// Live streams.
    LiveSettings {
        /// Address on which publishers are taken in by RTMP.
        rtmp_address: IpAddr = IpAddr::from([0, 0, 0, 0]),
        /// Port of it.
        rtmp_port: u16 = 1935,
        /// Port for RTMPS at the same address, unless there is no TLS.
        rtmps_port: u16 = 1936,
        /// Address on which publishers are taken in by SRT.
        srt_address: IpAddr = IpAddr::from([0, 0, 0, 0]),
        /// UDP port of it.
        srt_port: u16 = 8890,
        /// How long SRT holds what comes at least, so that what is lost can be sent again; publishers may ask for more.
        srt_latency: HumanDuration = HumanDuration::millis(120),
        /// Address on which media come and go by WebRTC.
        webrtc_address: IpAddr = IpAddr::from([0, 0, 0, 0]),
        /// Port of it, by UDP and TCP, for all sessions.
        webrtc_port: u16 = 8189,
        /// Addresses by which clients reach that port; empty: those of this machine, or `webrtc_address`.
        webrtc_public_addresses: Vec<IpAddr> = Vec::new(),
        /// How long what is lost is waited for, so that it can be sent again.
        webrtc_latency: HumanDuration = HumanDuration::millis(300),
        /// STUN and TURN servers that clients are told of: `stun:host:port`, `turn:user:password@host:port?transport=udp`.
        webrtc_ice_servers: Vec<String> = Vec::new(),
        /// Most viewers by WHEP at once.
        webrtc_viewers_max: usize = 2000,
        /// A publisher that sends nothing for this long is hung up on; the broadcast then waits for its return.
        idle_timeout: HumanDuration = HumanDuration::secs(20),
        /// Most publishers' connections at once, to each of the ports; further ones wait in the kernel's queue, those by SRT are left out.
        connections_max: usize = 1000,
        /// Other servers that a stream may be pushed to at most.
        pushes_max: usize = 5,
        /// Whether streams may be pushed to this machine and others of its network; else to the public internet alone.
        push_to_private: bool = false,
        /// Whether streams may be fetched from this machine and others of its network; else from the public internet alone.
        pull_from_private: bool = false,
        /// Whether sound that not every player knows (Opus, MP3, AC-3) is made AAC as well, of streams with a ladder.
        aac_sibling: bool = true,
        /// How long a broadcast waits for its publisher's return before it ends.
        reconnect_grace: HumanDuration = HumanDuration::secs(30),
        /// How far back viewers can go unless the stream's owner chooses otherwise.
        window: HumanDuration = HumanDuration::secs(1800),
        /// How far an owner may let them go.
        window_max: HumanDuration = HumanDuration::secs(12 * 3600),
        /// How much of a recorded stream's window is kept in memory; the rest is read from its recording.
        memory_window: HumanDuration = HumanDuration::secs(120),
        /// How far viewers can go back in a stream that is not recorded, whatever its owner chooses: all of it is kept in
        /// memory.
        unrecorded_window_max: HumanDuration = HumanDuration::secs(900),
        /// Encoding of stored videos stands still while live streams are on and the node's clock rings later than this.
        lateness_max: HumanDuration = HumanDuration::millis(200),
        /// Short sides of the rungs that streams with `"ladder": "full"` get beside their source, pixels; those below it.
        rungs: Vec<u32> = vec![720, 480, 240],
        /// Speed preset of x264 for them.
        preset: String = "veryfast".into(),
        /// How far rungs may be behind their source before they have gaps, and the largest one is given up.
        rung_lag_max: HumanDuration = HumanDuration::secs(2),
        /// Time between pictures of a stream, each one key frame decoded.
        thumbnail_interval: HumanDuration = HumanDuration::secs(30),
        /// How long a broadcast that has ended can still be watched to its end.
        linger: HumanDuration = HumanDuration::secs(300),
    }
);

section!(
    /// Clean-up.
    JanitorSettings {
        /// Time between rounds.
        interval: HumanDuration = HumanDuration::secs(60),
        /// Files that nothing refers to are deleted when they are older than this.
        orphan_age: HumanDuration = HumanDuration::secs(3600),
        /// Time between searches for such files.
        orphan_interval: HumanDuration = HumanDuration::secs(6 * 3600),
    }
);

/// Shortest `live.memory_window`: twice the length of a span.
const MEMORY_WINDOW_MIN: Duration = Duration::from_secs(60);

/// Longest `live.srt_latency`: the protocol has 16 bits of milliseconds.
const SRT_LATENCY_MAX: Duration = Duration::from_secs(30);

/// Longest `live.webrtc_latency`: what is waited for longer is of no use to anybody.
const WEBRTC_LATENCY_MAX: Duration = Duration::from_secs(5);

/// All settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The node as a whole.
    pub server: ServerSettings,
    /// The catalog.
    pub catalog: CatalogSettings,
    /// The HTTP listener.
    pub http: HttpSettings,
    /// TLS.
    pub tls: TlsSettings,
    /// Logs.
    pub log: LogSettings,
    /// Accounts and sign-ins.
    pub accounts: AccountSettings,
    /// Request limits.
    pub rates: RateSettings,
    /// Uploads.
    pub uploads: UploadSettings,
    /// Inspection and packaging.
    pub media: MediaSettings,
    /// Worker processes.
    pub workers: WorkerSettings,
    /// Ladders.
    pub transcode: TranscodeSettings,
    /// Watching.
    pub playback: PlaybackSettings,
    /// Live streams.
    pub live: LiveSettings,
    /// Clean-up.
    pub janitor: JanitorSettings,
    /// Blobs.
    pub blobs: BlobSettings,
    /// Several servers as one.
    pub cluster: ClusterSettings,
    /// What is kept near of blobs in buckets.
    pub edge: EdgeSettings,
    /// An outside CDN before the media.
    pub cdn: CdnSettings,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file named on the command line is not there.
    #[error("no settings file at {}", .0.display())]
    NoFile(PathBuf),
    /// A key is unknown or a value has the wrong form; the message names both.
    #[error("{0}")]
    Invalid(Box<figment::Error>),
    /// Values that do not fit together or are out of range.
    #[error("{key}: {message}")]
    OutOfRange {
        /// The key, with its section.
        key: &'static str,
        /// What is allowed.
        message: String,
    },
}

impl Settings {
    /// Merges defaults, the files in order and the environment, and checks the result.
    pub fn load<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<Self, SettingsError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        for file in files {
            if !file.is_file() {
                return Err(SettingsError::NoFile(file.to_owned()));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment = Env::prefixed("PLAYHOUSE_").filter(|key| key.as_str().contains("__")).split("__");
        let settings: Self =
            figment.merge(environment).extract().map_err(|error| SettingsError::Invalid(Box::new(error)))?;
        settings.validate()?;
        Ok(settings)
    }

    /// Checks what types cannot.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let refuse = |key, message: &str| Err(SettingsError::OutOfRange { key, message: message.to_owned() });
        let url = &self.server.public_url;
        if !(url.is_empty() || url.starts_with("http://") || url.starts_with("https://")) {
            return refuse("server.public_url", "must be empty or start with http:// or https://");
        }
        let has_no_files = self.tls.certificate.as_os_str().is_empty() || self.tls.key.as_os_str().is_empty();
        if self.tls.mode == TlsMode::Files && has_no_files {
            return refuse("tls.mode", "files needs tls.certificate and tls.key");
        }
        if self.tls.mode == TlsMode::Acme {
            if self.tls.acme_domains.is_empty() || self.tls.acme_domains.iter().any(|domain| domain.contains('*')) {
                return refuse("tls.acme_domains", "must name at least one domain, without wildcards");
            }
            if !self.tls.acme_terms_accepted {
                return refuse("tls.acme_terms_accepted", "must be true once you have read the authority's terms");
            }
        }
        if self.tls.check_interval.0.is_zero() || self.http.http2_ping.0.is_zero() {
            return refuse("tls.check_interval", "and http.http2_ping must be above zero");
        }
        if self.http.http2_streams_max == 0 {
            return refuse("http.http2_streams_max", "must be at least 1");
        }
        if self.uploads.chunk_size.as_u64() == 0 || self.uploads.chunk_size > self.uploads.chunk_size_max {
            return refuse("uploads.chunk_size", "must be above zero and at most uploads.chunk_size_max");
        }
        if self.media.segment_duration.0.is_zero() || self.media.segment_duration.0 > self.media.gop_duration_max.0 {
            return refuse("media.segment_duration", "must be above zero and at most media.gop_duration_max");
        }
        if self.workers.attempts_max == 0 {
            return refuse("workers.attempts_max", "must be at least 1");
        }
        let rungs = &self.transcode.rungs;
        if rungs.is_empty() || rungs.iter().any(|side| !(16..=4320).contains(side) || side % 2 != 0) {
            return refuse("transcode.rungs", "must be even numbers from 16 to 4320, at least one");
        }
        if self.transcode.chunk_duration.0 < self.media.segment_duration.0 {
            return refuse("transcode.chunk_duration", "must be at least media.segment_duration");
        }
        if self.transcode.quality > 51 {
            return refuse("transcode.quality", "must be at most 51");
        }
        if self.transcode.frame_rate_max == 0 {
            return refuse("transcode.frame_rate_max", "must be at least 1");
        }
        if self.live.srt_latency.0 > SRT_LATENCY_MAX {
            return refuse("live.srt_latency", "must be at most 30s");
        }
        if self.live.webrtc_latency.0 > WEBRTC_LATENCY_MAX {
            return refuse("live.webrtc_latency", "must be at most 5s");
        }
        if let Some(server) = self.live.webrtc_ice_servers.iter().find(|server| IceServer::parse(server).is_none()) {
            return refuse("live.webrtc_ice_servers", &format!("{server:?} is no STUN or TURN server"));
        }
        if self.live.memory_window.0 < MEMORY_WINDOW_MIN {
            return refuse("live.memory_window", "must be at least 60s: what is newer is still being written");
        }
        self.catalog.validate()?;
        self.blobs.validate()?;
        self.cdn.validate()?;
        self.cluster.validate(!self.catalog.postgres.is_empty(), self.blobs.is_remote())?;
        if self.accounts.hashes_at_once == 0 {
            return refuse("accounts.hashes_at_once", "must be at least 1");
        }
        Ok(())
    }
}
