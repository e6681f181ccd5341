//! Videos: lists, edits, steps of their life, deletion, and which blobs are still needed.
use async_trait::async_trait;
use serde_json::json;

use super::cursor::Cursor;
use super::executor::{CommitError, Row};
use super::statement::{Statement, Transaction, in_list};
use super::{CatalogStore, EDIT_ATTEMPTS_MAX, contended, count_list, taken};
use crate::domain::asset::BlobKey;
use crate::domain::events::NewEvent;
use crate::domain::ids::{PlaybackId, VideoId};
use crate::domain::ports::{CatalogError, Freshness, Page, PageRequest, VideoCatalog, VideoFilter, VideoStep};
use crate::domain::time::Timestamp;
use crate::domain::video::{Video, VideoDetails, VideoStatus};

mod archive;
mod deletion;
pub(super) mod rows;
mod steps;

pub(super) use archive::archive;

/// Most items of one answer.
const PAGE_MAX: u32 = 200;
/// Lists are counted up to here; longer ones report this.
const COUNT_MAX: u32 = 1_000;

/// The part of a list's query that filters, and the list's name for cursors.
struct ListQuery {
    list: String,
    condition: &'static str,
    parameters: Vec<(&'static str, String)>,
}

impl ListQuery {
    fn new(filter: &VideoFilter) -> Self {
        let owner = filter.owner.as_ref().map(|id| ("owner", id.to_string()));
        let category = filter.category.as_ref().map(|category| ("category", category.clone()));
        let condition = match (owner.is_some(), category.is_some()) {
            (true, true) => "user_id = :owner AND category = :category AND deleted_at IS NULL",
            (true, false) => "user_id = :owner AND deleted_at IS NULL",
            (false, true) => "is_listed = 1 AND category = :category",
            (false, false) => "is_listed = 1",
        };
        let parameters: Vec<_> = owner.into_iter().chain(category).collect();
        Self { list: format!("videos {parameters:?}"), condition, parameters }
    }

    fn bind(&self, sql: String) -> Statement {
        self.parameters.iter().fold(Statement::new(sql), |query, (name, value)| query.bind(*name, value))
    }

    /// One more than `limit` items, so that the answer tells whether there is a next page.
    fn page(&self, limit: u32, cursor: Option<&Cursor>) -> Statement {
        let after = if cursor.is_some() { " AND (created_at, id) < (:at, :id)" } else { "" };
        let columns = rows::VIDEO_COLUMNS;
        let condition = self.condition;
        let sql = format!(
            "SELECT {columns} FROM videos WHERE {condition}{after} ORDER BY created_at DESC, id DESC LIMIT :limit"
        );
        let query = self.bind(sql).bind("limit", limit + 1);
        match cursor {
            Some(cursor) => query.bind("at", cursor.at_ms).bind("id", &cursor.id),
            None => query,
        }
    }

    fn count(&self) -> Statement {
        let condition = self.condition;
        let sql = format!(
            "SELECT COUNT(*) AS total FROM (SELECT id FROM videos WHERE {condition} LIMIT :count_max) AS bounded"
        );
        self.bind(sql).bind("count_max", COUNT_MAX)
    }
}

impl CatalogStore {
    /// Reads the rows that belong to these videos' rows.
    async fn complete_videos(&self, bare: &[Row]) -> Result<Vec<Video>, CatalogError> {
        if bare.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = bare.iter().map(|row| row.string("id")).collect::<Result<_, _>>()?;
        let children = self.executor.read(rows::select_children(&ids)).await?;
        bare.iter().map(|row| rows::video_from(row, &children)).collect()
    }

    async fn videos_listed(&self, filter: &VideoFilter, page: &PageRequest) -> Result<Page<Video>, CatalogError> {
        let list = ListQuery::new(filter);
        let limit = page.limit.clamp(1, PAGE_MAX);
        let cursor = page.cursor.as_deref().map(|text| Cursor::parse(&list.list, text)).transpose()?;
        let mut answers = self.executor.read(vec![list.page(limit, cursor.as_ref()), list.count()]).await?.into_iter();
        let (mut found, counted) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
        let has_more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let items = self.complete_videos(&found).await?;
        let next_cursor = match items.last() {
            Some(last) if has_more => Some(Cursor::after(&list.list, last.created_at, &last.id).to_text()?),
            _ => None,
        };
        let total_estimate = counted.first().map_or(Ok(0), |row| row.number("total"))?;
        Ok(Page { items, next_cursor, total_estimate })
    }

    async fn find_video(&self, condition: &str, id: &str) -> Result<Option<Video>, CatalogError> {
        let mut queries = vec![rows::select_one(condition, id)];
        queries.extend(rows::select_children_where(condition, id));
        let mut answers = self.executor.read(queries).await?;
        let children = answers.split_off(1);
        let bare = answers.pop().unwrap_or_default();
        bare.first().map(|row| rows::video_from(row, &children)).transpose()
    }

