//! The node's journal on `sled` 0.34, the one place that knows it. Holds only what may be rebuilt or drained: sled is old
//! and unmaintained, so a journal that cannot be read is set aside with an alarm and a new one begun.
//!
//! All trees share one sled tree with prefixed keys, because a sled batch is atomic within one tree only. One thread
//! writes: it applies all batches that wait and hands them to the kernel together. That survives the death of the
//! process; sled's own flusher makes it survive power loss within the flush interval.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::domain::ports::{Journal, JournalBatch, JournalError};

/// Batches waiting for the writer; a full queue makes callers wait.
const WRITER_QUEUE_MAX: usize = 256;
/// Batches applied before one flush.
const GROUP_MAX: usize = 64;
/// sled's default of 1 GiB is more than a whole node should take.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
const OPEN_POLL: Duration = Duration::from_millis(50);

/// How the journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalOptions {
    /// How often written records are forced to the disk: what power loss may cost.
    pub flush_interval: Duration,
    /// How long to wait for a dying process to let go of the journal.
    pub open_wait: Duration,
}

impl Default for JournalOptions {
    /// 500 ms, and 5 s of waiting.
    fn default() -> Self {
        Self { flush_interval: Duration::from_millis(500), open_wait: Duration::from_secs(5) }
    }
}

struct Job {
    batch: JournalBatch,
    reply: oneshot::Sender<Result<(), JournalError>>,
}

/// A journal directory. Dropping it waits until all queued batches are written.
pub struct SledJournal {
    db: sled::Db,
    writer: Option<mpsc::Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn failed(error: impl std::fmt::Display) -> JournalError {
    JournalError(error.to_string())
}

impl SledJournal {
    /// Opens or creates a journal; one that is corrupt is renamed and replaced. Blocks.
    pub fn open(path: &Path, options: &JournalOptions) -> Result<Self, JournalError> {
        let db = match open_when_free(path, options) {
            Ok(db) => db,
            Err(OpenFailure::Corrupt(reason)) => {
                let aside = set_aside(path).map_err(failed)?;
                tracing::error!(%reason, journal.kept = %aside.display(), "journal is corrupt and was set aside");
                open_when_free(path, options).map_err(|failure| failed(failure.reason()))?
            }
            Err(OpenFailure::Other(reason)) => return Err(JournalError(reason)),
        };
        let (writer, jobs) = mpsc::channel(WRITER_QUEUE_MAX);
        let writing = db.clone();
        let thread = std::thread::Builder::new().name("journal-writer".into()).spawn(move || write_all(&writing, jobs));
        Ok(Self { db, writer: Some(writer), thread: Some(thread.map_err(failed)?) })
    }
}

impl Drop for SledJournal {
    fn drop(&mut self) {
        self.writer = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("journal writer panicked");
        }
        if let Err(error) = self.db.flush() {
            tracing::error!(%error, "journal not flushed at close");
        }
    }
}

enum OpenFailure {
    Corrupt(String),
    Other(String),
}

impl OpenFailure {
    fn reason(&self) -> &str {
        match self {
            OpenFailure::Corrupt(reason) | OpenFailure::Other(reason) => reason,
        }
    }
}

fn open_when_free(path: &Path, options: &JournalOptions) -> Result<sled::Db, OpenFailure> {
    let until = Instant::now() + options.open_wait;
    let interval_ms = u64::try_from(options.flush_interval.as_millis()).unwrap_or(u64::MAX).max(1);
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(interval_ms));
    loop {
        // sled panics on some damages that it does not report.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open()));
        let error = match opened {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) => error,
            Err(_) => return Err(OpenFailure::Corrupt("sled panicked while opening it".into())),
        };
        match error {
            sled::Error::Io(io) if io.to_string().contains("could not acquire lock") && Instant::now() < until => {
                std::thread::sleep(OPEN_POLL);
            }
            sled::Error::Io(io) => return Err(OpenFailure::Other(io.to_string())),
            other => return Err(OpenFailure::Corrupt(other.to_string())),
        }
    }
}

fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("{name}.corrupt-{millis}"));
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

/// Tree names never hold a zero byte, so that no tree's keys lie within another's.
fn prefixed(tree: &str, key: &[u8]) -> Vec<u8> {
    [tree.as_bytes(), &[0], key].concat()
}

fn write_all(db: &sled::Db, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        let applied: Vec<_> = group.iter().map(|job| apply(db, &job.batch)).collect();
        let flushed = db.flush().map(drop).map_err(failed);
        for (job, outcome) in group.into_iter().zip(applied) {
            // A caller that no longer waits has given up on the answer, not on the batch.
            let _ = job.reply.send(outcome.and(flushed.clone()));
        }
    }
}

fn apply(db: &sled::Db, batch: &JournalBatch) -> Result<(), JournalError> {
    let mut whole = sled::Batch::default();
    for (tree, key) in &batch.removes {
        whole.remove(prefixed(tree, key));
    }
    for (tree, key, value) in &batch.puts {
        whole.insert(prefixed(tree, key), value.as_slice());
    }
    db.apply_batch(whole).map_err(failed)
}

/// A record's key and value.
type Record = (Vec<u8>, Vec<u8>);

fn scan(db: &sled::Db, tree: &str) -> Result<Vec<Record>, JournalError> {
    let prefix = prefixed(tree, &[]);
    let record = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
        let (key, value) = entry.map_err(failed)?;
        Ok((key.get(prefix.len()..).unwrap_or_default().to_vec(), value.to_vec()))
    };
    db.scan_prefix(&prefix).map(record).collect()
}

#[async_trait]
impl Journal for SledJournal {
    async fn write(&self, batch: JournalBatch) -> Result<(), JournalError> {
        let gone = || JournalError("the journal's writer has stopped".into());
        let (reply, answer) = oneshot::channel();
        let writer = self.writer.as_ref().ok_or_else(gone)?;
        writer.send(Job { batch, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn scan(&self, tree: &'static str) -> Result<Vec<(Vec<u8>, Vec<u8>)>, JournalError> {
        let db = self.db.clone();
        tokio::task::spawn_blocking(move || scan(&db, tree)).await.map_err(failed)?
    }
}

#[cfg(test)]
mod tests;
