//! Where publishers of every protocol knock: who decides whether they may feed a stream, and what they are given.
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::watch;

use super::lineup::Fed;
use super::sibling::Sibling;
use super::stream::{BeginError, LiveStream, TakenOver};
use super::transcoding::Transcoder;
use crate::domain::live::Passphrase;
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

impl TurnedAway {
    /// Counts it.
    pub fn count(&self) {
        let reason = match self {
            Self::UnknownKey => "unknown_key",
            Self::Refused(_) => "refused",
            Self::Unavailable => "unavailable",
        };
        metrics::counter!("playhouse_live_publishers_turned_away_total", "reason" => reason).increment(1);
    }
}

/// A publisher, or a reader, in the gauge of them, until it is dropped.
pub struct Counted(metrics::Gauge);

impl Counted {
    /// One more publisher by this protocol.
    pub fn new(protocol: &'static str) -> Self {
        Self::in_gauge(metrics::gauge!("playhouse_live_publishers", "protocol" => protocol))
    }

    /// One more reader by this protocol.
    pub fn reader(protocol: &'static str) -> Self {
        Self::in_gauge(metrics::gauge!("playhouse_live_readers", "protocol" => protocol))
    }

    fn in_gauge(gauge: metrics::Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// What a reader shows who is not served over HTTP.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Playback id, as it came.
    pub playback: String,
    /// A token for what is not public.
    pub token: Option<String>,
    /// Tells readers apart.
    pub address: SocketAddr,
    /// The same for readers at one address, by protocols that tell nothing of the port.
    pub number: u64,
}

impl Ticket {
    /// The same for the same reader of the same stream.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.playback, self.address, self.number).hash(&mut hasher);
        hasher.finish()
    }
}

/// Why a reader is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// There is no such thing, or none for whoever asks: which of both is nobody's business.
    #[error("nothing is live under this playback id, or it is not public and there is no valid token")]
    NotFound,
    /// The server cannot tell.
    #[error("the server cannot show this stream")]
    Unavailable,
    /// Another node of the cluster has it.
    #[error("another node has this stream")]
    Elsewhere,
}

/// What a reader is given.
pub struct Seat {
    /// The stream.
    pub stream: Arc<LiveStream>,
    /// What media are to be encrypted with, by protocols that do so with a passphrase.
    pub passphrase: Option<Passphrase>,
}

/// Decides who may watch what is live, from memory alone. Asked again while somebody watches: what was public may not be any
/// more, and tokens end.
#[async_trait]
pub trait Audience: Send + Sync {
    /// Looks for a stream at other nodes: one that they have is admitted to from then on.
    async fn seek(&self, ticket: &Ticket);
    /// Lets a reader in, or says why not, and counts it as a viewer.
    fn admit(&self, ticket: &Ticket) -> Result<Seat, NotAdmitted>;
}

/// How long a reader waits for a stream that goes on at another node, while nobody knows at which.
const MOVES_WITHIN: Duration = Duration::from_secs(10);

/// The right of a reader to watch a stream, which may move from node to node meanwhile.
pub struct Pass {
    ticket: Ticket,
    audience: Arc<dyn Audience>,
    stream: Arc<LiveStream>,
    /// Since when it is not here.
    gone: Option<Instant>,
}

impl Pass {
    /// For whoever was admitted to this stream.
    pub fn new(ticket: Ticket, audience: Arc<dyn Audience>, stream: Arc<LiveStream>) -> Self {
        Self { ticket, audience, stream, gone: None }
    }

    /// Why it is over, if it is; the stream as it is now, when that is another one than before.
    pub fn check(&mut self, now: Instant) -> Result<Option<Arc<LiveStream>>, NotAdmitted> {
        let seat = match self.audience.admit(&self.ticket) {
            Err(NotAdmitted::NotFound) if self.stream.is_retired() => {
                let since = *self.gone.get_or_insert(now);
                let (audience, ticket) = (Arc::clone(&self.audience), self.ticket.clone());
                tokio::spawn(async move { audience.seek(&ticket).await });
                let is_late = now.duration_since(since) > MOVES_WITHIN;
                return if is_late { Err(NotAdmitted::NotFound) } else { Ok(None) };
            }
            admitted => admitted?,
        };
        self.gone = None;
        let is_same = Arc::ptr_eq(&seat.stream, &self.stream);
        self.stream = seat.stream;
        Ok((!is_same).then(|| Arc::clone(&self.stream)))
    }
}

/// Lets a reader in to what this node has, or another one.
pub async fn admit_anywhere(audience: &dyn Audience, ticket: &Ticket) -> Result<Seat, NotAdmitted> {
    match audience.admit(ticket) {
        Err(NotAdmitted::NotFound) => {
            audience.seek(ticket).await;
            audience.admit(ticket)
        }
        known => known,
    }
}

