//! What of an asset a manifest lists, and in which order: a manifest is `render(asset, view)`. All views of an asset are of
//! one timeline and name the same segments.
use std::cmp::Reverse;

use crate::domain::asset::{AssetTrack, TrackKind};

/// What players may be able to fetch before anything is known of their connection, bits per second.
const UNKNOWN_THROUGHPUT: u64 = 3_000_000;
/// Of a measured throughput, percent that a variant may take: the rest is for its being wrong.
const USABLE_PERCENT: u64 = 80;

/// A choice among an asset's renditions of pictures, by their short sides in pixels. The default is all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// Only those of this short side.
    pub only: Option<u32>,
    /// None above this short side, unless all are.
    pub most: Option<u32>,
    /// Those of this short side are named first: what players start with.
    pub first: Option<u32>,
}

impl View {
    /// The same choice in the asset's own words, so that there are never more views of it than it has renditions to choose
    /// from. `None` when nothing would be left of its pictures.
    pub fn within(self, tracks: &[AssetTrack]) -> Option<Self> {
        let sides: Vec<u32> = pictures(tracks).map(short_side).collect();
        if self.only.is_some_and(|only| !sides.contains(&only)) {
            return None;
        }
        let least = sides.iter().min().copied();
        let at_most = |wanted: u32| sides.iter().filter(|side| **side <= wanted).max().copied().or(least);
        let most = self.most.and_then(at_most).filter(|most| Some(most) != sides.iter().max());
        let first = self.first.and_then(at_most).map(|first| most.map_or(first, |most| first.min(most)));
        let view = Self { only: self.only, most, first };
        Some(if self.only.is_some() { Self { most: None, first: None, ..view } } else { view })
    }

    /// The asset's pictures as this view has them: what players start with, then by codec as the asset prefers them, then
    /// from the largest down.
    pub fn pictures<'a>(&self, tracks: &'a [AssetTrack]) -> Vec<&'a AssetTrack> {
        let view = self.within(tracks).unwrap_or_default();
        let is_listed =
            |side: u32| view.only.is_none_or(|only| side == only) && view.most.is_none_or(|most| side <= most);
        let mut listed: Vec<&AssetTrack> = pictures(tracks).filter(|track| is_listed(short_side(track))).collect();
        let families: Vec<&str> = pictures(tracks).map(family).collect();
        let preferred = families.iter().find(|family| **family == "avc1").or(families.first()).copied();
        listed.sort_by_key(|track| {
            (Some(family(track)) != preferred, Reverse((short_side(track), track.peak_bits_per_sec())))
        });
        let start = listed.iter().position(|track| match view.first {
            Some(first) => short_side(track) <= first,
            None => fits(track, UNKNOWN_THROUGHPUT),
        });
        // When none fits, the least of the preferred codec.
        let least = || listed.iter().rposition(|track| Some(family(track)) == preferred);
        if let Some(start) = start.or_else(least).filter(|_| !listed.is_empty()) {
            let first = listed.remove(start);
            listed.insert(0, first);
        }
        listed
    }
}

/// Short side of the best of these renditions that a connection of this throughput carries, else of the least one:
/// `(short side, peak bits per second)` each.
pub fn affordable(renditions: &[(u32, u64)], bits_per_sec: u64) -> Option<u32> {
    let usable = bits_per_sec / 100 * USABLE_PERCENT;
    let fitting = renditions.iter().filter(|(_, peak)| *peak <= usable).map(|(side, _)| *side).max();
    fitting.or_else(|| renditions.iter().map(|(side, _)| *side).min())
}

fn fits(track: &AssetTrack, bits_per_sec: u64) -> bool {
    track.peak_bits_per_sec() <= bits_per_sec / 100 * USABLE_PERCENT
}

fn pictures(tracks: &[AssetTrack]) -> impl Iterator<Item = &AssetTrack> {
    tracks.iter().filter(|track| track.kind == TrackKind::Video)
}

/// What a rendition of pictures is named by; 0 when its size is not known.
pub fn short_side(track: &AssetTrack) -> u32 {
    track.video.as_ref().map_or(0, |video| video.short_side())
}

/// What comes before the first dot of a codec string: tracks of one family can be switched within one decoder.
pub fn family(track: &AssetTrack) -> &str {
    track.codec.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
