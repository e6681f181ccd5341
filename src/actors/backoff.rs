//! Pauses between attempts at other servers.
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// First pause before a server is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A connection that lasted this long was no failed attempt.
const SETTLED: Duration = Duration::from_secs(30);

/// Ever longer pauses, from the first one again after a connection that lasted.
pub(super) struct Backoff {
    pause: Duration,
    began: Instant,
}

impl Backoff {
    /// Before the first attempt.
    pub(super) fn new() -> Self {
        Self { pause: RETRY.0, began: Instant::now() }
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// It has failed: waits until it is time for the next; `false` when there is to be none.
    pub(super) async fn wait(&mut self, stop: &CancellationToken) -> bool {
        if self.began.elapsed() > SETTLED {
            self.pause = RETRY.0;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY.1);
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = stop.cancelled() => false,
        }
    }
}
