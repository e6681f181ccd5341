//! What both sides of a connection do alike: chunks in and out, chunk sizes, acknowledgements, pings.
use bytes::{Bytes, BytesMut};

use super::super::wire::amf::Amf;
use super::super::wire::chunk::{ChunkReader, ChunkWriter, MESSAGE_BYTES_MAX, MessageHeader, RawMessage};
use super::super::wire::message::{Aggregate, Command, Message, UserControl, kind};
use super::super::wire::output::Output;
use super::{MediaMessage, Medium, SendError, SessionError, SessionLimits};

/// Answers waiting for a peer that is not sent media: it asks and does not read.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Bytes between acknowledgements at most, whatever window the peer asks for: encoders stop when none comes.
const WINDOW_BYTES: u32 = 2_500_000;
/// The kind of bandwidth limit that may be ignored or followed: dynamic.
const DYNAMIC: u8 = 2;

const CONTROL_CHUNKS: u8 = 2;
const COMMAND_CHUNKS: u8 = 3;
const AUDIO_CHUNKS: u8 = 4;
const DATA_CHUNKS: u8 = 5;
const VIDEO_CHUNKS: u8 = 6;

/// A message that is for the session.
pub(super) enum Inbound {
    Command(Command),
    Media { medium: Medium, timestamp_ms: u32, payload: Bytes },
    StreamEnd,
}

/// The chunk streams of a connection whose handshake is done.
#[derive(Debug)]
pub(super) struct Link {
    reader: ChunkReader,
    writer: ChunkWriter,
    pub(super) output: Output,
    limits: SessionLimits,
    /// Bytes received in all, and when they were last acknowledged.
    received: u64,
    acknowledged: u64,
    window: u32,
    /// What is left of an aggregate message.
    aggregate: Option<Aggregate>,
    /// What may wait to be sent, bytes: answers only, until media is sent.
    waiting_max: usize,
}

impl Link {
    pub(super) fn new(limits: SessionLimits) -> Self {
        Self {
            reader: ChunkReader::new(limits.chunks),
            writer: ChunkWriter::default(),
            output: Output::default(),
            limits,
            received: 0,
            acknowledged: 0,
            window: WINDOW_BYTES,
            aggregate: None,
            waiting_max: ANSWER_BYTES_MAX,
        }
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.received
    }

    /// The next message for the session and its message stream; `None` when more input is needed.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<(u32, Inbound)>, SessionError> {
        loop {
            let Some(raw) = self.next_raw(input)? else { return Ok(None) };
            let header = raw.header;
            let inbound = self.understand(raw)?;
            if self.output.len() > self.waiting_max {
                return Err(SessionError::OutputFull(self.output.len()));
            }
            if let Some(inbound) = inbound {
                return Ok(Some((header.stream, inbound)));
            }
        }
    }

    fn next_raw(&mut self, input: &mut BytesMut) -> Result<Option<RawMessage>, SessionError> {
        if let Some(inner) = self.aggregate.as_mut().and_then(Iterator::next) {
            return Ok(Some(inner));
        }
        self.aggregate = None;
        let before = input.len();
        let raw = self.reader.read(input);
        self.received += (before - input.len()) as u64;
        if self.received - self.acknowledged >= u64::from(self.window) {
            self.acknowledged = self.received;
            // The field wraps, as the specification has it.
            self.control(&Message::Acknowledgement(self.received as u32));
        }
        Ok(raw?)
    }

    /// Does what concerns the connection itself.
    fn understand(&mut self, raw: RawMessage) -> Result<Option<Inbound>, SessionError> {
        let timestamp_ms = raw.header.timestamp_ms;
        let media = |medium, payload| Some(Inbound::Media { medium, timestamp_ms, payload });
        Ok(match Message::read(raw, &self.limits.amf)? {
            Message::Audio(payload) => media(Medium::Audio, payload),
            Message::Video(payload) => media(Medium::Video, payload),
            Message::Data(payload) => media(Medium::Data, payload),
            Message::Command(command) => Some(Inbound::Command(command)),
            Message::Aggregate(aggregate) => {
                self.aggregate = Some(aggregate);
                None
            }
            Message::SetChunkSize(size) => {
                self.reader.set_chunk_bytes(size)?;
                None
            }
            Message::Abort(stream) => {
                self.reader.abort(stream);
                None
            }
            Message::WindowSize(bytes) => {
                // Half of it, so that the peer never waits; never so little that it costs more than it brings.
                self.window = (bytes / 2).clamp(64 << 10, WINDOW_BYTES);
                None
            }
            Message::PeerBandwidth(..) => {
                self.control(&Message::WindowSize(WINDOW_BYTES));
                None
            }
            Message::UserControl(UserControl::Ping(time)) => {
                self.control(&Message::UserControl(UserControl::Pong(time)));
                None
            }
            Message::UserControl(UserControl::StreamEnd(_)) => Some(Inbound::StreamEnd),
            Message::UserControl(_) | Message::Acknowledgement(_) | Message::Other(_) => None,
        })
    }

    /// Queues a message of the connection itself.
    pub(super) fn control(&mut self, message: &Message) {
        if let Some((kind, payload)) = message.control() {
            let header = MessageHeader { timestamp_ms: 0, kind, stream: 0 };
            self.writer.write(CONTROL_CHUNKS, header, payload, &mut self.output);
        }
    }

    /// Queues a command on a message stream.
    pub(super) fn command(&mut self, stream: u32, command: Command) {
        if let Some((kind, payload)) = Message::Command(command).control() {
            let header = MessageHeader { timestamp_ms: 0, kind, stream };
            self.writer.write(COMMAND_CHUNKS, header, payload, &mut self.output);
        }
    }

    /// Queues `onStatus` on a message stream.
    pub(super) fn status(&mut self, stream: u32, status: Amf) {
        self.command(stream, Command::new("onStatus", 0.0, Amf::Null).with(status));
    }

    /// Tells window, bandwidth and chunk size, as servers do before they answer `connect`.
    pub(super) fn greet(&mut self, chunk_bytes: u32) {
        self.control(&Message::WindowSize(WINDOW_BYTES));
        self.control(&Message::PeerBandwidth(WINDOW_BYTES, DYNAMIC));
        self.set_chunk_bytes(chunk_bytes);
    }

    /// Tells the size of the chunks that follow and uses it.
    pub(super) fn set_chunk_bytes(&mut self, size: u32) {
        self.control(&Message::SetChunkSize(size));
        self.writer.set_chunk_bytes(size);
    }

    /// Queues media, unless too much waits already.
    pub(super) fn media(&mut self, stream: u32, message: MediaMessage) -> Result<(), SendError> {
        let MediaMessage { medium, timestamp_ms, payload } = message;
        if payload.len() > MESSAGE_BYTES_MAX {
            return Err(SendError::TooLong(payload.len()));
        }
        // One message always fits an empty queue.
        if !self.output.is_empty() && self.output.len() + payload.len() > self.limits.output_bytes_max {
            return Err(SendError::Full(self.output.len()));
        }
        self.waiting_max = self.limits.output_bytes_max.saturating_add(payload.len() + ANSWER_BYTES_MAX);
        let (chunks, kind) = match medium {
            Medium::Audio => (AUDIO_CHUNKS, kind::AUDIO),
            Medium::Video => (VIDEO_CHUNKS, kind::VIDEO),
            Medium::Data => (DATA_CHUNKS, kind::DATA),
        };
        self.writer.write(chunks, MessageHeader { timestamp_ms, kind, stream }, payload, &mut self.output);
        Ok(())
    }
}
