//! What is made of a live stream for one kind of reader, by whoever of them comes first: a bounded ring that all of them share.
//! A reader has a place in it, and asks again for what was lost on the way.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long pieces are kept besides those since the newest key frame.
const KEPT: Duration = Duration::from_secs(4);
/// Bytes kept at most.
const BYTES_MAX: usize = 48 << 20;

/// How much faster than they came pieces are sent that had come before their reader.
const CATCH_UP: u32 = 4;

/// When a reader is sent what: what had come before it one after the other, and what comes then as it comes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// When the first piece was made, and when it was sent.
    made: Instant,
    begun: Instant,
}

impl Pace {
    /// Of a reader that begins now with a piece that was made then.
    pub fn new(made: Instant, now: Instant) -> Self {
        Self { made, begun: now }
    }

    /// When it began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// When a piece is to be sent that was made then.
    pub fn due(&self, made: Instant) -> Instant {
        let age = self.begun.saturating_duration_since(self.made);
        let since = made.saturating_duration_since(self.made);
        let caught_up = age * CATCH_UP / (CATCH_UP - 1);
        if since >= caught_up { made } else { self.begun + since / CATCH_UP }
    }
}

/// A piece of a tape.
pub trait Piece: Clone {
    /// When its media came.
    fn made(&self) -> Instant;
    /// How much memory it takes.
    fn bytes(&self) -> usize;
}

/// What a reader finds at its place.
#[derive(Debug)]
pub enum Found<T> {
    /// What follows, none of it when nothing has come yet.
    Pieces(Vec<T>),
    /// Its place is gone. It may go on there, when a key frame has come.
    Gone(Option<u64>),
}

/// A ring of pieces.
#[derive(Debug)]
pub struct Tape<T> {
    ring: VecDeque<T>,
    /// Number of the oldest piece that there is.
    first: u64,
    /// Number of the newest piece that one can begin with.
    start: Option<u64>,
    bytes: usize,
}

impl<T> Default for Tape<T> {
    fn default() -> Self {
        Self { ring: VecDeque::new(), first: 0, start: None, bytes: 0 }
    }
}

impl<T: Piece> Tape<T> {
    /// Number of the next piece.
    pub fn end(&self) -> u64 {
        self.first + self.ring.len() as u64
    }

    /// Number of the newest piece that one can begin with.
    pub fn start(&self) -> Option<u64> {
        self.start
    }

    /// The newest piece.
    pub fn newest(&self) -> Option<&T> {
        self.ring.back()
    }

    /// The newest piece that one can begin with, and its number.
    pub fn beginning(&self) -> Option<(u64, &T)> {
        let start = self.start?;
        let index = usize::try_from(start.checked_sub(self.first)?).ok()?;
        Some((start, self.ring.get(index)?))
    }

    /// The first piece that this is true of.
    pub fn find(&self, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        self.ring.iter().find(|piece| is_it(piece))
    }

    /// How many bits a second come, once there is more than a second of it.
    pub fn bits_per_sec(&self) -> Option<f64> {
        let span = self.ring.back()?.made().saturating_duration_since(self.ring.front()?.made());
        (span >= Duration::from_secs(1)).then(|| self.bytes as f64 * 8.0 / span.as_secs_f64())
    }

    /// One can begin with the piece that comes next.
    pub fn begin(&mut self) {
        self.start = Some(self.end());
    }

    /// The next piece.
    pub fn push(&mut self, piece: T) {
        self.bytes += piece.bytes();
        self.ring.push_back(piece);
    }

    /// What is there from this piece on, so many of them at most.
    pub fn from(&self, number: u64, most: usize) -> Found<T> {
        let Some(behind) = number.checked_sub(self.first) else { return Found::Gone(self.start) };
        let behind = usize::try_from(behind).unwrap_or(usize::MAX);
        Found::Pieces(self.ring.iter().skip(behind).take(most).cloned().collect())
    }

    /// Forgets all that there is: nobody is to begin with it any more.
    pub fn clear(&mut self) {
        (self.first, self.start, self.bytes) = (self.end(), None, 0);
        self.ring.clear();
    }

    /// Forgets what is old, and what is too much.
    pub fn trim(&mut self, now: Instant) {
        let start = self.start.unwrap_or(self.end());
        let is_old = |piece: &T| now.saturating_duration_since(piece.made()) > KEPT;
        while self.first < start && self.ring.front().is_some_and(is_old) {
            self.pop();
        }
        while self.bytes > BYTES_MAX {
            self.pop();
        }
        self.start = self.start.filter(|start| *start >= self.first);
    }

    fn pop(&mut self) {
        let Some(gone) = self.ring.pop_front() else { return };
        self.first += 1;
        self.bytes -= gone.bytes();
    }
}
