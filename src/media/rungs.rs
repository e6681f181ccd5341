//! Tracks out of chunks: what units of a ladder have made, put together to one track per rung.
use std::collections::BTreeMap;

use super::index::TRICK_PLAY_DISTANCE_MS;
use super::packager::segment_bytes;
use super::records::{SampleRecord, read_records, span_offset};
use crate::domain::asset::{AssetTrack, BlobKey, KeyFrame, Segment, SegmentBytes, TrackKind};
use crate::domain::ladder::{LadderPlan, MadeRung, Rung};

/// The chunks of a rung that are made, by number.
pub type MadeChunks<'a> = BTreeMap<u32, &'a MadeRung>;

/// A track, and the table of its key frames, to be stored under the track's [`AssetTrack::sample_table`].
#[derive(Debug, Clone, PartialEq)]
pub struct RungTrack {
    /// The track.
    pub track: AssetTrack,
    /// Sample records of its key frames.
    pub key_frames: Vec<u8>,
    /// Whether all chunks are made.
    pub is_whole: bool,
}

/// What a unit has made does not fit to its plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("chunk {chunk} of {rung} does not fit to its plan")]
pub struct Misfit {
    rung: String,
    chunk: u32,
}

/// Puts a rung together; segments of chunks that are not made yet are listed to be made, their size being what they may
/// have at most; key frames are listed once there are all. `None` before any chunk is made. The table of key frames is to
/// lie at `table`.
pub fn rung_track(
    plan: &LadderPlan,
    rung: &Rung,
    made: &MadeChunks,
    table: BlobKey,
) -> Result<Option<RungTrack>, Misfit> {
    let Some(first) = made.values().next() else { return Ok(None) };
    let mut building = Building::new(plan, rung);
    for (number, chunk) in (0u32..).zip(&plan.chunks) {
        building.leave_out(chunk.first_segment);
        let taken = match made.get(&number) {
            Some(chunk) => building.take(number, chunk),
            None => building.leave_open(number),
        };
        taken.ok_or_else(|| Misfit { rung: rung.name.clone(), chunk: number })?;
    }
    building.leave_out(u32::try_from(plan.cuts.len().saturating_sub(1)).unwrap_or(u32::MAX));
    let is_whole = made.len() == plan.chunks.len();
    let Building { spans, segments, key_frames, table: records, .. } = building;
    let (key_frames, records) = if is_whole { (key_frames, records) } else { Default::default() };
    let track = AssetTrack {
        name: rung.name.clone(),
        kind: TrackKind::Video,
        codec: first.codec.clone(),
        timescale: plan.timescale,
        reorder: first.reorder,
        video: Some(first.video.clone()),
        audio: None,
        init: first.init.clone(),
        sample_table: Some(table),
        spans,
        segments,
        key_frames,
    };
    Ok(Some(RungTrack { track, key_frames: records, is_whole }))
}

/// A track under construction.
struct Building<'a> {
    plan: &'a LadderPlan,
    rung: &'a Rung,
    spans: Vec<BlobKey>,
    segments: Vec<Segment>,
    key_frames: Vec<KeyFrame>,
    table: Vec<u8>,
}

impl<'a> Building<'a> {
    fn new(plan: &'a LadderPlan, rung: &'a Rung) -> Self {
        Self { plan, rung, spans: Vec::new(), segments: Vec::new(), key_frames: Vec::new(), table: Vec::new() }
    }

    /// Up to this segment the source has no pictures.
    fn leave_out(&mut self, until: u32) {
        let missing = self.segments.len()..until as usize;
        for cut in missing.filter_map(|number| self.plan.cuts.get(number..number + 2)) {
            let &[start, end] = cut else { continue };
            let duration = u32::try_from(end - start).unwrap_or(u32::MAX);
            self.segments.push(Segment { start, duration, bytes: 0, source: SegmentBytes::Gap });
        }
    }

    fn take(&mut self, number: u32, made: &MadeRung) -> Option<()> {
        let cuts = self.plan.cuts_of(number)?;
        let span = u16::try_from(self.spans.len()).ok()?;
        if made.segments.len() + 1 != cuts.len() {
            return None;
        }
        self.spans.push(made.span.key.clone());
        for segment in &made.segments {
            let source =
                SegmentBytes::Span { span: u32::from(span), offset: u64::from(segment.offset), bytes: segment.bytes };
            let (start, duration, bytes) = (segment.start, segment.duration, segment.bytes);
            self.segments.push(Segment { start, duration, bytes, source });
        }
        let end = *cuts.last()?;
        self.end_key_frame(*cuts.first()?);
        for record in read_records(&made.key_frames) {
            self.take_key_frame(span, record)?;
        }
        self.end_key_frame(end);
        Some(())
    }

    fn take_key_frame(&mut self, span: u16, record: SampleRecord) -> Option<()> {
        let distance = TRICK_PLAY_DISTANCE_MS * i64::from(self.plan.timescale) / 1000;
        let start = record.pts();
        if self.key_frames.last().is_some_and(|last| start - last.start < distance) {
            return Some(());
        }
        self.end_key_frame(start);
        let first = u64::try_from(self.key_frames.len()).ok()?;
        let record = SampleRecord { offset: span_offset(span, u32::try_from(record.offset).ok()?), ..record };
        record.append_to(&mut self.table).ok()?;
        let bytes = segment_bytes(TrackKind::Video, 1, u64::from(record.bytes))?;
        let source = SegmentBytes::Virtual { first, samples: 1 };
        self.key_frames.push(KeyFrame { start, duration: 0, bytes, source });
        Some(())
    }

