//! One track of a remux: times moved to the output timeline, frames held until it is certain where their segment ends.
use std::collections::VecDeque;

use super::file::SpanNames;
use super::{Remuxed, SpanError, SpanFiles, SpanSettings, too_long};
use crate::domain::asset::{
    AssetTrack, BlobKey, KeyFrame, Segment, SegmentBytes, TIMELINE_ORIGIN_SECS, Ticks, TrackKind,
};
use crate::media::codecs::h264::{AvcConfig, PictureKind};
use crate::media::frames::{CodecConfig, Frame, TrackConfig, frame_rate};
use crate::media::grid::{GridSettings, KeyFrameCutter};
use crate::media::index::TRICK_PLAY_DISTANCE_MS;
use crate::media::packager::{init_segment, segment_bytes};
use crate::media::records::{SampleRecord, SampleTable};
use crate::media::standard::unmet;

/// Sound whose times jump about by less than this (milliseconds) is taken as continuous: containers that keep time in
/// milliseconds cannot say better.
const JITTER_MS: i64 = 10;

/// Writes one track.
pub(super) struct TrackWriter {
    name: String,
    config: TrackConfig,
    avc: Option<AvcConfig>,
    grid: GridSettings,
    /// Whether another track's pictures say where this one is cut.
    follows: bool,
    shift: i64,
    /// Added to decode times besides, so that the first picture is decoded when it is shown.
    reorder: i64,
    cutter: KeyFrameCutter,
    /// Frames not written yet, times on the output timeline.
    pending: VecDeque<Frame>,
    /// When the last key frame is shown.
    last_key: Option<i64>,
    /// Where pictures were cut and sound is yet to be, ascending.
    cuts: VecDeque<i64>,
    files: SpanFiles,
    segments: Vec<Segment>,
    key_frames: Vec<KeyFrame>,
    table: Vec<u8>,
    table_key: BlobKey,
    num_frames: u64,
    num_dropped: u64,
    num_repaired: u64,
    first_dts: i64,
    end_dts: i64,
    end: i64,
}

impl TrackWriter {
    pub(super) fn new(
        name: String,
        config: TrackConfig,
        has_leader: bool,
        settings: &SpanSettings,
    ) -> Result<Self, SpanError> {
        let timescale = config.timescale;
        let avc = match &config.codec {
            CodecConfig::H264 { avcc } => AvcConfig::parse(avcc).ok(),
            _ => None,
        };
        let kind = config.kind();
        let names =
            SpanNames { name: name.clone(), first: 0, dir: settings.dir.clone(), prefix: settings.prefix.clone() };
        let span_ticks = i64::from(settings.span_ms) * i64::from(timescale) / 1000;
        Ok(Self {
            avc,
            grid: settings.grid,
            follows: has_leader && kind == TrackKind::Audio,
            shift: i64::from(TIMELINE_ORIGIN_SECS) * i64::from(timescale) - settings.start.rescale(timescale),
            reorder: 0,
            cutter: KeyFrameCutter::new(&settings.grid, timescale),
            pending: VecDeque::new(),
            last_key: None,
            cuts: VecDeque::new(),
            files: SpanFiles::new(names, kind, span_ticks),
            segments: Vec::new(),
            key_frames: Vec::new(),
            table: Vec::new(),
            table_key: BlobKey::new(format!("{}/{name}.samples", settings.prefix)),
            num_frames: 0,
            num_dropped: 0,
            num_repaired: 0,
            first_dts: 0,
            end_dts: 0,
            end: 0,
            name,
            config,
        })
    }

    pub(super) fn kind(&self) -> TrackKind {
        self.config.kind()
    }

    fn ticks(&self, ms: u32) -> i64 {
        i64::from(ms) * i64::from(self.config.timescale) / 1000
    }

