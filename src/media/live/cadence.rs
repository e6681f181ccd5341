//! The rhythm of pictures. Ingest protocols round times to milliseconds; a steady publisher's pictures get their exact
//! places back, so that equal numbers of pictures make equal parts.

/// Pictures looked at before a rhythm is believed.
const INTERVALS_WANTED: usize = 12;
/// Frame rates that cameras and encoders have, as (frames, seconds).
const KNOWN_RATES: [(u32, u32); 19] = [
    (24_000, 1001),
    (24, 1),
    (25, 1),
    (30_000, 1001),
    (30, 1),
    (48, 1),
    (50, 1),
    (60_000, 1001),
    (60, 1),
    (10, 1),
    (12, 1),
    (15, 1),
    (20, 1),
    (72, 1),
    (75, 1),
    (90, 1),
    (100, 1),
    (120_000, 1001),
    (120, 1),
];

/// Finds the rhythm and places pictures in it. Times are in ticks of one timescale.
#[derive(Debug, Clone)]
pub struct Cadence {
    timescale: u32,
    /// How far off a rounded time may be.
    tolerance: i64,
    intervals: Vec<i64>,
    last_raw: Option<i64>,
    rate: Option<Rate>,
}

/// A rhythm: picture number `n` after the anchor is at `anchor + n × timescale × seconds / frames`.
#[derive(Debug, Clone, Copy)]
struct Rate {
    frames: u32,
    seconds: u32,
    anchor: i64,
    count: i64,
}

impl Rate {
    fn at(&self, timescale: u32, number: i64) -> i64 {
        let ticks = i128::from(number) * i128::from(timescale) * i128::from(self.seconds);
        self.anchor + (ticks / i128::from(self.frames.max(1))) as i64
    }
}

impl Cadence {
    /// For times in ticks of `timescale` that were rounded to `ticks_per_sec`.
    pub fn new(timescale: u32, ticks_per_sec: u32) -> Self {
        let rounding = i64::from(timescale) / i64::from(ticks_per_sec.max(1));
        // A time rounded down and one rounded up are two roundings apart.
        let tolerance = (rounding * 2).max(i64::from(timescale) / 2000);
        Self { timescale, tolerance, intervals: Vec::new(), last_raw: None, rate: None }
    }

    /// Ticks from one picture to the next, once there is a rhythm.
    pub fn interval(&self) -> Option<i64> {
        self.rate.map(|rate| (Rate { anchor: 0, ..rate }).at(self.timescale, 1))
    }

    /// Ticks from the last placed picture to the next one, once there is a rhythm: whole ticks that add up.
    pub fn to_next(&self) -> Option<i64> {
        self.rate.map(|rate| rate.at(self.timescale, rate.count + 1) - rate.at(self.timescale, rate.count))
    }

