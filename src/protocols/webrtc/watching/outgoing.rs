//! What one viewer is sent of one kind: its place in a lane of the programme, and the heads of its packets.
use std::time::{Duration, Instant};

use super::super::line::Line;
use super::super::peer::{RtpPacket, Source as Ssrc, Told};
use super::super::programme::{Lane, RtpProgramme, Unit};
use super::super::wire::offer::{Codec, Media};
use super::{BATCH, PAUSE};
use crate::domain::time::Timestamp;
use crate::media::live::ring::MICROS;
use crate::media::live::tape::Found;

/// Packets that are sent at a time at most of what had come before the viewer: the way to it may be narrow, 50 Mb/s of them.
const CATCH_UP_PACKETS: u64 = 5;
/// How far apart pictures are shown that had come before the viewer, ticks: a millisecond.
const SQUEEZED: i64 = 90;
/// Longest time that pictures wait for the sound that belongs to them.
const HELD_MAX: Duration = Duration::from_millis(120);
/// From 1900, where NTP begins, to 1970, seconds.
const UNIX_EPOCH_SECS: u64 = 2_208_988_800;

/// One instant by all clocks: all that a viewer is sent is told of by the same.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Anchor {
    begun: Instant,
    ntp: u64,
    /// The stream's timeline at that instant, microseconds; known with the first of its media.
    media: Option<i64>,
}

impl Anchor {
    pub(super) fn new(begun: Instant, wall: Timestamp) -> Self {
        let millis = u64::try_from(wall.as_millis()).unwrap_or(0);
        let fraction = ((millis % 1000) << 32) / 1000;
        Self { begun, ntp: (millis / 1000 + UNIX_EPOCH_SECS) << 32 | fraction, media: None }
    }

    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Seconds since 1900, with 32 bits of fraction.
    pub(super) fn ntp(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.begun);
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        self.ntp.wrapping_add(since.as_secs() << 32).wrapping_add(fraction)
    }

    /// Media of this time are live now; what was said first stays.
    fn place(&mut self, micros: i64, now: Instant) {
        let since = whole_micros(now.saturating_duration_since(self.begun));
        self.media.get_or_insert(micros - since);
    }

    /// The stream's timeline at an instant, in ticks.
    fn time(&self, now: Instant, rate: u32) -> Option<i64> {
        let micros = self.media? + whole_micros(now.saturating_duration_since(self.begun));
        Some(rescale(micros, (MICROS, rate)))
    }
}

fn whole_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn rescale(value: i64, (from, to): (u32, u32)) -> i64 {
    (i128::from(value) * i128::from(to) / i128::from(from)) as i64
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Whether anything was sent at all by now.
    pub(super) has_begun: bool,
}

/// One section's media on their way to a viewer.
#[derive(Debug)]
pub(in super::super) struct Outgoing {
    section: usize,
    codec: Codec,
    source: Ssrc,
    /// Added to its clock's ticks.
    offset: u32,
    sequence: u16,
    lane: Option<Lane>,
    /// Its place in the lane; none before a key frame.
    next: Option<u64>,
    /// Number and time of the unit that was the newest when it began.
    edge: (u64, i64),
    /// Time of what was sent last.
    last: Option<i64>,
    /// How much later everything is sent than it could be.
    late: Duration,
    /// Whether the lane is given up because the line is too narrow for it.
    is_narrow: bool,
    packets: u32,
    bytes: u32,
}

impl Outgoing {
    /// Of the section with this number, beginning to count at these.
    pub(in super::super) fn new(
        (section, codec): (usize, Codec),
        source: Ssrc,
        (offset, sequence): (u32, u16),
    ) -> Self {
        let (lane, next, edge, last, packets, bytes) = (None, None, (0, 0), None, 0, 0);
        let (late, is_narrow) = (Duration::ZERO, false);
        Self { section, codec, source, offset, sequence, lane, next, edge, last, late, is_narrow, packets, bytes }
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.source.ssrc
    }

    /// Goes back to the newest key frame. Pictures of VP9 carry numbers that may not go back.
    pub(super) fn start_anew(&mut self) {
        if self.codec != Codec::Vp9 {
            self.next = None;
        }
    }

    /// The stream goes on elsewhere: with the newest key frame there.
    pub(super) fn move_on(&mut self) {
        (self.lane, self.next) = (None, None);
    }

