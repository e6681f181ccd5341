//! How far a ladder is, and when it will be done.
use std::time::Duration;

use crate::domain::time::Timestamp;

/// Progress is told in steps of this many percent.
const STEP: u8 = 5;
/// Time after which the measured speed means something.
const MEASURED_AFTER: Duration = Duration::from_secs(1);

/// Measures the speed of the work that was done in this life of the server.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    /// When measuring began, and what was done by then.
    began: Option<(Timestamp, f64)>,
    percent: u8,
    told: Option<u8>,
}

impl Pace {
    pub(super) fn percent(&self) -> u8 {
        self.percent
    }

    /// What is to be told now, if anything: percent, and when all will be done.
    pub(super) fn tell(&mut self, done: f64, total: f64, now: Timestamp) -> Option<(u8, Option<Timestamp>)> {
        let (began, done_before) = *self.began.get_or_insert((now, done));
        self.percent = ((done / total.max(1.0)) * 100.0).clamp(0.0, 99.0) as u8;
        let is_due = self.told.is_none_or(|told| self.percent >= told.saturating_add(STEP));
        if !is_due {
            return None;
        }
        self.told = Some(self.percent);
        let elapsed = now.since(began);
        let gained = done - done_before;
        let is_measured = elapsed >= MEASURED_AFTER && gained > 0.0;
        let left = is_measured.then(|| elapsed.as_secs_f64() * (total - done).max(0.0) / gained);
        let ready_at = left.and_then(|left| Duration::try_from_secs_f64(left).ok()).map(|left| now + left);
        Some((self.percent, ready_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn steps_are_told_once_and_the_end_is_seen_coming() {
        let mut pace = Pace::default();
        assert_eq!(pace.tell(20.0, 100.0, at(0)), Some((20, None)), "nothing is measured yet");
        assert_eq!(pace.tell(24.0, 100.0, at(5)), None);
        assert_eq!(pace.tell(30.0, 100.0, at(10)), Some((30, Some(at(80)))), "a percent a second");
        assert_eq!(pace.tell(30.0, 100.0, at(90)), None);
        assert_eq!(pace.tell(100.0, 100.0, at(90)), Some((99, Some(at(90)))), "done is told by others");
        assert_eq!(pace.percent(), 99);
    }
}
