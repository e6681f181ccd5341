//! One stream of a source, packet by packet.
use gstreamer as gst;

use crate::media::pipelines::times::SourceTimes;
use crate::media::pipelines::untimed::{Given, presentation_times};

/// More packets than this are not believable: four days of pictures at 60 a second.
const PACKETS_MAX: usize = 20_000_000;

/// Distance of pictures where nothing says it.
const USUAL_DISTANCE_NS: i64 = 40_000_000;

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrackKind {
    Pictures,
    Sound,
    Other,
}

/// A picture as it comes.
#[derive(Debug)]
struct Coded {
    given: Given,
    /// An edit list cuts it away: it is decoded only for those that refer to it.
    is_hidden: bool,
    is_key: bool,
}

/// A picture that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) at_ns: i64,
    pub(super) is_key: bool,
}

/// What has been seen of a stream.
#[derive(Debug)]
pub(super) struct Track {
    times: SourceTimes,
    kind: TrackKind,
    segment: Option<gst::Segment>,
    told_rate: Option<(u32, u32)>,
    /// An empty packet shows the last picture again.
    repeats: bool,
    fields: Fields,
    /// Pictures as they come, until settled.
    coded: Vec<Coded>,
    /// Pictures that are shown, in that order, once settled.
    pictures: Vec<Picture>,
    num_packets: usize,
    /// Pictures that have no time of presentation of their own.
    num_timeless: usize,
    /// Start of the first packet and end of the last.
    range: Option<(i64, i64)>,
}

impl Track {
    pub(super) fn new(times: SourceTimes) -> Self {
        Self {
            times,
            kind: TrackKind::Other,
            segment: None,
            told_rate: None,
            repeats: false,
            fields: Fields::default(),
            coded: Vec::new(),
            pictures: Vec::new(),
            num_packets: 0,
            num_timeless: 0,
            range: None,
        }
    }

    pub(super) fn kind(&self) -> TrackKind {
        self.kind
    }

    pub(super) fn is_empty(&self) -> bool {
        self.range.is_none()
    }

    /// Has more packets than a real one.
    pub(super) fn is_too_long(&self) -> bool {
        self.num_packets > PACKETS_MAX
    }

    /// Whether each picture says itself when it is shown.
    pub(super) fn has_all_times(&self) -> bool {
        self.num_timeless == 0
    }

    /// Frame rate as the container or the stream tells it.
    pub(super) fn told_rate(&self) -> Option<(u32, u32)> {
        self.told_rate
    }

    /// The pictures, in the order in which they are shown, once settled.
    pub(super) fn shown(&self) -> &[Picture] {
        &self.pictures
    }

    /// How many there are.
    pub(super) fn num_shown(&self) -> u64 {
        self.pictures.len() as u64
    }

    /// When the first packet is shown or heard.
    pub(super) fn start(&self) -> Option<i64> {
        let first = self.pictures.first().map(|picture| picture.at_ns);
        first.or(self.range.map(|(start, _)| start))
    }

    /// When the last one ends.
    pub(super) fn end(&self) -> i64 {
        self.range.map_or(0, |(_, end)| end)
    }

    /// Nanoseconds from start to end.
    pub(super) fn length(&self) -> i64 {
        self.start().map_or(0, |start| self.end().saturating_sub(start))
    }

