//! What all who drive a worker process of a live stream have in common: how it is heard, why it is of no more use, and how long one
//! waits before another is started.
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::media::work::live::{FromLadder, HEAD_BYTES, ToLadder, head};

/// First pause before another worker is started, and the longest.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(20));
/// A worker that has run for this long had no trouble with starting.
const SETTLED: Duration = Duration::from_secs(10);

/// Why a worker of a live stream is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum LiveWorkerError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the worker makes nothing any more")]
    Hung,
    #[error("the worker says what makes no sense")]
    Nonsense,
}

/// What the worker says next.
pub(super) async fn hear_next(reader: &mut (impl AsyncRead + Unpin)) -> Result<FromLadder, LiveWorkerError> {
    let mut bytes = [0; HEAD_BYTES];
    reader.read_exact(&mut bytes).await?;
    let (kind, length) = head(bytes).map_err(|_| LiveWorkerError::Nonsense)?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    FromLadder::decode(kind, body.into()).map_err(|_| LiveWorkerError::Nonsense)
}

/// Tells the worker what comes, until nothing comes any more: what it is told for each, and since when it owes something.
pub(super) async fn feed<T>(
    from: &mut mpsc::Receiver<T>,
    mut writer: impl AsyncWrite + Unpin,
    watchdog: Duration,
    take: impl Fn(T) -> (Vec<ToLadder>, Option<std::time::Instant>),
) -> Result<(), LiveWorkerError> {
    while let Some(next) = from.recv().await {
        let (messages, waiting) = take(next);
        for message in messages {
            writer.write_all(&message.encode()).await?;
        }
        if waiting.is_some_and(|since| since.elapsed() > watchdog) {
            return Err(LiveWorkerError::Hung);
        }
    }
    Ok(())
}

/// Pauses between one worker and the next, longer while they end early.
pub(super) struct Restarts {
    pause: Duration,
    started: Instant,
}

impl Restarts {
    pub(super) fn new() -> Self {
        Self { pause: RESTART.0, started: Instant::now() }
    }

    /// One is started.
    pub(super) fn begin(&mut self) {
        self.started = Instant::now();
    }

    /// It has ended: waits until it is time for another.
    pub(super) async fn wait(&mut self) {
        self.pause = if self.started.elapsed() > SETTLED { RESTART.0 } else { (self.pause * 2).min(RESTART.1) };
        tokio::time::sleep(self.pause).await;
    }
}
