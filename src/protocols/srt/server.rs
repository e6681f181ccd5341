//! One caller, from its second packet to the end of its stream.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use srt_protocol::connection::{Connection, ConnectionSettings, DuplexConnection};
use srt_protocol::packet::{
    Acknowledgement, ControlPacket, ControlTypes, Packet, RejectReason, ServerRejectReason, TimeStamp,
};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::handshake::{Conclusion, Unfit, datagram};
use super::reader::{Reader, Reading};
use super::wire::{Head, InvalidStreamId, Mode, StreamRequest, is_publishers};
use crate::domain::live::machine::Refusal;
use crate::domain::ports::Clock;
use crate::media::live::gate::{Audience, Counted, Feed, Gate, Knock, LinkStats, NotAdmitted, Ticket, TurnedAway};
use crate::media::live::programme::Programme;
use crate::media::mpegts::ingest::TsIngest;
use crate::media::mpegts::mux::NotCarried;

/// How this protocol is called.
pub(super) const PROTOCOL: &str = "srt";
/// A peer of which nothing at all comes for this long is gone: it would send something every second.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(5);
/// How often the link's figures are told.
pub(super) const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Datagrams taken at once at most before what is due is done.
pub(super) const BATCH: usize = 64;
/// Shortest wait for what is due, so that much of it is done at once.
pub(super) const PAUSE: Duration = Duration::from_millis(1);
/// Times that a peer is told goodbye, in case some of it is lost, and the time between.
const GOODBYES: usize = 3;
const GOODBYE_EVERY: Duration = Duration::from_millis(50);

/// What every caller needs.
#[derive(Clone)]
pub struct SrtContext {
    /// Who decides about publishers.
    pub gate: Arc<dyn Gate>,
    /// Who decides about readers.
    pub audience: Arc<dyn Audience>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// How long packets are held at least, so that lost ones can be sent again.
    pub latency: Duration,
    /// A publisher that sends no media for this long is hung up on.
    pub silence_max: Duration,
}

/// A caller and the way to it.
pub(super) struct Caller {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) address: SocketAddr,
    /// What it calls this side by.
    pub(super) number: u32,
    pub(super) datagrams: mpsc::Receiver<Bytes>,
}

