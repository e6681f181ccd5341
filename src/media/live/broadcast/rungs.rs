//! Rungs of a broadcast: renditions that are encoded from its pictures while it goes on. Their segments have the numbers and
//! the starts of the source's. What comes too late, or never, is a gap; the source does not wait for any of it.
use bytes::Bytes;

use super::{Broadcast, Cut, Rendition};
use crate::domain::asset::{Ticks, TrackKind};
use crate::domain::ladder::live::is_rung;
use crate::domain::time::Timestamp;
use crate::media::frames::{Frame, InvalidConfig, TrackConfig};
use crate::media::live::part::{Part, PartBuilder};
use crate::media::live::ring::{Beginning, LiveSegment, MICROS};
use crate::media::packager::init_segment;

/// How far off a cut a rounded time may be: this part of a second.
const TOLERANCE: i64 = 1000;
/// How much of a rung's last segment may be missing when the source ends, microseconds: dates of what follows may be off by less
/// than a second.
const LAST_MISSING_MAX: i64 = 900_000;

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
    /// How long the one before it lasted, ticks.
    frame: u32,
    is_open: bool,
    /// Pictures before this, ticks, are there already: of an encoder that has ended, in the segment that is open.
    resumes_at: Option<i64>,
}

impl Rung {
    /// The last parts of the open segment, whose end is that of the source's: the picture that is held lasts until then, if that
    /// is near.
    fn finish(&mut self, end: i64) -> [Option<Part>; 3] {
        let nearest = |held: &RungPicture| (1..=i64::from(self.frame) * 2).contains(&(end - held.pts));
        let [before, full] = match self.held.take_if(|held| nearest(held)) {
            Some(RungPicture { pts, keyframe, payload }) => {
                let whole = u32::try_from(end - pts).unwrap_or(0);
                // A part is not cut short for a little more of the last picture: only a segment's last one may be.
                let duration = if self.parts.has_room(pts, whole) { whole } else { self.frame };
                self.parts.push(Frame { dts: pts, pts, duration, keyframe, payload })
            }
            None => [None, None],
        };
        [before, full, self.parts.finish()]
    }
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
        (of == epoch).then(|| start.value + i64::from(open.duration))
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
        let resumes_at = self.rung_resumes_at(name, epoch);
        if let Some(rendition) = self.renditions.get_mut(index) {
            let before = rendition.rung.as_ref().map(|rung| &rung.parts);
            let parts = PartBuilder::new(TrackKind::Video, target.ticks(config.timescale)).after(before);
            rendition.rung = Some(Rung { parts, held: None, frame: 0, is_open: resumes_at.is_some(), resumes_at });
        }
        let epoch = self.epochs.iter_mut().find(|known| known.number == epoch);
        if let Some(slot) = epoch.and_then(|epoch| epoch.tracks.get_mut(index)) {
            *slot = Some((config, init));
        }
        Ok(())
    }

    /// Nobody encodes other rungs than these now: such have gaps, without being waited for.
    pub fn give_up_rungs_but(&mut self, made: &[String], out: &mut Vec<Cut>) {
        for rendition in self.renditions.iter_mut().filter(|rendition| rendition.is_rung()) {
            rendition.is_given_up = !made.contains(&rendition.name);
        }
        self.pass_late_rungs(out);
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
        rung.frame = duration;
        let RungPicture { pts, keyframe, payload } = held;
        self.place_rung(index, Frame { dts: pts, pts, duration, keyframe, payload }, now, out);
    }

    fn place_rung(&mut self, index: usize, frame: Frame, now: Timestamp, out: &mut Vec<Cut>) {
        while let Some((number, beginning)) = self.next_cut(index, frame.pts) {
            self.end_rung_segment(index, false, now, out);
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

    /// The rung's open segment gets no more media; it is as long as the source's, unless the source has ended as well.
    fn end_rung_segment(&mut self, index: usize, is_last: bool, now: Timestamp, out: &mut Vec<Cut>) {
        let was_open = self.with_rung(index, |rung| std::mem::take(&mut rung.is_open));
        if was_open != Some(true) {
            return;
        }
        let end = self.source_of_open(index).map(|source| source.beginning.start.value + i64::from(source.duration));
        let last = self.with_rung(index, |rung| end.map(|end| rung.finish(end))).flatten();
        for part in last.into_iter().flatten().flatten() {
            self.add_rung_part(index, part, now, out);
        }
        let missing = self.missing(index).filter(|(_, micros)| !is_last || *micros > LAST_MISSING_MAX);
        let missing = missing.map_or(0, |(ticks, _)| ticks);
        self.with_ring(index, |ring| ring.break_off(missing));
        out.push(Cut::End { rendition: index });
    }

    /// The source's segment for the one that is open in the rung.
    fn source_of_open(&self, index: usize) -> Option<&LiveSegment> {
        let open = self.renditions.get(index)?.ring.segments().next_back()?;
        self.renditions.get(self.leading()?)?.ring.segment(open.beginning.number)
    }

    /// How much longer that is than the open one so far, ticks and microseconds.
    fn missing(&self, index: usize) -> Option<(u32, i64)> {
        let open = self.renditions.get(index)?.ring.segments().next_back()?;
        let missing = self.source_of_open(index)?.duration.saturating_sub(open.duration);
        let is_much = i64::from(missing) > i64::from(open.beginning.start.timescale) / TOLERANCE;
        is_much.then(|| (missing, open.micros_of(missing)))
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
        let patience = i64::try_from(self.settings.rung_patience.as_micros()).unwrap_or(i64::MAX);
        // Players take a rendition that is further behind another one for incomplete (6.2.4).
        let patience = patience.max(i64::from(self.target_secs.unwrap_or(2)) * i64::from(MICROS));
        let late = self.end_micros.saturating_sub(patience);
        self.pass_rungs(|rung| if rung.is_given_up { i64::MAX } else { late }, out);
    }

    /// All rungs end with the same segment as the source: nothing more will come for what there is of it.
    pub(super) fn level_rungs(&mut self, out: &mut Vec<Cut>) {
        for index in 0..self.renditions.len() {
            self.end_rung_segment(index, true, self.last_frame, out);
        }
        self.pass_rungs(|_| i64::MAX, out);
    }

    /// Rungs get no more media that are shown before this, microseconds.
    fn pass_rungs(&mut self, until: impl Fn(&Rendition) -> i64, out: &mut Vec<Cut>) {
        let now = self.last_frame;
        for index in 0..self.renditions.len() {
            let Some(rung) = self.renditions.get(index).filter(|rendition| rendition.is_rung()) else { continue };
            let until = until(rung);
            if self.source_of_open(index).is_some_and(|source| source.is_complete) && self.rung_end(index) < until {
                self.end_rung_segment(index, false, now, out);
            }
            while let Some(number) = self.next_of(index).filter(|number| self.is_past(*number, until)) {
                self.skip_rung_segment(index, number, out);
            }
        }
    }

    /// How far the rung is, microseconds.
    fn rung_end(&self, index: usize) -> i64 {
        let newest = self.renditions.get(index).and_then(|it| it.ring.segments().next_back());
        newest.map_or(i64::MAX, |newest| newest.beginning.start.rescale(MICROS) + newest.micros())
    }

    /// Number of the segment that the rung begins next, if the source has it already and nothing of it is in the rung.
    fn next_of(&self, index: usize) -> Option<u64> {
        let ring = &self.renditions.get(index)?.ring;
        let is_open = ring.segments().next_back().is_some_and(|newest| !newest.is_complete);
        Some(ring.next_number()).filter(|number| !is_open && *number < self.next)
    }

    /// Whether a segment of the source is whole and begins before this.
    fn is_past(&self, number: u64, until: i64) -> bool {
        let leading = self.leading().and_then(|leading| self.renditions.get(leading));
        // What is not there any more ended long ago.
        leading
            .and_then(|it| it.ring.segment(number))
            .is_none_or(|segment| segment.is_complete && segment.beginning.start.rescale(MICROS) < until)
    }
}

fn has_reached(pts: i64, start: Ticks) -> bool {
    pts >= start.value - i64::from(start.timescale) / TOLERANCE
}

#[cfg(test)]
mod tests;
