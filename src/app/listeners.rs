//! Where media come in, and go out by other protocols than HTTP.
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio_rustls::TlsAcceptor;

use super::{Ports, listen_address, occupied};
use crate::actors::lives::LivesHandle;
use crate::http::state::IngestPorts;
use crate::protocols::rtmp::listener::RtmpListener;
use crate::protocols::rtmp::server::RtmpContext;
use crate::protocols::rtmp::session::ServerConfig;
use crate::protocols::srt::listener::SrtListener;
use crate::protocols::srt::server::SrtContext;
use crate::protocols::webrtc::listener::{WebrtcContexts, WebrtcListener};
use crate::protocols::webrtc::publishing::PublishContext;
use crate::protocols::webrtc::watching::WatchContext;
use crate::settings::Settings;
use crate::system::{SystemClock, SystemEntropy};
use crate::tls::Tls;

/// Where media come in, and go out by other protocols than HTTP.
pub(super) struct MediaListeners {
    rtmp: RtmpListener,
    rtmps: Option<RtmpListener>,
    srt: SrtListener,
    pub(super) webrtc: WebrtcListener,
}

impl MediaListeners {
    pub(super) async fn open(
        settings: &Settings,
        lives: &LivesHandle,
        tls: Option<&Tls>,
        ephemeral_ports: bool,
    ) -> Result<Self> {
        Ok(Self {
            rtmp: listen_rtmp(settings, lives.clone(), None, ephemeral_ports).await?,
            rtmps: listen_rtmps(settings, lives.clone(), tls, ephemeral_ports).await?,
            srt: listen_srt(settings, lives.clone(), ephemeral_ports).await?,
            webrtc: listen_webrtc(settings, lives.clone(), ephemeral_ports).await?,
        })
    }

    pub(super) fn ingest_ports(&self) -> IngestPorts {
        IngestPorts {
            rtmp: self.rtmp.address().port(),
            rtmps: self.rtmps.as_ref().map(|rtmps| rtmps.address().port()),
            srt: self.srt.address().port(),
        }
    }

    /// All ports, with those of HTTP.
    pub(super) fn ports(&self, (http, https): (u16, Option<u16>)) -> Ports {
        let IngestPorts { rtmp, rtmps, srt } = self.ingest_ports();
        Ports { http, https, rtmp, rtmps, srt, webrtc: self.webrtc.address().port(), cluster: None }
    }

    pub(super) async fn stop(self) {
        self.rtmp.stop().await;
        if let Some(rtmps) = self.rtmps {
            rtmps.stop().await;
        }
        self.srt.stop().await;
        self.webrtc.stop().await;
    }
}

async fn listen_rtmp(
    settings: &Settings,
    lives: LivesHandle,
    tls: Option<TlsAcceptor>,
    ephemeral_ports: bool,
) -> Result<RtmpListener> {
    let (protocol, port, setting) = match tls {
        None => ("rtmp", settings.live.rtmp_port, "live.rtmp_port"),
        Some(_) => ("rtmps", settings.live.rtmps_port, "live.rtmps_port"),
    };
    let address = listen_address((settings.live.rtmp_address, port), ephemeral_ports);
    let config = ServerConfig::default();
    let silence_max = settings.live.idle_timeout.0;
    let context = RtmpContext { gate: Arc::new(lives), clock: Arc::new(SystemClock), config, protocol, silence_max };
    let bound = RtmpListener::bind(address, context, tls, settings.live.connections_max).await;
    bound.with_context(|| occupied(address, setting))
}

async fn listen_rtmps(
    settings: &Settings,
    lives: LivesHandle,
    tls: Option<&Tls>,
    ephemeral_ports: bool,
) -> Result<Option<RtmpListener>> {
    let Some(tls) = tls else { return Ok(None) };
    Ok(Some(listen_rtmp(settings, lives, Some(tls.rtmps()?), ephemeral_ports).await?))
}

async fn listen_srt(settings: &Settings, lives: LivesHandle, ephemeral_ports: bool) -> Result<SrtListener> {
    let address = listen_address((settings.live.srt_address, settings.live.srt_port), ephemeral_ports);
    let context = SrtContext {
        gate: Arc::new(lives.clone()),
        audience: Arc::new(lives),
        clock: Arc::new(SystemClock),
        latency: settings.live.srt_latency.0,
        silence_max: settings.live.idle_timeout.0,
    };
    let bound = SrtListener::bind(address, context, &SystemEntropy, settings.live.connections_max).await;
    bound.with_context(|| occupied(address, "live.srt_port"))
}

async fn listen_webrtc(settings: &Settings, lives: LivesHandle, ephemeral_ports: bool) -> Result<WebrtcListener> {
    let live = &settings.live;
    let address = listen_address((live.webrtc_address, live.webrtc_port), ephemeral_ports);
    let watch = WatchContext { audience: Arc::new(lives.clone()), clock: Arc::new(SystemClock) };
    let publish = PublishContext {
        gate: Arc::new(lives),
        clock: Arc::new(SystemClock),
        latency: live.webrtc_latency.0,
        silence_max: live.idle_timeout.0,
    };
    let advertised = live.webrtc_public_addresses.as_slice();
    let contexts = WebrtcContexts { publish, watch, sessions_max: (live.connections_max, live.webrtc_viewers_max) };
    let bound = WebrtcListener::bind((address, advertised), contexts, Arc::new(SystemEntropy)).await;
    bound.with_context(|| occupied(address, "live.webrtc_port"))
}
