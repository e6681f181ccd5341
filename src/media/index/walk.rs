//! One pass over a track's samples: records for the table, key frames that really are ones, and what stands in the way of
//! playing it as it is.
use std::io::{Read, Seek, SeekFrom};

use super::timeline::Shift;
use crate::domain::asset::{Ticks, TrackKind};
use crate::domain::video::NonStandard;
use crate::media::codecs::h264::{AvcConfig, PictureKind};
use crate::media::movie::tables::Sample;
use crate::media::movie::{MovieError, MovieTrack};
use crate::media::records::SampleRecord;
use crate::media::standard::unmet;

/// First bytes of a picture read to tell its kind; its headers nearly always fit.
const HEAD_BYTES: usize = 4096;
/// Bytes read when they do not: large user data come first in some cameras' files.
const LONG_HEAD_BYTES: usize = 1 << 20;
/// Key frames closer than this to the one before are not told apart from other pictures (milliseconds).
const KEY_DISTANCE_MS: i64 = 250;
/// Longest track, hours: a grid is held in memory.
const HOURS_MAX: i64 = 100;
/// Most key frames looked at: 30 hours at four a second.
const KEYS_MAX: usize = 500_000;

/// A verified key frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// Index of its record.
    pub(crate) record: u64,
    /// When it is shown, on the output timeline.
    pub(crate) at: i64,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// The sample records.
    pub(crate) table: Vec<u8>,
    /// Key frames; empty for sound.
    pub(crate) keys: Vec<Key>,
    /// Where key frames were said to be but are not closed.
    pub(crate) open_keys: Vec<i64>,
    /// How far decoding has to run ahead of presentation.
    pub(crate) reorder: u32,
    /// When the first sample is shown.
    pub(crate) start: i64,
    /// When the last one ends.
    pub(crate) end: i64,
}

/// Tells key frames by reading their first bytes.
pub(crate) struct KeyReader<'a, R> {
    pub(crate) reader: &'a mut R,
    /// `None` for sound, which starts anywhere.
    pub(crate) avc: Option<AvcConfig>,
}

impl<R: Read + Seek> KeyReader<'_, R> {
    fn kind_of(&mut self, sample: &Sample) -> Result<PictureKind, MovieError> {
        let Some(avc) = &self.avc else { return Ok(PictureKind::Idr) };
        for head_bytes in [HEAD_BYTES, LONG_HEAD_BYTES] {
            let mut head = Vec::new();
            self.reader.seek(SeekFrom::Start(sample.offset))?;
            let bytes = head_bytes.min(sample.bytes as usize);
            self.reader.by_ref().take(bytes as u64).read_to_end(&mut head)?;
            if let Some(kind) = avc.picture_kind(&head) {
                return Ok(kind);
            }
            if bytes == sample.bytes as usize {
                break;
            }
        }
        Ok(PictureKind::Other)
    }
}

/// Walks all samples. Samples outside the file are a truncation; conditions not met are added to `unmets`.
pub(crate) fn walk<R: Read + Seek>(
    track: &MovieTrack,
    shift: &Shift,
    keys: &mut KeyReader<'_, R>,
    unmets: &mut Vec<NonStandard>,
) -> Result<Walk, MovieError> {
    let file_bytes = keys.reader.seek(SeekFrom::End(0))?;
    let samples = track.tables.samples()?;
    let mut walker = Walker::new(track, *shift);
    for sample in samples {
        let sample = sample?;
        if sample.offset.saturating_add(u64::from(sample.bytes)) > file_bytes {
            return Err(MovieError::truncated("before its media"));
        }
        walker.take(&sample, keys)?;
    }
    walker.finish(unmets)
}

struct Walker {
    kind: TrackKind,
    timescale: u32,
    shift: Shift,
    walk: Walk,
    num_records: u64,
    reconfigured: bool,
    disordered: bool,
    overflown: bool,
    shown_from: i64,
    shown_to: i64,
    longest_sample: u32,
}

impl Walker {
    fn new(track: &MovieTrack, shift: Shift) -> Self {
        Self {
            kind: track.kind,
            timescale: track.timescale,
            shift,
            walk: Walk::default(),
            num_records: 0,
            reconfigured: false,
            disordered: false,
            overflown: false,
            shown_from: i64::MAX,
            shown_to: i64::MIN,
            longest_sample: 0,
        }
    }

