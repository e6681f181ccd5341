//! From samples to frames: gathers what must be known of all tracks before the first frame can be written, then writes
//! each frame as it comes.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use gstreamer as gst;

use super::Request;
use super::order::{DEPTH_MAX, DecodeTimes};
use crate::domain::asset::Ticks;
use crate::domain::video::NonStandard;
use crate::media::codecs::aac::AacConfig;
use crate::media::codecs::h264::{AvcConfig, NAL_PPS, NAL_SPS, NalUnits};
use crate::media::frames::{CodecConfig, Frame, TrackConfig};
use crate::media::grid::GridSettings;
use crate::media::spans::{Remuxed, SpanError, SpanSettings, SpanWriter};
use crate::media::standard::check_configs;

/// Ticks per second of pictures: whole numbers for all usual frame rates.
const VIDEO_TIMESCALE: u32 = 90_000;
/// Pictures gathered before the first is written: twice what reordering can span.
const WINDOW: usize = 2 * DEPTH_MAX + 2;
/// Bytes gathered at most; tracks that have shown nothing by then are left out.
const GATHERED_BYTES_MAX: usize = 64 << 20;
/// Most tracks of sound taken from one file.
const AUDIO_TRACKS_MAX: usize = 16;
/// Sound that starts earlier than this before the pictures is left out: the timeline has room for a second.
const LEAD_MAX_NS: i64 = 900_000_000;
/// Media time of a span.
const SPAN_MS: u32 = 60_000;

/// A stream that can be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamKind {
    H264,
    Aac,
}

impl StreamKind {
    pub(super) fn of(caps: &gst::Caps) -> Option<Self> {
        // Before a parser has seen a frame, a field may still be a list of what is possible.
        let aac = |version: i32| gst::Caps::builder("audio/mpeg").field("mpegversion", version).build();
        let is_h264 = caps.structure(0).is_some_and(|structure| structure.name() == "video/x-h264");
        let is_aac = caps.is_subset(&gst::Caps::builder("audio/mpeg").build())
            && (caps.can_intersect(&aac(4)) || caps.can_intersect(&aac(2)));
        if is_h264 { Some(Self::H264) } else { is_aac.then_some(Self::Aac) }
    }
}

/// A frame before its track's timescale matters.
struct RawFrame {
    at_ns: i64,
    duration_ns: i64,
    keyframe: bool,
    payload: Bytes,
}

struct Stream {
    kind: StreamKind,
    /// Decoder configuration, from the caps.
    codec_data: Option<Bytes>,
    language: Option<String>,
    rotation: u16,
    gathered: Vec<RawFrame>,
    /// Set once writing has begun: its number in the writer.
    track: Option<usize>,
    timescale: u32,
    avc: Option<AvcConfig>,
    times: Option<DecodeTimes>,
}

/// Gathers, then writes.
pub(super) struct Collector {
    streams: Vec<Stream>,
    all_shown: Option<Arc<AtomicBool>>,
    settings: SpanSettings,
    writer: Option<SpanWriter>,
    /// The container has edit lists: times count only within its segments.
    has_edits: bool,
    start_ns: i64,
    gathered_bytes: usize,
    bytes: u64,
    bytes_max: u64,
    error: Option<SpanError>,
}

fn unmet(code: &str, message: impl Into<String>) -> SpanError {
    SpanError::NonStandard(NonStandard { code: code.into(), message: message.into() })
}

fn ticks(ns: i64, timescale: u32) -> i64 {
    let scaled = i128::from(ns) * i128::from(timescale);
    i64::try_from((scaled + 500_000_000).div_euclid(1_000_000_000)).unwrap_or(0)
}

