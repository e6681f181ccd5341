//! SRT: publishers and readers of MPEG-TS on one UDP port, told apart by their stream ids. What callers ask for is read in [`wire`], their
//! handshakes are answered in `handshake`, [`server`] serves one of them (`reader` one that reads, with the sending side of its connection in `sender`), and [`listener`] is the port. [`call`] goes the other way: another listener is called, and sent a stream as a reader is. The protocol itself is the
//! crate `srt-protocol`, which has neither sockets nor tasks; each caller's machine runs in a task of its own, so that whatever
//! a hostile one does ends at that task.
pub mod call;
mod handshake;
pub mod listener;
mod reader;
mod receiver;
mod sender;
pub mod server;
pub mod wire;
