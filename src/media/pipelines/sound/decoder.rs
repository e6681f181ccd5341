//! One track of a source as samples: `appsrc ! parsebin ! decodebin ! audioconvert ! appsink`.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use crate::domain::video::Failure;
use crate::media::pipelines::parse::{attach, discard};
use crate::media::pipelines::times::SourceTimes;
use crate::media::pipelines::worker::Reporter;
use crate::media::pipelines::{element, internal, source};
use crate::media::source::ExtentReader;

/// Decoded packets that wait at most: a second or so, so that decoding and encoding run side by side.
const WAITING_MAX: u32 = 32;
/// How long to wait for samples before looking whether the pipeline has broken.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// More channels are not believable.
const CHANNELS_MAX: usize = 64;

/// Samples with their time.
pub(super) struct Samples {
    /// When the first one is heard, nanoseconds on the source's timeline.
    pub(super) at_ns: Option<i64>,
    /// Interleaved.
    pub(super) samples: Vec<f32>,
    pub(super) rate: u32,
    pub(super) channels: usize,
    /// Where the channels are heard, as GStreamer numbers places; 0 when not told.
    pub(super) mask: u64,
}

impl Samples {
    /// What is heard after so many nanoseconds; `None` when nothing is.
    pub(super) fn without_first(mut self, ns: i64) -> Option<Self> {
        let frames = i128::from(ns) * i128::from(self.rate) / 1_000_000_000;
        let samples = usize::try_from(frames).ok()?.checked_mul(self.channels)?;
        if samples >= self.samples.len() {
            return None;
        }
        self.samples.drain(..samples);
        self.at_ns = self.at_ns.map(|at| at.saturating_add(ns));
        Some(self)
    }
}

/// A running decoder; ends with its owner.
pub(super) struct Decoder {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    times: SourceTimes,
    /// Set when the container has no such track.
    is_absent: Arc<AtomicBool>,
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Decoder {
    /// Starts decoding the source's sound track of this number.
    pub(super) fn start(mut reader: ExtentReader, track: u32, reporter: &Arc<Reporter>) -> Result<Self, Failure> {
        let times = SourceTimes::of(&mut reader)?;
        let source: gst::Element = source::random_access(reader, reporter).0.upcast();
        let [parser, decoder, convert] = ["parsebin", "decodebin", "audioconvert"].map(element);
        let (parser, decoder, convert) = (parser?, decoder?, convert?);
        let caps = gst::Caps::builder("audio/x-raw").field("format", "F32LE").field("layout", "interleaved").build();
        let sink = gst_app::AppSink::builder().caps(&caps).sync(false).max_buffers(WAITING_MAX).build();
        let pipeline = gst::Pipeline::new();
        let end: &gst::Element = sink.upcast_ref();
        pipeline.add_many([&source, &parser, &decoder, &convert, end]).map_err(internal)?;
        source.link(&parser).map_err(internal)?;
        gst::Element::link_many([&convert, end]).map_err(internal)?;
        let is_absent = Arc::new(AtomicBool::new(false));
        link_sound(&pipeline, &parser, &decoder, track, &is_absent);
        link_sound(&pipeline, &decoder, &convert, 0, &is_absent);
        sink.set_async(false);
        pipeline.set_state(gst::State::Playing).map_err(internal)?;
        Ok(Self { pipeline, sink, times, is_absent })
    }

    /// Waits for the next samples; `None` at the end, or where nothing more can be decoded.
    pub(super) fn next(&self) -> Option<Samples> {
        let bus = self.pipeline.bus()?;
        loop {
            if let Some(sample) = self.sink.try_pull_sample(PATIENCE) {
                match self.samples_of(&sample) {
                    Some(samples) => return Some(samples),
                    None => continue,
                }
            }
            let over = bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Eos]).is_some();
            if self.sink.is_eos() || over || self.is_absent.load(Ordering::Acquire) {
                // What was decoded before it broke is still there.
                return self.sink.try_pull_sample(gst::ClockTime::ZERO).and_then(|sample| self.samples_of(&sample));
            }
        }
    }

    fn samples_of(&self, sample: &gst::Sample) -> Option<Samples> {
        let buffer = sample.buffer()?;
        let caps = sample.caps()?.structure(0)?;
        let rate = caps.get::<i32>("rate").ok().and_then(|rate| u32::try_from(rate).ok()).filter(|rate| *rate > 0)?;
        let channels = caps.get::<i32>("channels").ok().and_then(|channels| usize::try_from(channels).ok())?;
        if !(1..=CHANNELS_MAX).contains(&channels) {
            return None;
        }
        let mask = caps.get::<gst::Bitmask>("channel-mask").map_or(0, |mask| mask.0);
        let bytes = buffer.map_readable().ok()?;
        let (whole, _) = bytes.as_chunks::<4>();
        let mut samples: Vec<f32> = whole.iter().map(|sample| f32::from_le_bytes(*sample)).collect();
        let Some(at) = buffer.pts() else { return Some(Samples { at_ns: None, samples, rate, channels, mask }) };
        let num = (samples.len() / channels) as u64;
        let length = gst::ClockTime::SECOND.mul_div_floor(num, u64::from(rate))?;
        let (before, behind) = self.times.cut_away(at, length, sample.segment());
        let in_frames = |time: gst::ClockTime| {
            let frames = time.nseconds().saturating_add(1).saturating_mul(u64::from(rate)) / 1_000_000_000;
            usize::try_from(frames.min(num)).unwrap_or(0) * channels
        };
        samples.truncate(samples.len().saturating_sub(in_frames(behind)));
        samples.drain(..in_frames(before).min(samples.len()));
        let at_ns = self.times.instant(at + before, sample.segment());
        (!samples.is_empty()).then_some(Samples { at_ns, samples, rate, channels, mask })
    }
}

/// Links the sound of this number that `from` shows to `to`, everything else to nowhere. When another stream ends before
/// that one has come, it is absent: all are shown before anything flows.
fn link_sound(
    pipeline: &gst::Pipeline,
    from: &gst::Element,
    to: &gst::Element,
    wanted: u32,
    is_absent: &Arc<AtomicBool>,
) {
    let (to, pipeline, is_absent) = (to.downgrade(), pipeline.downgrade(), Arc::clone(is_absent));
    let seen = AtomicUsize::new(0);
    from.connect_pad_added(move |_, pad| {
        let Some(target) = to.upgrade().and_then(|to| to.static_pad("sink")) else { return };
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let is_sound = caps.structure(0).is_some_and(|structure| structure.name().starts_with("audio/"));
        if is_sound && seen.fetch_add(1, Ordering::Relaxed) == wanted as usize && !target.is_linked() {
            let _ = pad.link(&target);
            return;
        }
        let is_absent = Arc::clone(&is_absent);
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if matches!(info.event().map(|event| event.type_()), Some(gst::EventType::Eos)) {
                is_absent.fetch_or(!target.is_linked(), Ordering::AcqRel);
            }
            gst::PadProbeReturn::Ok
        });
        if let (Some(pipeline), Some(sink)) = (pipeline.upgrade(), discard()) {
            attach(&pipeline, pad, &[&sink]);
        }
    });
}
