//! A publisher for the tests of this room.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::broadcast::{Broadcast, Cut, Visit};
use super::slate::SlateClip;
use super::timeline::{IngestClock, Stamp};
use crate::domain::time::Timestamp;
use crate::media::frames::{CodecConfig, TrackConfig};
use crate::media::testing::avcc;

pub(crate) fn video() -> TrackConfig {
    TrackConfig::new(CodecConfig::H264 { avcc: avcc() }, 90_000)
}

pub(crate) fn audio() -> TrackConfig {
    TrackConfig::new(CodecConfig::Aac { config: Bytes::from_static(&[0x11, 0x90]) }, 48_000)
}

/// A slate of ten seconds.
pub(crate) fn slate() -> Arc<SlateClip> {
    Arc::new(SlateClip::new(video(), vec![Bytes::from_static(&[3; 50]); 250]))
}

pub(crate) fn visit(tracks: Vec<TrackConfig>) -> Visit {
    Visit { clock: IngestClock::RTMP, tracks, frame_rate: Some((30, 1)), keys_on_request: false }
}

/// A publisher of 30 pictures a second with a key frame every two seconds, and sound with it.
pub(crate) struct Publisher {
    pub(crate) base: i64,
    pub(crate) with_sound: bool,
}

impl Publisher {
    /// Publishes from `from` to `to`, milliseconds of wall-clock time and of its own clock alike.
    pub(crate) fn publish(&self, broadcast: &mut Broadcast, from: i64, to: i64, out: &mut Vec<Cut>) {
        let mut packet = from * 48 / 1024;
        for number in (from * 30).div_euclid(1000)..(to * 30).div_euclid(1000) {
            let at = number * 1000 / 30;
            let arrival = Duration::from_millis(at as u64);
            let now = Timestamp::from_millis(at);
            while self.with_sound && packet * 1024 / 48 <= at {
                let stamp = Stamp { dts: self.base + packet * 1024 / 48, composition: 0, keyframe: false, arrival };
                broadcast.push(1, stamp, Bytes::from_static(&[1; 30]), now, out);
                packet += 1;
            }
            let keyframe = (number - (from * 30).div_euclid(1000)) % 60 == 0;
            let stamp = Stamp { dts: self.base + at, composition: 0, keyframe, arrival };
            broadcast.push(0, stamp, Bytes::from_static(&[2; 100]), now, out);
            broadcast.tick(now, out);
        }
    }
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}
