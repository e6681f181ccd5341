//! Live streams: records, publishing leases, steps.
use async_trait::async_trait;
use serde_json::json;

use super::cursor::Cursor;
use super::executor::{CommitError, Row};
use super::statement::{Statement, Transaction};
use super::{CatalogStore, EDIT_ATTEMPTS_MAX, contended, count_list, taken, to_json, videos};
use crate::domain::events::NewEvent;
use crate::domain::ids::{LiveId, PlaybackId, UserId};
use crate::domain::live::{Live, LivePatch, LiveState, LiveStep, SealedPassphrase, StoredKey};
use crate::domain::ports::{CatalogError, Freshness, LiveCatalog, Page, PageRequest};
use crate::domain::time::Timestamp;
use crate::domain::video::Privacy;

const COLUMNS: &str = "id, playback_id, user_id, channel_id, details, choices, key_hash, sealed_key, \
    sealed_passphrase, slate, pushes, pull, state, generation, \
    video_id, recording, started_at, ended_at, revision, created_at, updated_at";
/// Most items of one answer.
const PAGE_MAX: u32 = 200;
/// Lists are counted up to here; longer ones report this.
const COUNT_MAX: u32 = 1_000;

fn live_from(row: &Row) -> Result<Live, CatalogError> {
    Ok(Live {
        id: row.id("id")?,
        playback_id: row.id("playback_id")?,
        user_id: row.id("user_id")?,
        channel_id: row.id("channel_id")?,
        details: row.json("details")?,
        choices: row.json("choices")?,
        key: StoredKey { hash: row.string("key_hash")?, sealed: row.blob("sealed_key")? },
        passphrase: row.optional_blob("sealed_passphrase")?.map(SealedPassphrase),
        slate: row.optional_json("slate")?,
        pushes: row.json("pushes")?,
        pull: row.optional_json("pull")?,
        state: row.one_of("state", LiveState::parse)?,
        generation: row.number("generation")?,
        video_id: row.optional_id("video_id")?,
        recording: row.optional_id("recording")?,
        started_at: row.optional_time("started_at")?,
        ended_at: row.optional_time("ended_at")?,
        revision: row.number("revision")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// Binds what edits and steps may change.
fn bind_changing(statement: Statement, live: &Live) -> Result<Statement, CatalogError> {
    let is_listed = live.details.privacy == Privacy::Public && live.state == LiveState::Live;
    Ok(statement
        .bind("id", &live.id)
        .bind("details", to_json(&live.details)?)
        .bind("choices", to_json(&live.choices)?)
        .bind("key_hash", &live.key.hash)
        .bind("sealed_key", live.key.sealed.clone())
        .bind("sealed_passphrase", live.passphrase.as_ref().map(|sealed| sealed.0.clone()))
        .bind("slate", live.slate.as_ref().map(to_json).transpose()?)
        .bind("pushes", to_json(&live.pushes)?)
        .bind("pull", live.pull.as_ref().map(to_json).transpose()?)
        .bind("state", live.state)
        .bind("is_listed", is_listed)
        .bind("video_id", live.video_id.as_ref())
        .bind("recording", live.recording.as_ref())
        .bind("started_at", live.started_at)
        .bind("ended_at", live.ended_at)
        .bind("revision", live.revision)
        .bind("updated_at", live.updated_at))
}

fn insert(live: &Live) -> Result<Statement, CatalogError> {
    let insert = "INSERT INTO lives (id, playback_id, user_id, channel_id, details, choices, key_hash, sealed_key, \
        sealed_passphrase, slate, pushes, pull, state, is_listed, video_id, recording, started_at, ended_at, revision, created_at, updated_at) VALUES (:id, :playback_id, \
        :user_id, :channel_id, :details, :choices, :key_hash, :sealed_key, :sealed_passphrase, :slate, :pushes, :pull, :state, :is_listed, :video_id, :recording, \
        :started_at, :ended_at, :revision, :created_at, :updated_at)";
    let insert = Statement::new(insert)
        .bind("playback_id", &live.playback_id)
        .bind("user_id", &live.user_id)
        .bind("channel_id", &live.channel_id)
        .bind("created_at", live.created_at);
    bind_changing(insert, live)
}

/// Writes a changed record, if the row is still as it was read. The lease has a writer of its own.
fn save(live: &Live, read_revision: u64) -> Result<Statement, CatalogError> {
    let update = "UPDATE lives SET details = :details, choices = :choices, key_hash = :key_hash, sealed_key = :sealed_key, \
        sealed_passphrase = :sealed_passphrase, slate = :slate, pushes = :pushes, pull = :pull, state = :state, is_listed = :is_listed, video_id = :video_id, recording = :recording, started_at = :started_at, ended_at = :ended_at, \
        revision = :revision, updated_at = :updated_at WHERE id = :id AND revision = :read_revision";
    let update = bind_changing(Statement::new(update), live)?;
    Ok(update.bind("read_revision", read_revision).one_row("revision"))
}

fn event(kind: &'static str, live: &Live) -> NewEvent {
    let payload = json!({
        "live_id": live.id, "playback_id": live.playback_id, "user_id": live.user_id, "privacy": live.details.privacy,
        "state": live.state, "video_id": live.video_id,
    });
    NewEvent::new(kind, &live.id, payload)
}

fn patched(mut live: Live, patch: &LivePatch) -> Live {
    live.details = patch.details.clone().unwrap_or(live.details);
    live.choices = patch.choices.clone().unwrap_or(live.choices);
    live.key = patch.key.clone().unwrap_or(live.key);
    live.passphrase = patch.passphrase.clone().unwrap_or(live.passphrase);
    live.slate = patch.slate.clone().unwrap_or(live.slate);
    live.pushes = patch.pushes.clone().unwrap_or(live.pushes);
    live.pull = patch.pull.clone().unwrap_or(live.pull);
    live
}

/// The record after a step, and the step's event; `None` when it was taken before.
fn stepped(mut live: Live, step: &LiveStep, now: Timestamp) -> Option<(Live, &'static str)> {
    match step {
        LiveStep::Opened { recording } if live.state == LiveState::Idle => {
            (live.state, live.started_at, live.ended_at) = (LiveState::Live, Some(now), None);
            live.recording.clone_from(recording);
            Some((live, "live.started"))
        }
        LiveStep::Closed { archive } if live.state == LiveState::Live => {
            live.state = if live.choices.permanent { LiveState::Idle } else { LiveState::Ended };
            (live.recording, live.ended_at) = (None, Some(now));
            live.video_id = archive.as_ref().map(|archive| archive.video_id.clone());
            Some((live, "live.ended"))
        }
        LiveStep::Opened { .. } | LiveStep::Closed { .. } => None,
    }
}

/// What a step writes besides the stream's row.
fn consequences(live: &Live, step: &LiveStep, now: Timestamp) -> Result<Transaction, CatalogError> {
    match step {
        LiveStep::Closed { archive: Some(archive) } => videos::archive(live, archive, now),
        LiveStep::Closed { archive: None } | LiveStep::Opened { .. } => Ok(Transaction::new()),
    }
}

impl CatalogStore {
    async fn find_live(&self, condition: &str, value: &str) -> Result<Option<Live>, CatalogError> {
        let query = format!("SELECT {COLUMNS} FROM lives WHERE {condition}");
        let row = self.row(Statement::new(query).bind("value", value)).await?;
        row.as_ref().map(live_from).transpose()
    }

    async fn existing_live(&self, id: &LiveId) -> Result<Live, CatalogError> {
        self.live(id).await?.ok_or(CatalogError::NotFound)
    }

    /// Changes a record as it is read, again when somebody else was faster. `None` from `change` leaves it as it is.
    async fn change_live(
        &self,
        id: &LiveId,
        now: Timestamp,
        change: impl Fn(Live) -> Result<Option<(Live, &'static str)>, CatalogError> + Send,
        more: impl Fn(&Live) -> Result<Transaction, CatalogError> + Send,
    ) -> Result<Live, CatalogError> {
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let read = self.existing_live(id).await?;
            let Some((mut live, kind)) = change(read.clone())? else { return Ok(read) };
            (live.revision, live.updated_at) = (read.revision + 1, now);
            let transaction = more(&live)?.then(save(&live, read.revision)?).event(event(kind, &live), now);
            match self.commit(transaction).await {
                Ok(_) => return Ok(live),
                Err(CommitError::Unmet(_)) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }

    async fn lives_listed(&self, owner: Option<&UserId>, page: &PageRequest) -> Result<Page<Live>, CatalogError> {
        let limit = page.limit.clamp(1, PAGE_MAX);
        let list = format!("lives {owner:?}");
        let cursor = page.cursor.as_deref().map(|text| Cursor::parse(&list, text)).transpose()?;
        let condition = if owner.is_some() { "user_id = :owner" } else { "is_listed = 1" };
        let after = if cursor.is_some() { " AND (created_at, id) < (:at, :id)" } else { "" };
        let bind = |sql: String| match owner {
            Some(owner) => Statement::new(sql).bind("owner", owner),
            None => Statement::new(sql),
        };
        let query = bind(format!(
            "SELECT {COLUMNS} FROM lives WHERE {condition}{after} ORDER BY created_at DESC, id DESC LIMIT :limit"
        ));
        let query = query.bind("limit", limit + 1);
        let query = match &cursor {
            Some(cursor) => query.bind("at", cursor.at_ms).bind("id", &cursor.id),
            None => query,
        };
        let count = bind(format!(
            "SELECT COUNT(*) AS total FROM (SELECT id FROM lives WHERE {condition} LIMIT :count_max) AS bounded"
        ));
        let mut answers = self.executor.read(vec![query, count.bind("count_max", COUNT_MAX)]).await?.into_iter();
        let (mut found, counted) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
        let has_more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let items: Vec<Live> = found.iter().map(live_from).collect::<Result<_, _>>()?;
        let next_cursor = match items.last() {
            Some(last) if has_more => Some(Cursor::after(&list, last.created_at, &last.id).to_text()?),
            _ => None,
        };
        let total_estimate = counted.first().map_or(Ok(0), |row| row.number("total"))?;
        Ok(Page { items, next_cursor, total_estimate })
    }
}

#[async_trait]
impl LiveCatalog for CatalogStore {
    async fn create_live(&self, live: Live) -> Result<(), CatalogError> {
        let transaction = Transaction::new().then(insert(&live)?).event(event("live.created", &live), live.created_at);
        self.commit(transaction).await?;
        Ok(())
    }

    async fn live(&self, id: &LiveId) -> Result<Option<Live>, CatalogError> {
        self.find_live("id = :value", id.as_str()).await
    }

    async fn live_by_playback(&self, id: &PlaybackId) -> Result<Option<Live>, CatalogError> {
        self.find_live("playback_id = :value", id.as_str()).await
    }

    async fn live_by_key(&self, hash: &str) -> Result<Option<Live>, CatalogError> {
        self.find_live("key_hash = :value", hash).await
    }

    async fn list_lives(
        &self,
        owner: Option<&UserId>,
        page: PageRequest,
        freshness: Freshness,
    ) -> Result<Page<Live>, CatalogError> {
        if let Some(replica) = self.replica(freshness)
            && let Some(listed) = taken(replica.lives_listed(owner, &page).await)
        {
            return listed;
        }
        count_list("primary");
        self.lives_listed(owner, &page).await
    }

    async fn update_live(
        &self,
        id: &LiveId,
        patch: LivePatch,
        expected_revision: Option<u64>,
        now: Timestamp,
    ) -> Result<Live, CatalogError> {
        let change = |read: Live| {
            if expected_revision.is_some_and(|expected| expected != read.revision) {
                return Err(CatalogError::Stale);
            }
            Ok(Some((patched(read, &patch), "live.updated")))
        };
        self.change_live(id, now, change, |_| Ok(Transaction::new())).await
    }

    async fn lease_live(&self, id: &LiveId, now: Timestamp) -> Result<u64, CatalogError> {
        let lease =
            "UPDATE lives SET generation = generation + 1, updated_at = :now WHERE id = :id AND state <> :ended";
        let lease = Statement::new(lease).bind("now", now).bind("id", id).bind("ended", LiveState::Ended);
        match self.commit(Transaction::new().then(lease.one_row("live"))).await {
            // One node takes leases of a stream at a time; in a cluster, whoever reads a newer one has been fenced.
            Ok(_) => Ok(self.existing_live(id).await?.generation),
            Err(CommitError::Unmet(_)) => Err(CatalogError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    async fn step_live(&self, id: &LiveId, step: LiveStep, now: Timestamp) -> Result<Live, CatalogError> {
        let change = |read| Ok(stepped(read, &step, now));
        self.change_live(id, now, change, |live| consequences(live, &step, now)).await
    }

    async fn lives_in(&self, state: LiveState, limit: u32) -> Result<Vec<Live>, CatalogError> {
        let query = format!("SELECT {COLUMNS} FROM lives WHERE state = :state ORDER BY created_at, id LIMIT :limit");
        let query = Statement::new(query).bind("state", state).bind("limit", limit);
        self.rows(query).await?.iter().map(live_from).collect()
    }

    async fn lives_pulled(&self, limit: u32) -> Result<Vec<Live>, CatalogError> {
        let mut lives = Vec::new();
        for state in [LiveState::Live, LiveState::Idle] {
            let query = format!(
                "SELECT {COLUMNS} FROM lives WHERE state = :state AND pull IS NOT NULL \
                 ORDER BY created_at, id LIMIT :limit"
            );
            let query = Statement::new(query).bind("state", state).bind("limit", limit);
            lives.extend(self.rows(query).await?.iter().map(live_from).collect::<Result<Vec<_>, _>>()?);
        }
        Ok(lives)
    }

    async fn delete_live(&self, id: &LiveId, now: Timestamp) -> Result<(), CatalogError> {
        let live = self.existing_live(id).await?;
        let delete = "DELETE FROM lives WHERE id = :id AND state <> :live";
        let delete = Statement::new(delete).bind("id", id).bind("live", LiveState::Live).one_row("live");
        match self.commit(Transaction::new().then(delete).event(event("live.deleted", &live), now)).await {
            Ok(_) => Ok(()),
            Err(CommitError::Unmet(_)) => Err(CatalogError::Conflict("live")),
            Err(error) => Err(error.into()),
        }
    }
}
