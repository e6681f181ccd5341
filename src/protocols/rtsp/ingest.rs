//! From what comes by RTSP to a visit: the tracks there are, and their frames. RTP says when a picture is shown, but not when it is
//! decoded: that follows from the order in which pictures come.
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::asset::TrackKind;
use crate::media::codecs::aac::AacConfig;
use crate::media::frames::{CodecConfig, TrackConfig};
use crate::media::live::lineup::{Arrived, Fed, Lineup, TrackId};
use crate::media::live::pictures::Pictures;
use crate::media::live::timeline::{IngestClock, Stamp};

/// Pictures that are decoded before others that are shown earlier, at most: what H.264 and HEVC allow in practice.
const REORDERED_MAX: usize = 4;

/// A stream that is read.
#[derive(Debug)]
struct Track {
    /// Its number in the session.
    stream: usize,
    id: TrackId,
    pictures: Option<(Pictures, Order)>,
}

/// What one server sends.
#[derive(Debug)]
pub(super) struct RtspIngest {
    tracks: Vec<Track>,
    frame_rate: Option<(u32, u32)>,
    lineup: Lineup,
}

impl Default for RtspIngest {
    fn default() -> Self {
        Self { tracks: Vec::new(), frame_rate: None, lineup: Lineup::new(IngestClock::RTP) }
    }
}

impl RtspIngest {
    /// One more stream of the session is read, in a codec of this name.
    pub(super) fn add(&mut self, stream: usize, encoding: &str, frame_rate: Option<f32>) {
        let pictures = match encoding {
            "h264" => Some(Pictures::H264(None)),
            "h265" => Some(Pictures::Hevc(None)),
            _ => None,
        };
        let kind = if pictures.is_some() { TrackKind::Video } else { TrackKind::Audio };
        if pictures.is_some() {
            self.frame_rate = frame_rate
                .filter(|rate| (1.0..=240.0).contains(rate))
                .map(|rate| ((rate * 1000.0).round() as u32, 1000));
        }
        let pictures = pictures.map(|pictures| (pictures, Order::default()));
        self.tracks.push(Track { stream, id: (kind, 0), pictures });
    }

    /// Whether nothing is read.
    pub(super) fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// A stream of sound has this configuration.
    pub(super) fn configure_sound(&mut self, stream: usize, config: &[u8]) {
        let Some(track) = self.tracks.iter().find(|track| track.stream == stream) else { return };
        let Some(aac) = AacConfig::parse(config) else { return };
        let codec = CodecConfig::Aac { config: Bytes::copy_from_slice(config) };
        self.lineup.configure(track.id, TrackConfig::new(codec, aac.sample_rate));
    }

    /// A picture, as a byte stream, that is shown at this time.
    pub(super) fn take_picture(
        &mut self,
        stream: usize,
        (shown, arrival): (i64, Duration),
        bytes: Bytes,
        out: &mut Vec<Fed>,
    ) {
        let Some(track) = self.tracks.iter_mut().find(|track| track.stream == stream) else { return };
        let Some((pictures, order)) = &mut track.pictures else { return };
        // What cannot be read is left out; those that need it are repaired by players as after any loss.
        let Ok(seen) = pictures.take(bytes) else { return };
        let dts = order.decoded(shown);
        let id = track.id;
        if seen.is_new
            && let Some(config) = pictures.config()
        {
            self.lineup.configure(id, config);
        }
        let stamp = Stamp { dts, composition: shown - dts, keyframe: seen.keyframe, arrival };
        self.pass(Arrived { track: id, stamp, payload: seen.payload }, out);
    }

    /// A packet of sound.
    pub(super) fn take_sound(
        &mut self,
        stream: usize,
        (shown, arrival): (i64, Duration),
        payload: Bytes,
        out: &mut Vec<Fed>,
    ) {
        let Some(track) = self.tracks.iter().find(|track| track.stream == stream) else { return };
        let stamp = Stamp { dts: shown, composition: 0, keyframe: true, arrival };
        self.pass(Arrived { track: track.id, stamp, payload }, out);
    }

    fn pass(&mut self, frame: Arrived, out: &mut Vec<Fed>) {
        if self.lineup.take(frame, out) && (self.has_all() || self.lineup.has_waited()) {
            self.lineup.announce(self.frame_rate, |_, config| config.clone(), out);
        }
    }

    fn has_all(&self) -> bool {
        let count = |kind| self.tracks.iter().filter(|track| track.id.0 == kind).count();
        [TrackKind::Video, TrackKind::Audio].into_iter().all(|kind| self.lineup.count(kind) == count(kind))
    }
}

/// The order in which pictures are decoded, and when each is: at the earliest of the times that those not yet decoded are shown.
#[derive(Debug, Default)]
struct Order {
    /// When those are shown, earliest first.
    waiting: Vec<i64>,
    /// The same of those that came last.
    recent: VecDeque<i64>,
    /// How many come before others that are shown earlier.
    reordered: usize,
    last: Option<i64>,
}

impl Order {
    /// When the next picture is decoded, which is shown at this time.
    fn decoded(&mut self, shown: i64) -> i64 {
        let overtaking = self.recent.iter().filter(|other| **other > shown).count();
        self.reordered = self.reordered.max(overtaking);
        self.recent.push_back(shown);
        if self.recent.len() > REORDERED_MAX {
            self.recent.pop_front();
        }
        self.waiting.insert(self.waiting.partition_point(|other| *other <= shown), shown);
        let earliest = self.waiting.first().copied().unwrap_or(shown);
        if self.waiting.len() > self.reordered {
            self.waiting.remove(0);
        }
        // Decoded one after another, whatever comes.
        let decoded = self.last.map_or(earliest, |last| earliest.max(last + 1));
        self.last = Some(decoded);
        decoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(shown: &[i64]) -> Vec<i64> {
        let mut order = Order::default();
        shown.iter().map(|shown| order.decoded(*shown)).collect()
    }

    #[test]
    fn pictures_in_order_are_decoded_when_they_are_shown() {
        assert_eq!(decoded(&[0, 3000, 6000, 9000]), [0, 3000, 6000, 9000]);
    }

    #[test]
    fn pictures_that_overtake_others_are_decoded_before_they_are_shown() {
        let shown = [0, 9000, 3000, 6000, 18_000, 12_000, 15_000, 27_000, 21_000, 24_000];
        let found = decoded(&shown);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
        // Nobody tells beforehand that pictures overtake each other: the first that are overtaken are late.
        assert!(found.iter().zip(shown).skip(4).all(|(decoded, shown)| *decoded <= shown), "{found:?}");
        assert_eq!(found[5..], [12_000, 15_000, 18_000, 21_000, 24_000]);
    }
}
