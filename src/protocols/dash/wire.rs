//! Rendering of media presentation descriptions (ISO/IEC 23009-1, 5.3; profile `isoff-live`). Pure text, no sockets.
//!
//! One period for each run of segments that continue one another: one for an upload, one for each visit of its publisher for
//! a broadcast. Pictures of one codec that are cut at the same places are one adaptation set, between whose renditions
//! players switch; every track of sound is one by itself. Adaptation sets share one timeline, whose zero is the asset's
//! [`TIMELINE_ORIGIN_SECS`].
mod events;
mod live;
mod sets;
mod xml;

use std::ops::Range;

pub use live::{LivePresentation, render_live_mpd};
use sets::{AdaptationSet, adaptation_sets};
use xml::Element;

use super::paths::{INIT_TEMPLATE, SEGMENT_TEMPLATE, key_frame_template};
use crate::domain::asset::{Asset, AssetTrack, Segment, TIMELINE_ORIGIN_SECS, Ticks, TrackKind, peak_bits_per_sec};
use crate::domain::cues::Cue;
use crate::domain::ports::MediaObject;
use crate::domain::trim::Cut;
use crate::media::packager::pixel_aspect;
use crate::media::view::View;
use crate::protocols::hls::live::names::{epoch_init_name, segment_name};
use crate::protocols::hls::paths::{INIT, object_name};
use crate::protocols::hls::wire::init_object;

const ROLE: &str = "urn:mpeg:dash:role:2011";
const TRICK_MODE: &str = "http://dashif.org/guidelines/trickmode";
const MICROS: u32 = 1_000_000;
const CHANNELS: &str = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011";
/// Transfer characteristics (ISO/IEC 23091-2).
const TRANSFER: &str = "urn:mpeg:mpegB:cicp:TransferCharacteristics";
const SET_SWITCHING: &str = "urn:mpeg:dash:adaptation-set-switching:2016";
/// Times faster than normal that key frames may be played at: one of several seconds at the rate of pictures.
const TRICK_RATE_MAX: &str = "64";

/// Renders the description of what a view shows of an asset.
pub fn render_mpd(asset: &Asset, view: View, cut: Cut) -> String {
    let (mut periods, mut start, mut longest) = (Vec::new(), 0.0, 1.0);
    for segments in asset.runs() {
        let Some(mut run) = Run::new(asset, view, (segments, cut)) else { continue };
        let tracks = || run.sets.iter().flat_map(|set| &set.tracks);
        longest = tracks().map(|track| run.longest_secs(track)).fold(longest, f64::max);
        let end = tracks().filter_map(|track| run.end_secs(track)).fold(0.0, f64::max);
        run.end_micros = run.start.rescale(MICROS) + (end * f64::from(MICROS)) as i64;
        periods.push(period(&run, periods.len(), start));
        start += end;
    }
    let mpd = Element::new("MPD")
        .attribute("xmlns", "urn:mpeg:dash:schema:mpd:2011")
        .attribute("profiles", "urn:mpeg:dash:profile:isoff-live:2011")
        .attribute("type", "static")
        .attribute("mediaPresentationDuration", duration(start))
        .attribute("maxSegmentDuration", duration(longest))
        .attribute("minBufferTime", duration(longest));
    periods.into_iter().fold(mpd, Element::child).document()
}

/// What one period shows.
struct Run<'a> {
    sets: Vec<AdaptationSet<'a>>,
    segments: Range<u32>,
    /// Number of the first of them.
    number: u64,
    /// The instant of the asset's timeline that the period begins with.
    start: Ticks,
    addressing: Addressing,
    init: Init<'a>,
    /// Whether decoding can start with each segment.
    independent: bool,
    /// What is told of its timeline.
    cues: &'a [Cue],
    /// When it ends, microseconds of the timeline.
    end_micros: i64,
    /// What is left of the asset.
    cut: Cut,
}

/// How players know which segments there are.
#[derive(Clone, Copy)]
enum Addressing {
    /// Each is listed.
    Timeline,
    /// They are alike.
    Regular(live::Regular),
}

/// Where tracks' initialisation segments are.
#[derive(Clone, Copy)]
enum Init<'a> {
    /// Each track has its own, and in later epochs perhaps another one.
    OfAsset(&'a Asset),
    /// Named by an epoch's number in all tracks.
    OfEpoch(u32),
}

