//! The operating system's clock and randomness behind their ports.
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::ports::{Clock, Entropy};
use crate::domain::time::Timestamp;

/// The system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The system's random number generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // A machine without randomness cannot make one secret: there is nothing sensible to go on with.
        aws_lc_rs::rand::fill(bytes).expect("the operating system gives random bytes");
    }
}
