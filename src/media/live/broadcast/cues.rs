//! What a broadcast's publisher tells of its timeline, as far as it is within the window. The two ends of a break are told
//! under one name; what is repeated is told once.
use std::collections::VecDeque;

use super::{Broadcast, Cut};
use crate::domain::asset::Ticks;
use crate::domain::cues::{Cue, CueLength, CueSplice, CueValue, SplicePoint};
use crate::domain::time::Timestamp;
use crate::media::live::ring::MICROS;

/// Cues within the window at most: every playlist lists them.
const CUES_MAX: usize = 100;
/// Bytes that these may take in a manifest.
const WEIGHT_MAX: usize = 64 << 10;
/// Breaks that have begun and not ended at most; the oldest is then taken to go on for ever.
const OPEN_MAX: usize = 16;

/// A cue as a publisher tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToldCue {
    /// When, by the publisher's clock; any number of turns of its field away.
    pub time: i64,
    /// What kind of thing it is.
    pub class: Option<String>,
    /// The publisher's name for it: both ends of a break have the same.
    pub event: Option<String>,
    /// How long it is to last, microseconds.
    pub length_micros: Option<i64>,
    /// The section that tells it.
    pub splice: Option<CueSplice>,
    /// More of it.
    pub values: Vec<(String, CueValue)>,
}

/// The cues of a broadcast.
#[derive(Debug)]
pub(super) struct Cues {
    listed: VecDeque<Cue>,
    /// Breaks that have begun, and the publisher's names for them.
    open: VecDeque<(Option<String>, Cue)>,
    /// The last way back, which encoders repeat.
    last_in: Option<Option<String>>,
    generation: u32,
    next: u64,
}

impl Cues {
    pub(super) fn new(generation: u32) -> Self {
        Self { listed: VecDeque::new(), open: VecDeque::new(), last_in: None, generation, next: 0 }
    }

    /// Those that another broadcast has.
    pub(super) fn replace(&mut self, cues: Vec<Cue>) {
        self.listed = cues.into();
    }

    /// Places a cue; `None` when it is told already, or there are too many.
    fn take(&mut self, told: ToldCue, (start_micros, date): (i64, Timestamp)) -> Result<Option<Cue>, TooMany> {
        let ToldCue { class, event, length_micros, splice, values, .. } = told;
        let length = length_micros.map(CueLength::Planned);
        let cue = Cue { id: String::new(), class, start_micros, date, length, splice, values };
        if self.is_told(&cue, &event) {
            return Ok(None);
        }
        let weight: usize = self.listed.iter().map(Cue::weight).sum();
        if self.listed.len() >= CUES_MAX || weight + cue.weight() > WEIGHT_MAX {
            return Err(TooMany);
        }
        let cue = self.named(cue, event);
        self.listed.push_back(cue.clone());
        Ok(Some(cue))
    }

    fn is_told(&self, cue: &Cue, event: &Option<String>) -> bool {
        match cue.splice.as_ref().map(|splice| splice.point) {
            Some(SplicePoint::Out) if event.is_some() => self.open.iter().any(|(open, _)| open == event),
            Some(SplicePoint::In) => {
                self.last_in.as_ref() == Some(event) && !self.open.iter().any(|(open, _)| open == event)
            }
            _ => self.listed.iter().any(|known| Cue { id: String::new(), ..known.clone() } == *cue),
        }
    }

    fn named(&mut self, cue: Cue, event: Option<String>) -> Cue {
        let point = cue.splice.as_ref().map(|splice| splice.point);
        if point == Some(SplicePoint::In) {
            let begun = match &event {
                Some(_) => self.open.iter().position(|(open, _)| *open == event),
                None => self.open.len().checked_sub(1),
            };
            self.last_in = Some(event);
            if let Some((_, Cue { id, start_micros, date, .. })) = begun.and_then(|index| self.open.remove(index)) {
                let length = Some(CueLength::Known((cue.start_micros - start_micros).max(0)));
                return Cue { id, start_micros, date, length, ..cue };
            }
            return Cue { id: self.new_id(), ..cue };
        }
        let cue = Cue { id: self.new_id(), ..cue };
        if point == Some(SplicePoint::Out) {
            if self.open.len() >= OPEN_MAX {
                self.open.pop_front();
            }
            self.last_in = None;
            self.open.push_back((event, cue.clone()));
        }
        cue
    }

    /// A name that no other cue under this playback URL has.
    fn new_id(&mut self) -> String {
        self.next += 1;
        format!("{}-{}", self.generation, self.next)
    }

    /// Forgets what was over before this instant.
    fn forget_before(&mut self, micros: i64) {
        let is_open = |cue: &Cue| self.open.iter().any(|(_, open)| open.id == cue.id);
        let ended = |cue: &Cue| {
            let same = self.listed.iter().filter(|other| other.id == cue.id);
            !is_open(cue) && same.map(Cue::end_micros).max().unwrap_or(0) < micros
        };
        let ended: Vec<bool> = self.listed.iter().map(ended).collect();
        let mut ended = ended.into_iter();
        self.listed.retain(|_| !ended.next().unwrap_or(false));
    }
}

/// The window is full of cues.
struct TooMany;

impl Broadcast {
    /// The cues of the window, in the order in which they were told.
    pub fn cues(&self) -> impl ExactSizeIterator<Item = &Cue> {
        self.cues.listed.iter()
    }

