//! The one writer: takes all transactions that wait, runs each in a savepoint and commits them together, so that many
//! callers share one fsync and a refused transaction leaves the others alone.
use rusqlite::{Connection, TransactionBehavior, ffi};
use tokio::sync::{mpsc, oneshot};

use super::super::executor::CommitError;
use super::super::statement::{Statement, Transaction};
use super::bind;

/// Transactions committed together. Bounds how long the first of a group waits for the last.
const GROUP_MAX: usize = 64;

/// One transaction and who waits for it.
pub(super) struct Job {
    pub(super) transaction: Transaction,
    pub(super) reply: oneshot::Sender<Outcome>,
}

type Outcome = Result<Vec<u64>, CommitError>;

/// Runs until the last sender is gone and the queue is empty.
pub(super) fn run(mut connection: Connection, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        let outcomes = commit_group(&mut connection, &group);
        for (job, outcome) in group.into_iter().zip(outcomes) {
            // A caller that no longer waits has given up on the answer, not on the transaction.
            let _ = job.reply.send(outcome);
        }
    }
}

fn commit_group(connection: &mut Connection, group: &[Job]) -> Vec<Outcome> {
    match try_commit_group(connection, group) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            tracing::error!(%error, transactions = group.len(), "catalog commit failed");
            group.iter().map(|_| Err(CommitError::Unavailable(error.to_string()))).collect()
        }
    }
}

fn try_commit_group(connection: &mut Connection, group: &[Job]) -> rusqlite::Result<Vec<Outcome>> {
    let mut whole = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(group.len());
    for job in group {
        let savepoint = whole.savepoint()?;
        match apply(&savepoint, &job.transaction) {
            Ok(rows) => {
                savepoint.commit()?;
                outcomes.push(Ok(rows));
            }
            // A full disk or an I/O error may have ended the whole transaction: then nothing of the group holds.
            Err(ApplyError::Sqlite(error)) if savepoint.is_autocommit() => return Err(error),
            Err(error) => {
                savepoint.finish()?;
                outcomes.push(Err(error.into()));
            }
        }
    }
    whole.commit()?;
    Ok(outcomes)
}

enum ApplyError {
    Unmet(&'static str),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> Self {
        ApplyError::Sqlite(error)
    }
}

fn apply(connection: &Connection, transaction: &Transaction) -> Result<Vec<u64>, ApplyError> {
    transaction.statements.iter().map(|statement| execute(connection, statement)).collect()
}

fn execute(connection: &Connection, statement: &Statement) -> Result<u64, ApplyError> {
    let mut prepared = connection.prepare_cached(&statement.sql)?;
    bind(&mut prepared, statement)?;
    let rows = prepared.raw_execute()? as u64;
    statement.unmet(rows).map_or(Ok(rows), |unmet| Err(ApplyError::Unmet(unmet)))
}

impl From<ApplyError> for CommitError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Unmet(what) => CommitError::Unmet(what),
            ApplyError::Sqlite(error) => error.into(),
        }
    }
}

impl From<rusqlite::Error> for CommitError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error().map(|failure| failure.extended_code) {
            Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => CommitError::Unique(text),
            Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => CommitError::ForeignKey,
            _ => CommitError::Unavailable(text),
        }
    }
}
