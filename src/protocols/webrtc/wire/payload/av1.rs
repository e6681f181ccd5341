//! AV1 over RTP ("RTP Payload Format For AV1", section 4.4): units of the bitstream, or parts of them, without their sizes.
use bytes::{BufMut, BytesMut};

/// Largest unit.
const UNIT_BYTES_MAX: usize = 8 << 20;
/// Units that are left out: delimiters of temporal units, lists of tiles, padding.
const LEFT_OUT: [u8; 3] = [2, 8, 15];

/// Units of a temporal unit.
#[derive(Debug, Default)]
pub(super) struct Av1Units {
    /// What has come of one that goes on in the next packet.
    begun: BytesMut,
}

impl Av1Units {
    pub(super) fn clear(&mut self) {
        self.begun.clear();
    }

    pub(super) fn is_whole(&self) -> bool {
        self.begun.is_empty()
    }

    /// Takes a payload, and puts out units with their sizes.
    pub(super) fn take(&mut self, payload: &[u8], out: &mut BytesMut) -> Option<()> {
        let (&flags, mut rest) = payload.split_first()?;
        let (goes_on, will_go_on, count) = (flags & 0x80 != 0, flags & 0x40 != 0, flags >> 4 & 3);
        if goes_on == self.begun.is_empty() {
            return None;
        }
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let element = if count != 0 && number == count {
                std::mem::take(&mut rest)
            } else {
                let (length, behind) = take_leb128(rest)?;
                let (element, behind) = behind.split_at_checked(length)?;
                rest = behind;
                element
            };
            if self.begun.len() + element.len() > UNIT_BYTES_MAX {
                return None;
            }
            self.begun.put_slice(element);
            if !(rest.is_empty() && will_go_on) {
                put_unit(&self.begun.split(), out)?;
            }
        }
        Some(())
    }
}

/// Puts a unit out with its size, whether it comes with one or not.
fn put_unit(unit: &[u8], out: &mut BytesMut) -> Option<()> {
    let (&head, mut rest) = unit.split_first()?;
    if LEFT_OUT.contains(&(head >> 3 & 0xf)) {
        return Some(());
    }
    out.put_u8(head | 0x02);
    if head & 0x04 != 0 {
        let (extension, behind) = rest.split_first()?;
        out.put_u8(*extension);
        rest = behind;
    }
    if head & 0x02 != 0 {
        let (length, behind) = take_leb128(rest)?;
        rest = behind.get(..length)?;
    }
    let mut length = rest.len();
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        out.put_u8(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    out.put_slice(rest);
    Some(())
}

fn take_leb128(mut rest: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0usize;
    for place in 0..4 {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        value |= usize::from(byte & 0x7f) << (place * 7);
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}
