//! Rungs of a broadcast: renditions that are encoded from its pictures while it goes on. Their segments have the numbers and
//! the starts of the source's. What comes too late, or never, is a gap; the source does not wait for any of it.
use bytes::Bytes;

use super::{Broadcast, Cut};
use crate::domain::asset::{Ticks, TrackKind};
use crate::domain::ladder::live::is_rung;
use crate::domain::time::Timestamp;
use crate::media::frames::{Frame, InvalidConfig, TrackConfig};
use crate::media::live::part::{Part, PartBuilder};
use crate::media::live::ring::{Beginning, MICROS};
use crate::media::packager::init_segment;

/// How far a rung may be behind the source before it has gaps, target durations, and microseconds at least.
const LATE: (i64, i64) = (2, 5_000_000);
/// How far off a cut a rounded time may be: this part of a second.
const TOLERANCE: i64 = 1000;

/// A coded picture of a rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RungPicture {
    /// When it is shown, ticks of the source's pictures. Coded in this order.
    pub pts: i64,
    /// Whether decoding can start with it.
    pub keyframe: bool,
    /// As in a [`Frame`].
    pub payload: Bytes,
}

/// What of a rung is being put together.
#[derive(Debug)]
pub(super) struct Rung {
    parts: PartBuilder,
    /// The last picture; how long it lasts, the next one tells.
    held: Option<RungPicture>,
    is_open: bool,
    /// Pictures before this, ticks, are there already: of an encoder that has ended, in the segment that is open.
    resumes_at: Option<i64>,
}

impl Broadcast {
    /// The source's pictures.
    pub fn leading(&self) -> Option<usize> {
        self.renditions.iter().position(|rendition| rendition.kind == TrackKind::Video && !is_rung(&rendition.name))
    }

    /// Where an encoder that begins anew goes on with a rung in this epoch, ticks: in the middle of its open segment, so that
    /// players find no hole there. `None` when it may begin with any segment.
    pub fn rung_resumes_at(&self, name: &str, epoch: u32) -> Option<i64> {
        let rendition = self.renditions.iter().find(|rendition| rendition.name == name)?;
        let open = rendition.ring.segments().next_back().filter(|last| !last.is_complete)?;
        let Beginning { start, epoch: of, .. } = open.beginning;
        (of == epoch && !open.parts.is_empty()).then(|| start.value + i64::from(open.duration))
    }

    /// A rung's encoder tells what it makes in this epoch. One that has not been there is added.
    pub fn begin_rung(&mut self, name: &str, epoch: u32, config: TrackConfig) -> Result<(), InvalidConfig> {
        let init = init_segment(&config)?;
        let Some(target) = self.part_target else { return Ok(()) };
        if !self.epochs.iter().any(|known| known.number == epoch) {
            return Ok(());
        }
        let known = self.renditions.iter().position(|rendition| rendition.name == name);
        let index = known.unwrap_or_else(|| self.add_named(name.to_owned(), TrackKind::Video, self.first_of(epoch)));
        let parts = PartBuilder::new(TrackKind::Video, target.ticks(config.timescale));
        let resumes_at = self.rung_resumes_at(name, epoch);
        if let Some(rendition) = self.renditions.get_mut(index) {
            rendition.rung = Some(Rung { parts, held: None, is_open: resumes_at.is_some(), resumes_at });
        }
        let epoch = self.epochs.iter_mut().find(|known| known.number == epoch);
        if let Some(slot) = epoch.and_then(|epoch| epoch.tracks.get_mut(index)) {
            *slot = Some((config, init));
        }
        Ok(())
    }

    /// The first segment of the source in this epoch that is listed.
    fn first_of(&self, epoch: u32) -> u64 {
        let leading = self.leading().and_then(|index| self.renditions.get(index));
        let first = leading.and_then(|it| it.ring.segments().find(|segment| segment.beginning.epoch == epoch));
        first.map_or(self.next, |first| first.beginning.number)
    }

    /// A rung's next picture.
    pub fn push_rung(&mut self, (name, epoch): (&str, u32), picture: RungPicture, now: Timestamp, out: &mut Vec<Cut>) {
        let is_current = self.epochs.back().is_some_and(|current| current.number == epoch) && !self.has_ended;
        let Some(index) = self.renditions.iter().position(|it| it.name == name).filter(|_| is_current) else { return };
        let Some(rung) = self.renditions.get_mut(index).and_then(|it| it.rung.as_mut()) else { return };
        if let Some(at) = rung.resumes_at {
            if picture.pts < at || !picture.keyframe {
                return;
            }
            rung.resumes_at = None;
        }
        let next = picture.pts;
        let Some(held) = rung.held.replace(picture).filter(|held| held.pts < next) else { return };
        let duration = u32::try_from(next - held.pts).unwrap_or(0);
        let RungPicture { pts, keyframe, payload } = held;
        self.place_rung(index, Frame { dts: pts, pts, duration, keyframe, payload }, now, out);
    }

