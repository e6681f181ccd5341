//! Canonical frames and what a track needs besides them.
mod codec;
mod entry;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use codec::Format;
pub use codec::{CodecConfig, InvalidConfig, PacketLength};

pub use super::movie::Colour;
use crate::domain::asset::{AudioProperties, TrackKind, VideoProperties};

/// One access unit: a coded picture or a packet of sound. Times are in ticks of the track's timescale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Decode time.
    pub dts: i64,
    /// Presentation time.
    pub pts: i64,
    /// Ticks until the next frame in decode order; 0 when not known.
    pub duration: u32,
    /// Whether decoding can start here (an IDR or another random access picture; any packet of sound).
    pub keyframe: bool,
    /// H.264 and HEVC: NAL units with the length prefixes that the configuration says, parameter sets only in the track. AV1:
    /// a temporal unit in the low-overhead format without its delimiter. VP9: a frame, or a superframe. AAC: a raw access unit
    /// without ADTS. Opus: a packet. MP3, AC-3, E-AC-3, FLAC: frames.
    pub payload: Bytes,
}

/// Everything about a track but its frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackConfig {
    /// The codec.
    pub codec: CodecConfig,
    /// Ticks per second of its frames' times; not zero.
    pub timescale: u32,
    /// Clockwise rotation for display: 0, 90, 180 or 270 degrees; 0 for sound.
    pub rotation: u16,
    /// Shape of a pixel, width to height, when it is not square.
    pub pixel_aspect: Option<(u32, u32)>,
    /// Colour, when the container says it.
    pub colour: Option<Colour>,
    /// How far decoding runs ahead of presentation, ticks; 0 for sound.
    pub reorder: u32,
    /// BCP 47 language, `und` when unknown.
    pub language: String,
    /// Whether a player should choose it by itself (sound).
    pub default: bool,
}

impl TrackConfig {
    /// A track of this codec with nothing special about it.
    pub fn new(codec: CodecConfig, timescale: u32) -> Self {
        let language = "und".to_owned();
        Self { codec, timescale, rotation: 0, pixel_aspect: None, colour: None, reorder: 0, language, default: true }
    }

    /// Picture or sound.
    pub fn kind(&self) -> TrackKind {
        self.codec.kind()
    }

    /// RFC 6381 codec string.
    pub fn codec_string(&self) -> Result<String, InvalidConfig> {
        Ok(self.codec.told()?.codec)
    }

    /// Picture properties with this frame rate; `None` for sound.
    pub fn video_properties(&self, frame_rate: (u32, u32)) -> Result<Option<VideoProperties>, InvalidConfig> {
        let Format::Pictures { width, height, .. } = self.codec.told()?.format else { return Ok(None) };
        Ok(Some(VideoProperties { width, height, rotation: self.rotation, frame_rate }))
    }

    /// Sound properties; `None` for pictures.
    pub fn audio_properties(&self) -> Result<Option<AudioProperties>, InvalidConfig> {
        let Format::Sound { sample_rate, channels } = self.codec.told()?.format else { return Ok(None) };
        let (language, default) = (self.language.clone(), self.default);
        Ok(Some(AudioProperties { sample_rate, channels, language, default }))
    }

    /// The colour that the configuration itself tells.
    pub fn own_colour(&self) -> Option<Colour> {
        match self.codec.told().ok()?.format {
            Format::Pictures { colour, .. } => colour,
            Format::Sound { .. } => None,
        }
    }
}

/// A frame rate as a reduced fraction: `frames` in `ticks` of `timescale`. `(0, 1)` when nothing is known.
pub fn frame_rate(frames: u64, ticks: u64, timescale: u32) -> (u32, u32) {
    if frames == 0 || ticks == 0 {
        return (0, 1);
    }
    let (mut numerator, mut denominator) = (u128::from(frames) * u128::from(timescale), u128::from(ticks));
    let divisor = greatest_common_divisor(numerator, denominator);
    (numerator, denominator) = (numerator / divisor, denominator / divisor);
    while numerator > u128::from(u32::MAX) || denominator > u128::from(u32::MAX) {
        (numerator, denominator) = (numerator / 2, (denominator / 2).max(1));
    }
    (numerator as u32, denominator as u32)
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_rates_are_reduced() {
        assert_eq!(frame_rate(30, 30 * 1001, 30_000), (30_000, 1001));
        assert_eq!(frame_rate(1, 512, 12_800), (25, 1));
        assert_eq!(frame_rate(0, 0, 25), (0, 1));
        let (numerator, denominator) = frame_rate(u64::MAX / 3, u64::MAX - 1, u32::MAX);
        assert!(numerator > 0 && denominator > 0);
    }
}
