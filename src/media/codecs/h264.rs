//! H.264: the `avcC` record (ISO/IEC 14496-15 section 5.3.3), sequence parameter sets (ITU-T H.264 section 7.3.2.1) and
//! the NAL units of a length-prefixed access unit.
use bytes::{BufMut, Bytes, BytesMut};

use super::bits::BitReader;
use super::vui;

/// `nal_unit_type` of a coded slice of a picture that is not IDR.
pub const NAL_SLICE: u8 = 1;
/// `nal_unit_type` of a coded slice of an IDR picture.
pub const NAL_IDR: u8 = 5;
/// `nal_unit_type` of a sequence parameter set.
pub const NAL_SPS: u8 = 7;
/// `nal_unit_type` of a picture parameter set.
pub const NAL_PPS: u8 = 8;

/// Largest picture side taken for real.
const SIDE_MAX: u32 = 16_384;

/// The bytes are not what the standard says they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged H.264 {0}")]
pub struct InvalidH264(&'static str);

/// The decoder configuration record of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvcConfig {
    /// `AVCProfileIndication`.
    pub profile: u8,
    /// `profile_compatibility`.
    pub compatibility: u8,
    /// `AVCLevelIndication`.
    pub level: u8,
    /// Bytes of each NAL unit's length prefix: 1, 2 or 4.
    pub length_bytes: u8,
    /// Sequence parameter sets, whole NAL units.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, whole NAL units.
    pub pps: Vec<Bytes>,
}

impl AvcConfig {
    /// Reads an `avcC` body.
    pub fn parse(record: &[u8]) -> Result<Self, InvalidH264> {
        Self::read(record).ok_or(InvalidH264("configuration record"))
    }

    fn read(record: &[u8]) -> Option<Self> {
        let (&[version, profile, compatibility, level, length, num_sps], mut rest) = record.split_first_chunk::<6>()?;
        let length_bytes = (length & 3) + 1;
        if version != 1 || length_bytes == 3 {
            return None;
        }
        let sps = (0..num_sps & 0x1f).map(|_| take_set(&mut rest)).collect::<Option<Vec<_>>>()?;
        let (&num_pps, mut rest) = rest.split_first()?;
        let pps = (0..num_pps).map(|_| take_set(&mut rest)).collect::<Option<Vec<_>>>()?;
        (!sps.is_empty() && !pps.is_empty()).then_some(Self { profile, compatibility, level, length_bytes, sps, pps })
    }

    /// Makes the record of a track with these parameter sets and 4-byte length prefixes.
    pub fn from_parameter_sets(sps: Vec<Bytes>, pps: Vec<Bytes>) -> Result<Self, InvalidH264> {
        let first = sps.first().ok_or(InvalidH264("sequence parameter set"))?;
        let Some(&[_, profile, compatibility, level]) = first.first_chunk::<4>() else {
            return Err(InvalidH264("sequence parameter set"));
        };
        Ok(Self { profile, compatibility, level, length_bytes: 4, sps, pps })
    }

    /// The `avcC` body. Sets beyond what its counts can say are left out.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        let length = 0xfc | (self.length_bytes - 1) & 3;
        out.put_slice(&[1, self.profile, self.compatibility, self.level, length]);
        put_sets(&mut out, &self.sps, 31, 0xe0);
        put_sets(&mut out, &self.pps, 255, 0);
        let high = matches!(self.profile, 100 | 110 | 122 | 144);
        if let (true, Some(Ok(info))) = (high, self.sps.first().map(|sps| SpsInfo::parse(sps))) {
            let depth = |bits: u8| 0xf8 | bits.saturating_sub(8) & 7;
            let (luma, chroma) = (depth(info.bit_depth_luma), depth(info.bit_depth_chroma));
            out.put_slice(&[0xfc | info.chroma_format & 3, luma, chroma, 0]);
        }
        out.freeze()
    }

    /// RFC 6381 codec string, e.g. `avc1.64001f`.
    pub fn codec_string(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.profile, self.compatibility, self.level)
    }

    /// What the units of (the first bytes of) an access unit up to its first slice say; `None` when no slice is among
    /// them.
    pub fn picture_kind(&self, head: &[u8]) -> Option<PictureKind> {
        for unit in NalUnits::new(head, self.length_bytes) {
            let known = match unit.kind {
                NAL_IDR => return Some(PictureKind::Idr),
                NAL_SLICE..NAL_IDR => return Some(PictureKind::Other),
                NAL_SPS => &self.sps,
                NAL_PPS => &self.pps,
                _ => continue,
            };
            if unit.complete && !known.iter().any(|set| set == unit.bytes) {
                return Some(PictureKind::Reconfigured);
            }
        }
        None
    }
}

