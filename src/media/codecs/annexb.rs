//! Byte streams of H.264 and HEVC (annex B of ITU-T H.264 and H.265): NAL units behind start codes.
use bytes::{BufMut, Bytes, BytesMut};

use super::h264::{AvcConfig, NalUnits};
use super::hevc::HevcConfig;

/// What stands before a NAL unit.
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// `nal_unit_type` of an access unit delimiter in H.264, and in HEVC.
const DELIMITERS: (u8, u8) = (9, 35);

/// NAL units looked at in one access unit at most.
pub const UNITS_MAX: usize = 4096;

/// The NAL units of a byte stream, none of them empty.
#[derive(Debug, Clone)]
pub struct AnnexB<'a> {
    /// Behind a start code.
    rest: Option<&'a [u8]>,
    left: usize,
}

impl<'a> AnnexB<'a> {
    /// Walks `stream`; what precedes its first start code is left out.
    pub fn new(stream: &'a [u8]) -> Self {
        Self { rest: split(stream).1, left: UNITS_MAX }
    }
}

/// What precedes the first start code, and what is behind it.
fn split(stream: &[u8]) -> (&[u8], Option<&[u8]>) {
    let found = stream.windows(3).position(|window| window == [0, 0, 1]);
    match found.and_then(|at| stream.split_at_checked(at)) {
        Some((before, code)) => (before, code.get(3..)),
        None => (stream, None),
    }
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            self.left = self.left.checked_sub(1)?;
            let (unit, rest) = split(self.rest?);
            self.rest = rest;
            // Zeros behind a unit belong to the next start code, or are there to fill.
            let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if let Some(unit) = unit.get(..end).filter(|unit| !unit.is_empty()) {
                return Some(unit);
            }
        }
    }
}

/// Writes the access units of a track as a byte stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnexBWriter {
    length_bytes: u8,
    is_hevc: bool,
    /// As a byte stream.
    sets: Bytes,
}

impl AnnexBWriter {
    /// Of a track of H.264.
    pub fn of_h264(config: &AvcConfig) -> Self {
        let sets = byte_stream(config.sps.iter().chain(&config.pps));
        Self { length_bytes: config.length_bytes, is_hevc: false, sets }
    }

    /// Of a track of HEVC.
    pub fn of_hevc(config: &HevcConfig) -> Self {
        Self { length_bytes: config.length_bytes(), is_hevc: true, sets: byte_stream(config.sets()) }
    }

    /// The access unit behind a delimiter, and behind the parameter sets where decoding can start.
    pub fn write(&self, keyframe: bool, unit: &[u8], out: &mut BytesMut) {
        let delimiter: &[u8] = if self.is_hevc { &[0x46, 0x01, 0x50] } else { &[0x09, 0xf0] };
        put_unit(out, delimiter);
        if keyframe {
            out.put_slice(&self.sets);
        }
        for unit in NalUnits::new(unit, self.length_bytes) {
            let kind = unit.bytes.first().map_or(0, |first| if self.is_hevc { first >> 1 & 0x3f } else { unit.kind });
            let delimiter = if self.is_hevc { DELIMITERS.1 } else { DELIMITERS.0 };
            if kind != delimiter {
                put_unit(out, unit.bytes);
            }
        }
    }
}

fn byte_stream<'a>(units: impl IntoIterator<Item = &'a Bytes>) -> Bytes {
    let mut out = BytesMut::new();
    units.into_iter().for_each(|unit| put_unit(&mut out, unit));
    out.freeze()
}

fn put_unit(out: &mut BytesMut, unit: &[u8]) {
    out.put_slice(&START_CODE);
    out.put_slice(unit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_units_are_written_with_what_decoders_need() {
        let avcc = crate::media::testing::avcc();
        let config = AvcConfig::parse(&avcc).unwrap();
        let writer = AnnexBWriter::of_h264(&config);
        let mut out = BytesMut::new();
        writer.write(true, &[0, 0, 0, 2, 9, 0xf0, 0, 0, 0, 3, 0x65, 1, 2], &mut out);
        let units: Vec<&[u8]> = AnnexB::new(&out).collect();
        assert_eq!(units, [&[9, 0xf0][..], &config.sps[0], &config.pps[0], &[0x65, 1, 2]]);
        out.clear();
        writer.write(false, &[0, 0, 0, 2, 0x41, 1, 0, 0, 9, 9, 0x41], &mut out);
        assert_eq!(AnnexB::new(&out).collect::<Vec<_>>(), [&[9, 0xf0][..], &[0x41, 1], &[0x41]], "one that ends early");
    }

    #[test]
    fn units_lie_between_start_codes() {
        let stream = [9, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 0, 0, 1, 0, 0, 1, 0x65, 0, 0, 3, 1, 0, 0];
        let units: Vec<&[u8]> = AnnexB::new(&stream).collect();
        assert_eq!(units, [&[0x67, 1][..], &[0x68], &[0x65, 0, 0, 3, 1]]);
        assert_eq!(AnnexB::new(&[1, 2, 3]).count() + AnnexB::new(&[]).count() + AnnexB::new(&[0, 0, 1]).count(), 0);
        assert!(AnnexB::new(&[0, 0, 1, 5].repeat(10_000)).count() <= UNITS_MAX);
    }
}
