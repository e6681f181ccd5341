//! From frames to parts and segments, all tracks on one grid.
//!
//! The first pictures lead: segments start at their key frames, or where TARGETDURATION ends when none comes. Sound and other
//! pictures follow: they wait until the leader has passed their time, and are cut at the packet or picture nearest to the
//! leader's cut. A leader that stalls is not waited for: the grid goes on by the clock of the others, and its segments are
//! gaps until it is back. A follower that is missing has gaps as well. Segment numbers are the same in all tracks at all times.
use std::collections::VecDeque;

use serde::Serialize;

use super::part::{Part, PartBuilder, PartTarget};
use crate::domain::asset::{Ticks, TrackKind};
use crate::media::frames::Frame;

/// Shortest TARGETDURATION, seconds.
const TARGET_SECS_MIN: u32 = 2;
/// Longest TARGETDURATION, seconds.
const TARGET_SECS_MAX: u32 = 10;
/// A follower waits for its leader as long as this, milliseconds of media.
const LAG_MAX_MS: i64 = 2500;
/// How far a follower may be behind its leader before it has gaps, target durations, and milliseconds of media at least.
const LATE: (i64, i64) = (2, 5000);
/// Groups of pictures remembered, to foresee the next one.
const GROUPS_REMEMBERED: usize = 8;

/// What a packager is set up with.
#[derive(Debug, Clone)]
pub struct PackagerSettings {
    /// PART-TARGET.
    pub part_target: PartTarget,
    /// TARGETDURATION in seconds when it is fixed already; otherwise the first closed group of pictures fixes it.
    pub target_secs: Option<u32>,
    /// Number of the first segment.
    pub first_segment: u64,
    /// Kinds and timescales of the tracks.
    pub tracks: Vec<(TrackKind, u32)>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packaged {
    /// TARGETDURATION is known from now on, seconds.
    TargetDuration(u32),
    /// A segment of a track begins; `start` is when it is shown, ticks.
    Begin {
        /// The track.
        track: usize,
        /// Its number.
        number: u64,
        /// When it is shown.
        start: i64,
        /// Whether decoding can start with it.
        independent: bool,
    },
    /// The next part of the segment that has begun.
    Part {
        /// The track.
        track: usize,
        /// The part.
        part: Part,
    },
    /// The segment of a track is complete.
    End {
        /// The track.
        track: usize,
    },
    /// A segment of a track has no media.
    Gap {
        /// The track.
        track: usize,
        /// Its number.
        number: u64,
        /// When it would be shown, ticks.
        start: i64,
        /// Ticks.
        duration: u32,
    },
}

/// What was left out, as counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Pictures before the first key frame.
    pub undecodable: u64,
    /// Packets of sound before the first picture.
    pub early_sound: u64,
}

/// Cuts the frames of one epoch.
#[derive(Debug)]
pub struct Packager {
    settings: PackagerSettings,
    tracks: Vec<Track>,
    leader: usize,
    grid: Grid,
    groups: Groups,
    dropped: Dropped,
}

/// Where segments start.
#[derive(Debug)]
struct Grid {
    /// Number of the first cut below.
    first: u64,
    cuts: VecDeque<Ticks>,
    /// Where the epoch ends, once it has.
    end: Option<Ticks>,
}

impl Grid {
    fn next_number(&self) -> u64 {
        self.first + self.cuts.len() as u64
    }

    fn at(&self, number: u64) -> Option<Ticks> {
        let cut = self.cuts.get(usize::try_from(number.checked_sub(self.first)?).ok()?).copied();
        cut.or(self.end.filter(|_| number == self.next_number()))
    }

    /// Forgets cuts that no track needs any more; the last one always stays.
    fn forget_before(&mut self, number: u64) {
        while self.first < number && self.cuts.len() > 1 {
            self.cuts.pop_front();
            self.first += 1;
        }
    }
}

/// Groups of pictures of the leader.
#[derive(Debug, Default)]
struct Groups {
    lengths: VecDeque<i64>,
    last_key: Option<i64>,
}

impl Groups {
    fn note_key(&mut self, at: i64) {
        if let Some(last) = self.last_key.replace(at) {
            self.lengths.push_back(at - last);
            if self.lengths.len() > GROUPS_REMEMBERED {
                self.lengths.pop_front();
            }
        }
    }

