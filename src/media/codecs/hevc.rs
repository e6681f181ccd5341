//! HEVC: the `hvcC` record (ISO/IEC 14496-15 section 8.3.3) and the NAL units of a length-prefixed access unit (ITU-T H.265
//! section 7.4.2.2).
use bytes::{BufMut, Bytes, BytesMut};

use super::h264::NalUnits;

mod pictures;
mod sps;

pub use pictures::{HevcPictures, Left};
pub use sps::SpsInfo;

/// First `nal_unit_type` of pictures that decoding can begin with: BLA, IDR and CRA.
const IRAP_FIRST: u8 = 16;
/// Last of them, those that are reserved included.
const IRAP_LAST: u8 = 23;
/// IDR pictures: what follows in decoding order needs nothing from before.
const IDR: std::ops::RangeInclusive<u8> = 19..=20;
/// `nal_unit_type` of pictures that are shown before a random access picture and may need ones from before it.
const RASL: std::ops::RangeInclusive<u8> = 8..=9;
/// Last `nal_unit_type` of a slice.
const SLICE_LAST: u8 = 31;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
/// `payloadType` of SEI with text of an encoder's.
const USER_DATA: u8 = 5;
/// NAL units in a record at most: there are a handful.
const UNITS_MAX: usize = 64;

/// The bytes are not what the standard says they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged HEVC {0}")]
pub struct InvalidHevc(&'static str);

/// The decoder configuration record of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HevcConfig {
    /// Profile, tier and level as the record has them: 12 bytes.
    profile: [u8; 12],
    /// What lies between the level and the number of arrays, byte 21 with the length of prefixes included.
    middle: [u8; 9],
    /// Parameter sets in the order VPS, SPS, PPS, whole NAL units.
    sets: Vec<Bytes>,
    /// Other units of the record (SEI), but for what encoders say of themselves there.
    others: Vec<Bytes>,
    /// What its sequence parameter set says.
    pub sps: SpsInfo,
}

/// What an access unit is to a player that wants to start there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureKind {
    /// An IDR picture: all that follows can be decoded.
    Idr,
    /// Another random access picture (CRA, BLA): what is shown before it may not be decodable.
    OpenStart,
    /// Shown before a random access picture, and needs ones from before it.
    Skippable,
    /// Any other picture.
    Other,
}

/// `nal_unit_type` of a unit.
fn kind_of(unit: &[u8]) -> Option<u8> {
    unit.first().map(|first| first >> 1 & 0x3f)
}

fn is_set(unit: &[u8]) -> bool {
    kind_of(unit).is_some_and(|kind| (VPS..=PPS).contains(&kind))
}

impl HevcConfig {
    /// Reads an `hvcC` body; it has to carry its parameter sets.
    pub fn parse(record: &[u8]) -> Result<Self, InvalidHevc> {
        Self::read(record).ok_or(InvalidHevc("configuration record"))
    }

