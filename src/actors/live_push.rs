//! A broadcast on its way to other servers, by RTMP: one task for each of them. What fails is tried again, after ever longer
//! pauses, for as long as the broadcast goes on; the broadcast itself notices nothing.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::lives::Lives;
use crate::domain::ids::{LiveId, PushId};
use crate::domain::live::Live;
use crate::domain::live::push::{Push, SealedText};
use crate::domain::time::Timestamp;
use crate::media::live::broadcast::Broadcast;
use crate::media::live::stream::LiveStream;
use crate::media::live::tap::{Cursor, Tapped};
use crate::protocols::dial::{Dialer, TlsChoice};
use crate::protocols::rtmp::client::{Ended, Link};
use crate::protocols::rtmp::publication::{NotTaken, Publication};
use crate::protocols::rtmp::session::{ClientUrl, UrlError};

/// First pause before a server is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A connection that lasted this long was no failed attempt.
const SETTLED: Duration = Duration::from_secs(30);
/// Bytes that are queued before they are sent.
const QUEUED_BYTES: usize = 256 << 10;

/// How pushes are made.
#[derive(Debug, Clone, Copy)]
pub struct PushConditions {
    /// Whether servers may be on this machine or in its network.
    pub to_private: bool,
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

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error("its URL was sealed under another secret: give it anew")]
    Sealed,
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
}

impl From<std::io::Error> for PushError {
    fn from(error: std::io::Error) -> Self {
        Self::Ended(error.into())
    }
}

/// What a push is made with.
struct Pusher {
    live: LiveId,
    push: Push,
    lives: Arc<Lives>,
    stream: Arc<LiveStream>,
    stats: Arc<Mutex<PushStats>>,
}

/// What a broadcast has to send.
struct Source<'a> {
    stream: &'a LiveStream,
    cursor: Cursor,
    moved: watch::Receiver<u64>,
}

impl Source<'_> {
    /// What has come since; `None` at the end.
    fn read(&mut self) -> Option<Vec<Tapped>> {
        self.moved.mark_unchanged();
        self.stream.look(|broadcast| {
            let frames: Vec<Tapped> = broadcast.tap().read(&mut self.cursor).collect();
            (!frames.is_empty() || !Broadcast::has_ended(broadcast)).then_some(frames)
        })
    }

    /// The first frames; `None` when there are none any more.
    async fn first(&mut self) -> Option<Vec<Tapped>> {
        loop {
            let frames = self.read()?;
            if !frames.is_empty() {
                return Some(frames);
            }
            // The sender lives as long as the stream.
            let _ = self.moved.changed().await;
        }
    }
}

impl Pusher {
    /// Until the broadcast is over, or nobody wants it any more.
    async fn run(&self, stop: &CancellationToken) {
        let mut pause = RETRY.0;
        loop {
            let began = Instant::now();
            let Err(error) = self.publish(stop).await else { return };
            let error = self.without_secrets(&error.to_string());
            tracing::warn!(live.id = %self.live, push.id = %self.push.id, to = %self.push.shown, error, "a push failed");
            metrics::counter!("playhouse_live_push_failures_total").increment(1);
            self.note(PushState::Failed, |stats| {
                stats.failures += 1;
                stats.error = Some(error);
            });
            pause = if began.elapsed() > SETTLED { RETRY.0 } else { (pause * 2).min(RETRY.1) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Over one connection.
    async fn publish(&self, stop: &CancellationToken) -> Result<(), PushError> {
        let (url, dialer) = self.server()?;
        self.note(PushState::Waiting, |_| {});
        let cursor = self.stream.look(|broadcast| broadcast.tap().join());
        let mut source = Source { stream: &self.stream, cursor, moved: self.stream.tapped() };
        let first = tokio::select! {
            first = source.first() => first,
            () = stop.cancelled() => None,
        };
        let Some(frames) = first else { return Ok(()) };
        self.note(PushState::Connecting, |_| {});
        let mut link = tokio::select! {
            link = Link::open(&dialer, &url) => link?,
            () = stop.cancelled() => return Ok(()),
        };
        tracing::info!(live.id = %self.live, push.id = %self.push.id, to = %self.push.shown, "pushing");
        let sent = self.send((&mut link, &mut source), frames, stop).await;
        if sent.is_ok() {
            link.close().await;
        }
        sent
    }

    async fn send(
        &self,
        (link, source): (&mut Link, &mut Source<'_>),
        mut frames: Vec<Tapped>,
        stop: &CancellationToken,
    ) -> Result<(), PushError> {
        let mut publication = Publication::new(link.server().clone());
        let (mut messages, mut is_new) = (Vec::new(), true);
        loop {
            for frame in &frames {
                publication.take(frame, &mut messages)?;
                for message in messages.drain(..) {
                    link.send(message)?;
                }
                if link.queued_bytes() >= QUEUED_BYTES {
                    self.flush(link).await?;
                }
            }
            self.flush(link).await?;
            if std::mem::take(&mut is_new) {
                self.note(PushState::Sending, |stats| stats.error = None);
            }
            locked(&self.stats).skips = source.cursor.skips();
            tokio::select! {
                _ = source.moved.changed() => {}
                heard = link.hear() => heard?,
                () = stop.cancelled() => return Ok(()),
            }
            match source.read() {
                Some(new) => frames = new,
                None => return Ok(()),
            }
        }
    }

    async fn flush(&self, link: &mut Link) -> Result<(), PushError> {
        let sent = link.flush().await?;
        locked(&self.stats).bytes_sent += sent;
        metrics::counter!("playhouse_live_push_bytes_total").increment(sent);
        Ok(())
    }

    fn server(&self) -> Result<(ClientUrl, Dialer), PushError> {
        let url = self.lives.keys.open_url(&self.push.url).ok_or(PushError::Sealed)?;
        let url = ClientUrl::parse(&url)?;
        let tls = url.is_tls.then_some(TlsChoice { insecure: false, protocols: &[] });
        let dialer = Dialer::new(&url.host, url.port, tls)?;
        let dialer = if self.lives.push.to_private { dialer } else { dialer.to_the_public() };
        Ok((url, dialer))
    }

    /// Servers are known that repeat the key in what they say.
    fn without_secrets(&self, text: &str) -> String {
        match self.server() {
            Ok((url, _)) if !url.stream.is_empty() => text.replace(&url.stream, "…"),
            _ => text.to_owned(),
        }
    }

    fn note(&self, state: PushState, change: impl FnOnce(&mut PushStats)) {
        let mut stats = locked(&self.stats);
        (stats.state, stats.since) = (state, self.lives.clock.now());
        change(&mut stats);
    }
}
