//! From frames to the payloads of RTP packets, once per stream: H.264 (RFC 6184, packetization-mode 1), HEVC (RFC 7798), VP9 (RFC
//! 9628), AV1 ("RTP Payload Format For AV1") and Opus (RFC 7587). The way back is in `wire/payload`.
use bytes::{BufMut, Bytes, BytesMut};

use super::wire::offer::Codec;
use crate::domain::asset::TrackKind;
use crate::media::codecs::av1::{Av1Config, Obu, Obus};
use crate::media::codecs::h264::{AvcConfig, NAL_SPS, NalUnits};
use crate::media::codecs::hevc::HevcConfig;
use crate::media::frames::{CodecConfig, Frame, TrackConfig};

/// Longest payload: with the heads of RTP, SRTP and UDP it fits through tunnels, too.
pub const PAYLOAD_BYTES_MAX: usize = 1160;
/// NAL units of H.264 that say nothing over RTP: delimiters, ends, filler.
const H264_LEFT_OUT: std::ops::RangeInclusive<u8> = 9..=12;
/// The same of HEVC.
const HEVC_LEFT_OUT: std::ops::RangeInclusive<u8> = 35..=38;
/// Kinds of packets that have several units of H.264, or a part of one.
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// The same of HEVC.
const AP: u8 = 48;
const FU: u8 = 49;
/// Bytes before each of several units.
const LENGTH_BYTES: usize = 2;
/// Kinds of AV1's units that are told, or left out: sequence headers, delimiters, lists of tiles, padding.
const OBU_SEQUENCE: u8 = 1;
const OBU_LEFT_OUT: [u8; 3] = [2, 8, 15];
/// Flags of AV1's first byte: it goes on, it will go on, a coded video sequence begins.
const AV1_GOES_ON: u8 = 0x80;
const AV1_WILL_GO_ON: u8 = 0x40;
const AV1_BEGINS: u8 = 0x08;

/// Makes payloads of one track's frames.
#[derive(Debug)]
pub struct Payloads {
    codec: Codec,
    /// What decoders have to know before a key frame.
    sets: Vec<Bytes>,
    length_bytes: u8,
    /// Counts pictures of VP9.
    number: u16,
}

impl Payloads {
    /// Of a track with this configuration; `None` when its codec does not go over RTP.
    pub fn of(config: &TrackConfig) -> Option<Self> {
        let (codec, sets, length_bytes) = match &config.codec {
            CodecConfig::H264 { avcc } => {
                let avc = AvcConfig::parse(avcc).ok()?;
                let length_bytes = avc.length_bytes;
                (Codec::H264, avc.sps.into_iter().chain(avc.pps).collect(), length_bytes)
            }
            CodecConfig::Hevc { hvcc } => {
                let hevc = HevcConfig::parse(hvcc).ok()?;
                (Codec::Hevc, hevc.sets().to_vec(), hevc.length_bytes())
            }
            CodecConfig::Av1 { av1c } => {
                // The sequence header lies behind four bytes of the record.
                Av1Config::parse(av1c).ok()?;
                let units = Obus::new(av1c.get(4..)?).filter(|unit| unit.kind == OBU_SEQUENCE);
                (Codec::Av1, units.map(|unit| Bytes::copy_from_slice(unit.bytes)).collect(), 0)
            }
            CodecConfig::Vp9 { .. } => (Codec::Vp9, Vec::new(), 0),
            CodecConfig::Opus { .. } => (Codec::Opus, Vec::new(), 0),
            _ => return None,
        };
        Some(Self { codec, sets, length_bytes, number: 0 })
    }

    /// The codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Picture or sound.
    pub fn kind(&self) -> TrackKind {
        if self.codec == Codec::Opus { TrackKind::Audio } else { TrackKind::Video }
    }

    /// The payloads of a frame, in order; none of one that has nothing to say.
    pub fn make(&mut self, frame: &Frame) -> Vec<Bytes> {
        match self.codec {
            Codec::Opus => vec![frame.payload.clone()],
            // Nothing is sent in it: it is what publishers without anything else have.
            Codec::Vp8 => Vec::new(),
            Codec::H264 => self.units(frame, Nal::H264),
            Codec::Hevc => self.units(frame, Nal::Hevc),
            Codec::Vp9 => {
                self.number = self.number.wrapping_add(1) & 0x7fff;
                vp9(&frame.payload, frame.keyframe, self.number)
            }
            Codec::Av1 => av1(frame, &self.sets),
        }
    }