/// Why what a publisher sends is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// Its tracks cannot be.
    #[error(transparent)]
    Tracks(#[from] BeginError),
    /// Another publisher feeds the stream.
    #[error(transparent)]
    TakenOver(#[from] TakenOver),
}

/// How the link to a publisher does, as far as its protocol tells (SRT, WHIP), or to a viewer (WHEP); counted from its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LinkStats {
    /// Round-trip time, milliseconds.
    pub rtt_ms: f64,
    /// How long packets are held, so that lost ones can be sent again, milliseconds.
    pub latency_ms: u64,
    /// Packets that came.
    pub packets: u64,
    /// Those of them that had been lost and were sent again in time.
    pub packets_recovered: u64,
    /// Packets that did not come in time.
    pub packets_dropped: u64,
    /// Packets that could not be decrypted.
    pub packets_undecrypted: u64,
    /// Times that lost packets were asked for.
    pub loss_reports: u64,
    /// Key frames that were asked for (WebRTC).
    pub key_frame_requests: u64,
    /// What is held now, milliseconds.
    pub buffered_ms: u64,
    /// Packets that find room besides.
    pub buffer_packets_free: u64,
    /// Holes in the media within.
    pub media_gaps: u64,
    /// Parts of the media that could not be read.
    pub media_damaged: u64,
}

impl LinkStats {
    /// Adds what has happened since then to the metrics of links by this protocol.
    pub fn count_since(&self, before: &Self, protocol: &'static str) {
        let counts = [
            ("playhouse_link_packets_total", self.packets, before.packets),
            ("playhouse_link_packets_recovered_total", self.packets_recovered, before.packets_recovered),
            ("playhouse_link_packets_dropped_total", self.packets_dropped, before.packets_dropped),
            ("playhouse_link_packets_undecrypted_total", self.packets_undecrypted, before.packets_undecrypted),
            ("playhouse_link_loss_reports_total", self.loss_reports, before.loss_reports),
            ("playhouse_link_key_frame_requests_total", self.key_frame_requests, before.key_frame_requests),
        ];
        for (name, now, before) in counts {
            metrics::counter!(name, "protocol" => protocol).increment(now.saturating_sub(before));
        }
        metrics::histogram!("playhouse_link_rtt_seconds", "protocol" => protocol).record(self.rtt_ms / 1000.0);
    }
}

/// Decides who may publish.
#[async_trait]
pub trait Gate: Send + Sync {
    /// What media for the stream with this key are to be encrypted with, by protocols that do so with a passphrase; `None` when they
    /// are not to be.
    async fn passphrase(&self, key: &str) -> Result<Option<Passphrase>, TurnedAway>;
    /// Whether a stream has this key and can be fed, for protocols that answer before media can flow; nobody is replaced by that.
    async fn check(&self, key: &str) -> Result<(), TurnedAway> {
        self.passphrase(key).await.map(|_| ())
    }
    /// Lets a publisher in, or says why not.
    async fn knock(&self, knock: Knock) -> Result<Feed, TurnedAway>;
}

/// The right to feed a stream, until it is given up or taken away.
pub struct Feed {
    stream: Arc<LiveStream>,
    generation: u64,
    fenced: watch::Receiver<Option<Refusal>>,
    on_end: Option<Box<dyn FnOnce() + Send>>,
    link: Option<watch::Sender<Option<LinkStats>>>,
    sibling: Option<Sibling>,
    start_transcoder: Option<StartTranscoder>,
}

type StartTranscoder = Box<dyn Fn() -> Transcoder + Send>;

impl Feed {
    /// A feed of this generation; `fenced` tells when and why it is taken away, `on_end` is called when it is given up.
    pub fn new(
        stream: Arc<LiveStream>,
        generation: u64,
        fenced: watch::Receiver<Option<Refusal>>,
        on_end: Box<dyn FnOnce() + Send>,
    ) -> Self {
        Self { stream, generation, fenced, on_end: Some(on_end), link: None, sibling: None, start_transcoder: None }
    }

    /// The same, with somebody who wants to know how the link does.
    pub fn with_link(mut self, link: watch::Sender<Option<LinkStats>>) -> Self {
        self.link = Some(link);
        self
    }

    /// The same, with somebody who makes AAC of sound that not every player knows.
    pub fn with_sibling(mut self, sibling: Sibling) -> Self {
        self.sibling = Some(sibling);
        self
    }

    /// The same, with somebody who encodes anew what players do not take.
    pub fn with_transcoder(mut self, start: StartTranscoder) -> Self {
        self.start_transcoder = Some(start);
        self
    }

    /// Begins to encode pictures anew, where somebody does.
    pub fn transcoder(&self) -> Option<Transcoder> {
        self.start_transcoder.as_ref().map(|start| start())
    }

    /// Tells how the link does.
    pub fn note_link(&self, stats: LinkStats) {
        if let Some(link) = &self.link {
            link.send_replace(Some(stats));
        }
    }

    /// Moves when somebody who watches cannot go on without a key frame.
    pub fn keys_asked(&self) -> watch::Receiver<u64> {
        self.stream.realtime().keys_asked()
    }

    /// Takes what a publisher's bytes have come to.
    pub fn give(&mut self, fed: Fed, now: Timestamp) -> Result<(), NotTaken> {
        match fed {
            Fed::Visit(mut visit) => {
                let joined = self.sibling.as_ref().and_then(|_| Sibling::join(&mut visit));
                let number = self.stream.begin_visit(self.generation, visit, now)?;
                if let Some(sibling) = &mut self.sibling {
                    sibling.begin(number, joined);
                }
            }
            Fed::Frame { track, stamp, payload } => {
                if let Some(sibling) = &mut self.sibling {
                    sibling.pass(track, stamp, &payload);
                }
                self.stream.push(self.generation, (track, stamp), payload, now)?;
            }
            Fed::Cue(cue) => self.stream.cue(self.generation, cue),
        }
        Ok(())
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
