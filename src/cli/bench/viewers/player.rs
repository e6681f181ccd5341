//! One viewer: a player of low latency, but for the picture.
//!
//! Each track is followed on two lanes. One waits for the playlist's next part by a blocking reload, the other has meanwhile
//! asked for the part that the last playlist hinted at. Then come the listed parts that are not there yet. What is played is
//! what was fetched: it begins PART-HOLD-BACK behind the end, and stands still whenever it has caught up.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::histogram::Histogram;
use super::lane::{Lane, LaneError, Server, SharedConnection};
use super::playlist::{MediaPlaylist, Part, Position, tracks};

/// Pause after something went wrong.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Failures in a row after which a viewer gives up.
const FAILURES_MAX: u32 = 10;
/// A wait too short for anybody to notice.
const STALL_MIN: f64 = 0.02;
/// How long it is remembered when a part was first seen, in segments.
const REMEMBERED_SEGMENTS: u64 = 20;

/// What all viewers count together.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) watching: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) parts: AtomicU64,
    /// Parts that came because they were hinted at.
    pub(super) hinted: AtomicU64,
    /// Parts that were listed and could not be had, or that no playlist listed.
    pub(super) lost: AtomicU64,
    /// Parts that the publisher's absence left out.
    pub(super) gaps: AtomicU64,
    pub(super) stalls: AtomicU64,
    pub(super) stalled_ms: AtomicU64,
    /// Requests other than for parts that went wrong.
    pub(super) failures: AtomicU64,
    pub(super) gave_up: AtomicU64,
    pub(super) delays: Histogram,
    first_seen: Mutex<HashMap<(usize, Position), Instant>>,
}

