//! The real server, real storage, real sockets.
mod chunked;
mod contention;
mod draft;
mod form;
mod tus;
mod world;
