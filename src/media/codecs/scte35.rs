//! Splice information (SCTE 35): as much as tells where a break begins and ends.
use super::bits::BitReader;
use crate::domain::cues::SplicePoint;

/// Ticks per second of its times.
const TICKS_PER_SEC: i64 = 90_000;
/// Identifier of segmentation descriptors' owner.
const CUEI: u32 = 0x4355_4549;
const SEGMENTATION_DESCRIPTOR: u32 = 2;

/// What a section tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpliceInfo {
    /// Which end of a splice.
    pub point: SplicePoint,
    /// Number of the event: both ends of a splice have the same.
    pub event: Option<u32>,
    /// How long the break is to last, microseconds.
    pub length_micros: Option<i64>,
}

impl SpliceInfo {
    const OTHER: Self = Self { point: SplicePoint::Command, event: None, length_micros: None };

    /// Reads a `splice_info_section` (9.6); what cannot be read, or is none of a break's ends, is a command.
    pub fn read(section: &[u8]) -> Self {
        Self::parse(section).unwrap_or(Self::OTHER)
    }

    fn parse(section: &[u8]) -> Option<Self> {
        let mut bits = BitReader::new(section);
        // Table, flags and length; version.
        bits.skip(8 + 16 + 8)?;
        if bits.bit()? {
            // Encrypted.
            return None;
        }
        // Algorithm, adjustment, key, tier.
        bits.skip(6 + 33 + 8 + 12)?;
        let command_bytes = bits.bits(12)?;
        match bits.bits(8)? {
            5 => Self::insert(&mut bits),
            // Old encoders do not tell the command's length (9.6.1).
            6 if command_bytes == 0xfff => {
                skip_splice_time(&mut bits)?;
                Self::descriptors(&mut bits)
            }
            6 => {
                bits.skip(command_bytes * 8)?;
                Self::descriptors(&mut bits)
            }
            _ => None,
        }
    }

    /// `splice_insert` (9.7.3).
    fn insert(bits: &mut BitReader) -> Option<Self> {
        let event = bits.bits(32)?;
        let is_cancelled = bits.bit()?;
        bits.skip(7)?;
        if is_cancelled {
            return None;
        }
        let point = if bits.bit()? { SplicePoint::Out } else { SplicePoint::In };
        let (is_program, has_duration, is_immediate) = (bits.bit()?, bits.bit()?, bits.bit()?);
        bits.skip(4)?;
        if is_program && !is_immediate {
            skip_splice_time(bits)?;
        }
        if !is_program {
            for _ in 0..bits.bits(8)? {
                bits.skip(8)?;
                if !is_immediate {
                    skip_splice_time(bits)?;
                }
            }
        }
        let length_micros = match has_duration {
            true => {
                bits.skip(7)?;
                Some(micros(ticks_of(bits, 33)?))
            }
            false => None,
        };
        Some(Self { point, event: Some(event), length_micros })
    }

    /// The first segmentation descriptor that tells an end of a break (10.3.3).
    fn descriptors(bits: &mut BitReader) -> Option<Self> {
        let mut left = bits.bits(16)?;
        let mut first = None;
        while left >= 2 {
            let (tag, bytes) = (bits.bits(8)?, bits.bits(8)?);
            left = left.checked_sub(2 + bytes)?;
            let mut inner = bits.clone();
            bits.skip(bytes * 8)?;
            if tag != SEGMENTATION_DESCRIPTOR || inner.bits(32)? != CUEI {
                continue;
            }
            let Some(found) = Self::segmentation(&mut inner) else { continue };
            if found.point != SplicePoint::Command {
                return Some(found);
            }
            first.get_or_insert(found);
        }
        first
    }

    fn segmentation(bits: &mut BitReader) -> Option<Self> {
        let event = Some(bits.bits(32)?);
        let is_cancelled = bits.bit()?;
        bits.skip(7)?;
        if is_cancelled {
            return None;
        }
        let (is_program, has_duration) = (bits.bit()?, bits.bit()?);
        bits.skip(6)?;
        if !is_program {
            let components = bits.bits(8)?;
            bits.skip(components * 48)?;
        }
        let length_micros = if has_duration { Some(micros(ticks_of(bits, 40)?)) } else { None };
        bits.skip(8)?;
        let upid_bytes = bits.bits(8)?;
        bits.skip(upid_bytes * 8)?;
        Some(Self { point: point_of(bits.bits(8)?), event, length_micros })
    }
}

