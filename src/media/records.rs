//! Sample records: the compact table behind [`SegmentBytes::Virtual`](crate::domain::asset::SegmentBytes). Fixed-size
//! records in decode order with times on the output timeline, so that any segment is one small range read, however long
//! the file.
use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};

use crate::domain::asset::BlobKey;

/// Bytes of one record.
pub const RECORD_BYTES: u64 = 24;
/// Largest sample: bit 31 of the size says whether it is a key frame.
const SAMPLE_BYTES_MAX: u32 = i32::MAX as u32;
const KEYFRAME: u32 = 1 << 31;

/// One sample: where its bytes lie and when it is decoded and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// First byte within the original (or, for tracks with spans, [`span_offset`]); below 2^48.
    pub offset: u64,
    /// Number of bytes, below 2^31.
    pub bytes: u32,
    /// Decode time in ticks; 0 to 2^48 - 1.
    pub dts: u64,
    /// Ticks until the next sample in decode order.
    pub duration: u32,
    /// Presentation time minus decode time.
    pub composition: i32,
    /// Whether decoding can start here.
    pub keyframe: bool,
}

/// A value that a record cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sample's {0} is out of range")]
pub struct OutOfRange(pub &'static str);

/// The place of byte `offset` of span number `span`, as records of tracks with spans say it.
pub fn span_offset(span: u16, offset: u32) -> u64 {
    u64::from(span) << 32 | u64::from(offset)
}

impl SampleRecord {
    /// Presentation time in ticks.
    pub fn pts(&self) -> i64 {
        (self.dts as i64).saturating_add(i64::from(self.composition))
    }

    /// Appends the record: offset (48 bits), decode time (48), key frame (1) and size (31), duration (32), composition
    /// offset (32), most significant byte first.
    pub fn append_to(&self, table: &mut Vec<u8>) -> Result<(), OutOfRange> {
        if self.offset >> 48 != 0 {
            return Err(OutOfRange("offset"));
        }
        if self.dts >> 48 != 0 {
            return Err(OutOfRange("decode time"));
        }
        if self.bytes > SAMPLE_BYTES_MAX {
            return Err(OutOfRange("size"));
        }
        table.put_uint(self.offset, 6);
        table.put_uint(self.dts, 6);
        table.put_u32(self.bytes | if self.keyframe { KEYFRAME } else { 0 });
        table.put_u32(self.duration);
        table.put_i32(self.composition);
        Ok(())
    }

    fn read(record: &[u8; RECORD_BYTES as usize]) -> Self {
        let [o0, o1, o2, o3, o4, o5, d0, d1, d2, d3, d4, d5, rest @ ..] = *record;
        let [s0, s1, s2, s3, t0, t1, t2, t3, c0, c1, c2, c3] = rest;
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        Self {
            offset: u64::from_be_bytes([0, 0, o0, o1, o2, o3, o4, o5]),
            dts: u64::from_be_bytes([0, 0, d0, d1, d2, d3, d4, d5]),
            bytes: size & !KEYFRAME,
            keyframe: size & KEYFRAME != 0,
            duration: u32::from_be_bytes([t0, t1, t2, t3]),
            composition: i32::from_be_bytes([c0, c1, c2, c3]),
        }
    }
}

/// Reads the records of a range of a table; a rest that is no whole record is left out.
pub fn read_records(table: &[u8]) -> impl Iterator<Item = SampleRecord> {
    table.as_chunks::<{ RECORD_BYTES as usize }>().0.iter().map(SampleRecord::read)
}

/// A finished table, to be stored by the caller under its key before the asset is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleTable {
    /// What the asset's track refers to it by.
    pub key: BlobKey,
    /// The records.
    pub bytes: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let record = SampleRecord {
            offset: (1 << 48) - 2,
            bytes: SAMPLE_BYTES_MAX,
            dts: (1 << 47) + 3,
            duration: u32::MAX,
            composition: -7,
            keyframe: true,
        };
        let other = SampleRecord { offset: span_offset(3, 9), keyframe: false, composition: 1024, ..record };
        let mut table = Vec::new();
        record.append_to(&mut table).unwrap();
        other.append_to(&mut table).unwrap();
        assert_eq!(table.len() as u64, 2 * RECORD_BYTES);
        assert_eq!(read_records(&table).collect::<Vec<_>>(), [record, other]);
        let too_far = SampleRecord { offset: 1 << 48, ..record };
        assert_eq!(too_far.append_to(&mut table), Err(OutOfRange("offset")));
    }
}