    async fn existing_video(&self, id: &VideoId) -> Result<Video, CatalogError> {
        self.video(id).await?.ok_or(CatalogError::NotFound)
    }
}

#[async_trait]
impl VideoCatalog for CatalogStore {
    async fn video(&self, id: &VideoId) -> Result<Option<Video>, CatalogError> {
        self.find_video("v.id = :id", id.as_str()).await
    }

    async fn video_by_playback(&self, id: &PlaybackId) -> Result<Option<Video>, CatalogError> {
        self.find_video("v.playback_id = :id", id.as_str()).await
    }

    async fn list_videos(
        &self,
        filter: VideoFilter,
        page: PageRequest,
        freshness: Freshness,
    ) -> Result<Page<Video>, CatalogError> {
        if let Some(replica) = self.replica(freshness)
            && let Some(listed) = taken(replica.videos_listed(&filter, &page).await)
        {
            return listed;
        }
        count_list("primary");
        self.videos_listed(&filter, &page).await
    }

    async fn update_video(
        &self,
        id: &VideoId,
        details: VideoDetails,
        expected_revision: Option<u64>,
        now: Timestamp,
    ) -> Result<Video, CatalogError> {
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let read = self.existing_video(id).await?;
            if expected_revision.is_some_and(|expected| expected != read.revision) {
                return Err(CatalogError::Stale);
            }
            let video = steps::edit(read.clone(), details.clone(), now);
            let payload = json!({
                "video_id": id, "playback_id": video.playback_id, "user_id": video.user_id, "privacy": video.privacy,
            });
            let transaction = Transaction::new()
                .then(rows::save(&video, read.revision)?)
                .event(NewEvent::new("video.updated", id, payload), now);
            match self.commit(transaction).await {
                Ok(_) => return Ok(video),
                Err(CommitError::Unmet(_)) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }

    async fn step_video(&self, id: &VideoId, step: VideoStep, now: Timestamp) -> Result<Video, CatalogError> {
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let read = self.existing_video(id).await?;
            let read_revision = read.revision;
            let Some(steps::Stepped { video, events }) = steps::step(&read, &step, now)? else {
                return Ok(read);
            };
            let transaction = Transaction::new()
                .then(rows::save(&video, read_revision)?)
                .then_all(steps::children(&read, &video, &step, now))
                .events(events, now);
            match self.commit(transaction).await {
                Ok(_) => return Ok(video),
                Err(CommitError::Unmet(_)) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }

    async fn videos_in(&self, status: VideoStatus, limit: u32) -> Result<Vec<Video>, CatalogError> {
        let columns = rows::VIDEO_COLUMNS;
        let query = format!(
            "SELECT {columns} FROM videos WHERE status = :status AND deleted_at IS NULL \
             ORDER BY created_at, id LIMIT :limit"
        );
        let query = Statement::new(query).bind("status", status).bind("limit", limit.min(PAGE_MAX));
        let bare = self.rows(query).await?;
        self.complete_videos(&bare).await
    }

    async fn delete_video(&self, id: &VideoId, now: Timestamp) -> Result<(), CatalogError> {
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let video = self.existing_video(id).await?;
            match self.commit(deletion::mark_deleted(&video, now)).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Unmet(_)) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }

    async fn deleted_videos(&self, limit: u32) -> Result<Vec<(VideoId, Vec<BlobKey>)>, CatalogError> {
        let deleted = self.rows(deletion::select_deleted(limit.min(PAGE_MAX))).await?;
        let mut videos = Vec::with_capacity(deleted.len());
        for row in deleted {
            let id: VideoId = row.id("id")?;
            let blobs = self.rows(deletion::select_blobs(&id)).await?;
            let keys = blobs.iter().map(|row| row.string("blob_key").map(BlobKey)).collect::<Result<_, _>>()?;
            videos.push((id, keys));
        }
        Ok(videos)
    }

    async fn purge_video(&self, id: &VideoId) -> Result<(), CatalogError> {
        match self.commit(deletion::purge(id)).await {
            Ok(_) => Ok(()),
            Err(CommitError::Unmet(_)) => Err(CatalogError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    async fn orphans(&self, keys: Vec<BlobKey>) -> Result<Vec<BlobKey>, CatalogError> {
        let mut orphans = Vec::new();
        for chunk in keys.chunks(deletion::ORPHAN_CHUNK) {
            let answers = self.executor.read(deletion::select_needed(chunk)).await?;
            orphans.extend(deletion::not_needed(chunk, &answers)?);
        }
        Ok(orphans)
    }
}

/// `SELECT … IN (…)` over ids.
fn select_in(select: &str, name: &'static str, ids: &[String]) -> Statement {
    let list = in_list(name, ids.len());
    Statement::new(format!("{select} ({list})")).bind_list(name, ids.iter().cloned())
}