    /// Sends what is due of this lane, and says when the next is, if anything is.
    pub(super) fn send_due(
        &mut self,
        (programme, lane): (&RtpProgramme, Lane),
        (line, anchor): (&mut Line, &mut Anchor),
        (now, sound): (Instant, Option<i64>),
        passed: &mut Passed,
    ) -> Option<Instant> {
        if !self.enter(programme, lane) {
            return None;
        }
        let lane = self.lane.unwrap_or(lane);
        let next = self.next.or_else(|| self.begin(programme, lane));
        passed.has_begun |= self.packets > 0;
        let mut next = next?;
        let units = match programme.units(lane, next, BATCH) {
            Found::Pieces(units) => units,
            Found::Gone(_) => {
                metrics::counter!("playhouse_whep_viewers_skips_total").increment(1);
                self.next = None;
                return Some(now);
            }
        };
        let is_batch = units.len() == BATCH;
        let before = passed.packets;
        for unit in units {
            if next < self.edge.0 && passed.packets - before >= CATCH_UP_PACKETS {
                self.next = Some(next);
                return Some(now + PAUSE);
            }
            let due = self.held_until(&unit, next, sound);
            if due > now {
                self.next = Some(next);
                return Some(due);
            }
            if let Some(time) = self.time_of(&unit, next) {
                anchor.place(rescale(unit.time, (lane.rate(), MICROS)), now);
                self.send(&unit, time, (line, now), passed);
            }
            next += 1;
        }
        self.next = Some(next);
        passed.has_begun |= self.packets > 0;
        is_batch.then_some(now)
    }

    /// Goes over to a lane, at once or, between sizes of the same pictures, where one begins behind what was sent. Whether anything is
    /// to be sent meanwhile: what the line does not carry is not.
    fn enter(&mut self, programme: &RtpProgramme, lane: Lane) -> bool {
        if self.lane == Some(lane) {
            return true;
        }
        let is_size = |lane: Lane| matches!(lane, Lane::Other(_));
        let last = self.last.filter(|_| is_size(lane) || self.lane.is_some_and(is_size));
        let Some(last) = last else {
            (self.lane, self.next) = (Some(lane), None);
            return true;
        };
        let Some((number, time)) = programme.beginning(lane).filter(|(_, time)| *time > last) else {
            return !self.is_narrow;
        };
        (self.lane, self.next, self.edge, self.is_narrow) = (Some(lane), Some(number), (number, time), false);
        true
    }

    /// Sound waits for pictures that come so late, and pictures are given up at once when the line is too narrow for them.
    pub(super) fn wait_for(&mut self, late: Duration, is_narrow: bool) {
        self.is_narrow |= is_narrow;
        self.late = if self.codec.media() == Media::Audio { late } else { Duration::ZERO };
    }

    /// Pictures begin with the newest key frame, sound with what comes next.
    fn begin(&mut self, programme: &RtpProgramme, lane: Lane) -> Option<u64> {
        let end = programme.end(lane);
        if lane == Lane::Sound {
            self.edge = (end, 0);
            return Some(end);
        }
        let start = programme.start(lane)?;
        self.edge = (end.saturating_sub(1), programme.newest(lane)?.time);
        Some(start)
    }

    /// Pictures wait a little for sound that is still being encoded: players would have them wait, too, but take seconds to find
    /// out how long. Sound is sent at an even pace.
    fn held_until(&self, unit: &Unit, number: u64, sound: Option<i64>) -> Instant {
        let waits = self.codec.media() == Media::Video && number >= self.edge.0;
        if waits && sound.is_some_and(|until| unit.time > until) { unit.made + HELD_MAX } else { unit.due + self.late }
    }

    /// When a unit is shown, as the viewer is told. What had come before it is shown in a rush, just before what was the newest
    /// then. Sound that goes back is left out.
    fn time_of(&self, unit: &Unit, number: u64) -> Option<i64> {
        let (edge, edge_time) = self.edge;
        let is_sound = self.codec.media() == Media::Audio;
        let behind = i64::try_from(edge.saturating_sub(number)).unwrap_or(i64::MAX / SQUEEZED);
        let time = if is_sound || behind == 0 { unit.time } else { unit.time.max(edge_time - behind * SQUEEZED) };
        match self.last {
            Some(last) if time <= last && is_sound => None,
            Some(last) if time <= last => Some(last + SQUEEZED),
            _ => Some(time),
        }
    }

