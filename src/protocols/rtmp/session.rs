//! The dialogue between an RTMP client and server, both sides, without sockets or clock.
//!
//! The caller keeps a `BytesMut` of what it has read and an eye on the session's output:
//!
//! ```text
//! loop {
//!     while let Some(event) = session.next(&mut input, now)? { … }   // answers go into the output
//!     socket.write_buf(session.output()) …                           // whenever there is some
//!     if session.is_closing() and the output is empty: shut down sending, read to the end or for some seconds, hang up
//!     wait for: bytes to read if session.wants_input(), room to write, session.deadline()
//! }
//! ```
//!
//! Hanging up over input that was not read would reset the connection, and the peer might lose the reason it was told.
//!
//! One event is made at a time, from the input and nothing else, so no queue of events can grow. What is not consumed of the
//! input is less than a chunk's header.
mod capabilities;
mod client;
mod link;
mod server;
mod status;
mod target;

use std::time::Duration;

use bytes::Bytes;

pub use capabilities::{Capabilities, caps_ex};
pub use client::{ClientConfig, ClientEvent, ClientSession, Purpose};
pub use server::{ConnectInfo, NoRequest, ServerConfig, ServerEvent, ServerSession, StreamRequest};
pub use status::{Rejection, code};
pub use target::{ClientUrl, StreamTarget, UrlError};

use super::wire::amf::AmfLimits;
use super::wire::chunk::{ChunkError, ChunkLimits};
use super::wire::handshake::HandshakeError;
use super::wire::message::MessageError;

/// Caps on what a peer may send, and on what waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Of chunks and messages.
    pub chunks: ChunkLimits,
    /// Of values in commands.
    pub amf: AmfLimits,
    /// Media waiting to be sent, bytes; more is refused.
    pub output_bytes_max: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { chunks: ChunkLimits::default(), amf: AmfLimits::default(), output_bytes_max: 4 << 20 }
    }
}

/// What a media message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Medium {
    /// An FLV audio tag's body: [`AudioPackets`](super::wire::flv::audio::AudioPackets) reads it.
    Audio,
    /// An FLV video tag's body: [`VideoPackets`](super::wire::flv::video::VideoPackets) reads it.
    Video,
    /// An FLV script tag's body: [`Script`](super::wire::flv::script::Script) reads it.
    Data,
}

/// A message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaMessage {
    /// What it carries.
    pub medium: Medium,
    /// The publisher's time, milliseconds; wraps after 49 days, and may do anything else.
    pub timestamp_ms: u32,
    /// Its payload. It may be a share of the input, which lives as long: copy what is small and kept for long.
    pub payload: Bytes,
}

/// What the peer was expected to do when its time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The handshake.
    Handshake,
    /// To connect to an application, or for a client: everything up to the stream's start.
    Connect,
    /// To publish or play.
    Request,
}

/// Why a session ended. The connection is of no further use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The peer does not speak RTMP.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The peer's chunks cannot be followed or are beyond a cap.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The peer's message cannot be understood or is beyond a cap.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The peer does not take what it asked for.
    #[error("{0} bytes wait to be taken by the peer")]
    OutputFull(usize),
    /// The peer takes too long.
    #[error("timed out waiting for the peer: {0:?}")]
    TimedOut(Phase),
}

/// Why a message was not queued; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No stream is under way in that direction.
    #[error("no stream is under way")]
    NoStream,
    /// The peer is slow: drop up to the next key frame, or hang up.
    #[error("{0} bytes wait to be taken by the peer")]
    Full(usize),
    /// Longer than a message can be.
    #[error("{0} bytes are longer than a message can be")]
    TooLong(usize),
}

/// How long a peer may take for each step; sending a byte now and then does not extend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the handshake.
    pub handshake: Duration,
    /// From there to the end of `connect`; for a client to the start of its stream.
    pub connect: Duration,
    /// From there, and from the end of a stream, to the request of the next.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let of_secs = Duration::from_secs;
        Self { handshake: of_secs(10), connect: of_secs(10), request: of_secs(15) }
    }
}

#[cfg(test)]
mod tests;
