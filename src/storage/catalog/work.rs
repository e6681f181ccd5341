//! Attempts at work on videos: one row of `transcode_jobs` per video and kind of work.
use async_trait::async_trait;

use super::CatalogStore;
use super::executor::CommitError;
use super::statement::{Statement, Transaction};
use crate::domain::ids::VideoId;
use crate::domain::ports::{CatalogError, WorkCatalog};
use crate::domain::time::Timestamp;
use crate::domain::transcode::{AttemptEnd, Attempts, WorkKind};

/// What the work is done for: the rendition made of the source as it is.
const RESOLUTION: &str = "source";

fn row_id(video: &VideoId, work: WorkKind) -> String {
    format!("{video}/{work}")
}

fn begin(video: &VideoId, work: WorkKind, now: Timestamp) -> Transaction {
    let insert = "INSERT INTO transcode_jobs (id, video_id, resolution, status, created_at, updated_at) \
        SELECT :id, v.id, :resolution, 'processing', :created_at, :updated_at FROM videos v \
        WHERE v.id = :video AND v.deleted_at IS NULL \
        ON CONFLICT (id) DO UPDATE SET updated_at = excluded.updated_at, status = excluded.status, \
        interrupted = transcode_jobs.interrupted + CASE WHEN transcode_jobs.status = 'processing' THEN 1 ELSE 0 END";
    let insert = Statement::new(insert)
        .bind("id", row_id(video, work))
        .bind("resolution", RESOLUTION)
        .bind("created_at", now)
        .bind("updated_at", now)
        .bind("video", video);
    Transaction::new().then(insert.one_row("video"))
}

/// Only an attempt that is under way can end.
fn end(video: &VideoId, work: WorkKind, end: AttemptEnd, now: Timestamp) -> Transaction {
    let (status, crashed) = match end {
        AttemptEnd::Answered => ("done", 0u32),
        AttemptEnd::Crashed => ("failed", 1),
        AttemptEnd::Withdrawn => ("queued", 0),
    };
    let update = "UPDATE transcode_jobs SET status = :status, crashed = crashed + :crashed, updated_at = :updated_at \
        WHERE id = :id AND status = 'processing'";
    let update = Statement::new(update)
        .bind("status", status)
        .bind("crashed", crashed)
        .bind("updated_at", now)
        .bind("id", row_id(video, work));
    Transaction::new().then(update)
}

#[async_trait]
impl WorkCatalog for CatalogStore {
    async fn begin_attempt(&self, video: &VideoId, work: WorkKind, now: Timestamp) -> Result<Attempts, CatalogError> {
        self.commit(begin(video, work, now)).await.map_err(|error| match error {
            CommitError::Unmet(_) => CatalogError::NotFound,
            error => error.into(),
        })?;
        let query = Statement::new("SELECT crashed, interrupted FROM transcode_jobs WHERE id = :id");
        let row = self.row(query.bind("id", row_id(video, work))).await?.ok_or(CatalogError::NotFound)?;
        Ok(Attempts { crashed: row.number("crashed")?, interrupted: row.number("interrupted")? })
    }

    async fn end_attempt(
        &self,
        video: &VideoId,
        work: WorkKind,
        how: AttemptEnd,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        self.commit(end(video, work, how, now)).await?;
        Ok(())
    }
}