    fn longest(&self) -> i64 {
        self.lengths.iter().copied().max().unwrap_or(0)
    }
}

#[derive(Debug)]
struct Track {
    kind: TrackKind,
    timescale: u32,
    builder: PartBuilder,
    /// A frame whose duration the next one tells.
    held: Option<Frame>,
    /// Followers: frames that the leader has not passed.
    waiting: VecDeque<Frame>,
    /// Followers: whether the pictures before the next one are there.
    is_continuous: bool,
    /// Decode time at which the open segment started.
    open: Option<i64>,
    /// Number of the segment to begin next.
    next: u64,
    /// Decode time up to which frames came.
    reached: Option<i64>,
    /// When the last frame that went into a segment is shown, and its duration.
    placed: Option<i64>,
    length: u32,
}

impl Track {
    fn ticks(&self, value: i64) -> Ticks {
        Ticks { value, timescale: self.timescale }
    }

    /// When a segment is shown that begins with this frame: pictures behind a random access picture may be shown before it,
    /// where those before it end. There are none where pictures are shown in the order in which they are decoded.
    fn start_of(&self, frame: &Frame) -> i64 {
        let end = self.placed.map(|placed| placed + i64::from(self.length));
        let is_room = |end: &i64| *end > frame.dts && 2 * (frame.pts - *end) >= i64::from(self.length);
        end.filter(is_room).unwrap_or(frame.pts)
    }

    /// Where the last frame that came ends, as far as that is known.
    fn end(&self) -> Option<Ticks> {
        let last = self.held.as_ref().or(self.waiting.back());
        let last = last.map(|last| last.pts + i64::from(if last.duration > 0 { last.duration } else { self.usual() }));
        let placed = self.placed.map(|placed| placed + i64::from(self.length));
        last.max(placed).map(|end| self.ticks(end))
    }

    /// How long a frame is that nothing tells of: as long as the one before it.
    fn usual(&self) -> u32 {
        if self.length > 0 { self.length } else { self.timescale / 25 }
    }

    /// Followers: where the leader has to be before this frame is placed.
    fn needed(&self, frame: &Frame) -> Ticks {
        self.ticks(match self.kind {
            TrackKind::Audio => middle(frame),
            // A cut is decided when the leader decodes, before it is shown.
            TrackKind::Video => frame.dts - i64::from(frame.duration / 2),
        })
    }
}

/// The longest that a segment may be, ticks: durations are rounded to the nearest second when they are compared with
/// TARGETDURATION.
fn longest(target_secs: u32, timescale: i64) -> i64 {
    i64::from(target_secs) * timescale + timescale * 49 / 100
}

/// The middle of a frame: it belongs to the segment that this lies in.
fn middle(frame: &Frame) -> i64 {
    frame.pts + i64::from(frame.duration / 2)
}

impl Packager {
    /// A packager for the tracks of one epoch; the first track of pictures leads, or else the first one.
    pub fn new(settings: PackagerSettings) -> Self {
        let leader = settings.tracks.iter().position(|(kind, _)| *kind == TrackKind::Video).unwrap_or(0);
        let track = |(kind, timescale): &(TrackKind, u32)| Track {
            kind: *kind,
            timescale: (*timescale).max(1),
            builder: PartBuilder::new(*kind, settings.part_target.ticks(*timescale)),
            held: None,
            waiting: VecDeque::new(),
            is_continuous: *kind == TrackKind::Audio,
            open: None,
            next: settings.first_segment,
            reached: None,
            placed: None,
            length: 0,
        };
        let tracks = settings.tracks.iter().map(track).collect();
        let grid = Grid { first: settings.first_segment, cuts: VecDeque::new(), end: None };
        Self { settings, tracks, leader, grid, groups: Groups::default(), dropped: Dropped::default() }
    }

    /// What was left out so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Number of the next segment to begin in the grid.
    pub fn next_segment(&self) -> u64 {
        self.grid.next_number()
    }

    /// Takes the next frame of a track, in decode order; its duration may be 0 when only the next one tells.
    pub fn push(&mut self, track: usize, frame: Frame, out: &mut Vec<Packaged>) {
        let Some(state) = self.tracks.get_mut(track) else { return };
        if let Some(mut held) = state.held.take() {
            held.duration = u32::try_from(frame.dts - held.dts).unwrap_or(0);
            self.take(track, held, out);
        }
        match self.tracks.get_mut(track) {
            Some(state) if frame.duration == 0 => state.held = Some(frame),
            _ => self.take(track, frame, out),
        }
        let passed = self.tracks.iter().map(|track| track.next).min().unwrap_or(0);
        self.grid.forget_before(passed.saturating_sub(1));
    }