/// When what a section tells of the whole programme happens, on the clock of its transport stream (90 kHz in 33 bits); `None` when
/// that is at once, or not said.
pub fn splice_time(section: &[u8]) -> Option<i64> {
    let mut bits = BitReader::new(section);
    bits.skip(8 + 16 + 8)?;
    if bits.bit()? {
        return None;
    }
    bits.skip(6)?;
    let adjustment = ticks_of(&mut bits, 33)?;
    bits.skip(8 + 12 + 12)?;
    match bits.bits(8)? {
        5 => {
            bits.skip(32)?;
            let is_cancelled = bits.bit()?;
            bits.skip(8)?;
            let (is_program, _, is_immediate) = (bits.bit()?, bits.bit()?, bits.bit()?);
            bits.skip(4)?;
            if is_cancelled || !is_program || is_immediate {
                return None;
            }
        }
        6 => {}
        _ => return None,
    }
    if !bits.bit()? {
        return None;
    }
    bits.skip(6)?;
    Some((ticks_of(&mut bits, 33)? + adjustment) & ((1 << 33) - 1))
}

/// Breaks, advertisements and placement opportunities begin with even types and end with odd ones (table 23).
fn point_of(segmentation_type: u32) -> SplicePoint {
    match segmentation_type {
        0x22 | 0x30 | 0x32 | 0x34 | 0x36 | 0x38 | 0x3a | 0x44 | 0x46 => SplicePoint::Out,
        0x23 | 0x31 | 0x33 | 0x35 | 0x37 | 0x39 | 0x3b | 0x45 | 0x47 => SplicePoint::In,
        _ => SplicePoint::Command,
    }
}

/// `splice_time` (9.8.1).
fn skip_splice_time(bits: &mut BitReader) -> Option<()> {
    match bits.bit()? {
        true => bits.skip(6 + 33),
        false => bits.skip(7),
    }
}

fn ticks_of(bits: &mut BitReader, count: u32) -> Option<i64> {
    let high = bits.bits(count.checked_sub(32)?)?;
    Some(i64::from(high) << 32 | i64::from(bits.bits(32)?))
}

fn micros(ticks: i64) -> i64 {
    // At most 40 bits.
    ticks * (1_000_000 / 10_000) / (TICKS_PER_SEC / 10_000)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Sections of SCTE 35's own section 14.
    const TIME_SIGNAL_OUT: &str = "/DA0AAAAAAAA///wBQb+cr0AUAAeAhxDVUVJSAAAjn/PAAGlmbAICAAAAAAsoKGKNAIAmsnRfg==";
    const INSERT_OUT: &str = "/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowo=";

    fn read(base64: &str) -> SpliceInfo {
        SpliceInfo::read(&STANDARD.decode(base64).unwrap())
    }

    #[test]
    fn ends_of_breaks_are_told() {
        let out = |event, length_micros| SpliceInfo { point: SplicePoint::Out, event, length_micros };
        assert_eq!(read(INSERT_OUT), out(Some(0x4800_008f), Some(60_293_566)));
        assert_eq!(read(TIME_SIGNAL_OUT), out(Some(0x4800_008e), Some(307_000_000)));
        let time = |base64: &str| splice_time(&STANDARD.decode(base64).unwrap());
        assert_eq!((time(INSERT_OUT), time(TIME_SIGNAL_OUT)), (Some(0x7369_c02e), Some(0x72bd_0050)));
        let mut section = STANDARD.decode(INSERT_OUT).unwrap();
        section[19] &= 0x7f;
        let back = SpliceInfo::read(&section);
        assert_eq!((back.point, back.event), (SplicePoint::In, Some(0x4800_008f)));
    }

    #[test]
    fn what_cannot_be_read_is_a_command() {
        for base64 in [TIME_SIGNAL_OUT, INSERT_OUT] {
            let section = STANDARD.decode(base64).unwrap();
            for length in 0..section.len() {
                let _ = (SpliceInfo::read(&section[..length]), splice_time(&section[..length]));
            }
            assert_eq!(SpliceInfo::read(&section[..10]), SpliceInfo::OTHER);
        }
    }
}
