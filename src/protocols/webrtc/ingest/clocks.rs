//! One clock for the tracks of a publisher. Each counts from anywhere at its own rate; reports tell what a track's clock says at an
//! instant of the publisher's, so that all of them can be brought to one (RFC 3550, section 6.4.1). Until then tracks are in step
//! by when their first packets came. Sound leads: it stays where it is, and pictures are moved, where a key frame is.
//!
//! Some publishers report the timestamp of the packet they sent last as that of now, which is wrong by up to a picture's duration and
//! by whatever the machine was late. So it takes the median of some reports to move pictures again.
use std::collections::VecDeque;
use std::time::Duration;

use super::super::wire::offer::Media;

/// Ticks per second of the one clock.
const TICKS_PER_SEC: i64 = 90_000;
/// Tracks that are in step but for this much stay where they are, ticks: 30 ms.
const SLACK: u64 = 2700;
/// Reports of a track that count.
const REPORTS: usize = 7;
/// Until there are so many, the first one does.
const REPORTS_MIN: usize = 5;

/// A track's clock.
#[derive(Debug, Clone)]
struct Clock {
    media: Media,
    rate: i64,
    /// Its last timestamp, counted without wrapping.
    last: Option<i64>,
    /// What is added to its time, ticks.
    offset: i64,
    /// What is to be added to it from the next key frame on.
    wanted: i64,
    /// What would have to be added to its time to make it the publisher's, ticks: by the last reports.
    told: VecDeque<i64>,
}

impl Clock {
    /// The timestamp as it would be if it did not wrap.
    fn unfold(&self, timestamp: u32) -> i64 {
        match self.last {
            Some(last) => last.saturating_add(i64::from(timestamp.wrapping_sub(last as u32).cast_signed())),
            None => i64::from(timestamp),
        }
    }

    fn ticks(&self, unfolded: i64) -> i64 {
        (i128::from(unfolded) * i128::from(TICKS_PER_SEC) / i128::from(self.rate)) as i64
    }

    fn note(&mut self, told: i64) {
        self.told.truncate(REPORTS - 1);
        self.told.push_front(told);
    }

    /// The median of the reports.
    fn told(&self) -> Option<i64> {
        if self.told.len() < REPORTS_MIN {
            return self.told.back().copied();
        }
        let mut told: Vec<i64> = self.told.iter().copied().collect();
        told.sort_unstable();
        told.get(told.len() / 2).copied()
    }
}

/// The clocks of all tracks.
#[derive(Debug)]
pub(super) struct Clocks(Vec<Clock>);

impl Clocks {
    /// Of tracks with these rates.
    pub(super) fn new(tracks: impl Iterator<Item = (Media, u32)>) -> Self {
        let clock = |(media, rate): (Media, u32)| Clock {
            media,
            rate: i64::from(rate.max(1)),
            last: None,
            offset: 0,
            wanted: 0,
            told: VecDeque::with_capacity(REPORTS),
        };
        Self(tracks.map(clock).collect())
    }

    /// A timestamp of a track's, of a key frame or of another one, by the one clock.
    pub(super) fn time(&mut self, track: usize, (timestamp, keyframe): (u32, bool), arrival: Duration) -> i64 {
        let Some(clock) = self.0.get_mut(track) else { return 0 };
        let unfolded = clock.unfold(timestamp);
        let ticks = clock.ticks(unfolded);
        if clock.last.replace(unfolded).is_none() {
            let arrived = arrival.as_micros().saturating_mul(TICKS_PER_SEC.unsigned_abs().into()) / 1_000_000;
            clock.wanted = i64::try_from(arrived).unwrap_or(i64::MAX).saturating_sub(ticks);
            clock.offset = clock.wanted;
        }
        if keyframe {
            clock.offset = clock.wanted;
        }
        ticks.saturating_add(clock.offset)
    }

