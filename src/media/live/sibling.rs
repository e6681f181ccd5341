//! Sound for every player beside sound that not every player knows: the first of a publisher's tracks of sound is made AAC as well,
//! when none of them is. Pure: tells what is to be encoded, and where what comes of it belongs.
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::broadcast::Visit;
use super::ring::MICROS;
use super::stream::VisitNumber;
use super::timeline::{IngestClock, Stamp};
use crate::domain::asset::{Ticks, TrackKind};
use crate::media::frames::{CodecConfig, TrackConfig};
use crate::media::work::live::{LiveSoundTask, MadeSound};

/// AAC-LC of 48,000 samples a second in stereo (ISO/IEC 14496-3, AudioSpecificConfig).
const AAC: [u8; 2] = [0x11, 0x90];
const AAC_RATE: u32 = 48_000;
/// Packets that wait for the encoder at most; more are left out.
const WAITING_MAX: usize = 512;
/// What is encoded begins this long after the zero of its time, so that nothing lies before that, microseconds.
const ORIGIN: i64 = 1_000_000;
/// Times that are further apart than this are of two runs, microseconds.
const JUMP: i64 = 5_000_000;

/// Sound that is to be encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct SiblingSource {
    /// Whose.
    pub visit: VisitNumber,
    /// What it is.
    pub config: TrackConfig,
    /// How its times come.
    pub clock: IngestClock,
    /// The visit's track that is made of it.
    pub track: usize,
}

/// For who encodes.
#[derive(Debug)]
pub enum ToEncode {
    /// From now on it is of this.
    Begin(SiblingSource),
    /// The next packet.
    Packet(Stamp, Bytes),
}

/// The publisher's side.
#[derive(Debug)]
pub struct Sibling {
    to: mpsc::Sender<ToEncode>,
    /// The track that is encoded.
    of: Option<usize>,
}

/// A track that a visit has got besides.
#[derive(Debug)]
pub struct Joined {
    of: usize,
    config: TrackConfig,
    clock: IngestClock,
    track: usize,
}

impl Sibling {
    /// With the other end for who encodes.
    pub fn new() -> (Self, mpsc::Receiver<ToEncode>) {
        let (to, from) = mpsc::channel(WAITING_MAX);
        (Self { to, of: None }, from)
    }

    /// Adds the track to a visit that lacks it.
    pub fn join(visit: &mut Visit) -> Option<Joined> {
        let sounds = || visit.tracks.iter().enumerate().filter(|(_, config)| config.kind() == TrackKind::Audio);
        let (of, config) = sounds().next()?;
        if sounds().any(|(_, config)| matches!(config.codec, CodecConfig::Aac { .. })) {
            return None;
        }
        LiveSoundTask::of(0, config, MadeSound::Aac)?;
        let (config, track) = (config.clone(), visit.tracks.len());
        let codec = CodecConfig::Aac { config: Bytes::from_static(&AAC) };
        let language = config.language.clone();
        visit.tracks.push(TrackConfig { language, default: config.default, ..TrackConfig::new(codec, AAC_RATE) });
        Some(Joined { of, config, clock: visit.clock, track })
    }

    /// The visit has begun.
    pub fn begin(&mut self, visit: VisitNumber, joined: Option<Joined>) {
        self.of = joined.as_ref().map(|joined| joined.of);
        if let Some(Joined { config, clock, track, .. }) = joined {
            self.tell(ToEncode::Begin(SiblingSource { visit, config, clock, track }));
        }
    }

    /// A frame of the visit.
    pub fn pass(&mut self, track: usize, stamp: Stamp, payload: &Bytes) {
        if self.of == Some(track) {
            self.tell(ToEncode::Packet(stamp, payload.clone()));
        }
    }

    fn tell(&self, message: ToEncode) {
        // Nobody may encode any more, or not fast enough: then there is silence, or a gap.
        let _ = self.to.try_send(message);
    }
}

/// Times of one run: from those of the publisher to those of the encoder, and back.
#[derive(Debug, Clone)]
pub struct RunTimes {
    clock: IngestClock,
    first: i64,
    last: i64,
    /// The last packet's arrival by the publisher's connection, and by this one's watch.
    arrival: (Duration, Instant),
}

impl RunTimes {
    /// Begins with this packet.
    pub fn new(clock: IngestClock, first: Stamp, now: Instant) -> Self {
        Self { clock, first: first.dts, last: first.dts, arrival: (first.arrival, now) }
    }

    /// When the next packet is heard, microseconds; `None` when another run begins with it.
    pub fn micros(&mut self, stamp: Stamp, now: Instant) -> Option<i64> {
        let at = self.clock.unfold(stamp.dts, self.last).0;
        if self.to_micros(at - self.last).abs() > JUMP {
            return None;
        }
        (self.last, self.arrival) = (at, (stamp.arrival, now));
        Some((self.to_micros(at - self.first) + ORIGIN).max(0))
    }

    /// The times of what was made of it.
    pub fn stamp(&self, micros: i64, now: Instant) -> Stamp {
        let since = Ticks { value: micros - ORIGIN, timescale: MICROS }.rescale(self.clock.ticks_per_sec);
        let (arrival, at) = self.arrival;
        let arrival = arrival + now.saturating_duration_since(at);
        Stamp { dts: self.first + since, composition: 0, keyframe: true, arrival }
    }

    fn to_micros(&self, ticks: i64) -> i64 {
        Ticks { value: ticks, timescale: self.clock.ticks_per_sec }.rescale(MICROS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codecs::opus::OpusConfig;
    use crate::media::live::testing::{audio, video, visit};

    fn opus() -> TrackConfig {
        TrackConfig::new(CodecConfig::Opus { dops: OpusConfig::of_channels(2).unwrap().to_bytes() }, 48_000)
    }

    #[test]
    fn sound_that_not_every_player_knows_gets_a_sibling() {
        let mut both = visit(vec![video(), TrackConfig { language: "de".to_owned(), ..opus() }]);
        let joined = Sibling::join(&mut both).unwrap();
        assert_eq!((joined.of, joined.track, both.tracks.len()), (1, 2, 3));
        assert_eq!(both.tracks[2].codec_string().unwrap(), "mp4a.40.2");
        assert_eq!(both.tracks[2].language, "de");
        for tracks in [vec![video(), audio()], vec![video(), opus(), audio()], vec![video()]] {
            let mut visit = visit(tracks.clone());
            assert!(Sibling::join(&mut visit).is_none() && visit.tracks == tracks);
        }
    }

    #[test]
    fn times_come_back_as_they_went() {
        let now = Instant::now();
        let stamp = |dts, ms| Stamp { dts, composition: 0, keyframe: true, arrival: Duration::from_millis(ms) };
        let mut times = RunTimes::new(IngestClock::MPEG_TS, stamp((1 << 33) - 900, 70), now);
        assert_eq!(times.micros(stamp((1 << 33) - 900, 70), now), Some(1_000_000));
        let at = times.micros(stamp(900, 90), now).unwrap();
        assert_eq!(at, 1_020_000, "it wraps");
        let later = now + Duration::from_millis(30);
        assert_eq!(times.stamp(at, later), stamp((1 << 33) + 900, 120));
        assert_eq!(times.micros(stamp(900 + 90_000 * 6, 6000), now), None);
        assert_eq!(times.micros(stamp(900 - 90_000 * 6, 6000), now), None);
    }
}