    /// Takes a frame; returns where pictures were cut.
    pub(super) fn push(&mut self, mut frame: Frame) -> Result<Vec<Ticks>, SpanError> {
        frame.dts += self.shift;
        frame.pts += self.shift;
        self.check_key(&mut frame)?;
        if self.kind() == TrackKind::Video && self.last_key.is_none() && !frame.keyframe {
            self.num_dropped += 1;
            return Ok(Vec::new());
        }
        if self.num_frames == 0 && self.kind() == TrackKind::Video {
            self.reorder = frame.pts - frame.dts;
        }
        frame.dts += self.reorder;
        self.repair(&mut frame);
        self.end = self.end.max(frame.pts + i64::from(frame.duration));
        if self.num_frames == 0 {
            self.first_dts = frame.dts;
        }
        self.num_frames += 1;
        match self.kind() {
            TrackKind::Video => self.push_picture(frame),
            TrackKind::Audio => self.push_sound(frame).map(|()| Vec::new()),
        }
    }

    /// A key frame is what carries an IDR picture, whatever the container says.
    fn check_key(&self, frame: &mut Frame) -> Result<(), SpanError> {
        let Some(avc) = self.avc.as_ref().filter(|_| frame.keyframe) else { return Ok(()) };
        match avc.picture_kind(&frame.payload) {
            Some(PictureKind::Idr) => Ok(()),
            Some(PictureKind::Reconfigured) => {
                Err(unmet("parameter_sets", "the H.264 parameter sets change within the track").into())
            }
            Some(PictureKind::Other) | None => {
                frame.keyframe = false;
                Ok(())
            }
        }
    }

    fn repair(&mut self, frame: &mut Frame) {
        let jitter = JITTER_MS * i64::from(self.config.timescale) / 1000;
        let Some(last) = self.pending.back() else {
            if frame.dts < 0 {
                self.num_repaired += 1;
                frame.dts = 0;
            }
            return;
        };
        let expected = last.dts + i64::from(last.duration);
        if self.config.kind() == TrackKind::Audio {
            if last.duration > 0 && (frame.dts - expected).abs() <= jitter {
                frame.dts = expected;
            }
            frame.pts = frame.dts;
        }
        if frame.dts <= last.dts {
            self.num_repaired += 1;
            frame.dts = last.dts + 1;
            if self.config.kind() == TrackKind::Audio {
                frame.pts = frame.dts;
            }
        }
    }

    fn push_picture(&mut self, frame: Frame) -> Result<Vec<Ticks>, SpanError> {
        let longest = self.grid.longest(self.config.timescale);
        if self.last_key.is_some_and(|key| frame.pts - key > longest) {
            return Err(too_long(self.grid.longest_ms));
        }
        let mut cuts = Vec::new();
        if frame.keyframe {
            if self.last_key.is_none() {
                cuts.push(frame.pts);
            }
            self.last_key = Some(frame.pts);
            let cut = self.cutter.push(frame.pts);
            self.cut_before_key(cut)?;
            cuts.extend(cut);
        }
        self.pending.push_back(frame);
        let timescale = self.config.timescale;
        Ok(cuts.into_iter().map(|value| Ticks { value, timescale }).collect())
    }

    /// Writes what is before the key frame at `cut`.
    fn cut_before_key(&mut self, cut: Option<i64>) -> Result<(), SpanError> {
        let is_cut = |frame: &Frame| frame.keyframe && Some(frame.pts) == cut;
        match self.pending.iter().skip(1).position(is_cut) {
            Some(count) => self.write(count + 1),
            None => Ok(()),
        }
    }

    fn push_sound(&mut self, frame: Frame) -> Result<(), SpanError> {
        self.pending.push_back(frame);
        self.settle_cuts()?;
        let (target, longest) = (self.ticks(self.grid.target_ms), self.grid.longest(self.config.timescale));
        // A leader's cuts lag behind by two groups of pictures at most.
        let wait = if self.follows { 3 * longest } else { target * 3 / 2 };
        self.cut_evenly(self.pending.back().map_or(0, |frame| frame.pts), wait)
    }

    /// Cuts sound at the frame nearest to where pictures are cut.
    pub(super) fn cut_near(&mut self, at: Ticks) -> Result<(), SpanError> {
        self.cuts.push_back(at.rescale(self.config.timescale));
        self.settle_cuts()
    }

