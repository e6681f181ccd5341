//! H.264 by an encoder element of GStreamer, driven by hand: pictures are pushed into its pad on the rung's thread, and
//! what comes out of the other one is written to the span before the call returns.
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;

use super::picture::{Picture, rung_info, unmapped};
use super::rung::{RungJob, Shot};
use super::settings;
use crate::domain::video::Failure;
use crate::media::codecs::h264::{NAL_IDR, NAL_SLICE, NalUnits};
use crate::media::frames::{CodecConfig, Frame, TrackConfig};
use crate::media::pipelines::worker::Reporter;
use crate::media::pipelines::{element, internal};
use crate::media::spans::{ChunkSpan, SpanOfChunk};

/// Where the encoders' clock starts: behind the 1000 hours to which some encoders move earlier times, to have room for decode
/// times, and in doing so forget requests for key frames.
const FIRST: gst::ClockTime = gst::ClockTime::from_seconds(2000 * 3600);

/// Encodes all pictures that come.
pub(super) fn encode(job: &RungJob, shots: &Receiver<Shot>, reporter: &Reporter) -> Result<SpanOfChunk, Failure> {
    let encoder = Encoder::start(job, Taker::Span(None))?;
    let mut count = 0;
    for shot in shots {
        encoder.push(job, shot)?;
        count += 1;
        reporter.progress(0, 1);
    }
    if count > 0 {
        encoder.drain()?;
    }
    encoder.finish()
}

/// What an encoder makes, for who takes it as it comes.
pub(super) enum Coded {
    /// What all that follows is decoded with.
    Config(TrackConfig),
    /// The next picture.
    Picture(Frame),
}

/// Encodes all pictures that come, and hands over what is made of each at once.
pub(super) fn encode_live(
    job: &RungJob,
    shots: &Receiver<Shot>,
    take: Box<dyn FnMut(Coded) + Send>,
) -> Result<(), Failure> {
    let encoder = Encoder::start(job, Taker::Live(take))?;
    shots.iter().try_for_each(|shot| encoder.push(job, shot))
}

/// The element with a pad of ours on either side.
struct Encoder {
    elements: Vec<gst::Element>,
    source: gst::Pad,
    sink: gst::Pad,
    output: Arc<Mutex<Output>>,
    converter: Option<gst_video::VideoConverter>,
    info: gst_video::VideoInfo,
    bus: gst::Bus,
}

impl Drop for Encoder {
    fn drop(&mut self) {
        for element in &self.elements {
            let _ = element.set_state(gst::State::Null);
        }
        for pad in [&self.source, &self.sink] {
            let _ = pad.set_active(false);
        }
    }
}

/// Where coded pictures go.
struct Output {
    job: RungJob,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    taker: Taker,
    failure: Option<Failure>,
}

/// Who takes them.
enum Taker {
    /// A span, once they are configured.
    Span(Option<Box<ChunkSpan>>),
    /// Somebody who cannot wait.
    Live(Box<dyn FnMut(Coded) + Send>),
}

impl Encoder {
    fn start(job: &RungJob, taker: Taker) -> Result<Self, Failure> {
        let output = Output { job: job.clone(), segment: None, taker, failure: None };
        let output = Arc::new(Mutex::new(output));
        let encoder = element(&job.rung.encoder.name)?;
        settings::apply(&encoder, job)?;
        let mut elements = vec![encoder];
        if job.rung.encoder.name != settings::X264 {
            elements.push(element("h264parse")?);
        }
        let format = taken_format(elements.first())?;
        let info = rung_info((job.rung.width, job.rung.height))?;
        let converter = (format != gst_video::VideoFormat::I420).then(|| converter(&info, format)).transpose()?;
        let info = converter.as_ref().map_or(Ok(info), |(_, info)| Ok::<_, Failure>(info.clone()))?;
        let converter = converter.map(|(converter, _)| converter);
        let bus = gst::Bus::new();
        let this = Self {
            source: gst::Pad::new(gst::PadDirection::Src),
            sink: sink_pad(job, &output)?,
            elements,
            output,
            converter,
            info,
            bus,
        };
        this.connect()?;
        Ok(this)
    }

