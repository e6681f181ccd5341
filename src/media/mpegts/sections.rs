//! Sections of tables (section 2.4.4), put together from packets.
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of the longest section, its head included.
const SECTION_BYTES_MAX: usize = 4096;
/// Bytes of the head that tell the length.
const HEAD_BYTES: usize = 3;
/// What stands where no further section is.
const STUFFING: u8 = 0xff;

/// The sections of one PID.
#[derive(Debug, Default)]
pub(super) struct Sections {
    /// Of a section that has begun; never as long as the longest one and a packet.
    rest: BytesMut,
}

impl Sections {
    /// Packets are missing: what has begun is lost.
    pub(super) fn reset(&mut self) {
        self.rest.clear();
    }

    /// Takes a packet's payload; whole sections, with their checksums, are appended to `out`.
    pub(super) fn take(&mut self, starts: bool, payload: &[u8], out: &mut Vec<Bytes>) {
        if !starts {
            if !self.rest.is_empty() {
                self.add(payload, out);
            }
            return;
        }
        let Some((pointer, payload)) = payload.split_first() else { return };
        let Some((end, begin)) = payload.split_at_checked(usize::from(*pointer)) else { return self.reset() };
        if !self.rest.is_empty() {
            self.add(end, out);
        }
        self.rest.clear();
        self.add(begin, out);
    }

    fn add(&mut self, bytes: &[u8], out: &mut Vec<Bytes>) {
        self.rest.put_slice(bytes);
        while let Some(&[table, high, low]) = self.rest.first_chunk::<HEAD_BYTES>() {
            let length = HEAD_BYTES + usize::from(u16::from_be_bytes([high & 0x0f, low]));
            if table == STUFFING || length > SECTION_BYTES_MAX {
                return self.rest.clear();
            }
            if self.rest.len() < length {
                return;
            }
            out.push(self.rest.split_to(length).freeze());
        }
        if self.rest.first() == Some(&STUFFING) {
            self.rest.clear();
        }
    }
}

/// A section without its checksum; `None` when that is wrong.
pub(super) fn checked(section: &[u8]) -> Option<&[u8]> {
    let body = section.get(..section.len().checked_sub(4)?)?;
    (checksum(section) == 0).then_some(body)
}

/// CRC of annex A; 0 over a section with its own.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        let sum = sum ^ u32::from(*byte) << 24;
        (0..8).fold(sum, |sum, _| if sum >> 31 == 1 { sum << 1 ^ 0x04c1_1db7 } else { sum << 1 })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A section of this table with its checksum.
    pub(in crate::media::mpegts) fn section(table: u8, body: &[u8]) -> Vec<u8> {
        let [high, low] = ((body.len() + 4) as u16).to_be_bytes();
        let mut section = [&[table, 0xb0 | high, low], body].concat();
        section.extend(checksum(&section).to_be_bytes());
        section
    }

    #[test]
    fn sections_span_packets_and_share_them() {
        let (first, second) = (section(2, &[7; 300]), section(3, &[8; 20]));
        let all = [&first[..], &second, &[STUFFING; 40]].concat();
        let mut sections = Sections::default();
        let mut out = Vec::new();
        sections.take(false, &all[..50], &mut out);
        assert!(out.is_empty(), "its beginning is not known");
        sections.take(true, &[&[0], &all[..183]].concat(), &mut out);
        assert!(out.is_empty());
        let left = (first.len() - 183) as u8;
        sections.take(true, &[&[left], &all[183..]].concat(), &mut out);
        assert_eq!(out, [first.clone(), second]);
        assert_eq!(checked(&out[0]), first.get(..first.len() - 4));
        let mut damaged = first;
        damaged[9] ^= 1;
        assert_eq!((checked(&damaged), checked(&[1, 2])), (None, None));
    }

    #[test]
    fn nonsense_is_forgotten() {
        let mut sections = Sections::default();
        let mut out = Vec::new();
        sections.take(true, &[], &mut out);
        sections.take(true, &[200, 1, 2], &mut out);
        sections.take(true, &[0, 2, 0xff, 0xff, 1, 2], &mut out);
        for _ in 0..100 {
            sections.take(false, &[9; 184], &mut out);
        }
        assert!(out.is_empty() && sections.rest.len() <= SECTION_BYTES_MAX);
    }
}
