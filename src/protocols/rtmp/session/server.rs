//! The server's side: whoever connects may publish or play one stream at a time, if the caller agrees.
mod commands;

use std::fmt;
use std::time::Instant;

use bytes::BytesMut;

use super::super::wire::amf::Amf;
use super::super::wire::flv::script::for_players;
use super::super::wire::handshake::ServerHandshake;
use super::super::wire::message::{Command, Message, UserControl};
use super::super::wire::output::Output;
use super::link::{Inbound, Link};
use super::status::{code, status};
use super::{
    Capabilities, MediaMessage, Medium, Phase, Rejection, SendError, SessionError, SessionLimits, StreamTarget,
    Timeouts, caps_ex,
};

/// How a server session behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Caps.
    pub limits: SessionLimits,
    /// How long the peer may take for each step.
    pub timeouts: Timeouts,
    /// Size of the chunks we send, bytes.
    pub chunk_bytes: u32,
    /// What peers of Enhanced RTMP are told.
    pub capabilities: Capabilities,
    /// Refuses every peer with this, as its answer to `connect`: for a server that is full.
    pub refusal: Option<Rejection>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            limits: SessionLimits::default(),
            timeouts: Timeouts::default(),
            chunk_bytes: 60_000,
            capabilities: Capabilities::default(),
            refusal: None,
        }
    }
}

/// What the peer said when it connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectInfo {
    /// The encoder or player, as it calls itself.
    pub agent: String,
    /// What it can do beyond RTMP 1.0.
    pub capabilities: Capabilities,
}

/// A request to publish or play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// What.
    pub target: StreamTarget,
    /// `live`, `record` or `append`; empty when playing.
    pub kind: String,
}

/// Something the caller has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerEvent {
    /// The peer has connected to an application.
    Connected(ConnectInfo),
    /// It wants to publish: answer with [`ServerSession::accept`] or [`ServerSession::reject`], now or later. Until then no
    /// input is consumed: some encoders send their headers without waiting.
    PublishRequested(StreamRequest),
    /// It wants to play: answer with [`ServerSession::accept`] or [`ServerSession::reject`], now or later.
    PlayRequested(StreamRequest),
    /// A message of the stream it publishes.
    Media(MediaMessage),
    /// It has ended its stream, and may ask for another one.
    Ended,
}

/// There is no request to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no request to answer")]
pub struct NoRequest;

/// One connection to a server.
#[derive(Debug)]
pub struct ServerSession {
    config: ServerConfig,
    link: Link,
    state: State,
    deadline: Option<(Phase, Instant)>,
    app: App,
    next_stream: u32,
    /// Media that came while nothing was published.
    unexpected: u64,
}

#[derive(Debug)]
enum State {
    Handshake(ServerHandshake),
    Connecting,
    /// Connected, and nothing asked for.
    Idle,
    /// The caller is asked.
    Asked(Direction, u32),
    /// A stream is under way.
    Active(Direction, u32),
    /// The output is sent and then the connection closed.
    Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Publish,
    Play,
}

/// What `connect` said that later commands need. It may hold a key, so `Debug` does not show it.
#[derive(Default)]
struct App {
    name: String,
    tc_url: String,
    flags: u32,
    /// The encoder announces what it publishes, and waits for an answer to that as well.
    announces: bool,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

impl ServerSession {
    /// A session for a connection just accepted. `seed` fills handshake packets; it is no secret.
    pub fn new(config: ServerConfig, seed: u64, now: Instant) -> Self {
        Self {
            link: Link::new(config.limits),
            state: State::Handshake(ServerHandshake::new(seed)),
            deadline: Some((Phase::Handshake, now + config.timeouts.handshake)),
            app: App::default(),
            next_stream: 1,
            unexpected: 0,
            config,
        }
    }

