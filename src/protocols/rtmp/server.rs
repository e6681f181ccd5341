//! The socket side of RTMP ingest: one connection, from its handshake to the end of its stream.
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Sleep;

use super::ingest::RtmpIngest;
use super::session::{Rejection, ServerConfig, ServerEvent, ServerSession, SessionError, StreamRequest, code};
use crate::domain::live::machine::Refusal;
use crate::domain::ports::Clock;
use crate::media::live::gate::{Counted, Feed, Gate, Knock, TurnedAway};
use crate::media::live::lineup::Fed;

/// Bytes of input that are allocated together. What was read of them is shared, not copied, by the frames within.
const INPUT_BYTES: usize = 64 << 10;
/// Room for input at least: with less of it, more is allocated.
const READ_BYTES_MIN: usize = 8 << 10;
/// How long a peer that was told goodbye may take to hang up.
const LINGER: Duration = Duration::from_secs(3);

/// What every connection needs.
#[derive(Clone)]
pub struct RtmpContext {
    /// Who decides.
    pub gate: Arc<dyn Gate>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// How sessions behave.
    pub config: ServerConfig,
    /// `rtmp` or `rtmps`.
    pub protocol: &'static str,
    /// A peer that sends nothing for this long is hung up on.
    pub silence_max: Duration,
}

/// Why a connection ended other than well.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The connection broke.
    #[error("connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// The peer did not finish its TLS handshake.
    #[error("no TLS handshake: {0}")]
    Tls(std::io::Error),
    /// The peer broke the rules, or is too slow.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The peer fell silent.
    #[error("nothing was received for {} s", .0.as_secs_f64())]
    Silent(Duration),
}

/// Serves one connection until it ends.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    address: SocketAddr,
    context: RtmpContext,
) -> Result<(), ConnectionError> {
    let seed = address.port().into();
    let session = ServerSession::new(context.config.clone(), seed, Instant::now());
    let (input, agent) = (BytesMut::with_capacity(INPUT_BYTES), String::new());
    let started = Instant::now();
    let mut connection = Connection {
        timer: Box::pin(tokio::time::sleep(context.silence_max)),
        received: metrics::counter!("playhouse_live_ingest_bytes_total", "protocol" => context.protocol),
        socket,
        address,
        context,
        session,
        input,
        agent,
        started,
        heard: started,
        uncounted: 0,
        publishing: None,
        fed: Vec::new(),
    };
    let served = connection.run().await;
    connection.say_goodbye().await;
    served
}

struct Connection<S> {
    socket: S,
    address: SocketAddr,
    context: RtmpContext,
    session: ServerSession,
    input: BytesMut,
    agent: String,
    started: Instant,
    /// When anything came last.
    heard: Instant,
    /// Rings when something may be due, or before.
    timer: Pin<Box<Sleep>>,
    received: metrics::Counter,
    /// Bytes that are not in it yet.
    uncounted: usize,
    publishing: Option<(Feed, RtmpIngest, Counted)>,
    /// What the newest message has come to.
    fed: Vec<Fed>,
}

/// What a connection waits for.
enum Woken {
    Read(usize),
    Fenced(Refusal),
    Deadline,
    Silent,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(&mut self) -> Result<(), ConnectionError> {
        loop {
            let now = Instant::now();
            while let Some(event) = self.session.next(&mut self.input, now)? {
                self.handle(event, now).await;
            }
            self.flush().await?;
            if self.session.is_closing() {
                return Ok(());
            }
            match self.wait().await? {
                Woken::Read(0) => return Ok(()),
                Woken::Read(bytes) => self.count(bytes),
                Woken::Deadline => {}
                Woken::Fenced(refusal) => {
                    self.publishing = None;
                    match refusal {
                        Refusal::Leaving => self.session.send_on(&sentence(&refusal)),
                        _ => self.session.end(&Rejection::new(code::PUBLISH_BAD_NAME, sentence(&refusal))),
                    }
                }
                Woken::Silent => return Err(ConnectionError::Silent(self.context.silence_max)),
            }
        }
    }

    /// Counts what was read, now and then.
    fn count(&mut self, bytes: usize) {
        self.uncounted += bytes;
        if self.uncounted >= INPUT_BYTES {
            self.received.increment(std::mem::take(&mut self.uncounted) as u64);
        }
    }