    fn take(&mut self, track: usize, frame: Frame, out: &mut Vec<Packaged>) {
        if let Some(state) = self.tracks.get_mut(track) {
            state.reached = Some(frame.dts);
        }
        if track == self.leader {
            self.lead(frame, out);
            self.follow_all(out);
            self.pass_late(out);
        } else {
            if let Some(state) = self.tracks.get_mut(track) {
                state.waiting.push_back(frame);
            }
            self.follow(track, out);
        }
    }

    fn lead(&mut self, frame: Frame, out: &mut Vec<Packaged>) {
        let leader = self.leader;
        let Some(state) = self.tracks.get(leader) else { return };
        let has_begun = !self.grid.cuts.is_empty();
        if !has_begun && !frame.keyframe {
            self.dropped.undecodable += 1;
            return;
        }
        let timescale = state.timescale;
        if frame.keyframe {
            self.groups.note_key(frame.dts);
        }
        let starts = match self.tracks.get(leader).and_then(|state| state.open) {
            None => true,
            Some(start) => self.starts_segment(&frame, start, out),
        };
        if starts {
            self.end_segment(leader, out);
            let start = self.tracks.get(leader).map_or(frame.pts, |state| state.start_of(&frame));
            self.cut_up_to(start);
            let joined = self.begun_without_leader(start);
            if joined.is_none() {
                self.grid.cuts.push_back(Ticks { value: start, timescale });
            }
            self.begin_segment(leader, &frame, out);
            if let Some((state, cut)) = self.tracks.get_mut(leader).zip(joined) {
                state.open = Some(frame.dts - (start - cut).max(0));
            }
        }
        self.add(leader, frame, out);
    }

    /// The others' segments are no longer than they may be because the leader was away for a moment.
    fn cut_up_to(&mut self, start: i64) {
        let (Some(state), Some(target)) = (self.tracks.get(self.leader), self.settings.target_secs) else { return };
        let (timescale, end) =
            (i64::from(state.timescale), state.placed.map(|placed| placed + i64::from(state.length)));
        let (target, longest) = (i64::from(target) * timescale, longest(target, timescale));
        let last = |grid: &Grid| grid.cuts.back().map(|cut| cut.rescale(state.timescale));
        while let Some(cut) = last(&self.grid).filter(|cut| start - cut > longest) {
            let cut = end.map_or(cut + target, |end| end.max(cut + target));
            self.grid.cuts.push_back(state.ticks(cut));
        }
    }

    /// Where the others have begun the segment that a leader which is back goes into, rather than cutting off a bit of it.
    fn begun_without_leader(&self, start: i64) -> Option<i64> {
        let state = self.tracks.get(self.leader).filter(|state| state.next < self.grid.next_number())?;
        let cut = self.grid.cuts.back()?.rescale(state.timescale);
        let target = i64::from(self.settings.target_secs?) * i64::from(state.timescale);
        (start < cut + target / 4).then_some(cut)
    }

    /// Whether a segment starts with this frame of the leader, in a segment that started at `start`.
    fn starts_segment(&mut self, frame: &Frame, start: i64, out: &mut Vec<Packaged>) -> bool {
        let Some(timescale) = self.tracks.get(self.leader).map(|state| i64::from(state.timescale)) else {
            return false;
        };
        let elapsed = frame.dts - start;
        let is_video = self.tracks.get(self.leader).is_some_and(|state| state.kind == TrackKind::Video);
        if self.settings.target_secs.is_none() {
            let most = i64::from(TARGET_SECS_MAX) * timescale;
            if is_video && !frame.keyframe && elapsed + i64::from(frame.duration) <= most {
                return false;
            }
            let group =
                if is_video { u32::try_from((elapsed + timescale - 1) / timescale).unwrap_or(u32::MAX) } else { 0 };
            let target = group.clamp(TARGET_SECS_MIN, TARGET_SECS_MAX);
            self.settings.target_secs = Some(target);
            out.push(Packaged::TargetDuration(target));
        }
        let secs = self.settings.target_secs.unwrap_or(TARGET_SECS_MAX);
        let (target, limit) = (i64::from(secs) * timescale, longest(secs, timescale));
        if !is_video {
            return elapsed + i64::from(frame.duration) > target;
        }
        let foreseen = frame.keyframe && elapsed >= target / 4 && elapsed + self.groups.longest() > limit;
        foreseen || elapsed + i64::from(frame.duration) > limit
    }

