//! What is kept of a broadcast: for each rendition its segments, and the spans that hold them. At the end of the broadcast it
//! *is* the video: an [`Asset`] over the same bytes.
use std::collections::BTreeSet;
use std::io::Cursor;

use bytes::Bytes;

use super::broadcast::GAP_MICROS_MIN;
use super::ring::MICROS;
use crate::domain::asset::{Asset, AssetEpoch, AssetTrack, BlobKey, Segment, SegmentBytes, Ticks, TrackKind};
use crate::domain::cues::Chronicle;
use crate::domain::ids::{PlaybackId, VideoId};
use crate::domain::ladder::live::is_rung;
use crate::domain::video::{AudioInfo, MediaInfo, VideoInfo};
use crate::media::frames::{InvalidConfig, TrackConfig};
use crate::media::index::describe;
use crate::media::movie::{Movie, MovieLimits};

/// Where a segment's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index into [`RecordedTrack::spans`].
    pub span: u32,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u32,
}

impl Place {
    fn is_followed_by(&self, next: Self) -> bool {
        self.span == next.span && self.offset + u64::from(self.bytes) == next.offset
    }
}

/// A segment of a rendition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedSegment {
    /// Media sequence number.
    pub number: u64,
    /// Its epoch's number.
    pub epoch: u32,
    /// When it is shown.
    pub start: Ticks,
    /// How long, ticks of the start's timescale.
    pub duration: u32,
    /// Whether decoding can start with it.
    pub independent: bool,
    /// Its media; `None` for a gap, and for what could not be written.
    pub place: Option<Place>,
}

impl RecordedSegment {
    fn micros(&self) -> i64 {
        Ticks { value: i64::from(self.duration), timescale: self.start.timescale }.rescale(MICROS)
    }
}

/// A rendition as it was recorded.
#[derive(Debug, Clone)]
pub struct RecordedTrack {
    /// Its name in the broadcast.
    pub name: String,
    /// What it carries.
    pub kind: TrackKind,
    /// Epochs that it has media in: number, configuration, initialisation segment.
    pub epochs: Vec<(u32, TrackConfig, Bytes)>,
    /// Its spans.
    pub spans: Vec<BlobKey>,
    /// Its segments, by number.
    pub segments: Vec<RecordedSegment>,
    /// Pictures per second, as far as known.
    pub frame_rate: (u32, u32),
}

impl RecordedTrack {
    /// A rendition of which nothing is recorded yet.
    pub fn new(name: impl Into<String>, kind: TrackKind) -> Self {
        let name = name.into();
        Self { name, kind, epochs: Vec::new(), spans: Vec::new(), segments: Vec::new(), frame_rate: (0, 1) }
    }

    fn segment(&self, number: u64) -> Option<&RecordedSegment> {
        let index = self.segments.binary_search_by_key(&number, |segment| segment.number).ok()?;
        self.segments.get(index)
    }

    fn media(&self, number: u64) -> Option<(&RecordedSegment, Place)> {
        let segment = self.segment(number)?;
        Some((segment, segment.place?))
    }

    fn init(&self, epoch: u32) -> Option<&Bytes> {
        self.epochs.iter().find(|(number, ..)| *number == epoch).map(|(.., init)| init)
    }
}

/// A broadcast as far as it is recorded.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Its renditions, in the order in which they came.
    pub tracks: Vec<RecordedTrack>,
    /// When it was, and what its publisher told of it.
    pub chronicle: Chronicle,
}

/// Segments that are one in the video, and what they have in common.
#[derive(Debug)]
struct Group {
    numbers: Vec<u64>,
    epoch: u32,
    /// By track: whether it has media here.
    present: Vec<bool>,
    start: i64,
    micros: i64,
}

impl Recording {
    /// Where the last segment ends, microseconds of stream time.
    pub fn end_micros(&self) -> Option<i64> {
        let ends = self.tracks.iter().filter_map(|track| {
            let last = track.segments.last()?;
            Some(last.start.rescale(MICROS) + last.micros())
        });
        ends.max()
    }

    /// The video; `None` when nothing was recorded. Segments that cannot be decoded by themselves are joined to those
    /// before them: groups of pictures may be longer than live segments.
    /// Rungs were encoded in a hurry and may have gaps: the video gets its own.
    pub fn asset(&self, video_id: VideoId, playback_id: PlaybackId) -> Result<Option<Asset>, InvalidConfig> {
        let tracks = self.tracks.iter().filter(|track| !is_rung(&track.name)).cloned().collect();
        Self { tracks, chronicle: self.chronicle.clone() }.asset_of_all(video_id, playback_id)
    }

