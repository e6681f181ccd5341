//! Where originals are, and which of them have been there for long.
use async_trait::async_trait;
use serde_json::json;

use super::CatalogStore;
use super::executor::CommitError;
use super::statement::{Statement, Transaction};
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::events::NewEvent;
use crate::domain::ids::VideoId;
use crate::domain::ports::{AgedOriginal, CatalogError, OriginalCatalog};
use crate::domain::time::Timestamp;
use crate::domain::video::OriginalState;

/// Most items of one answer.
const AGED_MAX: u32 = 200;
/// Name of the expectation that an original is where it was, and that nothing is about to read it.
const STATE: &str = "original";

/// Videos of which everything is made that was planned, and whose original has been in this state since before a time.
fn select_aged(state: OriginalState, before: Timestamp, limit: u32) -> Statement {
    let query = "SELECT v.id, v.asset_generation FROM videos v WHERE v.original = :state AND v.status = 'ready' \
        AND v.original_at <= :before AND v.created_at <= :before AND v.deleted_at IS NULL \
        AND NOT EXISTS (SELECT 1 FROM ladders l WHERE l.video_id = v.id AND l.state = 'open') \
        ORDER BY v.original_at, v.created_at, v.id LIMIT :limit";
    Statement::new(query).bind("state", state).bind("before", before).bind("limit", limit.min(AGED_MAX))
}

fn select_source(id: &VideoId) -> Statement {
    let query = "SELECT blob_key, bytes FROM video_sources WHERE video_id = :video ORDER BY position";
    Statement::new(query).bind("video", id)
}

fn note(id: &VideoId, (from, to): (OriginalState, OriginalState), now: Timestamp) -> Statement {
    let update = "UPDATE videos SET original = :to, original_at = :now, revision = revision + :changes \
        WHERE id = :video AND original = :from AND status = 'ready' AND deleted_at IS NULL \
        AND NOT EXISTS (SELECT 1 FROM ladders l WHERE l.video_id = :video AND l.state = 'open')";
    let update = Statement::new(update).bind("to", to).bind("from", from).bind("now", now);
    update.bind("changes", from != to).bind("video", id).one_row(STATE)
}

/// The video's original is its no more.
fn disown(id: &VideoId) -> [Statement; 2] {
    let blobs = "DELETE FROM blobs WHERE owner_kind = 'video' AND owner_id = :video \
        AND blob_key IN (SELECT s.blob_key FROM video_sources s WHERE s.video_id = :video)";
    let source = "DELETE FROM video_sources WHERE video_id = :video";
    [blobs, source].map(|sql| Statement::new(sql).bind("video", id))
}

fn set_tier(id: &VideoId) -> Statement {
    let update = "UPDATE blobs SET tier = 'archive' WHERE owner_kind = 'video' AND owner_id = :video \
        AND blob_key IN (SELECT s.blob_key FROM video_sources s WHERE s.video_id = :video)";
    Statement::new(update).bind("video", id)
}

#[async_trait]
impl OriginalCatalog for CatalogStore {
    async fn aged_originals(
        &self,
        state: OriginalState,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<AgedOriginal>, CatalogError> {
        let mut aged = Vec::new();
        for row in self.rows(select_aged(state, before, limit)).await? {
            let video_id: VideoId = row.id("id")?;
            let source = self.rows(select_source(&video_id)).await?;
            let extent = |row: &super::executor::Row| {
                Ok(Extent { key: BlobKey(row.string("blob_key")?), bytes: row.number("bytes")? })
            };
            let extents = source.iter().map(extent).collect::<Result<_, CatalogError>>()?;
            aged.push(AgedOriginal { video_id, asset_generation: row.number("asset_generation")?, extents });
        }
        Ok(aged)
    }

    async fn move_original(
        &self,
        video: &VideoId,
        (from, to): (OriginalState, OriginalState),
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut transaction = Transaction::new().then(note(video, (from, to), now));
        transaction = match to {
            OriginalState::Moving | OriginalState::Archived => transaction.then(set_tier(video)),
            OriginalState::Deleted => transaction.then_all(disown(video)),
            OriginalState::Stored => transaction,
        };
        if from != to {
            let payload = json!({ "video_id": video, "original": to });
            transaction = transaction.event(NewEvent::new("video.original_moved", video, payload), now);
        }
        match self.commit(transaction).await {
            Ok(_) => Ok(()),
            Err(CommitError::Unmet(_)) => Err(CatalogError::Stale),
            Err(error) => Err(error.into()),
        }
    }
}
