//! One caller, from its second packet to the end of its stream.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use srt_protocol::connection::{Connection, ConnectionSettings};
use srt_protocol::packet::{ControlPacket, ControlTypes, RejectReason, ServerRejectReason, TimeStamp};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::handshake::{Conclusion, Unfit, datagram};
use super::reader::{Reader, Reading};
use super::receiver::{Receiver, Receiving};
use super::wire::{InvalidStreamId, Mode, StreamRequest};
use crate::domain::live::machine::Refusal;
use crate::domain::ports::Clock;
use crate::media::live::gate::{Audience, Feed, Gate, Knock, NotAdmitted, Pass, Ticket, TurnedAway, admit_anywhere};
use crate::media::live::programme::Programme;
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
            Self::NotAdmitted(NotAdmitted::Unavailable | NotAdmitted::Elsewhere) => ServerRejectReason::Down,
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
    let address = caller.address;
    let receiving = Receiving { feed, clock: context.clock, silence_max: context.silence_max };
    let mut receiver = Receiver::new(caller, (link, Some(reply)), receiving);
    let ended = receiver.run().await;
    tracing::info!(%address, reason = %ended, "srt connection ended");
    say_goodbye(receiver.caller(), receiver.settings()).await;
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
            let seat = admit_anywhere(&*context.audience, &ticket).await?;
            let programme = Programme::of(&seat.stream);
            programme.pull(now)?;
            let (connection, reply) = conclusion.accept(seat.passphrase.as_ref(), latency, now)?;
            let mut pass = Pass::new(ticket, Arc::clone(&context.audience), seat.stream);
            let watch = Box::new(move |_| pass.check(Instant::now()).map_err(Ended::from));
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
