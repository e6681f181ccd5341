//! Ladders: a row per plan, a row per unit of it, results as versioned bytes.
use async_trait::async_trait;
use serde_json::json;

use super::executor::{CommitError, Row};
use super::statement::{Statement, Transaction};
use super::videos::rows;
use super::{CatalogStore, EDIT_ATTEMPTS_MAX, contended, to_json};
use crate::domain::asset::BlobKey;
use crate::domain::cluster::NodeLife;
use crate::domain::events::NewEvent;
use crate::domain::ids::VideoId;
use crate::domain::ladder::{
    Attempted, Ladder, LadderEnding, LadderState, NewLadder, Pass, Unit, UnitEnd, UnitResult, UnitRow, UnitState,
};
use crate::domain::ports::{CatalogError, LadderCatalog, VideoCatalog};
use crate::domain::time::Timestamp;
use crate::domain::video::Video;
use crate::storage::codec::{self, Versioned};

/// Most videos of one answer.
const OPEN_MAX: u32 = 1_000;

impl Versioned for UnitResult {
    const VERSION: u8 = 1;
    /// A day of sound in 4 s segments is 1 MiB.
    const BYTES_MAX: usize = 16 << 20;
}

type LadderId<'a> = (&'a VideoId, u32);

fn on_ladder(sql: &'static str, (video, generation): LadderId) -> Statement {
    Statement::new(sql).bind("video", video).bind("generation", generation)
}

fn on_unit(sql: &'static str, ladder: LadderId, unit: Unit) -> Statement {
    on_ladder(sql, ladder).bind("number", unit.number).bind("pass", unit.pass)
}

fn insert_ladder(ladder: &NewLadder, now: Timestamp) -> Result<Statement, CatalogError> {
    let insert = "INSERT INTO ladders (video_id, generation, state, plan, created_at, updated_at) \
        VALUES (:video, :generation, 'open', :plan, :created_at, :updated_at)";
    Ok(on_ladder(insert, (&ladder.video_id, ladder.plan.generation))
        .bind("plan", to_json(&ladder.plan)?)
        .bind("created_at", now)
        .bind("updated_at", now))
}

fn update_ladder(ladder: &NewLadder, now: Timestamp) -> Result<Statement, CatalogError> {
    let update = "UPDATE ladders SET state = 'open', plan = :plan, wants_av1 = 0, updated_at = :updated_at \
        WHERE video_id = :video AND generation = :generation";
    let update = on_ladder(update, (&ladder.video_id, ladder.plan.generation))
        .bind("plan", to_json(&ladder.plan)?)
        .bind("updated_at", now);
    Ok(update.one_row("ladder"))
}

/// Units that are there already stay as they are.
fn insert_units(ladder: &NewLadder, now: Timestamp) -> impl Iterator<Item = Statement> {
    let insert = "INSERT INTO ladder_units (video_id, generation, number, pass, state, updated_at) \
        VALUES (:video, :generation, :number, :pass, 'queued', :now) \
        ON CONFLICT (video_id, generation, number, pass) DO NOTHING";
    ladder
        .units
        .iter()
        .map(move |unit| on_unit(insert, (&ladder.video_id, ladder.plan.generation), *unit).bind("now", now))
}

fn started(video: &Video, ladder: &NewLadder) -> NewEvent {
    let rungs: Vec<&str> = ladder.plan.rungs.iter().map(|rung| rung.name.as_str()).collect();
    let payload = json!({
        "video_id": video.id, "playback_id": video.playback_id, "user_id": video.user_id,
        "generation": ladder.plan.generation, "rungs": rungs,
    });
    NewEvent::new("transcode.started", &video.id, payload)
}

fn lease(ladder: LadderId, unit: Unit, lease: &NodeLife, now: Timestamp) -> Transaction {
    let upsert = "INSERT INTO ladder_units (video_id, generation, number, pass, state, node, epoch, updated_at) \
        SELECT v.id, :generation, :number, :pass, 'leased', :node, :epoch, :now FROM videos v \
        WHERE v.id = :video AND v.deleted_at IS NULL \
        ON CONFLICT (video_id, generation, number, pass) DO UPDATE SET state = 'leased', node = excluded.node, \
        epoch = excluded.epoch, updated_at = excluded.updated_at WHERE ladder_units.state = 'queued'";
    let upsert = on_unit(upsert, ladder, unit).bind("node", &lease.node).bind("epoch", lease.epoch).bind("now", now);
    Transaction::new().then(upsert.one_row("unit"))
}

fn finish(
    ladder: LadderId,
    unit: Unit,
    lease: &NodeLife,
    (result, now): (&UnitResult, Timestamp),
) -> Result<Transaction, CatalogError> {
    let bytes = codec::encode(result).map_err(|error| CatalogError::Corrupt(error.to_string()))?;
    let update = "UPDATE ladder_units SET state = 'done', result = :result, updated_at = :now \
        WHERE video_id = :video AND generation = :generation AND number = :number AND pass = :pass \
        AND state = 'leased' AND node = :node AND epoch = :epoch";
    let update = on_unit(update, ladder, unit)
        .bind("result", bytes)
        .bind("now", now)
        .bind("node", &lease.node)
        .bind("epoch", lease.epoch);
    Ok(Transaction::new().then(update.one_row("lease")).then_all(rows::own_blobs(ladder.0, &result.blobs(), now)))
}