    fn asset_of_all(&self, video_id: VideoId, playback_id: PlaybackId) -> Result<Option<Asset>, InvalidConfig> {
        let groups = with_holes(whole_ends(self.groups()));
        let mut tracks = Vec::new();
        let leader = self.tracks.iter().position(|track| track.kind == TrackKind::Video);
        for (index, track) in self.tracks.iter().enumerate() {
            let leads = track.kind == TrackKind::Audio || Some(index) == leader;
            if leads || is_switchable(track, index, &groups) {
                tracks.extend(asset_track(track, index, &groups)?);
            }
        }
        tracks.sort_by_key(|track| track.kind == TrackKind::Audio);
        if tracks.is_empty() {
            return Ok(None);
        }
        let (epochs, chronicle) = (self.asset_epochs(&groups), self.chronicle.clone());
        Ok(Some(Asset { video_id, playback_id, generation: 1, source: Vec::new(), tracks, epochs, chronicle }))
    }

    /// Where the last segment in this span ends: its size, as far as it counts.
    pub fn bytes_of(&self, span: &BlobKey) -> u64 {
        let places = |track: &RecordedTrack| -> u64 {
            let Some(index) = track.spans.iter().position(|known| known == span) else { return 0 };
            let of_span = track.segments.iter().filter_map(|one| one.place).filter(|one| one.span as usize == index);
            of_span.map(|place| place.offset + u64::from(place.bytes)).max().unwrap_or(0)
        };
        self.tracks.iter().map(places).max().unwrap_or(0)
    }

    /// What is in the video.
    pub fn media(&self, asset: &Asset) -> MediaInfo {
        let mut media = MediaInfo { container: "live".into(), ..MediaInfo::default() };
        for track in &asset.tracks {
            let duration = Ticks { value: track.duration_ticks(), timescale: track.timescale };
            media.duration_ms = media.duration_ms.max(u64::try_from(duration.rescale(1000)).unwrap_or(0));
            let bit_rate = track.average_bits_per_sec();
            media.bit_rate += bit_rate;
            let Ok(movie) = Movie::read(&mut Cursor::new(&track.init), &MovieLimits::default()) else { continue };
            let MediaInfo { video, audio, .. } = describe(&movie);
            let frame_rate = track.video.as_ref().map_or((0, 1), |video| video.frame_rate);
            media.video.extend(video.into_iter().map(|video| VideoInfo { frame_rate, bit_rate, ..video }));
            media.audio.extend(audio.into_iter().map(|audio| AudioInfo { bit_rate, ..audio }));
        }
        media
    }

    fn groups(&self) -> Vec<Group> {
        let numbers: BTreeSet<u64> =
            self.tracks.iter().flat_map(|track| track.segments.iter().map(|segment| segment.number)).collect();
        let mut groups: Vec<Group> = Vec::new();
        for number in numbers {
            let present: Vec<bool> = self.tracks.iter().map(|track| track.media(number).is_some()).collect();
            let Some((lead, leading)) = self.leader(number) else { continue };
            let continues = groups.last().is_some_and(|group| {
                group.epoch == leading.epoch
                    && !leading.independent
                    && group.numbers.last().is_some_and(|before| self.is_joined(*before, number))
            });
            let (start, micros) = (leading.start.rescale(MICROS), leading.micros());
            match groups.last_mut().filter(|_| continues) {
                Some(group) => {
                    group.numbers.push(number);
                    group.present.iter_mut().zip(&present).for_each(|(known, here)| *known |= *here);
                    group.micros = start + micros - group.start;
                }
                // Pictures that nothing before them can be joined to are shown from the next ones on.
                None if lead.kind == TrackKind::Video && !leading.independent => {}
                None => groups.push(Group { numbers: vec![number], epoch: leading.epoch, present, start, micros }),
            }
        }
        groups
    }

    /// The segment that says what holds for all: of pictures, when there are some.
    fn leader(&self, number: u64) -> Option<(&RecordedTrack, &RecordedSegment)> {
        let found = || self.tracks.iter().filter_map(|track| Some((track, track.media(number)?.0)));
        found().find(|(track, _)| track.kind == TrackKind::Video).or_else(|| found().next())
    }

    /// Whether the bytes of a segment follow those of the one before it, in every track that has it.
    fn is_joined(&self, before: u64, number: u64) -> bool {
        self.tracks.iter().all(|track| match (track.media(before), track.media(number)) {
            (Some((_, one)), Some((_, next))) => one.is_followed_by(next),
            _ => true,
        })
    }

    fn asset_epochs(&self, groups: &[Group]) -> Vec<AssetEpoch> {
        let mut epochs = Vec::new();
        for (index, pair) in (1u32..).zip(groups.windows(2)) {
            let [before, group] = pair else { continue };
            if before.epoch != group.epoch {
                let inits = self.tracks.iter().filter_map(|track| {
                    let (init, first) = (track.init(group.epoch)?, track.epochs.first().map(|(.., init)| init)?);
                    (init != first).then(|| (asset_name(track), init.clone()))
                });
                epochs.push(AssetEpoch { first_segment: index, inits: inits.collect() });
            }
        }
        epochs
    }
}