    /// Consumes input up to the next event; `None` when more input is needed, or when a request waits for its answer. After
    /// an error, or once [`is_closing`](Self::is_closing), input is of no use: send what is in the output and hang up.
    pub fn next(&mut self, input: &mut BytesMut, now: Instant) -> Result<Option<ServerEvent>, SessionError> {
        self.check_deadline(now)?;
        loop {
            match &mut self.state {
                State::Closing => {
                    input.clear();
                    return Ok(None);
                }
                State::Asked(..) => return Ok(None),
                State::Handshake(handshake) => {
                    if handshake.advance(input, &mut self.link.output)?.is_none() {
                        return Ok(None);
                    }
                    self.state = State::Connecting;
                    self.expect(Phase::Connect, now);
                }
                _ => {
                    let Some((stream, inbound)) = self.link.next(input)? else { return Ok(None) };
                    if let Some(event) = self.inbound(stream, inbound, now) {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// When [`next`](Self::next) is to be called even without input; `None` while the peer owes nothing. How long a publisher
    /// may be silent is the caller's to judge, by [`received_bytes`](Self::received_bytes).
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.map(|(_, at)| at)
    }

    /// What is to be sent.
    pub fn output(&mut self) -> &mut Output {
        &mut self.link.output
    }

    /// Whether the connection is to be closed once the output is sent.
    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    /// Whether it is of use to read from the peer: not while a request waits for its answer, and not at the end.
    pub fn wants_input(&self) -> bool {
        !matches!(self.state, State::Asked(..) | State::Closing)
    }

    /// Bytes of chunks received: what does not grow has stopped.
    pub fn received_bytes(&self) -> u64 {
        self.link.received_bytes()
    }

    /// Media messages dropped because nothing was being published.
    pub fn unexpected_messages(&self) -> u64 {
        self.unexpected
    }

    /// Agrees to the request.
    pub fn accept(&mut self) -> Result<(), NoRequest> {
        let State::Asked(direction, stream) = self.state else { return Err(NoRequest) };
        self.link.control(&Message::UserControl(UserControl::StreamBegin(stream)));
        match direction {
            Direction::Publish => {
                let started = |text| status("status", code::PUBLISH_START, text);
                if self.app.announces {
                    let announced = Command::new("onFCPublish", 0.0, Amf::Null).with(started("Announced."));
                    self.link.command(0, announced);
                }
                self.link.status(stream, started("You are live."));
            }
            Direction::Play => {
                self.link.status(stream, status("status", code::PLAY_RESET, "Playing."));
                self.link.status(stream, status("status", code::PLAY_START, "Playing."));
            }
        }
        self.state = State::Active(direction, stream);
        Ok(())
    }

    /// Refuses the request and closes, since encoders do not try another one on the same connection.
    pub fn reject(&mut self, rejection: &Rejection) -> Result<(), NoRequest> {
        let State::Asked(_, stream) = self.state else { return Err(NoRequest) };
        self.link.status(stream, rejection.status());
        self.close();
        Ok(())
    }

    /// Ends the stream that is under way or asked for, saying why, and closes: the key was rotated, or another publisher took
    /// over.
    pub fn end(&mut self, why: &Rejection) {
        match self.state {
            State::Asked(_, stream) | State::Active(Direction::Publish, stream) => {
                self.link.status(stream, why.status());
            }
            State::Active(Direction::Play, stream) => {
                self.link.control(&Message::UserControl(UserControl::StreamEnd(stream)));
                self.link.status(stream, status("status", code::PLAY_UNPUBLISH_NOTIFY, &why.description));
                self.link.status(stream, status("status", code::PLAY_STOP, &why.description));
            }
            _ => {}
        }
        self.close();
    }

    /// Asks the peer to go on elsewhere, or to connect here again, at its next key frame (E-RTMP, "Reconnect Request"); it
    /// is served until it leaves. Whether it is one that understands.
    pub fn request_reconnect(&mut self, tc_url: Option<&str>, description: &str) -> bool {
        let understands = self.app.flags & caps_ex::RECONNECT != 0;
        if understands {
            let mut info = status("status", code::RECONNECT_REQUEST, description);
            if let (Amf::Object(members), Some(url)) = (&mut info, tc_url) {
                members.push(("tcUrl".to_owned(), Amf::text(url)));
            }
            self.link.status(0, info);
        }
        understands
    }

    /// Asks the peer to connect again, if it understands, and hangs up either way: without an error, after which many do not come back.
    pub fn send_on(&mut self, description: &str) {
        self.request_reconnect(None, description);
        self.close();
    }

    /// Queues a message to a peer that plays. Metadata and sequence starts are to be sent first, then from a key frame on.
    pub fn send(&mut self, mut message: MediaMessage) -> Result<(), SendError> {
        let State::Active(Direction::Play, stream) = self.state else { return Err(SendError::NoStream) };
        if message.medium == Medium::Data {
            message.payload = for_players(message.payload);
        }
        self.link.media(stream, message)
    }

    /// Asks the peer for a sign of life; its answer counts as received bytes.
    pub fn ping(&mut self, time_ms: u32) {
        if !matches!(self.state, State::Handshake(_) | State::Closing) {
            self.link.control(&Message::UserControl(UserControl::Ping(time_ms)));
        }
    }

    fn close(&mut self) {
        self.state = State::Closing;
        self.deadline = None;
    }

    fn expect(&mut self, phase: Phase, now: Instant) {
        let within = match phase {
            Phase::Handshake => self.config.timeouts.handshake,
            Phase::Connect => self.config.timeouts.connect,
            Phase::Request => self.config.timeouts.request,
        };
        self.deadline = Some((phase, now + within));
    }

    fn check_deadline(&self, now: Instant) -> Result<(), SessionError> {
        match self.deadline {
            Some((phase, at)) if now >= at => Err(SessionError::TimedOut(phase)),
            _ => Ok(()),
        }
    }

    fn inbound(&mut self, stream: u32, inbound: Inbound, now: Instant) -> Option<ServerEvent> {
        match inbound {
            Inbound::Command(command) => self.command(stream, command, now),
            Inbound::Media { medium, timestamp_ms, payload } => {
                if matches!(self.state, State::Active(Direction::Publish, _)) {
                    return Some(ServerEvent::Media(MediaMessage { medium, timestamp_ms, payload }));
                }
                self.unexpected += 1;
                None
            }
            Inbound::StreamEnd => None,
        }
    }
}
