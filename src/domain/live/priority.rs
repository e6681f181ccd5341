//! When live streams need the cores that encoding of stored videos has: pure, told how late the node's clock rings.
use std::time::Duration;

/// Rings in a row that have to be late, or in time.
const LATE_RINGS: u32 = 3;
const CALM_RINGS: u32 = 20;

/// Watches over the lateness of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivePriority {
    lateness_max: Duration,
    late: u32,
    calm: u32,
    is_claimed: bool,
}

impl LivePriority {
    /// Claims the cores when the clock rings later than this again and again.
    pub fn new(lateness_max: Duration) -> Self {
        Self { lateness_max, late: 0, calm: 0, is_claimed: false }
    }

    /// Whether the cores are claimed.
    pub fn is_claimed(&self) -> bool {
        self.is_claimed
    }

    /// The clock has rung, so late, with so many streams on; returns whether the cores are claimed from now on.
    pub fn rang(&mut self, lateness: Duration, streams: u64) -> bool {
        let is_late = streams > 0 && lateness > self.lateness_max;
        (self.late, self.calm) = if is_late { (self.late + 1, 0) } else { (0, self.calm + 1) };
        if self.late >= LATE_RINGS {
            self.is_claimed = true;
        }
        if streams == 0 || self.calm >= CALM_RINGS {
            self.is_claimed = false;
        }
        self.is_claimed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(300);

    fn rings(priority: &mut LivePriority, count: u32, lateness: Duration, streams: u64) -> bool {
        (0..count).map(|_| priority.rang(lateness, streams)).last().unwrap()
    }

    #[test]
    fn lateness_that_lasts_claims_the_cores_until_calm_has_lasted() {
        let mut priority = LivePriority::new(Duration::from_millis(200));
        assert!(!rings(&mut priority, 100, Duration::ZERO, 3));
        assert!(!rings(&mut priority, LATE_RINGS - 1, LATE, 3), "a moment is none");
        assert!(!rings(&mut priority, 1, Duration::ZERO, 3));
        assert!(rings(&mut priority, LATE_RINGS, LATE, 3));
        assert!(rings(&mut priority, CALM_RINGS - 1, Duration::ZERO, 3));
        assert!(!rings(&mut priority, 1, Duration::ZERO, 3));
    }

    #[test]
    fn without_streams_nothing_is_claimed() {
        let mut priority = LivePriority::new(Duration::from_millis(200));
        assert!(!rings(&mut priority, 100, LATE, 0));
        assert!(rings(&mut priority, 100, LATE, 1));
        assert!(!rings(&mut priority, 1, LATE, 0), "the last one has ended");
    }
}
