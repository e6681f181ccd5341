//! The tap of a broadcast: its canonical frames as they come, behind the timeline's repairs, for readers that are not given
//! parts. All readers share one ring and have no more than a place in it. While nobody reads, it holds what has come since the
//! newest key frame, so that whoever begins to read sees a picture at once.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::asset::{Ticks, TrackKind};
use crate::media::frames::{Frame, TrackConfig};
use crate::media::live::broadcast::frame_is_sane;
use crate::media::live::ring::MICROS;

/// Media that are kept for readers which are behind, microseconds.
const KEPT_MICROS: i64 = 3_000_000;
/// Bytes held at most: five seconds at 50 Mb/s. What is oldest goes first, even when readers then have to wait for a key frame.
const BYTES_MAX: usize = 32 << 20;
/// Frames held at most.
const FRAMES_MAX: usize = 20_000;

/// What frames are of, from one change of the tracks to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracks {
    /// The epoch.
    pub epoch: u32,
    /// By number.
    pub configs: Vec<TrackConfig>,
}

impl Tracks {
    /// The track of pictures that leads.
    pub fn leader(&self) -> Option<usize> {
        self.configs.iter().position(|config| config.kind() == TrackKind::Video)
    }
}

/// A frame of the tap.
#[derive(Debug, Clone)]
pub struct Tapped {
    /// The tracks that there are.
    pub tracks: Arc<Tracks>,
    /// Number of the one that this is of.
    pub track: usize,
    /// The frame; its times are those of the stream, over all epochs.
    pub frame: Frame,
}

impl Tapped {
    /// Whether one can begin to read here.
    pub fn is_start(&self) -> bool {
        match self.tracks.leader() {
            Some(leader) => leader == self.track && self.frame.keyframe,
            None => true,
        }
    }

    /// Its decode time in another timescale.
    pub fn dts(&self, timescale: u32) -> i64 {
        self.rescaled(self.frame.dts, timescale)
    }

    /// Its presentation time in another timescale.
    pub fn pts(&self, timescale: u32) -> i64 {
        self.rescaled(self.frame.pts, timescale)
    }

    fn rescaled(&self, value: i64, timescale: u32) -> i64 {
        let own = self.tracks.configs.get(self.track).map_or(MICROS, |config| config.timescale);
        Ticks { value, timescale: own }.rescale(timescale)
    }
}

/// A reader's place.
#[derive(Debug)]
pub struct Cursor {
    next: u64,
    /// It goes on with the next key frame.
    is_waiting: bool,
    skips: u64,
    _counted: Arc<()>,
}

impl Cursor {
    /// How often frames were gone before they were read.
    pub fn skips(&self) -> u64 {
        self.skips
    }
}

/// The ring.
#[derive(Debug, Default)]
pub struct Tap {
    ring: VecDeque<Tapped>,
    /// Number of the oldest frame that there is.
    first: u64,
    /// Number of the newest frame that one can begin with.
    start: Option<u64>,
    bytes: usize,
    tracks: Option<Arc<Tracks>>,
    /// Pictures of the epoch cannot be decoded before its first key frame.
    is_undecodable: bool,
    readers: Arc<()>,
}

impl Tap {
    /// What comes from now on is of these tracks.
    pub(super) fn begin(&mut self, epoch: u32, configs: Vec<TrackConfig>) {
        let tracks = Tracks { epoch, configs };
        self.is_undecodable = tracks.leader().is_some();
        self.tracks = Some(Arc::new(tracks));
    }

    /// The next frame. One of no track that there is, or at a time that nobody can compute with, is left out.
    pub(super) fn push(&mut self, track: usize, frame: &Frame) {
        let Some(tracks) = self.tracks.clone() else { return };
        if !tracks.configs.get(track).is_some_and(|config| frame_is_sane(frame, config.timescale)) {
            return;
        }
        let tapped = Tapped { tracks, track, frame: frame.clone() };
        let is_start = tapped.is_start();
        self.is_undecodable &= !is_start;
        if self.is_undecodable && tapped.tracks.leader() == Some(track) {
            return;
        }
        if is_start {
            self.start = Some(self.end());
        }
        self.bytes += frame.payload.len();
        self.ring.push_back(tapped);
        self.trim();
    }

    /// Forgets all that there is: nobody is to begin with it any more.
    pub(super) fn clear(&mut self) {
        (self.first, self.start, self.bytes) = (self.end(), None, 0);
        self.ring.clear();
    }

    /// The epoch that comes now.
    pub(super) fn epoch(&self) -> Option<u32> {
        self.tracks.as_ref().map(|tracks| tracks.epoch)
    }

    /// Number of the next frame.
    pub fn end(&self) -> u64 {
        self.first + self.ring.len() as u64
    }

    /// Whether somebody reads.
    pub fn is_read(&self) -> bool {
        Arc::strong_count(&self.readers) > 1
    }

    fn trim(&mut self) {
        let start = self.start.unwrap_or(self.end());
        let newest = self.ring.back().map_or(0, |newest| newest.dts(MICROS));
        let oldest = if self.is_read() { newest - KEPT_MICROS } else { i64::MAX };
        while self.first < start && self.ring.front().is_some_and(|front| front.dts(MICROS) < oldest) {
            self.pop();
        }
        while self.bytes > BYTES_MAX || self.ring.len() > FRAMES_MAX {
            self.pop();
        }
        self.start = self.start.filter(|start| *start >= self.first);
    }

