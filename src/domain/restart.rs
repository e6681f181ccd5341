//! When a failed child is started again: a pure function of what failed and when.
use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// It was done, idle or asked to stop.
    Finished,
    /// It panicked, was killed, or its `handle` returned an error: its state could no longer be trusted.
    Failed,
}

/// What the supervisor does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the end was expected.
    Forget,
    /// Start it again after this delay.
    Restart {
        /// How long to wait first.
        after: Duration,
    },
    /// It failed too often: leave it down and say so.
    GiveUp,
}

/// Restart intensity: at most `restarts_max` within `window`, the delay doubling from `backoff_first` to `backoff_max`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Most restarts within `window`.
    pub restarts_max: usize,
    /// The time looked back on.
    pub window: Duration,
    /// Delay before the first restart.
    pub backoff_first: Duration,
    /// Longest delay.
    pub backoff_max: Duration,
}

impl Default for RestartPolicy {
    /// Five restarts in a minute, after 100 ms, 200 ms, … up to 5 s: a transient fault of a disk or database passes in
    /// that time, a bug does not.
    fn default() -> Self {
        Self {
            restarts_max: 5,
            window: Duration::from_secs(60),
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
        }
    }
}

/// One child's restarts within the window.
#[derive(Debug, Clone, Default)]
pub struct RestartHistory {
    restarts: VecDeque<Timestamp>,
}

impl RestartHistory {
    /// The last restart.
    pub fn last(&self) -> Option<Timestamp> {
        self.restarts.back().copied()
    }
}

impl RestartPolicy {
    /// Whether all restarts of the window are used up at `now`.
    pub fn is_exhausted(&self, history: &mut RestartHistory, now: Timestamp) -> bool {
        while history.restarts.front().is_some_and(|at| now.since(*at) > self.window) {
            history.restarts.pop_front();
        }
        history.restarts.len() >= self.restarts_max
    }

    /// Decides on a child that ended at `now`, and remembers a restart.
    pub fn decide(&self, history: &mut RestartHistory, reason: StopReason, now: Timestamp) -> Decision {
        if reason == StopReason::Finished {
            return Decision::Forget;
        }
        if self.is_exhausted(history, now) {
            return Decision::GiveUp;
        }
        let doublings = u32::try_from(history.restarts.len()).unwrap_or(u32::MAX);
        let after = self.backoff_first.saturating_mul(2u32.saturating_pow(doublings)).min(self.backoff_max);
        history.restarts.push_back(now);
        Decision::Restart { after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn expected_ends_are_forgotten() {
        let mut history = RestartHistory::default();
        assert_eq!(RestartPolicy::default().decide(&mut history, StopReason::Finished, at(0)), Decision::Forget);
    }

    #[test]
    fn delay_doubles_and_the_cap_holds_until_the_window_passes() {
        let policy =
            RestartPolicy { restarts_max: 3, backoff_max: Duration::from_millis(250), ..RestartPolicy::default() };
        let mut history = RestartHistory::default();
        let mut decide = |secs| policy.decide(&mut history, StopReason::Failed, at(secs));
        assert_eq!(decide(0), Decision::Restart { after: Duration::from_millis(100) });
        assert_eq!(decide(1), Decision::Restart { after: Duration::from_millis(200) });
        assert_eq!(decide(2), Decision::Restart { after: Duration::from_millis(250) });
        assert_eq!(decide(3), Decision::GiveUp);
        assert_eq!(decide(120), Decision::Restart { after: Duration::from_millis(100) });
    }
}
