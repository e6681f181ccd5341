//! The client's side: publishes or plays one stream.
use std::time::Instant;

use bytes::BytesMut;

use super::super::wire::amf::Amf;
use super::super::wire::handshake::ClientHandshake;
use super::super::wire::message::{Command, Message, UserControl};
use super::super::wire::output::Output;
use super::link::{Inbound, Link};
use super::status::code;
use super::{
    Capabilities, ClientUrl, MediaMessage, Phase, Rejection, SendError, SessionError, SessionLimits, Timeouts,
};

/// Codec flags of the legacy `connect`: all of them.
const ALL_AUDIO_CODECS: f64 = 4095.0;
const ALL_VIDEO_CODECS: f64 = 255.0;
/// Buffer asked for when playing, milliseconds.
const BUFFER_MS: u32 = 1000;

/// What to do with the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Send it.
    Publish,
    /// Receive it.
    Play,
}

/// How a client session behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Where it is.
    pub url: ClientUrl,
    /// What to do with it.
    pub purpose: Purpose,
    /// Caps.
    pub limits: SessionLimits,
    /// How long the server may take.
    pub timeouts: Timeouts,
    /// Size of the chunks we send, bytes.
    pub chunk_bytes: u32,
    /// What the server is told of E-RTMP.
    pub capabilities: Capabilities,
    /// What the client calls itself.
    pub agent: String,
}

impl ClientConfig {
    /// With the defaults.
    pub fn new(url: ClientUrl, purpose: Purpose) -> Self {
        Self {
            url,
            purpose,
            limits: SessionLimits::default(),
            timeouts: Timeouts::default(),
            chunk_bytes: 60_000,
            capabilities: Capabilities::default(),
            agent: "FMLE/3.0 (compatible; Playhouse)".to_owned(),
        }
    }
}

/// Something the caller has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// The stream may be sent, or is about to come.
    Started {
        /// What the server can do beyond RTMP 1.0.
        server: Capabilities,
    },
    /// A message of the stream that is played.
    Media(MediaMessage),
    /// The server refuses, or ends the stream with an error.
    Rejected(Rejection),
    /// The server asks to go on elsewhere from the next key frame.
    ReconnectRequested {
        /// Where; the same URL when absent. May be relative to the one in use.
        tc_url: Option<String>,
        /// For people.
        description: String,
    },
    /// The stream that is played has ended.
    Ended,
}

/// One connection to a server.
#[derive(Debug)]
pub struct ClientSession {
    config: ClientConfig,
    link: Link,
    state: State,
    deadline: Option<(Phase, Instant)>,
    server: Capabilities,
    last_call: f64,
}

#[derive(Debug)]
enum State {
    Handshake(ClientHandshake),
    /// Called, and waiting for the answer with this number.
    Connecting(f64),
    Creating(f64),
    /// Asked to publish or play this message stream.
    Requested(u32),
    Started(u32),
    /// The output is sent and then the connection closed.
    Closing,
}

impl ClientSession {
    /// A session for a connection just made. `seed` fills handshake packets; it is no secret. The output has the first bytes
    /// after the first call of [`next`](Self::next).
    pub fn new(config: ClientConfig, seed: u64, now: Instant) -> Self {
        Self {
            link: Link::new(config.limits),
            state: State::Handshake(ClientHandshake::new(seed)),
            deadline: Some((Phase::Handshake, now + config.timeouts.handshake)),
            server: Capabilities::none(),
            last_call: 0.0,
            config,
        }
    }