impl Collector {
    pub(super) fn new(request: &Request, source_bytes: u64) -> Self {
        let (limits, output) = (request.limits, request.output);
        let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        let settings = SpanSettings {
            dir: output.dir.clone(),
            prefix: output.key_prefix.clone(),
            generation: output.generation,
            start: Ticks { value: 0, timescale: 1 },
            grid: GridSettings {
                target_ms: millis(limits.segment_duration),
                longest_ms: millis(limits.gop_duration_max),
            },
            span_ms: SPAN_MS,
            bits_per_sec_max: limits.bit_rate_max,
        };
        Self {
            streams: Vec::new(),
            all_shown: None,
            settings,
            writer: None,
            has_edits: request.media.container == "mp4" || request.media.container == "mov",
            start_ns: 0,
            gathered_bytes: 0,
            bytes: 0,
            // Taking a file apart cannot make it much larger: one that does wants to fill the disk.
            bytes_max: source_bytes.saturating_mul(2).saturating_add(1 << 20),
            error: None,
        }
    }

    /// Lets writing begin only once this says that all streams have been shown.
    pub(super) fn wait_for(&mut self, all_shown: Arc<AtomicBool>) {
        self.all_shown = Some(all_shown);
    }

    /// When the first picture (or sound) is shown in the source's own time.
    pub(super) fn start_ms(&self) -> u64 {
        u64::try_from(self.start_ns / 1_000_000).unwrap_or(0)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// A number for a new stream; `None` when it is not to be played: second pictures, sound beyond the most, and
    /// anything that appears when writing has begun.
    pub(super) fn add_stream(&mut self, kind: StreamKind) -> Option<usize> {
        let same = self.streams.iter().filter(|stream| stream.kind == kind).count();
        let most = if kind == StreamKind::H264 { 1 } else { AUDIO_TRACKS_MAX };
        if same >= most || self.writer.is_some() {
            return None;
        }
        self.streams.push(Stream {
            kind,
            codec_data: None,
            language: None,
            rotation: 0,
            gathered: Vec::new(),
            track: None,
            timescale: VIDEO_TIMESCALE,
            avc: None,
            times: None,
        });
        Some(self.streams.len() - 1)
    }

    pub(super) fn take_tags(&mut self, number: usize, tags: &gst::TagListRef) {
        let Some(stream) = self.streams.get_mut(number) else { return };
        if let Some(language) = tags.get::<gst::tags::LanguageCode>() {
            stream.language = Some(language.get().to_owned());
        }
        if let Some(orientation) = tags.get::<gst::tags::ImageOrientation>() {
            stream.rotation = crate::media::pipelines::describe::degrees(orientation.get());
        }
    }

    /// Takes a sample; returns whether more are wanted.
    pub(super) fn take(&mut self, number: usize, sample: &gst::Sample) -> bool {
        if self.error.is_none()
            && let Err(error) = self.try_take(number, sample)
        {
            self.error = Some(error);
        }
        self.error.is_none()
    }

    fn try_take(&mut self, number: usize, sample: &gst::Sample) -> Result<(), SpanError> {
        let Some(stream) = self.streams.get_mut(number) else { return Ok(()) };
        stream.take_config(sample)?;
        let Some(frame) = raw_frame(sample, self.has_edits)? else { return Ok(()) };
        self.bytes += frame.payload.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(unmet("damaged", "more comes out of the file than is in it"));
        }
        if let Some(writer) = &mut self.writer {
            return stream.write(frame, self.start_ns, writer);
        }
        self.gathered_bytes += frame.payload.len();
        stream.gathered.push(frame);
        if self.has_gathered_enough() { self.begin() } else { Ok(()) }
    }

    fn has_gathered_enough(&self) -> bool {
        let shown = self.all_shown.as_ref().is_some_and(|shown| shown.load(Ordering::Acquire));
        let enough = |stream: &Stream| match stream.kind {
            StreamKind::H264 => stream.gathered.len() >= WINDOW,
            StreamKind::Aac => !stream.gathered.is_empty(),
        };
        self.gathered_bytes > GATHERED_BYTES_MAX || shown && self.streams.iter().all(enough)
    }

