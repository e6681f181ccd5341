//! One broadcast: the renditions of a live stream from its first picture to its end, whoever publishes them and however
//! often. The viewers' playlists outlive every publisher: a visit opens an epoch, silence becomes gaps by the clock, and
//! segment numbers go on.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::packager::{Packaged, Packager, PackagerSettings};
use super::part::{Part, PartTarget, segment_type};
use super::periods::Periods;
use super::ring::{Beginning, MICROS, Ring, Stored};
use super::slate::{SlateClip, silence_among};
use super::tap::Tap;
use super::timeline::{Stamp, Timeline, TrackClock};
use crate::domain::asset::{TIMELINE_ORIGIN_SECS, Ticks, TrackKind};
use crate::domain::cues::Cue;
use crate::domain::ladder::live::is_rung;
use crate::domain::time::Timestamp;
use crate::media::frames::{Frame, InvalidConfig, PacketLength, TrackConfig};
use crate::media::packager::init_segment;

mod cues;
mod epoch;
mod gaps;
mod health;
mod mirror;
mod rungs;
mod slate;

pub use cues::ToldCue;
pub use epoch::{Epoch, Visit};
pub use health::Health;
pub(super) use mirror::bounds::{config_is_sane, frame_is_sane};
pub use mirror::{Listener, Nonsense, Told};
pub use rungs::RungPicture;

/// A gap shorter than this before a publisher's return is not worth a segment, microseconds.
pub(super) const GAP_MICROS_MIN: i64 = 100_000;

/// Segments of a broadcast are numbered from its generation times this: names are never used twice, whatever caches hold.
const NUMBERS_OF_GENERATION: u64 = 1 << 24;
/// The same for its epochs: more than one a second for an hour.
const EPOCHS_OF_GENERATION: u32 = 1 << 12;

/// How fast a delay that is over is forgotten per segment: this part of it, and so many microseconds at least.
const DELAY_DECAY: (i64, i64) = (8, 20_000);

/// What a broadcast is set up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BroadcastSettings {
    /// Media that can be gone back to.
    pub window: Duration,
    /// Media that are kept in memory, though they are stored.
    pub memory: Duration,
    /// Where its timeline begins, microseconds: behind what an earlier life of the node has recorded of it.
    pub start_micros: i64,
    /// Tells its segments and initialisation segments from those of other broadcasts under the same URL.
    pub generation: u32,
    /// How far behind the newest part players stay, part targets.
    pub hold_back_parts: u32,
    /// Whether players are offered parts, or whole segments only.
    pub low_latency: bool,
    /// How far rungs may be behind their source before they have gaps; a target duration at least.
    pub rung_patience: Duration,
}

/// PART-HOLD-BACK of what the publisher sends, part targets (at least three are advised, 4.4.3.8).
const HOLD_BACK_PARTS: u32 = 3;
/// The same of a stream with rungs: they come later, and players that switch need some in reserve.
const HOLD_BACK_PARTS_OF_LADDER: u32 = 6;

impl BroadcastSettings {
    /// With all of the window in memory, and a timeline of its own.
    pub fn new(window: Duration, generation: u32) -> Self {
        let start_micros = i64::from(TIMELINE_ORIGIN_SECS) * i64::from(MICROS);
        let (hold_back_parts, rung_patience) = (HOLD_BACK_PARTS, Duration::ZERO);
        Self { window, memory: window, start_micros, generation, hold_back_parts, low_latency: true, rung_patience }
    }

    /// For a broadcast with rungs, which may be this far behind their source.
    pub fn with_ladder(self, rung_patience: Duration) -> Self {
        Self { hold_back_parts: HOLD_BACK_PARTS_OF_LADDER, rung_patience, ..self }
    }
}

/// One rendition.
#[derive(Debug)]
pub struct Rendition {
    /// Name in URLs.
    pub name: String,
    /// What it carries.
    pub kind: TrackKind,
    /// Its segments.
    pub ring: Ring,
    /// How long after the instant that a segment starts with its first part is there, microseconds: the most of late.
    pub delay_micros: Option<i64>,
    /// Of what is encoded from the pictures of another rendition.
    rung: Option<rungs::Rung>,
    /// Whether nobody encodes it now.
    is_given_up: bool,
}

impl Rendition {
    /// Whether it is encoded from the pictures of another one.
    pub fn is_rung(&self) -> bool {
        is_rung(&self.name)
    }