    fn units(&self, frame: &Frame, nal: Nal) -> Vec<Bytes> {
        let mut packer = Packer { nal, small: Vec::new(), small_bytes: nal.head_bytes(), out: Vec::new() };
        let units: Vec<Bytes> = NalUnits::new(&frame.payload, self.length_bytes)
            .filter(|unit| unit.complete && !nal.is_left_out(unit.bytes))
            .map(|unit| frame.payload.slice_ref(unit.bytes))
            .collect();
        let tells_itself = units.iter().any(|unit| nal.is_set(unit));
        if frame.keyframe && !tells_itself {
            self.sets.iter().for_each(|set| packer.push(set.clone()));
        }
        units.into_iter().for_each(|unit| packer.push(unit));
        packer.flush();
        packer.out
    }
}

/// The two kinds of NAL units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nal {
    H264,
    Hevc,
}

impl Nal {
    /// Bytes of a unit's head.
    fn head_bytes(self) -> usize {
        if self == Self::H264 { 1 } else { 2 }
    }

    fn kind(self, unit: &[u8]) -> u8 {
        let first = unit.first().copied().unwrap_or(0);
        if self == Self::H264 { first & 0x1f } else { first >> 1 & 0x3f }
    }

    fn is_left_out(self, unit: &[u8]) -> bool {
        let left_out = if self == Self::H264 { H264_LEFT_OUT } else { HEVC_LEFT_OUT };
        unit.len() <= self.head_bytes() || left_out.contains(&self.kind(unit))
    }

    /// Whether it is a sequence parameter set.
    fn is_set(self, unit: &[u8]) -> bool {
        self.kind(unit) == if self == Self::H264 { NAL_SPS } else { 33 }
    }
}

/// Puts units into packets: several that are small into one, one that is large into several.
struct Packer {
    nal: Nal,
    small: Vec<Bytes>,
    small_bytes: usize,
    out: Vec<Bytes>,
}

impl Packer {
    fn push(&mut self, unit: Bytes) {
        if self.small_bytes + LENGTH_BYTES + unit.len() > PAYLOAD_BYTES_MAX {
            self.flush();
        }
        if unit.len() > PAYLOAD_BYTES_MAX {
            self.push_parts(&unit);
        } else {
            self.small_bytes += LENGTH_BYTES + unit.len();
            self.small.push(unit);
        }
    }

    fn flush(&mut self) {
        let small = std::mem::take(&mut self.small);
        let bytes = std::mem::replace(&mut self.small_bytes, self.nal.head_bytes());
        if small.len() < 2 {
            self.out.extend(small);
            return;
        }
        let mut packet = BytesMut::with_capacity(bytes);
        match self.nal {
            Nal::H264 => {
                let importance = small.iter().filter_map(|unit| unit.first()).map(|head| head & 0x60).max();
                packet.put_u8(importance.unwrap_or(0) | STAP_A);
            }
            Nal::Hevc => packet.put_slice(&[AP << 1, 1]),
        }
        for unit in small {
            packet.put_u16(u16::try_from(unit.len()).unwrap_or(u16::MAX));
            packet.put_slice(&unit);
        }
        self.out.push(packet.freeze());
    }

    fn push_parts(&mut self, unit: &Bytes) {
        let (head, body) = unit.split_at(self.nal.head_bytes().min(unit.len()));
        let (first, second) = (head.first().copied().unwrap_or(0), head.get(1).copied().unwrap_or(0));
        let heads = self.nal.head_bytes() + 1;
        let parts = body.len().div_ceil(PAYLOAD_BYTES_MAX - heads);
        // Of one size, rather than a small one at the end.
        let mut chunks = body.chunks(body.len().div_ceil(parts.max(1)).max(1)).peekable();
        let mut begins = 0x80;
        let mut packets = BytesMut::with_capacity(body.len() + parts * heads);
        while let Some(chunk) = chunks.next() {
            let ends = if chunks.peek().is_none() { 0x40 } else { 0 };
            match self.nal {
                Nal::H264 => packets.put_slice(&[first & 0xe0 | FU_A, begins | ends | first & 0x1f]),
                Nal::Hevc => {
                    packets.put_slice(&[first & 0x81 | FU << 1, second, begins | ends | first >> 1 & 0x3f]);
                }
            }
            packets.put_slice(chunk);
            self.out.push(packets.split().freeze());
            begins = 0;
        }
    }
}

