//! The clip that is repeated while a publisher is away, and the silence that goes with it.
use std::io::Cursor;

use bytes::Bytes;

use crate::domain::asset::TrackKind;
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
