//! Decoding of one picture track from the middle of a source: `appsrc ! parsebin ! decodebin [! deinterlace] [! videoflip]
//! ! appsink`. Pictures come on the caller's thread, in order of presentation, with their times in the source.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::clock::PictureClock;
use super::deinterlace::deinterlacer;
use super::pace::Pace;
use crate::domain::ladder::{PictureTreatment, Reading};
use crate::domain::video::Failure;
use crate::media::pipelines::times::SourceTimes;
use crate::media::pipelines::worker::Reporter;
use crate::media::pipelines::{element, internal, source};
use crate::media::source::ExtentReader;

/// How long to wait for a picture before looking whether the pipeline has broken.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// Pictures decoded ahead of the encoders, besides those that a decoder holds itself.
const DECODED_AHEAD: u32 = 3;
/// What is decoded in vain rather than sought.
const NEAR_NS: i64 = 2_000_000_000;
/// How much earlier to look, one after the other, when decoding from the key frame before the chunk starts too late.
const EARLIER_NS: [i64; 4] = [0, 1_000_000_000, 5_000_000_000, 30_000_000_000];
/// Properties by which decoders are told how many threads to use.
const THREADS: [&str; 3] = ["max-threads", "threads", "n-threads"];

/// A picture as decoded.
pub(super) struct Decoded {
    pub(super) sample: gst::Sample,
    /// When the source shows it, nanoseconds.
    pub(super) at_ns: i64,
    pub(super) duration_ns: Option<i64>,
}

/// A running decoder; ends with its owner.
pub(super) struct Decoding {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    times: SourceTimes,
    reading: Reading,
    /// Looked at already, but not used yet.
    ahead: Option<Decoded>,
    /// End of the last picture, for those without a time of their own.
    end_ns: i64,
    pace: Pace,
    broken: Option<gst::glib::Error>,
}

impl Drop for Decoding {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Decoding {
    /// Starts decoding at the start of the source.
    pub(super) fn start(
        mut reader: ExtentReader,
        treatment: &PictureTreatment,
        reporter: &Arc<Reporter>,
    ) -> Result<Self, Failure> {
        let times = SourceTimes::of(&mut reader)?;
        let source: gst::Element = source::random_access(reader, reporter).0.upcast();
        let (parser, decoder) = (element("parsebin")?, element("decodebin")?);
        let caps = gst::Caps::builder("video/x-raw").build();
        let sink = gst_app::AppSink::builder().caps(&caps).sync(false).max_buffers(DECODED_AHEAD).build();
        accept_strides(sink.upcast_ref());
        let mut chain = filters(treatment)?;
        chain.push(sink.clone().upcast());
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([&source, &parser, &decoder]).map_err(internal)?;
        pipeline.add_many(&chain).map_err(internal)?;
        source.link(&parser).map_err(internal)?;
        gst::Element::link_many(&chain).map_err(internal)?;
        link_track(&parser, &decoder, treatment.track);
        if let Some(first) = chain.first() {
            link_track(&decoder, first, 0);
        }
        use_one_thread(&decoder);
        pipeline.set_state(gst::State::Playing).map_err(internal)?;
        let reading = treatment.reading;
        Ok(Self { pipeline, sink, times, reading, ahead: None, end_ns: 0, pace: Pace::default(), broken: None })
    }

    /// The picture that is shown at `at_ns`; the last one when all are earlier, the first when all are later. Where one
    /// cannot seek, the next one asked for must not be earlier.
    pub(super) fn shown_at(&mut self, at_ns: i64) -> Option<Decoded> {
        let mut best = self.next()?;
        let earliest_ns = best.at_ns;
        if self.reading == Reading::Sought && at_ns > earliest_ns + NEAR_NS {
            for target in EARLIER_NS.map(|earlier| (at_ns - earlier).max(earliest_ns)) {
                if self.seek(target)
                    && let Some(found) = self.next()
                {
                    best = found;
                }
                if best.at_ns <= at_ns {
                    break;
                }
            }
        }
        while let Some(next) = self.next() {
            if next.at_ns > at_ns {
                self.ahead = Some(next);
                break;
            }
            best = next;
        }
        Some(best)
    }

    /// The first picture from which on nothing of the chunk is missing, as far as the source can be sought in.
    pub(super) fn first_of(&mut self, clock: &PictureClock) -> Option<Decoded> {
        let start_ns = clock.chunk_start_ns();
        let first = self.next()?;
        if self.reading != Reading::Sought || first.at_ns >= start_ns - NEAR_NS {
            return Some(first);
        }
        let earliest_ns = first.at_ns;
        for earlier in EARLIER_NS {
            let target = start_ns - earlier;
            if target <= earliest_ns {
                break;
            }
            if !self.seek(target) {
                return Some(first);
            }
            match self.next() {
                Some(found) if clock.is_early_enough(found.at_ns, found.duration_ns) => return Some(found),
                _ => {}
            }
        }
        self.seek(0);
        self.next()
    }

