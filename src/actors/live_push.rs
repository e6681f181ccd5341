//! A broadcast on its way to other servers, by RTMP, SRT and WHIP: one task for each of them. What fails is tried again, after ever longer
//! pauses, for as long as the broadcast goes on; the broadcast itself notices nothing.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backoff::Backoff;
use super::lives::Lives;
use crate::domain::ids::{LiveId, PushId};
use crate::domain::live::Live;
use crate::domain::live::push::{Push, SealedText};
use crate::domain::time::Timestamp;
use crate::media::live::broadcast::Broadcast;
use crate::media::live::stream::LiveStream;
use crate::protocols::outlet::{InvalidOutlet, Outlet, Way};
use crate::protocols::rtmp::client::Ended;
use crate::protocols::rtmp::publication::NotTaken;
use crate::protocols::srt::call::CallError;
use crate::protocols::webrtc::call::CallError as WebrtcCallError;

mod rtmp;
mod srt;
mod whip;

/// How pushes are made.
#[derive(Debug, Clone, Copy)]
pub struct PushConditions {
    /// Whether servers may be on this machine or in its network.
    pub to_private: bool,
    /// How long what is sent by SRT can be sent again, at least.
    pub srt_latency: Duration,
}

/// How far a push is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PushState {
    /// There are no media yet.
    #[default]
    Waiting,
    /// The server is being asked.
    Connecting,
    /// The server takes the broadcast.
    Sending,
    /// It did not; it is tried again.
    Failed,
}

/// How a push does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PushStats {
    /// Which one.
    pub id: PushId,
    /// How far it is.
    pub state: PushState,
    /// Since when.
    pub since: Timestamp,
    /// Why it failed the last time.
    pub error: Option<String>,
    /// How often it failed.
    pub failures: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// How often frames were left out because the server was too slow.
    pub skips: u64,
}

/// Where a broadcast is pushed to.
#[derive(Debug, Default)]
pub(super) struct Pushes(HashMap<PushId, Running>);

/// A push under way. It is ended when this is dropped, with a farewell to the server.
#[derive(Debug)]
struct Running {
    url: SealedText,
    stats: Arc<Mutex<PushStats>>,
    _stop: DropGuard,
}

impl Pushes {
    /// Has the broadcast pushed to what its owner wants now, and to nothing else.
    pub(super) fn set(&mut self, lives: &Arc<Lives>, live: &Live, stream: &Arc<LiveStream>) {
        if stream.look(Broadcast::has_ended) {
            return;
        }
        let is_wanted = |id: &PushId, running: &mut Running| {
            live.pushes.iter().any(|push| push.enabled && push.id == *id && push.url == running.url)
        };
        self.0.retain(is_wanted);
        for push in live.pushes.iter().filter(|push| push.enabled) {
            let start = || Running::start(lives, (&live.id, push), stream);
            self.0.entry(push.id.clone()).or_insert_with(start);
        }
    }

    /// How they do.
    pub(super) fn stats(&self) -> Vec<PushStats> {
        self.0.values().map(|running| locked(&running.stats).clone()).collect()
    }
}

impl Running {
    fn start(lives: &Arc<Lives>, (live, push): (&LiveId, &Push), stream: &Arc<LiveStream>) -> Self {
        let stats = PushStats {
            id: push.id.clone(),
            state: PushState::default(),
            since: lives.clock.now(),
            error: None,
            failures: 0,
            bytes_sent: 0,
            skips: 0,
        };
        let (stats, stop) = (Arc::new(Mutex::new(stats)), CancellationToken::new());
        let pusher = Pusher {
            live: live.clone(),
            push: push.clone(),
            lives: Arc::clone(lives),
            stream: Arc::clone(stream),
            stats: Arc::clone(&stats),
        };
        let stopped = stop.clone();
        tokio::spawn(async move { pusher.run(&stopped).await });
        Self { url: push.url.clone(), stats, _stop: stop.drop_guard() }
    }
}

fn locked(stats: &Mutex<PushStats>) -> MutexGuard<'_, PushStats> {
    stats.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(stats: &mut PushStats, bytes: u64) {
    stats.bytes_sent += bytes;
    metrics::counter!("playhouse_live_push_bytes_total").increment(bytes);
}

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error("its URL was sealed under another secret: give it anew")]
    Sealed,
    #[error(transparent)]
    Url(#[from] InvalidOutlet),
    #[error(transparent)]
    Rtmp(#[from] Ended),
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error(transparent)]
    Srt(#[from] CallError),
    #[error(transparent)]
    Webrtc(#[from] WebrtcCallError),
}

/// What a push is made with.
#[derive(Clone)]
struct Pusher {
    live: LiveId,
    push: Push,
    lives: Arc<Lives>,
    stream: Arc<LiveStream>,
    stats: Arc<Mutex<PushStats>>,
}

impl Pusher {
    /// Until the broadcast is over, or nobody wants it any more.
    async fn run(&self, stop: &CancellationToken) {
        let mut backoff = Backoff::new();
        loop {
            backoff.begin();
            let Err(error) = self.publish(stop).await else { return };
            let error = error.to_string();
            let error = self.outlet().map_or(error.clone(), |outlet| outlet.without_secrets(&error));
            tracing::warn!(live.id = %self.live, push.id = %self.push.id, to = %self.push.shown, error, "a push failed");
            metrics::counter!("playhouse_live_push_failures_total").increment(1);
            self.note(PushState::Failed, |stats| {
                stats.failures += 1;
                stats.error = Some(error);
            });
            if !backoff.wait(stop).await {
                return;
            }
        }
    }

    /// Over one connection.
    async fn publish(&self, stop: &CancellationToken) -> Result<(), PushError> {
        let outlet = self.outlet()?;
        self.note(PushState::Waiting, |_| {});
        if !self.has_media(stop).await {
            return Ok(());
        }
        self.note(PushState::Connecting, |_| {});
        match outlet {
            Outlet::Rtmp(url) => self.by_rtmp(&url, stop).await,
            Outlet::Srt(url) => self.by_srt(&url, stop).await,
            Outlet::Webrtc(url) => self.by_whip(&url, stop).await,
            Outlet::Rtsp(_) | Outlet::Hls(_) => Err(InvalidOutlet::Scheme(Way::To).into()),
        }
    }

    /// Waits for something to begin with; whether it will come.
    async fn has_media(&self, stop: &CancellationToken) -> bool {
        let mut moved = self.stream.tapped();
        loop {
            moved.mark_unchanged();
            let (has_ended, can_begin) =
                self.stream.look(|broadcast| (broadcast.has_ended(), broadcast.tap().can_begin()));
            if has_ended || can_begin {
                return !has_ended;
            }
            tokio::select! {
                // The sender lives as long as the stream.
                _ = moved.changed() => {}
                () = stop.cancelled() => return false,
            }
        }
    }

    fn outlet(&self) -> Result<Outlet, PushError> {
        let url = self.lives.keys.open_url(&self.push.url).ok_or(PushError::Sealed)?;
        Ok(Outlet::parse(&url, Way::To)?)
    }

    fn begin(&self) {
        tracing::info!(live.id = %self.live, push.id = %self.push.id, to = %self.push.shown, "pushing");
        self.note(PushState::Sending, |stats| stats.error = None);
    }

    fn note(&self, state: PushState, change: impl FnOnce(&mut PushStats)) {
        let mut stats = locked(&self.stats);
        (stats.state, stats.since) = (state, self.lives.clock.now());
        change(&mut stats);
    }
}
