//! A broadcast on another node: what there is to be told of one, in order, and one that is made of what was told. What is small is told
//! as a whole whenever it has changed; segments and parts are told once each, with the names and numbers that they have where they
//! come from. What is stored for good is told of without its bytes: every node reads it there.
pub(super) mod bounds;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Broadcast, BroadcastSettings, Epoch, Rendition};
use crate::domain::asset::{Ticks, TrackKind};
use crate::domain::cues::Cue;
use crate::domain::time::Timestamp;
use crate::media::frames::{Frame, TrackConfig};
use crate::media::live::part::{Part, PartTarget};
use crate::media::live::periods::Period;
use crate::media::live::ring::{Beginning, LiveSegment, MICROS, Ring, Stored};

/// Media that are told of with their bytes to who comes anew, microseconds; what is older is told of as far as it is stored.
const RECENT_MICROS: i64 = 30 * MICROS as i64;

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Told {
    /// Everything but segments, as it is now.
    Head(Box<Head>),
    /// A segment begins.
    Segment {
        /// Index of the rendition.
        rendition: usize,
        /// How.
        beginning: Beginning,
        /// Whether it does not continue the one before it.
        discontinuity: bool,
        /// Discontinuities before it, since the broadcast began.
        discontinuities: u64,
    },
    /// The next part of the segment that began last.
    Part {
        /// Index of the rendition.
        rendition: usize,
        /// The part.
        part: Part,
    },
    /// The segment that began last is whole.
    Whole {
        /// Index of the rendition.
        rendition: usize,
        /// Its bytes.
        size: u32,
        /// How long it lasts, ticks.
        duration: u32,
        /// How much of that is missing.
        missing: u32,
    },
    /// A segment is stored for good.
    Stored {
        /// Index of the rendition.
        rendition: usize,
        /// Its number.
        number: u64,
        /// Where.
        stored: Stored,
    },
}

/// Everything of a broadcast but its segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    window: Duration,
    hold_back_parts: u32,
    low_latency: bool,
    target_secs: Option<u32>,
    part_target: Option<PartTarget>,
    renditions: Vec<HeadRendition>,
    epochs: Vec<Epoch>,
    periods: Vec<Period>,
    cues: Vec<Cue>,
    anchor: Option<(i64, Timestamp)>,
    end_micros: i64,
    now: Now,
    has_ended: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct HeadRendition {
    name: String,
    kind: TrackKind,
    delay_micros: Option<i64>,
    frame_rate: Option<(u32, u32)>,
}

/// What the publisher does at the moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Now {
    pub(super) is_fed: bool,
    pub(super) gop: Option<Ticks>,
    /// By rendition.
    #[serde(skip)]
    pub(super) frame_rates: Vec<Option<(u32, u32)>>,
}

/// How far somebody was told.
#[derive(Debug, Default)]
pub struct Listener {
    head: Option<Head>,
    places: Vec<Place>,
}

/// How far in a rendition.
#[derive(Debug, Default, Clone, Copy)]
struct Place {
    /// The segment that was told of last, how many of its parts, and whether that it is whole.
    last: Option<(u64, usize, bool)>,
    /// What comes before this number was told to be stored, as far as it is.
    stored_before: u64,
}

