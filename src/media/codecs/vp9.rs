//! VP9: the `vpcC` record (VP codec ISO media file format binding) and the uncompressed header of key frames (VP9 bitstream
//! specification, section 6.2).
use bytes::{BufMut, Bytes, BytesMut};

use super::bits::BitReader;

/// `frame_sync_code`.
const SYNC_CODE: u32 = 0x49_83_42;
/// `color_space` of RGB.
const RGB: u32 = 7;
/// Largest picture side taken for real.
const SIDE_MAX: u32 = 16_384;
/// Levels, with the samples that a picture has at most; the last one has no end.
const LEVEL_SAMPLES: [(u8, u64); 8] = [
    (10, 36_864),
    (11, 73_728),
    (20, 122_880),
    (21, 245_760),
    (30, 552_960),
    (31, 983_040),
    (40, 2_228_224),
    (50, 8_912_896),
];
const LEVEL_MAX: u8 = 60;
/// Code points that say nothing (ITU-T H.273).
const UNSPECIFIED: u8 = 2;

/// The bytes are not what the specification says they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged VP9 configuration record")]
pub struct InvalidVp9;

/// The decoder configuration record of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp9Config {
    /// Profile: 0 has 8 bits and 4:2:0, 2 more bits.
    pub profile: u8,
    /// Level, ten times its number.
    pub level: u8,
    /// Bits per sample.
    pub bit_depth: u8,
    /// `chromaSubsampling`: 0 and 1 are 4:2:0.
    pub chroma: u8,
    /// Whether samples use the full range.
    pub full_range: bool,
    /// `colourPrimaries`, `transferCharacteristics`, `matrixCoefficients`.
    colours: [u8; 3],
}

impl Vp9Config {
    /// Reads a `vpcC` body behind version and flags.
    pub fn parse(record: &[u8]) -> Result<Self, InvalidVp9> {
        let &[profile, level, format, primaries, transfer, matrix] = record.first_chunk::<6>().ok_or(InvalidVp9)?;
        let (bit_depth, chroma, full_range) = (format >> 4, format >> 1 & 7, format & 1 == 1);
        if profile > 3 || !matches!(bit_depth, 8 | 10 | 12) || chroma > 3 {
            return Err(InvalidVp9);
        }
        Ok(Self { profile, level, bit_depth, chroma, full_range, colours: [primaries, transfer, matrix] })
    }

    /// Of pictures of this size in the usual profile: 8 bits, 4:2:0. The level is the lowest for the size (annex A).
    pub fn of_size((width, height): (u32, u32)) -> Self {
        let samples = u64::from(width) * u64::from(height);
        let levels = LEVEL_SAMPLES.iter().find(|(_, most)| samples <= *most);
        let level = levels.map_or(LEVEL_MAX, |(level, _)| *level);
        let colours = [UNSPECIFIED; 3];
        Self { profile: 0, level, bit_depth: 8, chroma: 1, full_range: false, colours }
    }

    /// The `vpcC` body behind version and flags.
    pub fn to_bytes(self) -> Bytes {
        let format = self.bit_depth << 4 | self.chroma << 1 | u8::from(self.full_range);
        let mut out = BytesMut::with_capacity(8);
        out.put_slice(&[self.profile, self.level, format]);
        out.put_slice(&self.colours);
        out.put_u16(0);
        out.freeze()
    }

    /// Primaries, transfer characteristics and matrix coefficients, when they are told.
    pub fn colour(&self) -> Option<(u8, u8, u8)> {
        let [primaries, transfer, matrix] = self.colours;
        self.colours.iter().any(|code| !matches!(*code, 0 | UNSPECIFIED)).then_some((primaries, transfer, matrix))
    }

    /// RFC 6381 codec string, e.g. `vp09.00.31.08`.
    pub fn codec_string(&self) -> String {
        format!("vp09.{:02}.{:02}.{:02}", self.profile, self.level, self.bit_depth)
    }
}

/// Width and height of a key frame; `None` for any other frame. Of several frames that are one sample the first counts.
pub fn key_frame_size(frame: &[u8]) -> Option<(u32, u32)> {
    let bits = &mut BitReader::new(frame);
    if bits.bits(2)? != 2 {
        return None;
    }
    let profile = u32::from(bits.bit()?) | u32::from(bits.bit()?) << 1;
    if profile == 3 {
        bits.bit()?;
    }
    let (shows_existing, is_other) = (bits.bit()?, bits.bit()?);
    if shows_existing || is_other {
        return None;
    }
    bits.skip(2)?;
    if bits.bits(24)? != SYNC_CODE {
        return None;
    }
    if profile >= 2 {
        bits.bit()?;
    }
    let is_odd = profile % 2 == 1;
    if bits.bits(3)? == RGB {
        bits.skip(u32::from(is_odd))?;
    } else {
        bits.skip(if is_odd { 4 } else { 1 })?;
    }
    let (width, height) = (bits.bits(16)? + 1, bits.bits(16)? + 1);
    (width <= SIDE_MAX && height <= SIDE_MAX).then_some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ffmpeg writes it for libvpx, 320x180 in 8 bits.
    const RECORD: &[u8] = &[0, 11, 0x82, 2, 2, 2, 0, 0];
    const KEY: &[u8] = &[0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xf0, 0x0b, 0x36, 0x06];
    const INTER: &[u8] = &[0x86, 0x00, 0x40, 0x92, 0xf1, 0x21, 0x40, 0x00, 0x00, 0x88];

    #[test]
    fn records_and_headers_of_an_encoder() {
        let config = Vp9Config::parse(RECORD).unwrap();
        assert_eq!((config.codec_string().as_str(), config.colour()), ("vp09.00.11.08", None));
        assert_eq!(config.to_bytes().as_ref(), RECORD);
        assert_eq!(key_frame_size(KEY), Some((320, 180)));
        assert_eq!(key_frame_size(INTER), None);
        assert_eq!(Vp9Config::of_size((320, 180)).codec_string(), "vp09.00.11.08");
        assert_eq!(Vp9Config::of_size((1920, 1080)).to_bytes().as_ref(), &[0, 40, 0x82, 2, 2, 2, 0, 0]);
        let hdr = Vp9Config::parse(&[2, 31, 0xa2, 9, 16, 9, 0, 0]).unwrap();
        assert_eq!((hdr.codec_string().as_str(), hdr.colour()), ("vp09.02.31.10", Some((9, 16, 9))));
    }

    #[test]
    fn damage_is_an_answer() {
        for length in 0..6 {
            assert!(Vp9Config::parse(RECORD.get(..length).unwrap()).is_err());
        }
        for length in 0..9 {
            assert_eq!(key_frame_size(KEY.get(..length).unwrap()), None);
        }
        assert!(
            Vp9Config::parse(&[4, 11, 0x82, 2, 2, 2]).is_err() && Vp9Config::parse(&[0, 11, 0x92, 2, 2, 2]).is_err()
        );
    }
}
