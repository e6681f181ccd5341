//! The sending side of a connection, without socket or clock: packets are made of a programme's chunks when they are due, and
//! made again when the reader misses them. It keeps no packets: which chunk had which number follows from where it began.
use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use srt_protocol::connection::ConnectionSettings;
use srt_protocol::packet::{
    ControlPacket, ControlTypes, DataEncryption, DataPacket, KeyingMaterialMessage, MsgNumber, PacketLocation,
    SeqNumber, SocketId, TimeStamp,
};
use srt_protocol::protocol::encryption::Encryption;

use super::handshake::datagram;
use crate::media::live::programme::Chunk;
use crate::media::live::tape::Pace;

/// Packets that may be sent again at once: of a second at 5 Mb/s.
const AGAIN_MAX: u32 = 500;
/// A packet is not sent again before the last time can have arrived, and not after this.
const AGAIN_EVERY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Messages are numbered in so many bits.
const MESSAGES: u32 = (1 << 26) - 1;
/// The same of packets.
const NUMBERS: u32 = 1 << 31;
/// First word of what answers an acknowledgement.
const ACKNOWLEDGED: u32 = 0x8006_0000;

/// Where chunks without a gap between them began to be sent.
#[derive(Debug, Clone, Copy)]
struct Run {
    chunk: u64,
    number: u32,
    pace: Pace,
}

/// What was sent, as counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Sent again.
    pub(super) again: u64,
    /// Missed by the reader, and not sent again: too late, or too many.
    pub(super) lost: u64,
}

/// The sending side.
pub(super) struct Sender {
    encryption: Encryption,
    to: SocketId,
    /// When the reader's clock was zero.
    zero: Instant,
    run: Option<Run>,
    /// Number of the next packet.
    next: u32,
    /// How many may be sent again.
    again_left: u32,
    again: HashMap<u32, Instant>,
    rtt: Duration,
    sent: Sent,
}

impl Sender {
    /// For a reader whose clock showed `clock` when it was accepted.
    pub(super) fn new(settings: &ConnectionSettings, clock: TimeStamp, now: Instant) -> Self {
        Self {
            encryption: Encryption::new(settings.cipher.clone()),
            to: settings.remote_sockid,
            zero: now.checked_sub(Duration::from_micros(u64::from(clock.as_micros()))).unwrap_or(now),
            run: None,
            next: settings.init_seq_num.as_raw(),
            again_left: AGAIN_MAX,
            again: HashMap::new(),
            rtt: AGAIN_EVERY.0,
            sent: Sent::default(),
        }
    }

    /// Counters.
    pub(super) fn sent(&self) -> Sent {
        self.sent
    }

    /// Begins (again) with this chunk.
    pub(super) fn begin(&mut self, chunk: u64, made: Instant, now: Instant) {
        self.run = Some(Run { chunk, number: self.next, pace: Pace::new(made, now) });
        self.again.clear();
    }

    /// The chunks that come are others: it has to begin again.
    pub(super) fn move_on(&mut self) {
        self.run = None;
        self.again.clear();
    }

    /// Number of the next chunk, once it has begun.
    pub(super) fn next_chunk(&self) -> Option<u64> {
        let run = self.run?;
        Some(run.chunk + u64::from(self.next.wrapping_sub(run.number) % NUMBERS))
    }

    /// When the next chunk is to be sent.
    pub(super) fn due(&self, chunk: &Chunk) -> Option<Instant> {
        self.run.map(|run| run.pace.due(chunk.made))
    }

    /// The next chunk's packet, and new keys from time to time.
    pub(super) fn send(&mut self, chunk: &Chunk, out: &mut Vec<Bytes>) {
        let number = self.next;
        self.next = (number + 1) % NUMBERS;
        self.again_left = (self.again_left + 1).min(AGAIN_MAX);
        self.put(number, chunk, false, out);
        self.sent.packets += 1;
    }

