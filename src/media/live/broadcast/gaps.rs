//! Where there are no media: gaps by the clock, renditions that have less than the others, and where each of them ends.
use super::{Broadcast, Cut, Rendition};
use crate::domain::asset::Ticks;
use crate::domain::time::Timestamp;
use crate::media::live::ring::{Beginning, MICROS};

impl Broadcast {
    /// Whole segments in which nobody published are gaps.
    pub(super) fn pass_absence(&mut self, now: Timestamp, out: &mut Vec<Cut>) {
        let length = self.absence_micros();
        while let Some(epoch) = self.epochs.back() {
            if epoch.time_at(now).value - self.end_micros < length {
                return;
            }
            self.gap_until(self.end_micros + length, out);
        }
    }

    /// How long segments are that nobody publishes, microseconds.
    pub(super) fn absence_micros(&self) -> i64 {
        let target = i64::from(self.target_secs.unwrap_or(2)) * i64::from(MICROS);
        self.periods.segment_micros().map_or(target, |regular| regular.min(target))
    }

    /// A gap in every rendition, of at most TARGETDURATION each.
    pub(super) fn gap_until(&mut self, until: i64, out: &mut Vec<Cut>) {
        let longest = i64::from(self.target_secs.unwrap_or(2)) * i64::from(MICROS);
        self.level_rungs(out);
        while self.end_micros < until {
            let length = (until - self.end_micros).min(longest);
            let (number, start) = (self.next, self.end_micros);
            (0..self.renditions.len()).for_each(|rendition| self.add_gap(rendition, (number, start, length), out));
            self.next += 1;
            self.end_micros += length;
            self.health.gaps += 1;
        }
    }

    pub(super) fn add_gap(&mut self, rendition: usize, (number, start, length): (u64, i64, i64), out: &mut Vec<Cut>) {
        let Some(epoch) = self.epochs.back() else { return };
        let start = Ticks { value: start, timescale: MICROS };
        let beginning =
            Beginning { number, start, date: epoch.date_of(start), epoch: epoch.number, independent: false };
        let duration = u32::try_from(length).unwrap_or(u32::MAX);
        if let Some(rendition) = self.renditions.get_mut(rendition) {
            rendition.ring.gap(beginning, duration);
        }
        out.push(Cut::Gap { rendition, beginning, duration });
    }

    /// Renditions that this epoch does not have get a gap for each segment that another one has completed.
    pub(super) fn level_behind(&mut self, complete: usize, out: &mut Vec<Cut>) {
        let Some(epoch) = self.epochs.back() else { return };
        let is_missing = |index: &usize| epoch.tracks.get(*index).is_none_or(Option::is_none);
        let is_rung = |index: &usize| self.renditions.get(*index).is_some_and(Rendition::is_rung);
        let missing: Vec<usize> =
            (0..self.renditions.len()).filter(|index| is_missing(index) && !is_rung(index)).collect();
        let done = self
            .renditions
            .get(complete)
            .and_then(|done| done.ring.segments().next_back())
            .map(|last| (last.beginning.number, last.beginning.start.rescale(MICROS), last.micros()));
        let Some((number, start, length)) = done else { return };
        for rendition in missing {
            if self.renditions.get(rendition).is_some_and(|other| other.ring.next_number() == number) {
                self.add_gap(rendition, (number, start, length), out);
            }
        }
    }

    /// After a visit all renditions of the publisher's end with the same segment.
    pub(super) fn level(&mut self, out: &mut Vec<Cut>) {
        let own = |index: &usize| self.renditions.get(*index).is_some_and(|rendition| !rendition.is_rung());
        for index in (0..self.renditions.len()).filter(own).collect::<Vec<_>>() {
            while let Some(number) =
                self.renditions.get(index).map(|it| it.ring.next_number()).filter(|next| *next < self.next)
            {
                let found = self
                    .renditions
                    .iter()
                    .find_map(|other| other.ring.segment(number))
                    .map(|segment| (number, segment.beginning.start.rescale(MICROS), segment.micros()));
                self.add_gap(index, found.unwrap_or((number, self.end_micros, 0)), out);
            }
        }
    }
}
