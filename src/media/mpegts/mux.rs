//! A multiplexer of transport streams: one programme, whose tracks may change. Tables are repeated, and precede each key frame,
//! so that whoever begins to read there has all that it needs. Without sockets or clock; nothing is held back.
use bytes::{BufMut, Bytes, BytesMut};

use super::packets::PACKET_BYTES;
use super::sections::checksum;
use super::tables::{PAT_TABLE, PMT_TABLE};
use crate::domain::asset::{Ticks, TrackKind};
use crate::media::frames::{Frame, TrackConfig};

mod carriage;

use carriage::Carriage;
pub use carriage::NotCarried;

/// Ticks per second of the clock of decode and presentation times.
pub const CLOCK: u32 = 90_000;
/// Turn of the clock.
const CLOCK_MASK: i64 = (1 << 33) - 1;
/// How far the clock is behind decoding: what tracks may be apart.
const LEAD: i64 = 9_000;
/// Longest time between two of the tables (it may be half a second by ETSI TR 101 290).
const TABLES_EVERY: i64 = 18_000;
/// Longest time between two of the clock's, if anything comes (40 ms by ETSI TR 101 290).
const PCR_EVERY: i64 = 2_700;

const PAT_PID: u16 = 0;
const MAP_PID: u16 = 0x1000;
/// PID of the first track; the others' follow.
const FIRST_PID: u16 = 0x100;
/// Tracks at most.
const TRACKS_MAX: usize = 16;
/// Number of the programme.
const PROGRAMME: u16 = 1;
/// Longest PES packet that tells its length.
const TOLD_BYTES_MAX: usize = 0xffff;

/// A track of the programme.
#[derive(Debug, Clone)]
struct Stream {
    /// Number of the publisher's track.
    track: usize,
    timescale: u32,
    pid: u16,
    carriage: Carriage,
}

/// One programme.
#[derive(Debug, Default)]
pub struct Muxer {
    streams: Vec<Stream>,
    /// Counters of PIDs from [`FIRST_PID`] on, of the association and of the map.
    continuity: [u8; TRACKS_MAX],
    table_continuity: [u8; 2],
    version: u8,
    /// What the map says of its streams.
    map: Bytes,
    tables_at: Option<i64>,
    pcr_at: Option<i64>,
    /// The clock has jumped.
    is_discontinuous: bool,
    scratch: BytesMut,
}

/// What is told by the adaptation field of a packet.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    pcr: Option<i64>,
    is_random_access: bool,
    is_discontinuous: bool,
}

impl Muxer {
    /// What comes from now on is of these tracks: the first one of pictures, and all of sound.
    pub fn begin(&mut self, tracks: &[TrackConfig]) -> Result<(), NotCarried> {
        let leader = tracks.iter().position(|config| config.kind() == TrackKind::Video);
        let is_carried =
            |(track, config): &(usize, &TrackConfig)| config.kind() == TrackKind::Audio || Some(*track) == leader;
        let carried = tracks.iter().enumerate().filter(is_carried).take(TRACKS_MAX).zip(FIRST_PID..);
        let streams = carried.map(|((track, config), pid)| {
            Ok(Stream { track, timescale: config.timescale, pid, carriage: Carriage::of(config)? })
        });
        self.streams = streams.collect::<Result<_, _>>()?;
        let map = self.map_body();
        if !self.map.is_empty() && map != self.map {
            self.version = (self.version + 1) & 0x1f;
        }
        self.map = map;
        self.tables_at = None;
        self.is_discontinuous = self.pcr_at.is_some();
        Ok(())
    }

