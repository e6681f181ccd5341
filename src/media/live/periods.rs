//! Runs of segments for players that compute which segment is when, rather than read it (ISO/IEC 23009-1, 5.3.9.5.3): each
//! visit of a publisher starts one, and so does a segment that does not come when those before it let expect.
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// A segment may begin this part of its duration away from where the rhythm has it.
const TOLERANCE: i64 = 10;

/// How many lengths in a row have to be alike before all are taken to be.
const ALIKE: u64 = 2;
/// Among how many at first that is looked for. Later it is not: players that were told of each segment count on it, and some
/// never look beyond those when others are told in advance (shaka-player 4 and 5).
const LENGTHS_LOOKED_AT: u64 = 4;

/// How long the segments of a period are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cadence {
    /// Too few have come: nothing is told of them yet.
    Unknown,
    /// All alike: when each will be there can be told in advance.
    Regular {
        /// Microseconds.
        segment_micros: i64,
    },
    /// Told when they are there.
    Irregular,
}

/// Segments that continue one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// Number of its first segment.
    pub first: u64,
    /// When that is shown, microseconds of stream time.
    pub start_micros: i64,
    /// When the last one ends; `None` for what goes on.
    pub end_micros: Option<i64>,
    /// Epoch that it is of.
    pub epoch: u32,
    /// The lengths of its segments.
    pub cadence: Cadence,
}

/// The lengths of what has come.
#[derive(Debug, Default)]
struct Rhythm {
    /// When the last segment began, microseconds of stream time.
    since: i64,
    /// How long the one before it was, microseconds.
    length: i64,
    /// How many lengths in a row are like it.
    alike: u64,
    /// When the first of those began.
    start: i64,
}

impl Rhythm {
    /// A segment begins that nothing came before.
    fn begin(at: i64) -> Self {
        Self { since: at, length: 0, alike: 0, start: at }
    }

    fn beat(&mut self, at: i64) {
        let length = at - self.since;
        if self.alike == 0 || !is_near(length, self.length, length) {
            (self.alike, self.start) = (0, self.since);
        }
        (self.since, self.length, self.alike) = (at, length, self.alike + 1);
    }
}

/// Whether two times are the same to somebody who counts in segments of this length.
fn is_near(one: i64, other: i64, length: i64) -> bool {
    (one - other).abs() <= length / TOLERANCE
}

