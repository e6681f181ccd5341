//! When each picture of a chunk is shown on the output timeline, and which pictures are left out. Depends on the pictures'
//! own times and the plan alone, so that all rungs and all attempts come to the same.
use crate::domain::asset::TIMELINE_ORIGIN_SECS;
use crate::media::work::PictureTask;

const NS_PER_SEC: i128 = 1_000_000_000;
/// A picture this much too early still belongs to the segment, nanoseconds: half of one at 25 pictures per second.
const EARLY_MAX_NS: i64 = 20_000_000;
/// The same for pictures that do not tell how long they are shown.
const EARLY_UNTOLD_NS: i64 = 4_000_000;

/// Where a picture belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Before the chunk.
    Before,
    /// Left out: shown at the same time as the last one, or too soon after it.
    Nowhere,
    /// In it.
    Shown {
        /// Its time in ticks.
        pts: i64,
        /// Whether it is the first of a segment.
        is_first: bool,
    },
    /// After the chunk.
    After,
}

/// Places pictures that come in the order of presentation.
#[derive(Debug)]
pub(super) struct PictureClock {
    start_ns: i64,
    timescale: i64,
    cuts: Vec<i64>,
    /// Shortest distance between pictures, ticks in 1/256: `frame_rate_max` turned round.
    interval: i64,
    /// Number of the segment that the last picture belongs to, from 1.
    begun: usize,
    /// Segments that have pictures.
    filled: usize,
    last: i64,
    /// When the next picture is wanted at the highest frame rate, in the same fractions.
    due: i64,
}

impl PictureClock {
    pub(super) fn new(task: &PictureTask) -> Self {
        let timescale = i64::from(task.timescale.max(1));
        let interval = timescale * 256 / i64::from(task.treatment.frame_rate_max.max(1));
        let cuts = task.cuts.clone();
        Self { start_ns: task.start_ns, timescale, cuts, interval, begun: 0, filled: 0, last: i64::MIN, due: i64::MIN }
    }

    /// Time in the source of an instant of the output timeline, nanoseconds.
    pub(super) fn source_ns(&self, ticks: i64) -> i64 {
        let from_origin = i128::from(ticks - i64::from(TIMELINE_ORIGIN_SECS) * self.timescale);
        let ns = from_origin * NS_PER_SEC / i128::from(self.timescale);
        i64::try_from(ns).unwrap_or(i64::MAX).saturating_add(self.start_ns)
    }

    /// When the chunk starts, in the source's time.
    pub(super) fn chunk_start_ns(&self) -> i64 {
        self.cuts.first().map_or(0, |first| self.source_ns(*first))
    }

    fn ticks(&self, ns: i64) -> i64 {
        let scaled = i128::from(ns) * i128::from(self.timescale);
        i64::try_from((scaled + NS_PER_SEC / 2).div_euclid(NS_PER_SEC)).unwrap_or(i64::MAX)
    }

    /// Whether the picture at `at_ns` leaves nothing missing between the chunk's start and itself.
    pub(super) fn is_early_enough(&self, at_ns: i64, duration_ns: Option<i64>) -> bool {
        at_ns <= self.chunk_start_ns().saturating_add(tolerance_ns(duration_ns))
    }

    /// Places the next picture, which the source shows at `at_ns`.
    pub(super) fn place(&mut self, at_ns: i64, duration_ns: Option<i64>) -> Place {
        let origin = i64::from(TIMELINE_ORIGIN_SECS) * self.timescale;
        let at = self.ticks(at_ns.saturating_sub(self.start_ns)).saturating_add(origin);
        let late = at.saturating_add(self.ticks(tolerance_ns(duration_ns)).max(1));
        let segment = self.cuts.partition_point(|cut| *cut <= late);
        if segment == 0 {
            return Place::Before;
        }
        if segment >= self.cuts.len() {
            return Place::After;
        }
        if segment > self.begun {
            return self.begin(segment);
        }
        let fine = at.saturating_mul(256);
        if at <= self.last || fine < self.due - self.interval / 4 {
            return Place::Nowhere;
        }
        self.last = at;
        self.due = (self.due + self.interval).max(fine + self.interval * 3 / 4);
        Place::Shown { pts: at, is_first: false }
    }

