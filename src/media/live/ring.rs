//! The newest part of a live rendition: segments and their parts in memory, bounded in time, with numbers that go on for
//! the life of the playback URL.
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::part::Part;
use crate::domain::asset::{BlobKey, Ticks};
use crate::domain::time::Timestamp;

/// Ticks per second of times that renditions of different timescales are compared by.
pub const MICROS: u32 = 1_000_000;

/// Segments that can be fetched after they were listed for the last time.
const RETIRED: usize = 3;
/// Segments of a ring that is like another one: three days of short ones, however long they are said to be.
const ADOPTED_MAX: usize = 1 << 17;

/// A place in a rendition: a part of a segment, both from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Media sequence number.
    pub segment: u64,
    /// Part within the segment.
    pub part: u32,
}

/// How a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// Media sequence number.
    pub number: u64,
    /// When it is shown.
    pub start: Ticks,
    /// Wall-clock time of that.
    pub date: Timestamp,
    /// Epoch that it belongs to: which initialisation segment it needs.
    pub epoch: u32,
    /// Whether decoding can start with it.
    pub independent: bool,
}

/// Where a segment lies for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The blob.
    pub key: BlobKey,
    /// The segment's bytes of it.
    pub range: Range<u64>,
}

/// A segment of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSegment {
    /// How it begins.
    pub beginning: Beginning,
    /// Whether it does not continue the one before it.
    pub discontinuity: bool,
    /// Its parts; empty for a gap, and for what is not in memory any more.
    pub parts: Vec<Part>,
    /// Where it lies, once it is stored.
    pub stored: Option<Stored>,
    /// Its size so far, bytes.
    pub size: u32,
    /// Ticks of the start's timescale; what its parts last so far while it is open.
    pub duration: u32,
    /// How much of that is missing at its end: whoever made it broke off.
    pub missing: u32,
    /// Whether no more parts will come.
    pub is_complete: bool,
}

impl LiveSegment {
    /// Whether it has no media, or not all of them.
    pub fn is_gap(&self) -> bool {
        self.is_complete && (self.size == 0 || self.missing > 0)
    }

    /// The duration of something in it, seconds.
    pub fn seconds(&self, ticks: u32) -> f64 {
        Ticks { value: i64::from(ticks), timescale: self.beginning.start.timescale }.as_secs_f64()
    }

    /// How long it lasts (so far), microseconds.
    pub fn micros(&self) -> i64 {
        self.micros_of(self.duration)
    }

    /// The duration of something in it, microseconds.
    pub fn micros_of(&self, ticks: u32) -> i64 {
        Ticks { value: i64::from(ticks), timescale: self.beginning.start.timescale }.rescale(MICROS)
    }

    /// How a segment that follows it would begin.
    pub fn following(&self) -> Beginning {
        let Beginning { number, start, date, .. } = self.beginning;
        let start = Ticks { value: start.value + i64::from(self.duration), ..start };
        let lasts = Duration::from_micros(u64::try_from(self.micros()).unwrap_or(0));
        Beginning { number: number + 1, start, date: date + lasts, ..self.beginning }
    }

    /// All of its bytes so far, as far as they are in memory.
    pub fn bytes(&self) -> Bytes {
        if let [only] = self.parts.as_slice() {
            return only.bytes.clone();
        }
        let mut out = BytesMut::with_capacity(self.parts.iter().map(|part| part.bytes.len()).sum());
        self.parts.iter().for_each(|part| out.extend_from_slice(&part.bytes));
        out.freeze()
    }
}

/// One rendition's ring.
#[derive(Debug)]
pub struct Ring {
    window: Duration,
    /// What is stored and older than this leaves memory.
    memory: Duration,
    segments: VecDeque<LiveSegment>,
    /// The newest of those that are not listed any more: whoever has just read of them may fetch them (6.2.2).
    retired: VecDeque<LiveSegment>,
    /// Number of the next segment to begin.
    next: u64,
    last_epoch: Option<u32>,
    /// Whether a whole segment with media has been here.
    has_had_media: bool,
    /// Discontinuities that left the ring.
    discontinuities_left: u64,
    has_ended: bool,
}

impl Ring {
    /// An empty ring that keeps at least `window` of media and starts with segment `first`.
    pub fn new(window: Duration, first: u64) -> Self {
        Self {
            window,
            memory: window,
            segments: VecDeque::new(),
            retired: VecDeque::new(),
            next: first,
            last_epoch: None,
            has_had_media: false,
            discontinuities_left: 0,
            has_ended: false,
        }
    }

    /// Keeps only the newest `memory` of what is stored in memory.
    pub fn with_memory(self, memory: Duration) -> Self {
        Self { memory, ..self }
    }

    /// A segment of the ring is stored.
    pub fn note_stored(&mut self, number: u64, stored: Stored) {
        let Some(first) = self.segments.front() else { return };
        let index = number.checked_sub(first.beginning.number).and_then(|index| usize::try_from(index).ok());
        if let Some(segment) = index.and_then(|index| self.segments.get_mut(index)) {
            segment.stored = Some(stored);
        }
    }