    /// A track's clock and the publisher's at one instant.
    pub(super) fn tell(&mut self, track: usize, (ntp, rtp): (u64, u32)) {
        let Some(clock) = self.0.get_mut(track).filter(|clock| clock.last.is_some()) else { return };
        let publishers = ((i128::from(ntp) * i128::from(TICKS_PER_SEC)) >> 32) as i64;
        clock.note(publishers.saturating_sub(clock.ticks(clock.unfold(rtp))));
        self.bring_in_step();
    }

    fn bring_in_step(&mut self) {
        let sound = self.0.iter().find(|clock| clock.media == Media::Audio);
        let leader = sound.or(self.0.first()).and_then(|leader| Some((leader.told()?, leader.offset)));
        let Some((leader_told, leader_offset)) = leader else { return };
        for clock in &mut self.0 {
            let Some(told) = clock.told() else { continue };
            let wanted = leader_offset.saturating_add(told.saturating_sub(leader_told));
            if wanted.abs_diff(clock.wanted) > SLACK {
                clock.wanted = wanted;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1 << 32;

    fn clocks() -> Clocks {
        Clocks::new([(Media::Audio, 48_000), (Media::Video, 90_000)].into_iter())
    }

    #[test]
    fn tracks_are_in_step_as_they_came_until_their_clocks_are_told() {
        let mut clocks = clocks();
        assert_eq!(clocks.time(0, (u32::MAX - 479, true), Duration::from_millis(100)), 9_000);
        assert_eq!(clocks.time(0, (480, true), Duration::ZERO), 9_000 + 1800, "it wraps");
        // Pictures that are as old came 80 ms later.
        assert_eq!(clocks.time(1, (5000, true), Duration::from_millis(180)), 16_200);
        clocks.tell(0, (100 * SECOND, u32::MAX - 479));
        assert_eq!(clocks.time(1, (5000, true), Duration::ZERO), 16_200, "one of them is not enough");
        clocks.tell(1, (100 * SECOND, 5000));
        assert_eq!(clocks.time(1, (5000, false), Duration::ZERO), 16_200, "in the middle of a group nothing moves");
        assert_eq!(clocks.time(1, (5000, true), Duration::ZERO), 9_000);
        assert_eq!(clocks.time(0, (480, true), Duration::ZERO), 9_000 + 1800, "sound stays where it is");
    }

    #[test]
    fn reports_that_are_late_now_and_then_move_nothing() {
        let mut clocks = clocks();
        let mut moved = Vec::new();
        clocks.time(0, (0, true), Duration::ZERO);
        clocks.time(1, (0, true), Duration::ZERO);
        for second in 0..120 {
            // The last packet's timestamp, as if it were that of now: wrong by up to 20 ms, by 30 ms, and once in a while by 200.
            let sound = (second * 7) % 20;
            let picture = if second % 5 == 4 { 200 } else { (second * 11) % 30 };
            clocks.tell(0, (second * SECOND, u32::try_from(second * 48_000 + 1_000 - sound * 48).unwrap()));
            clocks.tell(1, (second * SECOND, u32::try_from(second * 90_000 + 20_000 - picture * 90).unwrap()));
            moved.push(clocks.time(1, (0, true), Duration::ZERO));
        }
        moved.dedup();
        assert!(moved.len() <= 2, "{moved:?}");
        // It is in step but for what the publisher is wrong by.
        let exact = 1_000 * 90 / 48 - 20_000;
        assert!(moved.iter().all(|at| at.abs_diff(exact) < 3600), "{moved:?}, {exact}");
    }

    #[test]
    fn nonsense_does_no_harm() {
        let mut clocks = clocks();
        clocks.tell(0, (u64::MAX, 1));
        clocks.tell(7, (0, 0));
        assert_eq!(clocks.time(9, (5, true), Duration::ZERO), 0);
        clocks.time(0, (1, true), Duration::from_secs(1 << 40));
        for (ntp, rtp) in [(u64::MAX, 0), (0, u32::MAX), (1 << 63, 1 << 31)] {
            clocks.tell(0, (ntp, rtp));
            clocks.tell(1, (!ntp, !rtp));
            clocks.time(1, (rtp, true), Duration::MAX);
        }
    }
}
