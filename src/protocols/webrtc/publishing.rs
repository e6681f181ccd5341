//! One publisher, from the answer to its offer to the end of its stream.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ingest::{RtpIngest, Wish};
use super::line::Line;
use super::mux::Arrived;
use super::peer::{Control, PeerEvent};
use super::sessions::Command;
use super::wire::Kind;
use crate::domain::live::machine::Refusal;
use crate::domain::ports::Clock;
use crate::media::live::gate::{Counted, Feed, Gate, Knock, LinkStats, TurnedAway};
use crate::media::live::lineup::Fed;
use crate::media::live::transcoding::{Transcoded, Transcoder};

/// How this protocol is called.
pub(super) const PROTOCOL: &str = "whip";
/// How long a client has until media can flow: checks and handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the link's figures are told.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Datagrams taken at once at most before what is due is done.
const BATCH: usize = 64;
/// Shortest wait for what is due, so that much of it is done at once.
const PAUSE: Duration = Duration::from_millis(1);

/// What every publisher needs.
#[derive(Clone)]
pub struct PublishContext {
    /// Who decides.
    pub gate: Arc<dyn Gate>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// How long lost packets are waited for.
    pub latency: Duration,
    /// A publisher that sends no media for this long is hung up on.
    pub silence_max: Duration,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The other side says so.
    #[error("the publisher has left")]
    Left,
    /// Checks or the handshake do not get through.
    #[error(
        "the publisher cannot be reached, or cannot reach this server: UDP, or the addresses that are told, may be blocked"
    )]
    NotConnected,
    /// It is there, and sends nothing.
    #[error("no media came for {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// Another one feeds the stream.
    #[error(transparent)]
    Fenced(Refusal),
    /// It may not feed the stream.
    #[error(transparent)]
    TurnedAway(TurnedAway),
    /// What it sends cannot be used.
    #[error("{0}")]
    Refused(String),
    /// Nobody wants it any more.
    #[error("the server stops")]
    Stopping,
}

/// A publisher whose offer was answered.
pub(super) struct Publisher {
    pub(super) line: Line,
    /// What it asks the gate for, once media can flow.
    pub(super) knock: Knock,
}

/// Serves a publisher who has come until it ends.
pub(super) async fn serve(publisher: Publisher, context: PublishContext, stopping: CancellationToken) {
    let (address, id) = (publisher.knock.address, publisher.line.place.id().to_owned());
    let ended = receive(publisher, context, &stopping).await;
    tracing::info!(session.id = id, %address, reason = %ended, "whip session ended");
}

/// Takes in what a publisher sends until it ends.
pub(super) async fn receive(publisher: Publisher, context: PublishContext, stopping: &CancellationToken) -> Ended {
    let now = Instant::now();
    let mut session = Session {
        ingest: RtpIngest::new(&publisher.line.peer.incoming(), context.latency, now),
        stage: Stage::Connecting { until: now + CONNECT_TIMEOUT },
        fed: now,
        told: now,
        shook: None,
        link: LinkStats::default(),
        transcoded: None,
        publisher,
        context,
    };
    let ended = tokio::select! {
        ended = session.run() => ended,
        () = stopping.cancelled() => Ended::Stopping,
    };
    session.publisher.line.close();
    ended
}

/// How far a session is.
enum Stage {
    Connecting { until: Instant },
    Feeding { feed: Feed, keys: watch::Receiver<u64>, transcoder: Option<Transcoder>, _counted: Counted },
}

/// What a publisher's stream tells it.
enum Word {
    Fenced(Refusal),
    KeyFrameWanted,
    Transcoded(Transcoded),
}

struct Session {
    publisher: Publisher,
    ingest: RtpIngest,
    stage: Stage,
    /// When media came last.
    fed: Instant,
    /// When the link's figures were told last.
    told: Instant,
    /// When this side's first word of the handshake was sent: the answer to it takes a round trip.
    shook: Option<Instant>,
    link: LinkStats,
    /// What was encoded anew, and is not taken in yet.
    transcoded: Option<Transcoded>,
    context: PublishContext,
}

