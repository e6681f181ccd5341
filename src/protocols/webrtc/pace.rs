//! Sound at an even pace. Muxers gather packets of sound and send some of them at once, a fifth of a second of it perhaps; players
//! then hold all sound for so long, and do not hold the pictures with it. Sent evenly it is as late as the latest of it anyway, and
//! players know by how much.
use std::time::{Duration, Instant};

use crate::media::live::ring::MICROS;

/// How late sound was is remembered for one to two of these. In the first one that is not known yet, and nothing is held.
const WINDOW: Duration = Duration::from_secs(1);
/// Longest time for which a packet is held.
const HELD_MAX: Duration = Duration::from_millis(600);
/// What is off by more than this, microseconds, is of another clock.
const JUMP_MICROS: i64 = 2_000_000;

/// When packets are to be sent.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the first packet came, and its time, microseconds.
    first: Option<(Instant, i64)>,
    /// Since when the newer of two windows lasts.
    turned: Option<Instant>,
    /// How much later than the first packet others were at most, in both, microseconds; nothing in the first window.
    latest: [Option<i64>; 2],
}

impl Pace {
    /// Whether it is known how late packets are.
    pub(super) fn is_known(&self) -> bool {
        self.latest[1].is_some()
    }

    /// When a packet is to be sent that came at an instant, with this time in ticks.
    pub(super) fn due(&mut self, came: Instant, time: i64, rate: u32) -> Instant {
        let micros = (i128::from(time) * i128::from(MICROS) / i128::from(rate.max(1))) as i64;
        let (at, first) = *self.first.get_or_insert((came, micros));
        let late = since(came, at) - (micros - first);
        let known = self.latest.into_iter().flatten().max();
        if (late - known.unwrap_or(0)).abs() > JUMP_MICROS {
            *self = Self { first: Some((came, micros)), turned: Some(came), latest: [None, None] };
            return came;
        }
        if came.saturating_duration_since(*self.turned.get_or_insert(came)) >= WINDOW {
            self.turned = Some(came);
            self.latest = [self.latest[1], Some(late)];
        }
        let [before, Some(newest)] = &mut self.latest else { return came };
        *newest = late.max(*newest);
        let latest = before.map_or(*newest, |before| before.max(*newest));
        let held = Duration::from_micros(u64::try_from(latest - late).unwrap_or(0));
        came + held.min(HELD_MAX)
    }
}

/// Microseconds from one instant to another, which may be before it.
fn since(instant: Instant, other: Instant) -> i64 {
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    micros(instant.saturating_duration_since(other)) - micros(other.saturating_duration_since(instant))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 20 ms, so many at once: the times between what is sent of them after two seconds, and how long they are held at
    /// most, milliseconds.
    fn sent(bursts: u64, count: u64) -> (Vec<u128>, u128) {
        let (mut pace, began, mut due, mut held) = (Pace::default(), Instant::now(), Vec::new(), 0);
        for number in 0..count {
            // A burst comes when the last packet of it is there.
            let came = began + Duration::from_millis(20 * (number / bursts + 1) * bursts);
            let at = pace.due(came, number as i64 * 960, 48_000);
            held = held.max(at.duration_since(came).as_millis());
            if number >= 100 {
                due.push(at);
            }
        }
        (due.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_millis()).collect(), held)
    }

    #[test]
    fn bursts_are_sent_evenly_and_single_packets_at_once() {
        assert_eq!(sent(8, 800), (vec![20; 699], 140));
        assert_eq!(sent(1, 800), (vec![20; 699], 0));
        assert!(sent(40, 500).1 <= HELD_MAX.as_millis());
    }

    #[test]
    fn what_was_late_is_forgotten_and_jumps_are_followed() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let mut came = began;
        for number in 0..1000i64 {
            // The first is late, and so is one later.
            let late = if number == 0 || number == 200 { 200 } else { 0 };
            came = began + Duration::from_millis(20 * number as u64 + late);
            let held = pace.due(came, number * 960, 48_000).duration_since(came).as_millis();
            let may_be_held = (201..=310).contains(&number);
            assert!(held == 0 || (may_be_held && held <= 200), "{number}: {held}");
        }
        assert_eq!(pace.due(came, 10_000_000_000, 48_000), came);
        let next = came + Duration::from_millis(20);
        assert_eq!(pace.due(next, 10_000_000_960, 48_000), next);
    }
}