    /// A segment's first part is there this long after the instant that the segment starts with.
    fn note_delay(&mut self, micros: i64) {
        let (part, least) = DELAY_DECAY;
        let forgotten = |before: i64| micros.max(before - ((before - micros) / part).max(least));
        self.delay_micros = Some(self.delay_micros.map_or(micros, forgotten));
    }
}

/// What leaves the packager, in terms of renditions; for whoever stores it.
#[derive(Debug, Clone, PartialEq)]
pub enum Cut {
    /// A segment begins.
    Begin {
        /// Index of the rendition.
        rendition: usize,
        /// How.
        beginning: Beginning,
    },
    /// Its next part.
    Part {
        /// Index of the rendition.
        rendition: usize,
        /// The part.
        part: Part,
    },
    /// It is whole.
    End {
        /// Index of the rendition.
        rendition: usize,
    },
    /// A segment without media.
    Gap {
        /// Index of the rendition.
        rendition: usize,
        /// How it begins.
        beginning: Beginning,
        /// Ticks of its start's timescale.
        duration: u32,
    },
    /// Something was told of the timeline.
    Cue(Cue),
}

/// The visit under way.
#[derive(Debug)]
struct Ongoing {
    timeline: Timeline,
    packager: Packager,
    /// Rendition of each of the visit's tracks.
    renditions: Vec<usize>,
    timescales: Vec<u32>,
    /// How long the tracks' packets are, and one of silence.
    packets: Vec<(PacketLength, Option<Bytes>)>,
    /// The track of pictures that leads.
    leader: Option<usize>,
    /// How far the slate is shown, when it is that and no publisher.
    slate: Option<slate::Shown>,
    /// When the last key frame is shown, and the distance of the last two; ticks of the pictures' track.
    key: Option<i64>,
    gop: Option<Ticks>,
}

impl Ongoing {
    /// Sound ends with the pictures: what had not come of it when the publisher left is silence. The next publisher's begins
    /// where the pictures end, and players stumble over holes.
    fn fill_sound(&mut self, out: &mut Vec<Packaged>) {
        for track in 0..self.packets.len() {
            self.be_silent(track, self.packager.missing(track), out);
        }
    }

    /// What a track lacks from there on, ticks, is silence, unless nobody knows what that is in its codec. The last packet of it
    /// lasts until what comes next.
    fn be_silent(&mut self, track: usize, missing: Option<(i64, u32)>, out: &mut Vec<Packaged>) {
        let Some((length, Some(payload))) = self.packets.get(track) else { return };
        let Some((mut dts, mut left)) = missing else { return };
        let usual = length.samples(payload).max(1);
        while left > 0 {
            let duration = if left < usual * 2 { left } else { usual };
            let frame = Frame { dts, pts: dts, duration, keyframe: true, payload: payload.clone() };
            self.packager.push(track, frame, out);
            dts += i64::from(duration);
            left -= duration;
        }
    }
}

/// A broadcast.
#[derive(Debug)]
pub struct Broadcast {
    settings: BroadcastSettings,
    part_target: Option<PartTarget>,
    target_secs: Option<u32>,
    renditions: Vec<Rendition>,
    epochs: VecDeque<Epoch>,
    periods: Periods,
    cues: cues::Cues,
    tap: Tap,
    /// Where it began on the stream's timeline, microseconds, and when that was.
    anchor: Option<(i64, Timestamp)>,
    ongoing: Option<Ongoing>,
    /// When the last frame came, or the visit began.
    last_frame: Timestamp,
    /// The last visit, in case its publisher goes on after a silence.
    last_visit: Option<Visit>,
    /// What is shown while nobody publishes.
    slate: Option<Arc<SlateClip>>,
    /// Epochs so far, those of the slate included.
    num_epochs: u32,
    /// Number of the next segment.
    next: u64,
    /// Where all that was cut ends, microseconds of stream time.
    end_micros: i64,
    health: Health,
    has_ended: bool,
    /// What was told of the publisher, when this is like a broadcast of another node.
    told: Option<mirror::Now>,
}

