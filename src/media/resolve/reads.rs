//! Which ranges of which blobs hold the bytes of some samples, gathered into few reads.
use std::ops::Range;

use bytes::Bytes;

use crate::domain::asset::{Asset, AssetTrack, BlobKey};
use crate::domain::ports::ResolveError;
use crate::media::records::SampleRecord;

/// Bytes between two wanted ranges that are read along rather than read around: about what another read costs.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// A part of a sample that lies in one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    blob: usize,
    range: Range<u64>,
    /// Index of the run that reads it.
    run: usize,
}

/// One read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) key: BlobKey,
    pub(super) range: Range<u64>,
}

/// Pieces in the order of their samples, and the reads that bring them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadPlan {
    pub(super) pieces: Vec<Piece>,
    pub(super) runs: Vec<Run>,
}

impl ReadPlan {
    /// Plans reading the media bytes of these samples.
    pub(super) fn new(asset: &Asset, track: &AssetTrack, records: &[SampleRecord]) -> Result<Self, ResolveError> {
        let mut pieces = Vec::with_capacity(records.len());
        for record in records {
            locate(asset, track, record, &mut pieces).ok_or_else(out_of_range)?;
        }
        let key_of = |blob: usize| {
            if track.spans.is_empty() {
                asset.source.get(blob).map(|extent| &extent.key)
            } else {
                track.spans.get(blob)
            }
        };
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|index| pieces.get(*index).map(|piece| (piece.blob, piece.range.start)));
        let mut runs: Vec<Run> = Vec::new();
        let mut last_blob = usize::MAX;
        for index in order {
            let Some(piece) = pieces.get_mut(index) else { continue };
            let near = |run: &&mut Run| piece.blob == last_blob && piece.range.start <= run.range.end + GAP_BYTES_MAX;
            match runs.last_mut().filter(near) {
                Some(run) => run.range.end = run.range.end.max(piece.range.end),
                None => {
                    let key = key_of(piece.blob).ok_or_else(out_of_range)?.clone();
                    runs.push(Run { key, range: piece.range.clone() });
                }
            }
            last_blob = piece.blob;
            piece.run = runs.len() - 1;
        }
        Ok(Self { pieces, runs })
    }

    /// The bytes of a piece, out of what the runs brought.
    pub(super) fn cut<'a>(&self, piece: &Piece, reads: &'a [Bytes]) -> Option<&'a [u8]> {
        let start = self.runs.get(piece.run)?.range.start;
        let from = usize::try_from(piece.range.start.checked_sub(start)?).ok()?;
        let to = usize::try_from(piece.range.end.checked_sub(start)?).ok()?;
        reads.get(piece.run)?.get(from..to)
    }
}

fn out_of_range() -> ResolveError {
    ResolveError::Damaged("a sample lies outside its source".to_owned())
}

/// Appends the pieces of a sample: one, or several where it crosses from one extent to the next.
fn locate(asset: &Asset, track: &AssetTrack, record: &SampleRecord, pieces: &mut Vec<Piece>) -> Option<()> {
    let bytes = u64::from(record.bytes);
    if !track.spans.is_empty() {
        let start = record.offset & u64::from(u32::MAX);
        pieces.push(Piece { blob: (record.offset >> 32) as usize, range: start..start + bytes, run: 0 });
        return Some(());
    }
    let (mut from, mut left) = (record.offset, bytes);
    for (blob, extent) in asset.source.iter().enumerate() {
        if left == 0 {
            break;
        }
        if from < extent.bytes {
            let here = left.min(extent.bytes - from);
            pieces.push(Piece { blob, range: from..from + here, run: 0 });
            left -= here;
            from = 0;
        } else {
            from -= extent.bytes;
        }
    }
    (left == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::asset::Extent;
    use crate::media::testing;

    fn record(offset: u64, bytes: u32) -> SampleRecord {
        SampleRecord { offset, bytes, dts: 0, duration: 1, composition: 0, keyframe: true }
    }

    fn plan(extents: &[u64], records: &[SampleRecord]) -> Result<ReadPlan, ResolveError> {
        let mut asset = testing::empty_asset();
        let extent = |(index, bytes): (usize, &u64)| Extent { key: BlobKey::new(format!("{index}")), bytes: *bytes };
        asset.source = extents.iter().enumerate().map(extent).collect();
        ReadPlan::new(&asset, &testing::empty_track("v0-1"), records)
    }

    #[test]
    fn near_samples_share_a_read_and_far_ones_do_not() {
        let far = 10 + 2 * GAP_BYTES_MAX;
        let plan = plan(&[1 << 30], &[record(far, 10), record(0, 10), record(20, 10)]).unwrap();
        let ranges: Vec<_> = plan.runs.iter().map(|run| run.range.clone()).collect();
        assert_eq!(ranges, [0..30, far..far + 10]);
        assert_eq!(plan.pieces.iter().map(|piece| piece.run).collect::<Vec<_>>(), [1, 0, 0]);
    }

    #[test]
    fn a_sample_may_cross_extents() {
        let plan = plan(&[4, 0, 3, 9], &[record(2, 8)]).unwrap();
        let runs: Vec<_> = plan.runs.iter().map(|run| (run.key.as_str(), run.range.clone())).collect();
        assert_eq!(runs, [("0", 2..4), ("2", 0..3), ("3", 0..3)]);
        let reads: Vec<Bytes> = [&b"ab"[..], b"cde", b"fgh"].map(Bytes::from_static).to_vec();
        let joined: Vec<u8> = plan.pieces.iter().flat_map(|piece| plan.cut(piece, &reads).unwrap().to_vec()).collect();
        assert_eq!(joined, b"abcdefgh");
        assert!(super::ReadPlan::new(&testing::empty_asset(), &testing::empty_track("v"), &[record(0, 1)]).is_err());
    }
}