    /// The segments, oldest first; the last one may be open.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &LiveSegment> + ExactSizeIterator {
        self.segments.iter()
    }

    /// The segment with this number, if it is still or already here.
    pub fn segment(&self, number: u64) -> Option<&LiveSegment> {
        let first = self.segments.front()?.beginning.number;
        self.segments.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// The segment with this number as long as it can be fetched: a little longer than it is listed.
    pub fn fetchable(&self, number: u64) -> Option<&LiveSegment> {
        self.segment(number).or_else(|| self.retired.iter().find(|segment| segment.beginning.number == number))
    }

    /// Number of the next segment to begin.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Discontinuities before the first segment (EXT-X-DISCONTINUITY-SEQUENCE).
    pub fn discontinuity_sequence(&self) -> u64 {
        self.discontinuities_left
    }

    /// Whether nothing more will come.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether a whole segment with media is here, or was.
    pub fn has_had_media(&self) -> bool {
        self.has_had_media
    }

    /// Number of the newest segment; one that has begun without a part does not count.
    pub fn newest_number(&self) -> Option<u64> {
        let is_there = |segment: &&LiveSegment| segment.is_complete || !segment.parts.is_empty();
        self.segments.iter().rev().find(is_there).map(|newest| newest.beginning.number)
    }

    /// The newest part.
    pub fn last_part(&self) -> Option<Position> {
        let last = self.segments.iter().rev().find(|segment| !segment.parts.is_empty())?;
        let part = u32::try_from(last.parts.len()).ok()?.checked_sub(1)?;
        Some(Position { segment: last.beginning.number, part })
    }

    /// Whether what a blocking request waits for is here: a whole segment, or one of its parts. A part behind the last one
    /// of a complete segment is the first one of the next (6.2.5.2).
    pub fn has(&self, segment: u64, part: Option<u32>) -> bool {
        if self.has_ended {
            return true;
        }
        let Some(newest) = self.segments.back() else { return false };
        let (newest_number, found) = (newest.beginning.number, self.segment(segment));
        match (found, part) {
            _ if segment < newest_number && part.is_none() => true,
            (Some(found), None) => found.is_complete,
            (Some(found), Some(part)) if (part as usize) < found.parts.len() => true,
            // That there is nothing to come is all there is to know.
            (Some(found), Some(0)) if found.is_gap() => true,
            (Some(found), Some(_)) if found.is_complete => {
                self.segment(segment + 1).is_some_and(|next| next.is_complete || !next.parts.is_empty())
            }
            (Some(_), Some(_)) => false,
            (None, _) => segment < newest_number,
        }
    }

    /// A segment begins; the one before it is complete.
    pub fn begin(&mut self, beginning: Beginning) {
        self.append(beginning, 0, false);
    }

    /// A segment without media.
    pub fn gap(&mut self, beginning: Beginning, duration: u32) {
        self.append(beginning, duration, true);
        self.forget();
    }

    fn append(&mut self, beginning: Beginning, duration: u32, is_complete: bool) {
        self.complete();
        let discontinuity = self.last_epoch.replace(beginning.epoch).is_some_and(|last| last != beginning.epoch);
        self.next = beginning.number + 1;
        self.segments.push_back(LiveSegment {
            beginning,
            discontinuity,
            parts: Vec::new(),
            stored: None,
            size: 0,
            duration,
            missing: 0,
            is_complete,
        });
    }

    /// A segment begins as it has in another ring. Where that is not the next one, what was here before is of no use any more.
    pub(super) fn adopt(&mut self, beginning: Beginning, discontinuity: bool, discontinuities: u64) {
        self.complete();
        if beginning.number != self.next || self.segments.is_empty() {
            self.segments.clear();
            self.discontinuities_left = discontinuities;
        }
        if self.segments.len() >= ADOPTED_MAX {
            let gone = self.segments.pop_front();
            self.discontinuities_left += u64::from(gone.is_some_and(|gone| gone.discontinuity));
        }
        self.append(beginning, 0, false);
        if let Some(begun) = self.segments.back_mut() {
            begun.discontinuity = discontinuity;
        }
    }

    /// The segment that began last is whole, and so large and long.
    pub(super) fn settle(&mut self, size: u32, duration: u32, missing: u32) {
        if let Some(open) = self.segments.back_mut().filter(|last| !last.is_complete) {
            (open.size, open.duration, open.missing, open.is_complete) = (size, duration, missing, true);
            self.has_had_media |= !open.is_gap();
            self.forget();
        }
    }

    /// Keeps at least so much from now on.
    pub(super) fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// The open segment gets its next part.
    pub fn push(&mut self, part: Part) {
        if let Some(open) = self.segments.back_mut().filter(|last| !last.is_complete) {
            open.duration = open.duration.saturating_add(part.duration);
            open.size = open.size.saturating_add(u32::try_from(part.bytes.len()).unwrap_or(u32::MAX));
            open.parts.push(part);
        }
    }

    /// The open segment is whole.
    pub fn complete(&mut self) {
        self.break_off(0);
    }

    /// The open segment gets no more parts, though it lasts this much longer, ticks.
    pub fn break_off(&mut self, missing: u32) {
        if let Some(open) = self.segments.back_mut().filter(|last| !last.is_complete) {
            open.is_complete = true;
            open.missing = missing;
            open.duration = open.duration.saturating_add(missing);
            self.has_had_media |= !open.is_gap();
            self.forget();
        }
    }

    /// Nothing more will come.
    pub fn end(&mut self) {
        self.complete();
        self.has_ended = true;
    }

    /// Drops what lies before the window, and from memory what is stored.
    fn forget(&mut self) {
        let memory = i64::try_from(self.memory.as_micros()).unwrap_or(i64::MAX);
        let mut newer = 0;
        for segment in self.segments.iter_mut().rev() {
            if newer > memory && segment.stored.is_some() && segment.is_complete {
                if segment.parts.is_empty() {
                    break;
                }
                segment.parts = Vec::new();
            }
            newer += segment.micros();
        }
        let window = i64::try_from(self.window.as_micros()).unwrap_or(i64::MAX);
        let mut kept = self.kept_micros();
        while let Some(first) = self.segments.front().filter(|first| first.is_complete) {
            kept -= first.micros();
            if kept < window || self.segments.len() == 1 {
                break;
            }
            // Its tag goes with it.
            self.discontinuities_left += u64::from(first.discontinuity);
            self.retired.extend(self.segments.pop_front());
            if self.retired.len() > RETIRED {
                self.retired.pop_front();
            }
        }
    }

    /// Duration of all that is here, microseconds.
    pub fn kept_micros(&self) -> i64 {
        self.segments.iter().map(LiveSegment::micros).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::records::SampleRecord;

    const FIRST: SampleRecord =
        SampleRecord { offset: 0, bytes: 4, dts: 0, duration: 500, composition: 0, keyframe: true };

    fn part(duration: u32) -> Part {
        Part { bytes: Bytes::from_static(b"part"), start: 0, duration, independent: true, first: FIRST }
    }

    fn beginning(number: u64, epoch: u32) -> Beginning {
        let date = Timestamp::from_millis(number as i64 * 2000);
        Beginning {
            number,
            start: Ticks { value: number as i64 * 2000, timescale: 1000 },
            date,
            epoch,
            independent: true,
        }
    }

    fn filled(segments: u64) -> Ring {
        let mut ring = Ring::new(Duration::from_secs(10), 5);
        for number in 5..5 + segments {
            ring.begin(beginning(number, u32::from(number >= 8)));
            (0..4).for_each(|_| ring.push(part(500)));
        }
        ring
    }

    #[test]
    fn what_lies_before_the_window_is_dropped_and_numbers_go_on() {
        let ring = filled(20);
        let numbers: Vec<u64> = ring.segments().map(|segment| segment.beginning.number).collect();
        assert_eq!(numbers, [19, 20, 21, 22, 23, 24], "ten seconds and the open one");
        assert_eq!(ring.segment(22).unwrap().bytes().len(), 16);
        assert!(ring.segment(18).is_none() && ring.segment(25).is_none());
        assert!(ring.fetchable(16).is_some() && ring.fetchable(15).is_none(), "whoever read of it may fetch it");
        assert_eq!((ring.discontinuity_sequence(), ring.next_number()), (1, 25));
        assert_eq!(ring.kept_micros(), 12_000_000);
        assert!(filled(4).segments().nth(3).unwrap().discontinuity);
        assert_eq!(filled(4).discontinuity_sequence(), 0);
    }

    #[test]
    fn positions_are_there_when_they_are_listed() {
        let mut ring = filled(2);
        let edge = |ring: &Ring| (ring.newest_number().unwrap(), ring.last_part().unwrap());
        let last = Position { segment: 6, part: 3 };
        assert_eq!(edge(&ring), (6, last));
        assert!(ring.has(5, None) && ring.has(6, Some(3)) && ring.has(4, None));
        assert!(!ring.has(6, None) && !ring.has(6, Some(4)) && !ring.has(7, Some(0)) && !ring.has(7, None));
        ring.begin(beginning(7, 0));
        assert_eq!(edge(&ring), (6, last), "an open segment without parts is not listed");
        assert!(ring.has(6, None) && !ring.has(6, Some(4)), "part 4 of 4 is the first of the next");
        ring.push(part(500));
        assert!(ring.has(6, Some(4)) && ring.has(7, Some(0)) && !ring.has(7, Some(1)));
        ring.end();
        assert!(ring.has(99, None) && ring.has_ended());
        ring.gap(beginning(8, 0), 2000);
        assert!(ring.segment(8).unwrap().is_gap());
        assert_eq!(edge(&ring), (8, Position { segment: 7, part: 0 }), "a gap has no parts");
    }
}
