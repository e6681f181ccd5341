//! The timeline of one publisher's visit: whatever times it sends become increasing times of canonical frames, and each
//! repair is counted. Nothing it sends is a reason to hang up.
//!
//! Pictures keep the publisher's rhythm ([`super::cadence`]); sound is counted in samples, because that is what will be
//! heard, and follows the publisher's clock only when it has gone too far from it. A jump that is none of a picture's or a
//! packet's business (a wrap, a reset, an encoder that was paused) moves all tracks alike, so that sound stays with pictures.
use std::time::Duration;

use serde::Serialize;

use super::cadence::Cadence;
use super::ring::MICROS;
use crate::domain::asset::{Ticks, TrackKind};

/// Media time that runs ahead of its arrival by more than this within one frame has jumped.
const JUMP_AHEAD: Duration = Duration::from_secs(10);
/// Media time that runs back by more than this has jumped.
const JUMP_BACK: Duration = Duration::from_secs(1);
/// Sound that has gone this far from the publisher's clock follows it again (milliseconds).
const SOUND_SLACK_MS: i64 = 50;
/// A picture is decoded where the one before it ends when it comes this much earlier or later (milliseconds).
const PICTURE_SLACK_MS: i64 = 500;

/// What was repaired, as counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Repairs {
    /// Times that had run over the end of their field.
    pub wrapped: u64,
    /// Decode times that did not increase and were moved.
    pub unordered: u64,
    /// Presentation before decoding.
    pub shown_early: u64,
    /// Jumps that were taken out.
    pub jumps: u64,
    /// Holes in the sound, which are filled with silence where its codec has some that is known.
    pub sound_gaps: u64,
    /// Packets of sound left out because others had their place.
    pub sound_overlaps: u64,
}

/// How times arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestClock {
    /// Ticks per second.
    pub ticks_per_sec: u32,
    /// Bits of its field: 32 in RTMP, 33 in MPEG-TS.
    pub bits: u32,
}

impl IngestClock {
    /// RTMP: milliseconds in 32 bits.
    pub const RTMP: Self = Self { ticks_per_sec: 1000, bits: 32 };
    /// MPEG-TS: 90 kHz in 33 bits.
    pub const MPEG_TS: Self = Self { ticks_per_sec: 90_000, bits: 33 };
    /// RTP, brought to one clock of 90 kHz for all tracks, which does not wrap.
    pub const RTP: Self = Self { ticks_per_sec: 90_000, bits: 62 };

    /// The time nearest to `near` that looks like `raw` in the field; whether it lies in another turn of the field.
    pub(super) fn unfold(&self, raw: i64, near: i64) -> (i64, bool) {
        let turn = 1i64 << self.bits.clamp(1, 62);
        let difference = (raw - near).rem_euclid(turn);
        let difference = if difference > turn / 2 { difference - turn } else { difference };
        let time = near + difference;
        (time, time.div_euclid(turn) != near.div_euclid(turn))
    }
}

/// A track as the timeline sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackClock {
    /// What it carries.
    pub kind: TrackKind,
    /// Ticks per second of its frames: the sample rate for sound.
    pub timescale: u32,
}

/// The times a frame came with, in ticks of the ingest clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Decode time as in its field.
    pub dts: i64,
    /// Presentation minus decode time.
    pub composition: i64,
    /// Whether a group of pictures starts.
    pub keyframe: bool,
    /// When it arrived, since any fixed moment.
    pub arrival: Duration,
}

/// A frame's place on the stream's timeline, in ticks of its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Decode time; greater than the track's last one.
    pub dts: i64,
    /// Presentation time, not before `dts`.
    pub pts: i64,
    /// Ticks to the next frame, when the rhythm tells.
    pub duration: Option<u32>,
}

/// One visit's timeline.
#[derive(Debug, Clone)]
pub struct Timeline {
    clock: IngestClock,
    /// Where the visit starts on the stream's timeline.
    start: Ticks,
    /// Time of the first frame of all, ingest ticks.
    first: Option<i64>,
    tracks: Vec<TrackState>,
    repairs: Repairs,
}

#[derive(Debug, Clone)]
struct TrackState {
    clock: TrackClock,
    cadence: Cadence,
    /// Last time in ingest ticks, unfolded, and its arrival.
    last: Option<(i64, Duration)>,
    /// Added to unfolded times since the last jump.
    correction: i64,
    /// Last decode time given out.
    last_dts: Option<i64>,
    /// Where the last frame ends, when that has been told: sound's next packet belongs there.
    next: Option<i64>,
}

impl Timeline {
    /// A visit that starts at `start` of the stream's timeline.
    pub fn new(clock: IngestClock, start: Ticks) -> Self {
        Self { clock, start, first: None, tracks: Vec::new(), repairs: Repairs::default() }
    }

    /// Adds a track; returns its number.
    pub fn add_track(&mut self, clock: TrackClock) -> usize {
        let cadence = Cadence::new(clock.timescale, self.clock.ticks_per_sec);
        self.tracks.push(TrackState { clock, cadence, last: None, correction: 0, last_dts: None, next: None });
        self.tracks.len() - 1
    }

    /// What was repaired so far.
    pub fn repairs(&self) -> Repairs {
        self.repairs
    }

    /// Frames per second of a track of pictures, once its rhythm is known.
    pub fn frame_rate(&self, track: usize) -> Option<(u32, u32)> {
        self.tracks.get(track).and_then(|track| track.cadence.frame_rate())
    }

