//! The clip that is repeated while a publisher is away, and the silence that goes with it.
use std::io::Cursor;

use bytes::Bytes;

use crate::domain::asset::TrackKind;
use crate::media::codecs::aac::{AacConfig, OBJECT_LC};
use crate::media::codecs::opus::OpusConfig;
use crate::media::frames::{CodecConfig, TrackConfig};
use crate::media::movie::{Movie, MovieError, MovieLimits};

/// Pictures per second of every slate.
pub const FRAMES_PER_SEC: u32 = 25;
/// A packet of silence: AAC, two channels.
pub const SILENCE: Bytes = Bytes::from_static(&[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80]);
/// How long that is, samples.
pub const SILENCE_SAMPLES: u32 = 1024;
/// AAC of low complexity, 48 kHz, two channels (ISO/IEC 14496-3, 1.6.2.1).
const SILENCE_CONFIG: Bytes = Bytes::from_static(&[0x11, 0x90]);
const SILENCE_RATE: u32 = 48_000;
/// Ticks per second of the pictures' times: those of the clip itself do not matter.
const TIMESCALE: u32 = 90_000;
/// Most frames of a clip: the longest TARGETDURATION has two hundred and fifty.
const FRAMES_MAX: u32 = 1000;

/// The same of one channel: an element of no spectrum, and the end.
const SILENCE_MONO: Bytes = Bytes::from_static(&[0x00, 0x00, 0x00, 0x07]);
/// 20 ms of Opus: of CELT's whole band, and nothing in it (RFC 6716, 3.1).
const SILENCE_OPUS: Bytes = Bytes::from_static(&[0xf8, 0xff, 0xfe]);

/// A packet of silence among those of a publisher, where one is known that fits.
pub(super) fn silence_among(codec: &CodecConfig) -> Option<Bytes> {
    match codec {
        CodecConfig::Aac { config } => {
            let aac = AacConfig::parse(config)?;
            let is_plain = aac.object_type == OBJECT_LC && aac.packet_samples == SILENCE_SAMPLES;
            match aac.channels {
                1 if is_plain => Some(SILENCE_MONO),
                2 if is_plain => Some(SILENCE),
                _ => None,
            }
        }
        CodecConfig::Opus { dops } => OpusConfig::parse(dops).filter(|opus| opus.channels <= 2).map(|_| SILENCE_OPUS),
        _ => None,
    }
}

/// The configuration of silence.
pub fn silence() -> TrackConfig {
    TrackConfig::new(CodecConfig::Aac { config: SILENCE_CONFIG }, SILENCE_RATE)
}

/// One group of pictures, each decoded after the one before it; repeated from any of them on.
#[derive(Debug, Clone, PartialEq)]
pub struct SlateClip {
    config: TrackConfig,
    frames: Vec<Bytes>,
}