/// Why a caller is rejected.
#[derive(Debug, thiserror::Error)]
enum Rejected {
    #[error(transparent)]
    StreamId(#[from] InvalidStreamId),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error("{0}: watch it over HLS or DASH")]
    NotCarried(#[from] NotCarried),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    TurnedAway(#[from] TurnedAway),
}

impl Rejected {
    fn reason(&self) -> RejectReason {
        let server = match self {
            Self::Unfit(unfit) => return unfit.reason(),
            Self::StreamId(_) => ServerRejectReason::BadRequest,
            Self::NotAdmitted(NotAdmitted::NotFound) => ServerRejectReason::Notfound,
            Self::NotAdmitted(NotAdmitted::Unavailable) => ServerRejectReason::Down,
            Self::NotCarried(_) => ServerRejectReason::NotSupMedia,
            Self::TurnedAway(TurnedAway::UnknownKey) => ServerRejectReason::Unauthorized,
            Self::TurnedAway(TurnedAway::Refused(_)) => ServerRejectReason::Conflict,
            Self::TurnedAway(TurnedAway::Unavailable) => ServerRejectReason::Down,
        };
        RejectReason::Server(server)
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the caller has left")]
    Left,
    #[error("nothing came for {} s", .0.as_secs_f64())]
    Gone(Duration),
    #[error("no media came for {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error(transparent)]
    Fenced(Refusal),
    #[error("{0}")]
    Refused(String),
    #[error("the server stops")]
    Stopping,
    #[error("the stream is over")]
    Over,
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error(transparent)]
    NotCarried(#[from] NotCarried),
}

/// Serves a caller that has brought its second packet, until it ends.
pub(super) async fn serve(caller: Caller, second: Bytes, context: SrtContext) {
    let address = caller.address;
    let Some(conclusion) = Conclusion::read(second, address, caller.number) else { return };
    let (link, reply, role) = match let_in(conclusion, &caller, &context).await {
        Ok(accepted) => accepted,
        Err((rejected, datagram)) => {
            tracing::info!(%address, reason = %rejected, "srt caller rejected");
            if let Rejected::TurnedAway(turned_away) = &rejected {
                turned_away.count();
            }
            let _ = caller.socket.send_to(&datagram, address).await;
            return;
        }
    };
    let _ = caller.socket.send_to(&reply, address).await;
    match role {
        Role::Publisher(feed) => publish(caller, (link, reply), feed, context).await,
        Role::Reader(reading) => {
            let mut reader = Reader::new(caller, (link, Some(reply)), *reading);
            let ended = reader.run().await;
            tracing::info!(%address, reason = %ended, "srt reader ended");
            say_goodbye(reader.caller(), reader.settings()).await;
        }
    }
}

async fn publish(caller: Caller, (link, reply): (Connection, Bytes), feed: Feed, context: SrtContext) {
    let (address, now) = (caller.address, Instant::now());
    let mut session = Session {
        caller,
        connection: DuplexConnection::new(link),
        reply,
        feed,
        ingest: TsIngest::default(),
        started: now,
        heard: now,
        fed: now,
        told: now,
        link: LinkStats::default(),
        context,
        _counted: Counted::new(PROTOCOL),
    };
    let ended = session.run().await;
    tracing::info!(%address, reason = %ended, "srt connection ended");
    say_goodbye(&session.caller, session.connection.settings()).await;
}

/// What a caller is let in for.
enum Role {
    Publisher(Feed),
    Reader(Box<Reading>),
}

type Accepted = (Connection, Bytes, Role);

/// Asks the gate only when the caller has shown that it knows the passphrase: whoever is let in replaces another.
async fn let_in(
    mut conclusion: Conclusion,
    caller: &Caller,
    context: &SrtContext,
) -> Result<Accepted, (Rejected, Bytes)> {
    let accepted: Result<Accepted, Rejected> = async {
        let StreamRequest { mode, key, token } = StreamRequest::parse(conclusion.stream_id())?;
        let (latency, now) = (context.latency, Instant::now());
        if mode == Mode::Read {
            let ticket = Ticket { playback: key, token, address: caller.address, number: 0 };
            let seat = context.audience.admit(&ticket)?;
            let programme = Programme::of(&seat.stream);
            programme.pull(now)?;
            let (connection, reply) = conclusion.accept(seat.passphrase.as_ref(), latency, now)?;
            let audience = Arc::clone(&context.audience);
            let watch = Box::new(move |_| audience.admit(&ticket).map(drop).map_err(Ended::from));
            let reading = Reading { programme, watch, clock: conclusion.sent_at(), accepted: now };
            return Ok((connection, reply, Role::Reader(Box::new(reading))));
        }
        let passphrase = context.gate.passphrase(&key).await?;
        let (connection, reply) = conclusion.accept(passphrase.as_ref(), latency, Instant::now())?;
        let agent = conclusion.agent();
        let feed = context.gate.knock(Knock { key, protocol: PROTOCOL, address: caller.address, agent }).await?;
        Ok((connection, reply, Role::Publisher(feed)))
    }
    .await;
    accepted.map_err(|rejected| {
        let datagram = conclusion.rejection(rejected.reason());
        (rejected, datagram)
    })
}

struct Session {
    caller: Caller,
    connection: DuplexConnection,
    /// What the caller was answered; it asks again when that was lost.
    reply: Bytes,
    feed: Feed,
    ingest: TsIngest,
    started: Instant,
    /// When anything came last.
    heard: Instant,
    /// When media came last.
    fed: Instant,
    /// When the link's figures were told last.
    told: Instant,
    link: LinkStats,
    context: SrtContext,
    _counted: Counted,
}

impl Session {
    async fn run(&mut self) -> Ended {
        loop {
            let now = Instant::now();
            self.connection.check_timers(now);
            while let Some((packet, address)) = self.connection.next_packet(now) {
                self.note_sent(&packet);
                let _ = self.caller.socket.send_to(&datagram(&packet), address).await;
            }
            if let Err(ended) = self.feed(now) {
                return ended;
            }
            if !self.connection.is_open() {
                return Ended::Left;
            }
            if now.duration_since(self.told) >= TOLD_EVERY {
                self.tell(now);
            }
            if now.duration_since(self.heard) >= GONE_AFTER {
                return Ended::Gone(GONE_AFTER);
            }
            if now.duration_since(self.fed) >= self.context.silence_max {
                return Ended::Silent(self.context.silence_max);
            }
            if let Some(ended) = self.wait(now).await {
                return ended;
            }
        }
    }

    /// What is due goes into the stream.
    fn feed(&mut self, now: Instant) -> Result<(), Ended> {
        let mut fed = Vec::new();
        while let Some((_, bytes)) = self.connection.next_data(now) {
            self.fed = now;
            metrics::counter!("playhouse_live_ingest_bytes_total", "protocol" => PROTOCOL)
                .increment(bytes.len() as u64);
            self.ingest.take(&bytes, now.duration_since(self.started), &mut fed);
        }
        let wall = self.context.clock.now();
        for fed in fed {
            self.feed.give(fed, wall).map_err(|refused| Ended::Refused(refused.to_string()))?;
        }
        match self.ingest.refusal() {
            Some(reason) => Err(Ended::Refused(reason.to_owned())),
            None => Ok(()),
        }
    }

    async fn wait(&mut self, now: Instant) -> Option<Ended> {
        let due = self.connection.next_timer(now).min(self.told + TOLD_EVERY).max(now + PAUSE);
        tokio::select! {
            datagram = self.caller.datagrams.recv() => {
                let Some(datagram) = datagram else { return Some(Ended::Stopping) };
                self.take(datagram).await;
                for _ in 1..BATCH {
                    let Ok(datagram) = self.caller.datagrams.try_recv() else { break };
                    self.take(datagram).await;
                }
                None
            }
            refusal = self.feed.fenced() => Some(Ended::Fenced(refusal)),
            () = tokio::time::sleep_until(due.into()) => None,
        }
    }

    async fn take(&mut self, mut datagram: Bytes) {
        if !matches!(Head::read(&datagram), Some(Head::Connected(_))) {
            let _ = self.caller.socket.send_to(&self.reply, self.caller.address).await;
            return;
        }
        if !is_publishers(&datagram) {
            return;
        }
        let address = self.caller.address;
        if let Ok(packet) = Packet::parse(&mut datagram, address.is_ipv6()) {
            let now = Instant::now();
            self.heard = now;
            self.connection.handle_packet_input(now, Ok((packet, address)));
        }
    }

    /// Acknowledgements tell the round-trip time and how full the buffer is.
    fn note_sent(&mut self, packet: &Packet) {
        let Some(control) = packet.control() else { return };
        match &control.control_type {
            ControlTypes::Ack(Acknowledgement::Full(_, figures, _)) => {
                self.link.rtt_ms = f64::from(figures.rtt.mean().as_micros()) / 1000.0;
                self.link.buffer_packets_free = u64::from(figures.buffer_available);
            }
            ControlTypes::Nak(_) => self.link.loss_reports += 1,
            _ => {}
        }
    }

    /// Tells how the link does.
    fn tell(&mut self, now: Instant) {
        self.told = now;
        self.connection.update_statistics(now);
        let before = self.link;
        let latency = self.connection.settings().recv_tsbpd_latency;
        let unusable = self.ingest.unusable();
        let figures = self.connection.statistics();
        self.link = LinkStats {
            latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
            packets: figures.rx_unique_data + figures.rx_retransmit_data,
            packets_recovered: figures.rx_retransmit_data,
            packets_dropped: figures.rx_dropped_data,
            packets_undecrypted: figures.rx_decrypt_errors,
            buffered_ms: u64::try_from(figures.rx_acknowledged_time.as_millis()).unwrap_or(u64::MAX),
            media_gaps: unusable.gaps,
            media_damaged: unusable.damaged,
            ..self.link
        };
        self.link.count_since(&before, PROTOCOL);
        self.feed.note_link(self.link);
    }
}

/// Tells a peer that nothing more comes, nor is heard.
pub(super) async fn say_goodbye(caller: &Caller, settings: &ConnectionSettings) {
    let goodbye = ControlPacket {
        timestamp: TimeStamp::from_micros(0),
        dest_sockid: settings.remote_sockid,
        control_type: ControlTypes::Shutdown,
    };
    let goodbye = datagram(&goodbye.into());
    for _ in 0..GOODBYES {
        let _ = caller.socket.send_to(&goodbye, caller.address).await;
        tokio::time::sleep(GOODBYE_EVERY).await;
    }
}