    /// The publisher tells something of its timeline. While none sends, there is nothing to place it by.
    pub fn take_cue(&mut self, told: ToldCue, out: &mut Vec<Cut>) {
        let at = self.ongoing.as_ref().map(|ongoing| ongoing.timeline.instant(told.time));
        let dated = |at| Some((at, self.epochs.back()?.date_of(Ticks { value: at, timescale: MICROS })));
        match at.and_then(dated).map(|at| self.cues.take(told, at)) {
            Some(Ok(Some(cue))) => {
                self.health.cues += 1;
                out.push(Cut::Cue(cue));
            }
            Some(Ok(None)) => {}
            Some(Err(TooMany)) | None => self.health.cues_dropped += 1,
        }
    }

    /// How much later than its end by the clock a part is there.
    pub(super) fn note_lateness(&self, end_micros: i64) {
        let Some((start, date)) = self.anchor else { return };
        let passed = (self.last_frame.as_millis() - date.as_millis()) * 1000;
        let late = (passed - (end_micros - start)).max(0);
        metrics::histogram!("playhouse_live_part_lateness_seconds").record(late as f64 / 1e6);
    }

    /// Cues stay as long as something of what they tell is listed.
    pub(super) fn forget_cues(&mut self) {
        let firsts = self.renditions.iter().filter_map(|rendition| rendition.ring.segments().next());
        let oldest = firsts.map(|first| first.beginning.start.rescale(MICROS)).min();
        if let Some(oldest) = oldest.filter(|_| !self.cues.listed.is_empty()) {
            self.cues.forget_before(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::media::live::broadcast::BroadcastSettings;
    use crate::media::live::testing::{Publisher, at, audio, video, visit};

    fn broadcast() -> Broadcast {
        let mut broadcast = Broadcast::new(BroadcastSettings::new(Duration::from_secs(30), 7));
        broadcast.begin_visit(visit(vec![video(), audio()]), at(0), &mut Vec::new()).unwrap();
        broadcast
    }

    fn publish(broadcast: &mut Broadcast, from: i64, to: i64) {
        Publisher { base: 50_000, with_sound: true }.publish(broadcast, from, to, &mut Vec::new());
    }

    fn told(time: i64, class: &str) -> ToldCue {
        let class = Some(class.to_owned());
        ToldCue { time, class, event: None, length_micros: None, splice: None, values: Vec::new() }
    }

    fn splice(time: i64, point: SplicePoint) -> ToldCue {
        let splice = Some(CueSplice { point, section: Bytes::from_static(&[0xfc, 0, 0]) });
        ToldCue { splice, event: Some("7".to_owned()), ..told(time, "break") }
    }

    fn take(broadcast: &mut Broadcast, cue: ToldCue) -> Option<Cue> {
        let mut cuts = Vec::new();
        broadcast.take_cue(cue, &mut cuts);
        cuts.pop().map(|cut| if let Cut::Cue(cue) = cut { cue } else { panic!("{cut:?}") })
    }

    #[test]
    fn cues_are_placed_by_the_publishers_clock_and_move_with_the_window() {
        let mut broadcast = broadcast();
        publish(&mut broadcast, 0, 5000);
        let placed = take(&mut broadcast, told(50_000 + 3000, "goal")).unwrap();
        assert_eq!((placed.id.as_str(), placed.start_micros), ("7-1", 4_000_000), "not when it came");
        assert_eq!(take(&mut broadcast, told(53_000, "goal")), None, "the same again");
        assert_eq!(broadcast.health().cues, 1);
        publish(&mut broadcast, 5000, 30_000);
        assert_eq!(broadcast.cues().len(), 1);
        publish(&mut broadcast, 30_000, 45_000);
        assert_eq!(broadcast.cues().len(), 0, "its segments are gone");
    }

    #[test]
    fn the_ends_of_a_break_share_a_name_and_repetitions_are_none() {
        let mut broadcast = broadcast();
        publish(&mut broadcast, 0, 3000);
        let planned = ToldCue { length_micros: Some(30_000_000), ..splice(52_000, SplicePoint::Out) };
        let out = take(&mut broadcast, planned).unwrap();
        assert_eq!(out.length, Some(CueLength::Planned(30_000_000)));
        assert_eq!(take(&mut broadcast, splice(53_000, SplicePoint::Out)), None);
        publish(&mut broadcast, 3000, 45_000);
        let back = take(&mut broadcast, splice(90_000, SplicePoint::In)).unwrap();
        assert_eq!((&back.id, back.start_micros), (&out.id, out.start_micros));
        assert_eq!((back.length, back.at_micros()), (Some(CueLength::Known(38_000_000)), 41_000_000));
        assert_eq!(take(&mut broadcast, splice(91_000, SplicePoint::In)), None);
        assert_eq!(broadcast.cues().len(), 2, "the break reaches into the window");
        let again = take(&mut broadcast, splice(92_000, SplicePoint::Out)).unwrap();
        assert_ne!(again.id, out.id);
        publish(&mut broadcast, 45_000, 85_000);
        assert_eq!(broadcast.cues().map(|cue| &cue.id).collect::<Vec<_>>(), [&again.id], "it has not ended");
    }

    #[test]
    fn there_are_never_too_many_and_none_without_a_publisher() {
        let mut broadcast = broadcast();
        publish(&mut broadcast, 0, 3000);
        (0..150).for_each(|n| drop(take(&mut broadcast, told(51_000 + n, "tick"))));
        assert_eq!((broadcast.cues().len(), broadcast.health().cues_dropped), (CUES_MAX, 50));
        broadcast.end_visit(&mut Vec::new());
        assert_eq!(take(&mut broadcast, told(53_000, "late")), None);
        assert_eq!(broadcast.health().cues_dropped, 51);
    }
}
