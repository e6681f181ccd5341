//! AAC in LATM with LOAS heads (ISO/IEC 14496-3, section 1.7), as broadcasters send it: one programme of one layer.
use bytes::{BufMut, Bytes, BytesMut};

use crate::media::codecs::bits::BitReader;

/// Bytes of a LOAS head.
const HEAD_BYTES: usize = 3;
/// What it begins with, 11 bits.
const SYNC_WORD: u16 = 0x2b7;

/// Bytes of the unit that begins here, its head included; `None` when none does.
pub(super) fn unit_bytes(bytes: &[u8]) -> Option<usize> {
    let &[first, second, third] = bytes.first_chunk::<HEAD_BYTES>()?;
    let head = u16::from_be_bytes([first, second]);
    let length = usize::from(head & 0x1f) << 8 | usize::from(third);
    (head >> 5 == SYNC_WORD && length > 0).then_some(HEAD_BYTES + length)
}

/// What units are read by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Latm {
    /// `AudioSpecificConfig`.
    pub(super) config: Bytes,
    /// Access units of a unit.
    units: u32,
}

impl Latm {
    /// Reads a whole unit: its access units, and the configuration that it brings or goes by. `None` when it cannot be read, or goes
    /// by a configuration that has not come.
    pub(super) fn read(unit: &[u8], known: Option<&Self>) -> Option<(Self, Vec<Bytes>)> {
        let bits = &mut BitReader::new(unit.get(HEAD_BYTES..)?);
        let latm = if bits.bit()? { known?.clone() } else { read_config(bits)? };
        let mut found = Vec::new();
        for _ in 0..latm.units {
            let mut length = 0;
            loop {
                let more = bits.bits(8)?;
                length += more;
                if more != 0xff {
                    break;
                }
            }
            if bits.left() < length as usize * 8 {
                return None;
            }
            found.push(copy(bits, length as usize * 8)?);
        }
        Some((latm, found))
    }
}

/// Bits as bytes, with zeros behind the last.
fn copy(bits: &mut BitReader, count: usize) -> Option<Bytes> {
    let mut out = BytesMut::with_capacity(count.div_ceil(8));
    for _ in 0..count / 8 {
        out.put_u8(bits.bits(8)? as u8);
    }
    let rest = (count % 8) as u32;
    if rest > 0 {
        out.put_u8((bits.bits(rest)? << (8 - rest)) as u8);
    }
    Some(out.freeze())
}

/// `StreamMuxConfig`.
fn read_config(bits: &mut BitReader) -> Option<Latm> {
    let is_later = bits.bit()?;
    if is_later {
        if bits.bit()? {
            return None;
        }
        read_value(bits)?;
    }
    let (is_in_step, units) = (bits.bit()?, bits.bits(6)? + 1);
    let (programmes, layers) = (bits.bits(4)?, bits.bits(3)?);
    if !is_in_step || programmes != 0 || layers != 0 {
        return None;
    }
    let told = if is_later { Some(read_value(bits)?) } else { None };
    let before = bits.left();
    let mut config = bits.clone();
    skip_specific_config(bits)?;
    let length = match told {
        Some(told) => told as usize,
        None => before - bits.left(),
    };
    let used = before - bits.left();
    bits.skip(u32::try_from(length.checked_sub(used)?).ok()?)?;
    let config = copy(&mut config, length)?;
    // Only units that tell their length in each.
    if bits.bits(3)? != 0 {
        return None;
    }
    bits.skip(8)?;
    if bits.bit()? {
        if is_later {
            read_value(bits)?;
        } else {
            while bits.bits(9)? >> 8 == 1 {}
        }
    }
    if bits.bit()? {
        bits.skip(8)?;
    }
    Some(Latm { config, units })
}

/// `LatmGetValue`.
fn read_value(bits: &mut BitReader) -> Option<u32> {
    let bytes = bits.bits(2)? + 1;
    bits.bits(bytes * 8)
}

/// `AudioSpecificConfig` of the kinds that are in use; others cannot be told from what follows them.
fn skip_specific_config(bits: &mut BitReader) -> Option<()> {
    let mut object_type = bits.bits(5)?;
    skip_rate(bits)?;
    let channels = bits.bits(4)?;
    if matches!(object_type, 5 | 29) {
        skip_rate(bits)?;
        object_type = bits.bits(5)?;
    }
    if !(1..=4).contains(&object_type) || channels == 0 {
        return None;
    }
    bits.bit()?;
    if bits.bit()? {
        bits.skip(14)?;
    }
    let is_extended = bits.bit()?;
    (!is_extended).then_some(())
}

fn skip_rate(bits: &mut BitReader) -> Option<()> {
    if bits.bits(4)? == 15 { bits.skip(24) } else { Some(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit with these bits behind its head.
    fn unit(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|byte| *byte != b' ').map(|byte| byte - b'0').collect();
        let mut body: Vec<u8> = bits.chunks(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect();
        if !bits.len().is_multiple_of(8) {
            *body.last_mut().unwrap() <<= 8 - bits.len() % 8;
        }
        [&[0x56, 0xe0, body.len() as u8][..], &body].concat()
    }

    #[test]
    fn units_go_by_the_configuration_that_came_before() {
        // Version 0, in step, one unit, one programme, one layer; LC at 48 kHz in stereo; fullness; no other data, no checksum.
        let config = "0 0 1 000000 0000 000 00010 0011 0010 000 000 11111111 0 0";
        let first = unit(&format!("{config} 00000010 10101010 11110000"));
        assert_eq!(unit_bytes(&first), Some(first.len()));
        let (latm, units) = Latm::read(&first, None).unwrap();
        assert_eq!((latm.config.as_ref(), units), (&[0x11, 0x90][..], vec![Bytes::from_static(&[0xaa, 0xf0])]));
        let next = unit("1 00000001 11001100");
        assert_eq!(Latm::read(&next, None), None);
        assert_eq!(Latm::read(&next, Some(&latm)), Some((latm.clone(), vec![Bytes::from_static(&[0xcc])])));
        for length in 0..first.len() {
            assert_eq!(Latm::read(&first[..length], None), None);
        }
        assert_eq!(Latm::read(&unit("1 11111111 00000001 1"), Some(&latm)), None, "it says that it is longer");
    }
}