    fn settle_cuts(&mut self) -> Result<(), SpanError> {
        let longest = self.grid.longest(self.config.timescale);
        let margin = self.ticks(self.grid.target_ms) / 8;
        while let (Some(at), Some(last)) = (self.cuts.front().copied(), self.pending.back()) {
            if last.pts + i64::from(last.duration / 2) < at {
                break;
            }
            self.cuts.pop_front();
            self.cut_evenly(at, longest)?;
            if self.pending.front().is_some_and(|first| at - first.pts > margin) {
                self.write_before(at)?;
            }
        }
        Ok(())
    }

    /// Cuts near the target length as long as more than `longest` lies before `until`.
    fn cut_evenly(&mut self, until: i64, longest: i64) -> Result<(), SpanError> {
        let target = self.ticks(self.grid.target_ms);
        while let Some(first) = self.pending.front().map(|frame| frame.pts).filter(|first| until - first > longest) {
            if !self.write_before(first + target)? {
                break;
            }
        }
        Ok(())
    }

    /// Writes a segment of the frames nearer to what is before `at`, if there are any behind it.
    fn write_before(&mut self, at: i64) -> Result<bool, SpanError> {
        let count = self.pending.iter().position(|frame| frame.pts + i64::from(frame.duration / 2) >= at);
        match count {
            // A frame longer than all of this: it goes alone.
            Some(0) if self.pending.len() > 1 => self.write(1).map(|()| true),
            Some(count) if count > 0 => self.write(count).map(|()| true),
            _ => Ok(false),
        }
    }

    /// No more frames will come: writes what is pending; returns where pictures were cut.
    pub(super) fn end(&mut self) -> Result<Vec<Ticks>, SpanError> {
        let Some(last) = self.pending.back() else { return Ok(Vec::new()) };
        self.end = self.end.max(last.pts + i64::from(self.last_duration(last)));
        let mut cuts = Vec::new();
        match self.kind() {
            TrackKind::Video => {
                let longest = self.grid.longest(self.config.timescale);
                if self.last_key.is_some_and(|key| self.end - key > longest) {
                    return Err(too_long(self.grid.longest_ms));
                }
                let cut = self.cutter.finish(self.end);
                self.cut_before_key(cut)?;
                cuts.extend(cut);
            }
            TrackKind::Audio => {
                let longest = self.grid.longest(self.config.timescale);
                let most = if self.follows { longest } else { self.ticks(self.grid.target_ms) * 3 / 2 };
                self.cut_evenly(self.end, most)?;
            }
        }
        self.write(self.pending.len())?;
        if let Some(segment) = self.segments.last_mut() {
            segment.duration = length(segment.start, self.end)?;
        }
        if let Some(key) = self.key_frames.last_mut() {
            key.duration = length(key.start, self.end)?;
        }
        let timescale = self.config.timescale;
        Ok(cuts.into_iter().map(|value| Ticks { value, timescale }).collect())
    }

    fn last_duration(&self, frame: &Frame) -> u32 {
        if frame.duration > 0 {
            return frame.duration;
        }
        let before = self.pending.len().checked_sub(2).and_then(|index| self.pending.get(index));
        before.and_then(|before| u32::try_from(frame.dts - before.dts).ok()).unwrap_or(1)
    }

    /// Writes the first `count` pending frames as a segment.
    fn write(&mut self, count: usize) -> Result<(), SpanError> {
        let ends = self.pending.iter().skip(1).map(|frame| frame.dts);
        let last_end = self.pending.back().map_or(0, |last| last.dts + i64::from(self.last_duration(last)));
        let ends = ends.chain([last_end]);
        let records = self.pending.iter().zip(ends).take(count).map(|(frame, end)| record(frame, end));
        let mut records = records.collect::<Result<Vec<_>, _>>()?;
        let frames: Vec<Frame> = self.pending.drain(..count.min(self.pending.len())).collect();
        let Some(start) = frames.iter().map(|frame| frame.pts).min() else { return Ok(()) };
        self.end_dts = records.last().map_or(0, |last| last.dts as i64 + i64::from(last.duration));
        if self.segments.is_empty() {
            self.begin_spans(&records)?;
        }
        let number = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        let written = self.files.append(start, number, &frames, &records)?;
        let mut offset = written.first_sample;
        for record in &mut records {
            record.offset = offset;
            offset += u64::from(record.bytes);
        }
        if let Some(previous) = self.segments.last_mut() {
            previous.duration = length(previous.start, start)?;
        }
        self.segments.push(Segment { start, duration: 0, bytes: written.bytes, source: written.source });
        if self.kind() == TrackKind::Video {
            self.note_key_frames(&records)?;
        }
        Ok(())
    }

