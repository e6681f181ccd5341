//! WebRTC: publishers by WHIP (RFC 9725) and viewers by WHEP, all media on one UDP port. What strangers send is read in [`wire`];
//! [`mux`] is the port, which gives datagrams to the tasks of their sessions; [`peer`] is one connection, without sockets, tasks or
//! a clock, sending or receiving; [`programme`] is a stream in packets, shared by its viewers. The protocols below (ICE, DTLS, SRTP) are the crate `rtc`; each peer's machine runs in a task of its own, so that
//! whatever a hostile one does ends at that task.
pub mod call;
pub mod endpoint;
pub mod ingest;
pub mod jitter;
mod line;
pub mod listener;
pub mod mux;
mod pace;
pub mod payloads;
pub mod peer;
pub mod programme;
pub mod publishing;
pub mod sessions;
pub mod watching;
pub mod wire;