fn saturated(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn mean(sum: i64, count: u64) -> i64 {
    sum / saturated(count).max(1)
}

/// The periods of a broadcast that are within its window. What was once said of one stays true.
#[derive(Debug, Default)]
pub struct Periods {
    periods: VecDeque<Period>,
    rhythm: Rhythm,
    /// The segment expected next.
    next: u64,
    /// Where media ended when the publisher left.
    paused_at: Option<i64>,
}

impl Periods {
    /// Those that another broadcast has.
    pub(super) fn replace(&mut self, periods: Vec<Period>) {
        self.periods = periods.into();
    }

    /// The periods, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Period> {
        self.periods.iter()
    }

    /// Whether what comes now can be told in advance.
    pub fn is_regular(&self) -> bool {
        self.periods.back().is_some_and(|last| matches!(last.cadence, Cadence::Regular { .. }))
    }

    /// Whether anything can be told of what has come.
    pub fn is_known(&self) -> bool {
        self.periods.iter().any(|period| period.cadence != Cadence::Unknown)
    }

    /// A segment of the grid begins, of an epoch whose publisher has a rhythm of its own, or none.
    pub(super) fn note_cut(&mut self, (number, at_micros): (u64, i64), (epoch, is_steady): (u32, bool)) {
        if number < self.next {
            // Another track enters a segment that has begun.
            return;
        }
        let is_next = std::mem::replace(&mut self.next, number + 1) == number;
        let follows = |last: &&mut Period| last.end_micros.is_none() && last.epoch == epoch && is_next;
        let start = |cadence| Period { first: number, start_micros: at_micros, end_micros: None, epoch, cadence };
        let Some(last) = self.periods.back_mut().filter(follows) else {
            if self.periods.back().is_some_and(|last| last.cadence == Cadence::Unknown) {
                // Nobody was told of it.
                self.periods.pop_back();
            }
            let cadence = match self.periods.back().map(|last| last.cadence) {
                None if is_steady => Cadence::Unknown,
                Some(regular @ Cadence::Regular { .. }) if is_steady => regular,
                _ => Cadence::Irregular,
            };
            // Without a hole, segments in which nobody published being empty ones: a player that stands at the end of a period,
            // when there is a hole behind it, may go there and wait for ever.
            self.close(at_micros);
            self.paused_at = None;
            self.rhythm = Rhythm::begin(at_micros);
            self.periods.push_back(start(cadence));
            return;
        };
        self.rhythm.beat(at_micros);
        let Rhythm { length, alike, start: start_micros, .. } = self.rhythm;
        let count = number - last.first;
        match last.cadence {
            Cadence::Unknown if alike >= ALIKE => {
                // Nobody was told of those before.
                (last.first, last.start_micros) = (number - alike, start_micros);
                last.cadence = Cadence::Regular { segment_micros: mean(at_micros - start_micros, alike) };
            }
            Cadence::Unknown if count >= LENGTHS_LOOKED_AT => last.cadence = Cadence::Irregular,
            Cadence::Unknown | Cadence::Irregular => {}
            Cadence::Regular { segment_micros } => {
                let expected = last.start_micros.saturating_add(segment_micros.saturating_mul(saturated(count)));
                if is_near(at_micros, expected, segment_micros) {
                    return;
                }
                // In step, but for what has added up; or not.
                let next = match is_near(length, segment_micros, segment_micros) {
                    true => Cadence::Regular { segment_micros: mean(at_micros - last.start_micros, count) },
                    false => Cadence::Irregular,
                };
                last.end_micros = Some(at_micros);
                self.periods.push_back(start(next));
            }
        }
    }

    /// The publisher has left. The period goes on, as the last one's end would be the presentation's.
    pub(super) fn pause(&mut self, at_micros: i64) {
        self.paused_at.get_or_insert(at_micros);
    }

    /// Nothing more will come.
    pub(super) fn end(&mut self) {
        if let Some(last) = self.periods.back_mut().filter(|last| last.cadence == Cadence::Unknown) {
            last.cadence = Cadence::Irregular;
        }
        if let Some(at) = self.paused_at {
            self.close(at);
        }
    }

    fn close(&mut self, at_micros: i64) {
        if let Some(last) = self.periods.back_mut() {
            last.end_micros.get_or_insert(at_micros);
        }
    }

    /// How long segments are in which nothing comes, microseconds, when players count on it.
    pub(super) fn segment_micros(&self) -> Option<i64> {
        self.periods.back().and_then(|last| match last.cadence {
            Cadence::Regular { segment_micros } => Some(segment_micros),
            Cadence::Unknown | Cadence::Irregular => None,
        })
    }

    /// Forgets periods that have no segment from this one on.
    pub(super) fn forget_before(&mut self, number: u64) {
        while self.periods.get(1).is_some_and(|second| second.first <= number) {
            self.periods.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGULAR: Cadence = Cadence::Regular { segment_micros: 2_000_000 };

    /// Epochs from the tenth on have no rhythm of their own.
    fn noted(cuts: &[(u64, i64, u32)]) -> Vec<(u64, Option<i64>, Cadence)> {
        let mut periods = Periods::default();
        for (number, ms, epoch) in cuts {
            periods.note_cut((*number, ms * 1000), (*epoch, *epoch < 10));
            // Sound enters the same segment.
            periods.note_cut((*number, ms * 1000 + 9000), (*epoch, *epoch < 10));
        }
        periods.iter().map(|one| (one.first, one.end_micros, one.cadence)).collect()
    }

    #[test]
    fn nothing_is_told_in_advance_of_who_sends_key_frames_on_request() {
        let cuts = [(5, 0, 10), (6, 2000, 10), (7, 4000, 10), (8, 6000, 10)];
        assert_eq!(noted(&cuts), [(5, None, Cadence::Irregular)]);
        assert_eq!(noted(&cuts[..1]), [(5, None, Cadence::Irregular)], "it is known at once");
        let cuts = [(5, 0, 0), (6, 2000, 0), (7, 4000, 0), (8, 6000, 10), (9, 8000, 10)];
        assert_eq!(noted(&cuts), [(5, Some(6_000_000), REGULAR), (8, None, Cadence::Irregular)]);
    }

    #[test]
    fn equal_segments_are_one_period() {
        assert_eq!(noted(&[(5, 0, 0), (6, 2000, 0)]), [(5, None, Cadence::Unknown)]);
        assert_eq!(noted(&[(5, 0, 0), (6, 2000, 0), (7, 4000, 0), (8, 5995, 0)]), [(5, None, REGULAR)]);
    }

    #[test]
    fn a_segment_out_of_step_starts_one_that_is_told_by_its_segments() {
        let cuts = [(5, 0, 0), (6, 2000, 0), (7, 4000, 0), (8, 7000, 0), (9, 8000, 0)];
        assert_eq!(noted(&cuts), [(5, Some(7_000_000), REGULAR), (8, None, Cadence::Irregular)]);
    }

    #[test]
    fn first_segments_of_other_lengths_are_left_out() {
        let cuts = [(0, 0, 0), (1, 1470, 0), (2, 3470, 0), (3, 5470, 0), (4, 7470, 0)];
        assert_eq!(noted(&cuts[..3]), [(0, None, Cadence::Unknown)]);
        assert_eq!(noted(&cuts), [(1, None, REGULAR)]);
        let cuts = [(0, 0, 0), (1, 1470, 0), (2, 3470, 0), (3, 6470, 0), (4, 7470, 0), (5, 8470, 0), (6, 9470, 0)];
        assert_eq!(noted(&cuts[..4]), [(0, None, Cadence::Unknown)]);
        assert_eq!(noted(&cuts), [(0, None, Cadence::Irregular)]);
        // Nor is a publisher told of who was there for a moment only.
        let cuts = [(0, 0, 0), (1, 1470, 0), (2, 3000, 1), (3, 5000, 1), (4, 7000, 1)];
        assert_eq!(noted(&cuts), [(2, None, REGULAR)]);
    }

    #[test]
    fn what_adds_up_starts_a_period_of_the_same_kind() {
        let cuts: Vec<_> =
            (0..14).map(|index| (index, if index < 3 { 2000 } else { 2020 } * index as i64, 0)).collect();
        let periods = noted(&cuts);
        let [(0, Some(_), REGULAR), (_, None, Cadence::Regular { segment_micros })] = periods[..] else {
            panic!("{periods:?}")
        };
        assert!((2_000_001..=2_020_000).contains(&segment_micros), "{segment_micros}");
    }

    #[test]
    fn a_new_visit_is_expected_to_go_on_in_step() {
        let cuts = [(5, 0, 0), (6, 2000, 0), (7, 4000, 0), (9, 9000, 1), (10, 11_000, 1)];
        assert_eq!(noted(&cuts), [(5, Some(9_000_000), REGULAR), (9, None, REGULAR)]);
        let mut periods = Periods::default();
        for (number, ms, epoch) in cuts {
            periods.note_cut((number, ms * 1000), (epoch, true));
        }
        periods.forget_before(8);
        assert_eq!(periods.iter().count(), 2);
        periods.forget_before(9);
        assert_eq!(periods.iter().map(|one| one.first).collect::<Vec<_>>(), [9]);
    }
}