    /// All is known: makes the writer and writes what was gathered.
    fn begin(&mut self) -> Result<(), SpanError> {
        let by_kind = |kind: StreamKind| move |stream: &&Stream| stream.kind == kind;
        let earliest = |kind| self.streams.iter().filter(by_kind(kind)).filter_map(Stream::starts_at).min();
        self.start_ns = earliest(StreamKind::H264).or(earliest(StreamKind::Aac)).unwrap_or(0);
        let configs = self.configure()?;
        self.settings.start = Ticks { value: self.start_ns, timescale: 1_000_000_000 };
        let mut writer = SpanWriter::new(configs, self.settings.clone())?;
        for stream in &mut self.streams {
            for frame in std::mem::take(&mut stream.gathered) {
                stream.write(frame, self.start_ns, &mut writer)?;
            }
        }
        self.writer = Some(writer);
        Ok(())
    }

    /// Configurations of the tracks that have shown something, pictures first, each stream being told its place.
    fn configure(&mut self) -> Result<Vec<TrackConfig>, SpanError> {
        let mut configs = Vec::new();
        for kind in [StreamKind::H264, StreamKind::Aac] {
            let shown = |stream: &&mut Stream| stream.kind == kind && !stream.gathered.is_empty();
            for stream in self.streams.iter_mut().filter(shown) {
                let is_first = !configs.iter().any(|config: &TrackConfig| config.kind() == stream.track_kind());
                configs.push(stream.configure(configs.len(), is_first)?);
            }
        }
        match check_configs(&configs).into_iter().next() {
            Some(reason) => Err(SpanError::NonStandard(reason)),
            None => Ok(configs),
        }
    }

    /// No more samples will come.
    pub(super) fn finish(&mut self) -> Result<Remuxed, SpanError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.writer.is_none() {
            self.begin()?;
        }
        let nothing = || SpanError::Io(std::io::Error::other("finished twice"));
        self.writer.take().ok_or_else(nothing)?.finish()
    }
}

impl Stream {
    fn track_kind(&self) -> crate::domain::asset::TrackKind {
        match self.kind {
            StreamKind::H264 => crate::domain::asset::TrackKind::Video,
            StreamKind::Aac => crate::domain::asset::TrackKind::Audio,
        }
    }

    fn take_config(&mut self, sample: &gst::Sample) -> Result<(), SpanError> {
        let caps = sample.caps().and_then(|caps| caps.structure(0));
        let Some(data) = caps.and_then(|caps| caps.get::<gst::Buffer>("codec_data").ok()) else { return Ok(()) };
        let Ok(data) = data.map_readable() else { return Ok(()) };
        match &self.codec_data {
            None => self.codec_data = Some(Bytes::copy_from_slice(&data)),
            Some(known) if known.as_ref() == data.as_slice() => {}
            Some(_) if self.kind == StreamKind::H264 => {
                return Err(unmet("parameter_sets", "the H.264 parameter sets change within the track"));
            }
            Some(_) => return Err(unmet("parameter_sets", "the AAC configuration changes within the track")),
        }
        Ok(())
    }

    /// First presentation of what will be written: pictures start at a key frame.
    fn starts_at(&self) -> Option<i64> {
        let first = self.gathered.iter().position(|frame| frame.keyframe || self.kind == StreamKind::Aac)?;
        self.gathered.iter().skip(first).map(|frame| frame.at_ns).min()
    }

    fn configure(&mut self, track: usize, is_first: bool) -> Result<TrackConfig, SpanError> {
        let data = self.codec_data.clone().unwrap_or_default();
        let codec = match self.kind {
            StreamKind::H264 => {
                self.avc = AvcConfig::parse(&data).ok();
                let first = self.gathered.iter().position(|frame| frame.keyframe).unwrap_or(0);
                self.gathered.drain(..first);
                let window: Vec<i64> = self.gathered.iter().map(|frame| ticks(frame.at_ns, VIDEO_TIMESCALE)).collect();
                let step = self.gathered.iter().map(|frame| frame.duration_ns).find(|duration| *duration > 0);
                let step = ticks(step.unwrap_or(40_000_000), VIDEO_TIMESCALE);
                self.times = Some(DecodeTimes::new(&window, step));
                CodecConfig::H264 { avcc: data }
            }
            StreamKind::Aac => {
                let aac = AacConfig::parse(&data);
                self.timescale = aac.map(|aac| aac.sample_rate).filter(|rate| *rate > 0).unwrap_or(48_000);
                CodecConfig::Aac { config: data }
            }
        };
        self.track = Some(track);
        let mut config = TrackConfig::new(codec, self.timescale);
        config.rotation = self.rotation;
        config.default = is_first;
        config.language = self.language.clone().unwrap_or(config.language);
        Ok(config)
    }

