//! The only place that knows GStreamer: what a worker process does with a file's bytes.
//!
//! Nothing here runs in the server itself. A pipeline's error becomes a [`crate::domain::video::Failure`] that a person
//! understands; a crash or a hang ends the process, and the server counts one attempt.
use gstreamer as gst;

use crate::domain::video::Failure;

mod describe;
mod digest;
pub mod elements;
mod encode;
mod fault;
mod inspect;
mod parse;
mod picture_file;
mod probe;
mod remux;
mod sniff;
mod sound;
mod source;
mod stills;
mod storyboard;
mod survey;
pub mod synthetic;
#[cfg(test)]
mod testing;
mod thumbnail;
mod times;
mod untimed;
pub mod worker;

/// Makes an element; fails with `worker_incomplete` when its plugin is not installed.
fn element(name: &str) -> Result<gst::Element, Failure> {
    gst::ElementFactory::make(name).build().map_err(|_| Failure {
        code: "worker_incomplete".into(),
        message: format!("The server lacks the GStreamer element {name}; `playhouse doctor` says what to install."),
    })
}

/// A step that only a bug or a broken installation makes fail.
fn internal(error: impl std::fmt::Display) -> Failure {
    Failure { code: "internal".into(), message: format!("The file could not be processed: {error}.") }
}