    /// Packets of a frame of the publisher's track of this number, behind what else is due.
    pub fn push(&mut self, track: usize, frame: &Frame, out: &mut BytesMut) {
        let Some(index) = self.streams.iter().position(|stream| stream.track == track) else { return };
        let Some(stream) = self.streams.get(index).cloned() else { return };
        let ticks = |value| Ticks { value, timescale: stream.timescale }.rescale(CLOCK);
        let (pts, dts) = (ticks(frame.pts), ticks(frame.dts));
        let mut packet = std::mem::take(&mut self.scratch);
        packet.clear();
        put_pes_head(stream.carriage.stream_id, (pts, dts), &mut packet);
        if stream.carriage.put(frame, &mut packet) {
            tell_length(&mut packet);
            let is_start = index == 0 && frame.keyframe && stream.carriage.is_picture();
            if is_start || self.tables_at.is_none_or(|at| dts - at >= TABLES_EVERY) {
                self.put_tables(out);
                self.tables_at = Some(dts);
            }
            let pcr = self.due_pcr(dts, is_start);
            if let Some(pcr) = pcr.filter(|_| index > 0) {
                let told = Told { pcr: Some(pcr), is_random_access: false, is_discontinuous: self.has_jumped() };
                self.put_clock(told, out);
            }
            let is_random_access = frame.keyframe;
            let told = match index {
                0 => Told { pcr, is_random_access, is_discontinuous: pcr.is_some() && self.has_jumped() },
                _ => Told { is_random_access, ..Told::default() },
            };
            self.put_payload(stream.pid, told, &packet, out);
        }
        self.scratch = packet;
    }

    fn has_jumped(&mut self) -> bool {
        std::mem::take(&mut self.is_discontinuous)
    }

    /// The clock's reading when it is due: never back, unless it is another one.
    fn due_pcr(&mut self, dts: i64, is_start: bool) -> Option<i64> {
        let now = dts - LEAD;
        let last = self.pcr_at.filter(|_| !self.is_discontinuous);
        let is_due = last.is_none_or(|last| now - last >= PCR_EVERY || is_start && now > last);
        is_due.then(|| *self.pcr_at.insert(now))
    }

    fn put_tables(&mut self, out: &mut BytesMut) {
        let mut association = BytesMut::new();
        association.put_u16(PROGRAMME);
        association.put_u16(0xe000 | MAP_PID);
        let [association_count, map_count] = &mut self.table_continuity;
        let section = section((PAT_TABLE, 1, 0), &association);
        put_section((PAT_PID, association_count), &section, out);
        let section = self::section((PMT_TABLE, PROGRAMME, self.version), &self.map);
        put_section((MAP_PID, map_count), &section, out);
    }

    fn map_body(&self) -> Bytes {
        let mut body = BytesMut::new();
        body.put_u16(0xe000 | FIRST_PID);
        body.put_u16(0xf000);
        for stream in &self.streams {
            let descriptors = &stream.carriage.descriptors;
            body.put_u8(stream.carriage.stream_type);
            body.put_u16(0xe000 | stream.pid);
            body.put_u16(0xf000 | u16::try_from(descriptors.len()).unwrap_or(0));
            body.put_slice(descriptors);
        }
        body.freeze()
    }

    fn count(&mut self, pid: u16) -> u8 {
        let slot = self.continuity.get_mut(usize::from(pid.wrapping_sub(FIRST_PID)));
        slot.map_or(0, |count| {
            let now = *count;
            *count = (now + 1) & 0x0f;
            now
        })
    }

    /// A packet of the clock alone: it has no payload, and does not count.
    fn put_clock(&mut self, told: Told, out: &mut BytesMut) {
        let last = self.continuity.first().map_or(0, |next| next.wrapping_sub(1) & 0x0f);
        put_head((FIRST_PID, false), 0x20 | last, out);
        put_adaptation(told, PACKET_BYTES - 4, out);
    }

    fn put_payload(&mut self, pid: u16, told: Told, payload: &[u8], out: &mut BytesMut) {
        let mut rest = payload;
        while !rest.is_empty() {
            let starts = rest.len() == payload.len();
            let told = if starts { told } else { Told::default() };
            let least = told.bytes();
            let room = PACKET_BYTES - 4 - least;
            let (now, later) = rest.split_at(rest.len().min(room));
            rest = later;
            let field = PACKET_BYTES - 4 - now.len();
            let control = if field > 0 { 0x30 } else { 0x10 };
            put_head((pid, starts), control | self.count(pid), out);
            if field > 0 {
                put_adaptation(told, field, out);
            }
            out.put_slice(now);
        }
    }
}

