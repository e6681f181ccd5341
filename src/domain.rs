//! Ids, values, limits and pure state machines. Imports nothing of ours, asks neither clock nor network nor disk: time
//! and randomness are arguments.
pub mod account;
pub mod asset;
pub mod cluster;
pub mod cues;
pub mod events;
pub mod ids;
pub mod ladder;
pub mod live;
pub mod playback;
pub mod ports;
pub mod restart;
pub mod time;
pub mod transcode;
pub mod trim;
pub mod upload;
pub mod video;
