//! MPEG transport streams (ISO/IEC 13818-1): from packets to a publisher's tracks and frames, without sockets or clock. Whatever
//! is lost or damaged on the way is counted and left out. [`ingest`] is the way in; the rest is layer upon layer:
//! [`packets`] finds packets, [`sections`] and [`pes`] put together what spans several, [`tables`] says what a programme consists
//! of, and [`sound`] and [`super::live::pictures`] make canonical frames of it.
//!
//! [`mux`] goes the other way.
//!
//! An own demultiplexer, since those published as crates know fewer codecs, or read files and not bytes as they come.
mod cues;
mod id3;
pub mod ingest;
mod latm;
pub mod mux;
mod packets;
mod pes;
mod sections;
mod sound;
mod tables;
