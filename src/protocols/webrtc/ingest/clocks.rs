//! One clock for the tracks of a publisher. Each counts from anywhere at its own rate; reports tell what a track's clock says at an
//! instant of the publisher's, so that all of them can be brought to one (RFC 3550, section 6.4.1). Until then tracks are in step
//! by when their first packets came. Sound leads: it stays where it is, and pictures are moved.
use std::time::Duration;

use super::super::wire::offer::Media;

/// Ticks per second of the one clock.
const TICKS_PER_SEC: i64 = 90_000;
/// Tracks that are in step but for this much stay where they are, ticks: 15 ms.
const SLACK: u64 = 1350;

/// A track's clock.
#[derive(Debug, Clone, Copy)]
struct Clock {
    media: Media,
    rate: i64,
    /// Its last timestamp, counted without wrapping.
    last: Option<i64>,
    /// What is added to its time, ticks.
    offset: i64,
    /// What would have to be added to its time to make it the publisher's, ticks.
    told: Option<i64>,
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
            told: None,
        };
        Self(tracks.map(clock).collect())
    }

    /// A track's timestamp by the one clock.
    pub(super) fn time(&mut self, track: usize, timestamp: u32, arrival: Duration) -> i64 {
        let Some(clock) = self.0.get_mut(track) else { return 0 };
        let unfolded = clock.unfold(timestamp);
        let ticks = clock.ticks(unfolded);
        if clock.last.replace(unfolded).is_none() {
            let arrived = arrival.as_micros().saturating_mul(TICKS_PER_SEC.unsigned_abs().into()) / 1_000_000;
            clock.offset = i64::try_from(arrived).unwrap_or(i64::MAX).saturating_sub(ticks);
        }
        ticks.saturating_add(clock.offset)
    }

    /// A track's clock and the publisher's at one instant.
    pub(super) fn tell(&mut self, track: usize, (ntp, rtp): (u64, u32)) {
        let Some(clock) = self.0.get_mut(track).filter(|clock| clock.last.is_some()) else { return };
        let publishers = ((i128::from(ntp) * i128::from(TICKS_PER_SEC)) >> 32) as i64;
        clock.told = Some(publishers.saturating_sub(clock.ticks(clock.unfold(rtp))));
        self.bring_in_step();
    }

    fn bring_in_step(&mut self) {
        let sound = self.0.iter().find(|clock| clock.media == Media::Audio);
        let leader = sound.or(self.0.first()).and_then(|leader| Some((leader.told?, leader.offset)));
        let Some((leader_told, leader_offset)) = leader else { return };
        for clock in &mut self.0 {
            let Some(told) = clock.told else { continue };
            let wanted = leader_offset.saturating_add(told.saturating_sub(leader_told));
            if wanted.abs_diff(clock.offset) > SLACK {
                clock.offset = wanted;
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
        assert_eq!(clocks.time(1, 5000, Duration::ZERO), 9_000);
        assert_eq!(clocks.time(0, 480, Duration::ZERO), 9_000 + 1800, "sound stays where it is");
        // What is said a second later differs by 5 ms: that is no reason to move anything.
        clocks.tell(1, (101 * SECOND, 95_000 - 450));
        assert_eq!(clocks.time(1, 5000, Duration::ZERO), 9_000);
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
