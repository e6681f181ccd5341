//! From the payloads of RTP packets to access units: what belongs to one picture is put together again. The packets are in
//! order and none is missing; whoever calls starts anew after a loss.
use bytes::{BufMut, Bytes, BytesMut};

use super::offer::Codec;

mod av1;

use av1::Av1Units;

/// Largest picture.
const UNIT_BYTES_MAX: usize = 8 << 20;
/// What precedes a NAL unit in a byte stream.
const START_CODE: &[u8] = &[0, 0, 0, 1];

/// A payload that is not what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a damaged payload")]
pub struct Damaged;

/// An access unit in the making.
#[derive(Debug)]
pub struct Unit {
    codec: Codec,
    bytes: BytesMut,
    /// Whether a part of a NAL unit has begun and not ended.
    is_open: bool,
    av1: Av1Units,
}

impl Unit {
    /// Of pictures or sound in this codec.
    pub fn new(codec: Codec) -> Self {
        Self { codec, bytes: BytesMut::new(), is_open: false, av1: Av1Units::default() }
    }

    /// Forgets what has come of it.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.is_open = false;
        self.av1.clear();
    }

    /// Takes the next payload of it.
    pub fn take(&mut self, payload: &[u8]) -> Result<(), Damaged> {
        if self.bytes.len() + payload.len() > UNIT_BYTES_MAX {
            return Err(Damaged);
        }
        let taken = match self.codec {
            Codec::H264 => self.take_h264(payload),
            Codec::Hevc => self.take_hevc(payload),
            Codec::Vp9 => self.take_vp9(payload),
            Codec::Vp8 => self.take_vp8(payload),
            Codec::Av1 => self.av1.take(payload, &mut self.bytes),
            Codec::Opus => {
                self.bytes.put_slice(payload);
                Some(())
            }
        };
        taken.ok_or(Damaged)
    }

    /// What it has become: a byte stream (annex B) of H.264 and HEVC, a temporal unit of AV1 in the low-overhead format, a frame
    /// of VP9 or VP8, a packet of Opus. `None` when it has not ended.
    pub fn finish(&mut self) -> Option<Bytes> {
        let is_whole = !self.is_open && self.av1.is_whole() && !self.bytes.is_empty();
        let unit = self.bytes.split().freeze();
        self.clear();
        is_whole.then_some(unit)
    }

    fn put_unit(&mut self, parts: &[&[u8]]) {
        self.bytes.put_slice(START_CODE);
        parts.iter().for_each(|part| self.bytes.put_slice(part));
    }

    /// A unit that is spread over packets: its head, whether it begins and ends here, and what there is of it.
    fn take_part(&mut self, head: &[u8], (begins, ends): (bool, bool), part: &[u8]) -> Option<()> {
        match (begins, self.is_open) {
            (true, _) => self.put_unit(&[head, part]),
            (false, true) => self.bytes.put_slice(part),
            (false, false) => return None,
        }
        self.is_open = !ends;
        Some(())
    }

    /// RFC 6184, section 5: single units, several in one packet (STAP-A) and parts of one (FU-A).
    fn take_h264(&mut self, payload: &[u8]) -> Option<()> {
        let (indicator, rest) = payload.split_first()?;
        match indicator & 0x1f {
            1..=23 => {
                self.put_unit(&[payload]);
                Some(())
            }
            24 => self.take_several(rest),
            28 => {
                let (head, part) = rest.split_first()?;
                let unit_head = [indicator & 0xe0 | head & 0x1f];
                self.take_part(&unit_head, (head & 0x80 != 0, head & 0x40 != 0), part)
            }
            _ => None,
        }
    }

    /// RFC 7798, section 4.4: the same of HEVC.
    fn take_hevc(&mut self, payload: &[u8]) -> Option<()> {
        let (&[first, second], rest) = payload.split_first_chunk::<2>()?;
        match first >> 1 & 0x3f {
            0..=47 => {
                self.put_unit(&[payload]);
                Some(())
            }
            48 => self.take_several(rest),
            49 => {
                let (head, part) = rest.split_first()?;
                let unit_head = [first & 0x81 | (head & 0x3f) << 1, second];
                self.take_part(&unit_head, (head & 0x80 != 0, head & 0x40 != 0), part)
            }
            _ => None,
        }
    }

    /// Units with their sizes before them.
    fn take_several(&mut self, mut rest: &[u8]) -> Option<()> {
        while !rest.is_empty() {
            let (size, behind) = rest.split_first_chunk::<2>()?;
            let (unit, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
            if !unit.is_empty() {
                self.put_unit(&[unit]);
            }
            rest = behind;
        }
        Some(())
    }

    /// RFC 7741, section 4.2: behind the descriptor is the frame, whose first packet says that it is.
    fn take_vp8(&mut self, payload: &[u8]) -> Option<()> {
        let (&flags, mut rest) = payload.split_first()?;
        let mut byte = || {
            let (first, behind) = rest.split_first()?;
            rest = behind;
            Some(*first)
        };
        if flags & 0x80 != 0 {
            let told = byte()?;
            if told & 0x80 != 0 && byte()? & 0x80 != 0 {
                byte()?;
            }
            // Numbers of layers: each in a byte.
            for bits in [0x40, 0x30] {
                if told & bits != 0 {
                    byte()?;
                }
            }
        }
        let begins = flags & 0x10 != 0 && flags & 0x07 == 0;
        if rest.is_empty() || begins != self.bytes.is_empty() {
            return None;
        }
        self.bytes.put_slice(rest);
        Some(())
    }

    /// RFC 9628, section 4.2: behind the descriptor is the frame. Of pictures in several sizes the smallest is taken.
    fn take_vp9(&mut self, payload: &[u8]) -> Option<()> {
        let (&flags, mut rest) = payload.split_first()?;
        let mut byte = || {
            let (first, behind) = rest.split_first()?;
            rest = behind;
            Some(*first)
        };
        let [has_id, is_predicted, has_layers, is_flexible, _, _, has_structure] =
            [0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02].map(|bit| flags & bit != 0);
        if has_id && byte()? & 0x80 != 0 {
            byte()?;
        }
        let mut layer = 0;
        if has_layers {
            layer = byte()? >> 1 & 7;
            if !is_flexible {
                byte()?;
            }
        }
        if is_flexible && is_predicted {
            // At most three frames are referred to.
            for _ in 0..3 {
                if byte()? & 1 == 0 {
                    break;
                }
            }
        }
        if has_structure {
            skip_structure(&mut byte)?;
        }
        if layer == 0 {
            self.bytes.put_slice(rest);
        }
        Some(())
    }
}

/// The scalability structure of RFC 9628, section 4.2.1.
fn skip_structure(byte: &mut impl FnMut() -> Option<u8>) -> Option<()> {
    let flags = byte()?;
    if flags & 0x10 != 0 {
        for _ in 0..(usize::from(flags >> 5) + 1) * 4 {
            byte()?;
        }
    }
    if flags & 0x08 != 0 {
        for _ in 0..byte()? {
            for _ in 0..byte()? >> 2 & 3 {
                byte()?;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
