//! What codecs say about themselves: parsing of their configuration records and parameter sets. All of it reads outside
//! bytes: every read is fallible and nothing is allocated by a count that was not checked.
pub mod aac;
pub mod annexb;
pub mod av1;
pub(crate) mod bits;
pub mod dolby;
pub mod flac;
pub mod h264;
pub mod hevc;
pub mod mp3;
pub mod opus;
pub mod others;
pub mod scte35;
pub mod vp8;
pub mod vp9;
mod vui;
