//! Originals that have been kept for long: they go to the archive, or for good, as the operator has set. A move is: a copy that was read
//! back, a note of it in the catalog, the deletion where it was, a second note. Whatever is cut off is taken up by the next round,
//! and at every moment the original is in one of both places whole.
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{JanitorContext, SweepError};
use crate::domain::asset::{Asset, SegmentBytes};
use crate::domain::ports::{AgedOriginal, Archive, AssetStore, BlobError, CatalogError};
use crate::domain::time::Timestamp;
use crate::domain::video::OriginalState;

/// Originals looked at in one query.
const ORIGINALS_AT_ONCE: u32 = 16;
/// After so many failures in a round the rest waits for the next one: the store does not work.
const FAILURES_MAX: u32 = 3;
/// No further one is begun in a round that has gone on for this long: the janitor has more to do.
const BEGUN_WITHIN: Duration = Duration::from_secs(20);

/// What becomes of originals.
#[derive(Clone)]
pub struct OriginalsPolicy {
    /// Where they are moved to; `None` when there is no archive.
    pub archive: Option<Arc<dyn Archive>>,
    /// Says what is played of an original.
    pub assets: Arc<dyn AssetStore>,
    /// How long they stay where they were uploaded to; `None`: for ever.
    pub retention: Option<Duration>,
    /// Whether they are deleted then, instead of moved.
    pub deletes: bool,
    /// How long they stay in the archive; `None`: for ever.
    pub archive_retention: Option<Duration>,
}

/// What one round did to originals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OriginalsReport {
    /// Moved to the archive.
    pub archived: u64,
    /// Bytes of these.
    pub archived_bytes: u64,
    /// Deleted.
    pub deleted: u64,
}

/// Whether players are given bytes of the original, or something is still to be made of it.
fn is_played(asset: &Asset) -> bool {
    let needs = |bytes: &SegmentBytes| matches!(bytes, SegmentBytes::Virtual { .. } | SegmentBytes::Make { .. });
    asset.tracks.iter().flat_map(|track| &track.segments).any(|segment| needs(&segment.source))
}

impl OriginalsReport {
    pub(super) fn count(&self) {
        metrics::counter!("playhouse_originals_archived_total").increment(self.archived);
        metrics::counter!("playhouse_originals_archived_bytes_total").increment(self.archived_bytes);
        metrics::counter!("playhouse_originals_deleted_total").increment(self.deleted);
    }
}

impl JanitorContext {
    /// Does what is due, as far as there is time.
    pub(super) async fn age_originals(&self, now: Timestamp) -> OriginalsReport {
        let mut report = OriginalsReport::default();
        if let Err(error) = self.try_age_originals(now, &mut report).await {
            tracing::warn!(%error, "originals that are due are not known, will be asked for again");
        }
        report
    }

    async fn try_age_originals(&self, now: Timestamp, report: &mut OriginalsReport) -> Result<(), CatalogError> {
        let policy = &self.originals;
        let stays = [
            (OriginalState::Moving, policy.archive.as_ref().map(|_| Duration::ZERO)),
            (OriginalState::Stored, policy.retention),
            (OriginalState::Archived, policy.archive_retention),
        ];
        let mut failures = 0;
        for (state, stay) in stays {
            let Some(stay) = stay else { continue };
            for original in self.catalog.aged_originals(state, now - stay, ORIGINALS_AT_ONCE).await? {
                if failures >= FAILURES_MAX || self.clock.now().since(now) > BEGUN_WITHIN {
                    return Ok(());
                }
                if let Err(error) = self.age(&original, state, report).await {
                    failures += 1;
                    let video = &original.video_id;
                    tracing::warn!(video.id = %video, %error, "an original is not moved or deleted yet, will be repeated");
                }
            }
        }
        Ok(())
    }

    /// Does what is due with one that has been in this state for long.
    async fn age(
        &self,
        original: &AgedOriginal,
        state: OriginalState,
        report: &mut OriginalsReport,
    ) -> Result<(), SweepError> {
        let policy = &self.originals;
        match (state, policy.archive.as_deref()) {
            (OriginalState::Moving, Some(archive)) => self.end_move(archive, original, report).await,
            (OriginalState::Stored, _) if policy.deletes => self.delete_original(original, state, report).await,
            (OriginalState::Stored, Some(archive)) => self.move_to(archive, original, report).await,
            (OriginalState::Archived, Some(_)) => self.delete_original(original, state, report).await,
            _ => Ok(()),
        }
    }

    /// Leaves an original where it is until it has been there for as long again.
    async fn keep(&self, original: &AgedOriginal, state: OriginalState) -> Result<(), SweepError> {
        self.note(original, (state, state)).await.map(drop)
    }

    /// Whether it is noted; not when it is to be read just now, or when its video was deleted.
    async fn note(&self, original: &AgedOriginal, from_to: (OriginalState, OriginalState)) -> Result<bool, SweepError> {
        match self.catalog.move_original(&original.video_id, from_to, self.clock.now()).await {
            Ok(()) => Ok(true),
            Err(CatalogError::Stale) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn move_to(
        &self,
        archive: &dyn Archive,
        original: &AgedOriginal,
        report: &mut OriginalsReport,
    ) -> Result<(), SweepError> {
        for blob in &original.extents {
            match archive.store(blob).await {
                Err(BlobError::NotFound(key)) => {
                    tracing::error!(video.id = %original.video_id, blob.key = %key, "an original is missing and cannot be archived");
                    return self.keep(original, OriginalState::Stored).await;
                }
                outcome => outcome?,
            }
        }
        if original.extents.is_empty() {
            return self.keep(original, OriginalState::Stored).await;
        }
        if self.note(original, (OriginalState::Stored, OriginalState::Moving)).await? {
            self.end_move(archive, original, report).await?;
        }
        Ok(())
    }

    /// The copy is good: deletes the original where it was.
    async fn end_move(
        &self,
        archive: &dyn Archive,
        original: &AgedOriginal,
        report: &mut OriginalsReport,
    ) -> Result<(), SweepError> {
        for blob in &original.extents {
            archive.release(blob).await?;
        }
        if self.note(original, (OriginalState::Moving, OriginalState::Archived)).await? {
            tracing::info!(video.id = %original.video_id, "original archived");
            report.archived += 1;
            report.archived_bytes += original.extents.iter().map(|blob| blob.bytes).sum::<u64>();
        }
        Ok(())
    }

    /// Whether players are given bytes of it. So it is taken of a video whose asset index is gone.
    async fn is_needed(&self, original: &AgedOriginal) -> Result<bool, SweepError> {
        match self.originals.assets.load_asset(&original.video_id, original.asset_generation).await {
            Err(BlobError::NotFound(_)) => Ok(true),
            asset => Ok(is_played(&*asset?)),
        }
    }

    /// The catalog first: bytes that a crash leaves belong to nobody and are swept up.
    async fn delete_original(
        &self,
        original: &AgedOriginal,
        state: OriginalState,
        report: &mut OriginalsReport,
    ) -> Result<(), SweepError> {
        if original.extents.is_empty() || self.is_needed(original).await? {
            return self.keep(original, state).await;
        }
        if !self.note(original, (state, OriginalState::Deleted)).await? {
            return Ok(());
        }
        for blob in &original.extents {
            self.blobs.delete(&blob.key).await?;
        }
        tracing::info!(video.id = %original.video_id, "original deleted");
        report.deleted += 1;
        Ok(())
    }
}