fn end(ladder: LadderId, unit: Unit, end: &UnitEnd, now: Timestamp) -> Result<Transaction, CatalogError> {
    let (state, failure) = match end {
        UnitEnd::Failed(failure) => (UnitState::Failed, Some(to_json(failure)?)),
        UnitEnd::Crashed | UnitEnd::Refused | UnitEnd::Withdrawn => (UnitState::Queued, None),
    };
    let update = "UPDATE ladder_units SET state = :state, crashed = crashed + :crashed, refused = refused + :refused, \
        failure = :failure, updated_at = :now \
        WHERE video_id = :video AND generation = :generation AND number = :number AND pass = :pass \
        AND state IN ('queued', 'leased') AND (state = 'leased' OR :state_again = 'failed')";
    let update = on_unit(update, ladder, unit)
        .bind("state", state)
        .bind("state_again", state)
        .bind("crashed", *end == UnitEnd::Crashed)
        .bind("refused", *end == UnitEnd::Refused)
        .bind("failure", failure)
        .bind("now", now);
    Ok(Transaction::new().then(update))
}

/// What abandoned units have made is nobody's any more: the janitor takes it.
fn disown_units(ladder: LadderId, results: &[(Unit, UnitResult)]) -> Vec<Statement> {
    let keys: Vec<BlobKey> = results.iter().flat_map(|(_, result)| result.blobs()).map(|blob| blob.key).collect();
    let forget = "DELETE FROM ladder_units WHERE video_id = :video AND generation = :generation";
    let mut statements = rows::disown_blobs(ladder.0, keys.iter());
    statements.push(on_ladder(forget, ladder));
    statements
}

fn unit_of(row: &Row) -> Result<Unit, CatalogError> {
    Ok(Unit { pass: row.one_of("pass", Pass::parse)?, number: row.number("number")? })
}

fn unit_from(row: &Row) -> Result<UnitRow, CatalogError> {
    Ok(UnitRow {
        unit: unit_of(row)?,
        state: row.one_of("state", UnitState::parse)?,
        attempted: Attempted {
            crashed: row.number("crashed")?,
            interrupted: row.number("interrupted")?,
            refused: row.number("refused")?,
        },
    })
}

