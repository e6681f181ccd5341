//! The chunk stream (RTMP 1.0 section 5.3): messages cut into chunks and interleaved.
mod reader;
mod writer;

use bytes::Bytes;

pub use reader::ChunkReader;
pub use writer::ChunkWriter;

/// Chunk size of both directions until one is set.
pub const CHUNK_BYTES_DEFAULT: u32 = 128;
/// Longest message that can be written: its length has 24 bits.
pub const MESSAGE_BYTES_MAX: usize = 0xff_ffff;
/// The value of a timestamp field that says: the timestamp has a field of its own, of 32 bits.
const EXTENDED: u32 = 0xff_ffff;

/// Caps on what a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Longest message, bytes.
    pub message_bytes_max: usize,
    /// Number of chunk streams used: real peers have fewer than ten.
    pub streams_max: usize,
    /// Sum of the lengths of all messages begun and not ended, bytes.
    pub buffered_bytes_max: usize,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self { message_bytes_max: 8 << 20, streams_max: 64, buffered_bytes_max: 16 << 20 }
    }
}

/// Why a chunk stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A message is longer than allowed.
    #[error("a message of {bytes} bytes is longer than the {max} allowed")]
    MessageTooLong {
        /// Its length.
        bytes: usize,
        /// The cap.
        max: usize,
    },
    /// More chunk streams than allowed.
    #[error("more than {0} chunk streams")]
    TooManyStreams(usize),
    /// Unfinished messages on many chunk streams.
    #[error("unfinished messages of more than {0} bytes")]
    TooMuchBuffered(usize),
    /// A chunk refers to a header that never came.
    #[error("chunk stream {0} starts without a full header")]
    NoHeader(u32),
    /// A new message begins inside another one of its chunk stream.
    #[error("a message begins inside another one on chunk stream {0}")]
    Unfinished(u32),
    /// A chunk size of zero or with its highest bit set.
    #[error("chunk size {0} is not allowed")]
    ChunkSize(u32),
}

/// What a message is, apart from its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageHeader {
    /// Milliseconds; wraps.
    pub timestamp_ms: u32,
    /// Type (RTMP 1.0 sections 5.4 and 7.1).
    pub kind: u8,
    /// Message stream; 0 is the connection itself.
    pub stream: u32,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// What it is.
    pub header: MessageHeader,
    /// Its payload; a share of the input where it lay in it in one piece.
    pub payload: Bytes,
}

#[cfg(test)]
mod tests;
