//! The change feed: rows of `events` in commit order.
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch::Receiver;

use super::CatalogStore;
use super::executor::Row;
use super::statement::Statement;
use crate::domain::events::Event;
use crate::domain::ports::{CatalogError, ChangeFeed};

/// Most events of one answer.
const EVENTS_MAX: u32 = 1_000;

fn event_from(row: &Row) -> Result<Event, CatalogError> {
    Ok(Event {
        sequence: row.number("sequence")?,
        kind: row.string("kind")?,
        key: row.string("subject")?,
        payload: row.json("payload")?,
        at: row.time("committed_at")?,
    })
}

#[async_trait]
impl ChangeFeed for CatalogStore {
    async fn events_after(&self, sequence: u64, limit: u32) -> Result<Vec<Event>, CatalogError> {
        let query = "SELECT sequence, kind, subject, payload, committed_at FROM events WHERE sequence > :after \
            ORDER BY sequence LIMIT :limit";
        let query = Statement::new(query).bind("after", sequence).bind("limit", limit.min(EVENTS_MAX));
        self.rows(query).await?.iter().map(event_from).collect()
    }

    async fn last_event(&self) -> Result<u64, CatalogError> {
        let query = Statement::new("SELECT COALESCE(MAX(sequence), 0) AS last FROM events");
        self.row(query).await?.map_or(Ok(0), |row| row.number("last"))
    }

    fn told(&self) -> BoxStream<'static, ()> {
        let told = [Some(self.told.subscribe()), self.executor.told()].into_iter().flatten();
        let each = |told| {
            futures::stream::unfold(told, async |mut told: Receiver<u64>| {
                told.changed().await.ok().map(|()| ((), told))
            })
        };
        futures::stream::select_all(told.map(|told| each(told).boxed())).boxed()
    }
}
