//! Messages (RTMP 1.0 sections 5.4, 6.2 and 7.1): what a type and a payload mean, and how to write them.
mod aggregate;

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub use aggregate::Aggregate;

use super::amf::{Amf, AmfError, AmfLimits, amf0};
use super::chunk::RawMessage;

/// Message types.
pub mod kind {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User Control.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const PEER_BANDWIDTH: u8 = 6;
    /// Audio.
    pub const AUDIO: u8 = 8;
    /// Video.
    pub const VIDEO: u8 = 9;
    /// Data, with AMF3 allowed inside.
    pub const DATA_AMF3: u8 = 15;
    /// Command, with AMF3 allowed inside.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data.
    pub const DATA: u8 = 18;
    /// Command.
    pub const COMMAND: u8 = 20;
    /// Aggregate.
    pub const AGGREGATE: u8 = 22;
}

/// Why a message cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A control message is shorter than its fields.
    #[error("a control message of type {0} is cut short")]
    CutShort(u8),
    /// A command's values are broken.
    #[error("a command cannot be read: {0}")]
    Amf(#[from] AmfError),
    /// A command does not start with a name and a number.
    #[error("a command has no name")]
    NoName,
}

/// A message, understood as far as the connection needs it; media and data keep their payload.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Size of the chunks that follow, bytes.
    SetChunkSize(u32),
    /// The unfinished message of this chunk stream will not be finished.
    Abort(u32),
    /// Bytes received by the peer so far; wraps.
    Acknowledgement(u32),
    /// Stream events and pings.
    UserControl(UserControl),
    /// The peer wants an acknowledgement each so many bytes.
    WindowSize(u32),
    /// The peer limits what may be on its way to it; with the kind of limit.
    PeerBandwidth(u32, u8),
    /// An FLV audio tag's body.
    Audio(Bytes),
    /// An FLV video tag's body.
    Video(Bytes),
    /// An FLV script tag's body, in AMF0 with AMF3 values marked as such.
    Data(Bytes),
    /// A command.
    Command(Command),
    /// Several audio, video and data messages in one.
    Aggregate(Aggregate),
    /// Shared objects and unknown types.
    Other(u8),
}

/// User control events (7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserControl {
    /// A stream can be used.
    StreamBegin(u32),
    /// A stream has ended.
    StreamEnd(u32),
    /// The client's buffer for a stream, milliseconds.
    BufferLength {
        /// The stream.
        stream: u32,
        /// Its buffer.
        millis: u32,
    },
    /// Asks for a [`UserControl::Pong`] with the same time.
    Ping(u32),
    /// Answers a [`UserControl::Ping`].
    Pong(u32),
    /// Anything else.
    Other(u16),
}

/// A remote procedure call or an answer to one (7.2).
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Procedure, `_result`, `_error` or `onStatus`.
    pub name: String,
    /// Ties an answer to its call; 0 when none is wanted.
    pub transaction: f64,
    /// The command object; null when there is none.
    pub object: Amf,
    /// What follows.
    pub arguments: Vec<Amf>,
}

impl Message {
    /// Understands a message.
    pub fn read(message: RawMessage, limits: &AmfLimits) -> Result<Self, MessageError> {
        let RawMessage { header, mut payload } = message;
        let cut_short = |_| MessageError::CutShort(header.kind);
        Ok(match header.kind {
            kind::SET_CHUNK_SIZE => Self::SetChunkSize(payload.try_get_u32().map_err(cut_short)?),
            kind::ABORT => Self::Abort(payload.try_get_u32().map_err(cut_short)?),
            kind::ACKNOWLEDGEMENT => Self::Acknowledgement(payload.try_get_u32().map_err(cut_short)?),
            kind::USER_CONTROL => Self::UserControl(UserControl::read(payload).map_err(cut_short)?),
            kind::WINDOW_SIZE => Self::WindowSize(payload.try_get_u32().map_err(cut_short)?),
            kind::PEER_BANDWIDTH => {
                let window = payload.try_get_u32().map_err(cut_short)?;
                Self::PeerBandwidth(window, payload.try_get_u8().unwrap_or(0))
            }
            kind::AUDIO => Self::Audio(payload),
            kind::VIDEO => Self::Video(payload),
            kind::DATA => Self::Data(payload),
            kind::DATA_AMF3 => Self::Data(without_format(payload)),
            kind::COMMAND => Self::Command(Command::read(&payload, limits)?),
            kind::COMMAND_AMF3 => Self::Command(Command::read(&without_format(payload), limits)?),
            kind::AGGREGATE => Self::Aggregate(Aggregate::new(header.timestamp_ms, payload)),
            other => Self::Other(other),
        })
    }