    async fn handle(&mut self, event: ServerEvent, now: Instant) {
        match event {
            ServerEvent::Connected(info) => self.agent = info.agent,
            ServerEvent::PublishRequested(request) => self.publish(request).await,
            ServerEvent::PlayRequested(_) => {
                let rejection = Rejection::new(code::PLAY_STREAM_NOT_FOUND, "Streams are watched over HLS or DASH.");
                // There is a request: it was just made.
                let _ = self.session.reject(&rejection);
            }
            ServerEvent::Media(message) => {
                let Some((_, ingest, _)) = &mut self.publishing else { return };
                ingest.take(message, now.duration_since(self.started), &mut self.fed);
                self.feed();
                self.refuse_codec();
            }
            ServerEvent::Ended => self.publishing = None,
        }
    }

    async fn publish(&mut self, request: StreamRequest) {
        let key = request.target.key().unwrap_or_default().to_owned();
        let knock = Knock { key, protocol: self.context.protocol, address: self.address, agent: self.agent.clone() };
        let answered = match self.context.gate.knock(knock).await {
            Ok(feed) => {
                self.publishing = Some((feed, RtmpIngest::default(), Counted::new(self.context.protocol)));
                self.session.accept()
            }
            Err(error) => {
                error.count();
                let code = match error {
                    TurnedAway::UnknownKey => code::PUBLISH_BAD_NAME,
                    TurnedAway::Refused(_) => code::PUBLISH_DENIED,
                    TurnedAway::Unavailable => code::FAILED,
                };
                self.session.reject(&Rejection::new(code, sentence(&error)))
            }
        };
        if let Err(error) = answered {
            tracing::error!(%error, "rtmp request lost");
        }
    }

    fn feed(&mut self) {
        let now = self.context.clock.now();
        let Some((feed, ..)) = &mut self.publishing else { return };
        let refused = self.fed.drain(..).find_map(|fed| feed.give(fed, now).err());
        if let Some(reason) = refused {
            self.session.end(&Rejection::new(code::PUBLISH_DENIED, sentence(&reason)));
            self.publishing = None;
        }
    }

    /// Ends a stream that nobody could watch, and says why.
    fn refuse_codec(&mut self) {
        let refusal = self.publishing.as_ref().and_then(|(_, ingest, _)| ingest.refusal().map(str::to_owned));
        if let Some(reason) = refusal {
            tracing::info!(address = %self.address, agent = self.agent, reason, "publisher refused");
            self.session.end(&Rejection::new(code::PUBLISH_DENIED, sentence(&reason)));
            self.publishing = None;
        }
    }

    async fn flush(&mut self) -> Result<(), ConnectionError> {
        while !self.session.output().is_empty() {
            self.socket.write_buf(self.session.output()).await?;
        }
        // TLS keeps what the socket did not take at once.
        Ok(self.socket.flush().await?)
    }

    async fn wait(&mut self) -> Result<Woken, ConnectionError> {
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
            self.input.reserve(INPUT_BYTES);
        }
        loop {
            // Each read moves when silence has lasted too long: the timer is set anew when it rings, and not each time.
            let silent = self.heard + self.context.silence_max;
            let deadline = self.session.deadline();
            let due = deadline.map_or(silent, |deadline| deadline.min(silent)).into();
            if due < self.timer.deadline() || self.timer.is_elapsed() {
                self.timer.as_mut().reset(due);
            }
            let fenced = async {
                match &mut self.publishing {
                    Some((feed, ..)) => feed.fenced().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                refusal = fenced => return Ok(Woken::Fenced(refusal)),
                // What has come counts, however late it is looked at.
                read = self.socket.read_buf(&mut self.input) => {
                    self.heard = Instant::now();
                    return match read {
                        // Encoders end TLS as they end TCP: by hanging up.
                        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(Woken::Read(0)),
                        read => Ok(Woken::Read(read?)),
                    };
                }
                () = &mut self.timer => {
                    let now = Instant::now();
                    if deadline.is_some_and(|deadline| deadline <= now) {
                        return Ok(Woken::Deadline);
                    } else if silent <= now {
                        return Ok(Woken::Silent);
                    }
                }
            }
        }
    }

    /// Sends what is left to be said and lets the peer hang up: hanging up over unread input would take the reason back.
    async fn say_goodbye(&mut self) {
        self.publishing = None;
        self.received.increment(self.uncounted as u64);
        let goodbye = async {
            self.flush().await.ok()?;
            self.socket.shutdown().await.ok()?;
            loop {
                self.input.clear();
                self.input.reserve(READ_BYTES_MIN);
                if self.socket.read_buf(&mut self.input).await.ok()? == 0 {
                    return Some(());
                }
            }
        };
        // A peer that does not hang up is hung up on.
        let _ = tokio::time::timeout(LINGER, goodbye).await;
    }
}

/// A reason as encoders show it to people.
fn sentence(reason: &impl ToString) -> String {
    let text = reason.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

#[cfg(test)]
mod tests;
