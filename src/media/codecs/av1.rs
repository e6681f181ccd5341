//! AV1: open bitstream units and the sequence header (AV1 bitstream specification, sections 5.3 to 5.5), and what goes into
//! `av1C` (AV1 codec ISO media file format binding, section 2.3).
use bytes::{BufMut, Bytes, BytesMut};

use super::bits::BitReader;

/// `obu_type` of a sequence header.
pub const OBU_SEQUENCE_HEADER: u8 = 1;
/// `obu_type` of a temporal delimiter.
pub const OBU_TEMPORAL_DELIMITER: u8 = 2;
/// `obu_type` of a frame header, and of one with the frame behind it.
const OBU_FRAME_HEADERS: [u8; 2] = [3, 6];

/// Largest picture side taken for real.
const SIDE_MAX: u32 = 16_384;

/// The bytes are not what the specification says they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged AV1 {0}")]
pub struct InvalidAv1(&'static str);

/// What a sequence header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceHeader {
    /// `seq_profile`: 0 is Main.
    pub profile: u8,
    /// `seq_level_idx[0]`.
    pub level: u8,
    /// `seq_tier[0]`: whether it is the High tier.
    pub high_tier: bool,
    /// Bits per sample: 8, 10 or 12.
    pub bit_depth: u8,
    /// Only luma.
    pub monochrome: bool,
    /// Whether colour has half the width.
    pub subsampling_x: bool,
    /// Whether colour has half the height.
    pub subsampling_y: bool,
    /// `chroma_sample_position`.
    pub chroma_position: u8,
    /// Largest picture width.
    pub width: u32,
    /// Largest picture height.
    pub height: u32,
    /// `color_primaries`, `transfer_characteristics`, `matrix_coefficients`, when given.
    pub colour: Option<(u8, u8, u8)>,
    /// Whether samples use the full range.
    pub full_range: bool,
}

impl SequenceHeader {
    /// Reads the payload of a sequence header's unit.
    pub fn parse(payload: &[u8]) -> Result<Self, InvalidAv1> {
        read_sequence(&mut BitReader::new(payload)).ok_or(InvalidAv1("sequence header"))
    }

    /// RFC 6381 codec string, e.g. `av01.0.05M.08`.
    pub fn codec_string(&self) -> String {
        let tier = if self.high_tier { 'H' } else { 'M' };
        format!("av01.{}.{:02}{tier}.{:02}", self.profile, self.level, self.bit_depth)
    }
}

/// The decoder configuration record of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Av1Config {
    /// What its sequence header says.
    pub sequence: SequenceHeader,
    /// The sequence header's unit, as it is.
    header: Bytes,
}

impl Av1Config {
    /// Reads an `av1C` body; it has to carry a sequence header.
    pub fn parse(record: &[u8]) -> Result<Self, InvalidAv1> {
        let damaged = InvalidAv1("configuration record");
        let (&[version, ..], units) = record.split_first_chunk::<4>().ok_or(damaged)?;
        if version != 0x81 {
            return Err(damaged);
        }
        Self::from_units(units)
    }

    /// Makes the record of a track from a temporal unit with a sequence header.
    pub fn from_units(units: &[u8]) -> Result<Self, InvalidAv1> {
        let unit = Obus::new(units).find(|unit| unit.kind == OBU_SEQUENCE_HEADER);
        let unit = unit.ok_or(InvalidAv1("temporal unit without a sequence header"))?;
        Ok(Self { sequence: SequenceHeader::parse(unit.payload)?, header: Bytes::copy_from_slice(unit.bytes) })
    }

    /// The `av1C` body.
    pub fn to_bytes(&self) -> Bytes {
        let SequenceHeader { profile, level, high_tier, bit_depth, monochrome, .. } = self.sequence;
        let bit = |value: bool, place: u8| u8::from(value) << place;
        let subsampling = bit(self.sequence.subsampling_x, 3) | bit(self.sequence.subsampling_y, 2);
        let depth = bit(bit_depth > 8, 6) | bit(bit_depth > 10, 5);
        let format = bit(high_tier, 7) | depth | bit(monochrome, 4) | subsampling | self.sequence.chroma_position & 3;
        let mut out = BytesMut::with_capacity(4 + self.header.len());
        out.put_slice(&[0x81, profile << 5 | level & 0x1f, format, 0]);
        out.put_slice(&self.header);
        out.freeze()
    }

