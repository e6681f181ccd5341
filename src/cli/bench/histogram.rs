//! Times counted in buckets of 2 %, so that millions of them take no more memory than one.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets: from 1 µs to over half an hour.
const BUCKETS: usize = 1100;
/// Each bucket's bound is the one before times this.
const STEP: f64 = 1.02;

/// A histogram of times, counted into from anywhere.
#[derive(Debug)]
pub struct Histogram {
    buckets: Vec<AtomicU64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, time: Duration) {
        let micros = time.as_micros().max(1) as f64;
        let at = (micros.ln() / STEP.ln()) as usize;
        if let Some(bucket) = self.buckets.get(at.min(BUCKETS - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The time that this share (0 to 1) of them did not exceed, 2 % at most above it; zero when none were counted.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, bound) in self.buckets.iter().zip(1..) {
            seen += bucket.load(Ordering::Relaxed);
            if seen >= wanted && seen > 0 {
                return Duration::from_micros(STEP.powi(bound) as u64);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close_to_the_truth() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for millis in 1..=1000 {
            histogram.record(Duration::from_millis(millis));
        }
        assert_eq!(histogram.count(), 1000);
        for (share, millis) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1000.0;
            assert!((millis..millis * 1.03).contains(&found), "{share}: {found}");
        }
    }

    #[test]
    fn the_shortest_and_the_longest_are_counted_too() {
        let histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_secs(1 << 40));
        assert_eq!(histogram.count(), 2);
    }
}
