//! Which pictures a viewer's line carries. The path's estimate falls below what is sent when the line is too narrow, and then tells what
//! it carries, and so do losses; above that it grows by itself, whatever the line carries, so that more is tried after some time, and
//! after a longer one when it failed before.
use std::time::{Duration, Instant};

/// The estimate is below so much of what is sent for this long before less is. One moment in which packets come late takes it down to
/// 85 %, and it needs some seconds to come back from there.
const SHORT: [(f64, Duration); 2] = [(0.75, Duration::from_secs(1)), (1.0, Duration::from_secs(6))];
/// Of what the estimate says so much is used, and so much is left before more is sent.
const USED: f64 = 0.85;
const SPARE: f64 = 1.25;
/// Losses of less than this share are no sign of a narrow line.
const LOST: f64 = 0.1;
/// How long one waits before more is tried, at first and at most.
const WAIT: Duration = Duration::from_secs(15);
const WAIT_MAX: Duration = Duration::from_secs(120);
/// More that lasts so long has not failed. Before, it is given up at the first sign.
const LASTED: Duration = Duration::from_secs(20);

/// The choice of one viewer.
#[derive(Debug)]
pub(super) struct Switching {
    estimate: Option<f64>,
    /// Share of what is sent that was lost lately.
    lost: f64,
    /// Since when the estimate is short by each of these measures.
    short_since: [Option<Instant>; 2],
    /// When another one was chosen last, and whether it was a larger one.
    switched: Option<(Instant, bool)>,
    wait: Duration,
}

impl Default for Switching {
    fn default() -> Self {
        Self { estimate: None, lost: 0.0, short_since: [None; 2], switched: None, wait: WAIT }
    }
}

impl Switching {
    /// The path carries so many bits a second, as far as one can tell.
    pub(super) fn note(&mut self, bits_per_sec: f64) {
        self.estimate = Some(bits_per_sec);
    }

    /// This share of what was sent has been lost since it was told last.
    pub(super) fn note_lost(&mut self, share: f64) {
        self.lost = if share < LOST { 0.0 } else { share };
    }

    /// Which of these to send, told by how many bits a second they take, the largest first, when this one is sent now.
    pub(super) fn choose(&mut self, rates: &[f64], current: usize, now: Instant) -> usize {
        let (Some(estimate), Some(rate)) = (self.estimate, rates.get(current)) else { return 0 };
        let estimate = if self.lost > 0.0 { estimate.min(rate * (1.0 - self.lost)) } else { estimate };
        let since = self.switched.map_or(Duration::MAX, |(at, _)| now.saturating_duration_since(at));
        let is_trial = self.switched.is_some_and(|(_, up)| up) && since < LASTED;
        let mut is_short = is_trial && estimate < rate * SHORT[0].0;
        for ((measure, longest), short_since) in SHORT.iter().zip(&mut self.short_since) {
            let began = (estimate < rate * measure).then(|| short_since.unwrap_or(now));
            is_short |= began.is_some_and(|began| now.saturating_duration_since(began) >= *longest);
            *short_since = began;
        }
        if estimate < *rate {
            let fits = rates.iter().position(|rate| *rate <= estimate * USED).unwrap_or(rates.len() - 1);
            if !is_short || fits <= current {
                return current;
            }
            self.wait = if is_trial { (self.wait * 2).min(WAIT_MAX) } else { WAIT };
            return self.switch(fits, (now, false));
        }
        match current.checked_sub(1) {
            Some(larger) if since >= self.wait && rates.get(larger).is_some_and(|rate| estimate >= rate * SPARE) => {
                self.switch(larger, (now, true))
            }
            _ => current,
        }
    }

    fn switch(&mut self, to: usize, how: (Instant, bool)) -> usize {
        (self.switched, self.short_since, self.lost) = (Some(how), [None; 2], 0.0);
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [f64; 3] = [2.5e6, 1e6, 4e5];

    /// What is sent in each second, with these estimates in each.
    fn sent(estimates: impl Iterator<Item = f64>) -> Vec<usize> {
        let (mut switching, mut now, mut current) = (Switching::default(), Instant::now(), 0);
        let each = |estimate| {
            switching.note(estimate);
            current = switching.choose(&RATES, current, now);
            now += Duration::from_secs(1);
            current
        };
        estimates.map(each).collect()
    }

    #[test]
    fn lines_that_carry_less_are_sent_less_at_once_and_more_later() {
        let wide = sent([3e6; 5].into_iter());
        assert_eq!(wide, [0; 5]);
        let moment = sent([3e6, 1e6, 3e6, 1e6, 3e6].into_iter());
        assert_eq!(moment, [0; 5], "a moment of it does not count");
        let late = sent([3e6, 2.1e6, 2.2e6, 2.3e6, 2.4e6, 2.6e6].into_iter());
        assert_eq!(late, [0; 6], "nor does what is soon over");
        assert_eq!(sent([2.2e6; 8].into_iter()), [0, 0, 0, 0, 0, 0, 1, 1]);
        let narrow = sent([3e6, 1.3e6, 1.3e6, 1.3e6].into_iter());
        assert_eq!(narrow, [0, 0, 1, 1]);
        assert_eq!(sent([3e5; 3].into_iter()), [0, 2, 2], "the smallest, whatever the line carries");
        let again = sent([1.3e6; 3].into_iter().chain([5e6; 20]));
        assert_eq!(again[1..16], [1; 15][..], "not at once");
        assert_eq!(again[16..], [0; 7][..]);
    }

    #[test]
    fn losses_tell_of_a_narrow_line() {
        let (mut switching, now) = (Switching::default(), Instant::now());
        let mut choose = |lost, second| {
            switching.note(5e6);
            switching.note_lost(lost);
            switching.choose(&RATES, 0, now + Duration::from_secs(second))
        };
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|second| choose(0.05, second)), [0; 8], "lines may lose some");
        assert_eq!([10, 11].map(|second| choose(0.5, second)), [0, 1]);
    }

    #[test]
    fn what_failed_is_tried_less_and_less_often() {
        // The line carries 1.3 Mb/s; the estimate grows whatever it carries, until more is sent.
        let (mut switching, mut now, mut current, mut tried) = (Switching::default(), Instant::now(), 0, Vec::new());
        for second in 0..400 {
            switching.note(if current == 0 { 1.1e6 } else { 5e6 });
            let before = current;
            current = switching.choose(&RATES, current, now);
            if before == 1 && current == 0 {
                tried.push(second);
            }
            now += Duration::from_secs(1);
        }
        let waits: Vec<i32> = tried.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(waits.windows(2).all(|pair| pair[1] >= pair[0]) && waits.last() >= Some(&100), "{waits:?}");
    }

    #[test]
    fn without_an_estimate_the_largest_is_sent() {
        assert_eq!(Switching::default().choose(&RATES, 2, Instant::now()), 0);
        let mut switching = Switching::default();
        switching.note(1.0);
        assert_eq!(switching.choose(&[], 3, Instant::now()), 0);
    }
}