    /// Frames per second as a fraction, once there is a rhythm.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        self.rate.map(|rate| (rate.frames, rate.seconds))
    }

    /// The next picture's place in the rhythm, given the time that it came with. Where a group of pictures starts, the
    /// rhythm follows the publisher's clock, even when that was set; in between it keeps its own, unless the publisher leaves it.
    pub fn place(&mut self, raw: i64, keyframe: bool) -> i64 {
        let tolerance = self.tolerance;
        let timescale = self.timescale;
        let in_rhythm = self.rate.as_mut().and_then(|rate| {
            rate.count += 1;
            let at = rate.at(timescale, rate.count);
            let is_off = (raw - at).abs() > tolerance;
            if is_off && !(keyframe && (raw - at).abs() < i64::from(timescale) / 2) {
                return None;
            }
            if keyframe {
                // Half a rounding is no drift.
                let moved = if (raw - at).abs() * 2 > tolerance { raw } else { at };
                (rate.anchor, rate.count) = (moved, 0);
                return Some(moved);
            }
            Some(at)
        });
        self.listen(raw, in_rhythm.is_some());
        in_rhythm.unwrap_or(raw)
    }

    /// A composition offset as a whole number of pictures, when it is nearly one.
    pub fn place_composition(&self, composition: i64) -> i64 {
        let Some(rate) = self.rate else { return composition };
        let rate = Rate { anchor: 0, ..rate };
        let Some(interval) = self.interval().filter(|interval| *interval > 0) else { return composition };
        let number = (composition + composition.signum() * interval / 2) / interval;
        let exact = rate.at(self.timescale, number);
        if (exact - composition).abs() <= self.tolerance { exact } else { composition }
    }

    fn listen(&mut self, raw: i64, in_rhythm: bool) {
        if in_rhythm {
            self.last_raw = Some(raw);
            return;
        }
        if self.rate.take().is_some() {
            self.intervals.clear();
        }
        if let Some(last) = self.last_raw.replace(raw) {
            self.intervals.push(raw - last);
        }
        if self.intervals.len() >= INTERVALS_WANTED {
            self.rate = self.find(raw);
            self.intervals.clear();
        }
    }

    fn find(&self, anchor: i64) -> Option<Rate> {
        let (least, most) = (self.intervals.iter().min()?, self.intervals.iter().max()?);
        if *least <= 0 || most - least > self.tolerance {
            return None;
        }
        let total: i64 = self.intervals.iter().sum();
        let count = self.intervals.len() as i64;
        let exact =
            |(frames, seconds): (u32, u32)| Rate { frames, seconds, anchor: 0, count: 0 }.at(self.timescale, count);
        let near = KNOWN_RATES.iter().copied().min_by_key(|rate| (exact(*rate) - total).abs())?;
        let is_near = (exact(near) - total).abs() <= self.tolerance;
        let (frames, seconds) = if is_near {
            near
        } else {
            (u32::try_from(count * i64::from(self.timescale)).ok()?, u32::try_from(total).ok()?)
        };
        Some(Rate { frames, seconds, anchor, count: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times rounded to milliseconds in 90 kHz, as RTMP brings them.
    fn rounded(number: i64, frames: i64, seconds: i64) -> i64 {
        (number * 1000 * seconds / frames) * 90
    }

    #[test]
    fn rounded_times_get_their_exact_places_back() {
        for (frames, seconds) in [(24, 1), (30, 1), (60, 1), (25, 1), (120, 1)] {
            let mut cadence = Cadence::new(90_000, 1000);
            let placed: Vec<i64> =
                (0..400).map(|number| cadence.place(rounded(number, frames, seconds), number % 60 == 0)).collect();
            assert_eq!(cadence.frame_rate(), Some((frames as u32, seconds as u32)));
            let exact = 90_000 * seconds / frames;
            let settled = &placed[20..];
            let wrong = settled.windows(2).filter(|pair| pair[1] - pair[0] != exact).count();
            assert!(wrong <= 6, "{frames}: {wrong} of {} intervals", settled.len());
            for (number, at) in placed.iter().enumerate() {
                assert!((at - rounded(number as i64, frames, seconds)).abs() <= 180, "{frames} {number}");
            }
        }
    }

    #[test]
    fn ntsc_rates_keep_up_with_the_publisher() {
        let mut cadence = Cadence::new(90_000, 1000);
        for number in 0..10_000 {
            let raw = rounded(number, 30_000, 1001);
            assert!((cadence.place(raw, number % 60 == 0) - raw).abs() <= 180, "{number}");
        }
        let interval = cadence.interval().unwrap();
        assert!((3000..=3003).contains(&interval), "{interval}");
    }

    #[test]
    fn a_broken_rhythm_is_left_alone_and_found_again() {
        let mut cadence = Cadence::new(90_000, 1000);
        for number in 0..40 {
            cadence.place(rounded(number, 25, 1), false);
        }
        assert!(cadence.interval().is_some());
        let late = rounded(40, 25, 1) + 45_000;
        assert_eq!(cadence.place(late, false), late, "a gap is a gap");
        assert_eq!(cadence.interval(), None);
        for number in 1..40 {
            cadence.place(late + rounded(number, 50, 1), false);
        }
        assert_eq!(cadence.frame_rate(), Some((50, 1)));
        let mut wild = Cadence::new(90_000, 1000);
        (0..100i64).for_each(|number| {
            assert_eq!(wild.place(number * 3000 + (number % 7) * 900, false), number * 3000 + (number % 7) * 900)
        });
    }

    #[test]
    fn composition_offsets_are_whole_pictures() {
        let mut cadence = Cadence::new(90_000, 1000);
        for number in 0..40 {
            cadence.place(rounded(number, 30, 1), false);
        }
        assert_eq!(cadence.place_composition(67 * 90), 6000);
        assert_eq!(cadence.place_composition(-33 * 90), -3000);
        assert_eq!(cadence.place_composition(50 * 90), 4500);
        assert_eq!(cadence.place_composition(0), 0);
    }
}
