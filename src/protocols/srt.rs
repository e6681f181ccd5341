//! SRT: publishers of MPEG-TS on one UDP port, told apart by their stream ids. What callers ask for is read in [`wire`], their
//! handshakes are answered in `handshake`, [`server`] serves one of them, and [`listener`] is the port. The protocol itself is the
//! crate `srt-protocol`, which has neither sockets nor tasks; each caller's machine runs in a task of its own, so that whatever
//! a hostile one does ends at that task.
mod handshake;
pub mod listener;
pub mod server;
pub mod wire;