impl Broadcast {
    /// A broadcast that nobody has published to.
    pub fn new(settings: BroadcastSettings) -> Self {
        Self {
            settings,
            part_target: None,
            target_secs: None,
            renditions: Vec::new(),
            epochs: VecDeque::new(),
            periods: Periods::default(),
            cues: cues::Cues::new(settings.generation),
            tap: Tap::default(),
            anchor: None,
            ongoing: None,
            last_frame: Timestamp::from_millis(0),
            last_visit: None,
            slate: None,
            num_epochs: 0,
            next: u64::from(settings.generation) * NUMBERS_OF_GENERATION,
            end_micros: settings.start_micros,
            health: Health::default(),
            has_ended: false,
            told: None,
        }
    }

    /// The renditions, pictures first.
    pub fn renditions(&self) -> &[Rendition] {
        &self.renditions
    }

    /// A segment is stored for good and needs not stay in memory.
    pub fn note_stored(&mut self, rendition: usize, number: u64, stored: Stored) {
        self.with_ring(rendition, |ring| ring.note_stored(number, stored));
    }

    /// Its frames as they come.
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// The epochs that segments of the window belong to.
    pub fn epochs(&self) -> impl DoubleEndedIterator<Item = &Epoch> {
        self.epochs.iter()
    }

    /// The runs of segments that are within the window.
    pub fn periods(&self) -> &Periods {
        &self.periods
    }

    /// Where it began on the stream's timeline, microseconds, and the wall-clock time of that; `None` before it has.
    pub fn anchor(&self) -> Option<(i64, Timestamp)> {
        self.anchor
    }

    /// How far behind the newest part players stay, part targets.
    pub fn hold_back_parts(&self) -> u32 {
        self.settings.hold_back_parts
    }

    /// Whether players are offered parts, or whole segments only.
    pub fn is_low_latency(&self) -> bool {
        self.settings.low_latency
    }

    /// How far back viewers can go.
    pub fn window(&self) -> Duration {
        self.settings.window
    }

    /// TARGETDURATION, once known: nothing is listed before.
    pub fn target_secs(&self) -> Option<u32> {
        self.target_secs
    }

    /// PART-TARGET, once known.
    pub fn part_target(&self) -> Option<PartTarget> {
        self.part_target
    }

    /// Whether a publisher is here and sends.
    pub fn is_fed(&self) -> bool {
        let is_told = self.told.as_ref().is_some_and(|told| told.is_fed);
        is_told || self.ongoing.as_ref().is_some_and(|ongoing| ongoing.slate.is_none())
    }