/// What was told makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("told of {0}, which makes no sense")]
pub struct Nonsense(&'static str);

impl Broadcast {
    fn head(&self) -> Head {
        let rendition = |(index, it): (usize, &Rendition)| HeadRendition {
            name: it.name.clone(),
            kind: it.kind,
            delay_micros: it.delay_micros,
            frame_rate: self.frame_rate_of(index),
        };
        Head {
            window: self.settings.window,
            hold_back_parts: self.settings.hold_back_parts,
            low_latency: self.settings.low_latency,
            target_secs: self.target_secs,
            part_target: self.part_target,
            renditions: self.renditions.iter().enumerate().map(rendition).collect(),
            epochs: self.epochs.iter().cloned().collect(),
            periods: self.periods.iter().copied().collect(),
            cues: self.cues().cloned().collect(),
            anchor: self.anchor,
            end_micros: self.end_micros,
            now: Now { is_fed: self.is_fed(), gop: self.gop(), frame_rates: Vec::new() },
            has_ended: self.has_ended,
        }
    }

    /// What is new to this listener.
    pub fn tell(&self, listener: &mut Listener) -> Vec<Told> {
        let mut out = Vec::new();
        let head = self.head();
        // Segments that end with the broadcast are told of before its end.
        let ends = head.has_ended;
        let changed = (listener.head.as_ref() != Some(&head)).then(|| head.clone());
        if let Some(head) = changed.clone().filter(|_| !ends) {
            out.push(Told::Head(Box::new(head)));
        }
        if let Some(head) = changed.clone().filter(|_| ends && listener.head.is_none()) {
            // Renditions have to be there before their segments.
            out.push(Told::Head(Box::new(Head { has_ended: false, ..head })));
        }
        listener.places.resize(self.renditions.len(), Place::default());
        for (index, (rendition, place)) in self.renditions.iter().zip(&mut listener.places).enumerate() {
            tell_segments((index, &rendition.ring), place, &mut out);
            tell_stored((index, &rendition.ring), place, &mut out);
        }
        out.extend(changed.filter(|_| ends).map(|head| Told::Head(Box::new(head))));
        listener.head = Some(head);
        out
    }

    /// Takes what was told of the broadcast that this one is to be like.
    pub fn take_told(&mut self, told: Told) -> Result<(), Nonsense> {
        if !told.is_sane() {
            return Err(Nonsense("what cannot be"));
        }
        match told {
            Told::Head(head) => self.take_head(*head),
            Told::Segment { rendition, beginning, discontinuity, discontinuities } => {
                self.told_ring(rendition)?.adopt(beginning, discontinuity, discontinuities);
            }
            Told::Part { rendition, part } => {
                let ring = self.told_ring(rendition)?;
                if !bounds::has_room(ring, part.duration, false) {
                    return Err(Nonsense("a part"));
                }
                ring.push(part);
            }
            Told::Whole { rendition, size, duration, missing } => {
                let ring = self.told_ring(rendition)?;
                if !bounds::has_room(ring, duration, true) {
                    return Err(Nonsense("a segment"));
                }
                ring.settle(size, duration, missing);
            }
            Told::Stored { rendition, number, stored } => self.told_ring(rendition)?.note_stored(number, stored),
        }
        Ok(())
    }

    /// What comes from now on are frames of these tracks.
    pub(in crate::media::live) fn begin_told_frames(&mut self, epoch: u32, configs: Vec<TrackConfig>) {
        self.tap.begin(epoch, configs);
    }

    /// The next frame that was told.
    pub(in crate::media::live) fn push_told_frame(&mut self, track: usize, frame: &Frame) {
        self.tap.push(track, frame);
    }

    /// No more frames are told of.
    pub(in crate::media::live) fn forget_told_frames(&mut self) {
        self.tap.clear();
    }

    fn told_ring(&mut self, rendition: usize) -> Result<&mut Ring, Nonsense> {
        self.renditions.get_mut(rendition).map(|rendition| &mut rendition.ring).ok_or(Nonsense("a segment"))
    }

    fn take_head(&mut self, head: Head) {
        // Where the broadcast goes on, it may have others.
        let is_alike =
            |(known, told): &(&Rendition, &HeadRendition)| known.name == told.name && known.kind == told.kind;
        let kept = self.renditions.iter().zip(&head.renditions).take_while(is_alike).count();
        self.renditions.truncate(kept);
        self.settings = BroadcastSettings {
            window: head.window,
            hold_back_parts: head.hold_back_parts,
            low_latency: head.low_latency,
            ..self.settings
        };
        (self.target_secs, self.part_target) = (head.target_secs, head.part_target);
        for told in head.renditions.iter().skip(self.renditions.len()) {
            self.add_named(told.name.clone(), told.kind, 0);
        }
        for (rendition, told) in self.renditions.iter_mut().zip(&head.renditions) {
            rendition.delay_micros = told.delay_micros;
            rendition.ring.set_window(head.window);
        }
        let frame_rates = head.renditions.iter().map(|told| told.frame_rate).collect();
        self.told = Some(Now { frame_rates, ..head.now });
        self.epochs = head.epochs.into();
        self.periods.replace(head.periods);
        self.cues.replace(head.cues);
        (self.anchor, self.end_micros) = (head.anchor, head.end_micros);
        if head.has_ended && !self.has_ended {
            self.has_ended = true;
            self.renditions.iter_mut().for_each(|rendition| rendition.ring.end());
        }
    }
}

/// Where who comes anew begins: with what is recent, and what is stored before that without a hole.
fn beginning_of(ring: &Ring) -> Option<u64> {
    let mut newer = 0;
    let mut first = None;
    for segment in ring.segments().rev() {
        if newer > RECENT_MICROS && segment.stored.is_none() {
            break;
        }
        first = Some(segment.beginning.number);
        newer += segment.micros();
    }
    first
}

fn tell_segments((index, ring): (usize, &Ring), place: &mut Place, out: &mut Vec<Told>) {
    let (first, is_new) = match place.last {
        Some((number, ..)) => (number, false),
        None => match beginning_of(ring) {
            Some(number) => (number, true),
            None => return,
        },
    };
    let mut discontinuities = ring.discontinuity_sequence();
    let mut newer: i64 = ring.segments().filter(|it| it.beginning.number >= first).map(LiveSegment::micros).sum();
    for segment in ring.segments() {
        let before = discontinuities;
        discontinuities += u64::from(segment.discontinuity);
        if segment.beginning.number < first {
            continue;
        }
        newer -= segment.micros();
        let known = place.last.filter(|(number, ..)| *number == segment.beginning.number);
        let (mut parts, was_whole) = known.map_or((0, false), |(_, parts, is_whole)| (parts, is_whole));
        if known.is_none() {
            let (beginning, discontinuity) = (segment.beginning, segment.discontinuity);
            out.push(Told::Segment { rendition: index, beginning, discontinuity, discontinuities: before });
        }
        // Who is behind reads old ones where they are stored.
        let is_read_elsewhere = is_new && segment.stored.is_some() && newer > RECENT_MICROS;
        if !is_read_elsewhere {
            let further = segment.parts.iter().skip(parts).cloned();
            out.extend(further.map(|part| Told::Part { rendition: index, part }));
        }
        parts = segment.parts.len();
        if segment.is_complete && !was_whole {
            let LiveSegment { size, duration, missing, .. } = *segment;
            out.push(Told::Whole { rendition: index, size, duration, missing });
        }
        place.last = Some((segment.beginning.number, parts, segment.is_complete));
    }
}

fn tell_stored((index, ring): (usize, &Ring), place: &mut Place, out: &mut Vec<Told>) {
    let Some((last, ..)) = place.last else { return };
    let fresh = ring.segments().filter(|it| (place.stored_before..=last).contains(&it.beginning.number));
    let mut before = place.stored_before;
    for segment in fresh {
        let number = segment.beginning.number;
        // Gaps are stored nowhere.
        let Some(stored) = &segment.stored else {
            if segment.is_gap() {
                continue;
            }
            break;
        };
        out.push(Told::Stored { rendition: index, number, stored: stored.clone() });
        before = number + 1;
    }
    place.stored_before = before;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::live::broadcast::Visit;
    use crate::media::live::testing::{audio, video};
    use crate::media::live::timeline::{IngestClock, Stamp};
    use crate::storage::codec::{self, Versioned};

    fn settings() -> BroadcastSettings {
        BroadcastSettings::new(Duration::from_secs(20), 3)
    }

    /// Ten pictures a second, a key frame each second, and sound.
    fn play(broadcast: &mut Broadcast, tenths: std::ops::Range<i64>) {
        for tenth in tenths {
            let arrival = Duration::from_millis(tenth as u64 * 100);
            let now = Timestamp::from_millis(tenth * 100);
            let picture = Stamp { dts: tenth * 100, composition: 0, keyframe: tenth % 10 == 0, arrival };
            broadcast.push(0, picture, vec![tenth as u8; 50].into(), now, &mut Vec::new());
            for fifth in 0..5 {
                let sound = Stamp { dts: tenth * 100 + fifth * 20, composition: 0, keyframe: true, arrival };
                broadcast.push(1, sound, vec![7; 9].into(), now, &mut Vec::new());
            }
        }
    }

    fn begun() -> Broadcast {
        let mut broadcast = Broadcast::new(settings());
        let visit = Visit {
            clock: IngestClock::RTMP,
            tracks: vec![video(), audio()],
            frame_rate: Some((10, 1)),
            keys_on_request: false,
        };
        broadcast.begin_visit(visit, Timestamp::from_millis(0), &mut Vec::new()).unwrap();
        broadcast
    }

    /// What viewers can tell of a broadcast.
    fn seen(broadcast: &Broadcast) -> Vec<(String, u64, Vec<LiveSegment>)> {
        let renditions = broadcast.renditions().iter();
        let of =
            |it: &Rendition| (it.name.clone(), it.ring.discontinuity_sequence(), it.ring.segments().cloned().collect());
        renditions.map(of).collect()
    }

    fn take_all(mirror: &mut Broadcast, told: Vec<Told>) {
        told.into_iter().for_each(|told| mirror.take_told(told).unwrap());
    }

    #[test]
    fn a_mirror_is_like_what_it_was_told_of() {
        let (mut origin, mut mirror, mut listener) = (begun(), Broadcast::new(settings()), Listener::default());
        take_all(&mut mirror, origin.tell(&mut listener));
        for round in 0..60 {
            play(&mut origin, round * 7..(round + 1) * 7);
            take_all(&mut mirror, origin.tell(&mut listener));
            assert_eq!(seen(&mirror), seen(&origin), "round {round}");
            assert!(origin.tell(&mut listener).is_empty(), "told twice");
        }
        assert_eq!((mirror.target_secs(), mirror.part_target()), (origin.target_secs(), origin.part_target()));
        assert!(mirror.is_fed() && mirror.frame_rate_of(0) == origin.frame_rate_of(0));
        origin.end_visit(&mut Vec::new());
        take_all(&mut mirror, origin.tell(&mut listener));
        assert!(!mirror.is_fed());
        origin.end(&mut Vec::new());
        take_all(&mut mirror, origin.tell(&mut listener));
        assert!(mirror.has_ended() && seen(&mirror) == seen(&origin));
    }

    /// As relays send it.
    #[derive(Serialize, Deserialize)]
    struct Line(Told);

    impl Versioned for Line {
        const VERSION: u8 = 1;
        const BYTES_MAX: usize = 1 << 20;
    }

    impl Line {
        fn parse(hex: &str) -> Self {
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            codec::decode(&(0..hex.len()).step_by(2).map(byte).collect::<Vec<_>>()).unwrap()
        }

        fn hex(&self) -> String {
            codec::encode(self).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
        }
    }

    /// Something of each kind as version 1 of the protocol between nodes has it, in the order in which the kinds came. Lines are added
    /// and never changed: relays of a release in use understand nothing else.
    const FORMS: &str = include_str!("mirror/forms.txt");

    #[test]
    fn what_is_told_has_the_form_that_it_came_with() {
        let told: Vec<Line> = FORMS.lines().map(Line::parse).collect();
        assert_eq!(told.iter().map(Line::hex).collect::<Vec<_>>(), FORMS.lines().collect::<Vec<_>>());
        let kind = |Line(told): &Line| match told {
            Told::Head(_) => 0,
            Told::Segment { .. } => 1,
            Told::Part { .. } => 2,
            Told::Whole { .. } => 3,
            Told::Stored { .. } => 4,
        };
        let kinds: Vec<u8> = told.iter().map(kind).collect();
        assert_eq!(kinds, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn who_comes_late_is_told_of_what_is_recent() {
        let mut origin = begun();
        play(&mut origin, 0..150);
        let (mut mirror, mut listener) = (Broadcast::new(settings()), Listener::default());
        take_all(&mut mirror, origin.tell(&mut listener));
        assert_eq!(seen(&mirror), seen(&origin));
        // One that was not asked for long is told of what is there now.
        play(&mut origin, 150..900);
        take_all(&mut mirror, origin.tell(&mut listener));
        let numbers = |broadcast: &Broadcast| -> Vec<u64> {
            broadcast.renditions()[0].ring.segments().map(|segment| segment.beginning.number).collect()
        };
        assert_eq!(numbers(&mirror), numbers(&origin));
    }

    #[test]
    fn nonsense_is_refused() {
        let mut mirror = Broadcast::new(settings());
        let whole = Told::Whole { rendition: 0, size: 1, duration: 1, missing: 0 };
        assert!(mirror.take_told(whole.clone()).is_err());
        let mut origin = begun();
        play(&mut origin, 0..30);
        let told = origin.tell(&mut Listener::default());
        take_all(&mut mirror, told.clone());
        let Told::Head(head) = told[0].clone() else { panic!("no head") };
        let many = head.renditions.iter().cycle().take(65).cloned().collect();
        assert!(mirror.take_told(Told::Head(Box::new(Head { renditions: many, ..(*head).clone() }))).is_err());
        mirror.take_told(whole.clone()).unwrap();
        let none = Head { renditions: Vec::new(), ..*head };
        mirror.take_told(Told::Head(Box::new(none))).unwrap();
        assert!(mirror.take_told(whole).is_err());
    }
}
