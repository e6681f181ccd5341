//! RTMP and Enhanced RTMP (veovera E-RTMP v2) without sockets, clock or randomness of its own: bytes go in, events and bytes
//! come out, and the caller owns the connection.
//!
//! - [`wire`] reads and writes what is on the wire: handshake, chunks, AMF, messages, and the FLV payloads of audio, video
//!   and data messages.
//! - [`session`] is the dialogue over it: a server that is published to and played from, and a client that does either.
pub mod client;
pub mod ingest;
mod lanes;
pub mod listener;
pub mod publication;
pub mod server;
pub mod session;
pub mod wire;
