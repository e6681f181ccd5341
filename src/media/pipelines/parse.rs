//! Taking a file apart without decoding it: `appsrc ! parsebin`, each stream shown as it appears.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::worker::Reporter;
use super::{element, internal, source};
use crate::domain::video::Failure;
use crate::media::source::ExtentReader;

/// How often a running pipeline is looked at.
const POLL: gst::ClockTime = gst::ClockTime::from_mseconds(10);
/// Longer claims of a length are taken for damage.
const DURATION_MAX: gst::ClockTime = gst::ClockTime::from_seconds(30 * 24 * 3600);

/// A running pipeline; ends with its owner.
pub(super) struct Parsing {
    pipeline: gst::Pipeline,
    parser: gst::Element,
    read: Arc<AtomicU64>,
    all_shown: Arc<AtomicBool>,
}

/// How a pipeline ended.
pub(super) enum End {
    /// With the file.
    File,
    /// By a fault, of the file most likely.
    Broken(gst::glib::Error),
    /// Because it was told to.
    Enough,
}

impl Drop for Parsing {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Parsing {
    /// Starts it; `on_stream` links each stream's pad to something in the pipeline.
    pub(super) fn start(
        reader: ExtentReader,
        reporter: &Arc<Reporter>,
        on_stream: impl Fn(&gst::Pipeline, &gst::Pad) + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let (source, read) = source::random_access(reader, reporter);
        let parser = element("parsebin")?;
        let pipeline = gst::Pipeline::new();
        let source: gst::Element = source.upcast();
        pipeline.add_many([&source, &parser]).map_err(internal)?;
        source.link(&parser).map_err(internal)?;
        let weak = pipeline.downgrade();
        let all_shown = Arc::new(AtomicBool::new(false));
        let shown = Arc::clone(&all_shown);
        parser.connect_pad_added(move |_, pad| {
            // All streams that a container has from its start are shown before anything flows. That is all there is to
            // tell by: this parser never says that there will be no more.
            let shown = Arc::clone(&shown);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                shown.store(true, Ordering::Release);
                gst::PadProbeReturn::Remove
            });
            if let Some(pipeline) = weak.upgrade() {
                on_stream(&pipeline, pad);
            }
        });
        pipeline.set_state(gst::State::Playing).map_err(internal)?;
        Ok(Self { pipeline, parser, read, all_shown })
    }

    /// Waits until the file ends, the pipeline breaks, or `is_enough` says so.
    pub(super) fn watch(&self, mut is_enough: impl FnMut() -> bool) -> End {
        let Some(bus) = self.pipeline.bus() else { return End::Enough };
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        loop {
            match bus.timed_pop_filtered(POLL, &types).as_ref().map(|message| message.view()) {
                Some(gst::MessageView::Eos(_)) => return End::File,
                Some(gst::MessageView::Error(error)) => return End::Broken(error.error()),
                _ if is_enough() => return End::Enough,
                _ => {}
            }
        }
    }

    /// Goes on from the last key frame at or before `at`; false when that is refused.
    pub(super) fn seek(&self, at: gst::ClockTime) -> bool {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        let sought = self.pipeline.seek_simple(flags, at).is_ok();
        // An end that was reached before the seek is none any more.
        while self.pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Eos])).is_some() {}
        sought
    }

    /// Bytes read so far, those read twice counted twice.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Set once the container has shown all its streams.
    pub(super) fn all_shown(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.all_shown)
    }

    /// Length as the container tells it.
    pub(super) fn duration(&self) -> Option<gst::ClockTime> {
        let pads = self.parser.src_pads();
        let told = pads.iter().filter_map(|pad| pad.query_duration::<gst::ClockTime>()).max();
        told.filter(|told| !told.is_zero() && *told < DURATION_MAX)
    }

    /// Name of the container's caps, once found.
    pub(super) fn container(&self) -> Option<String> {
        let elements = self.parser.downcast_ref::<gst::Bin>()?.iterate_elements();
        let is_typefind = |element: &gst::Element| element.factory().is_some_and(|it| it.name() == "typefind");
        let typefind = elements.into_iter().flatten().find(is_typefind)?;
        let caps = typefind.property::<Option<gst::Caps>>("caps")?;
        Some(caps.structure(0)?.name().to_string())
    }
}

/// Adds `element` to a running pipeline and links `pad` to it.
pub(super) fn attach(pipeline: &gst::Pipeline, pad: &gst::Pad, chain: &[&gst::Element]) {
    let linked = pipeline.add_many(chain).is_ok() && gst::Element::link_many(chain).is_ok();
    let started = linked && chain.iter().rev().all(|element| element.sync_state_with_parent().is_ok());
    if let Some(target) = chain.first().and_then(|first| first.static_pad("sink")).filter(|_| started) {
        let _ = pad.link(&target);
    }
}

/// A sink that takes everything and waits for nothing.
pub(super) fn discard() -> Option<gst::Element> {
    gst::ElementFactory::make("fakesink").property("sync", false).property("async", false).build().ok()
}