    pub(super) fn see(&mut self, info: &gst::PadProbeInfo) {
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => self.count(buffer),
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::Segment(segment) => self.segment = Some(segment.segment().clone()),
                gst::EventView::Caps(caps) => self.take_caps(caps.caps()),
                _ => {}
            },
            _ => {}
        }
    }

    fn take_caps(&mut self, caps: &gst::CapsRef) {
        let Some(structure) = caps.structure(0) else { return };
        self.kind = match structure.name().as_str().split_once('/') {
            Some(("video" | "image", _)) => TrackKind::Pictures,
            Some(("audio", _)) => TrackKind::Sound,
            _ => TrackKind::Other,
        };
        self.repeats = structure.name() == "video/x-theora";
        self.fields.is_mpeg2 = structure.name() == "video/mpeg" && structure.get::<i32>("mpegversion") == Ok(2);
        let told = structure.get::<gst::Fraction>("framerate").ok();
        let rate = told.and_then(|it| Some((u32::try_from(it.numer()).ok()?, u32::try_from(it.denom()).ok()?)));
        self.told_rate = rate.filter(|rate| rate.0 > 0 && rate.1 > 0).or(self.told_rate);
    }

    fn count(&mut self, buffer: &gst::BufferRef) {
        let is_header = buffer.flags().contains(gst::BufferFlags::HEADER) && buffer.pts().or(buffer.dts()).is_none();
        if buffer.size() == 0 && !self.repeats || is_header || self.is_too_long() {
            return;
        }
        self.num_packets += 1;
        if self.kind == TrackKind::Pictures && self.fields.is_second(buffer) {
            return;
        }
        let segment = self.segment.as_ref();
        let shown = buffer.pts().and_then(|at| self.times.shown_at(at, buffer.duration(), segment));
        let decoded = buffer.dts().and_then(|at| self.times.instant(at, segment));
        let is_hidden = buffer.pts().is_some() && shown.is_none();
        if self.kind == TrackKind::Pictures {
            self.num_timeless += usize::from(buffer.pts().is_none());
            let is_key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            self.coded.push(Coded { given: Given { shown, decoded }, is_hidden, is_key });
        }
        if let Some(at_ns) = shown.or(decoded).filter(|_| !is_hidden) {
            let duration_ns = buffer.duration().and_then(|it| i64::try_from(it.nseconds()).ok()).unwrap_or(0);
            let (start, end) = self.range.unwrap_or((at_ns, at_ns));
            self.range = Some((start.min(at_ns), end.max(at_ns.saturating_add(duration_ns))));
        }
    }

    /// No more packets will come: finds out what is shown and when. Pictures before the first key frame and those that
    /// refer to them are not.
    pub(super) fn settle(&mut self) {
        let first_key = self.coded.iter().position(|picture| picture.is_key).unwrap_or(0);
        let coded = std::mem::take(&mut self.coded);
        let coded = coded.get(first_key..).unwrap_or_default();
        self.pictures = if self.num_timeless == 0 { timed(coded) } else { self.untimed(coded) };
        let (Some(first), Some(last)) = (self.pictures.first(), self.pictures.last()) else { return };
        let usual = last.at_ns + self.usual_distance();
        let is_told = self.num_timeless == 0 && self.end() > last.at_ns;
        self.range = Some((first.at_ns, if is_told { self.end() } else { usual }));
    }

    fn untimed(&self, coded: &[Coded]) -> Vec<Picture> {
        let step = self.told_rate.map_or(USUAL_DISTANCE_NS, distance_of);
        let times =
            presentation_times(coded.iter().filter(|picture| !picture.is_hidden).map(|picture| picture.given), step);
        let keys: std::collections::HashSet<i64> =
            coded.iter().filter(|picture| picture.is_key).filter_map(|key| key.given.shown).collect();
        let picture = |at_ns: i64| Picture { at_ns, is_key: keys.contains(&at_ns) };
        times.into_iter().map(picture).collect()
    }

    /// How long a picture lasts whose duration nobody says.
    fn usual_distance(&self) -> i64 {
        let num = i64::try_from(self.pictures.len()).unwrap_or(i64::MAX);
        let span = match (self.pictures.first(), self.pictures.last()) {
            (Some(first), Some(last)) if num > 1 => Some((last.at_ns - first.at_ns) / (num - 1)),
            _ => None,
        };
        span.or(self.told_rate.map(distance_of)).filter(|distance| *distance > 0).unwrap_or(USUAL_DISTANCE_NS)
    }
}

fn distance_of((numerator, denominator): (u32, u32)) -> i64 {
    i64::from(denominator) * 1_000_000_000 / i64::from(numerator.max(1))
}

/// Pictures that all say when they are shown.
fn timed(coded: &[Coded]) -> Vec<Picture> {
    let picture = |coded: &Coded| Some(Picture { at_ns: coded.given.shown?, is_key: coded.is_key });
    let mut pictures: Vec<Picture> = coded.iter().filter_map(picture).collect();
    // What precedes the first key frame refers to what is not there.
    let first = coded.first().and_then(|first| first.given.shown).unwrap_or(i64::MIN);
    pictures.retain(|picture| picture.at_ns >= first);
    pictures.sort_by_key(|picture| picture.at_ns);
    pictures
}

/// Tells the second fields of MPEG-2 pictures that are coded field by field: they are no pictures of their own.
#[derive(Debug, Default)]
struct Fields {
    is_mpeg2: bool,
    has_first: bool,
}

impl Fields {
    fn is_second(&mut self, buffer: &gst::BufferRef) -> bool {
        let is_field = self.is_mpeg2 && buffer.map_readable().is_ok_and(|bytes| is_field(&bytes));
        let is_second = is_field && self.has_first;
        self.has_first = is_field && !is_second;
        is_second
    }
}

/// Whether a coded MPEG-2 picture is a field: its picture coding extension says so (ITU-T H.262, 6.2.3.1).
fn is_field(picture: &[u8]) -> bool {
    const PICTURE_CODING: u8 = 8;
    const FRAME: u8 = 3;
    let mut rest = picture;
    while let Some(at) = rest.windows(4).position(|start| start == [0, 0, 1, 0xb5]) {
        rest = rest.get(at + 4..).unwrap_or_default();
        if let [first, _, third, ..] = rest
            && first >> 4 == PICTURE_CODING
        {
            return third & 3 != FRAME;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_from_frames() {
        let coded = |structure: u8| [0, 0, 1, 0, 9, 9, 0, 0, 1, 0xb5, 0x8f, 0xff, 0xf0 | structure, 0x41, 0x80];
        assert!(is_field(&coded(1)) && is_field(&coded(2)));
        assert!(!is_field(&coded(3)));
        assert!(!is_field(&[0, 0, 1, 0xb5, 0x14]));
        assert!(!is_field(&[]));
    }
}
