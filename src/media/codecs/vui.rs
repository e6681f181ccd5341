//! Video usability information, as far as H.264 and HEVC have it in common.
use super::bits::BitReader;

/// Primaries, transfer characteristics and matrix coefficients (ISO/IEC 23091-2), and whether samples have the full range.
pub(super) type ColourCode = (u8, u8, u8, bool);

/// The start of the VUI (annex E.1.1 of H.264, E.2.1 of HEVC) up to the colour description.
pub(super) fn read_colour(bits: &mut BitReader) -> Option<Option<ColourCode>> {
    if bits.bit()? && bits.bits(8)? == 255 {
        bits.skip(32)?;
    }
    if bits.bit()? {
        bits.bit()?;
    }
    if !bits.bit()? {
        return Some(None);
    }
    bits.skip(3)?;
    let is_full = bits.bit()?;
    if !bits.bit()? {
        return Some(None);
    }
    Some(Some((bits.bits(8)? as u8, bits.bits(8)? as u8, bits.bits(8)? as u8, is_full)))
}
