//! A publisher's lineup: the tracks it has, in order, and what it sends until they are known. Frames that come before all tracks
//! have told their configuration are held for a moment, so that viewers' playlists list all of them from the start.
use std::cmp::Reverse;
use std::collections::VecDeque;

use bytes::Bytes;

use super::broadcast::{ToldCue, Visit};
use super::timeline::{IngestClock, Stamp};
use crate::domain::asset::TrackKind;
use crate::media::frames::TrackConfig;

/// Tracks are waited for as long as this, milliseconds of the publisher's time.
const WAIT_MS: i64 = 1000;
const LONG_WAIT_MS: i64 = 10_000;
/// Bytes held meanwhile at most.
const HELD_BYTES_MAX: usize = 8 << 20;
/// Frames held meanwhile at most.
const HELD_FRAMES_MAX: usize = 1000;
/// Cues held meanwhile at most; what is more is left out.
const HELD_CUES_MAX: usize = 16;

/// Tracks of each kind that one publisher has at most.
pub const TRACKS_MAX: usize = 8;

/// What a publisher's bytes come to.
#[derive(Debug, Clone)]
pub enum Fed {
    /// It has these tracks from now on.
    Visit(Visit),
    /// A frame of the visit's track with this number.
    Frame {
        /// The track.
        track: usize,
        /// When it came, and the times it came with.
        stamp: Stamp,
        /// Its bytes.
        payload: Bytes,
    },
    /// Something that happens on the timeline.
    Cue(ToldCue),
}

/// A track's kind and its number among those of its kind.
pub type TrackId = (TrackKind, u8);

/// A track that has told its configuration.
#[derive(Debug)]
struct Track {
    id: TrackId,
    config: TrackConfig,
}

impl Track {
    /// Pixels of its pictures.
    fn pixels(&self) -> u64 {
        let properties = self.config.video_properties((1, 1)).ok().flatten();
        properties.map_or(0, |properties| u64::from(properties.width) * u64::from(properties.height))
    }
}

/// A frame of a track.
#[derive(Debug)]
pub struct Arrived {
    /// The track.
    pub track: TrackId,
    /// When it came, and the times it came with.
    pub stamp: Stamp,
    /// Its bytes.
    pub payload: Bytes,
}

/// The tracks of one publisher.
#[derive(Debug)]
pub struct Lineup {
    clock: IngestClock,
    /// How long tracks are waited for.
    wait_ms: i64,
    /// Pictures first, each kind in order.
    tracks: Vec<Track>,
    is_by_size: bool,
    keys_on_request: bool,
    /// Whether the tracks as they are now have been announced.
    is_announced: bool,
    held: VecDeque<Arrived>,
    held_bytes: usize,
    held_cues: Vec<ToldCue>,
    unconfigured: u64,
}

impl Lineup {
    /// No tracks yet; what comes has times of this clock.
    pub fn new(clock: IngestClock) -> Self {
        Self {
            clock,
            wait_ms: WAIT_MS,
            tracks: Vec::new(),
            is_by_size: false,
            keys_on_request: false,
            is_announced: false,
            held: VecDeque::new(),
            held_bytes: 0,
            held_cues: Vec::new(),
            unconfigured: 0,
        }
    }

    /// The largest pictures come first, whatever their numbers are.
    pub fn by_size(self) -> Self {
        Self { is_by_size: true, ..self }
    }

    /// Tracks that take longer to tell their configuration are waited for.
    pub fn patient(self) -> Self {
        Self { wait_ms: LONG_WAIT_MS, ..self }
    }

    /// Key frames come when they are asked for.
    pub fn with_keys_on_request(self) -> Self {
        Self { keys_on_request: true, ..self }
    }

    /// Tracks of a kind that have told their configuration.
    pub fn count(&self, kind: TrackKind) -> usize {
        self.tracks.iter().filter(|track| track.id.0 == kind).count()
    }

    /// Whether a picture is among what is held.
    pub fn holds_pictures(&self) -> bool {
        self.held.iter().any(|held| held.track.0 == TrackKind::Video)
    }

    /// Frames left out because their tracks had not told their configuration.
    pub fn unconfigured(&self) -> u64 {
        self.unconfigured
    }

    /// A track tells its configuration, for the first time or a new one.
    pub fn configure(&mut self, id: TrackId, config: TrackConfig) {
        match self.tracks.iter_mut().find(|track| track.id == id) {
            Some(known) if known.config == config => return,
            Some(known) => known.config = config,
            None => self.tracks.push(Track { id, config }),
        }
        let size = |track: &Track| Reverse(if self.is_by_size { track.pixels() } else { 0 });
        self.tracks.sort_by_cached_key(|track| (track.id.0 == TrackKind::Audio, size(track), track.id.1));
        self.is_announced = false;
    }

    /// A track comes no more.
    pub fn remove(&mut self, id: TrackId) {
        let before = self.tracks.len();
        self.tracks.retain(|track| track.id != id);
        self.is_announced &= self.tracks.len() == before;
    }

    /// The publisher has other tracks from now on.
    pub fn clear(&mut self) {
        self.tracks.clear();
        self.held.clear();
        self.held_bytes = 0;
        self.is_announced = false;
    }

    fn find(&self, id: TrackId) -> Option<usize> {
        self.tracks.iter().position(|track| track.id == id)
    }

    /// A cue is told with the frames.
    pub fn take_cue(&mut self, cue: ToldCue, out: &mut Vec<Fed>) {
        if self.is_announced {
            out.push(Fed::Cue(cue));
        } else if self.held_cues.len() < HELD_CUES_MAX {
            self.held_cues.push(cue);
        }
    }

    /// A frame is passed on, or held until the tracks are announced. Whether one is now held: it is time to ask whether they can be.
    pub fn take(&mut self, frame: Arrived, out: &mut Vec<Fed>) -> bool {
        let Some(track) = self.find(frame.track) else {
            self.unconfigured += 1;
            return false;
        };
        if self.is_announced {
            out.push(Fed::Frame { track, stamp: frame.stamp, payload: frame.payload });
            return false;
        }
        self.held_bytes += frame.payload.len();
        self.held.push_back(frame);
        true
    }

    /// Whether tracks that have not told their configuration have been waited for long enough.
    pub fn has_waited(&self) -> bool {
        let times = || self.held.iter().map(|held| held.stamp.dts);
        let waited = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        let longest = self.wait_ms * i64::from(self.clock.ticks_per_sec) / 1000;
        // A clock that wraps or jumps meanwhile makes no difference: a second has then been waited, too.
        waited.abs() >= longest || self.held_bytes >= HELD_BYTES_MAX || self.held.len() >= HELD_FRAMES_MAX
    }

    /// Announces the tracks, each as `described`, and passes on what was held.
    pub fn announce(
        &mut self,
        frame_rate: Option<(u32, u32)>,
        described: impl Fn(TrackId, &TrackConfig) -> TrackConfig,
        out: &mut Vec<Fed>,
    ) {
        self.is_announced = true;
        self.held_bytes = 0;
        let tracks = self.tracks.iter().map(|track| described(track.id, &track.config)).collect();
        let keys_on_request = self.keys_on_request;
        out.push(Fed::Visit(Visit { clock: self.clock, tracks, frame_rate, keys_on_request }));
        while let Some(Arrived { track, stamp, payload }) = self.held.pop_front() {
            if let Some(track) = self.find(track) {
                out.push(Fed::Frame { track, stamp, payload });
            }
        }
        out.extend(self.held_cues.drain(..).map(Fed::Cue));
    }
}
