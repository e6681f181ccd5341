//! How a broadcast's ingest does, for its publisher to see.
use serde::Serialize;

use super::broadcast::{Broadcast, Health, Rendition};
use super::ring::MICROS;
use crate::domain::asset::TrackKind;
use crate::media::frames::TrackConfig;

/// Newest whole segments that bit rates are measured over.
const MEASURED_SEGMENTS: usize = 3;

/// What is known of a broadcast's ingest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Vitals {
    /// Whether a publisher is sending.
    pub connected: bool,
    /// Whether viewers see the slate meanwhile.
    pub slate: bool,
    /// Bits per second of all that came lately, containers of HLS included; 0 until known.
    pub bits_per_sec: u64,
    /// Frames per second of its pictures; 0 until known.
    pub frame_rate: f64,
    /// Time between its last two key frames, seconds; `None` before there were two.
    pub gop_secs: Option<f64>,
    /// Width of its pictures, pixels; `None` without pictures.
    pub width: Option<u32>,
    /// Their height, pixels.
    pub height: Option<u32>,
    /// Codec of its pictures (RFC 6381).
    pub video_codec: Option<String>,
    /// Codec of its sound (RFC 6381).
    pub audio_codec: Option<String>,
    /// Repairs, drops, epochs and gaps.
    #[serde(flatten)]
    pub health: Health,
}

impl Vitals {
    /// As they are now.
    pub fn of(broadcast: &Broadcast) -> Self {
        let of_kind = |kind| newest_config(broadcast, kind);
        let pictures = of_kind(TrackKind::Video);
        let size = pictures.and_then(|config| config.video_properties((0, 1)).ok().flatten());
        let codec = |config: Option<&TrackConfig>| config.and_then(|config| config.codec_string().ok());
        let rate = broadcast.frame_rate();
        Self {
            connected: broadcast.is_fed(),
            slate: broadcast.shows_slate(),
            bits_per_sec: broadcast.renditions().iter().filter(|one| !one.is_rung()).map(bits_per_sec).sum(),
            frame_rate: rate.map_or(0.0, |(frames, seconds)| f64::from(frames) / f64::from(seconds.max(1))),
            gop_secs: broadcast.gop().map(|gop| gop.as_secs_f64()),
            width: size.as_ref().map(|size| size.width),
            height: size.as_ref().map(|size| size.height),
            video_codec: codec(pictures),
            audio_codec: codec(of_kind(TrackKind::Audio)),
            health: broadcast.health(),
        }
    }
}

/// The newest epoch's first track of a kind.
fn newest_config(broadcast: &Broadcast, kind: TrackKind) -> Option<&TrackConfig> {
    let epoch = broadcast.epochs().next_back()?;
    epoch.tracks.iter().flatten().map(|(config, _)| config).find(|config| config.kind() == kind)
}

/// Of the newest whole segments that came without a gap.
fn bits_per_sec(rendition: &Rendition) -> u64 {
    let whole = rendition.ring.segments().rev().filter(|segment| segment.is_complete);
    let (mut bytes, mut micros) = (0u64, 0i64);
    for segment in whole.take(MEASURED_SEGMENTS).take_while(|segment| !segment.is_gap()) {
        bytes += u64::from(segment.size);
        micros += segment.micros();
    }
    let micros = u64::try_from(micros).unwrap_or(0);
    (bytes * 8 * u64::from(MICROS)).checked_div(micros).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::live::broadcast::BroadcastSettings;
    use crate::media::live::testing::{Publisher, at, audio, video, visit};

    #[test]
    fn a_publisher_sees_what_comes() {
        let mut broadcast = Broadcast::new(BroadcastSettings::new(Duration::from_secs(60), 0));
        let cuts = &mut Vec::new();
        broadcast.begin_visit(visit(vec![video(), audio()]), at(0), cuts).unwrap();
        Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 0, 9000, cuts);
        let vitals = Vitals::of(&broadcast);
        // 30 pictures of 100 bytes, 47 packets of 30, and the heads of eight parts a second.
        assert!((35_000..80_000).contains(&vitals.bits_per_sec), "{vitals:?}");
        assert_eq!((vitals.frame_rate, vitals.gop_secs), (30.0, Some(2.0)));
        assert!(vitals.connected && vitals.width > Some(0) && vitals.audio_codec.as_deref() == Some("mp4a.40.2"));
        broadcast.end(cuts);
        assert!(!Vitals::of(&broadcast).connected);
    }
}