    fn send(&mut self, unit: &Unit, time: i64, (line, now): (&mut Line, Instant), passed: &mut Passed) {
        self.last = Some(time);
        let count = unit.payloads.len();
        for (number, payload) in unit.payloads.iter().enumerate() {
            let mut packet = RtpPacket::default();
            packet.header.version = 2;
            packet.header.timestamp = self.stamp(time);
            packet.header.sequence_number = self.sequence;
            packet.header.marker = number + 1 == count && self.codec.media() == Media::Video;
            packet.payload = payload.clone();
            self.sequence = self.sequence.wrapping_add(1);
            if line.peer.send((self.section, self.source.ssrc), packet, now) {
                let bytes = payload.len() as u64;
                (passed.packets, passed.bytes) = (passed.packets + 1, passed.bytes + bytes);
                self.packets = self.packets.wrapping_add(1);
                self.bytes = self.bytes.wrapping_add(bytes as u32);
            }
        }
        // What is sent again lies in the peer until then; the rest has not to.
        line.flush(|_| ());
    }

    fn stamp(&self, time: i64) -> u32 {
        (time as u32).wrapping_add(self.offset)
    }

    /// What its clock says now, once something was sent.
    pub(super) fn told(&self, anchor: &Anchor, now: Instant) -> Option<Told> {
        let rate = self.lane?.rate();
        let time = anchor.time(now, rate).filter(|_| self.packets > 0)?;
        let (packets, bytes) = (self.packets, self.bytes);
        Some(Told { ssrc: self.source.ssrc, ntp: anchor.ntp(now), rtp: self.stamp(time), packets, bytes })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn outgoing(codec: Codec) -> Outgoing {
        Outgoing::new((0, codec), Ssrc { ssrc: 7, repair_ssrc: 8 }, (u32::MAX, u16::MAX))
    }

    fn unit(time: i64) -> Unit {
        let payloads = vec![Bytes::from_static(&[1])].into();
        let now = Instant::now();
        Unit { made: now, due: now, time, keyframe: false, payloads }
    }

    #[test]
    fn what_had_come_before_is_shown_in_a_rush_and_nothing_goes_back() {
        let mut video = outgoing(Codec::H264);
        video.edge = (14, 90_000);
        let mut shown = Vec::new();
        for number in 10..18u64 {
            let time = video.time_of(&unit(number as i64 * 3000 + 48_000), number).unwrap();
            video.last = Some(time);
            shown.push(time);
        }
        assert_eq!(shown, [89_640, 89_730, 89_820, 89_910, 90_000, 93_000, 96_000, 99_000]);
        // The same once more, after a loss.
        video.edge = (17, 99_000);
        let again = video.time_of(&unit(78_000), 16).unwrap();
        assert_eq!(again, 99_090);
    }

    #[test]
    fn pictures_wait_for_their_sound_but_not_for_long() {
        let (mut video, sound, one) = (outgoing(Codec::H264), outgoing(Codec::Opus), unit(90_000));
        video.edge = (5, 0);
        assert_eq!(video.held_until(&one, 6, Some(89_000)), one.made + HELD_MAX);
        let at_once = one.due;
        assert_eq!(video.held_until(&one, 6, Some(90_000)), at_once);
        assert_eq!(video.held_until(&one, 6, None), at_once, "there is none");
        assert_eq!(video.held_until(&one, 4, Some(0)), at_once, "it had come before");
        assert_eq!(sound.held_until(&one, 6, Some(0)), at_once);
    }

    #[test]
    fn sound_keeps_its_times() {
        let mut sound = outgoing(Codec::Opus);
        assert_eq!(sound.time_of(&unit(960), 0), Some(960));
        sound.last = Some(960);
        assert_eq!((sound.time_of(&unit(960), 1), sound.time_of(&unit(1920), 1)), (None, Some(1920)));
    }

    #[test]
    fn all_clocks_are_told_of_one_instant() {
        let begun = Instant::now();
        let mut anchor = Anchor::new(begun, Timestamp::from_millis(500));
        let (mut video, mut sound) = (outgoing(Codec::H264), outgoing(Codec::Opus));
        (video.lane, sound.lane) = (Some(Lane::Encoded), Some(Lane::Sound));
        video.packets = 1;
        let now = begun + Duration::from_millis(1500);
        assert_eq!(video.told(&anchor, now), None, "nobody knows yet what time it is");
        anchor.place(10_000_000, begun + Duration::from_millis(500));
        anchor.place(77_000_000, now);
        let told = video.told(&anchor, now).unwrap();
        assert_eq!((told.ntp, told.rtp), ((UNIX_EPOCH_SECS + 2) << 32, 11 * 90_000 - 1));
        assert_eq!(sound.told(&anchor, now), None, "nothing of it was sent");
        sound.packets = 1;
        assert_eq!(sound.told(&anchor, now).unwrap().rtp, 11 * 48_000 - 1);
    }
}