fn result_from(row: &Row) -> Result<UnitResult, CatalogError> {
    codec::decode(&row.blob("result")?).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

impl CatalogStore {
    /// Writes a ladder and the video's renditions, whatever else happens to the video meanwhile.
    async fn write_ladder(&self, ladder: &NewLadder, write: Statement, now: Timestamp) -> Result<Video, CatalogError> {
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let mut video = self.video(&ladder.video_id).await?.ok_or(CatalogError::NotFound)?;
            let read_revision = video.revision;
            video.renditions.clone_from(&ladder.renditions);
            (video.revision, video.updated_at) = (read_revision + 1, now);
            let transaction = Transaction::new()
                .then(rows::save(&video, read_revision)?)
                .then_all(rows::replace_renditions(&video.id, &video.renditions))
                .then(write.clone())
                .then_all(insert_units(ladder, now))
                .event(started(&video, ladder), now);
            match self.commit(transaction).await {
                Ok(_) => return Ok(video),
                Err(CommitError::Unmet("revision")) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }
}

#[async_trait]
impl LadderCatalog for CatalogStore {
    async fn start_ladder(&self, ladder: NewLadder, now: Timestamp) -> Result<Video, CatalogError> {
        self.write_ladder(&ladder, insert_ladder(&ladder, now)?, now).await
    }

    async fn extend_ladder(&self, ladder: NewLadder, now: Timestamp) -> Result<Video, CatalogError> {
        self.write_ladder(&ladder, update_ladder(&ladder, now)?, now).await
    }

    async fn ladder(&self, video: &VideoId) -> Result<Option<Ladder>, CatalogError> {
        let newest = "SELECT generation, state, plan, wants_av1 FROM ladders WHERE video_id = :video \
            ORDER BY generation DESC LIMIT 1";
        let units = "SELECT number, pass, state, crashed, interrupted, refused FROM ladder_units \
            WHERE video_id = :video AND generation = (SELECT MAX(l.generation) FROM ladders l WHERE l.video_id = :video_again) \
            ORDER BY number, pass";
        let queries = vec![
            Statement::new(newest).bind("video", video),
            Statement::new(units).bind("video", video).bind("video_again", video),
        ];
        let mut answers = self.executor.read(queries).await?.into_iter();
        let Some(row) = answers.next().and_then(|rows| rows.into_iter().next()) else { return Ok(None) };
        Ok(Some(Ladder {
            generation: row.number("generation")?,
            state: row.one_of("state", LadderState::parse)?,
            plan: row.json("plan").ok(),
            wants_av1: row.flag("wants_av1")?,
            units: answers.next().iter().flatten().map(unit_from).collect::<Result<_, _>>()?,
        }))
    }

    async fn reclaim_units(&self, video: &VideoId, generation: u32, now: Timestamp) -> Result<u64, CatalogError> {
        let update = "UPDATE ladder_units SET state = 'queued', interrupted = interrupted + 1, updated_at = :now \
            WHERE video_id = :video AND generation = :generation AND state = 'leased'";
        let update = on_ladder(update, (video, generation)).bind("now", now);
        Ok(self.commit(Transaction::new().then(update)).await?.first().copied().unwrap_or(0))
    }

    async fn lease_unit(
        &self,
        ladder: (&VideoId, u32),
        unit: Unit,
        holder: &NodeLife,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        match self.commit(lease(ladder, unit, holder, now)).await {
            Err(CommitError::Unmet(_)) if self.video(ladder.0).await?.is_none() => Err(CatalogError::NotFound),
            other => other.map(drop).map_err(Into::into),
        }
    }

    async fn finish_unit(
        &self,
        ladder: (&VideoId, u32),
        unit: Unit,
        holder: &NodeLife,
        result: (&UnitResult, Timestamp),
    ) -> Result<(), CatalogError> {
        self.commit(finish(ladder, unit, holder, result)?).await?;
        Ok(())
    }

    async fn end_unit(
        &self,
        ladder: (&VideoId, u32),
        unit: Unit,
        how: &UnitEnd,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        self.commit(end(ladder, unit, how, now)?).await?;
        Ok(())
    }

    async fn unit_results(&self, video: &VideoId, generation: u32) -> Result<Vec<(Unit, UnitResult)>, CatalogError> {
        let query = "SELECT number, pass, result FROM ladder_units WHERE video_id = :video AND generation = :generation \
            AND state = 'done' ORDER BY number, pass";
        let found = self.rows(on_ladder(query, (video, generation))).await?;
        found.iter().map(|row| Ok((unit_of(row)?, result_from(row)?))).collect()
    }

    async fn results_of(&self, video: &VideoId, generation: u32, number: u32) -> Result<Vec<UnitResult>, CatalogError> {
        let query = "SELECT result FROM ladder_units WHERE video_id = :video AND generation = :generation \
            AND number = :number AND state = 'done'";
        let found = self.rows(on_ladder(query, (video, generation)).bind("number", number)).await?;
        found.iter().map(result_from).collect()
    }

    async fn end_ladder(
        &self,
        ladder: (&VideoId, u32),
        ending: LadderEnding,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let update = "UPDATE ladders SET state = :state, updated_at = :now WHERE video_id = :video \
            AND generation = :generation AND state = 'open' AND (wants_av1 = 0 OR :state_again = 'abandoned')";
        let update = on_ladder(update, ladder)
            .bind("state", ending.state)
            .bind("state_again", ending.state)
            .bind("now", now)
            .one_row("open");
        let mut transaction =
            Transaction::new().then(update).then_all(rows::disown_blobs(ladder.0, ending.disowned.iter()));
        if ending.state == LadderState::Abandoned {
            let results = self.unit_results(ladder.0, ladder.1).await?;
            transaction = transaction.then_all(disown_units(ladder, &results));
        }
        if let Some(failure) = &ending.failure {
            let payload = json!({ "video_id": ladder.0, "generation": ladder.1, "failure": failure });
            transaction = transaction.event(NewEvent::new("transcode.failed", ladder.0, payload), now);
        }
        match self.commit(transaction).await {
            // Ended before, or to be gone on with.
            Ok(_) | Err(CommitError::Unmet("open")) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn request_av1(&self, video: &VideoId, now: Timestamp) -> Result<(), CatalogError> {
        let update = "UPDATE ladders SET wants_av1 = 1, state = 'open', updated_at = :now WHERE video_id = :video \
            AND generation = (SELECT MAX(l.generation) FROM ladders l WHERE l.video_id = :video_again)";
        let update = Statement::new(update).bind("now", now).bind("video", video).bind("video_again", video);
        match self.commit(Transaction::new().then(update.one_row("ladder"))).await {
            Err(CommitError::Unmet(_)) => Err(CatalogError::NotFound),
            other => other.map(drop).map_err(Into::into),
        }
    }

    async fn open_ladders(&self, limit: u32) -> Result<Vec<VideoId>, CatalogError> {
        let query = "SELECT l.video_id FROM ladders l JOIN videos v ON v.id = l.video_id \
            WHERE l.state = 'open' AND v.deleted_at IS NULL AND v.status IN ('processing', 'playable', 'ready') ORDER BY l.created_at, l.video_id LIMIT :limit";
        let found = self.rows(Statement::new(query).bind("limit", limit.min(OPEN_MAX))).await?;
        found.iter().map(|row| row.id("video_id")).collect()
    }
}
