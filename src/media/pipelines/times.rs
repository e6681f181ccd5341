//! When something is shown in its source: the one reading of GStreamer's times that surveying, copying, decoding and
//! encoding share, so that a picture has the same time to all of them.
//!
//! MP4 and QuickTime movies have edit lists, which their demuxer says in segments: there, the time is stream time.
//! Elsewhere segments are an artefact of the demuxer (that of Matroska changes its mind after the first packets), and the
//! time is the packet's own.
use std::io::{Read, Seek};

use gstreamer as gst;

use super::sniff;
use super::worker::unreadable;
use crate::domain::video::Failure;
use crate::media::source::ExtentReader;

/// How a source's times are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceTimes {
    has_edits: bool,
}

impl SourceTimes {
    /// For the source behind `reader`, which is left at its start.
    pub(super) fn of(reader: &mut ExtentReader) -> Result<Self, Failure> {
        let mut head = Vec::new();
        reader.by_ref().take(sniff::HEAD_BYTES as u64).read_to_end(&mut head).map_err(unreadable)?;
        reader.rewind().map_err(unreadable)?;
        Ok(Self { has_edits: sniff::is_movie(&head) })
    }

    /// The time of what is shown at `at` for `duration`, in nanoseconds: that of its first part within the segment, as
    /// decoders cut it. `None` when no part of it is within the segment.
    pub(super) fn shown_at(
        self,
        at: gst::ClockTime,
        duration: Option<gst::ClockTime>,
        segment: Option<&gst::Segment>,
    ) -> Option<i64> {
        let Some(segment) = segment.and_then(|segment| segment.downcast_ref::<gst::ClockTime>()) else {
            return nanoseconds(at);
        };
        let (first, _) = segment.clip(at, duration.map(|duration| at + duration).or(Some(at)))?;
        self.in_segment(first.unwrap_or(at), segment)
    }

    /// The time of the instant `at`, in nanoseconds, wherever the segment starts and ends.
    pub(super) fn instant(self, at: gst::ClockTime, segment: Option<&gst::Segment>) -> Option<i64> {
        match segment.and_then(|segment| segment.downcast_ref::<gst::ClockTime>()) {
            Some(segment) => self.in_segment(at, segment),
            None => nanoseconds(at),
        }
    }

    /// How much of what is heard from `at` for `duration` an edit list cuts away: at its start and at its end.
    pub(super) fn cut_away(
        self,
        at: gst::ClockTime,
        duration: gst::ClockTime,
        segment: Option<&gst::Segment>,
    ) -> (gst::ClockTime, gst::ClockTime) {
        let segment = segment.filter(|_| self.has_edits).and_then(|it| it.downcast_ref::<gst::ClockTime>());
        let Some(segment) = segment else { return (gst::ClockTime::ZERO, gst::ClockTime::ZERO) };
        let end = at + duration;
        let first = segment.start().unwrap_or(at).clamp(at, end);
        let last = segment.stop().unwrap_or(end).clamp(first, end);
        (first - at, end - last)
    }

    fn in_segment(self, at: gst::ClockTime, segment: &gst::FormattedSegment<gst::ClockTime>) -> Option<i64> {
        if !self.has_edits {
            return nanoseconds(at);
        }
        match segment.to_stream_time_full(at)? {
            gst::Signed::Positive(time) => nanoseconds(time),
            gst::Signed::Negative(time) => nanoseconds(time).map(|time| -time),
        }
    }
}

fn nanoseconds(time: gst::ClockTime) -> Option<i64> {
    i64::try_from(time.nseconds()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(start_ms: u64, time_ms: u64) -> gst::Segment {
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(gst::ClockTime::from_mseconds(start_ms));
        segment.set_time(gst::ClockTime::from_mseconds(time_ms));
        segment.upcast()
    }

    #[test]
    fn edit_lists_count_in_movies_alone() {
        gst::init().unwrap();
        let segment = segment(80, 500);
        let at = |ms, has_edits| {
            let duration = Some(gst::ClockTime::from_mseconds(40));
            SourceTimes { has_edits }.shown_at(gst::ClockTime::from_mseconds(ms), duration, Some(&segment))
        };
        assert_eq!(at(100, true), Some(520_000_000));
        assert_eq!(at(100, false), Some(100_000_000));
        assert_eq!(at(60, true), Some(500_000_000), "the part before the segment is cut off");
        assert_eq!(at(40, true), None);
        let before = SourceTimes { has_edits: true }.instant(gst::ClockTime::from_mseconds(60), Some(&segment));
        assert_eq!(before, Some(480_000_000));
    }
}
