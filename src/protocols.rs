//! Protocols: parsing and rendering without sockets in `wire*`, the socket side beside it.
pub mod hls;
pub mod tus;