    /// Chunks, each with the number of its packet, that the reader misses of this range and that it may be sent again.
    pub(super) fn missed(&mut self, (first, last): (u32, u32), now: Instant) -> Vec<(u64, u32)> {
        let Some(run) = self.run else { return Vec::new() };
        let (from, to) = (first.wrapping_sub(run.number) % NUMBERS, last.wrapping_sub(run.number) % NUMBERS);
        let sent = self.next.wrapping_sub(run.number) % NUMBERS;
        if from > to || to >= sent {
            return Vec::new();
        }
        let mut missed = Vec::new();
        for behind in from..=to {
            if self.again_left == 0 {
                self.sent.lost += u64::from(to - behind) + 1;
                break;
            }
            let number = (run.number + behind) % NUMBERS;
            if self.again.get(&number).is_some_and(|at| now.saturating_duration_since(*at) < self.rtt) {
                continue;
            }
            self.again_left -= 1;
            self.again.insert(number, now);
            missed.push((run.chunk + u64::from(behind), number));
        }
        missed
    }

    /// Sends a chunk again under the number that it had.
    pub(super) fn send_again(&mut self, number: u32, chunk: &Chunk, out: &mut Vec<Bytes>) {
        self.put(number, chunk, true, out);
        self.sent.again += 1;
    }

    /// A chunk that is missed is not there any more.
    pub(super) fn note_lost(&mut self) {
        self.sent.lost += 1;
    }

    fn put(&mut self, number: u32, chunk: &Chunk, retransmitted: bool, out: &mut Vec<Bytes>) {
        let Some(run) = self.run else { return };
        let packet = DataPacket {
            seq_number: SeqNumber::new_truncate(number),
            message_loc: PacketLocation::ONLY,
            in_order_delivery: false,
            encryption: DataEncryption::None,
            retransmitted,
            message_number: MsgNumber::new_truncate(number % MESSAGES + 1),
            timestamp: self.timestamp(run.pace.due(chunk.made)),
            dest_sockid: self.to,
            payload: chunk.bytes.clone(),
        };
        let Some((_, packet, keys)) = self.encryption.encrypt(packet) else { return };
        let packet = datagram(&packet.into());
        self.sent.bytes += packet.len() as u64;
        out.push(packet);
        if let Some(keys) = keys {
            out.push(self.control(ControlTypes::new_key_refresh_request(keys), run.pace.due(chunk.made)));
        }
    }

    fn timestamp(&self, at: Instant) -> TimeStamp {
        // It turns over after more than an hour.
        TimeStamp::from_micros(at.saturating_duration_since(self.zero).as_micros() as u32)
    }

    /// A control packet.
    pub(super) fn control(&self, control_type: ControlTypes, now: Instant) -> Bytes {
        let timestamp = self.timestamp(now);
        datagram(&ControlPacket { timestamp, dest_sockid: self.to, control_type }.into())
    }

    /// The reader has acknowledged; the answer, if it wants one.
    pub(super) fn acknowledged(
        &mut self,
        (number, rtt_micros): (Option<u32>, Option<u32>),
        now: Instant,
    ) -> Option<Bytes> {
        if let Some(rtt) = rtt_micros {
            self.rtt = Duration::from_micros(u64::from(rtt)).clamp(AGAIN_EVERY.0, AGAIN_EVERY.1);
        }
        let words = [ACKNOWLEDGED, number?, self.timestamp(now).as_micros(), self.to.0];
        Some(words.iter().flat_map(|word| word.to_be_bytes()).collect())
    }

    /// The reader has got new keys.
    pub(super) fn keys_answered(&mut self, keys: KeyingMaterialMessage) {
        // Of others than were sent nothing follows.
        let _ = self.encryption.handle_key_refresh_response(keys);
    }

    /// Time passes: what was sent again long ago is forgotten.
    pub(super) fn tick(&mut self, now: Instant) {
        self.again.retain(|_, at| now.saturating_duration_since(*at) < AGAIN_EVERY.1);
    }
}

#[cfg(test)]
mod tests;