    fn follow_all(&mut self, out: &mut Vec<Packaged>) {
        for track in 0..self.tracks.len() {
            if track != self.leader {
                self.follow(track, out);
            }
        }
    }

    /// Brings a follower as far as the leader has come, or further when it is not worth waiting for.
    fn follow(&mut self, track: usize, out: &mut Vec<Packaged>) {
        while let Some(frame) = self.ready(track) {
            let Some(state) = self.tracks.get(track) else { return };
            if !state.is_continuous && !frame.keyframe {
                self.dropped.undecodable += 1;
                continue;
            }
            let at = state.ticks(middle(&frame));
            self.go_on_without_leader(track, &frame, out);
            self.enter(track, at, &frame, out);
            let Some(state) = self.tracks.get_mut(track) else { return };
            match (state.open, state.kind) {
                (Some(_), _) => {
                    state.is_continuous = true;
                    self.add(track, frame, out);
                }
                (None, TrackKind::Audio) => self.dropped.early_sound += 1,
                (None, TrackKind::Video) => self.dropped.undecodable += 1,
            }
        }
    }

    fn pass_late(&mut self, out: &mut Vec<Packaged>) {
        for track in 0..self.tracks.len() {
            if track != self.leader {
                self.pass_late_follower(track, out);
            }
        }
    }

    /// Goes on with gaps in a follower that has not come for long.
    fn pass_late_follower(&mut self, track: usize, out: &mut Vec<Packaged>) {
        let target = i64::from(self.settings.target_secs.unwrap_or(TARGET_SECS_MAX));
        let patience = (LATE.0 * target * 1000).max(LATE.1);
        while let Some(state) = self.tracks.get(track) {
            let is_open = state.open.is_some();
            let Some(end) = self.grid.at(state.next + u64::from(!is_open)) else { return };
            let Some(leader) = self.tracks.get(self.leader) else { return };
            let passed = leader.reached.map_or(0, |reached| reached - end.rescale(leader.timescale));
            if passed * 1000 <= patience * i64::from(leader.timescale) {
                return;
            }
            if is_open {
                self.end_segment(track, out);
            } else {
                self.gap(track, out);
            }
            if let Some(state) = self.tracks.get_mut(track) {
                state.is_continuous = state.kind == TrackKind::Audio;
            }
        }
    }

    /// The next frame of a follower that can be placed now.
    fn ready(&mut self, track: usize) -> Option<Frame> {
        let leader = self.tracks.get(self.leader)?;
        let passed = leader.reached.map(|reached| leader.ticks(reached));
        let state = self.tracks.get_mut(track)?;
        let first = state.waiting.front()?;
        let is_passed = passed.is_some_and(|passed| passed >= state.needed(first));
        let newest = state.waiting.back().map_or(0, |last| last.pts);
        let lag = (newest - first.pts) * 1000 / i64::from(state.timescale);
        if is_passed || lag > LAG_MAX_MS { state.waiting.pop_front() } else { None }
    }

    /// Cuts the grid by a follower's clock when the leader has not come for longer than a segment.
    fn go_on_without_leader(&mut self, track: usize, frame: &Frame, out: &mut Vec<Packaged>) {
        let (Some(target), Some(last), Some(state)) =
            (self.settings.target_secs, self.grid.cuts.back().copied(), self.tracks.get(track))
        else {
            return;
        };
        let timescale = i64::from(state.timescale);
        let elapsed = frame.pts - last.rescale(state.timescale);
        let leader = self.tracks.get(self.leader).and_then(|leader| Some(leader.ticks(leader.reached?)));
        let leader_is_behind = leader.is_none_or(|reached| reached < state.needed(frame));
        if leader_is_behind && elapsed + i64::from(frame.duration) > longest(target, timescale) {
            let at = state.ticks(frame.pts);
            let leader = self.leader;
            self.end_segment(leader, out);
            self.grid.cuts.push_back(at);
        }
    }