impl Told {
    /// Bytes of the shortest field that tells it.
    fn bytes(self) -> usize {
        match self {
            Self { pcr: Some(_), .. } => 8,
            Self { is_random_access: true, .. } => 2,
            _ => 0,
        }
    }
}

fn put_head((pid, starts): (u16, bool), control: u8, out: &mut BytesMut) {
    out.put_u8(0x47);
    out.put_u16(u16::from(starts) << 14 | pid);
    out.put_u8(control);
}

/// An adaptation field (section 2.4.3.4) of so many bytes, its length included.
fn put_adaptation(told: Told, bytes: usize, out: &mut BytesMut) {
    let end = out.len() + bytes;
    out.put_u8(u8::try_from(bytes - 1).unwrap_or(0));
    if bytes > 1 {
        let has_pcr = told.pcr.is_some();
        let marks = [(told.is_discontinuous, 0x80), (told.is_random_access, 0x40), (has_pcr, 0x10)];
        out.put_u8(marks.iter().filter(|(is_set, _)| *is_set).map(|(_, mark)| mark).sum());
    }
    if let Some(pcr) = told.pcr {
        // 33 bits of 90 kHz, six that are reserved, and none of the 27 MHz between.
        let field = ((pcr & CLOCK_MASK) as u64) << 15 | 0x7e00;
        out.put_uint(field, 6);
    }
    out.resize(end, 0xff);
}

/// A section with its general head and its checksum.
fn section((table, id, version): (u8, u16, u8), body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(table);
    out.put_u16(0xb000 | u16::try_from(body.len() + 9).unwrap_or(0));
    out.put_u16(id);
    out.put_slice(&[0xc1 | version << 1, 0, 0]);
    out.put_slice(body);
    let sum = checksum(&out);
    out.put_u32(sum);
    out.freeze()
}

fn put_section((pid, count): (u16, &mut u8), section: &[u8], out: &mut BytesMut) {
    let mut rest = section;
    let mut starts = true;
    while !rest.is_empty() {
        let end = out.len() + PACKET_BYTES;
        put_head((pid, starts), 0x10 | *count, out);
        *count = (*count + 1) & 0x0f;
        if starts {
            out.put_u8(0);
        }
        let (now, later) = rest.split_at(rest.len().min(end - out.len()));
        out.put_slice(now);
        out.resize(end, 0xff);
        (rest, starts) = (later, false);
    }
}

/// The head of a PES packet (section 2.4.3.6) without its length.
fn put_pes_head(stream_id: u8, (pts, dts): (i64, i64), out: &mut BytesMut) {
    out.put_slice(&[0, 0, 1, stream_id, 0, 0, 0x84]);
    if pts == dts {
        out.put_slice(&[0x80, 5]);
        put_time(2, pts, out);
    } else {
        out.put_slice(&[0xc0, 10]);
        put_time(3, pts, out);
        put_time(1, dts, out);
    }
}

fn put_time(mark: u64, time: i64, out: &mut BytesMut) {
    let time = (time & CLOCK_MASK) as u64;
    let field = mark << 36 | (time >> 30 & 7) << 33 | 1 << 32 | (time >> 15 & 0x7fff) << 17 | 1 << 16;
    out.put_uint(field | (time & 0x7fff) << 1 | 1, 5);
}

/// So that its reader need not wait for the next one. Those that are too long do not tell.
fn tell_length(packet: &mut BytesMut) {
    let length = packet.len().saturating_sub(6);
    let told = u16::try_from(length).ok().filter(|_| length <= TOLD_BYTES_MAX);
    if let (Some(told), Some(field)) = (told, packet.get_mut(4..6)) {
        field.copy_from_slice(&told.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
