//! A live stream as the API shows it.
use serde::Serialize;

use crate::actors::lives::{IngestStats, Watched};
use crate::domain::ids::{ChannelId, LiveId, VideoId};
use crate::domain::live::{LadderChoice, LatencyMode, Live, LiveState, Passphrase};
use crate::domain::time::Timestamp;
use crate::domain::video::Privacy;
use crate::http::auth::Viewer;
use crate::http::delivery::StreamFormat;
use crate::http::problem::Problem;
use crate::http::request_info::RequestInfo;
use crate::http::state::HttpState;
use crate::http::videos::memory::Author;

/// What clients assume when a URL names no port.
const RTMP_PORT: u16 = 1935;
/// The same for RTMPS.
const RTMPS_PORT: u16 = 443;

/// A live stream's record. The key, where to publish and how that goes are its owner's business.
#[derive(Debug, Serialize)]
pub(super) struct LiveView {
    id: LiveId,
    channel_id: ChannelId,
    title: String,
    description: String,
    category: Option<String>,
    tags: Vec<String>,
    privacy: Privacy,
    state: LiveState,
    latency: LatencyMode,
    /// How far back viewers can go, seconds.
    dvr_window: u64,
    permanent: bool,
    ladder: LadderChoice,
    /// Players that fetched something of it lately.
    viewers: u64,
    /// A picture of what is live now.
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail: Option<String>,
    /// Where to get the picture that is shown while the publisher is away.
    slate: Option<String>,
    /// Whether a broadcast becomes a video when it ends.
    archive: bool,
    /// The video of the last broadcast.
    video_id: Option<VideoId>,
    user: Option<Author>,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    playback: Playback,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    srt_passphrase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ingest: Option<Ingest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ingest_stats: Option<IngestStats>,
    /// The server that it is fetched from; how that goes is told at `/live/{id}/pull`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pull: Option<Pulled>,
}

/// A server that a stream is fetched from.
#[derive(Debug, Serialize)]
struct Pulled {
    /// Without what may be a secret.
    url: String,
    enabled: bool,
}

#[derive(Debug, Serialize)]
struct Playback {
    hls: String,
    dash: String,
    /// As players take it that read a transport stream by SRT.
    srt: String,
    /// By WHEP, at less than a second.
    whep: String,
    /// Whether DASH players get segments while they are made: when segments are alike, and stay so, which those of publishers by WHIP
    /// do not, whose key frames come when they are asked for.
    low_latency_dash: bool,
}

/// Where to publish: complete URLs that work as they are.
#[derive(Debug, Serialize)]
struct Ingest {
    rtmp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtmps: Option<String>,
    srt: String,
    /// By WHIP, the key being part of it.
    whip: String,
}

/// The server by the name that it was asked by.
fn host(state: &HttpState, info: &RequestInfo) -> String {
    let base = info.base_url(&state.settings).parse::<http::Uri>().ok();
    base.as_ref().and_then(http::Uri::host).unwrap_or("localhost").to_owned()
}

impl Ingest {
    fn of(state: &HttpState, (base, host): (&str, &str), (key, passphrase): (&str, Option<&Passphrase>)) -> Self {
        let url = |scheme: &str, default: u16, port: u16| match port == default {
            true => format!("{scheme}://{host}/live/{key}"),
            false => format!("{scheme}://{host}:{port}/live/{key}"),
        };
        Self {
            rtmp: url("rtmp", RTMP_PORT, state.ingest_ports.rtmp),
            rtmps: state.ingest_ports.rtmps.map(|port| url("rtmps", RTMPS_PORT, port)),
            srt: srt_url((host, state.ingest_ports.srt), &format!("publish:{key}&pkt_size=1316"), passphrase),
            whip: format!("{base}/api/v1/whip/{key}"),
        }
    }
}