    fn seek(&mut self, at_ns: i64) -> bool {
        let at = gst::ClockTime::from_nseconds(u64::try_from(at_ns).unwrap_or(0));
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        let sought = self.pipeline.seek_simple(flags, at).is_ok();
        if sought {
            (self.broken, self.ahead) = (None, None);
        }
        sought
    }

    /// The next picture; `None` when there are no more, because of the source's end or of damage.
    pub(super) fn next(&mut self) -> Option<Decoded> {
        if let Some(ahead) = self.ahead.take() {
            return Some(ahead);
        }
        loop {
            let sample = self.next_sample()?;
            let Some(buffer) = sample.buffer() else { continue };
            let duration = buffer.duration().or_else(|| nominal_duration(&sample));
            let duration_ns = duration.and_then(|duration| i64::try_from(duration.nseconds()).ok());
            let at_ns = match buffer.pts() {
                Some(at) => self.times.shown_at(at, duration, sample.segment()),
                None => Some(self.end_ns),
            };
            let Some(mut at_ns) = at_ns else { continue };
            if self.reading == Reading::Paced {
                at_ns = self.pace.even_out(at_ns, duration_ns);
            }
            self.end_ns = at_ns.saturating_add(duration_ns.unwrap_or(0));
            return Some(Decoded { sample, at_ns, duration_ns });
        }
    }

    fn next_sample(&mut self) -> Option<gst::Sample> {
        let bus = self.pipeline.bus()?;
        while self.broken.is_none() {
            if let Some(sample) = self.sink.try_pull_sample(PATIENCE) {
                // The sink uses its own again, and cannot describe what follows a seek in one that somebody holds.
                return Some(sample.copy());
            }
            if self.sink.is_eos() {
                return None;
            }
            let message = bus.pop_filtered(&[gst::MessageType::Error]);
            if let Some(gst::MessageView::Error(error)) = message.as_ref().map(|message| message.view()) {
                self.broken = Some(error.error());
            }
        }
        None
    }

    /// Why there are no more pictures, when it is not the end of the source.
    pub(super) fn why_broken(&self) -> String {
        self.broken.as_ref().map(|error| format!(" ({error})")).unwrap_or_default()
    }
}

fn nominal_duration(sample: &gst::Sample) -> Option<gst::ClockTime> {
    let rate = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?.fps();
    let (numerator, denominator) = (u64::try_from(rate.numer()).ok()?, u64::try_from(rate.denom()).ok()?);
    gst::ClockTime::SECOND.mul_div_floor(denominator, numerator)
}

/// What comes between decoder and sink.
fn filters(treatment: &PictureTreatment) -> Result<Vec<gst::Element>, Failure> {
    let mut chain = Vec::new();
    if treatment.deinterlace {
        chain.extend([element("videoconvert")?, deinterlacer()?]);
    }
    if treatment.rotation != 0 {
        let flip = element("videoflip")?;
        let method = match treatment.rotation {
            90 => "clockwise",
            180 => "rotate-180",
            270 => "counterclockwise",
            _ => "none",
        };
        flip.set_property_from_str("method", method);
        chain.extend([element("videoconvert")?, flip]);
    }
    Ok(chain)
}

/// Links the picture track of this number that `from` shows to `to`; other streams go nowhere.
pub(super) fn link_track(from: &gst::Element, to: &gst::Element, track: u32) {
    let to = to.downgrade();
    let seen = AtomicU32::new(0);
    from.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let name = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
        if !name.starts_with("video/") && !name.starts_with("image/") {
            return;
        }
        let target = to.upgrade().and_then(|to| to.static_pad("sink")).filter(|target| !target.is_linked());
        if let Some(target) = target.filter(|_| seen.fetch_add(1, Ordering::Relaxed) == track) {
            let _ = pad.link(&target);
        }
    });
}

/// There are as many worker processes as cores: a decoder with many threads only adds delay and memory.
pub(super) fn use_one_thread(decoder: &gst::Element) {
    let Some(bin) = decoder.downcast_ref::<gst::Bin>() else { return };
    bin.connect_deep_element_added(|_, _, element| {
        for name in THREADS {
            if element.find_property(name).is_some_and(|property| property.value_type() == i32::static_type()) {
                element.set_property(name, 1i32);
            } else if element.find_property(name).is_some_and(|property| property.value_type() == u32::static_type()) {
                element.set_property(name, 1u32);
            }
        }
    });
}

/// Lets decoders hand out pictures as they lie in their own memory.
pub(super) fn accept_strides(sink: &gst::Element) {
    let Some(pad) = sink.static_pad("sink") else { return };
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
        let Some(gst::QueryViewMut::Allocation(query)) = info.query_mut().map(|query| query.view_mut()) else {
            return gst::PadProbeReturn::Ok;
        };
        query.add_allocation_meta::<gst_video::VideoMeta>(None);
        gst::PadProbeReturn::Handled
    });
}
