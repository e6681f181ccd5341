//! Visits of a broadcast's publishers, and the epochs that they open.
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::asset::Ticks;
use crate::domain::time::Timestamp;
use crate::media::frames::TrackConfig;
use crate::media::live::ring::MICROS;
use crate::media::live::timeline::IngestClock;

/// A publisher's visit, as it announces itself.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Its clock.
    pub clock: IngestClock,
    /// Its tracks.
    pub tracks: Vec<TrackConfig>,
    /// Frames per second it says its pictures have.
    pub frame_rate: Option<(u32, u32)>,
    /// Whether it sends key frames when it is asked for some, not at an interval of its own.
    pub keys_on_request: bool,
}

/// What stays the same from one change of the tracks to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number, from 0.
    pub number: u32,
    /// Where it starts on the stream's timeline.
    pub start: Ticks,
    /// Wall-clock time of that.
    pub date: Timestamp,
    /// By rendition: configuration and initialisation segment, for those that it has.
    pub tracks: Vec<Option<(TrackConfig, Bytes)>>,
    /// Whether it is the slate, which nobody publishes.
    pub is_slate: bool,
    /// Whether nobody knows in advance where its segments will begin.
    pub keys_on_request: bool,
}

impl Epoch {
    pub(super) fn date_of(&self, at: Ticks) -> Timestamp {
        let passed = at.rescale(MICROS) - self.start.rescale(MICROS);
        let millis = passed.div_euclid(1000);
        Timestamp::from_millis(self.date.as_millis().saturating_add(millis))
    }

    /// Stream time at a wall-clock time.
    pub(super) fn time_at(&self, now: Timestamp) -> Ticks {
        let passed = now.as_millis().saturating_sub(self.date.as_millis()).saturating_mul(1000);
        Ticks { value: self.start.rescale(MICROS).saturating_add(passed), timescale: MICROS }
    }
}
