//! FLAC: stream information and the headers of frames (RFC 9639, sections 8.2 and 9.1), and the `dfLa` box around the former.
use bytes::{BufMut, Bytes, BytesMut};

use super::bits::BitReader;

/// Bytes of stream information.
const INFO_BYTES: usize = 34;
/// What precedes it in E-RTMP: the signature, and the header of a metadata block.
const SIGNATURE: &[u8] = b"fLaC";
const BLOCK_HEADER: usize = 4;
/// A header of a metadata block of stream information, which is the last one.
const LAST_INFO: [u8; 4] = [0x80, 0, 0, INFO_BYTES as u8];

/// What stream information says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlacConfig {
    /// Samples a second.
    pub sample_rate: u32,
    /// Number of channels.
    pub channels: u16,
    /// Samples of most frames.
    block: u32,
    info: Bytes,
}

impl FlacConfig {
    /// Reads stream information, with or without what precedes it in a file; `None` when it is damaged.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let info = match record.strip_prefix(SIGNATURE) {
            Some(rest) => rest.get(BLOCK_HEADER..)?,
            None => record,
        };
        let info = info.get(..INFO_BYTES)?;
        let bits = &mut BitReader::new(info);
        bits.skip(16)?;
        let block = bits.bits(16)?;
        bits.skip(48)?;
        let (sample_rate, channels) = (bits.bits(20)?, bits.bits(3)? as u16 + 1);
        let info = Bytes::copy_from_slice(info);
        (sample_rate > 0 && block >= 16).then_some(Self { sample_rate, channels, block, info })
    }

    /// Reads a `dfLa` body.
    pub fn parse_box(body: &[u8]) -> Option<Self> {
        Self::parse(body.get(4 + BLOCK_HEADER..)?)
    }

    /// The `dfLa` body, version and flags included.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(4 + BLOCK_HEADER + INFO_BYTES);
        out.put_u32(0);
        out.put_slice(&LAST_INFO);
        out.put_slice(&self.info);
        out.freeze()
    }

    /// Samples of a frame.
    pub fn samples(&self, frame: &[u8]) -> u32 {
        frame_samples(frame).unwrap_or(self.block)
    }
}

/// Samples of a frame, as its header says; `None` when it is damaged.
fn frame_samples(frame: &[u8]) -> Option<u32> {
    let (&[0xff, second, third, _], rest) = frame.split_first_chunk::<4>()? else { return None };
    if second >> 2 != 0x3e {
        return None;
    }
    // The number of the frame or of its first sample, as long as its first byte says.
    let number = rest.first()?.leading_ones() as usize;
    let rest = rest.get(number.max(1)..)?;
    match third >> 4 {
        1 => Some(192),
        code @ 2..=5 => Some(144 << code),
        6 => Some(u32::from(*rest.first()?) + 1),
        7 => rest.first_chunk::<2>().map(|size| u32::from(u16::from_be_bytes(*size)) + 1),
        code @ 8..=15 => Some(1 << code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ffmpeg sends it for 48 kHz in mono: blocks of 1024 samples.
    const INFO: &[u8] = &[
        4, 0, 4, 0, 0, 0, 0, 0, 8, 0x15, 0x0b, 0xb8, 0, 0xf0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0,
    ];

    #[test]
    fn information_is_read_with_and_without_what_precedes_it() {
        let config = FlacConfig::parse(INFO);
        let whole = [&b"fLaC\x80\0\0\x22"[..], INFO].concat();
        assert_eq!(FlacConfig::parse(&whole), config);
        let config = config.unwrap();
        assert_eq!((config.sample_rate, config.channels, config.block), (48_000, 1, 1024));
        assert_eq!(FlacConfig::parse_box(&config.to_bytes()), Some(config));
        for length in 0..INFO.len() {
            assert_eq!(FlacConfig::parse(INFO.get(..length).unwrap()), None);
        }
    }

    #[test]
    fn frames_tell_how_long_they_are() {
        let config = FlacConfig::parse(INFO).unwrap();
        assert_eq!(config.samples(&[0xff, 0xf8, 0xaa, 0x08, 0x00, 0xed]), 1024);
        assert_eq!(config.samples(&[0xff, 0xf8, 0x7a, 0x08, 0xc2, 0x80, 0x01, 0xff]), 512);
        assert_eq!(config.samples(&[0xff, 0xf8, 0x5a, 0x08, 0x00]), 4608);
        assert_eq!(config.samples(b"nonsense"), 1024);
    }
}