    fn write(&mut self, frame: RawFrame, start_ns: i64, writer: &mut SpanWriter) -> Result<(), SpanError> {
        let Some(track) = self.track else { return Ok(()) };
        let pts = ticks(frame.at_ns, self.timescale);
        let duration = u32::try_from(ticks(frame.duration_ns, self.timescale)).unwrap_or(0);
        let (dts, payload) = match (&mut self.times, &self.avc) {
            (Some(times), Some(avc)) => (times.next(pts), without_parameter_sets(frame.payload, avc)),
            _ if frame.at_ns < start_ns - LEAD_MAX_NS => return Ok(()),
            _ => (pts, frame.payload),
        };
        writer.push(track, Frame { dts, pts, duration, keyframe: frame.keyframe, payload })
    }
}

/// The sample's bytes and times, as the container tells them. Where it has edit lists, they are applied; elsewhere
/// segments are an artefact of the demuxer (that of Matroska changes its mind after the first frames).
fn raw_frame(sample: &gst::Sample, has_edits: bool) -> Result<Option<RawFrame>, SpanError> {
    let Some(buffer) = sample.buffer() else { return Ok(None) };
    let flags = buffer.flags();
    if buffer.size() == 0 {
        return Ok(None);
    }
    let Some(at) = buffer.pts().or(buffer.dts()) else {
        return Err(unmet("timestamps", "frames have no timestamps"));
    };
    let segment = sample.segment().filter(|_| has_edits).and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
    let running = segment.and_then(|segment| segment.to_running_time_full(at));
    let at_ns = match running {
        Some(gst::Signed::Positive(time)) => i64::try_from(time.nseconds()).unwrap_or(i64::MAX),
        Some(gst::Signed::Negative(time)) => -i64::try_from(time.nseconds()).unwrap_or(i64::MAX),
        None => i64::try_from(at.nseconds()).unwrap_or(i64::MAX),
    };
    let map = buffer.map_readable().map_err(|error| SpanError::Io(std::io::Error::other(error)))?;
    Ok(Some(RawFrame {
        at_ns,
        duration_ns: buffer.duration().and_then(|it| i64::try_from(it.nseconds()).ok()).unwrap_or(0),
        keyframe: !flags.contains(gst::BufferFlags::DELTA_UNIT),
        payload: Bytes::copy_from_slice(&map),
    }))
}

/// Takes out the parameter sets that the track has anyway; different ones stay, to be found by who checks them.
fn without_parameter_sets(payload: Bytes, avc: &AvcConfig) -> Bytes {
    let is_known = |unit: &[u8]| avc.sps.iter().chain(&avc.pps).any(|set| set.as_ref() == unit);
    let is_surplus = |kind: u8, unit: &[u8]| matches!(kind, NAL_SPS | NAL_PPS) && is_known(unit);
    let units = || NalUnits::new(&payload, avc.length_bytes);
    if avc.length_bytes != 4 || !units().any(|unit| is_surplus(unit.kind, unit.bytes)) {
        return payload;
    }
    let mut kept = BytesMut::with_capacity(payload.len());
    for unit in units().filter(|unit| !is_surplus(unit.kind, unit.bytes)) {
        kept.put_u32(u32::try_from(unit.bytes.len()).unwrap_or(u32::MAX));
        kept.put_slice(unit.bytes);
    }
    kept.freeze()
}
