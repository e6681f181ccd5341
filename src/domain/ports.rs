//! What the rest of the program is asked for: traits that `storage` and `media` implement. Methods say *what*; SQL, file
//! names and buckets stay behind them, so that PostgreSQL and S3 come in without touching a caller.
use super::time::Timestamp;

mod catalog;
mod media;
mod storage;

pub use catalog::*;
pub use media::*;
pub use storage::*;

/// Wall-clock time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Randomness fit for secrets.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}