    fn connect(&self) -> Result<(), Failure> {
        let mut from = self.source.clone();
        for element in &self.elements {
            element.set_bus(Some(&self.bus));
            let pad = |name| element.static_pad(name).ok_or_else(|| internal("an encoder without pads"));
            from.link_full(&pad("sink")?, gst::PadLinkCheck::CAPS).map_err(internal)?;
            from = pad("src")?;
        }
        from.link_full(&self.sink, gst::PadLinkCheck::CAPS).map_err(internal)?;
        self.sink.set_active(true).map_err(internal)?;
        for element in self.elements.iter().rev() {
            element.set_state(gst::State::Playing).map_err(|_| self.why("it does not start"))?;
        }
        self.source.set_active(true).map_err(internal)?;
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        let caps = self.info.to_caps().map_err(internal)?;
        self.source.push_event(gst::event::StreamStart::new("pictures"));
        if !self.source.push_event(gst::event::Caps::new(&caps)) {
            return Err(self.why("it refuses the pictures' format"));
        }
        self.source.push_event(gst::event::Segment::new(&segment));
        Ok(())
    }

    fn push(&self, job: &RungJob, shot: Shot) -> Result<(), Failure> {
        let at = job.at(shot.pts);
        if shot.is_key {
            let event = gst_video::DownstreamForceKeyUnitEvent::builder()
                .timestamp(at)
                .stream_time(at)
                .running_time(at)
                .all_headers(false)
                .build();
            self.source.push_event(event);
        }
        let mut buffer = self.converted(shot.picture)?;
        // A copy of the description alone: the pictures' memory may be in other hands too.
        let buffer = buffer.make_mut();
        buffer.set_pts(at);
        buffer.set_dts(None);
        buffer.set_duration(None);
        let pushed = self.source.push(buffer.copy());
        pushed.map(drop).map_err(|_| self.why("it stopped"))
    }

    fn converted(&self, picture: Picture) -> Result<gst::Buffer, Failure> {
        let Some(converter) = &self.converter else { return Ok(picture.buffer) };
        let from =
            gst_video::VideoFrame::from_buffer_readable(picture.buffer, &picture.info).map_err(|_| unmapped())?;
        let to = gst::Buffer::with_size(self.info.size()).map_err(internal)?;
        let mut to = gst_video::VideoFrame::from_buffer_writable(to, &self.info).map_err(|_| unmapped())?;
        converter.frame(&from, &mut to);
        Ok(to.into_buffer())
    }

    fn drain(&self) -> Result<(), Failure> {
        if self.source.push_event(gst::event::Eos::new()) { Ok(()) } else { Err(self.why("it did not end")) }
    }

    fn finish(self) -> Result<SpanOfChunk, Failure> {
        let mut output = locked(&self.output);
        if let Some(failure) = output.failure.take() {
            return Err(failure);
        }
        let span = match &mut output.taker {
            Taker::Span(span) => span.take(),
            Taker::Live(_) => None,
        };
        drop(output);
        span.ok_or_else(|| self.why("nothing came out"))?.finish().map_err(internal)
    }

    /// The reason that was written down or reported, or else `otherwise`.
    fn why(&self, otherwise: &str) -> Failure {
        if let Some(failure) = locked(&self.output).failure.take() {
            return failure;
        }
        let message = self.bus.pop_filtered(&[gst::MessageType::Error]);
        let said = match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => error.error().to_string(),
            _ => otherwise.to_owned(),
        };
        let name = self.elements.first().map(|element| element.name().to_string()).unwrap_or_default();
        Failure { code: "encoder_failed".into(), message: format!("The encoder {name} failed: {said}.") }
    }
}

impl RungJob {
    /// Encoders are given times from the chunk's start on, behind [`FIRST`].
    fn at(&self, pts: i64) -> gst::ClockTime {
        let ticks = pts - self.cuts.first().copied().unwrap_or(0);
        let ticks = gst::ClockTime::from_nseconds(u64::try_from(ticks).unwrap_or(0));
        FIRST + ticks.mul_div_round(1_000_000_000, u64::from(self.timescale)).unwrap_or_default()
    }

    fn pts(&self, at: gst::ClockTime) -> i64 {
        let ticks =
            at.saturating_sub(FIRST).mul_div_round(u64::from(self.timescale), 1_000_000_000).unwrap_or_default();
        let first = self.cuts.first().copied().unwrap_or(0);
        i64::try_from(ticks.nseconds()).unwrap_or(i64::MAX).saturating_add(first)
    }
}

fn locked(output: &Mutex<Output>) -> MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