    /// RFC 6381 codec string.
    pub fn codec_string(&self) -> String {
        self.sequence.codec_string()
    }
}

/// A temporal unit without the delimiter in front of it.
pub fn without_delimiter(unit: Bytes) -> Bytes {
    let delimiter = Obus::new(&unit).next().filter(|first| first.kind == OBU_TEMPORAL_DELIMITER);
    let length = delimiter.map_or(0, |delimiter| delimiter.bytes.len());
    unit.slice(length..)
}

/// Whether decoding can start with a temporal unit: its first frame is a key frame, and shown.
pub fn is_key(unit: &[u8]) -> bool {
    let frame = Obus::new(unit).find(|unit| OBU_FRAME_HEADERS.contains(&unit.kind));
    // show_existing_frame, frame_type in two bits, show_frame; of still pictures there are no streams.
    frame.and_then(|frame| frame.payload.first()).is_some_and(|first| first >> 4 == 0b0001)
}

/// An open bitstream unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obu<'a> {
    /// `obu_type`.
    pub kind: u8,
    /// All of it.
    pub bytes: &'a [u8],
    /// What follows header and size.
    pub payload: &'a [u8],
}

/// Walks units that tell their size (the low-overhead format); stops where the bytes end or make no sense.
#[derive(Debug, Clone)]
pub struct Obus<'a> {
    rest: &'a [u8],
}

impl<'a> Obus<'a> {
    /// Walks a temporal unit.
    pub fn new(units: &'a [u8]) -> Self {
        Self { rest: units }
    }
}

impl<'a> Iterator for Obus<'a> {
    type Item = Obu<'a>;

    fn next(&mut self) -> Option<Obu<'a>> {
        let unit = self.rest;
        let (header, mut rest) = unit.split_first()?;
        if header & 0x82 != 0x02 {
            return None;
        }
        if header & 0x04 != 0 {
            (_, rest) = rest.split_first()?;
        }
        let (length, rest) = take_leb128(rest)?;
        let (payload, rest) = rest.split_at_checked(length)?;
        let (bytes, _) = unit.split_at_checked(unit.len() - rest.len())?;
        self.rest = rest;
        Some(Obu { kind: header >> 3 & 0xf, bytes, payload })
    }
}

fn take_leb128(mut rest: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for place in 0..8 {
        let (byte, tail) = rest.split_first()?;
        rest = tail;
        value |= u64::from(byte & 0x7f) << (place * 7);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, rest));
        }
    }
    None
}

fn read_sequence(bits: &mut BitReader) -> Option<SequenceHeader> {
    let profile = bits.bits(3)? as u8;
    bits.bit()?;
    let reduced = bits.bit()?;
    let (level, high_tier) = if reduced { (bits.bits(5)? as u8, false) } else { read_operating_points(bits)? };
    let (width_bits, height_bits) = (bits.bits(4)? + 1, bits.bits(4)? + 1);
    let (width, height) = (bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1);
    if !reduced && bits.bit()? {
        bits.skip(7)?;
    }
    bits.skip(3)?;
    if !reduced {
        skip_inter_tools(bits)?;
    }
    bits.skip(3)?;
    let header = SequenceHeader {
        profile,
        level,
        high_tier,
        bit_depth: 8,
        monochrome: false,
        subsampling_x: false,
        subsampling_y: false,
        chroma_position: 0,
        width,
        height,
        colour: None,
        full_range: false,
    };
    let sane = profile <= 2 && width <= SIDE_MAX && height <= SIDE_MAX;
    read_colour(bits, header).filter(|_| sane)
}

