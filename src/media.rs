//! Media: frames, codecs, reading of MP4 and QuickTime indexes, the segment grid, packaging to CMAF, and the one way to
//! segment bytes. [`pipelines`] is the only part that decodes, in worker processes told what to do by [`work`];
//! everything else here works without it.
pub mod codecs;
pub mod door;
pub mod edge;
pub mod flights;
pub mod frames;
pub mod grid;
pub mod index;
pub mod live;
pub mod movie;
pub mod mpegts;
pub mod packager;
pub mod pipelines;
pub mod records;
pub mod resolve;
pub mod rungs;
pub mod source;
pub mod spans;
pub mod standard;
#[cfg(test)]
pub(crate) mod testing;
pub mod view;
pub mod work;
