//! A broadcast's renditions as manifests list them: what they are now, and what their segments so far weigh.
use super::broadcast::{Broadcast, Rendition};
use crate::domain::asset::{AssetTrack, Segment, SegmentBytes};
use crate::media::frames::InvalidConfig;

/// The renditions that have media, pictures first; empty while there is nothing to be listed.
pub fn tracks(broadcast: &Broadcast) -> Result<Vec<AssetTrack>, InvalidConfig> {
    let listed = broadcast.target_secs().is_some();
    let rate = broadcast.frame_rate().unwrap_or((0, 1));
    let renditions = broadcast.renditions().iter().enumerate().filter(|_| listed);
    let mut tracks = Vec::new();
    for (index, rendition) in renditions {
        tracks.extend(track(broadcast, (index, rendition), rate)?);
    }
    Ok(tracks)
}

fn track(
    broadcast: &Broadcast,
    (index, rendition): (usize, &Rendition),
    frame_rate: (u32, u32),
) -> Result<Option<AssetTrack>, InvalidConfig> {
    let newest = broadcast.epochs().rev().find_map(|epoch| epoch.tracks.get(index)?.as_ref());
    let Some((config, init)) = newest else { return Ok(None) };
    let segments: Vec<Segment> = rendition.ring.segments().filter(|segment| segment.size > 0).map(weighed).collect();
    if segments.is_empty() {
        return Ok(None);
    }
    Ok(Some(AssetTrack {
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
    }))
}

fn weighed(segment: &super::ring::LiveSegment) -> Segment {
    let bytes = segment.size;
    Segment {
        start: segment.beginning.start.value,
        duration: segment.duration,
        bytes,
        source: SegmentBytes::Span { span: 0, offset: 0, bytes },
    }
}