/// What an access unit is to a player that wants to start there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureKind {
    /// An IDR picture: decoding can start here.
    Idr,
    /// Any other picture.
    Other,
    /// Carries parameter sets that are not the track's.
    Reconfigured,
}

fn take_set(rest: &mut &[u8]) -> Option<Bytes> {
    let (length, tail) = rest.split_first_chunk::<2>()?;
    let (set, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *rest = tail;
    (!set.is_empty()).then(|| Bytes::copy_from_slice(set))
}

fn put_sets(out: &mut BytesMut, sets: &[Bytes], max: usize, reserved: u8) {
    let fitting: Vec<_> = sets.iter().filter(|set| u16::try_from(set.len()).is_ok()).take(max).collect();
    out.put_u8(reserved | fitting.len() as u8);
    for set in fitting {
        out.put_u16(set.len() as u16);
        out.put_slice(set);
    }
}

/// What a sequence parameter set says about the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpsInfo {
    /// `profile_idc`.
    pub profile: u8,
    /// `chroma_format_idc`: 1 is 4:2:0.
    pub chroma_format: u8,
    /// Bits per luma sample.
    pub bit_depth_luma: u8,
    /// Bits per chroma sample.
    pub bit_depth_chroma: u8,
    /// `frame_mbs_only_flag`: no fields anywhere.
    pub progressive: bool,
    /// Picture width after cropping.
    pub width: u32,
    /// Picture height after cropping.
    pub height: u32,
    /// `colour_primaries`, `transfer_characteristics`, `matrix_coefficients`, when given.
    pub colour: Option<(u8, u8, u8)>,
}

impl SpsInfo {
    /// Reads a sequence parameter set, NAL header included.
    pub fn parse(nal: &[u8]) -> Result<Self, InvalidH264> {
        let damaged = InvalidH264("sequence parameter set");
        let (header, payload) = nal.split_first().ok_or(damaged)?;
        if header & 0x1f != NAL_SPS {
            return Err(damaged);
        }
        let payload = without_emulation_prevention(payload);
        read_sps(&mut BitReader::new(&payload)).ok_or(damaged)
    }

    /// The profile by its usual name.
    pub fn profile_name(&self) -> String {
        profile_name(self.profile)
    }
}

/// A profile by its usual name.
pub fn profile_name(profile: u8) -> String {
    match profile {
        66 => "Baseline".into(),
        77 => "Main".into(),
        88 => "Extended".into(),
        100 => "High".into(),
        110 => "High 10".into(),
        122 => "High 4:2:2".into(),
        244 => "High 4:4:4 Predictive".into(),
        44 => "CAVLC 4:4:4 Intra".into(),
        other => format!("profile {other}"),
    }
}

