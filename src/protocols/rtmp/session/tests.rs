use std::time::Instant;

use bytes::{Buf, BytesMut};

use super::super::wire::amf::{Amf, amf0};
use super::super::wire::chunk::{ChunkWriter, MessageHeader};
use super::super::wire::flv::FourCc;
use super::super::wire::flv::audio::AudioCodec;
use super::super::wire::flv::emit::{AudioTrackWriter, VideoTrackWriter, data};
use super::super::wire::flv::video::{VideoBody, VideoCodec, VideoPackets};
use super::super::wire::message::Command;
use super::super::wire::output::Output;
use super::link::{Inbound, Link};
use super::*;

mod dialogue;
mod hostile;

/// Both sides of a connection, and what is on its way.
struct Pair {
    client: ClientSession,
    server: ServerSession,
    to_server: BytesMut,
    to_client: BytesMut,
    now: Instant,
    /// Bytes carried at a time.
    step: usize,
}

impl Pair {
    fn new(url: &str, purpose: Purpose, config: ServerConfig) -> Self {
        let now = Instant::now();
        let client = ClientConfig::new(ClientUrl::parse(url).unwrap(), purpose);
        Self {
            client: ClientSession::new(client, 1, now),
            server: ServerSession::new(config, 2, now),
            to_server: BytesMut::new(),
            to_client: BytesMut::new(),
            now,
            step: usize::MAX,
        }
    }

    fn publish(url: &str) -> Self {
        Self::new(url, Purpose::Publish, ServerConfig::default())
    }

    /// Carries bytes until nothing moves or a side has something to say; the server's events and the client's.
    fn run(&mut self) -> (Vec<ServerEvent>, Vec<ClientEvent>) {
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        loop {
            at_client.extend(self.client.next(&mut self.to_client, self.now).unwrap());
            at_server.extend(self.server.next(&mut self.to_server, self.now).unwrap());
            let there = carry(self.client.output(), &mut self.to_server, self.step);
            let back = carry(self.server.output(), &mut self.to_client, self.step);
            if there + back == 0 {
                at_server.extend(drain(|| self.server.next(&mut self.to_server, self.now).unwrap()));
                at_client.extend(drain(|| self.client.next(&mut self.to_client, self.now).unwrap()));
                if self.client.output().is_empty() && self.server.output().is_empty() {
                    return (at_server, at_client);
                }
            }
        }
    }

    /// Up to a running stream.
    fn started(mut self) -> Self {
        let (events, _) = self.run();
        assert!(matches!(events[..], [ServerEvent::Connected(_), _]), "{events:?}");
        self.server.accept().unwrap();
        let (_, events) = self.run();
        assert!(matches!(events[..], [ClientEvent::Started { .. }]), "{events:?}");
        self
    }
}

fn drain<T>(mut next: impl FnMut() -> Option<T>) -> Vec<T> {
    std::iter::from_fn(&mut next).collect()
}

fn carry(from: &mut Output, to: &mut BytesMut, step: usize) -> usize {
    let count = from.len().min(step);
    to.extend_from_slice(&from.copy_to_bytes(count));
    count
}

fn message(medium: Medium, timestamp_ms: u32, payload: impl Into<Bytes>) -> MediaMessage {
    MediaMessage { medium, timestamp_ms, payload: payload.into() }
}

/// A peer that writes what it likes.
struct Raw {
    writer: ChunkWriter,
    output: Output,
    answers: Link,
}

impl Raw {
    /// After a simple handshake.
    fn connected() -> (Self, ServerSession, Instant) {
        let (mut raw, mut session, now) = Self::shaken();
        raw.command(0, "connect", 1.0, Amf::object([("app", Amf::text("live")), ("flashVer", Amf::text("x"))]), &[]);
        let event = raw.say(&mut session, now).unwrap();
        assert!(matches!(event[..], [ServerEvent::Connected(_)]), "{event:?}");
        assert_eq!(raw.answers(&mut session).len(), 1);
        (raw, session, now)
    }

    fn shaken() -> (Self, ServerSession, Instant) {
        let now = Instant::now();
        let mut session = ServerSession::new(ServerConfig::default(), 1, now);
        let mut hello = BytesMut::from(&[3][..]);
        hello.resize(1 + 2 * 1536, 0);
        assert_eq!(session.next(&mut hello, now), Ok(None));
        assert!(hello.is_empty());
        session.output().clear();
        let answers = Link::new(SessionLimits::default());
        (Self { writer: ChunkWriter::default(), output: Output::default(), answers }, session, now)
    }

    fn message(&mut self, kind: u8, stream: u32, payload: &[u8]) {
        let header = MessageHeader { timestamp_ms: 0, kind, stream };
        self.writer.write(3, header, Bytes::copy_from_slice(payload), &mut self.output);
    }

    fn command(&mut self, stream: u32, name: &str, transaction: f64, object: Amf, arguments: &[Amf]) {
        let mut payload = BytesMut::new();
        let head = [Amf::text(name), Amf::Number(transaction), object];
        head.iter().chain(arguments).for_each(|value| amf0::write(value, &mut payload));
        self.message(20, stream, &payload);
    }

    fn call(&mut self, stream: u32, name: &str, transaction: f64, arguments: &[Amf]) {
        self.command(stream, name, transaction, Amf::Null, arguments);
    }

    /// The commands among what the server has written, and their streams.
    fn answers(&mut self, session: &mut ServerSession) -> Vec<(u32, Command)> {
        let length = session.output().len();
        let mut input = BytesMut::from(&session.output().copy_to_bytes(length)[..]);
        let mut found = Vec::new();
        while let Some((stream, inbound)) = self.answers.next(&mut input).unwrap() {
            if let Inbound::Command(command) = inbound {
                found.push((stream, command));
            }
        }
        found
    }

    /// Sends what was written; the server's events.
    fn say(&mut self, session: &mut ServerSession, now: Instant) -> Result<Vec<ServerEvent>, SessionError> {
        let length = self.output.len();
        let mut input = BytesMut::from(&self.output.copy_to_bytes(length)[..]);
        std::iter::from_fn(|| session.next(&mut input, now).transpose()).collect()
    }
}
