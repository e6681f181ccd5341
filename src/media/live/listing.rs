//! A broadcast's renditions as manifests list them: what they are now, and what their segments so far weigh.
use bytes::Bytes;

use super::broadcast::{Broadcast, Rendition};
use super::periods::{Cadence, Period};
use super::ring::LiveSegment;
use crate::domain::asset::{AssetTrack, Segment, SegmentBytes, Ticks};
use crate::media::frames::{InvalidConfig, TrackConfig};

/// Segments without media in a row after which a rung is not offered any more.
const GAPS_MAX: usize = 8;

/// A period as it is listed.
#[derive(Debug)]
pub struct ListedPeriod {
    /// Where it begins and how it goes on.
    pub period: Period,
    /// Number of the first segment of the tracks below.
    pub first: u64,
    /// The renditions of its epoch, with their segments that are within the window: whole ones, unless they can be told in
    /// advance.
    pub tracks: Vec<AssetTrack>,
    /// How long after their segments' starts these are there, microseconds: the latest of all renditions.
    pub delay_micros: i64,
    /// Whether decoding can start with each of the segments.
    pub independent: bool,
}

/// The periods that have something to be listed.
pub fn periods(broadcast: &Broadcast) -> Result<Vec<ListedPeriod>, InvalidConfig> {
    let mut listed = Vec::new();
    let mut periods = broadcast.periods().iter().peekable();
    while let Some(period) = periods.next() {
        let end = periods.peek().map_or(u64::MAX, |next| next.first);
        listed.extend(listed_period(broadcast, period, end)?);
    }
    // The one behind it may have begun without anything to be listed: a last period that ends is the end for players.
    if let Some(last) = listed.last_mut().filter(|_| !broadcast.has_ended()) {
        last.period.end_micros = None;
    }
    Ok(listed)
}

fn listed_period(broadcast: &Broadcast, period: &Period, end: u64) -> Result<Option<ListedPeriod>, InvalidConfig> {
    if period.cadence == Cadence::Unknown {
        return Ok(None);
    }
    let Some(epoch) = broadcast.epochs().find(|epoch| epoch.number == period.epoch) else { return Ok(None) };
    let is_told = matches!(period.cadence, Cadence::Regular { .. });
    let is_listed = |segment: &&LiveSegment| {
        let is_here = (period.first..end).contains(&segment.beginning.number);
        is_here && segment.beginning.epoch == period.epoch && (segment.is_complete || is_told && segment.size > 0)
    };
    let with_media = |(index, rendition): (usize, &Rendition)| {
        let is_filled = rendition.ring.segments().filter(is_listed).any(|segment| segment.size > 0);
        epoch.tracks.get(index).is_some_and(Option::is_some) && is_filled && is_ready(rendition)
    };
    let renditions: Vec<_> =
        broadcast.renditions().iter().enumerate().filter(|(index, it)| with_media((*index, it))).collect();
    let firsts = renditions.iter().filter_map(|(_, rendition)| rendition.ring.segments().find(is_listed));
    let Some(first) = firsts.map(|segment| segment.beginning.number).max() else { return Ok(None) };
    let mut tracks = Vec::new();
    for (index, rendition) in &renditions {
        let rate = broadcast.frame_rate_of(*index).unwrap_or((0, 1));
        let Some((config, init)) = epoch.tracks.get(*index).and_then(Option::as_ref) else { continue };
        let segments = rendition.ring.segments().filter(is_listed).filter(|one| one.beginning.number >= first);
        let segments = segments.map(|segment| weighed(segment, config.timescale)).collect();
        tracks.push(described((config, init), (rendition, segments), rate)?);
    }
    let delay_micros = renditions.iter().filter_map(|(_, rendition)| rendition.delay_micros).max().unwrap_or(0);
    let mut listed = renditions.iter().flat_map(|(_, rendition)| rendition.ring.segments().filter(is_listed));
    let independent = listed.all(|segment| segment.is_gap() || segment.beginning.independent);
    Ok(Some(ListedPeriod { period: *period, first, tracks, delay_micros, independent }))
}

/// The renditions that have media, pictures first; empty while there is nothing to be listed.
pub fn tracks(broadcast: &Broadcast) -> Result<Vec<AssetTrack>, InvalidConfig> {
    let listed = broadcast.target_secs().is_some();
    let renditions = broadcast.renditions().iter().enumerate().filter(|_| listed);
    let mut tracks = Vec::new();
    for (index, rendition) in renditions {
        let rate = broadcast.frame_rate_of(index).unwrap_or((0, 1));
        tracks.extend(track(broadcast, (index, rendition), rate)?);
    }
    Ok(tracks)
}

fn track(
    broadcast: &Broadcast,
    (index, rendition): (usize, &Rendition),
    frame_rate: (u32, u32),
) -> Result<Option<AssetTrack>, InvalidConfig> {
    // As the newest media are that can be fetched: who has just come is not in the media playlist yet.
    let newest =
        rendition.ring.segments().rev().find(|segment| segment.size > 0).map(|segment| segment.beginning.epoch);
    let mut epochs = broadcast.epochs().filter(|epoch| Some(epoch.number) == newest);
    let Some((config, init)) = epochs.find_map(|epoch| epoch.tracks.get(index)?.as_ref()) else { return Ok(None) };
    let begun = rendition.ring.segments().filter(|segment| segment.size > 0 || segment.is_complete);
    let segments: Vec<Segment> = begun.map(|segment| weighed(segment, config.timescale)).collect();
    if segments.iter().all(Segment::is_gap) || !is_kept_up(rendition) {
        return Ok(None);
    }
    Ok(Some(described((config, init), (rendition, segments), frame_rate)?))
}

/// A rung is shown to players once it has a whole segment: some take one without for broken.
fn is_ready(rendition: &Rendition) -> bool {
    !rendition.is_rung() || rendition.ring.segments().any(|segment| segment.is_complete && !segment.is_gap())
}

/// Who comes anew is not sent to a rung that was given up.
fn is_kept_up(rendition: &Rendition) -> bool {
    let whole = rendition.ring.segments().rev().filter(|segment| segment.is_complete);
    !rendition.is_rung() || whole.take(GAPS_MAX).any(|segment| segment.size > 0)
}

fn described(
    (config, init): (&TrackConfig, &Bytes),
    (rendition, segments): (&Rendition, Vec<Segment>),
    frame_rate: (u32, u32),
) -> Result<AssetTrack, InvalidConfig> {
    Ok(AssetTrack {
        name: rendition.name.clone(),
        kind: rendition.kind,
        codec: config.codec_string()?,
        timescale: config.timescale,
        reorder: config.reorder,
        video: config.video_properties(frame_rate)?,
        audio: config.audio_properties()?,
        init: init.clone(),
        sample_table: None,
        spans: Vec::new(),
        segments,
        key_frames: Vec::new(),
    })
}

fn weighed(segment: &LiveSegment, timescale: u32) -> Segment {
    let bytes = segment.size;
    let start = segment.beginning.start;
    let duration = Ticks { value: i64::from(segment.duration), timescale: start.timescale }.rescale(timescale);
    Segment {
        start: start.rescale(timescale),
        duration: u32::try_from(duration).unwrap_or(u32::MAX),
        bytes,
        source: match bytes == 0 || segment.is_gap() {
            true => SegmentBytes::Gap,
            false => SegmentBytes::Span { span: 0, offset: 0, bytes },
        },
    }
}