fn asset_name(track: &RecordedTrack) -> String {
    format!("{}-1", track.name)
}

/// Leaves out the first and the last segment of each epoch when it lacks a track that the others have: what a publisher sent
/// of pictures before its first sound, or of one when it broke off. Players cannot go on over a hole in one track alone.
fn whole_ends(groups: Vec<Group>) -> Vec<Group> {
    let lacks =
        |group: &Group, other: &Group| group.present.iter().zip(&other.present).any(|(here, there)| *there && !*here);
    let neighbour = |index: Option<usize>, group: &Group| {
        index.and_then(|index| groups.get(index)).filter(|other| other.epoch == group.epoch)
    };
    let is_stub = |index: usize, group: &Group| match (
        neighbour(index.checked_sub(1), group),
        neighbour(index.checked_add(1), group),
    ) {
        (Some(_), Some(_)) => false,
        (Some(only), None) | (None, Some(only)) => lacks(group, only),
        (None, None) => groups.iter().any(|other| lacks(group, other)),
    };
    let stubs: Vec<bool> = groups.iter().enumerate().map(|(index, group)| is_stub(index, group)).collect();
    groups.into_iter().zip(stubs).filter(|(_, is_stub)| !is_stub).map(|(group, _)| group).collect()
}

/// Says where the timeline goes on without media.
fn with_holes(groups: Vec<Group>) -> Vec<Group> {
    let mut all: Vec<Group> = Vec::with_capacity(groups.len());
    for group in groups {
        if let Some(last) = all.last() {
            let start = last.start + last.micros;
            if group.start - start >= GAP_MICROS_MIN {
                let present = vec![false; group.present.len()];
                let micros = group.start - start;
                let epoch = last.epoch;
                all.push(Group { numbers: Vec::new(), epoch, present, start, micros });
            }
        }
        all.push(group);
    }
    all
}

/// Whether players can go over to these pictures from the leading ones at each segment, in epochs that have them.
fn is_switchable(track: &RecordedTrack, index: usize, groups: &[Group]) -> bool {
    let is_known = |epoch: u32| track.epochs.iter().any(|(number, ..)| *number == epoch);
    let begins_well = |group: &Group| {
        let first = group.numbers.first().and_then(|number| track.media(*number));
        group.present.get(index) == Some(&true) && first.is_some_and(|(segment, _)| segment.independent)
    };
    groups.iter().filter(|group| !group.numbers.is_empty() && is_known(group.epoch)).all(begins_well)
}

fn asset_track(track: &RecordedTrack, index: usize, groups: &[Group]) -> Result<Option<AssetTrack>, InvalidConfig> {
    let is_here = groups.iter().any(|group| group.present.get(index) == Some(&true));
    let Some((_, config, init)) = track.epochs.first().filter(|_| is_here) else { return Ok(None) };
    Ok(Some(AssetTrack {
        name: asset_name(track),
        kind: track.kind,
        codec: config.codec_string()?,
        timescale: config.timescale,
        reorder: config.reorder,
        video: config.video_properties(track.frame_rate)?,
        audio: config.audio_properties()?,
        init: init.clone(),
        sample_table: None,
        spans: track.spans.clone(),
        segments: groups.iter().map(|group| asset_segment(track, config.timescale, group)).collect(),
        key_frames: Vec::new(),
    }))
}

/// A group of a track as one segment.
fn asset_segment(track: &RecordedTrack, timescale: u32, group: &Group) -> Segment {
    let mut found: Vec<(&RecordedSegment, Place)> = Vec::new();
    for (segment, place) in group.numbers.iter().filter_map(|number| track.media(*number)) {
        if found.last().is_none_or(|(_, last)| last.is_followed_by(place)) {
            found.push((segment, place));
        }
    }
    let Some((first, place)) = found.first() else {
        let start = Ticks { value: group.start, timescale: MICROS };
        let duration = Ticks { value: group.micros, timescale: MICROS }.rescale(timescale);
        let duration = u32::try_from(duration).unwrap_or(u32::MAX);
        return Segment { start: start.rescale(timescale), duration, bytes: 0, source: SegmentBytes::Gap };
    };
    let ticks = |segment: &RecordedSegment| {
        Ticks { value: i64::from(segment.duration), timescale: segment.start.timescale }.rescale(timescale)
    };
    let duration: i64 = found.iter().map(|(segment, _)| ticks(segment)).sum();
    let bytes = found.iter().fold(0u32, |sum, (_, place)| sum.saturating_add(place.bytes));
    Segment {
        start: first.start.rescale(timescale),
        duration: u32::try_from(duration).unwrap_or(u32::MAX),
        bytes,
        source: SegmentBytes::Span { span: place.span, offset: place.offset, bytes },
    }
}