impl Session {
    async fn run(&mut self) -> Ended {
        loop {
            let now = Instant::now();
            if self.publisher.line.peer.next_timer().is_some_and(|due| due <= now) {
                self.publisher.line.peer.on_timer(now);
            }
            if let Err(ended) = self.go_on(now).await {
                return ended;
            }
            match &self.stage {
                Stage::Connecting { until } if now >= *until => return Ended::NotConnected,
                Stage::Feeding { .. } if now.duration_since(self.fed) >= self.context.silence_max => {
                    return Ended::Silent(self.context.silence_max);
                }
                _ => {}
            }
            if now.duration_since(self.told) >= TOLD_EVERY {
                self.tell(now);
            }
            if let Some(ended) = self.wait(now).await {
                return ended;
            }
        }
    }

    /// What has come goes into the stream, and what is to be said is said.
    async fn go_on(&mut self, now: Instant) -> Result<(), Ended> {
        let mut fed = Vec::new();
        while let Some(event) = self.publisher.line.peer.next_event() {
            match event {
                PeerEvent::Connected => self.enter(now).await?,
                PeerEvent::Gone => return Err(Ended::Left),
                PeerEvent::Rtp(number, packet, at) => {
                    self.fed = now;
                    let bytes = packet.payload.len() as u64;
                    let protocol = self.publisher.knock.protocol;
                    metrics::counter!("playhouse_live_ingest_bytes_total", "protocol" => protocol).increment(bytes);
                    self.ingest.take(number, packet, at, &mut fed);
                }
                PeerEvent::Control(Control::Clock { ssrc, ntp, rtp }) => self.ingest.take_clock(ssrc, (ntp, rtp)),
                PeerEvent::Control(_) => {}
            }
        }
        let mut wishes = Vec::new();
        self.ingest.advance(now, &mut fed, &mut wishes);
        for wish in wishes {
            match wish {
                Wish::KeyFrame(ssrc) => self.publisher.line.peer.ask_for_key_frame(ssrc, now),
                Wish::Again(ssrc, numbers) => self.publisher.line.peer.ask_again(ssrc, &numbers, now),
            }
        }
        self.transcode(now, &mut fed);
        self.give(fed)?;
        self.flush(now);
        Ok(())
    }

    /// What players do not take goes to the encoder, and what has come of it back.
    fn transcode(&mut self, now: Instant, fed: &mut Vec<Fed>) {
        let pictures = self.ingest.to_transcode();
        let Stage::Feeding { transcoder: Some(transcoder), .. } = &mut self.stage else { return };
        if !pictures.into_iter().fold(true, |all, picture| all & transcoder.pass(picture)) {
            self.ingest.lose_transcoded();
        }
        let made = self.transcoded.take().into_iter();
        for transcoded in made.chain(std::iter::from_fn(|| transcoder.next_now())) {
            self.ingest.take_transcoded(transcoded, now, fed);
        }
    }

    /// Media can flow: it asks for the stream.
    async fn enter(&mut self, now: Instant) -> Result<(), Ended> {
        // The last word of the handshake is not to wait for the catalog.
        self.flush(now);
        let knocked = self.context.gate.knock(self.publisher.knock.clone()).await;
        let feed = knocked.map_err(|turned_away| {
            turned_away.count();
            Ended::TurnedAway(turned_away)
        })?;
        self.publisher.line.place.settle();
        let counted = Counted::new(self.publisher.knock.protocol);
        let transcoder = self.ingest.is_transcoded().then(|| feed.transcoder()).flatten();
        self.stage = Stage::Feeding { keys: feed.keys_asked(), feed, transcoder, _counted: counted };
        self.fed = Instant::now();
        Ok(())
    }

    fn give(&mut self, fed: Vec<Fed>) -> Result<(), Ended> {
        let Stage::Feeding { feed, .. } = &mut self.stage else { return Ok(()) };
        let wall = self.context.clock.now();
        for fed in fed {
            feed.give(fed, wall).map_err(|refused| Ended::Refused(refused.to_string()))?;
        }
        Ok(())
    }