/// I420 where the encoder takes it, else NV12.
fn taken_format(encoder: Option<&gst::Element>) -> Result<gst_video::VideoFormat, Failure> {
    let pad = encoder.and_then(|encoder| encoder.static_pad("sink")).ok_or_else(|| internal("no pad"))?;
    let planar = gst::Caps::builder("video/x-raw").field("format", "I420").build();
    let takes = pad.pad_template_caps().can_intersect(&planar);
    Ok(if takes { gst_video::VideoFormat::I420 } else { gst_video::VideoFormat::Nv12 })
}

fn converter(
    info: &gst_video::VideoInfo,
    format: gst_video::VideoFormat,
) -> Result<(gst_video::VideoConverter, gst_video::VideoInfo), Failure> {
    let to = gst_video::VideoInfo::builder(format, info.width(), info.height())
        .colorimetry(&info.colorimetry())
        .build()
        .map_err(internal)?;
    Ok((gst_video::VideoConverter::new(info, &to, None).map_err(internal)?, to))
}

/// The pad that the encoder's output ends in: its template says what is wanted.
fn sink_pad(job: &RungJob, output: &Arc<Mutex<Output>>) -> Result<gst::Pad, Failure> {
    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", "avc")
        .field("alignment", "au")
        .field("profile", "high")
        .field("level", settings::level(job))
        .build();
    let (direction, presence) = (gst::PadDirection::Sink, gst::PadPresence::Always);
    let template = gst::PadTemplate::new("sink", direction, presence, &caps).map_err(internal)?;
    let (of_buffers, of_events) = (Arc::clone(output), Arc::clone(output));
    let pad = gst::Pad::builder_from_template(&template)
        .chain_function(move |_, _, buffer| locked(&of_buffers).take(&buffer))
        .event_function(move |_, _, event| locked(&of_events).take_event(&event))
        .build();
    Ok(pad)
}

impl Output {
    fn take_event(&mut self, event: &gst::Event) -> bool {
        match event.view() {
            gst::EventView::Segment(segment) => {
                self.segment = segment.segment().downcast_ref::<gst::ClockTime>().cloned();
                true
            }
            gst::EventView::Caps(caps) => self.configure(caps.caps()),
            _ => true,
        }
    }

    fn configure(&mut self, caps: &gst::CapsRef) -> bool {
        let data = caps.structure(0).and_then(|caps| caps.get::<gst::Buffer>("codec_data").ok());
        let data = data.and_then(|data| data.map_readable().ok().map(|data| Bytes::copy_from_slice(&data)));
        let config = |avcc| TrackConfig::new(CodecConfig::H264 { avcc }, self.job.timescale);
        match (&mut self.taker, data.map(config)) {
            (Taker::Span(Some(_)), _) => true,
            (_, None) => false,
            (Taker::Live(take), Some(config)) => {
                take(Coded::Config(config));
                true
            }
            (Taker::Span(span), Some(config)) => {
                let config = TrackConfig { reorder: self.job.reorder(), ..config };
                match self.job.span(config) {
                    Ok(begun) => *span = Some(Box::new(begun)),
                    Err(failure) => self.failure = Some(failure),
                }
                self.failure.is_none()
            }
        }
    }

    fn take(&mut self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let taken = self.try_take(buffer);
        taken.map(|()| gst::FlowSuccess::Ok).map_err(|failure| {
            self.failure = Some(failure);
            gst::FlowError::Error
        })
    }

    fn try_take(&mut self, buffer: &gst::Buffer) -> Result<(), Failure> {
        let running = self.segment.as_ref().and_then(|segment| segment.to_running_time(buffer.pts()));
        let at = running.ok_or_else(|| internal("an encoded picture without a time"))?;
        let map = buffer.map_readable().map_err(internal)?;
        let payload = slices_of(&map);
        let keyframe = NalUnits::new(&payload, 4).any(|unit| unit.kind == NAL_IDR);
        let pts = self.job.pts(at);
        let frame = Frame { dts: pts, pts, duration: 0, keyframe, payload };
        match &mut self.taker {
            Taker::Live(take) => take(Coded::Picture(frame)),
            Taker::Span(Some(span)) => span.push(frame).map_err(internal)?,
            Taker::Span(None) => return Err(internal("an encoded picture before its configuration")),
        }
        Ok(())
    }
}

/// The access unit without parameter sets, delimiters and what the encoder says about itself.
fn slices_of(unit: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(unit.len());
    for unit in NalUnits::new(unit, 4).filter(|unit| (NAL_SLICE..=NAL_IDR).contains(&unit.kind)) {
        out.put_u32(u32::try_from(unit.bytes.len()).unwrap_or(0));
        out.put_slice(unit.bytes);
    }
    out.freeze()
}
