//! The only place that knows GStreamer.
pub mod elements;
pub mod synthetic;
