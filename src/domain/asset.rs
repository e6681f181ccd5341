//! What a player can be given: tracks of segments on one timeline, and where each segment's bytes lie.
//!
//! The *grid* is data: an explicit list of starts and durations, never `index × 4 s`. Segments are named by number in
//! URLs; spans and samples behind them are never named outside.
use serde::{Deserialize, Serialize};

use super::cues::Chronicle;
use super::ids::{PlaybackId, VideoId};

/// Presentation time of a VOD asset's first picture, in seconds: leaves room before it for codec priming and reordered
/// decode times, so that every timestamp stays unsigned in every track without an edit list.
pub const TIMELINE_ORIGIN_SECS: u32 = 1;

/// A key in the blob store, e.g. `raw-uploads/upl_x/0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlobKey(pub String);

impl BlobKey {
    /// A key below a bucket or prefix.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for BlobKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A run of bytes of one blob. A source is an ordered list of these, so that completing or concatenating uploads copies
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The blob.
    pub key: BlobKey,
    /// Its length in bytes; extents are whole blobs.
    pub bytes: u64,
}

/// Time in ticks of a timescale: compared as a rational, never as a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticks {
    /// The number of ticks.
    pub value: i64,
    /// Ticks per second; never zero.
    pub timescale: u32,
}

impl Ticks {
    /// Seconds, for display and playlists only.
    pub fn as_secs_f64(self) -> f64 {
        self.value as f64 / f64::from(self.timescale.max(1))
    }

    /// The same instant in another timescale, rounded down.
    pub fn rescale(self, timescale: u32) -> i64 {
        let scaled = i128::from(self.value) * i128::from(timescale);
        i64::try_from(scaled.div_euclid(i128::from(self.timescale.max(1)))).unwrap_or(i64::MAX)
    }
}

impl PartialOrd for Ticks {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let left = i128::from(self.value) * i128::from(other.timescale);
        let right = i128::from(other.value) * i128::from(self.timescale);
        Some(left.cmp(&right))
    }
}

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// One picture track's properties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoProperties {
    /// Coded picture width in pixels, after cropping, before rotation.
    pub width: u32,
    /// Coded picture height in pixels, after cropping, before rotation.
    pub height: u32,
    /// Clockwise rotation to apply for display: 0, 90, 180 or 270 degrees.
    pub rotation: u16,
    /// Frames per second as a fraction; the average for variable frame rate.
    pub frame_rate: (u32, u32),
}

impl VideoProperties {
    /// Width and height as shown, rotation applied.
    pub fn display_size(&self) -> (u32, u32) {
        if self.rotation % 180 == 90 { (self.height, self.width) } else { (self.width, self.height) }
    }

    /// What a rung is named by: the short side as shown.
    pub fn short_side(&self) -> u32 {
        self.width.min(self.height)
    }
}

/// One sound track's properties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioProperties {
    /// Samples per second.
    pub sample_rate: u32,
    /// Number of channels.
    pub channels: u16,
    /// BCP 47 language, `und` when unknown.
    pub language: String,
    /// Whether a player should choose it by itself.
    pub default: bool,
}

/// Where the bytes of a segment come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SegmentBytes {
    /// Built on request from sample records: `samples` records from record `first` on of the track's sample table, the
    /// media bytes being ranges of the original.
    Virtual {
        /// Index of the first sample record.
        first: u64,
        /// Number of sample records.
        samples: u32,
    },
    /// A byte range of one of the track's spans.
    Span {
        /// Index into [`AssetTrack::spans`].
        span: u32,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        bytes: u32,
    },
    /// Not made yet, or not looked up: it will lie in the span of this chunk of the ladder's plan, which is encoded before
    /// its turn when somebody asks for it. The size that the index says is an estimate.
    Make {
        /// The chunk.
        chunk: u32,
    },
    /// Nowhere: the track has no media here, as in a broadcast whose publisher was away or left this track out.
    Gap,
}

/// One segment of a track: one line of a playlist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Start of presentation in ticks of the track's timescale, [`TIMELINE_ORIGIN_SECS`] included.
    pub start: i64,
    /// Duration in ticks of the track's timescale.
    pub duration: u32,
    /// Size of the whole segment as delivered, in bytes.
    pub bytes: u32,
    /// Where its bytes come from.
    pub source: SegmentBytes,
}