    /// The last key frame is shown until then.
    fn end_key_frame(&mut self, at: i64) {
        if let Some(last) = self.key_frames.last_mut() {
            last.duration = u32::try_from(at - last.start).unwrap_or(u32::MAX);
        }
    }

    fn leave_open(&mut self, number: u32) -> Option<()> {
        for cut in self.plan.cuts_of(number)?.windows(2) {
            let &[start, end] = cut else { continue };
            let duration = u32::try_from(end - start).ok()?;
            let bits =
                u64::from(self.rung.bits_per_sec_max) * u64::from(duration) / u64::from(self.plan.timescale.max(1));
            let bytes = u32::try_from(bits / 8).unwrap_or(u32::MAX);
            self.segments.push(Segment { start, duration, bytes, source: SegmentBytes::Make { chunk: number } });
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::asset::{Extent, VideoProperties};
    use crate::domain::ladder::{Chunk, Encoder, RungCodec, SpanSegment};

    fn rung() -> Rung {
        Rung {
            name: "v360-1".into(),
            codec: RungCodec::H264,
            width: 640,
            height: 360,
            bits_per_sec_max: 800_000,
            buffer_ms: 1000,
            quality: 23,
            preset: "veryfast".into(),
            encoder: Encoder { name: "x264enc".into(), version: "1".into() },
        }
    }

    fn plan() -> LadderPlan {
        LadderPlan {
            generation: 1,
            timescale: 1000,
            start_ns: 0,
            cuts: vec![1000, 5000, 9000, 11_000],
            chunks: vec![Chunk { first_segment: 0, segments: 2 }, Chunk { first_segment: 2, segments: 1 }],
            treatment: None,
            rungs: vec![rung()],
            first_rung: 0,
            sound: Vec::new(),
        }
    }

    fn made(number: u32, segments: &[(i64, u32)]) -> MadeRung {
        let mut key_frames = Vec::new();
        for (at, (start, _)) in (0u32..).zip(segments) {
            let dts = u64::try_from(*start).unwrap();
            let offset = u64::from(700 + 100 * at);
            let record = SampleRecord { offset, bytes: 50, dts, duration: 40, composition: 0, keyframe: true };
            record.append_to(&mut key_frames).unwrap();
        }
        let segment = |(at, (start, duration)): (u32, &(i64, u32))| SpanSegment {
            start: *start,
            duration: *duration,
            offset: 600 + 100 * at,
            bytes: 100,
        };
        MadeRung {
            name: "v360-1".into(),
            init: "init".into(),
            codec: "avc1.64001e".into(),
            reorder: 80,
            video: VideoProperties { width: 640, height: 360, rotation: 0, frame_rate: (25, 1) },
            span: Extent { key: BlobKey::new(format!("span-{number}")), bytes: 900 },
            first_segment: number * 2,
            segments: (0u32..).zip(segments).map(segment).collect(),
            key_frames: key_frames.into(),
            num_frames: 200,
        }
    }

    fn put_together(made: &[(u32, MadeRung)]) -> Option<RungTrack> {
        let made = made.iter().map(|(number, chunk)| (*number, chunk)).collect();
        rung_track(&plan(), &rung(), &made, BlobKey::new("keys")).unwrap()
    }

    #[test]
    fn chunks_become_one_track() {
        let (first, last) = (made(0, &[(1000, 4000), (5000, 4000)]), made(1, &[(9000, 2000)]));
        let whole = put_together(&[(0, first), (1, last)]).unwrap();
        assert!(whole.is_whole);
        assert_eq!(whole.track.spans, [BlobKey::new("span-0"), BlobKey::new("span-1")]);
        assert_eq!(whole.track.duration_ticks(), 10_000);
        assert_eq!(whole.track.segments[2].source, SegmentBytes::Span { span: 1, offset: 600, bytes: 100 });
        let shown: Vec<_> = whole.track.key_frames.iter().map(|key| (key.start, key.duration)).collect();
        assert_eq!(shown, [(1000, 4000), (5000, 4000), (9000, 2000)]);
        let places: Vec<u64> = read_records(&whole.key_frames).map(|record| record.offset).collect();
        assert_eq!(places, [700, 800, span_offset(1, 700)]);
    }

    #[test]
    fn what_is_not_made_is_listed_at_its_largest() {
        let early = put_together(&[(1, made(1, &[(9000, 2000)]))]).unwrap();
        assert!(!early.is_whole);
        assert_eq!(early.track.spans, [BlobKey::new("span-1")]);
        let sources: Vec<_> = early.track.segments.iter().map(|segment| segment.source.clone()).collect();
        let make = SegmentBytes::Make { chunk: 0 };
        assert_eq!(sources, [make.clone(), make, SegmentBytes::Span { span: 0, offset: 600, bytes: 100 }]);
        assert_eq!((early.track.segments[0].bytes, early.track.duration_ticks()), (400_000, 10_000));
        assert!(early.track.key_frames.is_empty() && early.key_frames.is_empty(), "trick play is of the whole");
        assert!(put_together(&[]).is_none());
    }

    #[test]
    fn a_chunk_with_other_segments_than_planned_is_refused() {
        let odd = made(1, &[(9000, 1000), (10_000, 1000)]);
        let made = BTreeMap::from([(1, &odd)]);
        assert!(rung_track(&plan(), &rung(), &made, BlobKey::new("keys")).is_err());
    }
}
