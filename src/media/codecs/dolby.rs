//! AC-3 and E-AC-3: the headers of their frames, and the `dac3` and `dec3` boxes that say the same (ETSI TS 102 366, section
//! 4.4, and annexes E and F).
use bytes::{BufMut, Bytes, BytesMut};

use super::bits::BitReader;

const SYNC_WORD: u32 = 0x0b77;
const RATES: [u32; 3] = [48_000, 44_100, 32_000];
/// Channels by `acmod`, without the one for low frequencies.
const CHANNELS: [u16; 8] = [2, 1, 2, 3, 3, 4, 4, 5];
/// Kilobits a second of AC-3 by `frmsizecod >> 1`.
const BIT_RATES: [u32; 19] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// Samples of a block.
const BLOCK: u32 = 256;
/// Blocks of a frame of AC-3.
const BLOCKS: u32 = 6;
/// The first `bsid` of E-AC-3, and the last.
const ENHANCED: std::ops::RangeInclusive<u8> = 11..=16;

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DolbyFrame {
    /// Whether it is E-AC-3.
    pub is_enhanced: bool,
    /// `fscod`.
    rate: u8,
    /// `bsid`.
    version: u8,
    /// `bsmod`.
    service: u8,
    /// `acmod`.
    mode: u8,
    /// `lfeon`.
    has_low: bool,
    /// AC-3: `bit_rate_code`. E-AC-3: kilobits a second.
    bit_rate: u16,
    /// Blocks of all frames of the packet that follow one another.
    blocks: u32,
}