    fn pop(&mut self) {
        let Some(gone) = self.ring.pop_front() else { return };
        self.first += 1;
        self.bytes -= gone.frame.payload.len();
    }

    /// Whether there is something to begin with.
    pub fn can_begin(&self) -> bool {
        self.start.is_some()
    }

    /// Begins to read with the newest key frame, or the next one.
    pub fn join(&self) -> Cursor {
        Cursor { next: self.first, is_waiting: true, skips: 0, _counted: Arc::clone(&self.readers) }
    }

    /// What has come since the last time. A reader that finds its place gone goes on with the newest key frame.
    pub fn read<'a>(&'a self, cursor: &mut Cursor) -> impl Iterator<Item = Tapped> + use<'a> {
        if cursor.next < self.first && !cursor.is_waiting {
            cursor.is_waiting = true;
            cursor.skips += 1;
            metrics::counter!("playhouse_live_tap_skips_total").increment(1);
        }
        if cursor.is_waiting {
            cursor.is_waiting = self.start.is_none();
            cursor.next = self.start.unwrap_or(self.end());
        }
        let from = usize::try_from(cursor.next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        cursor.next = self.end();
        self.ring.iter().skip(from).cloned()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::live::testing::{audio as aac, video as avc};

    fn frame(dts: i64, keyframe: bool, bytes: usize) -> Frame {
        Frame { dts, pts: dts, duration: 0, keyframe, payload: Bytes::from(vec![7; bytes]) }
    }

    fn tap() -> Tap {
        let mut tap = Tap::default();
        tap.begin(1, vec![avc(), aac()]);
        tap
    }

    /// Ten frames a second, a key frame each second, until then.
    fn play(tap: &mut Tap, tenths: std::ops::Range<i64>) {
        for tenth in tenths {
            tap.push(0, &frame(tenth * 9000, tenth % 10 == 0, 100));
            tap.push(1, &frame(tenth * 4800, true, 10));
        }
    }

    fn times(tap: &Tap, cursor: &mut Cursor) -> Vec<i64> {
        tap.read(cursor).filter(|tapped| tapped.track == 0).map(|tapped| tapped.dts(10)).collect()
    }

    #[test]
    fn readers_begin_with_the_newest_key_frame_and_miss_nothing() {
        let mut tap = tap();
        play(&mut tap, 5..37);
        assert_eq!((tap.ring.len(), tap.is_read()), (14, false), "what has come since the newest key frame");
        let (mut one, mut other) = (tap.join(), tap.join());
        assert_eq!(times(&tap, &mut one), (30..37).collect::<Vec<_>>());
        play(&mut tap, 37..55);
        assert_eq!(times(&tap, &mut one), (37..55).collect::<Vec<_>>());
        assert_eq!(times(&tap, &mut other), (50..55).collect::<Vec<_>>(), "it had not begun to read");
        assert_eq!((one.skips(), other.skips()), (0, 0));
        drop((one, other));
        play(&mut tap, 55..61);
        assert_eq!(tap.ring.len(), 2, "{:?}", tap.first);
    }

    #[test]
    fn who_is_too_far_behind_goes_on_with_a_key_frame() {
        let mut tap = tap();
        let mut cursor = tap.join();
        play(&mut tap, 0..5);
        assert_eq!(times(&tap, &mut cursor).len(), 5);
        play(&mut tap, 5..100);
        assert_eq!(times(&tap, &mut cursor), (90..100).collect::<Vec<_>>());
        assert_eq!(cursor.skips(), 1);
    }

    #[test]
    fn bytes_are_bounded_whatever_comes() {
        let mut tap = tap();
        let mut cursor = tap.join();
        tap.push(0, &frame(0, true, 1 << 20));
        for number in 1..100 {
            tap.push(0, &frame(number * 9000, false, 1 << 20));
        }
        assert!(tap.bytes <= BYTES_MAX);
        assert!(times(&tap, &mut cursor).is_empty(), "what there is begins with no key frame");
        tap.push(0, &frame(100 * 9000, true, 1));
        assert_eq!(times(&tap, &mut cursor), [100]);
    }

    #[test]
    fn another_epoch_begins_with_its_key_frame() {
        let mut tap = tap();
        let mut cursor = tap.join();
        play(&mut tap, 0..12);
        tap.begin(2, vec![avc()]);
        tap.push(0, &frame(13 * 9000, false, 1));
        tap.push(0, &frame(14 * 9000, true, 1));
        let read: Vec<_> = tap.read(&mut cursor).map(|tapped| (tapped.tracks.epoch, tapped.dts(10))).collect();
        assert_eq!(read.last(), Some(&(2, 14)));
        assert!(!read.contains(&(2, 13)), "{read:?}");
    }

    #[test]
    fn sound_alone_can_be_begun_anywhere() {
        let mut tap = Tap::default();
        tap.begin(1, vec![aac()]);
        (0..50).for_each(|number| tap.push(0, &frame(number * 1024, true, 10)));
        let mut cursor = tap.join();
        assert_eq!((tap.ring.len(), tap.read(&mut cursor).count()), (1, 1));
    }
}