/// RFC 9628, section 4.2, without layers: each packet tells the picture's number, where the picture begins and ends.
fn vp9(frame: &[u8], is_key: bool, number: u16) -> Vec<Bytes> {
    const HEAD_BYTES: usize = 3;
    let [high, low] = (0x8000 | number).to_be_bytes();
    let mut chunks = frame.chunks(PAYLOAD_BYTES_MAX - HEAD_BYTES).peekable();
    let mut packets = BytesMut::with_capacity(frame.len() + (frame.len() / PAYLOAD_BYTES_MAX + 1) * HEAD_BYTES);
    let (mut out, mut begins) = (Vec::new(), 0x08);
    while let Some(chunk) = chunks.next() {
        let ends = if chunks.peek().is_none() { 0x04 } else { 0 };
        let predicted = if is_key { 0 } else { 0x40 };
        packets.put_slice(&[0x80 | predicted | begins | ends, high, low]);
        packets.put_slice(chunk);
        out.push(packets.split().freeze());
        begins = 0;
    }
    out
}

/// AV1: units, or parts of them, each behind its length (section 4.4).
fn av1(frame: &Frame, sets: &[Bytes]) -> Vec<Bytes> {
    let units: Vec<Obu<'_>> = Obus::new(&frame.payload).filter(|unit| !OBU_LEFT_OUT.contains(&unit.kind)).collect();
    let tells_itself = units.iter().any(|unit| unit.kind == OBU_SEQUENCE);
    let told = sets.iter().filter(|_| frame.keyframe && !tells_itself).flat_map(|set| Obus::new(set));
    let mut packer = Av1Packer { packet: BytesMut::new(), out: Vec::new() };
    packer.begin(if frame.keyframe { AV1_BEGINS } else { 0 });
    told.chain(units).for_each(|unit| packer.push(unit));
    packer.finish()
}

struct Av1Packer {
    packet: BytesMut,
    out: Vec<Bytes>,
}

impl Av1Packer {
    fn begin(&mut self, flags: u8) {
        self.packet.put_u8(flags);
    }

    fn push(&mut self, unit: Obu<'_>) {
        let mut element = BytesMut::with_capacity(unit.payload.len() + 2);
        let head = unit.bytes.first().copied().unwrap_or(0);
        element.put_u8(head & !0x02);
        if head & 0x04 != 0 {
            element.put_u8(unit.bytes.get(1).copied().unwrap_or(0));
        }
        element.put_slice(unit.payload);
        let mut rest = element.freeze();
        while !rest.is_empty() {
            // Its length takes two bytes at most: packets are short.
            let room = PAYLOAD_BYTES_MAX.saturating_sub(self.packet.len() + LENGTH_BYTES);
            if room == 0 {
                self.next(false);
                continue;
            }
            let part = rest.split_to(room.min(rest.len()));
            put_leb128(&mut self.packet, part.len());
            self.packet.put_slice(&part);
            if !rest.is_empty() {
                self.next(true);
            }
        }
    }

    /// Ends a packet; the unit under way may go on in the next.
    fn next(&mut self, goes_on: bool) {
        if let Some(flags) = self.packet.first_mut().filter(|_| goes_on) {
            *flags |= AV1_WILL_GO_ON;
        }
        self.out.push(self.packet.split().freeze());
        self.begin(if goes_on { AV1_GOES_ON } else { 0 });
    }

    fn finish(mut self) -> Vec<Bytes> {
        if self.packet.len() > 1 {
            self.out.push(self.packet.freeze());
        }
        self.out
    }
}

fn put_leb128(out: &mut BytesMut, mut value: usize) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        out.put_u8(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
