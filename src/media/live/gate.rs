//! Where publishers of every protocol knock: who decides whether they may feed a stream, and what they are given.
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::broadcast::{ToldCue, Visit};
use super::stream::{BeginError, LiveStream, TakenOver};
use super::timeline::Stamp;
use crate::domain::live::machine::Refusal;
use crate::domain::time::Timestamp;

/// A publisher at the gate.
#[derive(Debug, Clone)]
pub struct Knock {
    /// The stream key it shows.
    pub key: String,
    /// `rtmp`, `rtmps`, `srt` or `whip`.
    pub protocol: &'static str,
    /// Where it comes from.
    pub address: SocketAddr,
    /// The program, as it calls itself.
    pub agent: String,
}

/// Why a publisher is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TurnedAway {
    /// No stream has this key.
    #[error("no stream has this stream key")]
    UnknownKey,
    /// The stream cannot be fed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server does not answer; worth another try.
    #[error("the server cannot take streams right now, try again")]
    Unavailable,
}

/// Decides who may publish.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Lets a publisher in, or says why not.
    async fn knock(&self, knock: Knock) -> Result<Feed, TurnedAway>;
}

/// The right to feed a stream, until it is given up or taken away.
pub struct Feed {
    stream: Arc<LiveStream>,
    generation: u64,
    fenced: watch::Receiver<Option<Refusal>>,
    on_end: Option<Box<dyn FnOnce() + Send>>,
}

impl Feed {
    /// A feed of this generation; `fenced` tells when and why it is taken away, `on_end` is called when it is given up.
    pub fn new(
        stream: Arc<LiveStream>,
        generation: u64,
        fenced: watch::Receiver<Option<Refusal>>,
        on_end: Box<dyn FnOnce() + Send>,
    ) -> Self {
        Self { stream, generation, fenced, on_end: Some(on_end) }
    }

    /// The publisher's tracks are these from now on.
    pub fn begin_visit(&self, visit: Visit, now: Timestamp) -> Result<(), BeginError> {
        self.stream.begin_visit(self.generation, visit, now)
    }

    /// A frame of one of them.
    pub fn push(&self, frame: (usize, Stamp), payload: Bytes, now: Timestamp) -> Result<(), TakenOver> {
        self.stream.push(self.generation, frame, payload, now)
    }

    /// Something that is to be told of the timeline.
    pub fn cue(&self, cue: ToldCue) {
        self.stream.cue(self.generation, cue);
    }

    /// Waits until the feed is taken away, and says why.
    pub async fn fenced(&mut self) -> Refusal {
        let fenced = self.fenced.wait_for(Option::is_some).await.ok().and_then(|why| *why);
        // Whoever gave the feed is gone, and with it the right to feed.
        fenced.unwrap_or(Refusal::TakenOver)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stream.end_visit(self.generation);
        if let Some(on_end) = self.on_end.take() {
            on_end();
        }
    }
}
