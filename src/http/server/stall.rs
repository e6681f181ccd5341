//! Bodies may take hours, but not stand still.
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// Time since the last progress, measured only while waiting. Progress is a store; the timer is touched once per time-out.
pub(super) struct StallTimer {
    timeout: Duration,
    waiting_since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl StallTimer {
    /// Runs out after `timeout` without progress.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, waiting_since: None, sleep: None }
    }

    /// Something moved.
    pub(super) fn progressed(&mut self) {
        self.waiting_since = None;
    }

    /// To be polled while nothing moves; ready when that lasts too long.
    pub(super) fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.waiting_since.get_or_insert_with(Instant::now) + self.timeout;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        loop {
            ready!(sleep.as_mut().poll(context));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// The body stopped arriving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no byte of the request's body arrived in time")]
struct BodyStalled;

/// Whether an error, or what caused it, is a stalled request body.
pub(crate) fn is_stall(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<BodyStalled>())
}

/// A request body that fails when no piece of it arrives in time.
pub(super) struct StallGuard<B> {
    body: B,
    timer: StallTimer,
}

impl<B> StallGuard<B> {
    /// Allows `timeout` between two pieces.
    pub(super) fn new(body: B, timeout: Duration) -> Self {
        Self { body, timer: StallTimer::new(timeout) }
    }
}

impl<B> Body for StallGuard<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                this.timer.progressed();
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => this.timer.poll_stalled(context).map(|()| Some(Err(BodyStalled.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
