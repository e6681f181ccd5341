//! Trims: a video shown from one of its segments to another. Nothing is copied, made anew or removed.
use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::asset::{Asset, AssetTrack, KeyFrame, Segment, Ticks};

/// Times closer to a cut than this lie on it, milliseconds.
const SLACK_MS: u64 = 10;
const MICROS: u32 = 1_000_000;

/// Which part of a video is shown, milliseconds from the start of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trim {
    /// Where it begins.
    pub start_ms: u64,
    /// Where it ends.
    pub end_ms: u64,
}

impl Trim {
    /// How long it is, milliseconds.
    pub fn duration_ms(self) -> u64 {
        self.end_ms.saturating_sub(self.start_ms)
    }

    /// Milliseconds of what is shown, of an instant of the whole; `None` when that is not shown.
    pub fn shown_at(self, ms: u64) -> Option<u64> {
        (self.start_ms..self.end_ms).contains(&ms).then(|| ms - self.start_ms)
    }
}

/// What a trim leaves of a timeline, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cut {
    start: i64,
    end: i64,
}

impl Cut {
    /// Everything.
    pub const NONE: Self = Self { start: i64::MIN, end: i64::MAX };

    /// Whether this run of ticks of the track is left: its larger part lies within. Sound is cut near where pictures are.
    pub fn keeps(self, track: &AssetTrack, start: i64, duration: u32) -> bool {
        let middle = Ticks { value: start + i64::from(duration / 2), timescale: track.timescale }.rescale(MICROS);
        (self.start..self.end).contains(&middle)
    }

    /// The tracks of which something is left: sound may end before pictures.
    pub fn tracks(self, tracks: &[AssetTrack]) -> Cow<'_, [AssetTrack]> {
        let is_left = |track: &&AssetTrack| track.segments.iter().any(|segment| self.keeps_segment(track, segment));
        if self == Self::NONE || tracks.iter().all(|track| is_left(&track)) {
            return tracks.into();
        }
        tracks.iter().filter(is_left).cloned().collect()
    }

    /// The key frames of the track that are left, and their numbers.
    pub fn key_frames(self, track: &AssetTrack) -> impl Iterator<Item = (u32, &KeyFrame)> {
        let is_kept = move |key: &KeyFrame| self == Self::NONE || self.keeps(track, key.start, key.duration);
        (0u32..).zip(&track.key_frames).filter(move |(_, key)| is_kept(key))
    }

    /// Whether this segment of the track is left.
    pub fn keeps_segment(self, track: &AssetTrack, segment: &Segment) -> bool {
        self == Self::NONE || self.keeps(track, segment.start, segment.duration)
    }
}

impl Asset {
    /// Cuts at the beginning of the segment that holds the start, and at the end of the one that holds the end: nothing
    /// that is wanted is lost. Says where that is; `None` when nothing would be left.
    pub fn cut(&self, wanted: Trim) -> Option<(Trim, Cut)> {
        let leader = self.tracks.first()?;
        let ms =
            |ticks: i64| u64::try_from(Ticks { value: ticks, timescale: leader.timescale }.rescale(1000)).unwrap_or(0);
        let micros = |ticks: i64| Ticks { value: ticks, timescale: leader.timescale }.rescale(MICROS);
        let (mut shown, mut left): (i64, Option<(Trim, Cut)>) = (0, None);
        for segment in self.runs().into_iter().flatten().filter_map(|number| leader.segments.get(number as usize)) {
            let (from, to) = (ms(shown), ms(shown + i64::from(segment.duration)));
            shown += i64::from(segment.duration);
            if to <= wanted.start_ms + SLACK_MS || from + SLACK_MS >= wanted.end_ms {
                continue;
            }
            let end = micros(segment.start + i64::from(segment.duration));
            let first = (Trim { start_ms: from, end_ms: to }, Cut { start: micros(segment.start), end });
            let (trim, cut) = left.get_or_insert(first);
            (trim.end_ms, cut.end) = (to, end);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::asset::{AssetEpoch, SegmentBytes, TrackKind};
    use crate::domain::ids::{PlaybackId, VideoId};

    /// Five segments of four seconds, of which the third has no media.
    fn asset() -> Asset {
        let segment = |index: i64| Segment {
            start: 1000 + index * 4000,
            duration: 4000,
            bytes: 1,
            source: if index == 2 { SegmentBytes::Gap } else { SegmentBytes::Virtual { first: 0, samples: 1 } },
        };
        let track = AssetTrack {
            name: "v0-1".into(),
            kind: TrackKind::Video,
            codec: String::new(),
            timescale: 1000,
            reorder: 0,
            video: None,
            audio: None,
            init: Default::default(),
            sample_table: None,
            spans: Vec::new(),
            segments: (0..5).map(segment).collect(),
            key_frames: Vec::new(),
        };
        let epochs = vec![AssetEpoch { first_segment: 3, inits: Vec::new() }];
        Asset {
            video_id: VideoId::parse("vid_aaaaaaaa").unwrap(),
            playback_id: PlaybackId::parse(&format!("{}_aaaaaaaa", PlaybackId::PREFIX)).unwrap(),
            generation: 1,
            source: Vec::new(),
            tracks: vec![track],
            epochs,
            chronicle: Default::default(),
        }
    }

    #[test]
    fn cuts_are_where_segments_begin_and_lose_nothing_that_is_wanted() {
        let asset = asset();
        let cut = |start_ms, end_ms| {
            let (trim, cut) = asset.cut(Trim { start_ms, end_ms })?;
            let track = &asset.tracks[0];
            let kept: Vec<bool> = track.segments.iter().map(|segment| cut.keeps_segment(track, segment)).collect();
            Some(((trim.start_ms, trim.end_ms), kept))
        };
        let all = [true; 5].to_vec();
        assert_eq!(cut(0, 99_000), Some(((0, 16_000), all)), "gaps are not shown");
        assert_eq!(cut(5000, 6000), Some(((4000, 8000), vec![false, true, false, false, false])));
        assert_eq!(cut(5000, 9000), Some(((4000, 12_000), vec![false, true, true, true, false])), "over a return");
        assert_eq!(cut(4000, 8000), cut(5000, 6000), "on the cuts");
        assert_eq!(cut(16_000, 20_000), None);
    }
}
