//! What a ladder's units are decoded from.
use std::collections::BTreeSet;

use crate::domain::asset::{Asset, AssetTrack, SegmentBytes, TIMELINE_ORIGIN_SECS, Ticks};
use crate::domain::ladder::{Chunk, LadderPlan, PictureTreatment, Reading};
use crate::media::work::{SourceFile, StillsTask};

/// The source of a ladder.
#[derive(Debug, Clone)]
pub(super) struct LadderSource {
    /// The original.
    whole: Vec<SourceFile>,
    /// Spans into which its pictures were put as they came.
    spans: Option<SpanSource>,
}

/// Pictures in spans.
#[derive(Debug, Clone)]
pub(super) struct SpanSource {
    track: AssetTrack,
    /// Where the spans are.
    files: Vec<SourceFile>,
    /// Later epochs: their first segments, and the lengths of their initialisation segments, which spans begin with.
    epochs: Vec<(u32, u64)>,
}

impl SpanSource {
    /// The pictures of this track of an asset.
    pub(super) fn new(asset: &Asset, track: &AssetTrack, files: Vec<SourceFile>) -> Self {
        let init_bytes = |epoch: usize| asset.init_of(epoch, &track.name).unwrap_or(&track.init).len() as u64;
        let numbered = asset.epochs.iter().enumerate();
        let epochs = numbered.map(|(index, epoch)| (epoch.first_segment, init_bytes(index + 1))).collect();
        Self { track: track.clone(), files, epochs }
    }

    /// What the first picture is made from, and its length in milliseconds.
    pub(super) fn beginning(&self) -> Option<(Vec<SourceFile>, u64)> {
        let first = self.track.segments.iter().position(|segment| !segment.is_gap())?;
        let duration = i64::from(self.track.segments.get(first)?.duration);
        let duration = Ticks { value: duration, timescale: self.track.timescale };
        let files = self.files_of(std::iter::once(u32::try_from(first).ok()?))?;
        Some((files, u64::try_from(duration.rescale(1000)).ok()?))
    }

    /// The task, from the segments alone that its moments lie in; moments of another epoch than the first one are left out.
    pub(super) fn stills_task(&self, plan: &LadderPlan, task: StillsTask) -> Option<StillsTask> {
        let segment_at = |at_ms: u64| {
            let at = Ticks { value: i64::try_from(at_ms).ok()?, timescale: 1000 }.rescale(plan.timescale);
            let after = plan.cuts.partition_point(|cut| *cut <= plan.cuts.first().map_or(0, |first| first + at));
            u32::try_from(after.checked_sub(1)?).ok()
        };
        let epoch_of = |segment: u32| self.epochs.partition_point(|(first, _)| *first <= segment);
        let mut found: Vec<_> =
            task.moments.iter().filter_map(|moment| Some((segment_at(moment.1)?, moment.clone()))).collect();
        let epoch = epoch_of(found.first()?.0);
        found.retain(|(segment, _)| epoch_of(*segment) == epoch);
        let segments: BTreeSet<u32> = found.iter().map(|(segment, _)| *segment).collect();
        let source = self.files_of(segments)?;
        let treatment = PictureTreatment { track: 0, reading: Reading::FromStart, ..task.treatment };
        let moments = found.into_iter().map(|(_, moment)| moment).collect();
        Some(StillsTask { source, moments, treatment, start_ns: ORIGIN_NS, ..task })
    }

    /// A small file of these segments: their initialisation segment, and their bytes.
    fn files_of(&self, segments: impl IntoIterator<Item = u32>) -> Option<Vec<SourceFile>> {
        let mut ranges: Vec<SourceFile> = Vec::new();
        for number in segments {
            let segment = self.track.segments.get(number as usize)?;
            let SegmentBytes::Span { span, offset, bytes } = &segment.source else { return None };
            let file = self.files.get(*span as usize)?;
            let range = |first, bytes| SourceFile { first, bytes, ..file.clone() };
            if ranges.is_empty() {
                ranges.push(range(0, self.init_bytes(number)));
            }
            let follows = |range: &&mut SourceFile| {
                (&range.path, &range.key) == (&file.path, &file.key) && range.first + range.bytes == *offset
            };
            match ranges.last_mut().filter(follows) {
                Some(range) => range.bytes += u64::from(*bytes),
                None => ranges.push(range(*offset, u64::from(*bytes))),
            }
        }
        Some(ranges)
    }