impl<'a> Run<'a> {
    /// `None` when nothing of it is left.
    fn new(asset: &'a Asset, view: View, (segments, cut): (Range<u32>, Cut)) -> Option<Self> {
        let mut sets = adaptation_sets(&asset.tracks, view, &segments);
        if cut != Cut::NONE || !asset.epochs.is_empty() {
            let of_run = segments.start as usize..segments.end as usize;
            let begins = |here: &[Segment]| asset.epochs.is_empty() || here.first().is_some_and(|one| !one.is_gap());
            let is_here = |track: &&AssetTrack| {
                let here = track.segments.get(of_run.start..of_run.end.min(track.segments.len())).unwrap_or_default();
                begins(here) && here.iter().any(|segment| cut.keeps_segment(track, segment))
            };
            sets.iter_mut().for_each(|set| set.tracks.retain(is_here));
            sets.retain(|set| !set.tracks.is_empty());
            sets.first()?;
        }
        let origin = Ticks { value: i64::from(TIMELINE_ORIGIN_SECS), timescale: 1 };
        let first = sets.first().and_then(|set| set.tracks.first()).copied();
        let mut run = Self {
            sets,
            start: origin,
            number: u64::from(segments.start),
            segments,
            addressing: Addressing::Timeline,
            init: Init::OfAsset(asset),
            independent: true,
            cues: &asset.chronicle.cues,
            end_micros: i64::MAX,
            cut,
        };
        if let Some(track) = first.filter(|_| cut != Cut::NONE || !asset.epochs.is_empty()) {
            run.start = ticks(track, run.segments_of(track).first()?.start);
        }
        Some(run)
    }

    /// Number of the first segment of a track.
    fn first_of(&self, track: &AssetTrack) -> u64 {
        match self.init {
            Init::OfAsset(_) => self.number + self.skipped(track) as u64,
            Init::OfEpoch(_) => self.number,
        }
    }

    /// How many segments of a track are cut off before those that are left.
    fn skipped(&self, track: &AssetTrack) -> usize {
        let first = self.segments.start as usize;
        let all = track.segments.iter().skip(first).take(self.segments.len());
        all.take_while(|segment| !self.cut.keeps_segment(track, segment)).count()
    }