    /// Moves a follower into the segment that `at` lies in.
    fn enter(&mut self, track: usize, at: Ticks, frame: &Frame, out: &mut Vec<Packaged>) {
        while let Some(state) = self.tracks.get(track) {
            let next_starts = self.grid.at(state.next).is_some_and(|cut| cut <= at);
            if !next_starts {
                return;
            }
            self.end_segment(track, out);
            let number = self.tracks.get(track).map_or(0, |state| state.next);
            let is_over = self.grid.at(number + 1).is_some_and(|cut| cut <= at);
            if is_over {
                self.gap(track, out);
            } else {
                self.begin_segment(track, frame, out);
            }
        }
    }

    /// The latest end of what came.
    fn end_of_all(&self) -> Option<Ticks> {
        self.tracks.iter().filter_map(Track::end).reduce(|latest, end| if end > latest { end } else { latest })
    }

    fn begin_segment(&mut self, track: usize, frame: &Frame, out: &mut Vec<Packaged>) {
        let last = self.grid.next_number().saturating_sub(1);
        while track == self.leader && self.tracks.get(track).is_some_and(|state| state.next < last) {
            self.gap(track, out);
        }
        let Some(state) = self.tracks.get_mut(track) else { return };
        state.open = Some(frame.dts);
        let (number, start, independent) = (state.next, state.start_of(frame), frame.keyframe);
        out.push(Packaged::Begin { track, number, start, independent });
        state.next += 1;
    }

    fn gap(&mut self, track: usize, out: &mut Vec<Packaged>) {
        let Some(state) = self.tracks.get_mut(track) else { return };
        let number = state.next;
        state.next += 1;
        let time = |number| self.grid.at(number).map(|cut| cut.rescale(state.timescale));
        let (Some(start), Some(end)) = (time(number), time(number + 1)) else { return };
        out.push(Packaged::Gap { track, number, start, duration: u32::try_from(end - start).unwrap_or(0) });
    }

    fn add(&mut self, track: usize, frame: Frame, out: &mut Vec<Packaged>) {
        let Some(state) = self.tracks.get_mut(track) else { return };
        (state.placed, state.length) = (state.placed.max(Some(frame.pts)), frame.duration);
        let parts = state.builder.push(frame);
        out.extend(parts.into_iter().flatten().map(|part| Packaged::Part { track, part }));
    }

    fn end_segment(&mut self, track: usize, out: &mut Vec<Packaged>) {
        let Some(state) = self.tracks.get_mut(track) else { return };
        if state.open.take().is_none() {
            return;
        }
        out.extend(state.builder.finish().map(|part| Packaged::Part { track, part }));
        out.push(Packaged::End { track });
    }

    /// Where a track ends, and how much it lacks of the longest; ticks of its own. `None` when it has gaps there already, or is so
    /// late that it ought to.
    pub fn missing(&self, track: usize) -> Option<(i64, u32)> {
        let timescale = self.tracks.get(track)?.timescale;
        self.missing_until(track, self.end_of_all()?.rescale(timescale))
    }

    /// The same until a time of its own.
    pub fn missing_until(&self, track: usize, until: i64) -> Option<(i64, u32)> {
        let state = self.tracks.get(track).filter(|state| state.open.is_some())?;
        let end = state.end()?.value;
        let missing = until.checked_sub(end)?;
        let most = LATE.1 * i64::from(state.timescale) / 1000;
        Some((end, u32::try_from(missing).ok().filter(|_| (1..=most).contains(&missing))?))
    }

    /// The epoch is over: everything that came is cut, and all tracks end with the same segment.
    pub fn finish(&mut self, out: &mut Vec<Packaged>) {
        for track in 0..self.tracks.len() {
            let Some(state) = self.tracks.get_mut(track) else { continue };
            if let Some(held) = state.held.take() {
                let duration = state.usual();
                self.take(track, Frame { duration, ..held }, out);
            }
        }
        if let Some(leader) = self.tracks.get_mut(self.leader) {
            leader.reached = Some(i64::MAX / 4);
        }
        self.follow_all(out);
        self.grid.end = self.end_of_all();
        for track in 0..self.tracks.len() {
            self.end_segment(track, out);
            while self.tracks.get(track).is_some_and(|state| state.next < self.grid.next_number()) {
                self.gap(track, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
