//! From samples to AAC in spans: `appsrc ! audioconvert ! audioresample ! avenc_aac ! appsink`.
//!
//! libav's encoder is the one of Debian's that knows 5.1, keeps to AAC-LC and sounds well at 64 kbit/s a channel: `voaacenc`
//! sounds worse and `fdkaac` is not free. What comes out is counted, not timed: the n-th packet is heard n times 1024 samples
//! after the first, which comes as long before the start as the encoder needs to get going.
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::mix::{STEREO_MASK, SURROUND_MASK};
use super::timeline::{SECOND_NS, Sink};
use crate::domain::asset::{TIMELINE_ORIGIN_SECS, Ticks};
use crate::domain::ladder::SoundRung;
use crate::domain::video::Failure;
use crate::media::frames::{CodecConfig, Frame, TrackConfig};
use crate::media::pipelines::worker::Reporter;
use crate::media::pipelines::{element, internal};
use crate::media::spans::{Remuxed, SpanError, SpanSettings, SpanWriter};

/// Samples in a packet.
const PACKET: i64 = 1024;
/// Samples that libav's encoder delays by (`initial_padding`).
const PRIMING: i64 = 1024;
/// Bytes that wait for the encoder: a second or two.
const WAITING_BYTES_MAX: u64 = 1 << 20;
/// Frames of silence pushed at once.
const SILENCE_FRAMES: u64 = 48_000;
/// Sound that goes on beyond the pictures for less than this (milliseconds) stays in their last segment.
const TAIL_MS: i64 = 500;

/// What the encoder is to make.
pub(super) struct EncoderSettings<'a> {
    pub(super) rung: &'a SoundRung,
    /// Samples per second of the result.
    pub(super) rate: u32,
    /// When the first sample is heard, nanoseconds from the origin; may be before it.
    pub(super) first_ns: i64,
    /// Where pictures are cut, on the output timeline.
    pub(super) cuts: Vec<Ticks>,
    pub(super) spans: SpanSettings,
}

/// A running encoder; ends with its owner.
pub(super) struct Encoder<'a> {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    channels: usize,
    /// Caps of what was pushed last.
    rate: Option<u32>,
    mask: Option<u64>,
    written: Arc<Mutex<Written>>,
    has_broken: bool,
    /// Samples pushed, in nanoseconds.
    pushed_ns: i64,
    reporter: &'a Reporter,
}

impl Drop for Encoder<'_> {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl<'a> Encoder<'a> {
    pub(super) fn start(settings: EncoderSettings, reporter: &'a Reporter) -> Result<Self, Failure> {
        let channels = usize::from(settings.rung.channels);
        let mask = match channels {
            2 => Some(STEREO_MASK),
            6 => Some(SURROUND_MASK),
            _ => None,
        };
        let [convert, resample, filter, encoder] =
            ["audioconvert", "audioresample", "capsfilter", "avenc_aac"].map(element);
        let (convert, resample, filter, encoder) = (convert?, resample?, filter?, encoder?);
        filter.set_property("caps", raw_caps(settings.rate, channels, mask).build());
        // The default forces middle and side on all bands and loses the side: what is left alone would be heard right too.
        encoder.set_property("aac-ms", false);
        encoder.set_property("bitrate", i32::try_from(settings.rung.bits_per_sec).unwrap_or(128_000));
        let written = Arc::new(Mutex::new(Written::new(settings)));
        let sink: gst::Element = written_by(&written).upcast();
        let source = gst_app::AppSrc::builder()
            .format(gst::Format::Time)
            .stream_type(gst_app::AppStreamType::Stream)
            .block(true)
            .max_bytes(WAITING_BYTES_MAX)
            .build();
        let pipeline = gst::Pipeline::new();
        let chain = [source.upcast_ref(), &convert, &resample, &filter, &encoder, &sink];
        pipeline.add_many(chain).map_err(internal)?;
        gst::Element::link_many(chain).map_err(internal)?;
        pipeline.set_state(gst::State::Playing).map_err(internal)?;
        Ok(Self { pipeline, source, channels, rate: None, mask, written, has_broken: false, pushed_ns: 0, reporter })
    }

    fn push(&mut self, samples: &[f32], rate: u32) {
        if self.rate != Some(rate) {
            let caps = raw_caps(rate, self.channels, self.mask).field("format", "F32LE").field("layout", "interleaved");
            self.source.set_caps(Some(&caps.build()));
            self.rate = Some(rate);
        }
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let frames = (samples.len() / self.channels.max(1)) as u64;
        let length = gst::ClockTime::SECOND.mul_div_floor(frames, u64::from(rate.max(1))).unwrap_or_default();
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(u64::try_from(self.pushed_ns).unwrap_or(0)));
            buffer.set_duration(length);
        }
        self.pushed_ns = self.pushed_ns.saturating_add(i64::try_from(length.nseconds()).unwrap_or(0));
        // Refused only when the encoder has failed: its own words are on the bus.
        self.has_broken |= self.source.push_buffer(buffer).is_err();
    }

    /// Whether more samples are of use.
    pub(super) fn has_broken(&self) -> bool {
        self.has_broken
    }

    /// No more samples will come: waits for the last packet, and returns the track with its spans.
    pub(super) fn finish(self) -> Result<Remuxed, Failure> {
        let _ = self.source.end_of_stream();
        let bus = self.pipeline.bus().ok_or_else(|| internal("the encoder has no bus"))?;
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &types);
        if let Some(gst::MessageView::Error(error)) = message.as_ref().map(|message| message.view()) {
            return Err(internal(error.error()));
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.finish().map_err(internal)
    }
}