    /// The first segment tells how far decoding runs ahead: encoders keep to one pattern.
    fn begin_spans(&mut self, records: &[SampleRecord]) -> Result<(), SpanError> {
        let ahead = records.iter().map(|record| record.composition.saturating_neg()).max();
        self.config.reorder = ahead.and_then(|ticks| u32::try_from(ticks).ok()).unwrap_or(0);
        self.files.set_init(init_segment(&self.config)?, self.config.reorder);
        Ok(())
    }

    fn note_key_frames(&mut self, records: &[SampleRecord]) -> Result<(), SpanError> {
        let distance = TRICK_PLAY_DISTANCE_MS * i64::from(self.config.timescale) / 1000;
        for record in records.iter().filter(|record| record.keyframe) {
            let start = record.pts();
            if let Some(last) = self.key_frames.last_mut() {
                if start - last.start < distance {
                    continue;
                }
                last.duration = length(last.start, start)?;
            }
            let bytes = segment_bytes(TrackKind::Video, 1, u64::from(record.bytes)).ok_or_else(out_of_range)?;
            let source = SegmentBytes::Virtual { first: self.key_frames.len() as u64, samples: 1 };
            record.append_to(&mut self.table).map_err(|_| out_of_range())?;
            self.key_frames.push(KeyFrame { start, duration: 0, bytes, source });
        }
        Ok(())
    }

    /// Adds what was made to the rest; a track without frames adds nothing.
    pub(super) fn finish_into(self, made: &mut Remuxed) -> Result<(), SpanError> {
        made.num_dropped += self.num_dropped;
        made.num_repaired += self.num_repaired;
        if self.segments.is_empty() {
            return Ok(());
        }
        let spans = self.files.finish()?;
        let rate = frame_rate(
            self.num_frames,
            u64::try_from(self.end_dts - self.first_dts).unwrap_or(0),
            self.config.timescale,
        );
        let has_keys = !self.key_frames.is_empty();
        made.tracks.push(AssetTrack {
            kind: self.config.kind(),
            codec: self.config.codec_string()?,
            timescale: self.config.timescale,
            video: self.config.video_properties(rate)?,
            audio: self.config.audio_properties()?,
            init: init_segment(&self.config)?,
            reorder: self.config.reorder,
            sample_table: has_keys.then(|| self.table_key.clone()),
            spans: spans.iter().map(|span| span.key.clone()).collect(),
            segments: self.segments,
            key_frames: self.key_frames,
            name: self.name,
        });
        if has_keys {
            made.tables.push(SampleTable { key: self.table_key, bytes: self.table.into() });
        }
        made.spans.extend(spans);
        Ok(())
    }
}

fn record(frame: &Frame, end: i64) -> Result<SampleRecord, SpanError> {
    Ok(SampleRecord {
        offset: 0,
        bytes: u32::try_from(frame.payload.len()).map_err(|_| out_of_range())?,
        dts: u64::try_from(frame.dts).map_err(|_| out_of_range())?,
        duration: length(frame.dts, end)?,
        composition: i32::try_from(frame.pts - frame.dts).map_err(|_| out_of_range())?,
        keyframe: frame.keyframe,
    })
}

fn length(start: i64, end: i64) -> Result<u32, SpanError> {
    u32::try_from(end - start).map_err(|_| out_of_range())
}

fn out_of_range() -> SpanError {
    unmet("timestamps", "the timestamps jump back and forth").into()
}
