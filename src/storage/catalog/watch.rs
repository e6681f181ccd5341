//! Watch positions, view counts and session summaries.
use async_trait::async_trait;

use super::CatalogStore;
use super::statement::{Statement, Transaction};
use crate::domain::ids::{PlaybackSessionId, UserId, VideoId};
use crate::domain::playback::{SessionSummary, WatchPosition};
use crate::domain::ports::{CatalogError, WatchCatalog};
use crate::domain::time::Timestamp;

fn insert_session(id: &PlaybackSessionId, video: &VideoId, user: Option<&UserId>, opened_at: Timestamp) -> Statement {
    let insert = "INSERT INTO playback_sessions (id, video_id, user_id, opened_at) \
        VALUES (:id, :video, :user, :opened_at) ON CONFLICT (id) DO NOTHING";
    Statement::new(insert).bind("id", id).bind("video", video).bind("user", user).bind("opened_at", opened_at)
}

/// Counts the view of a stored session unless it is counted; no condition outside the database, so that it is safe to
/// repeat and to race.
fn count_view(id: &PlaybackSessionId, video: &VideoId) -> [Statement; 2] {
    let count = "UPDATE videos SET view_count = view_count + 1 WHERE id = :video AND EXISTS \
        (SELECT 1 FROM playback_sessions s WHERE s.id = :id AND s.viewed = 0)";
    let count = Statement::new(count).bind("video", video).bind("id", id);
    let mark = Statement::new("UPDATE playback_sessions SET viewed = 1 WHERE id = :id").bind("id", id);
    [count, mark]
}

fn save_summary(summary: &SessionSummary) -> Statement {
    let update = "UPDATE playback_sessions SET user_id = :user, opened_at = :opened_at, ended_at = :ended_at, \
        startup_ms = :startup_ms, watch_ms = :watch_ms, rebuffer_count = :rebuffer_count, rebuffer_ms = :rebuffer_ms, \
        average_bit_rate = :average_bit_rate, seek_count = :seek_count, position_ms = :position_ms \
        WHERE id = :id AND ended_at IS NULL";
    Statement::new(update)
        .bind("user", summary.user_id.as_ref())
        .bind("opened_at", summary.opened_at)
        .bind("ended_at", summary.ended_at)
        .bind("startup_ms", summary.startup_ms)
        .bind("watch_ms", summary.watch_ms)
        .bind("rebuffer_count", summary.rebuffer_count)
        .bind("rebuffer_ms", summary.rebuffer_ms)
        .bind("average_bit_rate", summary.average_bit_rate)
        .bind("seek_count", summary.seek_count)
        .bind("position_ms", summary.position_ms)
        .bind("id", &summary.id)
}

#[async_trait]
impl WatchCatalog for CatalogStore {
    async fn watch_position(&self, user: &UserId, video: &VideoId) -> Result<Option<WatchPosition>, CatalogError> {
        let query = "SELECT position_ms, watched_per_myriad, completed, updated_at FROM watch_history \
            WHERE user_id = :user AND video_id = :video";
        let row = self.row(Statement::new(query).bind("user", user).bind("video", video)).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(WatchPosition {
            user_id: user.clone(),
            video_id: video.clone(),
            position_ms: row.number("position_ms")?,
            watched_per_myriad: row.number("watched_per_myriad")?,
            completed: row.flag("completed")?,
            updated_at: row.time("updated_at")?,
        }))
    }

    async fn record_position(&self, position: WatchPosition) -> Result<(), CatalogError> {
        // A report that was overtaken on its way does not move the position back.
        let upsert = "INSERT INTO watch_history \
            (user_id, video_id, position_ms, watched_per_myriad, completed, created_at, updated_at) \
            VALUES (:user, :video, :position_ms, :watched_per_myriad, :completed, :updated_at, :updated_at) \
            ON CONFLICT (user_id, video_id) DO UPDATE SET position_ms = excluded.position_ms, \
            watched_per_myriad = excluded.watched_per_myriad, completed = excluded.completed, \
            updated_at = excluded.updated_at WHERE excluded.updated_at >= watch_history.updated_at";
        let upsert = Statement::new(upsert)
            .bind("user", &position.user_id)
            .bind("video", &position.video_id)
            .bind("position_ms", position.position_ms)
            .bind("watched_per_myriad", position.watched_per_myriad)
            .bind("completed", position.completed)
            .bind("updated_at", position.updated_at);
        self.commit(Transaction::new().then(upsert)).await?;
        Ok(())
    }

    async fn count_view(
        &self,
        session: &PlaybackSessionId,
        video: &VideoId,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let transaction =
            Transaction::new().then(insert_session(session, video, None, now)).then_all(count_view(session, video));
        self.commit(transaction).await?;
        Ok(())
    }

    async fn record_session(&self, summary: SessionSummary) -> Result<(), CatalogError> {
        let session = insert_session(&summary.id, &summary.video_id, summary.user_id.as_ref(), summary.opened_at);
        let mut transaction = Transaction::new().then(session);
        if summary.viewed {
            transaction = transaction.then_all(count_view(&summary.id, &summary.video_id));
        }
        self.commit(transaction.then(save_summary(&summary))).await?;
        Ok(())
    }
}