    /// Consumes input up to the next event; `None` when more input is needed.
    pub fn next(&mut self, input: &mut BytesMut, now: Instant) -> Result<Option<ClientEvent>, SessionError> {
        if let Some((phase, at)) = self.deadline
            && now >= at
        {
            return Err(SessionError::TimedOut(phase));
        }
        loop {
            match &mut self.state {
                State::Closing => {
                    input.clear();
                    return Ok(None);
                }
                State::Handshake(handshake) => {
                    if handshake.advance(input, &mut self.link.output)?.is_none() {
                        return Ok(None);
                    }
                    self.connect();
                    self.deadline = Some((Phase::Connect, now + self.config.timeouts.connect));
                }
                _ => {
                    let Some((stream, inbound)) = self.link.next(input)? else { return Ok(None) };
                    if let Some(event) = self.inbound(stream, inbound) {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// When [`next`](Self::next) is to be called even without input.
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

    /// Bytes of chunks received.
    pub fn received_bytes(&self) -> u64 {
        self.link.received_bytes()
    }

    /// Queues a message of the stream that is published. Metadata is to be sent as `@setDataFrame`, which the server expects
    /// of publishers.
    pub fn send(&mut self, message: MediaMessage) -> Result<(), SendError> {
        match (&self.state, self.config.purpose) {
            (State::Started(stream), Purpose::Publish) => self.link.media(*stream, message),
            _ => Err(SendError::NoStream),
        }
    }

    /// Ends the stream as encoders do, and closes.
    pub fn close(&mut self) {
        if let State::Started(stream) | State::Requested(stream) = self.state {
            if self.config.purpose == Purpose::Publish {
                self.call_stream("FCUnpublish");
            }
            let delete = self.call("deleteStream").with(Amf::Number(f64::from(stream)));
            self.link.command(0, delete);
        }
        self.state = State::Closing;
        self.deadline = None;
    }

    fn inbound(&mut self, stream: u32, inbound: Inbound) -> Option<ClientEvent> {
        match inbound {
            Inbound::Command(command) => self.command(stream, &command),
            Inbound::Media { medium, timestamp_ms, payload } => {
                // What a server sends before it says that playing starts is part of it.
                let plays = matches!(self.state, State::Started(_) | State::Requested(_));
                let message = MediaMessage { medium, timestamp_ms, payload };
                (plays && self.config.purpose == Purpose::Play).then_some(ClientEvent::Media(message))
            }
            Inbound::StreamEnd => self.ended(),
        }
    }

    fn ended(&mut self) -> Option<ClientEvent> {
        let plays = self.config.purpose == Purpose::Play && matches!(self.state, State::Started(_));
        plays.then(|| {
            self.close();
            ClientEvent::Ended
        })
    }

    /// A command with a number of its own.
    fn call(&mut self, name: &str) -> Command {
        self.last_call += 1.0;
        Command::new(name, self.last_call, Amf::Null)
    }

    /// Calls something that concerns the stream by name.
    fn call_stream(&mut self, name: &str) {
        let command = self.call(name).with(Amf::text(self.config.url.stream.as_str()));
        self.link.command(0, command);
    }

    fn connect(&mut self) {
        self.link.set_chunk_bytes(self.config.chunk_bytes);
        let mut connect = self.call("connect");
        let text = |name: &str, value: &str| (name.to_owned(), Amf::text(value));
        let mut members = vec![
            text("app", &self.config.url.app),
            text("flashVer", &self.config.agent),
            text("tcUrl", &self.config.url.tc_url),
        ];
        if self.config.purpose == Purpose::Publish {
            members.push(text("type", "nonprivate"));
        } else {
            members.push(("audioCodecs".to_owned(), Amf::Number(ALL_AUDIO_CODECS)));
            members.push(("videoCodecs".to_owned(), Amf::Number(ALL_VIDEO_CODECS)));
        }
        members.extend(self.config.capabilities.members());
        connect.object = Amf::Object(members);
        self.state = State::Connecting(connect.transaction);
        self.link.command(0, connect);
    }

    fn command(&mut self, stream: u32, command: &Command) -> Option<ClientEvent> {
        match command.name.as_str() {
            "_result" => self.answered(command),
            "_error" => self.failed(command),
            "onStatus" => self.status(stream, command),
            _ => None,
        }
    }

    fn answered(&mut self, command: &Command) -> Option<ClientEvent> {
        match self.state {
            State::Connecting(call) if command.transaction == call => {
                self.server = Capabilities::read(command.argument(0));
                if !self.server.is_enhanced {
                    self.server = Capabilities::read(&command.object);
                }
                if self.config.purpose == Purpose::Publish {
                    self.call_stream("releaseStream");
                    self.call_stream("FCPublish");
                }
                let create = self.call("createStream");
                self.state = State::Creating(create.transaction);
                self.link.command(0, create);
            }
            State::Creating(call) if command.transaction == call => {
                let stream = command.argument(0).as_number().unwrap_or(1.0) as u32;
                self.request(stream);
            }
            _ => {}
        }
        None
    }

    fn request(&mut self, stream: u32) {
        let name = Amf::text(self.config.url.stream.as_str());
        let command = match self.config.purpose {
            Purpose::Publish => self.call("publish").with(name).with(Amf::text("live")),
            Purpose::Play => self.call("play").with(name),
        };
        self.link.command(stream, command);
        if self.config.purpose == Purpose::Play {
            let buffer = UserControl::BufferLength { stream, millis: BUFFER_MS };
            self.link.control(&Message::UserControl(buffer));
        }
        self.state = State::Requested(stream);
    }

    /// Only what is waited for matters: servers are known that do not know `releaseStream`.
    fn failed(&mut self, command: &Command) -> Option<ClientEvent> {
        match self.state {
            State::Connecting(call) | State::Creating(call) if command.transaction == call => {
                Some(self.rejected(command.argument(0)))
            }
            _ => None,
        }
    }

    fn rejected(&mut self, status: &Amf) -> ClientEvent {
        self.close();
        ClientEvent::Rejected(Rejection::read(status))
    }

    fn status(&mut self, stream: u32, command: &Command) -> Option<ClientEvent> {
        let info = command.argument(0);
        let text = |name| info.get(name).and_then(Amf::as_str);
        let code = text("code").unwrap_or_default();
        if code == code::RECONNECT_REQUEST {
            let tc_url = text("tcUrl").map(str::to_owned);
            let description = text("description").unwrap_or_default().to_owned();
            return Some(ClientEvent::ReconnectRequested { tc_url, description });
        }
        if text("level") == Some("error") {
            return Some(self.rejected(info));
        }
        match (code, &self.state) {
            // Servers are known that answer on stream 0.
            (code::PUBLISH_START | code::PLAY_START, State::Requested(asked)) if stream == *asked || stream == 0 => {
                self.state = State::Started(*asked);
                self.deadline = None;
                Some(ClientEvent::Started { server: self.server.clone() })
            }
            (code::PLAY_STOP | code::PLAY_UNPUBLISH_NOTIFY, _) => self.ended(),
            _ => None,
        }
    }
}