    /// Whether nothing more will come.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Frames per second of the pictures that come now, once their rhythm is known.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        if let Some(told) = &self.told {
            return told.frame_rates.iter().find_map(|rate| *rate);
        }
        let ongoing = self.ongoing.as_ref()?;
        (0..ongoing.renditions.len()).find_map(|track| ongoing.timeline.frame_rate(track))
    }

    /// The same of one rendition; rungs have that of what they are encoded from.
    pub fn frame_rate_of(&self, rendition: usize) -> Option<(u32, u32)> {
        if let Some(told) = &self.told {
            return *told.frame_rates.get(rendition)?;
        }
        let ongoing = self.ongoing.as_ref()?;
        let track = ongoing.renditions.iter().position(|index| *index == rendition);
        track.and_then(|track| ongoing.timeline.frame_rate(track)).or_else(|| self.frame_rate())
    }

    /// Time between the last two key frames of the pictures that come now.
    pub fn gop(&self) -> Option<Ticks> {
        if let Some(told) = &self.told {
            return told.gop;
        }
        self.ongoing.as_ref()?.gop
    }

    /// A publisher begins (again). What a publisher before it sent ends here.
    pub fn begin_visit(&mut self, visit: Visit, now: Timestamp, out: &mut Vec<Cut>) -> Result<(), InvalidConfig> {
        let inits = visit.tracks.iter().map(init_segment).collect::<Result<Vec<_>, _>>()?;
        self.go_on_with_slate(now, out);
        self.end_visit(out);
        self.level_rungs(out);
        let start = self.start_of_visit(now, out);
        self.anchor.get_or_insert((start.rescale(MICROS), now));
        self.open_epoch((start, now), (&visit, inits), None);
        self.health.epochs += 1;
        self.last_frame = now;
        self.last_visit = Some(visit);
        Ok(())
    }

    /// What comes from now on is of these tracks, with these initialisation segments.
    fn open_epoch(
        &mut self,
        (start, date): (Ticks, Timestamp),
        (visit, inits): (&Visit, Vec<Bytes>),
        slate: Option<slate::Shown>,
    ) {
        let part_target = *self.part_target.get_or_insert_with(|| PartTarget::for_frame_rate(visit.frame_rate));
        let renditions: Vec<usize> = self.name_tracks(&visit.tracks);
        let mut tracks = vec![None; self.renditions.len()];
        for ((rendition, config), init) in renditions.iter().zip(&visit.tracks).zip(inits) {
            if let Some(slot) = tracks.get_mut(*rendition) {
                *slot = Some((config.clone(), init));
            }
        }
        let number = self.settings.generation.wrapping_mul(EPOCHS_OF_GENERATION).wrapping_add(self.num_epochs);
        let (is_slate, keys_on_request) = (slate.is_some(), visit.keys_on_request);
        self.epochs.push_back(Epoch { number, start, date, tracks, is_slate, keys_on_request });
        self.num_epochs += 1;
        self.tap.begin(number, visit.tracks.clone());
        let mut timeline = Timeline::new(visit.clock, start);
        for config in &visit.tracks {
            timeline.add_track(track_clock(config));
        }
        let settings = PackagerSettings {
            part_target,
            target_secs: self.target_secs,
            first_segment: self.next,
            tracks: visit.tracks.iter().map(|config| (config.kind(), config.timescale)).collect(),
        };
        let timescales = visit.tracks.iter().map(|config| config.timescale).collect();
        let packets = |config: &TrackConfig| (PacketLength::of(&config.codec), silence_among(&config.codec));
        let packets = visit.tracks.iter().map(packets).collect();
        let leader = visit.tracks.iter().position(|config| config.kind() == TrackKind::Video);
        let packager = Packager::new(settings);
        let (key, gop) = (None, None);
        self.ongoing = Some(Ongoing { timeline, packager, renditions, timescales, packets, leader, slate, key, gop });
    }

    /// Where a visit starts: now by the clock of the stream, but not before what was cut already ends.
    fn start_of_visit(&mut self, now: Timestamp, out: &mut Vec<Cut>) -> Ticks {
        if let Some(epoch) = self.epochs.back() {
            let by_clock = epoch.time_at(now).value;
            if by_clock - self.end_micros >= GAP_MICROS_MIN {
                self.gap_until(by_clock, out);
            }
        }
        Ticks { value: self.end_micros, timescale: MICROS }
    }

    /// The rendition of each track: sound goes on where sound of its codec was, everything else is the first of its kind, the second,
    /// and so on; new ones are added.
    fn name_tracks(&mut self, tracks: &[TrackConfig]) -> Vec<usize> {
        let mut taken: Vec<Option<usize>> = vec![None; tracks.len()];
        for is_alike in [true, false] {
            for (track, config) in tracks.iter().enumerate().filter(|(_, config)| !is_alike || is_sound(config)) {
                let is_free = |index: &usize| !taken.contains(&Some(*index)) && self.is_for(*index, config, is_alike);
                let free = (0..self.renditions.len()).find(is_free).filter(|_| taken.get(track) == Some(&None));
                if let Some(slot) = taken.get_mut(track) {
                    *slot = slot.or(free);
                }
            }
        }
        let rendition =
            |(slot, config): (Option<usize>, &TrackConfig)| slot.unwrap_or_else(|| self.add_rendition(config.kind()));
        taken.into_iter().zip(tracks).map(rendition).collect()
    }

    /// Whether a rendition can go on with such a track; or is alike, with the codec that it had last.
    fn is_for(&self, index: usize, config: &TrackConfig, is_alike: bool) -> bool {
        let rendition = self.renditions.get(index);
        let last = self.epochs.iter().rev().find_map(|epoch| epoch.tracks.get(index)?.as_ref());
        let is_same = last.is_some_and(|(last, _)| last.codec.name() == config.codec.name());
        rendition.is_some_and(|it| it.kind == config.kind() && !it.is_rung()) && (is_same || !is_alike)
    }

    fn add_rendition(&mut self, kind: TrackKind) -> usize {
        let letter = if kind == TrackKind::Video { 'v' } else { 'a' };
        let alike = self.renditions.iter().filter(|rendition| rendition.kind == kind && !rendition.is_rung());
        let name = format!("{letter}{}", alike.count());
        self.add_named(name, kind, self.next)
    }

    /// Adds a rendition that begins with this segment.
    fn add_named(&mut self, name: String, kind: TrackKind, first: u64) -> usize {
        let ring = Ring::new(self.settings.window, first).with_memory(self.settings.memory);
        self.renditions.push(Rendition { name, kind, ring, delay_micros: None, rung: None, is_given_up: false });
        self.epochs.iter_mut().for_each(|epoch| epoch.tracks.push(None));
        self.renditions.len() - 1
    }

    /// Takes a frame of the visit's track number `track`.
    pub fn push(&mut self, track: usize, stamp: Stamp, payload: Bytes, now: Timestamp, out: &mut Vec<Cut>) {
        if !self.is_fed() && !self.has_ended {
            // The publisher was silent so long that its visit was closed.
            if let Some(visit) = self.last_visit.clone() {
                // Its configuration was good before.
                let _ = self.begin_visit(visit, now, out);
            }
        }
        self.take(track, stamp, payload, now, out);
    }

    fn take(&mut self, track: usize, stamp: Stamp, payload: Bytes, now: Timestamp, out: &mut Vec<Cut>) {
        let Some(ongoing) = &mut self.ongoing else { return };
        self.last_frame = now;
        let length = ongoing.packets.get(track).map_or(0, |(length, _)| length.samples(&payload));
        let Some(placed) = ongoing.timeline.place((track, length), stamp) else { return };
        let rendition = ongoing.renditions.get(track).and_then(|index| self.renditions.get(*index));
        let is_sound = rendition.is_some_and(|rendition| rendition.kind == TrackKind::Audio);
        if let Some(timescale) =
            ongoing.timescales.get(track).copied().filter(|_| stamp.keyframe && ongoing.leader == Some(track))
        {
            let before = ongoing.key.replace(placed.pts);
            ongoing.gop = before.map(|before| Ticks { value: placed.pts - before, timescale }).or(ongoing.gop);
        }
        let keyframe = stamp.keyframe || is_sound;
        let duration = placed.duration.unwrap_or(0);
        let frame = Frame { dts: placed.dts, pts: placed.pts, duration, keyframe, payload };
        self.tap.push(track, &frame);
        let mut packaged = Vec::new();
        ongoing.be_silent(track, ongoing.packager.missing_until(track, frame.dts), &mut packaged);
        ongoing.packager.push(track, frame, &mut packaged);
        self.apply(packaged, out);
    }

    /// Ends the visit under way: everything that came is listed.
    pub fn end_visit(&mut self, out: &mut Vec<Cut>) {
        let mut packaged = Vec::new();
        if let Some(ongoing) = &mut self.ongoing {
            ongoing.fill_sound(&mut packaged);
            ongoing.packager.finish(&mut packaged);
        }
        self.health = self.health();
        let Some(ongoing) = self.ongoing.take() else { return };
        self.apply_for(packaged, &ongoing.renditions, &ongoing.timescales, out);
        self.next = ongoing.packager.next_segment().max(self.next);
        self.level(out);
        self.periods.pause(self.end_micros);
    }

    /// Time passes: a silent visit is closed, and silence becomes the slate, or gaps.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Cut>) {
        let Some(target) = self.target_secs.filter(|_| !self.has_ended) else { return };
        let silence = Duration::from_secs(u64::from(target));
        if self.is_fed() && now.since(self.last_frame) >= silence {
            self.end_visit(out);
        }
        if self.shows_slate() && self.slate.is_none() {
            self.end_visit(out);
        }
        if self.ongoing.is_none() {
            self.pass_absence(now, out);
            self.begin_slate(out);
        }
        self.go_on_with_slate(now, out);
    }

    /// The broadcast is over.
    pub fn end(&mut self, out: &mut Vec<Cut>) {
        self.end_visit(out);
        self.level_rungs(out);
        self.has_ended = true;
        self.periods.end();
        self.renditions.iter_mut().for_each(|rendition| rendition.ring.end());
    }

    fn apply(&mut self, packaged: Vec<Packaged>, out: &mut Vec<Cut>) {
        let Some(ongoing) = &self.ongoing else { return };
        if packaged.is_empty() {
            return;
        }
        let (renditions, timescales) = (ongoing.renditions.clone(), ongoing.timescales.clone());
        self.next = ongoing.packager.next_segment().max(self.next);
        self.apply_for(packaged, &renditions, &timescales, out);
        self.pass_late_rungs(out);
    }

    fn apply_for(&mut self, packaged: Vec<Packaged>, renditions: &[usize], timescales: &[u32], out: &mut Vec<Cut>) {
        for event in packaged {
            let place = |track: usize| Some((*renditions.get(track)?, *timescales.get(track)?));
            match event {
                Packaged::TargetDuration(secs) => self.target_secs = Some(secs),
                Packaged::Begin { track, number, start, independent } => {
                    let Some((rendition, timescale)) = place(track) else { continue };
                    let Some(beginning) = self.beginning(number, Ticks { value: start, timescale }) else { continue };
                    let beginning = Beginning { independent, ..beginning };
                    let epoch = self.epochs.iter().rev().find(|epoch| epoch.number == beginning.epoch);
                    let is_steady = epoch.is_none_or(|epoch| !epoch.keys_on_request);
                    let at = beginning.start.rescale(MICROS);
                    self.periods.note_cut((number, at), (beginning.epoch, is_steady));
                    self.with_ring(rendition, |ring| ring.begin(beginning));
                    out.push(Cut::Begin { rendition, beginning });
                }
                Packaged::Part { track, part } => {
                    let Some((rendition, timescale)) = place(track) else { continue };
                    let end = Ticks { value: part.end(), timescale }.rescale(MICROS);
                    self.end_micros = self.end_micros.max(end);
                    self.note_lateness(end);
                    let part = self.headed(rendition, part, self.last_frame);
                    self.with_ring(rendition, |ring| ring.push(part.clone()));
                    out.push(Cut::Part { rendition, part });
                }
                Packaged::End { track } => {
                    let Some((rendition, _)) = place(track) else { continue };
                    self.with_ring(rendition, Ring::complete);
                    out.push(Cut::End { rendition });
                    self.level_behind(rendition, out);
                }
                Packaged::Gap { track, number, start, duration } => {
                    let Some((rendition, timescale)) = place(track) else { continue };
                    let Some(beginning) = self.beginning(number, Ticks { value: start, timescale }) else { continue };
                    self.with_ring(rendition, |ring| ring.gap(beginning, duration));
                    out.push(Cut::Gap { rendition, beginning, duration });
                }
            }
        }
        self.forget_epochs();
    }

    fn beginning(&self, number: u64, start: Ticks) -> Option<Beginning> {
        let epoch = self.epochs.back()?;
        Some(Beginning { number, start, date: epoch.date_of(start), epoch: epoch.number, independent: false })
    }

    /// The first part of a segment carries the segment's type and its time of production.
    fn headed(&mut self, rendition: usize, part: Part, now: Timestamp) -> Part {
        let Some(rendition) = self.renditions.get_mut(rendition) else { return part };
        let open = rendition.ring.segments().next_back().filter(|open| !open.is_complete && open.parts.is_empty());
        let Some(beginning) = open.map(|open| open.beginning) else { return part };
        if let Some((start, date)) = self.anchor {
            let passed = (now.as_millis() - date.as_millis()) * 1000;
            rendition.note_delay(passed - (beginning.start.rescale(MICROS) - start));
        }
        part.headed_by(&segment_type(&beginning))
    }

    fn with_ring(&mut self, rendition: usize, change: impl FnOnce(&mut Ring)) {
        if let Some(rendition) = self.renditions.get_mut(rendition) {
            change(&mut rendition.ring);
        }
    }

    fn forget_epochs(&mut self) {
        let oldest = self.renditions.iter().filter_map(|it| Some(it.ring.segments().next()?.beginning.number)).min();
        self.periods.forget_before(oldest.unwrap_or(0));
        self.forget_cues();
        let firsts = self.renditions.iter().filter_map(|rendition| rendition.ring.segments().next());
        let oldest = firsts.map(|first| first.beginning.epoch).min();
        while self.epochs.len() > 1
            && self.epochs.front().zip(oldest).is_some_and(|(epoch, oldest)| epoch.number < oldest)
        {
            self.epochs.pop_front();
        }
    }
}

fn is_sound(config: &TrackConfig) -> bool {
    config.kind() == TrackKind::Audio
}

fn track_clock(config: &TrackConfig) -> TrackClock {
    TrackClock { kind: config.kind(), timescale: config.timescale }
}

#[cfg(test)]
mod tests;
