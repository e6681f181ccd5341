//! Sequence parameter sets (ITU-T H.265 section 7.3.2.2) as far as the colour description in their VUI (annex E).
use super::InvalidHevc;
use crate::media::codecs::bits::BitReader;
use crate::media::codecs::h264::without_emulation_prevention;
use crate::media::codecs::vui::{ColourCode, read_colour};

/// Largest picture side taken for real.
const SIDE_MAX: u32 = 16_384;
/// Sets of reference pictures that a sequence may have.
const REFERENCE_SETS_MAX: u32 = 64;
/// Pictures that one of them may have.
const REFERENCES_MAX: u32 = 16;

/// What a sequence parameter set says about the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpsInfo {
    /// General profile, tier and level, as a record begins with them.
    pub(super) profile: [u8; 12],
    /// `chroma_format_idc`: 1 is 4:2:0.
    pub chroma_format: u8,
    /// Bits per sample, the more of luma and chroma: 8 to 15.
    pub bit_depth: u8,
    /// Picture width after cropping.
    pub width: u32,
    /// Picture height after cropping.
    pub height: u32,
    /// `colour_primaries`, `transfer_characteristics`, `matrix_coeffs`, and whether the range is full; when given.
    pub colour: Option<(u8, u8, u8, bool)>,
}

impl SpsInfo {
    /// Reads a sequence parameter set, NAL header included.
    pub fn parse(unit: &[u8]) -> Result<Self, InvalidHevc> {
        let payload = unit.get(2..).map(without_emulation_prevention);
        let read = payload.and_then(|payload| read(&mut BitReader::new(&payload)));
        read.ok_or(InvalidHevc("sequence parameter set"))
    }
}

fn read(bits: &mut BitReader) -> Option<SpsInfo> {
    bits.skip(4)?;
    let sub_layers = bits.bits(3)?;
    bits.bit()?;
    let profile = read_profile(bits, sub_layers)?;
    bits.unsigned_golomb()?;
    let chroma_format = u8::try_from(bits.unsigned_golomb()?).ok().filter(|format| *format <= 3)?;
    if chroma_format == 3 {
        bits.bit()?;
    }
    let (coded_width, coded_height) = (bits.unsigned_golomb()?, bits.unsigned_golomb()?);
    let window = if bits.bit()? { read_four(bits)? } else { [0; 4] };
    let [left, right, top, bottom] = window;
    let (unit_x, unit_y) = match chroma_format {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let width = coded_width.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
    let height = coded_height.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
    let depth = bits.unsigned_golomb()?.max(bits.unsigned_golomb()?);
    let bit_depth = 8 + u8::try_from(depth).ok().filter(|depth| *depth <= 7)?;
    let sane = (1..=SIDE_MAX).contains(&width) && (1..=SIDE_MAX).contains(&height);
    // Much lies before the colours; who cannot read it does without them.
    let colour = read_to_colour(bits, sub_layers).flatten();
    sane.then_some(SpsInfo { profile, chroma_format, bit_depth, width, height, colour })
}

fn read_four(bits: &mut BitReader) -> Option<[u32; 4]> {
    Some([bits.unsigned_golomb()?, bits.unsigned_golomb()?, bits.unsigned_golomb()?, bits.unsigned_golomb()?])
}

/// `profile_tier_level`: the general one is kept.
fn read_profile(bits: &mut BitReader, sub_layers: u32) -> Option<[u8; 12]> {
    let mut profile = [0; 12];
    for byte in &mut profile {
        *byte = bits.bits(8)? as u8;
    }
    let mut present = Vec::new();
    for _ in 0..sub_layers {
        present.push((bits.bit()?, bits.bit()?));
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers))?;
    }
    for (has_profile, has_level) in present {
        bits.skip(88 * u32::from(has_profile) + 8 * u32::from(has_level))?;
    }
    Some(profile)
}

/// From behind the bit depths to the colour description.
fn read_to_colour(bits: &mut BitReader, sub_layers: u32) -> Option<Option<ColourCode>> {
    let order_bits = bits.unsigned_golomb()?.checked_add(4).filter(|bits| *bits <= 16)?;
    let described = if bits.bit()? { sub_layers + 1 } else { 1 };
    for _ in 0..described * 3 {
        bits.unsigned_golomb()?;
    }
    for _ in 0..6 {
        bits.unsigned_golomb()?;
    }
    if bits.bit()? && bits.bit()? {
        skip_scaling_lists(bits)?;
    }
    bits.skip(2)?;
    if bits.bit()? {
        bits.skip(8)?;
        bits.unsigned_golomb()?;
        bits.unsigned_golomb()?;
        bits.bit()?;
    }
    skip_reference_sets(bits)?;
    if bits.bit()? {
        let count = bits.unsigned_golomb()?.min(33);
        bits.skip(count * (order_bits + 1))?;
    }
    bits.skip(2)?;
    if bits.bit()? { read_colour(bits) } else { Some(None) }
}

fn skip_scaling_lists(bits: &mut BitReader) -> Option<()> {
    for size in 0..4u32 {
        let step = if size == 3 { 3 } else { 1 };
        for _ in (0..6).step_by(step) {
            if !bits.bit()? {
                bits.unsigned_golomb()?;
                continue;
            }
            let coefficients = 64.min(1u32 << (4 + (size << 1)));
            for _ in 0..coefficients + u32::from(size > 1) {
                bits.signed_golomb()?;
            }
        }
    }
    Some(())
}

/// `st_ref_pic_set` of all sets (section 7.3.7): how many pictures each has is needed to read the next.
fn skip_reference_sets(bits: &mut BitReader) -> Option<()> {
    let count = bits.unsigned_golomb()?;
    if count > REFERENCE_SETS_MAX {
        return None;
    }
    let mut pictures = 0u32;
    for index in 0..count {
        if index > 0 && bits.bit()? {
            bits.bit()?;
            bits.unsigned_golomb()?;
            let mut kept = 0;
            for _ in 0..=pictures {
                let is_used = bits.bit()?;
                kept += u32::from(is_used || bits.bit()?);
            }
            pictures = kept;
        } else {
            let (before, after) = (bits.unsigned_golomb()?, bits.unsigned_golomb()?);
            pictures = before.checked_add(after)?;
            for _ in 0..pictures.min(REFERENCES_MAX) {
                bits.unsigned_golomb()?;
                bits.bit()?;
            }
        }
        if pictures > REFERENCES_MAX {
            return None;
        }
    }
    Some(())
}
