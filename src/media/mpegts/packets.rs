//! Packets of a transport stream (section 2.4.3.2): found in bytes that may begin anywhere, and read.
use bytes::{Buf, BytesMut};

/// Bytes of a packet.
pub(super) const PACKET_BYTES: usize = 188;
/// What each begins with.
const SYNC: u8 = 0x47;
/// Of packets that are there to fill.
pub(super) const NULL_PID: u16 = 0x1fff;

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) pid: u16,
    /// Whether a section or PES packet begins in it.
    pub(super) starts: bool,
    /// Of packets with a payload: one more than that of the one before.
    pub(super) continuity: u8,
    /// Whether the counter, and the clock, may begin anew here.
    pub(super) is_discontinuous: bool,
    /// Empty when there is none.
    pub(super) payload: &'a [u8],
    pub(super) has_payload: bool,
}

impl<'a> Packet<'a> {
    /// `None` when it is damaged or scrambled.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[sync, first, second, flags], rest) = bytes.split_first_chunk::<4>()?;
        if sync != SYNC || first & 0x80 != 0 || flags & 0xc0 != 0 {
            return None;
        }
        let (mut payload, mut is_discontinuous) = (rest, false);
        if flags & 0x20 != 0 {
            let (length, rest) = rest.split_first()?;
            let (field, rest) = rest.split_at_checked(usize::from(*length))?;
            is_discontinuous = field.first().is_some_and(|flags| flags & 0x80 != 0);
            payload = rest;
        }
        let has_payload = flags & 0x10 != 0;
        Some(Self {
            pid: u16::from_be_bytes([first & 0x1f, second]),
            starts: first & 0x40 != 0,
            continuity: flags & 0x0f,
            is_discontinuous,
            payload: if has_payload { payload } else { &[] },
            has_payload,
        })
    }
}

/// Finds packets.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// Less than three packets between calls.
    rest: BytesMut,
    is_in_step: bool,
    /// Bytes that were no packets.
    skipped: u64,
}

impl Splitter {
    /// Bytes that belong to no packet so far.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// More bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// The next packet's bytes, as far as they are there.
    pub(super) fn next(&mut self) -> Option<BytesMut> {
        if self.rest.is_empty() {
            return None;
        }
        if !(self.is_in_step && self.rest.first() == Some(&SYNC)) {
            self.is_in_step = false;
            self.find()?;
        }
        (self.rest.len() >= PACKET_BYTES).then(|| self.rest.split_to(PACKET_BYTES))
    }

    /// Goes to where two packets follow one another.
    fn find(&mut self) -> Option<()> {
        let is_step = |at: &usize| self.rest.get(*at) == Some(&SYNC) && self.rest.get(at + PACKET_BYTES) == Some(&SYNC);
        // Where the second would lie is not there yet for the last ones.
        let searched = self.rest.len().saturating_sub(PACKET_BYTES);
        let found = (0..searched).find(is_step);
        let away = found.unwrap_or(searched);
        self.rest.advance(away);
        self.skipped += away as u64;
        self.is_in_step = found.is_some();
        found.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pid: u16, fill: u8) -> Vec<u8> {
        let [high, low] = pid.to_be_bytes();
        let mut packet = vec![SYNC, high, low, 0x10];
        packet.resize(PACKET_BYTES, fill);
        packet
    }

    fn split(splitter: &mut Splitter, bytes: &[u8]) -> Vec<u16> {
        splitter.push(bytes);
        std::iter::from_fn(|| splitter.next()).map(|bytes| Packet::read(&bytes).unwrap().pid).collect()
    }

    #[test]
    fn packets_are_found_in_pieces_and_after_rubbish() {
        let stream: Vec<u8> = (1..=9).flat_map(|pid| packet(pid, SYNC)).collect();
        for step in [1, 7, 188, 500, stream.len()] {
            let mut splitter = Splitter::default();
            let found: Vec<u16> = stream.chunks(step).flat_map(|piece| split(&mut splitter, piece)).collect();
            assert_eq!((found, splitter.skipped()), ((1..=9).collect(), 0), "{step}");
        }
        let mut splitter = Splitter::default();
        let all = [&packet(1, 0)[..], &packet(2, 0), &[1, 2, 3], &packet(3, 0), &packet(4, 0), &packet(5, 0)].concat();
        assert_eq!(split(&mut splitter, &all), [1, 2, 3, 4, 5]);
        assert_eq!(splitter.skipped(), 3);
        assert_eq!(split(&mut splitter, &[0; 4000]), [] as [u16; 0]);
        assert!(splitter.rest.len() < 3 * PACKET_BYTES, "rubbish is not kept");
    }

    #[test]
    fn fields_of_a_packet() {
        let mut bytes = packet(0x1abc, 9);
        (bytes[1], bytes[3], bytes[4], bytes[5]) = (0x40 | 0x1a, 0x3c, 2, 0x80);
        let read = Packet::read(&bytes).unwrap();
        assert_eq!((read.pid, read.starts, read.continuity, read.is_discontinuous), (0x1abc, true, 12, true));
        assert_eq!((read.has_payload, read.payload.len()), (true, 181));
        bytes[4] = 200;
        assert_eq!(Packet::read(&bytes), None, "an adaptation field that is too long");
        bytes[3] = 0x80;
        assert_eq!(Packet::read(&bytes), None, "scrambled");
        assert_eq!(Packet::read(&bytes[..3]), None);
    }
}
