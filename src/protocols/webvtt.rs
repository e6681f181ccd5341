//! WebVTT: text on the timeline of a video.
pub mod wire;
