//! Rendering of media presentation descriptions (ISO/IEC 23009-1, 5.3; profile `isoff-live`). Pure text, no sockets.
//!
//! One period. Pictures of one codec that are cut at the same places are one adaptation set, between whose renditions
//! players switch; every track of sound is one by itself. Adaptation sets share one timeline, whose zero is the asset's
//! [`TIMELINE_ORIGIN_SECS`].
mod sets;
mod xml;

use sets::{AdaptationSet, adaptation_sets};
use xml::Element;

use super::paths::{INIT_TEMPLATE, SEGMENT_TEMPLATE, key_frame_template};
use crate::domain::asset::{Asset, AssetTrack, TIMELINE_ORIGIN_SECS, Ticks, TrackKind, peak_bits_per_sec};
use crate::media::packager::pixel_aspect;
use crate::media::view::View;
use crate::protocols::hls::wire::has_trick_play;

const ROLE: &str = "urn:mpeg:dash:role:2011";
const TRICK_MODE: &str = "http://dashif.org/guidelines/trickmode";
const CHANNELS: &str = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011";
const SET_SWITCHING: &str = "urn:mpeg:dash:adaptation-set-switching:2016";
/// Times faster than normal that key frames may be played at: one of several seconds at the rate of pictures.
const TRICK_RATE_MAX: &str = "64";

/// Renders the description of what a view shows of an asset.
pub fn render_mpd(asset: &Asset, view: View) -> String {
    let sets = adaptation_sets(asset, view);
    let tracks = || sets.iter().flat_map(|set| &set.tracks);
    let longest = tracks().map(|track| ticks(track, i64::from(track.longest_segment_ticks())).as_secs_f64());
    let longest = longest.fold(1.0, f64::max);
    let end = tracks().filter_map(|track| end_secs(track)).fold(0.0, f64::max);
    let mut period = Element::new("Period").attribute("id", "0").attribute("start", "PT0S");
    for (index, set) in sets.iter().enumerate() {
        period = period.child(adaptation_set(&sets, index, set));
    }
    let trick_plays = sets.iter().enumerate().filter_map(|(index, set)| trick_play(sets.len() + index, index, set));
    for trick_play in trick_plays {
        period = period.child(trick_play);
    }
    Element::new("MPD")
        .attribute("xmlns", "urn:mpeg:dash:schema:mpd:2011")
        .attribute("profiles", "urn:mpeg:dash:profile:isoff-live:2011")
        .attribute("type", "static")
        .attribute("mediaPresentationDuration", duration(end))
        .attribute("maxSegmentDuration", duration(longest))
        .attribute("minBufferTime", duration(longest))
        .child(period)
        .document()
}

fn ticks(track: &AssetTrack, value: i64) -> Ticks {
    Ticks { value, timescale: track.timescale }
}

/// Ticks of the track before the presentation's zero.
fn origin(track: &AssetTrack) -> u64 {
    u64::from(TIMELINE_ORIGIN_SECS) * u64::from(track.timescale)
}

fn end_secs(track: &AssetTrack) -> Option<f64> {
    let last = track.segments.last()?;
    Some(ticks(track, last.start + i64::from(last.duration)).as_secs_f64() - f64::from(TIMELINE_ORIGIN_SECS))
}

/// `xs:duration`, to the microsecond and never shorter than it is.
fn duration(seconds: f64) -> String {
    format!("PT{:.6}S", (seconds.max(0.0) * 1e6).ceil() / 1e6)
}

fn adaptation_set(sets: &[AdaptationSet], index: usize, set: &AdaptationSet) -> Element {
    let kind = if set.kind == TrackKind::Video { "video" } else { "audio" };
    let mut element = Element::new("AdaptationSet")
        .attribute("id", index)
        .attribute("contentType", kind)
        .attribute("mimeType", format!("{kind}/mp4"))
        .attribute("segmentAlignment", "true")
        .attribute("startWithSAP", "1")
        .attribute("selectionPriority", set.priority);
    if let Some(language) = set.language() {
        element = element.attribute("lang", language);
    }
    if let Some(channels) = set.channels().and_then(channel_configuration) {
        element = element.child(descriptor("AudioChannelConfiguration", CHANNELS, channels));
    }
    if let Some(others) = switchable_with(sets, index) {
        element = element.child(descriptor("SupplementalProperty", SET_SWITCHING, others));
    }
    element = element.child(descriptor("Role", ROLE, if set.is_main { "main" } else { "alternate" }));
    if let Some(first) = set.tracks.first() {
        let timeline = first.segments.iter().map(|segment| (segment.start, segment.duration));
        element = element.child(template(first, SEGMENT_TEMPLATE, timeline).attribute("initialization", INIT_TEMPLATE));
    }
    set.tracks.iter().fold(element, |element, track| element.child(representation(track)))
}

/// Ids of the other sets of pictures that are cut at the same places: players that decode both codecs may switch over.
fn switchable_with(sets: &[AdaptationSet], index: usize) -> Option<String> {
    let first = sets.get(index)?.tracks.first().filter(|track| track.kind == TrackKind::Video)?;
    let fits = |(other, set): &(usize, &AdaptationSet)| {
        *other != index && set.tracks.first().is_some_and(|track| sets::is_aligned(track, first))
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

/// A template with the timeline of these `(start, duration)`; equal durations that follow one another are one entry.
fn template(track: &AssetTrack, media: &str, times: impl Iterator<Item = (i64, u32)>) -> Element {
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
        .attribute("presentationTimeOffset", origin(track))
        .attribute("startNumber", "0")
        .attribute("media", media)
        .child(timeline)
}

fn representation(track: &AssetTrack) -> Element {
    let element = Element::new("Representation")
        .attribute("id", &track.name)
        .attribute("bandwidth", track.peak_bits_per_sec())
        .attribute("codecs", &track.codec);
    match &track.audio {
        Some(audio) => element.attribute("audioSamplingRate", audio.sample_rate),
        None => picture_attributes(element, track),
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
fn trick_play(id: usize, main: usize, set: &AdaptationSet) -> Option<Element> {
    let track = set.tracks.iter().rev().find(|track| set.kind == TrackKind::Video && has_trick_play(track))?;
    let sizes: Vec<_> = track.key_frames.iter().map(|key| (key.bytes, key.duration)).collect();
    let times = track.key_frames.iter().map(|key| (key.start, key.duration));
    let template = template(track, &key_frame_template(&track.name), times)
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