/// A clip that cannot be a slate.
#[derive(Debug, thiserror::Error)]
pub enum SlateError {
    /// It cannot be read.
    #[error(transparent)]
    Movie(#[from] MovieError),
    /// It is something else than one group of pictures.
    #[error("it is no slate: {0}")]
    Other(&'static str),
}

impl SlateClip {
    #[cfg(test)]
    pub(super) fn new(config: TrackConfig, frames: Vec<Bytes>) -> Self {
        Self { config, frames }
    }

    /// Reads a clip: an MP4 of one track of pictures that begins with its only key frame.
    pub fn read(file: &Bytes) -> Result<Self, SlateError> {
        let limits = MovieLimits { samples_max: FRAMES_MAX, ..MovieLimits::default() };
        let movie = Movie::read(&mut Cursor::new(file), &limits)?;
        let [track] = movie.tracks.as_slice() else { return Err(SlateError::Other("not one track")) };
        let config = TrackConfig::of_track(track).filter(|config| config.kind() == TrackKind::Video);
        let config = config.ok_or(SlateError::Other("no pictures"))?;
        config.codec_string().map_err(|_| SlateError::Other("pictures without a configuration"))?;
        let config = TrackConfig { timescale: TIMESCALE, ..config };
        let mut frames = Vec::new();
        for sample in track.tables.samples()? {
            let sample = sample?;
            let start = usize::try_from(sample.offset).unwrap_or(usize::MAX);
            let range = start..start.saturating_add(sample.bytes as usize);
            let frame = file.get(range).map(|frame| file.slice_ref(frame));
            if sample.sync != frames.is_empty() || sample.composition != 0 {
                return Err(SlateError::Other("not one group of pictures in order"));
            }
            frames.push(frame.ok_or(SlateError::Other("it is cut off"))?);
        }
        if frames.is_empty() {
            return Err(SlateError::Other("no pictures"));
        }
        Ok(Self { config, frames })
    }

    /// How many pictures it has.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// The configuration of its track of this kind.
    pub(super) fn config_like(&self, other: &TrackConfig) -> TrackConfig {
        let config = match other.kind() {
            TrackKind::Video => self.config.clone(),
            TrackKind::Audio => silence(),
        };
        TrackConfig { language: other.language.clone(), default: other.default, ..config }
    }

    /// Its picture number `index`; `None` when it has not so many.
    pub(super) fn frame(&self, index: u32) -> Option<Bytes> {
        self.frames.get(index as usize).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::asset::TrackKind;
    use crate::media::frames::Frame;
    use crate::media::live::part::{PartBuilder, PartTarget};
    use crate::media::packager::init_segment;
    use crate::media::testing::run;

    /// What ffmpeg says of a file of half a second of this silence.
    fn heard(config: &TrackConfig, samples: u32) -> String {
        let payload = silence_among(&config.codec).unwrap();
        let mut file = init_segment(config).unwrap().to_vec();
        let mut builder = PartBuilder::new(TrackKind::Audio, PartTarget::for_frame_rate(None).ticks(config.timescale));
        for number in 0..(config.timescale / 2 / samples) {
            let dts = i64::from(number * samples);
            let frame = Frame { dts, pts: dts, duration: samples, keyframe: true, payload: payload.clone() };
            builder.push(frame).into_iter().flatten().for_each(|part| file.extend_from_slice(&part.bytes));
        }
        file.extend_from_slice(&builder.finish().unwrap().bytes);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("silence.mp4");
        std::fs::write(&path, file).unwrap();
        run("ffmpeg", &["-i", path.to_str().unwrap(), "-af", "volumedetect", "-f", "null", "-"]).1
    }

    #[test]
    fn silence_of_every_codec_is_decoded_and_silent() {
        let aac = |config: &'static [u8], rate| {
            TrackConfig::new(CodecConfig::Aac { config: Bytes::from_static(config) }, rate)
        };
        let opus = |channels| {
            let dops = OpusConfig::of_channels(channels).unwrap().to_bytes();
            TrackConfig::new(CodecConfig::Opus { dops }, 48_000)
        };
        let stereo_and_mono =
            [silence(), aac(&[0x11, 0x88], 48_000), aac(&[0x12, 0x08], 44_100), aac(&[0x12, 0x10], 44_100)];
        let all = stereo_and_mono.map(|config| (config, 1024)).into_iter().chain([(opus(1), 960), (opus(2), 960)]);
        for (config, samples) in all {
            let said = heard(&config, samples);
            assert!(said.contains("max_volume: -91.0 dB"), "{said}");
            assert!(!said.to_lowercase().contains("error") && !said.contains("invalid"), "{said}");
        }
        let surround = silence_among(&opus(6).codec).or(silence_among(&aac(&[0x11, 0xb0], 48_000).codec));
        assert_eq!(surround.or(silence_among(&aac(&[0x2b, 0x11, 0x88, 0], 48_000).codec)), None, "none that fits");
    }
}