    fn flush(&mut self, now: Instant) {
        let shook = &mut self.shook;
        self.publisher.line.flush(|datagram| {
            if Kind::of(datagram) == Some(Kind::Dtls) {
                shook.get_or_insert(now);
            }
        });
    }

    async fn wait(&mut self, now: Instant) -> Option<Ended> {
        let end = match &self.stage {
            Stage::Connecting { until } => *until,
            Stage::Feeding { .. } => self.fed + self.context.silence_max,
        };
        let timers = [self.publisher.line.peer.next_timer(), self.ingest.next_timer(now), Some(self.told + TOLD_EVERY)];
        let due = timers.into_iter().flatten().fold(end, Instant::min).max(now + PAUSE);
        let Line { route, place, .. } = &mut self.publisher.line;
        let told = async {
            match &mut self.stage {
                Stage::Feeding { feed, keys, transcoder, .. } => tokio::select! {
                    refusal = feed.fenced() => Word::Fenced(refusal),
                    // The stream lives as long as this feed.
                    Ok(()) = keys.changed() => Word::KeyFrameWanted,
                    Some(made) = next_of(transcoder) => Word::Transcoded(made),
                },
                Stage::Connecting { .. } => std::future::pending().await,
            }
        };
        tokio::select! {
            datagram = route.next() => {
                let Some(datagram) = datagram else { return Some(Ended::Stopping) };
                self.take(datagram);
                for _ in 1..BATCH {
                    let Some(datagram) = self.publisher.line.route.next_now() else { break };
                    self.take(datagram);
                }
                None
            }
            command = place.commands.recv() => match command {
                Some(Command::Restart { credentials, reply }) => {
                    self.publisher.line.restart(credentials, reply);
                    None
                }
                Some(Command::End) | None => Some(Ended::Left),
            },
            told = told => match told {
                Word::Fenced(refusal) => Some(Ended::Fenced(refusal)),
                Word::KeyFrameWanted => {
                    self.ingest.want_key_frames();
                    None
                }
                Word::Transcoded(made) => {
                    self.transcoded = Some(made);
                    None
                }
            },
            () = tokio::time::sleep_until(due.into()) => None,
        }
    }

    fn take(&mut self, datagram: Arrived) {
        let is_answer = self.link.rtt_ms == 0.0 && Kind::of(&datagram.bytes) == Some(Kind::Dtls);
        if let Some(shook) = self.shook.filter(|_| is_answer) {
            self.link.rtt_ms = millis(datagram.at.saturating_duration_since(shook));
        }
        self.publisher.line.peer.take(datagram);
    }

    /// Tells how the link does.
    fn tell(&mut self, now: Instant) {
        self.told = now;
        let Stage::Feeding { feed, .. } = &self.stage else { return };
        let (before, stats, unusable) = (self.link, self.ingest.stats(), self.ingest.unusable());
        self.link = LinkStats {
            rtt_ms: self.ingest.round_trip().map_or(before.rtt_ms, millis),
            latency_ms: whole_millis(self.context.latency),
            packets: stats.packets,
            packets_recovered: stats.recovered,
            packets_dropped: stats.lost,
            loss_reports: stats.asked,
            key_frame_requests: unusable.key_frames_asked,
            buffered_ms: whole_millis(self.ingest.held_for(now)),
            media_gaps: unusable.gaps,
            media_damaged: unusable.damaged,
            ..before
        };
        self.link.count_since(&before, self.publisher.knock.protocol);
        feed.note_link(self.link);
    }
}

async fn next_of(transcoder: &mut Option<Transcoder>) -> Option<Transcoded> {
    match transcoder {
        Some(transcoder) => transcoder.next().await,
        None => None,
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a publisher's session is begun with.
pub(super) fn knock(key: String, address: SocketAddr, agent: String) -> Knock {
    Knock { key, protocol: PROTOCOL, address, agent }
}