    /// The first picture of a segment is shown at the cut, whatever was lost before it.
    fn begin(&mut self, segment: usize) -> Place {
        self.begun = segment;
        self.filled += 1;
        let Some(cut) = segment.checked_sub(1).and_then(|index| self.cuts.get(index)).copied() else {
            return Place::Nowhere;
        };
        self.last = cut;
        self.due = cut.saturating_mul(256) + self.interval;
        Place::Shown { pts: cut, is_first: true }
    }

    /// Number of segments up to and with the last picture's.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    /// Whether every segment has a picture.
    pub(super) fn is_complete(&self) -> bool {
        self.filled + 1 == self.cuts.len()
    }

    /// How far `pts` is into the chunk, and how long the chunk is.
    pub(super) fn progress(&self, pts: i64) -> (u64, u64) {
        let (first, end) = (self.cuts.first().copied().unwrap_or(0), self.cuts.last().copied().unwrap_or(0));
        let ticks = |value: i64| u64::try_from(value).unwrap_or(0);
        (ticks(pts - first), ticks(end - first))
    }
}

fn tolerance_ns(duration_ns: Option<i64>) -> i64 {
    duration_ns.filter(|ns| *ns > 0).map_or(EARLY_UNTOLD_NS, |ns| (ns / 2).min(EARLY_MAX_NS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::pipelines::encode::testing::task;

    const MS: i64 = 1_000_000;

    fn clock(cuts: &[i64]) -> PictureClock {
        let mut task = task(std::path::Path::new("/none"));
        task.start_ns = 40 * MS;
        task.timescale = 90_000;
        task.cuts = cuts.to_vec();
        PictureClock::new(&task)
    }

    fn shown(pts: i64, is_first: bool) -> Place {
        Place::Shown { pts, is_first }
    }

    #[test]
    fn pictures_keep_their_times_and_cuts_are_exact() {
        let mut clock = clock(&[91_800, 95_400, 99_000]);
        assert_eq!(clock.chunk_start_ns(), 60 * MS);
        assert_eq!(clock.place(20 * MS, Some(40 * MS)), Place::Before);
        assert_eq!(clock.place(60 * MS - 9, Some(40 * MS)), shown(91_800, true));
        assert_eq!(clock.place(61 * MS, None), Place::Nowhere, "a thousand pictures per second are too many");
        assert_eq!(clock.place(83 * MS, None), shown(93_870, false));
        assert_eq!(clock.place(101 * MS, Some(20 * MS)), shown(95_400, true));
        assert_eq!(clock.place(135 * MS, Some(20 * MS)), Place::After);
        assert_eq!(clock.begun(), 2);
        assert!(clock.is_complete());
    }

    #[test]
    fn a_lost_first_picture_is_replaced_by_the_next() {
        let mut clock = clock(&[90_000, 180_000]);
        assert_eq!(clock.place(140 * MS, Some(40 * MS)), shown(90_000, true));
        assert!(!clock.is_early_enough(140 * MS, Some(40 * MS)));
        assert!(clock.is_early_enough(59 * MS, Some(40 * MS)));
    }

    #[test]
    fn above_the_highest_frame_rate_pictures_are_left_out_evenly() {
        let kept = |rate: i64| {
            let mut clock = clock(&[90_000, 180_000]);
            let place = |n: i64| clock.place(40 * MS + n * 1000 * MS / rate, Some(1000 * MS / rate));
            (0..rate).map(place).filter(|place| matches!(place, Place::Shown { .. })).count()
        };
        assert_eq!([kept(24), kept(30), kept(50), kept(60), kept(120)], [24, 30, 50, 60, 60]);
        assert!((58..=61).contains(&kept(240)), "{}", kept(240));
        assert!((58..=61).contains(&kept(90)), "{}", kept(90));
    }
}
