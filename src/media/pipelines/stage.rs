//! Staging: a source's streams as they are, in a Matroska file in which one can seek exactly.
//! `appsrc ! parsebin ! [parser !] queue ! matroskamux ! filesink`. Times stay those of the source, to the
//! millisecond: finer ones would need clusters so short that the muxer's index suffers.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::parse::{End, Parsing, attach, discard};
use super::times::SourceTimes;
use super::worker::Reporter;
use super::{element, internal};
use crate::domain::video::Failure;
use crate::media::source::ExtentReader;
use crate::media::work::{Answer, Output, SourceFile};

/// What one stream may be ahead of another, bytes: how far apart a container may have put them.
const AHEAD_BYTES_MAX: u32 = 256 << 20;

/// Copies a source.
pub(super) fn stage(mut reader: ExtentReader, output: &Output, reporter: &Arc<Reporter>) -> Result<Answer, Failure> {
    let times = SourceTimes::of(&mut reader)?;
    let path = output.dir.join("staged.mkv");
    let muxer = element("matroskamux")?;
    let sink = element("filesink")?;
    sink.set_property("location", path.to_str().ok_or_else(|| internal("the output's path is not text"))?);
    sink.set_property("async", false);
    let carried = Arc::new(AtomicBool::new(false));
    let (of_pads, tail) = (Arc::clone(&carried), Mutex::new(Some((muxer.clone(), sink))));
    let parsing = Parsing::start(reader, reporter, move |pipeline, pad| {
        // The muxer joins with the first stream: before that, it would wait for none.
        if let Some((muxer, sink)) = tail.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let joined = pipeline.add_many([&muxer, &sink]).and_then(|()| muxer.link(&sink));
            let _ = joined.map(|()| [&sink, &muxer].iter().all(|it| it.sync_state_with_parent().is_ok()));
        }
        if carry(pipeline, pad, &muxer, times) {
            of_pads.store(true, Ordering::Release);
        } else if let Some(sink) = discard() {
            attach(pipeline, pad, &[&sink]);
        }
    })?;
    let end = parsing.watch(|| false);
    drop(parsing);
    let bytes = std::fs::metadata(&path).map(|file| file.len()).unwrap_or(0);
    if bytes == 0 || !carried.load(Ordering::Acquire) {
        return Err(super::remux::nothing_came_out(end));
    }
    if let End::Broken(error) = end {
        return Err(Failure { code: "damaged".into(), message: format!("The file is damaged: {error}") });
    }
    Ok(Answer::Staged { file: SourceFile { path, first: 0, bytes } })
}

/// Links a stream to the muxer; false when that cannot carry it.
fn carry(pipeline: &gst::Pipeline, pad: &gst::Pad, muxer: &gst::Element, times: SourceTimes) -> bool {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let name = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
    let Some((template, chain)) = way_in(&name).and_then(|(template, chain)| Some((template, chain.ok()?))) else {
        return false;
    };
    let Some(target) = muxer.request_pad_simple(template) else { return false };
    let accepted = target.pad_template_caps();
    // What a parser still changes is compared by name alone.
    let fits = if chain.len() > 1 {
        accepted.iter().any(|it| it.name() == name.as_str())
    } else {
        accepted.can_intersect(&caps)
    };
    let parts: Vec<&gst::Element> = chain.iter().collect();
    let last = chain.last().and_then(|last| last.static_pad("src"));
    if !fits || last.is_none_or(|last| pipeline.add_many(&parts).is_err() || last.link(&target).is_err()) {
        muxer.release_request_pad(&target);
        return false;
    }
    let linked = parts.windows(2).all(|pair| pair[0].link(pair[1]).is_ok())
        && parts.iter().rev().all(|part| part.sync_state_with_parent().is_ok());
    put_right(pad, times, name.starts_with("video/") || name.starts_with("image/"));
    linked && parts.first().and_then(|first| first.static_pad("sink")).is_some_and(|first| pad.link(&first).is_ok())
}

/// The muxer's pad for streams of this kind, and what is between it and the stream.
fn way_in(name: &str) -> Option<(&'static str, Result<Vec<gst::Element>, Failure>)> {
    let template = match name.split_once('/')?.0 {
        "video" | "image" => "video_%u",
        "audio" => "audio_%u",
        _ => return None,
    };
    Some((template, chain_for(name)))
}

fn chain_for(name: &str) -> Result<Vec<gst::Element>, Failure> {
    let form = |name: &str, form: &str| gst::Caps::builder(name).field("stream-format", form).field("alignment", "au");
    let parsed = match name {
        "video/x-h264" => Some(("h264parse", form(name, "avc").build())),
        "video/x-h265" => Some(("h265parse", form(name, "hvc1").build())),
        _ => None,
    };
    let mut chain = Vec::new();
    if let Some((parser, caps)) = parsed {
        let filter = element("capsfilter")?;
        filter.set_property("caps", &caps);
        chain.extend([element(parser)?, filter]);
    }
    let queue = element("queue")?;
    queue.set_property("max-size-buffers", 0u32);
    queue.set_property("max-size-time", 0u64);
    queue.set_property("max-size-bytes", AHEAD_BYTES_MAX);
    chain.push(queue);
    Ok(chain)
}

/// What a stream's packets have been through.
#[derive(Default)]
struct Passage {
    segment: Option<gst::Segment>,
    has_begun: bool,
}

/// Gives packets their time in the source, and leaves out pictures before the first key frame.
fn put_right(pad: &gst::Pad, times: SourceTimes, is_pictures: bool) {
    let passage = Mutex::new(Passage::default());
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(kinds, move |_, info| {
        let mut passage = passage.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut info.data {
            Some(gst::PadProbeData::Event(event)) => {
                let gst::EventView::Segment(segment) = event.view() else { return gst::PadProbeReturn::Ok };
                passage.segment = Some(segment.segment().clone());
                *event = gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new());
                gst::PadProbeReturn::Ok
            }
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let is_key = !is_pictures || !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
                passage.has_begun |= is_key;
                if passage.has_begun && retime(buffer, times, passage.segment.as_ref()) {
                    gst::PadProbeReturn::Ok
                } else {
                    gst::PadProbeReturn::Drop
                }
            }
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

/// False when the packet is before all time.
fn retime(buffer: &mut gst::Buffer, times: SourceTimes, segment: Option<&gst::Segment>) -> bool {
    let moved = |at: Option<gst::ClockTime>| {
        let at = at.and_then(|at| times.instant(at, segment));
        at.and_then(|at| u64::try_from(at).ok()).map(gst::ClockTime::from_nseconds)
    };
    let (shown, decoded) = (moved(buffer.pts()), moved(buffer.dts()));
    if buffer.pts().is_some() && shown.is_none() {
        return false;
    }
    let buffer = buffer.make_mut();
    buffer.set_pts(shown);
    buffer.set_dts(decoded);
    true
}

#[cfg(test)]
mod tests;
