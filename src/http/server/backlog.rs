//! Answers that an HTTP/2 client asked for and does not take.
//!
//! With HTTP/1.1 such a client fills its connection, which is noticed there. With HTTP/2 it can keep its windows shut and
//! the connection alive, while each answer holds the piece that comes next. So every answer notes when a piece of it was
//! handed over, until the connection comes back for more; when one waits too long, the connection is closed.
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// Looks at a connection's answers per time-out: how exact it is.
const LOOKS: u32 = 4;

/// The answers of one connection of which a piece was handed over and not taken yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Backlog(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// As many as there are answers under way: the connection's streams are bounded.
    since: Vec<(u64, Instant)>,
    last_number: u64,
}

impl Backlog {
    /// Ends when a piece has waited for this long.
    pub(super) async fn stalled(&self, timeout: Duration) {
        loop {
            tokio::time::sleep(timeout / LOOKS).await;
            if self.lock().since.iter().any(|(_, since)| since.elapsed() >= timeout) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        let mut waiting = self.lock();
        waiting.last_number += 1;
        waiting.last_number
    }

    fn handed_over(&self, number: u64) {
        self.lock().since.push((number, Instant::now()));
    }

    fn taken(&self, number: u64) {
        self.lock().since.retain(|(waiting, _)| *waiting != number);
    }
}

/// An answer's body, noted in its connection's backlog.
pub(super) struct Noted<B> {
    body: B,
    backlog: Option<(Backlog, u64)>,
    is_waiting: bool,
}

impl<B> Noted<B> {
    /// Notes `body` in the backlog of its connection, when that has one.
    pub(super) fn new(body: B, backlog: Option<&Backlog>) -> Self {
        Self { body, backlog: backlog.map(|backlog| (backlog.clone(), backlog.number())), is_waiting: false }
    }

    fn note(&mut self, is_waiting: bool) {
        let Some((backlog, number)) = &self.backlog else { return };
        match (self.is_waiting, is_waiting) {
            (false, true) => backlog.handed_over(*number),
            (true, false) => backlog.taken(*number),
            _ => {}
        }
        self.is_waiting = is_waiting;
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Noted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.note(false);
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.note(matches!(polled, Poll::Ready(Some(Ok(_)))));
        polled
    }

    /// Not with the last piece already: the connection comes back once more when that was taken.
    fn is_end_stream(&self) -> bool {
        !self.is_waiting && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Noted<B> {
    fn drop(&mut self) {
        self.note(false);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(200);

    fn piece(backlog: &Backlog) -> Noted<Full<Bytes>> {
        Noted::new(Full::new(Bytes::from_static(b"piece")), Some(backlog))
    }

    #[tokio::test]
    async fn a_piece_that_is_not_taken_is_a_stall() {
        let backlog = Backlog::default();
        let (began, mut body) = (Instant::now(), piece(&backlog));
        assert!(!body.is_end_stream() && body.frame().await.is_some());
        assert!(!body.is_end_stream(), "not before the piece is taken");
        backlog.stalled(TIMEOUT).await;
        assert!(began.elapsed() >= TIMEOUT);
    }

    #[tokio::test]
    async fn answers_taken_or_given_up_wait_no_longer() {
        let backlog = Backlog::default();
        let (mut taken, mut given_up) = (piece(&backlog), piece(&backlog));
        assert!(taken.frame().await.is_some() && given_up.frame().await.is_some());
        assert_eq!(backlog.lock().since.len(), 2);
        assert!(taken.frame().await.is_none() && taken.is_end_stream());
        drop(given_up);
        assert_eq!(backlog.lock().since.len(), 0);
        assert!(tokio::time::timeout(3 * TIMEOUT, backlog.stalled(TIMEOUT)).await.is_err());
    }
}