impl Segment {
    /// Whether it has no media.
    pub fn is_gap(&self) -> bool {
        self.source == SegmentBytes::Gap
    }
}

/// A picture that decodes by itself, for trick play.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFrame {
    /// Presentation time in ticks of the track's timescale.
    pub start: i64,
    /// Ticks until the next one (or the end).
    pub duration: u32,
    /// Size of the delivered segment in bytes.
    pub bytes: u32,
    /// Where its bytes come from.
    pub source: SegmentBytes,
}

/// One track of an asset: a rendition's worth of segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssetTrack {
    /// Name in URLs, unique within the asset and never reused for other bytes, e.g. `v0-1` (track and generation).
    pub name: String,
    /// What it carries.
    pub kind: TrackKind,
    /// RFC 6381 codec string, e.g. `avc1.64001f` or `mp4a.40.2`.
    pub codec: String,
    /// Ticks per second of all times below.
    pub timescale: u32,
    /// How far decoding runs ahead of presentation, ticks: added to composition offsets in segments and taken out again by
    /// the edit list of `init`, so that no offset is negative and no rendition starts late. 0 without reordering.
    pub reorder: u32,
    /// Set for pictures.
    pub video: Option<VideoProperties>,
    /// Set for sound.
    pub audio: Option<AudioProperties>,
    /// Initialisation segment (ftyp + moov).
    pub init: bytes::Bytes,
    /// Where the sample records of [`SegmentBytes::Virtual`] lie.
    pub sample_table: Option<BlobKey>,
    /// The spans of [`SegmentBytes::Span`].
    pub spans: Vec<BlobKey>,
    /// The grid.
    pub segments: Vec<Segment>,
    /// For the I-frame playlist; empty for sound.
    pub key_frames: Vec<KeyFrame>,
}

impl AssetTrack {
    /// Length of its media in ticks of the track's timescale.
    pub fn duration_ticks(&self) -> i64 {
        self.media().map(|segment| i64::from(segment.duration)).sum()
    }

    /// Its segments without gaps.
    fn media(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| !segment.is_gap())
    }

    /// Measured peak bit rate (RFC 8216bis, BANDWIDTH): see [`peak_bits_per_sec`].
    pub fn peak_bits_per_sec(&self) -> u64 {
        let sizes: Vec<_> = self.segments.iter().map(|segment| (segment.bytes, segment.duration)).collect();
        peak_bits_per_sec(&sizes, self.timescale)
    }

    /// Measured average bit rate (AVERAGE-BANDWIDTH).
    pub fn average_bits_per_sec(&self) -> u64 {
        let bytes = self.segments.iter().map(|segment| u64::from(segment.bytes)).sum();
        bits_per_sec(bytes, self.duration_ticks(), self.timescale)
    }
}

/// Peak bit rate of consecutive (bytes, ticks), gaps without bytes: the highest of any run of them without a gap that lasts 0.5
/// to 1.5 times the longest one in whole seconds (TARGETDURATION), so that a short rest at the end does not count by itself.
pub fn peak_bits_per_sec(sizes: &[(u32, u32)], timescale: u32) -> u64 {
    let filled = sizes.iter().filter(|(bytes, _)| *bytes > 0);
    let longest = filled.map(|(_, ticks)| i64::from(*ticks)).max().unwrap_or(0);
    let second = i64::from(timescale.max(1));
    let rounded = (longest + second / 2) / second * second;
    let longest = if rounded > 0 { rounded } else { longest };
    let rate_from = |first: usize| {
        let (mut bytes, mut ticks, mut peak) = (0u64, 0i64, 0);
        for (more_bytes, more_ticks) in sizes.iter().skip(first).take_while(|(bytes, _)| *bytes > 0) {
            bytes += u64::from(*more_bytes);
            ticks += i64::from(*more_ticks);
            if ticks * 2 > longest * 3 {
                break;
            }
            if ticks * 2 >= longest {
                peak = peak.max(bits_per_sec(bytes, ticks, timescale));
            }
        }
        peak
    };
    (0..sizes.len()).map(rate_from).max().unwrap_or(0)
}