impl DolbyFrame {
    /// Reads a packet's first header; `None` when it is damaged, or of a kind that is not known.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        // Both have their version at the same place.
        let version = packet.get(5)? >> 3;
        if ENHANCED.contains(&version) { Self::read_enhanced(packet) } else { Self::read_plain(packet) }
    }

    fn read_plain(packet: &[u8]) -> Option<Self> {
        let bits = &mut BitReader::new(packet);
        if bits.bits(16)? != SYNC_WORD {
            return None;
        }
        bits.skip(16)?;
        let (rate, size) = (bits.bits(2)? as u8, bits.bits(6)?);
        let (version, service, mode) = (bits.bits(5)? as u8, bits.bits(3)? as u8, bits.bits(3)? as u8);
        if mode & 1 != 0 && mode != 1 {
            bits.skip(2)?;
        }
        if mode & 4 != 0 {
            bits.skip(2)?;
        }
        if mode == 2 {
            bits.skip(2)?;
        }
        let has_low = bits.bit()?;
        let bit_rate = u16::try_from(size >> 1).ok().filter(|code| *code < 19)?;
        let is_known = rate < 3 && version <= 8;
        let frame = Self { is_enhanced: false, rate, version, service, mode, has_low, bit_rate, blocks: BLOCKS };
        is_known.then_some(frame)
    }

    fn read_enhanced(packet: &[u8]) -> Option<Self> {
        let (first, bytes) = Self::read_enhanced_frame(packet)?;
        let (mut blocks, mut size) = (first.blocks, bytes);
        // Further frames of the same packet; those of dependent substreams take no time.
        while let Some((next, bytes)) = packet.get(size..).and_then(Self::read_enhanced_frame) {
            blocks = blocks.saturating_add(if next.mode == u8::MAX { 0 } else { next.blocks });
            size += bytes;
        }
        let millis = u64::from(blocks) * u64::from(BLOCK) * 1000 / u64::from(first.sample_rate().max(1));
        let kilobits = (size as u64 * 8).checked_div(millis).unwrap_or(0);
        let bit_rate = u16::try_from(kilobits).unwrap_or(u16::MAX).min(0x1fff);
        (first.mode != u8::MAX).then_some(Self { blocks, bit_rate, ..first })
    }

    /// One frame, and its size in bytes; of a dependent substream its mode is no mode.
    fn read_enhanced_frame(packet: &[u8]) -> Option<(Self, usize)> {
        let bits = &mut BitReader::new(packet);
        if bits.bits(16)? != SYNC_WORD {
            return None;
        }
        let is_dependent = bits.bits(2)? == 1;
        bits.skip(3)?;
        let bytes = (bits.bits(11)? as usize + 1) * 2;
        let (rate, number) = (bits.bits(2)? as u8, bits.bits(2)?);
        let blocks = [1, 2, 3, 6].get(number as usize).copied()?;
        let (mode, has_low, version) = (bits.bits(3)? as u8, bits.bit()?, bits.bits(5)? as u8);
        let is_known = rate < 3 && ENHANCED.contains(&version);
        let mode = if is_dependent { u8::MAX } else { mode };
        let frame = Self { is_enhanced: true, rate, version, service: 0, mode, has_low, bit_rate: 0, blocks };
        is_known.then_some((frame, bytes))
    }

    /// Bytes of the access unit that begins here: of E-AC-3 with what depends on it, and as many frames as make six blocks, as far
    /// as they are at hand. `None` when no unit begins here.
    pub fn unit_bytes(bytes: &[u8]) -> Option<usize> {
        let first = Self::parse(bytes)?;
        if !first.is_enhanced {
            return first.plain_bytes(*bytes.get(4)?);
        }
        let (first, mut size) = Self::read_enhanced_frame(bytes)?;
        let mut blocks = first.blocks;
        while let Some((next, more)) = bytes.get(size..).and_then(Self::read_enhanced_frame) {
            let is_dependent = next.mode == u8::MAX;
            if !is_dependent && blocks >= BLOCKS {
                break;
            }
            blocks += if is_dependent { 0 } else { next.blocks };
            size += more;
        }
        Some(size)
    }

    /// Bytes of a frame of AC-3 with this size code (table 5.18).
    fn plain_bytes(&self, code: u8) -> Option<usize> {
        let kilobits = *BIT_RATES.get(usize::from(code >> 1 & 0x1f))?;
        let words = match self.rate {
            0 => kilobits * 2,
            1 => kilobits * 320 / 147 + u32::from(code & 1),
            _ => kilobits * 3,
        };
        usize::try_from(words * 2).ok()
    }

    /// Samples a second.
    pub fn sample_rate(&self) -> u32 {
        RATES.get(usize::from(self.rate)).copied().unwrap_or(0)
    }

    /// Number of channels.
    pub fn channels(&self) -> u16 {
        CHANNELS.get(usize::from(self.mode)).copied().unwrap_or(0) + u16::from(self.has_low)
    }

    /// Samples of the packet.
    pub fn samples(&self) -> u32 {
        self.blocks.saturating_mul(BLOCK)
    }

    /// Whether it is of the same track: all but what may change from frame to frame.
    pub fn is_like(&self, other: &Self) -> bool {
        Self { bit_rate: other.bit_rate, blocks: other.blocks, ..*self } == *other
    }

    /// The body of `dac3` or `dec3`.
    pub fn to_bytes(self) -> Bytes {
        let common = u32::from(self.rate) << 22 | u32::from(self.version) << 17;
        let rest = u32::from(self.service) << 3 | u32::from(self.mode);
        let mut out = BytesMut::new();
        if self.is_enhanced {
            // One independent substream and none that depends on it.
            out.put_u16(self.bit_rate << 3);
            out.put_uint(u64::from(common | rest << 9 | u32::from(self.has_low) << 8), 3);
        } else {
            let low = u32::from(self.has_low) << 10 | u32::from(self.bit_rate) << 5;
            out.put_uint(u64::from(common | rest << 11 | low), 3);
        }
        out.freeze()
    }

    /// Reads a `dac3` body.
    pub fn parse_dac3(record: &[u8]) -> Option<Self> {
        let bits = &mut BitReader::new(record);
        let (rate, version, service, mode) = (bits.bits(2)?, bits.bits(5)?, bits.bits(3)?, bits.bits(3)?);
        let (has_low, bit_rate) = (bits.bit()?, bits.bits(5)? as u16);
        Self { is_enhanced: false, has_low, bit_rate, blocks: BLOCKS, ..Self::of(rate, version, service, mode) }
            .checked()
    }

    /// Reads a `dec3` body as far as its first substream.
    pub fn parse_dec3(record: &[u8]) -> Option<Self> {
        let bits = &mut BitReader::new(record);
        let bit_rate = bits.bits(13)? as u16;
        bits.skip(3)?;
        let (rate, version) = (bits.bits(2)?, bits.bits(5)?);
        bits.skip(2)?;
        let (service, mode, has_low) = (bits.bits(3)?, bits.bits(3)?, bits.bit()?);
        Self { is_enhanced: true, has_low, bit_rate, blocks: BLOCKS, ..Self::of(rate, version, service, mode) }
            .checked()
    }

    fn of(rate: u32, version: u32, service: u32, mode: u32) -> Self {
        let [rate, version, service, mode] = [rate, version, service, mode].map(|field| field as u8);
        Self { is_enhanced: false, rate, version, service, mode, has_low: false, bit_rate: 0, blocks: BLOCKS }
    }

    fn checked(self) -> Option<Self> {
        (self.rate < 3).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ffmpeg makes them: stereo at 192 kb/s, and mono at 96 kb/s.
    const AC3: &[u8] = &[0x0b, 0x77, 0xfe, 0x95, 0x14, 0x40, 0x43, 0xe1, 0x06, 0xf4];
    const EAC3: &[u8] = &[0x0b, 0x77, 0x00, 0xbf, 0x32, 0x87, 0xc0, 0x00, 0x21, 0x06];

    #[test]
    fn headers_of_frames_become_boxes() {
        let frame = DolbyFrame::parse(AC3).unwrap();
        assert_eq!((frame.sample_rate(), frame.channels(), frame.samples()), (48_000, 2, 1536));
        // fscod 0, bsid 8, bsmod 0, acmod 2, no lfe, bit rate code 10.
        assert_eq!(frame.to_bytes().as_ref(), [0b0001_0000, 0b0001_0001, 0b0100_0000]);
        assert!(DolbyFrame::parse_dac3(&frame.to_bytes()).unwrap().is_like(&frame));
        assert_eq!((DolbyFrame::unit_bytes(AC3), DolbyFrame::unit_bytes(EAC3)), (Some(768), Some(384)));
        let frame = DolbyFrame::parse(EAC3).unwrap();
        assert_eq!(
            (frame.is_enhanced, frame.sample_rate(), frame.channels(), frame.samples()),
            (true, 48_000, 1, 1536)
        );
        // 96 kb/s; fscod 0, bsid 16, acmod 1.
        assert_eq!(frame.to_bytes().as_ref(), [0x03, 0x00, 0b0010_0000, 0b0000_0010, 0]);
        assert!(DolbyFrame::parse_dec3(&frame.to_bytes()).unwrap().is_like(&frame));
    }

    #[test]
    fn damage_is_an_answer() {
        for packet in [AC3, EAC3] {
            for length in 0..6 {
                assert_eq!(DolbyFrame::parse(packet.get(..length).unwrap()), None);
            }
            for bit in 0..packet.len() * 8 {
                let mut changed = packet.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                let _ = DolbyFrame::parse(&changed).map(DolbyFrame::to_bytes);
            }
        }
    }
}