    /// Type and payload of a message that is sent by the connection itself; `None` for what carries media.
    pub fn control(&self) -> Option<(u8, Bytes)> {
        let number = |kind, number: u32| Some((kind, Bytes::copy_from_slice(&number.to_be_bytes())));
        match self {
            Self::SetChunkSize(size) => number(kind::SET_CHUNK_SIZE, *size),
            Self::Abort(stream) => number(kind::ABORT, *stream),
            Self::Acknowledgement(bytes) => number(kind::ACKNOWLEDGEMENT, *bytes),
            Self::WindowSize(bytes) => number(kind::WINDOW_SIZE, *bytes),
            Self::UserControl(event) => Some((kind::USER_CONTROL, event.write())),
            Self::PeerBandwidth(bytes, limit) => {
                let mut payload = BytesMut::with_capacity(5);
                payload.put_u32(*bytes);
                payload.put_u8(*limit);
                Some((kind::PEER_BANDWIDTH, payload.freeze()))
            }
            Self::Command(command) => Some((kind::COMMAND, command.write())),
            Self::Audio(_) | Self::Video(_) | Self::Data(_) | Self::Aggregate(_) | Self::Other(_) => None,
        }
    }
}

/// The byte that names the format of AMF3 messages is 0, and some encoders leave it out; no command and no data message
/// starts with a number, which is what 0 would mean.
fn without_format(mut payload: Bytes) -> Bytes {
    if payload.first() == Some(&0) {
        payload.advance(1);
    }
    payload
}

impl UserControl {
    fn read(mut payload: Bytes) -> Result<Self, bytes::TryGetError> {
        Ok(match payload.try_get_u16()? {
            0 => Self::StreamBegin(payload.try_get_u32()?),
            1 => Self::StreamEnd(payload.try_get_u32()?),
            3 => Self::BufferLength { stream: payload.try_get_u32()?, millis: payload.try_get_u32()? },
            6 => Self::Ping(payload.try_get_u32()?),
            7 => Self::Pong(payload.try_get_u32()?),
            other => Self::Other(other),
        })
    }

    fn write(self) -> Bytes {
        let mut payload = BytesMut::with_capacity(10);
        let (event, number) = match self {
            Self::StreamBegin(stream) => (0, Some(stream)),
            Self::StreamEnd(stream) => (1, Some(stream)),
            Self::BufferLength { stream, .. } => (3, Some(stream)),
            Self::Ping(time) => (6, Some(time)),
            Self::Pong(time) => (7, Some(time)),
            Self::Other(event) => (event, None),
        };
        payload.put_u16(event);
        payload.extend(number.iter().flat_map(|number| number.to_be_bytes()));
        if let Self::BufferLength { millis, .. } = self {
            payload.put_u32(millis);
        }
        payload.freeze()
    }
}

impl Command {
    /// A command without arguments.
    pub fn new(name: &str, transaction: f64, object: Amf) -> Self {
        Self { name: name.to_owned(), transaction, object, arguments: Vec::new() }
    }

    /// With one more argument.
    #[must_use]
    pub fn with(mut self, argument: Amf) -> Self {
        self.arguments.push(argument);
        self
    }

    /// An argument.
    pub fn argument(&self, index: usize) -> &Amf {
        self.arguments.get(index).unwrap_or(&Amf::Undefined)
    }

    fn read(payload: &[u8], limits: &AmfLimits) -> Result<Self, MessageError> {
        let mut reader = amf0::Reader::new(payload, limits);
        let Some(Amf::String(name)) = reader.next_value()? else { return Err(MessageError::NoName) };
        // A call without even a number is known from old encoders.
        let transaction = reader.next_value()?.and_then(|value| value.as_number()).unwrap_or(0.0);
        let object = reader.next_value()?.unwrap_or(Amf::Null);
        Ok(Self { name, transaction, object, arguments: reader.rest()? })
    }

    fn write(&self) -> Bytes {
        let mut payload = BytesMut::new();
        amf0::write(&Amf::text(self.name.as_str()), &mut payload);
        amf0::write(&Amf::Number(self.transaction), &mut payload);
        amf0::write(&self.object, &mut payload);
        self.arguments.iter().for_each(|argument| amf0::write(argument, &mut payload));
        payload.freeze()
    }
}

#[cfg(test)]
mod tests;