    fn place_rung(&mut self, index: usize, frame: Frame, now: Timestamp, out: &mut Vec<Cut>) {
        while let Some((number, beginning)) = self.next_cut(index, frame.pts) {
            self.end_rung_segment(index, now, out);
            let is_over = self.cut(number + 1).is_some_and(|cut| has_reached(frame.pts, cut.start));
            if is_over {
                self.skip_rung_segment(index, number, out);
            } else if frame.keyframe {
                let beginning = Beginning { independent: true, ..beginning };
                self.with_ring(index, |ring| ring.begin(beginning));
                out.push(Cut::Begin { rendition: index, beginning });
                self.with_rung(index, |rung| rung.is_open = true);
            } else {
                return;
            }
        }
        let parts = self.with_rung(index, |rung| rung.is_open.then(|| rung.parts.push(frame))).flatten();
        for part in parts.into_iter().flatten().flatten() {
            self.add_rung_part(index, part, now, out);
        }
    }

    /// The segment that the rung would begin next, if it starts before this.
    fn next_cut(&self, index: usize, pts: i64) -> Option<(u64, Beginning)> {
        let number = self.renditions.get(index)?.ring.next_number();
        let cut = self.cut(number)?;
        has_reached(pts, cut.start).then_some((number, cut))
    }

    /// How a segment of the source begins, in the newest epoch.
    fn cut(&self, number: u64) -> Option<Beginning> {
        let epoch = self.epochs.back()?.number;
        let leading = self.renditions.get(self.leading()?)?;
        let segment = leading.ring.segment(number)?;
        Some(segment.beginning).filter(|beginning| beginning.epoch == epoch)
    }

    fn add_rung_part(&mut self, index: usize, part: Part, now: Timestamp, out: &mut Vec<Cut>) {
        let part = self.headed(index, part, now);
        self.with_ring(index, |ring| ring.push(part.clone()));
        out.push(Cut::Part { rendition: index, part });
    }

    fn end_rung_segment(&mut self, index: usize, now: Timestamp, out: &mut Vec<Cut>) {
        let was_open = self.with_rung(index, |rung| std::mem::take(&mut rung.is_open));
        if was_open != Some(true) {
            return;
        }
        if let Some(part) = self.with_rung(index, |rung| rung.parts.finish()).flatten() {
            self.add_rung_part(index, part, now, out);
        }
        self.with_ring(index, super::Ring::complete);
        out.push(Cut::End { rendition: index });
    }

    fn with_rung<T>(&mut self, index: usize, change: impl FnOnce(&mut Rung) -> T) -> Option<T> {
        self.renditions.get_mut(index)?.rung.as_mut().map(change)
    }

    /// The rung has nothing for this segment of the source.
    fn skip_rung_segment(&mut self, index: usize, number: u64, out: &mut Vec<Cut>) {
        let leading = self.leading().and_then(|leading| self.renditions.get(leading));
        let segment = leading.and_then(|it| it.ring.segment(number));
        let (start, length) =
            segment.map_or((self.end_micros, 0), |segment| (segment.beginning.start.rescale(MICROS), segment.micros()));
        self.add_gap(index, (number, start, length), out);
    }

    /// Rungs that are too far behind the source go on with gaps.
    pub(super) fn pass_late_rungs(&mut self, out: &mut Vec<Cut>) {
        let (targets, least) = LATE;
        let patience = (targets * i64::from(self.target_secs.unwrap_or(2)) * i64::from(MICROS)).max(least);
        self.pass_rungs(self.end_micros - patience, out);
    }

    /// All rungs end with the same segment as the source: nothing more will come for what there is of it.
    pub(super) fn level_rungs(&mut self, out: &mut Vec<Cut>) {
        self.pass_rungs(i64::MAX, out);
    }

    /// Rungs get no more media that are shown before this.
    fn pass_rungs(&mut self, until: i64, out: &mut Vec<Cut>) {
        let now = self.last_frame;
        for index in 0..self.renditions.len() {
            let is_rung = self.renditions.get(index).is_some_and(|rendition| is_rung(&rendition.name));
            while let Some(number) = self.renditions.get(index).map(|it| it.ring.next_number()).filter(|_| is_rung) {
                if number > 0 && self.ends_before(number - 1, until) {
                    self.end_rung_segment(index, now, out);
                }
                if number >= self.next || !self.ends_before(number, until) {
                    break;
                }
                self.skip_rung_segment(index, number, out);
            }
        }
    }

    /// Whether a segment of the source is whole and ends before this.
    fn ends_before(&self, number: u64, until: i64) -> bool {
        let leading = self.leading().and_then(|leading| self.renditions.get(leading));
        // What is not there any more ended long ago.
        leading.and_then(|it| it.ring.segment(number)).is_none_or(|segment| {
            segment.is_complete && segment.beginning.start.rescale(MICROS) + segment.micros() < until
        })
    }
}

fn has_reached(pts: i64, start: Ticks) -> bool {
    pts >= start.value - i64::from(start.timescale) / TOLERANCE
}

#[cfg(test)]
mod tests;
