//! One clock for the tracks of a publisher. Each counts from anywhere at its own rate; reports tell what a track's clock says at an
//! instant of the publisher's, so that all of them can be brought to one (RFC 3550, section 6.4.1). Until then tracks are in step
//! by when their first packets came. Sound leads: it stays where it is, and pictures are moved, where a key frame is.
//!
//! Some publishers report the timestamp of the packet they sent last as that of now, which is wrong by up to a picture's duration and
//! by whatever the machine was late. So it takes the median of some reports to move pictures again.
//!
//! Browsers that have too much to do leave sound out and count on where they stopped: their sound's clock is slow then, by seconds
//! within a minute; or by as much as its track was taken away for. Long before reports tell, its packets come later and later while
//! those of pictures do not. Such sound is moved to where it belongs, which leaves a hole in it; at once when that is much.
use std::collections::VecDeque;
use std::time::Duration;

use super::super::wire::offer::Media;

/// Ticks per second of the one clock.
const TICKS_PER_SEC: i64 = 90_000;
/// Tracks that are in step but for this much stay where they are, ticks: 30 ms.
const SLACK: u64 = 2700;
/// The same of pictures that come in several sizes: 3 ms.
const LAYER_SLACK: u64 = 270;
/// Reports of a track that count.
const REPORTS: usize = 7;
/// Until there are so many, the first one does.
const REPORTS_MIN: usize = 5;
/// How late packets are is what the quickest of so many seconds tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What the last of them tell is of no use when it is this old.
const LOOK_AGE_MAX: Duration = Duration::from_secs(3);
/// Sound that has fallen behind pictures by this much is moved, ticks: 200 ms.
const BEHIND_MAX: i64 = 18_000;
/// The same when it has for as many looks as count: 50 ms.
const BEHIND_LONG_MAX: i64 = 4500;
const LOOKS: usize = 4;
/// Sound that comes later than that before it by this much was left out meanwhile, whatever pictures do, ticks: 5 s.
const PAUSE_MAX: i64 = 450_000;
/// A clock that is this far from where it was has begun anew, ticks: 10 s.
const JUMP: u64 = 900_000;

/// How much later than at its best a track's packets come.
#[derive(Debug, Clone, Default)]
struct Lateness {
    /// From the time of a packet to when it came: the least of all, ticks.
    least: Option<i64>,
    /// The same of those since this instant.
    under_way: Option<(Duration, i64)>,
    /// When that was looked at, and how much more it was: the last looks, the newest one first.
    seen: VecDeque<(Duration, i64)>,
    /// The last packet's.
    last: Option<i64>,
}

impl Lateness {
    /// Takes a packet's; whether there is something new to see.
    fn note(&mut self, arrival: Duration, took: i64) -> bool {
        self.last = Some(took);
        let least = self.least.map_or(took, |least| least.min(took));
        self.least = Some(least);
        let (since, quickest) = self.under_way.map_or((arrival, took), |(since, before)| (since, before.min(took)));
        let is_over = arrival.saturating_sub(since) >= LOOK_EVERY;
        self.under_way = (!is_over).then_some((since, quickest));
        if is_over {
            self.seen.truncate(LOOKS - 1);
            self.seen.push_front((arrival, quickest.saturating_sub(least)));
        }
        is_over
    }