    /// The place of the next frame of a track, a packet of sound being so many ticks long; `None` when there is none for it
    /// (sound whose place is taken, or no such track).
    pub fn place(&mut self, (track, packet_ticks): (usize, u32), stamp: Stamp) -> Option<Placed> {
        let time = self.unfold(track, stamp)?;
        let first = *self.first.get_or_insert(time);
        let clock = self.clock.ticks_per_sec;
        let start = self.start;
        let state = self.tracks.get_mut(track)?;
        let scale = |ticks: i64| Ticks { value: ticks, timescale: clock }.rescale(state.clock.timescale);
        let raw = start.rescale(state.clock.timescale) + scale(time - first);
        let composition = scale(stamp.composition);
        match state.clock.kind {
            TrackKind::Video => Some(state.place_picture(raw, composition, stamp.keyframe, &mut self.repairs)),
            TrackKind::Audio => state.place_sound(raw, packet_ticks.max(1), &mut self.repairs),
        }
    }

    /// Where something that came with this time belongs, microseconds of stream time; what comes before the first frame
    /// belongs to the visit's start.
    pub fn instant(&self, time: i64) -> i64 {
        let start = self.start.rescale(MICROS);
        let known = self.tracks.iter().find_map(|track| Some((track.last?.0, track.correction)));
        let (Some(first), Some((near, correction))) = (self.first, known) else { return start };
        let (unfolded, _) = self.clock.unfold(time, near);
        let since = Ticks { value: unfolded + correction - first, timescale: self.clock.ticks_per_sec };
        start + since.rescale(MICROS)
    }

    /// The frame's time on a clock that neither wraps nor jumps.
    fn unfold(&mut self, track: usize, stamp: Stamp) -> Option<i64> {
        let near = self.tracks.get(track)?.last.or_else(|| self.tracks.iter().find_map(|track| track.last));
        let (unfolded, wrapped) = match near {
            Some((near, _)) => self.clock.unfold(stamp.dts, near),
            None => (stamp.dts, false),
        };
        self.repairs.wrapped += u64::from(wrapped);
        let state = self.tracks.get(track)?;
        let correction = match state.last {
            Some((last, arrival)) => {
                let passed = stamp.arrival.saturating_sub(arrival);
                let (from, own) = (last + state.correction, state.correction);
                if self.is_plausible(from, unfolded + own, passed) {
                    own
                } else {
                    self.repairs.jumps += 1;
                    self.correct(from, unfolded, passed)
                }
            }
            // A track that begins late begins in step with the others.
            None => self.tracks.iter().find(|track| track.last.is_some()).map_or(0, |track| track.correction),
        };
        let state = self.tracks.get_mut(track)?;
        (state.last, state.correction) = (Some((unfolded, stamp.arrival)), correction);
        Some(unfolded + correction)
    }

    fn is_plausible(&self, from: i64, to: i64, passed: Duration) -> bool {
        let ticks = |duration: Duration| {
            i64::try_from(duration.as_micros() * u128::from(self.clock.ticks_per_sec) / 1_000_000).unwrap_or(i64::MAX)
        };
        to >= from.saturating_sub(ticks(JUMP_BACK))
            && to <= from.saturating_add(ticks(JUMP_AHEAD)).saturating_add(ticks(passed))
    }

    /// After a jump: in step with a track that has jumped already, or else by the time that has passed.
    fn correct(&self, from: i64, unfolded: i64, passed: Duration) -> i64 {
        let mut others = self.tracks.iter().rev().map(|track| track.correction);
        let in_step = others.find(|correction| self.is_plausible(from, unfolded + correction, passed));
        in_step.unwrap_or_else(|| {
            let passed = passed.as_micros() * u128::from(self.clock.ticks_per_sec) / 1_000_000;
            from + i64::try_from(passed).unwrap_or(0).max(1) - unfolded
        })
    }
}

impl TrackState {
    /// A picture is shown when the publisher says, and decoded where the one before it ends if that has been told: its part may be
    /// with the viewers. What that is off by is made up for by the picture's own duration, or by some of them.
    fn place_picture(&mut self, raw: i64, composition: i64, keyframe: bool, repairs: &mut Repairs) -> Placed {
        let exact = self.cadence.place(raw, keyframe);
        let interval = self.cadence.to_next();
        let slack = PICTURE_SLACK_MS * i64::from(self.clock.timescale) / 1000;
        let is_near = |end: &i64| exact - end <= slack && (end - exact) <= interval.map_or(0, |_| slack);
        let mut dts = self.next.filter(is_near).unwrap_or(exact);
        if let Some(last) = self.last_dts.filter(|last| dts <= *last) {
            repairs.unordered += 1;
            dts = last + 1;
        }
        self.last_dts = Some(dts);
        let pts = exact + self.cadence.place_composition(composition);
        repairs.shown_early += u64::from(pts < exact);
        let duration = interval.and_then(|interval| u32::try_from((exact + interval - dts).max(interval / 2)).ok());
        self.next = duration.map(|duration| dts + i64::from(duration));
        Placed { dts, pts: pts.max(dts), duration }
    }

    /// Sound belongs where the packet before it ends.
    fn place_sound(&mut self, raw: i64, packet_ticks: u32, repairs: &mut Repairs) -> Option<Placed> {
        let slack = SOUND_SLACK_MS * i64::from(self.clock.timescale) / 1000;
        let expected = self.next.unwrap_or(raw);
        let dts = if (raw - expected).abs() <= slack {
            expected
        } else if raw > expected {
            repairs.sound_gaps += 1;
            raw
        } else {
            repairs.sound_overlaps += 1;
            return None;
        };
        self.next = Some(dts + i64::from(packet_ticks));
        Some(Placed { dts, pts: dts, duration: Some(packet_ticks) })
    }
}

#[cfg(test)]
mod tests;