    fn init_bytes(&self, segment: u32) -> u64 {
        let epoch = self.epochs.iter().rev().find(|(first, _)| *first <= segment);
        epoch.map_or(self.track.init.len() as u64, |(_, bytes)| *bytes)
    }
}

/// Presentation time of the timeline's origin in what was put on the timeline already, nanoseconds.
pub(super) const ORIGIN_NS: i64 = TIMELINE_ORIGIN_SECS as i64 * 1_000_000_000;

impl LadderSource {
    /// Pictures from the original.
    pub(super) fn of_file(whole: Vec<SourceFile>) -> Self {
        Self { whole, spans: None }
    }

    /// Pictures from spans.
    pub(super) fn of_spans(whole: Vec<SourceFile>, spans: SpanSource) -> Self {
        Self { whole, spans: Some(spans) }
    }

    /// All of it, for sound and still pictures.
    pub(super) fn whole(&self) -> Vec<SourceFile> {
        self.whole.clone()
    }

    /// Where the timeline begins in [`Self::whole`].
    pub(super) fn sound_start_ns(&self, plan: &LadderPlan) -> i64 {
        if self.spans.is_some() { 0 } else { plan.start_ns }
    }

    /// How pictures are treated: spans hold one track.
    pub(super) fn treatment(&self, plan: &LadderPlan) -> Option<PictureTreatment> {
        let treatment = plan.treatment.clone()?;
        Some(if self.spans.is_some() { PictureTreatment { track: 0, ..treatment } } else { treatment })
    }

    /// What a chunk is decoded from: of spans exactly its segments, which make a small file of their own.
    pub(super) fn of_chunk(&self, chunk: Chunk) -> Option<Vec<SourceFile>> {
        match &self.spans {
            Some(spans) => spans.files_of(chunk.first_segment..chunk.first_segment.checked_add(chunk.segments)?),
            None => Some(self.whole.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::asset::{AssetEpoch, BlobKey, Segment, TrackKind};
    use crate::media::testing::empty_asset;

    fn track(segments: &[(u32, u64, u32)]) -> AssetTrack {
        let segment = |(span, offset, bytes): &(u32, u64, u32)| Segment {
            start: 0,
            duration: 1,
            bytes: *bytes,
            source: SegmentBytes::Span { span: *span, offset: *offset, bytes: *bytes },
        };
        AssetTrack {
            name: "v0-1".into(),
            kind: TrackKind::Video,
            codec: "avc1.64001f".into(),
            timescale: 1000,
            reorder: 0,
            video: None,
            audio: None,
            init: "0123456789".into(),
            sample_table: None,
            spans: vec![BlobKey::new("a"), BlobKey::new("b")],
            segments: segments.iter().map(segment).collect(),
            key_frames: Vec::new(),
        }
    }

    #[test]
    fn a_chunk_of_spans_is_a_small_file_of_its_own() {
        let track = track(&[(0, 10, 5), (0, 15, 5), (1, 10, 7)]);
        let epochs = vec![AssetEpoch { first_segment: 2, inits: vec![("v0-1".into(), "012345678901".into())] }];
        let asset = Asset { epochs, ..empty_asset() };
        let spans = SpanSource::new(&asset, &track, vec![SourceFile::local("/a", 0, 0), SourceFile::local("/b", 0, 0)]);
        let source = LadderSource::of_spans(Vec::new(), spans);
        let ranges = |first_segment, segments| -> Option<Vec<(String, u64, u64)>> {
            let files = source.of_chunk(Chunk { first_segment, segments })?;
            Some(files.into_iter().map(|file| (file.path.display().to_string(), file.first, file.bytes)).collect())
        };
        let range = |path: &str, first, bytes| (path.to_owned(), first, bytes);
        assert_eq!(ranges(0, 1).unwrap(), [range("/a", 0, 15)]);
        assert_eq!(ranges(1, 2).unwrap(), [range("/a", 0, 10), range("/a", 15, 5), range("/b", 10, 7)]);
        assert_eq!(ranges(2, 1).unwrap(), [range("/b", 0, 12), range("/b", 10, 7)], "the epoch's own beginning");
        assert_eq!(ranges(2, 2), None);
    }
}