impl Sink for Encoder<'_> {
    fn samples(&mut self, samples: Vec<f32>, rate: u32) {
        self.push(&samples, rate);
    }

    fn silence(&mut self, frames: u64, rate: u32) {
        let mut left = frames;
        while left > 0 && !self.has_broken {
            let now = left.min(SILENCE_FRAMES);
            self.push(&vec![0.0; usize::try_from(now).unwrap_or(0) * self.channels], rate);
            self.reporter.progress(0, 1);
            left -= now;
        }
    }
}

fn raw_caps(rate: u32, channels: usize, mask: Option<u64>) -> gst::caps::Builder<gst::caps::NoFeature> {
    gst::Caps::builder("audio/x-raw")
        .field("rate", i32::try_from(rate).unwrap_or(48_000))
        .field("channels", i32::try_from(channels).unwrap_or(2))
        .field_if_some("channel-mask", mask.map(gst::Bitmask::new))
}

fn written_by(written: &Arc<Mutex<Written>>) -> gst_app::AppSink {
    let written = Arc::clone(written);
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            match written.take(&sample) {
                Ok(()) => Ok(gst::FlowSuccess::Ok),
                Err(error) => {
                    written.error = Some(error);
                    Err(gst::FlowError::Error)
                }
            }
        })
        .build();
    let caps = gst::Caps::builder("audio/mpeg").field("mpegversion", 4).field("stream-format", "raw").build();
    gst_app::AppSink::builder().caps(&caps).sync(false).callbacks(callbacks).build()
}

/// Packets on their way into spans.
struct Written {
    name: String,
    language: String,
    is_default: bool,
    rate: u32,
    /// When the next packet is heard, in samples from the origin.
    next: i64,
    cuts: Vec<Ticks>,
    /// The end of the pictures, held back until sound goes on well beyond it.
    tail: Option<Ticks>,
    spans: SpanSettings,
    writer: Option<SpanWriter>,
    error: Option<SpanError>,
}

impl Written {
    fn new(settings: EncoderSettings) -> Self {
        let EncoderSettings { rung, rate, first_ns, mut cuts, spans } = settings;
        let first = i128::from(first_ns) * i128::from(rate);
        let first = i64::try_from((first + i128::from(SECOND_NS / 2)).div_euclid(i128::from(SECOND_NS))).unwrap_or(0);
        Self {
            name: rung.name.clone(),
            language: rung.language.clone(),
            is_default: rung.default,
            rate,
            next: first - PRIMING,
            tail: cuts.pop(),
            cuts,
            spans,
            writer: None,
            error: None,
        }
    }

    fn take(&mut self, sample: &gst::Sample) -> Result<(), SpanError> {
        let payload = sample.buffer().and_then(|buffer| buffer.map_readable().ok());
        let payload = payload.map(|bytes| Bytes::copy_from_slice(&bytes)).unwrap_or_default();
        if payload.is_empty() {
            return Ok(());
        }
        self.cut_tail()?;
        let frame = Frame { dts: self.next, pts: self.next, duration: PACKET as u32, keyframe: true, payload };
        self.next += PACKET;
        self.writer(sample)?.push(0, frame)
    }

    fn writer(&mut self, sample: &gst::Sample) -> Result<&mut SpanWriter, SpanError> {
        if self.writer.is_none() {
            let caps = sample.caps().and_then(|caps| caps.structure(0));
            let data = caps.and_then(|caps| caps.get::<gst::Buffer>("codec_data").ok());
            let data = data.and_then(|data| data.map_readable().ok().map(|bytes| Bytes::copy_from_slice(&bytes)));
            let codec = CodecConfig::Aac { config: data.unwrap_or_default() };
            let mut config = TrackConfig::new(codec, self.rate);
            (config.language, config.default) = (self.language.clone(), self.is_default);
            let writer = SpanWriter::beside_pictures(self.name.clone(), config, &self.cuts, self.spans.clone())?;
            self.writer = Some(writer);
        }
        self.writer.as_mut().ok_or(SpanError::NoTrack(0))
    }

    /// Ends the last segment of the pictures once there is enough behind it for one of its own.
    fn cut_tail(&mut self) -> Result<(), SpanError> {
        let reached = (i64::from(TIMELINE_ORIGIN_SECS) * 1000 + self.next * 1000 / i64::from(self.rate)) - TAIL_MS;
        let is_behind = |tail: &mut Ticks| tail.rescale(1000) < reached;
        match (&mut self.writer, self.tail.take_if(is_behind)) {
            (Some(writer), Some(tail)) => writer.cut_near(0, tail),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<Remuxed, SpanError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        match self.writer.take() {
            Some(writer) => writer.finish(),
            None => Ok(Remuxed { tracks: vec![], spans: vec![], tables: vec![], num_dropped: 0, num_repaired: 0 }),
        }
    }
}