    fn segments_of(&self, track: &'a AssetTrack) -> &'a [Segment] {
        let start = self.segments.start as usize + self.skipped(track);
        let end = track.segments.len().min(self.segments.end as usize);
        let rest = track.segments.get(start..end).unwrap_or_default();
        let left = rest.iter().take_while(|segment| self.cut.keeps_segment(track, segment)).count();
        rest.get(..left).unwrap_or_default()
    }

    fn longest_secs(&self, track: &'a AssetTrack) -> f64 {
        let longest = self.segments_of(track).iter().map(|segment| segment.duration).max().unwrap_or(0);
        ticks(track, i64::from(longest)).as_secs_f64()
    }

    /// When a track ends, seconds of the period.
    fn end_secs(&self, track: &'a AssetTrack) -> Option<f64> {
        let last = self.segments_of(track).last()?;
        Some(ticks(track, last.start + i64::from(last.duration) - self.offset(track)).as_secs_f64())
    }

    /// Ticks of the track before the period's zero.
    fn offset(&self, track: &AssetTrack) -> i64 {
        self.offset_in(track.timescale)
    }

    fn offset_in(&self, timescale: u32) -> i64 {
        self.start.rescale(timescale).max(0)
    }

    /// Name of an initialisation segment that is not named like those of most.
    fn own_init(&self, track: &AssetTrack) -> Option<String> {
        let Init::OfAsset(asset) = self.init else { return None };
        match init_object(asset, track, asset.epoch_of(self.segments.start)) {
            MediaObject::Init => None,
            other => Some(INIT_TEMPLATE.replace(INIT, &object_name(other))),
        }
    }

    /// Template of the names of most initialisation segments.
    fn init_template(&self) -> String {
        match self.init {
            Init::OfAsset(_) => INIT_TEMPLATE.to_owned(),
            Init::OfEpoch(epoch) => INIT_TEMPLATE.replace(INIT, &epoch_init_name(epoch)),
        }
    }

    /// Template of the names of segments.
    fn media_template(&self) -> String {
        match self.init {
            Init::OfAsset(_) => SEGMENT_TEMPLATE.to_owned(),
            Init::OfEpoch(epoch) => format!("$RepresentationID$/{}", segment_name(epoch, "$Number$")),
        }
    }

    fn has_key_frames(&self) -> bool {
        // They are numbered through: one run's are not told from another's.
        matches!(self.init, Init::OfAsset(asset) if asset.epochs.is_empty())
    }
}

fn period(run: &Run, id: impl ToString, start: f64) -> Element {
    let sets = &run.sets;
    let start = if start == 0.0 { "PT0S".to_owned() } else { duration(start) };
    let mut period = Element::new("Period").attribute("id", id).attribute("start", start);
    for events in events::event_streams(run.cues, run.start.rescale(MICROS)..run.end_micros) {
        period = period.child(events);
    }
    for (index, set) in sets.iter().enumerate() {
        period = period.child(adaptation_set(run, index, set));
    }
    let trick_plays = sets.iter().enumerate().filter(|_| run.has_key_frames());
    let trick_plays = trick_plays.filter_map(|(index, set)| trick_play(run, sets.len() + index, (index, set)));
    trick_plays.fold(period, Element::child)
}

fn ticks(track: &AssetTrack, value: i64) -> Ticks {
    Ticks { value, timescale: track.timescale }
}

/// `xs:duration`, to the microsecond and never shorter than it is.
fn duration(seconds: f64) -> String {
    format!("PT{:.6}S", (seconds.max(0.0) * 1e6).ceil() / 1e6)
}

fn adaptation_set<'a>(run: &Run<'a>, index: usize, set: &AdaptationSet<'a>) -> Element {
    let kind = if set.kind == TrackKind::Video { "video" } else { "audio" };
    let mut element = Element::new("AdaptationSet")
        .attribute("id", index)
        .attribute("contentType", kind)
        .attribute("mimeType", format!("{kind}/mp4"))
        .attribute("segmentAlignment", "true");
    if run.independent || set.kind == TrackKind::Audio {
        element = element.attribute("startWithSAP", set.access_type());
    }
    element = element.attribute("selectionPriority", set.priority);
    if let Some(language) = set.language() {
        element = element.attribute("lang", language);
    }
    if let Some(channels) = set.channels().and_then(channel_configuration) {
        element = element.child(descriptor("AudioChannelConfiguration", CHANNELS, channels));
    }
    if let Some(transfer) = set.transfer() {
        element = element.child(descriptor("SupplementalProperty", TRANSFER, transfer));
    }
    if let Some(others) = switchable_with(run, index) {
        element = element.child(descriptor("SupplementalProperty", SET_SWITCHING, others));
    }
    if let Addressing::Regular(regular) = run.addressing {
        element = element.child(live::production(run, regular));
    }
    element = element.child(descriptor("Role", ROLE, if set.is_main { "main" } else { "alternate" }));
    if let Some(first) = set.tracks.first() {
        let timeline = run.segments_of(first).iter().map(|segment| (segment.start, segment.duration));
        let template = match run.addressing {
            Addressing::Timeline => template((run, first), (&run.media_template(), run.first_of(first)), timeline),
            Addressing::Regular(regular) => live::template(run, regular),
        };
        element = element.child(template.attribute("initialization", run.init_template()));
    }
    set.tracks.iter().fold(element, |element, track| element.child(representation(run, track)))
}

/// Ids of the other sets of pictures that are cut at the same places: players that decode both codecs may switch over.
fn switchable_with(run: &Run, index: usize) -> Option<String> {
    let sets = &run.sets;
    let first = sets.get(index)?.tracks.first().filter(|track| track.kind == TrackKind::Video)?;
    let fits = |(other, set): &(usize, &AdaptationSet)| {
        *other != index && set.tracks.first().is_some_and(|track| sets::is_aligned(track, first, &run.segments))
    };
    let others: Vec<String> = sets.iter().enumerate().filter(fits).map(|(other, _)| other.to_string()).collect();
    (!others.is_empty()).then(|| others.join(","))
}

fn descriptor(name: &'static str, scheme: &str, value: impl ToString) -> Element {
    Element::new(name).attribute("schemeIdUri", scheme).attribute("value", value)
}

