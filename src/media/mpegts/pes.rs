//! PES packets (section 2.4.3.6), put together from the packets of one PID.
use bytes::{BufMut, Bytes, BytesMut};

/// What a PES packet begins with.
const PREFIX: [u8; 3] = [0, 0, 1];
/// Bytes before the optional head.
const HEAD_BYTES: usize = 6;

/// A whole one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pes {
    /// Presentation time, 90 kHz in 33 bits.
    pub(super) pts: Option<i64>,
    /// Decoding time, if it is another one.
    pub(super) dts: Option<i64>,
    pub(super) payload: Bytes,
}

impl Pes {
    /// `None` when it is damaged.
    fn read(mut packet: Bytes) -> Option<Self> {
        let &[_, _, _, _, _, _, marks, flags, length] = packet.first_chunk::<9>()?;
        if marks & 0xc0 != 0x80 {
            return None;
        }
        let head = packet.get(9..9 + usize::from(length))?;
        let pts = if flags & 0x80 != 0 { Some(read_time(head)?) } else { None };
        let dts = if flags & 0xc0 == 0xc0 { Some(read_time(head.get(5..)?)?) } else { None };
        let payload = packet.split_off(9 + usize::from(length));
        Some(Self { pts, dts, payload })
    }
}

fn read_time(field: &[u8]) -> Option<i64> {
    let &[first, a, b, c, d] = field.first_chunk::<5>()?;
    let high = i64::from(first >> 1 & 7);
    let middle = i64::from(u16::from_be_bytes([a, b]) >> 1);
    let low = i64::from(u16::from_be_bytes([c, d]) >> 1);
    Some(high << 30 | middle << 15 | low)
}

/// Puts the PES packets of one PID together.
#[derive(Debug)]
pub(super) struct Assembler {
    /// Of one that has begun.
    rest: BytesMut,
    /// Whether one has begun and nothing of it is missing.
    is_whole: bool,
    bytes_max: usize,
    damaged: u64,
}

impl Assembler {
    /// PES packets of at most so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { rest: BytesMut::new(), is_whole: false, bytes_max, damaged: 0 }
    }

    /// How many could not be used.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Packets are missing: what has begun is lost.
    pub(super) fn reset(&mut self) {
        self.damaged += u64::from(self.is_whole);
        self.is_whole = false;
        self.rest.clear();
    }

    /// Takes a packet's payload; whole PES packets are appended to `out`.
    pub(super) fn take(&mut self, starts: bool, payload: &[u8], out: &mut Vec<Pes>) {
        if starts {
            self.finish(out);
            self.is_whole = true;
        }
        if !self.is_whole {
            return;
        }
        if self.rest.len() + payload.len() > self.bytes_max {
            return self.reset();
        }
        self.rest.put_slice(payload);
        // Pictures seldom tell their length: they end where the next one begins.
        if self.told_length().is_some_and(|length| self.rest.len() >= length) {
            self.finish(out);
        }
    }

    /// Bytes of the whole, if it tells.
    fn told_length(&self) -> Option<usize> {
        let &[_, _, _, _, high, low] = self.rest.first_chunk::<HEAD_BYTES>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        (length > 0).then_some(HEAD_BYTES + length)
    }

    fn finish(&mut self, out: &mut Vec<Pes>) {
        if !std::mem::take(&mut self.is_whole) {
            return;
        }
        let told = self.told_length();
        let mut packet = self.rest.split();
        let is_short = told.is_some_and(|length| packet.len() < length);
        packet.truncate(told.unwrap_or(usize::MAX));
        let has_prefix = packet.starts_with(&PREFIX);
        match Pes::read(packet.freeze()).filter(|_| has_prefix && !is_short) {
            Some(pes) => out.push(pes),
            None => self.damaged += 1,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn time(mark: u8, time: i64) -> [u8; 5] {
        let [_, _, a, b] = ((time >> 15 & 0x7fff) as u32 * 2 + 1).to_be_bytes();
        let [_, _, c, d] = ((time & 0x7fff) as u32 * 2 + 1).to_be_bytes();
        [mark << 4 | (time >> 30 << 1) as u8 & 0x0e | 1, a, b, c, d]
    }

    /// A PES packet with its length, unless it is of pictures.
    pub(in crate::media::mpegts) fn pes(stream: u8, (pts, dts): (i64, i64), payload: &[u8]) -> Vec<u8> {
        let length = if stream == 0xe0 { 0 } else { (payload.len() + 13) as u16 };
        let [high, low] = length.to_be_bytes();
        [&[0, 0, 1, stream, high, low, 0x80, 0xc0, 10][..], &time(3, pts), &time(1, dts), payload].concat()
    }

    #[test]
    fn packets_are_put_together() {
        let mut assembler = Assembler::new(1000);
        let mut out = Vec::new();
        let picture = pes(0xe0, ((1 << 33) - 1, (1 << 33) - 3001), &[5; 300]);
        assembler.take(false, &picture[..50], &mut out);
        assembler.take(true, &picture[..184], &mut out);
        assembler.take(false, &picture[184..], &mut out);
        assert!(out.is_empty(), "nobody knows that it is whole");
        assembler.take(true, &pes(0xc0, (9, 9), &[6; 30]), &mut out);
        let times: Vec<_> = out.iter().map(|pes| (pes.pts, pes.dts, pes.payload.len())).collect();
        assert_eq!(times, [(Some((1 << 33) - 1), Some((1 << 33) - 3001), 300), (Some(9), Some(9), 30)]);
        assert_eq!(assembler.damaged(), 0);
    }

    #[test]
    fn what_is_damaged_is_counted() {
        let mut assembler = Assembler::new(1000);
        let mut out = Vec::new();
        assembler.take(true, &[1, 2, 3], &mut out);
        assembler.take(true, &pes(0xc0, (9, 9), &[6; 30])[..20], &mut out);
        assembler.reset();
        assembler.take(false, &[6; 184], &mut out);
        assembler.take(true, &[0; 184], &mut out);
        for _ in 0..10 {
            assembler.take(false, &[0; 184], &mut out);
        }
        assembler.take(true, &[], &mut out);
        assert_eq!((out.len(), assembler.damaged()), (0, 3));
        assert!(assembler.rest.is_empty(), "no more is kept than is allowed");
    }
}
