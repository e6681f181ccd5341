//! One clock for the tracks of a publisher. Each counts from anywhere at its own rate; reports tell what a track's clock says at an
//! instant of the publisher's, so that all of them can be brought to one (RFC 3550, section 6.4.1). Until then tracks are in step
//! by when their first packets came. Sound leads: it stays where it is, and pictures are moved, so slowly that nobody sees it.
//!
//! Some publishers report the timestamp of the packet they sent last as that of now, which is wrong by up to a picture's duration and
//! by whatever the machine was late. So it takes the median of some reports.
use std::collections::VecDeque;
use std::time::Duration;

use super::super::wire::offer::Media;

/// Ticks per second of the one clock.
const TICKS_PER_SEC: i64 = 90_000;
/// Tracks that are in step but for this much stay where they are, ticks: 15 ms.
const SLACK: u64 = 1350;
/// Reports of a track that count.
const REPORTS: usize = 7;
/// A track is moved by this part of the time that passes: 80 ms take two seconds.
const PACE: i64 = 25;
/// Tracks that are out of step by more than this are moved at once, ticks: half a second.
const LEAP: u64 = 45_000;

/// A track's clock.
#[derive(Debug, Clone)]
struct Clock {
    media: Media,
    rate: i64,
    /// Its last timestamp, counted without wrapping.
    last: Option<i64>,
    /// What is added to its time, ticks.
    offset: i64,
    /// What is to be added to it.
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
        let mut told: Vec<i64> = self.told.iter().copied().collect();
        told.sort_unstable();
        told.get(told.len() / 2).copied()
    }

    /// Comes nearer to where it is to be, as far as it may in so many ticks.
    fn move_on(&mut self, passed: i64) {
        let missing = self.wanted.saturating_sub(self.offset);
        let pace = (passed / PACE).max(0);
        let step = if missing.unsigned_abs() > LEAP { missing } else { missing.clamp(-pace, pace) };
        self.offset = self.offset.saturating_add(step);
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

    /// A track's timestamp by the one clock.
    pub(super) fn time(&mut self, track: usize, timestamp: u32, arrival: Duration) -> i64 {
        let Some(clock) = self.0.get_mut(track) else { return 0 };
        let unfolded = clock.unfold(timestamp);
        let ticks = clock.ticks(unfolded);
        match clock.last.replace(unfolded) {
            Some(before) => clock.move_on(ticks.saturating_sub(clock.ticks(before))),
            None => {
                let arrived = arrival.as_micros().saturating_mul(TICKS_PER_SEC.unsigned_abs().into()) / 1_000_000;
                clock.offset = i64::try_from(arrived).unwrap_or(i64::MAX).saturating_sub(ticks);
                clock.wanted = clock.offset;
            }
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
        assert_eq!(clocks.time(0, u32::MAX - 479, Duration::from_millis(100)), 9_000);
        assert_eq!(clocks.time(0, 480, Duration::ZERO), 9_000 + 1800, "it wraps");
        // Pictures that are as old came 80 ms later.
        assert_eq!(clocks.time(1, 5000, Duration::from_millis(180)), 16_200);
        clocks.tell(0, (100 * SECOND, u32::MAX - 479));
        assert_eq!(clocks.time(1, 5000, Duration::ZERO), 16_200, "one of them is not enough");
        clocks.tell(1, (100 * SECOND, 5000));
        assert_eq!(clocks.time(1, 8000, Duration::ZERO), 19_200 - 120, "at most by a part of what has passed");
        assert_eq!(clocks.time(1, 5000 + 180_000, Duration::ZERO), 9_000 + 180_000, "in the end it is in step");
        assert_eq!(clocks.time(0, 480, Duration::ZERO), 9_000 + 1800, "sound stays where it is");
        // What is said a second later differs by 5 ms: that is no reason to move anything.
        clocks.tell(1, (101 * SECOND, 95_000 - 450));
        assert_eq!(clocks.time(1, 5000 + 360_000, Duration::ZERO), 9_000 + 360_000);
    }

    #[test]
    fn reports_that_are_late_now_and_then_move_nothing() {
        let mut clocks = clocks();
        clocks.time(0, 0, Duration::ZERO);
        clocks.time(1, 0, Duration::ZERO);
        for second in 0..60 {
            // The last packet's timestamp, as if it were that of now: wrong by up to 20 ms, by 30 ms, and once in a while by 200.
            let (sound, picture) = ((second * 7) % 20, if second % 5 == 4 { 200 } else { 20 + (second * 11) % 10 });
            clocks.tell(0, (second * SECOND, u32::try_from(second * 48_000 + 1_000 - sound * 48).unwrap()));
            clocks.tell(1, (second * SECOND, u32::try_from(second * 90_000 + 20_000 - picture * 90).unwrap()));
            clocks.time(0, u32::try_from(second * 48_000 + 960).unwrap(), Duration::ZERO);
            clocks.time(1, u32::try_from(second * 90_000 + 3_000).unwrap(), Duration::ZERO);
        }
        let moved = clocks.0[1].offset.abs_diff(clocks.0[1].wanted);
        assert_eq!(moved, 0, "it has come to rest");
        let settled = clocks.0[1].wanted;
        for second in 60..120 {
            let picture = if second % 5 == 4 { 200 } else { 20 + (second * 11) % 10 };
            clocks.tell(1, (second * SECOND, u32::try_from(second * 90_000 + 20_000 - picture * 90).unwrap()));
        }
        assert_eq!(clocks.0[1].wanted, settled);
    }

    #[test]
    fn tracks_that_are_far_out_of_step_are_moved_at_once() {
        let mut clocks = clocks();
        clocks.time(0, 0, Duration::ZERO);
        clocks.time(1, 0, Duration::from_secs(2));
        clocks.tell(0, (SECOND, 0));
        clocks.tell(1, (SECOND, 0));
        assert_eq!(clocks.time(1, 3000, Duration::ZERO), 3000);
    }

    #[test]
    fn nonsense_does_no_harm() {
        let mut clocks = clocks();
        clocks.tell(0, (u64::MAX, 1));
        clocks.tell(7, (0, 0));
        assert_eq!(clocks.time(9, 5, Duration::ZERO), 0);
        clocks.time(0, 1, Duration::from_secs(1 << 40));
        for (ntp, rtp) in [(u64::MAX, 0), (0, u32::MAX), (1 << 63, 1 << 31)] {
            clocks.tell(0, (ntp, rtp));
            clocks.tell(1, (!ntp, !rtp));
            clocks.time(1, rtp, Duration::MAX);
        }
    }
}