    /// By the last look, and by the one of as many as count at which it was the least.
    fn seen(&self, now: Duration) -> Option<(i64, Option<i64>)> {
        let (_, late) = self.seen.front().filter(|(at, _)| now.saturating_sub(*at) < LOOK_AGE_MAX)?;
        let least = self.seen.iter().map(|(_, late)| *late).min();
        Some((*late, least.filter(|_| self.seen.len() == LOOKS)))
    }
}

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
    lateness: Lateness,
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

    /// Moves it from here on; reports on how it was tell nothing any more.
    fn move_by(&mut self, ticks: i64) {
        self.offset = self.offset.saturating_add(ticks);
        self.wanted = self.wanted.saturating_add(ticks);
        self.told.clear();
        let least = self.lateness.least.map(|least| least.saturating_add(ticks));
        self.lateness = Lateness { least, ..Lateness::default() };
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
            lateness: Lateness::default(),
        };
        Self(tracks.map(clock).collect())
    }

    /// A timestamp of a track's, of a key frame or of another one, by the one clock.
    pub(super) fn time(&mut self, track: usize, (timestamp, keyframe): (u32, bool), arrival: Duration) -> i64 {
        let pictures_late = self.pictures_late(arrival);
        let Some(clock) = self.0.get_mut(track) else { return 0 };
        let unfolded = clock.unfold(timestamp);
        let ticks = clock.ticks(unfolded);
        let arrived = arrival.as_micros().saturating_mul(TICKS_PER_SEC.unsigned_abs().into()) / 1_000_000;
        let took = i64::try_from(arrived).unwrap_or(i64::MAX).saturating_sub(ticks);
        match clock.last.replace(unfolded) {
            None => (clock.wanted, clock.offset) = (took, took),
            Some(before) if ticks.abs_diff(clock.ticks(before)) > JUMP => clock.lateness = Lateness::default(),
            Some(_) => {
                let paused = clock.lateness.last.map_or(0, |before| took.saturating_sub(before));
                if clock.media == Media::Audio && paused > PAUSE_MAX {
                    clock.move_by(paused);
                }
            }
        }
        if keyframe {
            clock.offset = clock.wanted;
        }
        let is_to_look = clock.lateness.note(arrival, took) && clock.media == Media::Audio;
        let seen = clock.lateness.seen(arrival).zip(pictures_late).filter(|_| is_to_look);
        if let Some(((late, long_late), (pictures_late, pictures_long_late))) = seen {
            let now = Some(late.saturating_sub(pictures_late)).filter(|behind| *behind > BEHIND_MAX);
            let long =
                long_late.zip(pictures_long_late).map(|(late, pictures_late)| late.saturating_sub(pictures_late));
            if let Some(behind) = now.or(long.filter(|behind| *behind > BEHIND_LONG_MAX)) {
                clock.move_by(behind);
            }
        }
        ticks.saturating_add(clock.offset)
    }

    /// How much later than at their best pictures come, those of the track where it is the most.
    fn pictures_late(&self, now: Duration) -> Option<(i64, Option<i64>)> {
        let pictures = self.0.iter().filter(|clock| clock.media == Media::Video);
        pictures.filter_map(|clock| clock.lateness.seen(now)).max()
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
        self.bring_layers_in_step();
    }

    /// Pictures that come in several sizes are the same ones: they have the times of the first of them.
    fn bring_layers_in_step(&mut self) {
        let mut layers = self.0.iter_mut().filter(|clock| clock.media == Media::Video);
        let first = layers.next().and_then(|first| Some((first.told()?, first.wanted)));
        let Some((first_told, first_wanted)) = first else { return };
        for layer in layers {
            let Some(told) = layer.told() else { continue };
            let wanted = first_wanted.saturating_add(told.saturating_sub(first_told));
            if wanted.abs_diff(layer.wanted) > LAYER_SLACK {
                layer.wanted = wanted;
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

    /// Sound at `speed` hundredths of real time and pictures, for so long, both delayed by what `delay` tells for a second; how late
    /// sound was in the end, milliseconds.
    fn behind(speed: u64, delay: impl Fn(u64) -> u64) -> i64 {
        let (mut clocks, mut last) = (clocks(), 0);
        for millis in (0..60_000).step_by(20) {
            let arrival = Duration::from_millis(millis + delay(millis / 1000));
            clocks.time(1, (u32::try_from(millis * 90).unwrap(), millis % 2000 == 0), arrival);
            let sound = clocks.time(0, (u32::try_from(millis * 48 * speed / 100).unwrap(), true), arrival);
            last = i64::try_from(millis).unwrap() - sound / 90;
        }
        last
    }

    #[test]
    fn sound_that_is_left_out_is_missed_and_sound_that_is_late_with_pictures_is_not() {
        assert!((0..900).contains(&behind(65, |_| 0)), "{}", behind(65, |_| 0));
        assert!((0..300).contains(&behind(95, |_| 0)), "{}", behind(95, |_| 0));
        assert_eq!(behind(100, |_| 0), 0);
        assert_eq!(behind(100, |second| 100 * second.min(40)), 0, "the line is full");
    }

    /// A tenth of a second of sound is left out once, then pictures or sound come late now and then; how late sound was in the end.
    fn after_a_hole(hole: u64, late: impl Fn(u64) -> (u64, u64)) -> i64 {
        let (mut clocks, mut last) = (clocks(), 0);
        for millis in (0..20_000).step_by(20) {
            let (pictures_late, sound_late) = late(millis);
            let came = |late: u64| Duration::from_millis(millis + late);
            clocks.time(1, (u32::try_from(millis * 90).unwrap(), millis % 2000 == 0), came(pictures_late));
            let samples = if millis > 5000 { millis - hole } else { millis } * 48;
            let sound = clocks.time(0, (u32::try_from(samples).unwrap(), true), came(sound_late));
            last = i64::try_from(millis).unwrap() - sound / 90;
        }
        last
    }

    #[test]
    fn a_little_sound_that_is_left_out_is_missed_as_well() {
        assert_eq!(after_a_hole(100, |_| (0, 0)), 0);
        assert_eq!(
            after_a_hole(100, |millis| ((millis / 20 % 7) * 10, (millis / 20 % 5) * 10)),
            0,
            "packets come at odds"
        );
        assert_eq!(
            after_a_hole(0, |millis| (0, if millis % 3000 > 1000 { 150 } else { 0 })),
            0,
            "sound stands still at times"
        );
        assert_eq!(
            after_a_hole(0, |millis| (if millis > 10_000 { 150 } else { 0 }, 0)),
            0,
            "pictures are late for good"
        );
    }

    #[test]
    fn a_track_that_is_taken_away_for_a_while_comes_back_where_it_belongs() {
        let mut clocks = clocks();
        let sound = |clocks: &mut Clocks, samples: u32, millis: i64| {
            clocks.time(0, (samples, true), Duration::from_millis(millis.unsigned_abs())) / 90 - millis
        };
        assert_eq!(sound(&mut clocks, 48, 100), 0);
        assert_eq!(sound(&mut clocks, 1008, 120), 0);
        assert_eq!(sound(&mut clocks, 1968, 60_140), 0, "a minute later it counts on");
        assert_eq!(sound(&mut clocks, 2928, 60_160), 0);
        // Nothing is sent while nobody speaks.
        assert_eq!(sound(&mut clocks, 2928 + 48_000 * 30, 90_160), 0);
        assert_eq!(sound(&mut clocks, 3888 + 48_000 * 30, 91_180), -1000, "a line that stood still for a second");
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
