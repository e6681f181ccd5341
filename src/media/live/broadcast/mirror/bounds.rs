//! What may be told of a broadcast at all. Other nodes are trusted to tell of their own streams, but not to compute well: times and
//! numbers that arithmetic goes wrong with are refused where they come in, so that whoever reads the broadcast needs not ask.
use std::time::Duration;

use super::{Head, HeadRendition, Told};
use crate::domain::asset::Ticks;
use crate::domain::cues::{Cue, CueLength};
use crate::domain::time::Timestamp;
use crate::media::frames::{Frame, TrackConfig};
use crate::media::live::broadcast::Epoch;
use crate::media::live::part::{Part, PartTarget};
use crate::media::live::periods::{Cadence, Period};
use crate::media::live::ring::{Beginning, LiveSegment, MICROS, Ring, Stored};

/// Most renditions of a broadcast.
const RENDITIONS_MAX: usize = 64;
/// Latest instant, microseconds: a thousand years.
const INSTANT_MICROS_MAX: u64 = 1 << 55;
/// Largest number of segments, of discontinuities, and of ticks.
const COUNT_MAX: u64 = 1 << 60;
/// Longest segment, microseconds: a day.
const SEGMENT_MICROS_MAX: i64 = 24 * 3600 * MICROS as i64;
/// Longest target duration, seconds: the same.
const TARGET_SECS_MAX: u32 = 24 * 3600;
/// Longest part: that of one picture in a thousand seconds.
const PART_MS_MAX: u32 = 1_000_001;
/// How far behind players are told to stay at most, parts.
const HOLD_BACK_PARTS_MAX: u32 = 1000;
/// Longest window: ten years.
const WINDOW_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// Parts of a segment: a day of them is more than any segment has in practice.
const PARTS_MAX: usize = 100_000;

impl Told {
    /// Whether it can be taken by itself.
    pub(super) fn is_sane(&self) -> bool {
        match self {
            Self::Head(head) => head_is_sane(head),
            Self::Segment { beginning, discontinuities, .. } => {
                beginning_is_sane(beginning) && *discontinuities <= COUNT_MAX
            }
            Self::Part { part, .. } => part_is_sane(part),
            Self::Whole { duration, missing, .. } => missing <= duration,
            Self::Stored { number, stored: Stored { range, .. }, .. } => {
                *number <= COUNT_MAX && range.start <= range.end && range.end <= COUNT_MAX
            }
        }
    }
}

/// Whether the segment that began last can be so long, or longer by so much, ticks.
pub(super) fn has_room(ring: &Ring, longer: u32, is_all: bool) -> bool {
    let fits = |last: &LiveSegment| {
        let before = if is_all { 0 } else { last.duration };
        last.micros_of(before.saturating_add(longer)) <= SEGMENT_MICROS_MAX && last.parts.len() < PARTS_MAX
    };
    ring.segments().next_back().is_none_or(fits)
}

/// Whether a track can be shown with this configuration.
pub(in crate::media::live) fn config_is_sane(config: &TrackConfig) -> bool {
    config.timescale > 0 && config.pixel_aspect.is_none_or(|(width, height)| width > 0 && height > 0)
}

/// Whether a frame of a track of this timescale can be shown.
pub(in crate::media::live) fn frame_is_sane(frame: &Frame, timescale: u32) -> bool {
    [frame.dts, frame.pts].into_iter().all(|value| ticks_are_sane(Ticks { value, timescale }))
}

fn micros_are_sane(micros: i64) -> bool {
    micros.unsigned_abs() <= INSTANT_MICROS_MAX
}

fn ticks_are_sane(ticks: Ticks) -> bool {
    ticks.timescale > 0 && ticks.value.unsigned_abs() <= COUNT_MAX && micros_are_sane(ticks.rescale(MICROS))
}

fn date_is_sane(date: Timestamp) -> bool {
    date.as_millis().unsigned_abs() <= INSTANT_MICROS_MAX / 1000
}

fn rate_is_sane(rate: Option<(u32, u32)>) -> bool {
    rate.is_none_or(|(_, denominator)| denominator > 0)
}

fn head_is_sane(head: &Head) -> bool {
    let rendition = |it: &HeadRendition| it.delay_micros.is_none_or(micros_are_sane) && rate_is_sane(it.frame_rate);
    head.renditions.len() <= RENDITIONS_MAX
        && head.renditions.iter().all(rendition)
        && head.window <= WINDOW_MAX
        && head.hold_back_parts <= HOLD_BACK_PARTS_MAX
        && head.target_secs.is_none_or(|secs| secs <= TARGET_SECS_MAX)
        && head.part_target.map(PartTarget::as_millis).is_none_or(|ms| (1..=PART_MS_MAX).contains(&ms))
        && head.epochs.iter().all(epoch_is_sane)
        && head.periods.iter().all(period_is_sane)
        && head.cues.iter().all(cue_is_sane)
        && head.anchor.is_none_or(|(micros, date)| micros_are_sane(micros) && date_is_sane(date))
        && micros_are_sane(head.end_micros)
        && head.now.gop.is_none_or(ticks_are_sane)
}

fn epoch_is_sane(epoch: &Epoch) -> bool {
    let configs = epoch.tracks.iter().flatten().map(|(config, _)| config);
    ticks_are_sane(epoch.start) && date_is_sane(epoch.date) && configs.into_iter().all(config_is_sane)
}

fn period_is_sane(period: &Period) -> bool {
    let cadence = match period.cadence {
        Cadence::Regular { segment_micros } => (1..=SEGMENT_MICROS_MAX).contains(&segment_micros),
        Cadence::Unknown | Cadence::Irregular => true,
    };
    cadence
        && period.first <= COUNT_MAX
        && micros_are_sane(period.start_micros)
        && period.end_micros.is_none_or(micros_are_sane)
}

fn cue_is_sane(cue: &Cue) -> bool {
    let length = cue.length.map_or(0, CueLength::micros);
    micros_are_sane(cue.start_micros) && date_is_sane(cue.date) && micros_are_sane(length)
}

fn beginning_is_sane(beginning: &Beginning) -> bool {
    beginning.number <= COUNT_MAX && ticks_are_sane(beginning.start) && date_is_sane(beginning.date)
}

fn part_is_sane(part: &Part) -> bool {
    let first_ends = part.first.offset.checked_add(part.first.bytes.into());
    part.start.unsigned_abs() <= COUNT_MAX && first_ends.is_some_and(|end| end <= part.bytes.len() as u64)
}
