//! Which tracks are one adaptation set.
use std::ops::Range;

use crate::domain::asset::{AssetTrack, TrackKind};
use crate::media::packager::dynamic_range;
use crate::media::view::{View, family};

/// Most channels that every player plays.
const STEREO: u16 = 2;
/// Longest language tag believed.
const LANGUAGE_CHARS_MAX: usize = 35;

/// Tracks that players choose between as they play.
pub(super) struct AdaptationSet<'a> {
    pub(super) kind: TrackKind,
    pub(super) tracks: Vec<&'a AssetTrack>,
    /// Whether this is what a player should choose by itself, as against another codec, language or layout.
    pub(super) is_main: bool,
    /// Higher is chosen first (`selectionPriority`).
    pub(super) priority: u32,
}

impl AdaptationSet<'_> {
    /// Language of sound as a tag of RFC 5646, when it is known and is one.
    pub(super) fn language(&self) -> Option<&str> {
        let language = &self.tracks.first()?.audio.as_ref()?.language;
        let is_subtag =
            |subtag: &str| (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let starts_well = language.split('-').next()?.bytes().all(|byte| byte.is_ascii_alphabetic());
        let is_tag = starts_well && language.len() <= LANGUAGE_CHARS_MAX && language.split('-').all(is_subtag);
        (is_tag && language != "und").then_some(language)
    }

    /// Type of the stream access points that its segments begin with, at most (ISO/IEC 14496-12, annex I): HEVC may have
    /// pictures behind the first one that are shown before it and cannot be decoded by themselves.
    pub(super) fn access_type(&self) -> u8 {
        let is_open = self.tracks.iter().any(|track| family(track) == "hvc1");
        if is_open { 3 } else { 1 }
    }

    /// Transfer characteristics of pictures that are not SDR.
    pub(super) fn transfer(&self) -> Option<u8> {
        match dynamic_range(&self.tracks.first()?.init) {
            "pq" => Some(16),
            "hlg" => Some(18),
            _ => None,
        }
    }

    /// Number of channels of sound.
    pub(super) fn channels(&self) -> Option<u16> {
        Some(self.tracks.first()?.audio.as_ref()?.channels)
    }
}

/// The adaptation sets of a view: pictures first, each group as the view orders its tracks, from the largest down; then
/// sound, as the asset orders it.
pub(super) fn adaptation_sets<'a>(
    tracks: &'a [AssetTrack],
    view: View,
    segments: &Range<u32>,
) -> Vec<AdaptationSet<'a>> {
    let mut sets: Vec<AdaptationSet> = Vec::new();
    for track in view.pictures(tracks) {
        let fits = |set: &&mut AdaptationSet| {
            set.tracks.first().is_some_and(|first| is_alike(first, track) && is_aligned(first, track, segments))
        };
        match sets.iter_mut().find(fits) {
            Some(set) => set.tracks.push(track),
            None => {
                sets.push(AdaptationSet { kind: TrackKind::Video, tracks: vec![track], is_main: true, priority: 1 })
            }
        }
    }
    // More renditions of one codec adapt better than one of another.
    for set in &mut sets {
        set.tracks.sort_by_key(|track| std::cmp::Reverse(track.peak_bits_per_sec()));
        set.priority = u32::try_from(set.tracks.len()).unwrap_or(u32::MAX);
    }
    let sound: Vec<_> = tracks.iter().filter(|track| track.kind == TrackKind::Audio).collect();
    let has_default = sound.iter().any(|track| is_default(track));
    for (index, track) in sound.into_iter().enumerate() {
        let is_main = if has_default { is_default(track) } else { index == 0 };
        let is_plain = track.audio.as_ref().is_none_or(|audio| audio.channels <= STEREO);
        let priority = 1 + 2 * u32::from(is_main) + u32::from(is_plain);
        sets.push(AdaptationSet { kind: TrackKind::Audio, tracks: vec![track], is_main, priority });
    }
    sets
}

/// Whether one decoder plays both on one screen.
fn is_alike(one: &AssetTrack, other: &AssetTrack) -> bool {
    family(one) == family(other) && dynamic_range(&one.init) == dynamic_range(&other.init)
}

fn is_default(track: &AssetTrack) -> bool {
    track.audio.as_ref().is_some_and(|audio| audio.default)
}

/// Whether these segments of both begin at the same times in the same ticks, as far as both have them.
pub(super) fn is_aligned(one: &AssetTrack, other: &AssetTrack, segments: &Range<u32>) -> bool {
    let starts = |track: &AssetTrack| -> Vec<i64> {
        let end = track.segments.len().min(segments.end as usize);
        let listed = track.segments.get(segments.start as usize..end).unwrap_or_default();
        listed.iter().map(|segment| segment.start).collect()
    };
    // What is live is not equally far in all.
    let (one_starts, other_starts) = (starts(one), starts(other));
    let is_same = one_starts.iter().zip(&other_starts).all(|(one, other)| one == other);
    one.kind == other.kind && one.timescale == other.timescale && is_same
}