/// As ffmpeg and others take it. A passphrase that URLs cannot carry as it is has to be given by itself.
fn srt_url((host, port): (&str, u16), stream_id: &str, passphrase: Option<&Passphrase>) -> String {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let secret = passphrase.map(Passphrase::as_str).filter(|text| is_plain(text));
    let secret = secret.map(|text| format!("&passphrase={text}")).unwrap_or_default();
    format!("srt://{host}:{port}?streamid={stream_id}{secret}")
}

fn slate_url(state: &HttpState, info: &RequestInfo, live: &Live) -> String {
    format!("{}/api/v1/live/{}/slate", info.base_url(&state.settings), live.id)
}

impl LiveView {
    /// As this viewer may see it.
    pub(super) async fn of(
        state: &HttpState,
        (info, viewer): (&RequestInfo, Option<&Viewer>),
        live: &Live,
    ) -> Result<Self, Problem> {
        let author = state.videos.author(&*state.ports.catalog, &live.user_id).await?;
        let watched = state.actors.lives.find(&live.playback_id);
        let host = host(state, info);
        let path = |format| format!("{}{}", info.media_url(&state.settings), state.delivery.live_path(live, format));
        let is_regular = |watched: &Watched| {
            watched.stream.look(|broadcast| broadcast.is_low_latency() && broadcast.periods().is_regular())
        };
        let playback = Playback {
            hls: path(StreamFormat::Hls),
            dash: path(StreamFormat::Dash),
            srt: srt_url((&host, state.ingest_ports.srt), &state.delivery.srt_stream_id(live), None),
            whep: format!("{}{}", info.base_url(&state.settings), state.delivery.whep_path(live)),
            low_latency_dash: watched.as_ref().is_some_and(is_regular),
        };
        let mut view = Self {
            id: live.id.clone(),
            channel_id: live.channel_id.clone(),
            title: live.details.title.clone(),
            description: live.details.description.clone(),
            category: live.details.category.clone(),
            tags: live.details.tags.clone(),
            privacy: live.details.privacy,
            state: live.state,
            latency: live.choices.latency,
            dvr_window: live.choices.window_ms / 1000,
            permanent: live.choices.permanent,
            ladder: live.choices.ladder,
            viewers: watched.as_ref().map_or(0, |watched| watched.viewers.count()),
            thumbnail: watched
                .filter(|watched| watched.picture.get().is_some())
                .map(|_| format!("{}{}", info.media_url(&state.settings), state.delivery.live_picture_path(live))),
            slate: live.slate.as_ref().map(|_| slate_url(state, info, live)),
            archive: live.choices.archive,
            video_id: live.video_id.clone(),
            user: author.map(|author| (*author).clone()),
            created_at: live.created_at,
            started_at: live.started_at,
            ended_at: live.ended_at,
            playback,
            stream_key: None,
            srt_passphrase: None,
            ingest: None,
            ingest_stats: None,
            pull: None,
        };
        if viewer.is_some_and(|viewer| viewer.user_id == live.user_id) {
            let keys = state.actors.lives.keys();
            let key = keys.open(&live.key);
            let passphrase = live.passphrase.as_ref().and_then(|sealed| keys.open_passphrase(sealed));
            let base = info.base_url(&state.settings);
            view.ingest =
                key.as_ref().map(|key| Ingest::of(state, (&base, &host), (key.as_str(), passphrase.as_ref())));
            let stream_id = state.delivery.srt_stream_id(live);
            view.playback.srt = srt_url((&host, state.ingest_ports.srt), &stream_id, passphrase.as_ref());
            view.srt_passphrase = passphrase.map(|passphrase| passphrase.as_str().to_owned());
            view.stream_key = key.map(|key| key.as_str().to_owned());
            view.ingest_stats = state.actors.lives.stats(&live.id).await?;
            let pulled = live.pull.as_ref();
            view.pull = pulled.map(|pull| Pulled { url: pull.shown.clone(), enabled: pull.enabled });
        }
        Ok(view)
    }
}