    fn read(record: &[u8]) -> Option<Self> {
        let (version, rest) = record.split_first()?;
        let (profile, rest) = rest.split_first_chunk::<12>()?;
        let (middle, rest) = rest.split_first_chunk::<9>()?;
        let (arrays, mut rest) = rest.split_first()?;
        // Some writers leave the version 0.
        if *version > 1 || middle.last()? & 3 == 2 {
            return None;
        }
        let (mut sets, mut others) = (Vec::new(), Vec::new());
        for _ in 0..*arrays {
            let (&[_, high, low], tail) = rest.split_first_chunk::<3>()?;
            rest = tail;
            for _ in 0..u16::from_be_bytes([high, low]) {
                let (length, tail) = rest.split_first_chunk::<2>()?;
                let (unit, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
                rest = tail;
                match unit {
                    [_, _, USER_DATA, ..] if !is_set(unit) => {}
                    _ if is_set(unit) => sets.push(Bytes::copy_from_slice(unit)),
                    _ => others.push(Bytes::copy_from_slice(unit)),
                }
                if sets.len() + others.len() > UNITS_MAX {
                    return None;
                }
            }
        }
        Self { profile: *profile, middle: *middle, sets, others, sps: SpsInfo::default() }.checked()
    }

    /// With its sets in order and its sequence parameter set read; `None` when one is missing.
    fn checked(mut self) -> Option<Self> {
        self.sets.sort_by_key(|unit| kind_of(unit));
        let of = |kind: u8| self.sets.iter().find(|unit| kind_of(unit) == Some(kind));
        let (_, sps, _) = (of(VPS)?, of(SPS)?, of(PPS)?);
        self.sps = SpsInfo::parse(sps).ok()?;
        Some(self)
    }

    /// Makes the record of a track with these parameter sets and 4-byte length prefixes.
    pub fn from_parameter_sets(sets: Vec<Bytes>) -> Result<Self, InvalidHevc> {
        // Nothing is said of the parallelism, of frame rates and of layers but that there is one.
        let middle = [0xf0, 0, 0xfc, 0, 0, 0, 0, 0, 0x0f];
        let blank = Self { profile: [0; 12], middle, sets: Vec::new(), others: Vec::new(), sps: SpsInfo::default() };
        blank.with_sets(sets.into_iter().take(UNITS_MAX).collect()).ok_or(InvalidHevc("parameter sets"))
    }

    /// The parameter sets in the order VPS, SPS, PPS, whole NAL units.
    pub fn sets(&self) -> &[Bytes] {
        &self.sets
    }

    /// Bytes of each NAL unit's length prefix: 1, 2 or 4.
    pub fn length_bytes(&self) -> u8 {
        let [.., last] = self.middle;
        (last & 3) + 1
    }

    /// The `hvcC` body of a track whose samples carry no parameter sets (`hvc1`).
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(1);
        out.put_slice(&self.profile);
        out.put_slice(&self.middle);
        let mut arrays: Vec<(u8, Vec<&Bytes>)> = Vec::new();
        for unit in self.sets.iter().chain(&self.others) {
            let kind = kind_of(unit).unwrap_or(0);
            match arrays.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, units)) => units.push(unit),
                None => arrays.push((kind, vec![unit])),
            }
        }
        out.put_u8(u8::try_from(arrays.len()).unwrap_or(0));
        for (kind, units) in arrays {
            // All units of this kind are here.
            out.put_u8(0x80 | kind);
            out.put_u16(u16::try_from(units.len()).unwrap_or(0));
            for unit in units {
                out.put_u16(u16::try_from(unit.len()).unwrap_or(0));
                out.put_slice(unit);
            }
        }
        out.freeze()
    }

    /// RFC 6381 codec string, e.g. `hvc1.1.6.L93.90` (ISO/IEC 14496-15 annex E.3).
    pub fn codec_string(&self) -> String {
        let [first, c0, c1, c2, c3, constraints @ .., level] = self.profile;
        let space = match first >> 6 {
            1 => "A",
            2 => "B",
            3 => "C",
            _ => "",
        };
        let tier = if first & 0x20 == 0 { 'L' } else { 'H' };
        let compatibility = u32::from_be_bytes([c0, c1, c2, c3]).reverse_bits();
        let mut out = format!("hvc1.{space}{}.{compatibility:x}.{tier}{level}", first & 0x1f);
        let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for byte in constraints.iter().take(used) {
            out.push_str(&format!(".{byte:X}"));
        }
        out
    }

    /// What the first slice of an access unit says; `None` when there is none.
    pub fn picture_kind(&self, unit: &[u8]) -> Option<PictureKind> {
        let mut kinds = NalUnits::new(unit, self.length_bytes()).filter_map(|unit| kind_of(unit.bytes));
        Some(match kinds.find(|kind| *kind <= SLICE_LAST)? {
            kind if IDR.contains(&kind) => PictureKind::Idr,
            IRAP_FIRST..=IRAP_LAST => PictureKind::OpenStart,
            kind if RASL.contains(&kind) => PictureKind::Skippable,
            _ => PictureKind::Other,
        })
    }

    /// An access unit without parameter sets, and the configuration that they make when they are not this one's.
    pub fn without_sets(&self, unit: Bytes) -> (Bytes, Option<Self>) {
        let units = || NalUnits::new(&unit, self.length_bytes()).map(|unit| unit.bytes);
        if !units().any(is_set) {
            return (unit, None);
        }
        let mut kept = BytesMut::with_capacity(unit.len());
        for rest in units().filter(|unit| !is_set(unit)) {
            kept.put_uint(rest.len() as u64, usize::from(self.length_bytes()));
            kept.put_slice(rest);
        }
        let found: Vec<Bytes> =
            units().filter(|unit| is_set(unit)).take(UNITS_MAX).map(Bytes::copy_from_slice).collect();
        let is_known = found.iter().all(|set| self.sets.contains(set));
        let other = if is_known { None } else { self.with_sets(found) };
        (kept.freeze(), other)
    }

    /// The record of a track that goes on with these sets; `None` when they are not whole.
    fn with_sets(&self, sets: Vec<Bytes>) -> Option<Self> {
        let replaced = |kind: u8| sets.iter().any(|set| kind_of(set) == Some(kind));
        let old = self.sets.iter().filter(|set| !kind_of(set).is_some_and(replaced)).cloned();
        let sets = old.chain(sets.iter().cloned()).collect();
        let mut config = Self { sets, ..self.clone() }.checked()?;
        config.profile = config.sps.profile;
        let [.., chroma, luma_depth, chroma_depth, _, _, _] = &mut config.middle;
        *chroma = 0xfc | config.sps.chroma_format & 3;
        let depth = 0xf8 | config.sps.bit_depth.saturating_sub(8) & 7;
        (*luma_depth, *chroma_depth) = (depth, depth);
        Some(config)
    }
}

#[cfg(test)]
mod tests;
