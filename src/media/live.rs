//! Live streams: times are repaired on a [`timeline`], frames are cut into parts and segments by the [`packager`], and what
//! was cut is kept in a [`ring`] for everyone who reads. No sockets, no clock of its own, no decoder.
pub mod broadcast;
pub mod cadence;
pub mod chronicle;
pub mod frame_relay;
pub mod gate;
pub mod lineup;
pub mod listing;
pub mod packager;
pub mod part;
pub mod periods;
pub mod pictures;
pub mod programme;
pub mod realtime;
pub mod recorder;
pub mod recording;
pub mod recovery;
pub mod ring;
pub mod sibling;
pub mod slate;
pub mod stream;
pub mod tap;
pub mod tape;
#[cfg(test)]
pub(crate) mod testing;
pub mod timeline;
pub mod transcoding;
pub mod vitals;
