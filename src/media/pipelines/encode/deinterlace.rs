//! Deinterlacing: one picture for each coded one, shown when that is.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::domain::video::Failure;
use crate::media::pipelines::element;

/// Presentation times and durations of the pictures that are in the element.
type Times = Arc<Mutex<VecDeque<(Option<gst::ClockTime>, Option<gst::ClockTime>)>>>;

/// The element, ready to be linked.
pub(super) fn deinterlacer() -> Result<gst::Element, Failure> {
    let deinterlace = element("deinterlace")?;
    // One picture for each coded one, from its first field; whatever the stream says of itself, inspection knew better.
    deinterlace.set_property_from_str("fields", "top");
    deinterlace.set_property_from_str("mode", "interlaced");
    // Adapts to motion. The element's yadif gives pictures each other's times.
    deinterlace.set_property_from_str("method", "greedyh");
    keep_times(&deinterlace);
    Ok(deinterlace)
}

/// The element gives its first pictures the time of the second, and repeats the last: they come out in the order in which
/// they went in, so that each gets the time that it had.
fn keep_times(deinterlace: &gst::Element) {
    let (Some(sink), Some(source)) = (deinterlace.static_pad("sink"), deinterlace.static_pad("src")) else { return };
    let times = Times::default();
    let going_in = Arc::clone(&times);
    sink.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_FLUSH, move |_, info| {
        let mut times = going_in.lock().unwrap_or_else(PoisonError::into_inner);
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => times.push_back((buffer.pts(), buffer.duration())),
            Some(gst::PadProbeData::Event(_)) => times.clear(),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
    source.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let time = times.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let (Some((shown, duration)), Some(buffer)) = (time, info.buffer_mut()) else {
            return gst::PadProbeReturn::Drop;
        };
        let buffer = buffer.make_mut();
        buffer.set_pts(shown);
        buffer.set_duration(duration);
        gst::PadProbeReturn::Ok
    });
}
