//! What codecs say about themselves: parsing of their configuration records and parameter sets. All of it reads outside
//! bytes: every read is fallible and nothing is allocated by a count that was not checked.
pub mod aac;
pub mod av1;
mod bits;
pub mod h264;
pub mod others;
pub mod scte35;