fn bits_per_sec(bytes: u64, ticks: i64, timescale: u32) -> u64 {
    let ticks = u128::try_from(ticks).unwrap_or(0).max(1);
    u64::try_from((u128::from(bytes) * 8 * u128::from(timescale)).div_ceil(ticks)).unwrap_or(u64::MAX)
}

/// Everything needed to list and deliver one playable video. Immutable once stored: a change is a new generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asset {
    /// Whose it is.
    pub video_id: VideoId,
    /// What its URLs are named by.
    pub playback_id: PlaybackId,
    /// Generation of this index; a higher one replaces a lower one.
    pub generation: u32,
    /// The original, for virtual tracks.
    pub source: Vec<Extent>,
    /// Pictures first, then sound, each in order of preference.
    pub tracks: Vec<AssetTrack>,
    /// Where media do not continue what was before: the later epochs of a broadcast, ascending. All tracks of an asset that
    /// has some have the same number of segments.
    pub epochs: Vec<AssetEpoch>,
    /// When it was, if it was ever live, and what was told of it then.
    pub chronicle: Chronicle,
}

/// A later epoch of an asset: its publisher came back, or sent something else from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetEpoch {
    /// Its first segment.
    pub first_segment: u32,
    /// Initialisation segments of tracks that need another one than [`AssetTrack::init`], by name.
    pub inits: Vec<(String, bytes::Bytes)>,
}

impl Asset {
    /// The initialisation segment of this track that is good for its segments from later epoch number `epoch` on, counted
    /// from 1; `None` when it is the track's own.
    pub fn init_of(&self, epoch: usize, track: &str) -> Option<&bytes::Bytes> {
        let epoch = self.epochs.get(epoch.checked_sub(1)?)?;
        epoch.inits.iter().find(|(name, _)| name == track).map(|(_, init)| init)
    }

    /// The epoch that a segment belongs to, from 0.
    pub fn epoch_of(&self, segment: u32) -> usize {
        self.epochs.partition_point(|epoch| epoch.first_segment <= segment)
    }

    /// Runs of segments that continue one another, each in one epoch and with the same tracks from end to end; what no
    /// track has media for belongs to none.
    pub fn runs(&self) -> Vec<std::ops::Range<u32>> {
        let longest = self.tracks.iter().map(|track| track.segments.len()).max().unwrap_or(0);
        if self.epochs.is_empty() {
            return std::iter::once(0..u32::try_from(longest).unwrap_or(u32::MAX)).collect();
        }
        let mut runs: Vec<(Vec<bool>, std::ops::Range<u32>)> = Vec::new();
        for number in 0..u32::try_from(longest).unwrap_or(u32::MAX) {
            let has = |track: &AssetTrack| track.segments.get(number as usize).is_some_and(|one| !one.is_gap());
            let present: Vec<bool> = self.tracks.iter().map(has).collect();
            if !present.contains(&true) {
                continue;
            }
            let is_start = self.epochs.iter().any(|epoch| epoch.first_segment == number);
            let follows = |(before, run): &&mut (Vec<bool>, std::ops::Range<u32>)| {
                !is_start && run.end == number && *before == present
            };
            match runs.last_mut().filter(follows) {
                Some((_, run)) => run.end = number + 1,
                None => runs.push((present, number..number + 1)),
            }
        }
        runs.into_iter().map(|(_, run)| run).collect()
    }

    /// The track named so in URLs.
    pub fn track(&self, name: &str) -> Option<&AssetTrack> {
        self.tracks.iter().find(|track| track.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_rest_is_no_peak() {
        assert_eq!(peak_bits_per_sec(&[(4000, 4), (2000, 4), (1000, 1)], 1), 8000);
        assert_eq!(peak_bits_per_sec(&[(1000, 2), (4000, 2), (4000, 2), (400, 4)], 1), 16_000);
        assert_eq!(peak_bits_per_sec(&[(100, 1)], 25), 20_000);
        assert_eq!(peak_bits_per_sec(&[], 25), 0);
    }
}