/// `ChannelConfiguration` of ISO/IEC 23091-3; `None` for numbers of channels that do not tell their layout.
fn channel_configuration(channels: u16) -> Option<u16> {
    match channels {
        1..=6 => Some(channels),
        8 => Some(12),
        _ => None,
    }
}

/// A template with the timeline of these `(start, duration)` from number `first` on; equal durations that follow one another are one entry.
fn template(
    (run, track): (&Run, &AssetTrack),
    (media, first): (&str, u64),
    times: impl Iterator<Item = (i64, u32)>,
) -> Element {
    let mut entries: Vec<(Option<i64>, u32, u32)> = Vec::new();
    let mut expected = None;
    for (start, duration) in times {
        let follows = expected == Some(start);
        match entries.last_mut().filter(|(_, same, _)| follows && *same == duration) {
            Some((_, _, repeats)) => *repeats += 1,
            None => entries.push(((!follows).then_some(start), duration, 0)),
        }
        expected = Some(start + i64::from(duration));
    }
    let timeline = entries.into_iter().fold(Element::new("SegmentTimeline"), |timeline, (start, duration, repeats)| {
        let mut entry = Element::new("S");
        if let Some(start) = start {
            entry = entry.attribute("t", start.max(0));
        }
        entry = entry.attribute("d", duration);
        timeline.child(if repeats > 0 { entry.attribute("r", repeats) } else { entry })
    });
    Element::new("SegmentTemplate")
        .attribute("timescale", track.timescale)
        .attribute("presentationTimeOffset", run.offset(track))
        .attribute("startNumber", first)
        .attribute("media", media)
        .child(timeline)
}

fn representation(run: &Run, track: &AssetTrack) -> Element {
    let element = Element::new("Representation")
        .attribute("id", &track.name)
        .attribute("bandwidth", track.peak_bits_per_sec())
        .attribute("codecs", &track.codec);
    let element = match &track.audio {
        Some(audio) => element.attribute("audioSamplingRate", audio.sample_rate),
        None => picture_attributes(element, track),
    };
    match run.own_init(track) {
        None => element,
        Some(init) => element.child(Element::new("SegmentTemplate").attribute("initialization", init)),
    }
}

fn picture_attributes(element: Element, track: &AssetTrack) -> Element {
    let Some(video) = &track.video else { return element };
    let (width, height) = video.display_size();
    let element = element.attribute("width", width).attribute("height", height);
    let element = match video.frame_rate {
        (0, _) | (_, 0) => element,
        (frames, 1) => element.attribute("frameRate", frames),
        (frames, seconds) => element.attribute("frameRate", format!("{frames}/{seconds}")),
    };
    let (x, y) = pixel_aspect(&track.init);
    element.attribute("sar", format!("{x}:{y}"))
}

/// Key frames of the least rendition of a set of pictures, as a set of their own that belongs to it (DASH-IF IOP 3.2.9).
fn trick_play(run: &Run, id: usize, (main, set): (usize, &AdaptationSet)) -> Option<Element> {
    let has_any = |track: &&&AssetTrack| run.cut.key_frames(track).next().is_some();
    let track = set.tracks.iter().rev().filter(|_| set.kind == TrackKind::Video).find(has_any)?;
    let sizes: Vec<_> = track.key_frames.iter().map(|key| (key.bytes, key.duration)).collect();
    let (first, _) = run.cut.key_frames(track).next()?;
    let times = run.cut.key_frames(track).map(|(_, key)| (key.start, key.duration));
    let template = template((run, track), (&key_frame_template(&track.name), u64::from(first)), times)
        .attribute("initialization", INIT_TEMPLATE.replace("$RepresentationID$", &track.name));
    let representation = Element::new("Representation")
        .attribute("id", format!("k-{}", track.name))
        .attribute("bandwidth", peak_bits_per_sec(&sizes, track.timescale))
        .attribute("codecs", &track.codec)
        .attribute("codingDependency", "false")
        .attribute("maxPlayoutRate", TRICK_RATE_MAX);
    let element = Element::new("AdaptationSet")
        .attribute("id", id)
        .attribute("contentType", "video")
        .attribute("mimeType", "video/mp4")
        .attribute("segmentAlignment", "true")
        .attribute("startWithSAP", "1")
        .child(descriptor("EssentialProperty", TRICK_MODE, main))
        .child(template)
        .child(picture_attributes(representation, track));
    Some(element)
}

#[cfg(test)]
mod tests;