impl Totals {
    /// When any viewer first knew that a part was there.
    fn first_seen(&self, track: usize, position: Position, now: Instant) -> Instant {
        let mut seen = self.first_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains_key(&(track, position)) {
            seen.retain(|(_, (segment, _)), _| segment + REMEMBERED_SEGMENTS > position.0);
        }
        let first = seen.entry((track, position)).or_insert(now);
        *first = now.min(*first);
        *first
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Watches until the stream ends or too much goes wrong.
pub(super) async fn watch(server: Arc<Server>, path: Arc<str>, totals: Arc<Totals>) {
    let shared = SharedConnection::default();
    let mut lane = Lane::new(&server, &shared);
    let mut failures = 0;
    let multivariant = loop {
        match lane.text(&path).await {
            Ok((text, _)) => break text,
            Err(error) => note_failure(&totals, &error),
        }
        failures += 1;
        if failures >= FAILURES_MAX {
            return add(&totals.gave_up, 1);
        }
        tokio::time::sleep(RETRY_AFTER).await;
    };
    drop(lane);
    add(&totals.watching, 1);
    let following = tracks(&multivariant).into_iter().enumerate().map(|(number, uri)| {
        let lanes = [(); 2].map(|()| Lane::new(&server, &shared));
        Track::new(number, resolve(&path, &uri), lanes, Arc::clone(&totals)).follow()
    });
    let has_given_up = futures::future::join_all(following).await.contains(&false);
    totals.watching.fetch_sub(1, Ordering::Relaxed);
    add(&totals.gave_up, u64::from(has_given_up));
}

/// Counts what went wrong.
fn note_failure(totals: &Totals, error: &LaneError) {
    tracing::debug!(%error, "a request failed");
    add(&totals.failures, 1);
}

/// The path that a relative URI of a playlist names.
fn resolve(base: &str, uri: &str) -> String {
    if uri.starts_with('/') {
        return uri.to_owned();
    }
    let dir = base.split('?').next().unwrap_or(base);
    format!("{}/{uri}", dir.rsplit_once('/').map_or("", |(dir, _)| dir))
}

/// A track that is followed.
struct Track {
    number: usize,
    path: String,
    playlists: Lane,
    parts: Lane,
    totals: Arc<Totals>,
    /// The next part to be fetched, once it is known where to begin.
    next: Option<Position>,
    buffer: Buffer,
}

impl Track {
    fn new(number: usize, path: String, [playlists, parts]: [Lane; 2], totals: Arc<Totals>) -> Self {
        Self { number, path, playlists, parts, totals, next: None, buffer: Buffer::default() }
    }

    /// Follows it to its end; false when it gave up before.
    async fn follow(mut self) -> bool {
        let (mut playlist, mut failures): (Option<MediaPlaylist>, _) = (None, 0);
        loop {
            let hint = playlist.as_ref().and_then(|playlist| playlist.hint.clone());
            let path = reload_path(&self.path, playlist.as_ref());
            let (reloaded, hinted) =
                tokio::join!(self.playlists.text(&path), fetch_hinted(&mut self.parts, &self.path, hint));
            add(&self.totals.bytes, hinted.as_ref().map_or(0, |hinted| hinted.bytes));
            let read = reloaded.and_then(|(text, bytes)| {
                add(&self.totals.bytes, bytes);
                MediaPlaylist::parse(&text).ok_or(LaneError::NoText)
            });
            match read {
                Ok(read) => {
                    failures = 0;
                    self.take(&read, hinted.as_ref()).await;
                    if read.has_ended {
                        return true;
                    }
                    playlist = Some(read);
                }
                Err(error) => {
                    note_failure(&self.totals, &error);
                    failures += 1;
                    if failures >= FAILURES_MAX {
                        return false;
                    }
                    playlist = None;
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Fetches what is new in a playlist and not there already.
    async fn take(&mut self, playlist: &MediaPlaylist, hinted: Option<&Hinted>) {
        let listed = Instant::now();
        let begin = match self.next {
            Some(next) => playlist.parts.iter().position(|part| part.position >= next).unwrap_or(playlist.parts.len()),
            None => {
                let Some(start) = playlist.start() else { return };
                if let Some(init) = &playlist.init
                    && let Err(error) = self.parts.bytes(&resolve(&self.path, init)).await
                {
                    note_failure(&self.totals, &error);
                }
                start
            }
        };
        for part in playlist.parts.iter().skip(begin) {
            self.totals.first_seen(self.number, part.position, listed);
        }
        for part in playlist.parts.iter().skip(begin) {
            self.count_holes(part.position);
            if part.is_gap {
                add(&self.totals.gaps, 1);
                self.buffer.add(part.duration, &self.totals);
            } else {
                self.fetch(part, hinted.filter(|hinted| hinted.uri == part.uri)).await;
            }
        }
        self.buffer.start();
    }

    async fn fetch(&mut self, part: &Part, hinted: Option<&Hinted>) {
        let arrived = match hinted {
            Some(hinted) => {
                add(&self.totals.hinted, 1);
                self.totals.first_seen(self.number, part.position, hinted.head);
                hinted.arrived
            }
            None => match self.parts.bytes(&resolve(&self.path, &part.uri)).await {
                Ok(taken) => {
                    add(&self.totals.bytes, taken.bytes);
                    Instant::now()
                }
                Err(error) => {
                    tracing::debug!(%error, uri = part.uri, "a part was lost");
                    return add(&self.totals.lost, 1);
                }
            },
        };
        add(&self.totals.parts, 1);
        let available = self.totals.first_seen(self.number, part.position, arrived);
        // What was there before this viewer came is history.
        if self.buffer.has_started() {
            self.totals.delays.record(arrived.saturating_duration_since(available));
        }
        self.buffer.add(part.duration, &self.totals);
    }

    /// Parts must follow one another: by number, or as the first of the next segment.
    fn count_holes(&mut self, position: Position) {
        let follows = |next: Position| position == next || position == (next.0 + 1, 0);
        if self.next.is_some_and(|next| !follows(next)) {
            add(&self.totals.lost, 1);
        }
        self.next = Some((position.0, position.1 + 1));
    }
}

/// The path of the next reload: blocking once it is known what comes next.
fn reload_path(path: &str, playlist: Option<&MediaPlaylist>) -> String {
    let Some(playlist) = playlist else { return path.to_owned() };
    let (segment, part) = playlist.next;
    let skip = if playlist.can_skip { "&_HLS_skip=YES" } else { "" };
    format!("{path}?_HLS_msn={segment}&_HLS_part={part}{skip}")
}

/// A part that came before it was listed.
struct Hinted {
    uri: String,
    head: Instant,
    arrived: Instant,
    bytes: u64,
}

/// Asks for the part that is hinted at. A hint may come to nothing.
async fn fetch_hinted(lane: &mut Lane, playlist: &str, hint: Option<String>) -> Option<Hinted> {
    let uri = hint?;
    let taken = lane.bytes(&resolve(playlist, &uri)).await.ok()?;
    Some(Hinted { uri, head: taken.head, arrived: Instant::now(), bytes: taken.bytes })
}

/// What was fetched and not played yet.
#[derive(Debug, Default)]
struct Buffer {
    fetched_secs: f64,
    started: Option<Instant>,
    stalled_secs: f64,
}

impl Buffer {
    /// Begins to play what is there.
    fn start(&mut self) {
        if self.fetched_secs > 0.0 {
            self.started.get_or_insert_with(Instant::now);
        }
    }

    fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// More to play; what had been missing until now was a stall.
    fn add(&mut self, secs: f64, totals: &Totals) {
        if let Some(started) = self.started {
            let missing = started.elapsed().as_secs_f64() - self.stalled_secs - self.fetched_secs;
            if missing > STALL_MIN {
                self.stalled_secs += missing;
                add(&totals.stalls, 1);
                add(&totals.stalled_ms, (missing * 1000.0) as u64);
            }
        }
        self.fetched_secs += secs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_uris_are_resolved() {
        assert_eq!(resolve("/v/x/master.m3u8?a=b", "v0/media.m3u8"), "/v/x/v0/media.m3u8");
        assert_eq!(resolve("/v/x/v0/media.m3u8", "/other"), "/other");
    }

    #[test]
    fn a_reload_waits_for_what_comes_next() {
        let playlist = MediaPlaylist { next: (11, 2), can_skip: true, ..MediaPlaylist::default() };
        assert_eq!(reload_path("/m", Some(&playlist)), "/m?_HLS_msn=11&_HLS_part=2&_HLS_skip=YES");
        assert_eq!(reload_path("/m", None), "/m");
    }

    #[test]
    fn playing_on_without_media_is_a_stall() {
        let totals = Totals::default();
        let ago = |secs| Instant::now().checked_sub(Duration::from_secs_f64(secs));
        let mut buffer = Buffer { fetched_secs: 1.0, started: ago(0.9), stalled_secs: 0.0 };
        buffer.add(0.25, &totals);
        assert_eq!(totals.stalls.load(Ordering::Relaxed), 0);
        buffer.started = ago(2.0);
        buffer.add(0.25, &totals);
        assert_eq!(totals.stalls.load(Ordering::Relaxed), 1);
        assert!((740..800).contains(&totals.stalled_ms.load(Ordering::Relaxed)));
        buffer.add(0.25, &totals);
        assert_eq!(totals.stalls.load(Ordering::Relaxed), 1, "said once");
    }
}