/// Level and tier of the first operating point.
fn read_operating_points(bits: &mut BitReader) -> Option<(u8, bool)> {
    let mut delay_bits = None;
    if bits.bit()? {
        bits.skip(64)?;
        if bits.bit()? {
            bits.unsigned_golomb()?;
        }
        if bits.bit()? {
            delay_bits = Some(bits.bits(5)? + 1);
            bits.skip(42)?;
        }
    }
    let has_display_delay = bits.bit()?;
    let mut first = None;
    for _ in 0..=bits.bits(5)? {
        bits.skip(12)?;
        let level = bits.bits(5)? as u8;
        let high_tier = level > 7 && bits.bit()?;
        if let Some(delay_bits) = delay_bits
            && bits.bit()?
        {
            bits.skip(2 * delay_bits + 1)?;
        }
        if has_display_delay && bits.bit()? {
            bits.skip(4)?;
        }
        first = first.or(Some((level, high_tier)));
    }
    first
}

fn skip_inter_tools(bits: &mut BitReader) -> Option<()> {
    bits.skip(4)?;
    let has_order_hint = bits.bit()?;
    if has_order_hint {
        bits.skip(2)?;
    }
    let has_screen_tools = bits.bit()? || bits.bit()?;
    if has_screen_tools && !bits.bit()? {
        bits.bit()?;
    }
    if has_order_hint {
        bits.skip(3)?;
    }
    Some(())
}

/// `color_config()`.
fn read_colour(bits: &mut BitReader, mut header: SequenceHeader) -> Option<SequenceHeader> {
    let is_high = bits.bit()?;
    let is_twelve = header.profile == 2 && is_high && bits.bit()?;
    header.bit_depth = match (is_high, is_twelve) {
        (_, true) => 12,
        (true, false) => 10,
        (false, false) => 8,
    };
    header.monochrome = header.profile != 1 && bits.bit()?;
    if bits.bit()? {
        header.colour = Some((bits.bits(8)? as u8, bits.bits(8)? as u8, bits.bits(8)? as u8));
    }
    if header.monochrome {
        (header.subsampling_x, header.subsampling_y) = (true, true);
        header.full_range = bits.bit()?;
        return Some(header);
    }
    if header.colour == Some((1, 13, 0)) {
        header.full_range = true;
        return Some(header);
    }
    header.full_range = bits.bit()?;
    (header.subsampling_x, header.subsampling_y) = match header.profile {
        0 => (true, true),
        1 => (false, false),
        _ if is_twelve => {
            let x = bits.bit()?;
            (x, x && bits.bit()?)
        }
        _ => (true, false),
    };
    if header.subsampling_x && header.subsampling_y {
        header.chroma_position = bits.bits(2)? as u8;
    }
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporal unit's start as SVT-AV1 writes it: temporal delimiter, and the sequence header of 320x240 in 10 bits.
    const UNIT: &[u8] = &[0x12, 0x00, 0x0a, 0x0b, 0x00, 0x00, 0x00, 0x04, 0x3c, 0xff, 0xbc, 0xfb, 0xf9, 0x40, 0x40];

    #[test]
    fn units_are_walked_and_a_record_made_of_them_is_read_again() {
        let kinds: Vec<_> = Obus::new(UNIT).map(|unit| (unit.kind, unit.payload.len())).collect();
        assert_eq!(kinds, [(OBU_TEMPORAL_DELIMITER, 0), (OBU_SEQUENCE_HEADER, 11)]);
        let config = Av1Config::from_units(UNIT).unwrap();
        let SequenceHeader { width, height, bit_depth, .. } = config.sequence;
        assert_eq!((width, height, bit_depth), (320, 240, 10));
        assert_eq!(config.codec_string(), "av01.0.00M.10");
        let record = config.to_bytes();
        assert_eq!(record.get(..1), Some(&[0x81][..]));
        assert_eq!(Av1Config::parse(&record), Ok(config));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_an_answer() {
        let record = Av1Config::from_units(UNIT).unwrap().to_bytes();
        for length in 0..record.len() - 1 {
            assert!(Av1Config::parse(record.get(..length).unwrap()).is_err());
        }
        for bit in 0..record.len() * 8 {
            let mut changed = record.to_vec();
            if let Some(byte) = changed.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            let _ = Av1Config::parse(&changed).map(|config| config.codec_string());
        }
    }
}
