//! Protocols: parsing and rendering without sockets in `wire*`, the socket side beside it.
pub mod cmcd;
pub mod dash;
pub mod dial;
pub mod hls;
pub mod outlet;
pub mod rtmp;
pub mod rtsp;
pub mod srt;
#[cfg(test)]
pub(crate) mod testing;
pub mod tus;
pub mod webrtc;
pub mod webvtt;