    fn take<R: Read + Seek>(&mut self, sample: &Sample, reader: &mut KeyReader<'_, R>) -> Result<(), MovieError> {
        let shown = sample.dts + i64::from(sample.composition);
        self.shown_from = self.shown_from.min(shown);
        self.shown_to = self.shown_to.max(shown + i64::from(sample.duration));
        self.longest_sample = self.longest_sample.max(sample.duration);
        let at = shown + self.shift.presentation;
        let keyframe = self.kind == TrackKind::Audio || (sample.sync && self.take_key(sample, at, reader)?);
        self.disordered |= self.walk.keys.last().is_some_and(|key| at < key.at);
        let composition = at - (sample.dts + self.shift.decode);
        let record = SampleRecord {
            offset: sample.offset,
            bytes: sample.bytes,
            dts: u64::try_from(sample.dts + self.shift.decode).unwrap_or(u64::MAX),
            duration: sample.duration,
            composition: i32::try_from(composition).unwrap_or(i32::MAX),
            keyframe,
        };
        self.overflown |= record.append_to(&mut self.walk.table).is_err();
        self.num_records += 1;
        self.walk.reorder = self.walk.reorder.max(u32::try_from(-composition).unwrap_or(0));
        Ok(())
    }

    fn take_key<R: Read + Seek>(
        &mut self,
        sample: &Sample,
        at: i64,
        reader: &mut KeyReader<'_, R>,
    ) -> Result<bool, MovieError> {
        let distance = KEY_DISTANCE_MS * i64::from(self.timescale) / 1000;
        if self.walk.keys.last().is_some_and(|key| at >= key.at && at - key.at < distance) {
            return Ok(false);
        }
        if self.walk.keys.len() + self.walk.open_keys.len() >= KEYS_MAX {
            let (found, limit) = (KEYS_MAX as u64 + 1, KEYS_MAX as u64);
            return Err(MovieError::TooLarge { what: "number of key frames", found, limit });
        }
        match reader.kind_of(sample)? {
            PictureKind::Idr => self.walk.keys.push(Key { record: self.num_records, at }),
            PictureKind::Other => self.walk.open_keys.push(at),
            PictureKind::Reconfigured => self.reconfigured = true,
        }
        Ok(self.walk.keys.last().is_some_and(|key| key.record == self.num_records))
    }

    fn finish(mut self, unmets: &mut Vec<NonStandard>) -> Result<Walk, MovieError> {
        if self.num_records == 0 {
            unmets.push(unmet("no_samples", "a track is empty"));
            return Ok(self.walk);
        }
        self.walk.start = self.shown_from + self.shift.presentation;
        self.walk.end = self.shown_to + self.shift.presentation;
        if self.overflown {
            return Err(MovieError::damaged("a sample's time or place is out of range"));
        }
        let starts_with_key = self.walk.keys.first().is_some_and(|key| key.record == 0);
        if self.reconfigured {
            unmets.push(unmet("parameter_sets", "the H.264 parameter sets change within the track"));
        } else if self.kind == TrackKind::Video && !starts_with_key {
            unmets.push(unmet("first_picture", "the first picture cannot be decoded by itself"));
        }
        if self.disordered {
            unmets.push(unmet("timestamps", "pictures are shown before the key frame they follow"));
        }
        let hours = (self.walk.end - self.walk.start) / (3600 * i64::from(self.timescale));
        if hours >= HOURS_MAX {
            unmets.push(unmet("duration", format!("a track is {hours} hours long, at most {HOURS_MAX} are allowed")));
        }
        self.check_edit(unmets);
        Ok(self.walk)
    }

    /// Nothing that the edit list hides may become visible, but for codec priming and padding of sound.
    fn check_edit(&self, unmets: &mut Vec<NonStandard>) {
        let tolerance = match self.kind {
            TrackKind::Video => (i64::from(self.longest_sample) / 2).max(1),
            TrackKind::Audio => i64::from(self.timescale) / 5,
        };
        let seconds = |ticks| Ticks { value: ticks, timescale: self.timescale }.as_secs_f64();
        let hidden = self.shift.media_start - self.shown_from;
        if self.kind == TrackKind::Video && hidden > tolerance {
            let message =
                format!("the edit list cuts into a group of pictures, {:.3} s from its start", seconds(hidden));
            unmets.push(unmet("edit_list", message));
        }
        let cut = self.shift.media_end.map_or(0, |end| self.shown_to - end);
        if cut > tolerance.max(i64::from(self.timescale) / 20) {
            unmets.push(unmet("edit_list", format!("the edit list cuts {:.3} s from the end", seconds(cut))));
        }
    }
}