/// A NAL unit's payload as it was before bytes were put between what would look like a start code.
pub(super) fn without_emulation_prevention(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

fn read_sps(bits: &mut BitReader) -> Option<SpsInfo> {
    let profile = bits.bits(8)? as u8;
    bits.skip(16)?;
    bits.unsigned_golomb()?;
    let (chroma_format, bit_depth_luma, bit_depth_chroma) = read_chroma(bits, profile)?;
    bits.unsigned_golomb()?;
    skip_picture_order(bits)?;
    bits.unsigned_golomb()?;
    bits.bit()?;
    let width_mbs = bits.unsigned_golomb()?.checked_add(1)?;
    let height_units = bits.unsigned_golomb()?.checked_add(1)?;
    let progressive = bits.bit()?;
    if !progressive {
        bits.bit()?;
    }
    bits.bit()?;
    let crop = if bits.bit()? { read_four(bits)? } else { [0; 4] };
    let fields: u32 = if progressive { 1 } else { 2 };
    let (unit_x, unit_y) = match chroma_format {
        1 => (2, 2 * fields),
        2 => (2, fields),
        _ => (1, fields),
    };
    let [left, right, top, bottom] = crop;
    let width = width_mbs.checked_mul(16)?.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
    let height = height_units.checked_mul(16 * fields)?.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
    let sane = (1..=SIDE_MAX).contains(&width) && (1..=SIDE_MAX).contains(&height);
    let colour = read_colour(bits).unwrap_or(None);
    sane.then_some(SpsInfo {
        profile,
        chroma_format,
        bit_depth_luma,
        bit_depth_chroma,
        progressive,
        width,
        height,
        colour,
    })
}

fn read_four(bits: &mut BitReader) -> Option<[u32; 4]> {
    Some([bits.unsigned_golomb()?, bits.unsigned_golomb()?, bits.unsigned_golomb()?, bits.unsigned_golomb()?])
}

fn read_chroma(bits: &mut BitReader, profile: u8) -> Option<(u8, u8, u8)> {
    if !matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        return Some((1, 8, 8));
    }
    let format = u8::try_from(bits.unsigned_golomb()?).ok().filter(|format| *format <= 3)?;
    if format == 3 {
        bits.bit()?;
    }
    let luma = u8::try_from(bits.unsigned_golomb()?).ok().filter(|depth| *depth <= 6)? + 8;
    let chroma = u8::try_from(bits.unsigned_golomb()?).ok().filter(|depth| *depth <= 6)? + 8;
    bits.bit()?;
    if bits.bit()? {
        for list in 0..if format == 3 { 12 } else { 8 } {
            if bits.bit()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some((format, luma, chroma))
}

fn skip_scaling_list(bits: &mut BitReader, size: u32) -> Option<()> {
    let mut last = 8i64;
    for _ in 0..size {
        let next = (last + i64::from(bits.signed_golomb()?)).rem_euclid(256);
        if next == 0 {
            return Some(());
        }
        last = next;
    }
    Some(())
}

fn skip_picture_order(bits: &mut BitReader) -> Option<()> {
    match bits.unsigned_golomb()? {
        0 => {
            bits.unsigned_golomb()?;
        }
        1 => {
            bits.bit()?;
            bits.signed_golomb()?;
            bits.signed_golomb()?;
            let cycle = bits.unsigned_golomb()?;
            if cycle > 255 {
                return None;
            }
            for _ in 0..cycle {
                bits.signed_golomb()?;
            }
        }
        2 => {}
        _ => return None,
    }
    Some(())
}

/// The colour description of the VUI, if there is any.
fn read_colour(bits: &mut BitReader) -> Option<Option<(u8, u8, u8)>> {
    if !bits.bit()? {
        return Some(None);
    }
    Some(vui::read_colour(bits)?.map(|(primaries, transfer, matrix, _)| (primaries, transfer, matrix)))
}

/// One NAL unit of a length-prefixed access unit, of which only the first bytes may be at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NalUnit<'a> {
    /// `nal_unit_type`.
    pub kind: u8,
    /// The unit, as far as it is at hand.
    pub bytes: &'a [u8],
    /// Whether `bytes` is all of it.
    pub complete: bool,
}

/// Walks the NAL units of (the first bytes of) a length-prefixed access unit; stops where the bytes end.
#[derive(Debug, Clone)]
pub struct NalUnits<'a> {
    rest: &'a [u8],
    length_bytes: usize,
}

impl<'a> NalUnits<'a> {
    /// Walks `unit`, whose prefixes have `length_bytes` bytes.
    pub fn new(unit: &'a [u8], length_bytes: u8) -> Self {
        Self { rest: unit, length_bytes: usize::from(length_bytes.clamp(1, 4)) }
    }
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = NalUnit<'a>;

    fn next(&mut self) -> Option<NalUnit<'a>> {
        let (prefix, rest) = self.rest.split_at_checked(self.length_bytes)?;
        let length = prefix.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
        let complete = length <= rest.len();
        let (bytes, rest) = rest.split_at_checked(length.min(rest.len()))?;
        self.rest = rest;
        Some(NalUnit { kind: bytes.first()? & 0x1f, bytes, complete })
    }
}

#[cfg(test)]
mod tests;
