//! Janitor: ends expired uploads, removes the bytes of deleted videos, moves originals to the archive, forgets ended sign-ins and
//! deletes files that nothing refers to. A single actor below `NodeRoot`. Every round can be repeated and cut off anywhere: bytes go before the
//! row that names them.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use serde::Serialize;

use super::describe::{DescribeReply, Description};
use super::node_root::{Branch, Single};
use super::nodes::{NodesHandle, Placed};
use super::reply::{AskError, Post, Reply};
use super::uploads::UploadsHandle;
use crate::domain::asset::BlobKey;
use crate::domain::cluster::Role;
use crate::domain::ports::{BlobError, BlobStore, Catalog, CatalogError, Clock};
use crate::domain::time::Timestamp;

mod originals;

pub use originals::{OriginalsPolicy, OriginalsReport};

/// Rows looked at in one round: bounds memory; what is left waits for the next round.
const ROWS_PER_ROUND: u32 = 500;
/// Keys asked about in one query.
const KEYS_PER_QUERY: usize = 500;
/// How long ended sign-ins are kept for reuse detection.
const ENDED_LOGINS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Prefixes that hold nothing but blobs some row must name.
const SWEPT_PREFIXES: [&str; 2] = [UPLOADS, "vod-abr"];
const UPLOADS: &str = "raw-uploads";
/// Where originals are that were moved; rows name them as they were before.
const ARCHIVE: &str = "archive";

/// What the janitor works on.
pub struct JanitorContext {
    /// Of several nodes one cleans up.
    pub nodes: NodesHandle,
    /// Names what is to go.
    pub catalog: Arc<dyn Catalog>,
    /// Holds it.
    pub blobs: Arc<dyn BlobStore>,
    /// What becomes of originals.
    pub originals: OriginalsPolicy,
    /// Ends expired uploads.
    pub uploads: UploadsHandle,
    /// Called in each round: takes up work on videos that is nobody's at the moment.
    pub resume_work: Arc<dyn Fn() + Send + Sync>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Time between rounds.
    pub interval: Duration,
    /// Files that nothing refers to are deleted when they are older than this.
    pub orphan_age: Duration,
    /// Time between searches for such files.
    pub orphan_interval: Duration,
}

/// What one round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RoundReport {
    /// Unfinished uploads ended by expiry.
    pub uploads_expired: u64,
    /// Deleted videos whose bytes are gone now.
    pub videos_purged: u64,
    /// Originals moved to the archive, or deleted.
    pub originals: OriginalsReport,
    /// Ended sign-ins forgotten.
    pub logins_dropped: u64,
    /// Files deleted that nothing referred to.
    pub orphans_deleted: u64,
}

/// What the janitor is told.
#[derive(RactorMessage)]
pub enum JanitorMessage {
    /// Do a round now, the search for unreferenced files included.
    RunRound {
        /// What it did.
        reply: Reply<RoundReport, AskError>,
    },
    /// Describe yourself.
    Describe {
        /// The description.
        reply: DescribeReply,
    },
    /// The round timer fired.
    RoundTimerFired,
    /// A round has ended.
    RoundEnded {
        /// What it did.
        report: RoundReport,
    },
}

#[derive(Debug, Default, Serialize)]
struct JanitorSnapshot {
    rounds: u64,
    is_running: bool,
    last: RoundReport,
}

/// The janitor's own state.
pub struct JanitorState {
    context: Arc<JanitorContext>,
    snapshot: JanitorSnapshot,
    waiting: Vec<Reply<RoundReport, AskError>>,
    swept_at: Option<Timestamp>,
}

struct JanitorActor;

/// The only way in.
#[derive(Clone, Default)]
pub struct JanitorHandle(Post<JanitorMessage>);

impl JanitorHandle {
    /// Does a round now and says what it did; waits at most a minute for it.
    pub async fn run_round(&self) -> Result<RoundReport, AskError> {
        self.0.ask_within(Duration::from_secs(60), |reply| JanitorMessage::RunRound { reply }).await?
    }

    /// The janitor as a branch of the root.
    pub fn branch(&self, context: Arc<JanitorContext>) -> Branch {
        let make = move || (JanitorActor, Arc::clone(&context));
        let describe = |reply| JanitorMessage::Describe { reply };
        Single { name: "janitor", post: self.0.clone(), make, describe }.into()
    }
}

impl Actor for JanitorActor {
    type Msg = JanitorMessage;
    type State = JanitorState;
    type Arguments = Arc<JanitorContext>;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        context: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        me.send_after(context.interval, || JanitorMessage::RoundTimerFired);
        Ok(JanitorState { context, snapshot: JanitorSnapshot::default(), waiting: Vec::new(), swept_at: None })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            JanitorMessage::RunRound { reply } => {
                state.waiting.push(reply);
                state.swept_at = None;
                state.begin_round(&me);
            }
            JanitorMessage::Describe { reply } => {
                reply.send(Ok(Description::leaf("janitor", "janitor", &state.snapshot)));
            }
            JanitorMessage::RoundTimerFired => {
                state.begin_round(&me);
                me.send_after(state.context.interval, || JanitorMessage::RoundTimerFired);
            }
            JanitorMessage::RoundEnded { report } => state.end_round(report),
        }
        Ok(())
    }
}

impl JanitorState {
    fn begin_round(&mut self, me: &ActorRef<JanitorMessage>) {
        if self.snapshot.is_running {
            return;
        }
        self.snapshot.is_running = true;
        let (me, context) = (me.clone(), Arc::clone(&self.context));
        let now = context.clock.now();
        let sweeps = self.swept_at.is_none_or(|at| now.since(at) >= context.orphan_interval);
        if sweeps {
            self.swept_at = Some(now);
        }
        tokio::spawn(async move {
            let report = context.round(sweeps).await;
            let _ = me.cast(JanitorMessage::RoundEnded { report });
        });
    }

    fn end_round(&mut self, report: RoundReport) {
        self.snapshot.is_running = false;
        self.snapshot.rounds += 1;
        self.snapshot.last = report;
        self.waiting.drain(..).for_each(|reply| reply.send(Ok(report)));
        metrics::counter!("playhouse_janitor_rounds_total").increment(1);
        report.originals.count();
        metrics::counter!("playhouse_janitor_orphans_deleted_total").increment(report.orphans_deleted);
        if report != RoundReport::default() {
            tracing::info!(?report, "janitor round");
        }
    }
}

/// A step of a round that failed is logged and left to the next round; the others still run.
fn or_logged<E: std::fmt::Display>(step: &'static str, result: Result<u64, E>) -> u64 {
    result.unwrap_or_else(|error| {
        tracing::warn!(step, %error, "janitor step failed, will be repeated");
        0
    })
}

#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl JanitorContext {
    async fn round(&self, sweeps: bool) -> RoundReport {
        let now = self.clock.now();
        (self.resume_work)();
        if !matches!(self.nodes.claim("janitor", Role::Api).await, Ok(Placed::Here(_))) {
            return RoundReport::default();
        }
        RoundReport {
            uploads_expired: or_logged("expire uploads", self.expire_uploads(now).await),
            videos_purged: or_logged("purge deleted videos", self.purge_videos().await),
            originals: self.age_originals(now).await,
            logins_dropped: or_logged("drop logins", self.catalog.drop_ended_logins(now - ENDED_LOGINS_KEPT).await),
            orphans_deleted: if sweeps { or_logged("delete orphans", self.delete_orphans(now).await) } else { 0 },
        }
    }

    async fn expire_uploads(&self, now: Timestamp) -> Result<u64, CatalogError> {
        let mut expired = 0;
        for upload in self.catalog.expired_uploads(now, ROWS_PER_ROUND).await? {
            let id = upload.id.clone();
            match self.uploads.expire(upload).await {
                Ok(ended) => expired += u64::from(ended),
                Err(error) => tracing::warn!(upload.id = %id, %error, "expired upload not ended yet"),
            }
        }
        Ok(expired)
    }

    async fn purge_videos(&self) -> Result<u64, SweepError> {
        let mut purged = 0;
        for (video, keys) in self.catalog.deleted_videos(ROWS_PER_ROUND).await? {
            for key in keys {
                self.blobs.delete(&key).await?;
            }
            self.catalog.purge_video(&video).await?;
            purged += 1;
        }
        Ok(purged)
    }

    async fn delete_orphans(&self, now: Timestamp) -> Result<u64, SweepError> {
        let mut deleted = 0;
        for area in SWEPT_PREFIXES.into_iter().chain(self.originals.archive.as_ref().map(|_| ARCHIVE)) {
            deleted += self.sweep(area, now).await?;
        }
        Ok(deleted)
    }

    /// Deletes what nothing refers to in one area, and tells how much is in it.
    async fn sweep(&self, area: &'static str, now: Timestamp) -> Result<u64, SweepError> {
        let (mut deleted, mut bytes) = (0, 0);
        let mut stored = self.blobs.list(area);
        let mut keys: Vec<BlobKey> = Vec::new();
        while let Some(found) = stored.try_next().await? {
            bytes += found.bytes;
            if now.since(found.modified) >= self.orphan_age {
                keys.push(found.key);
            }
            if keys.len() == KEYS_PER_QUERY {
                deleted += self.delete_unreferenced(std::mem::take(&mut keys)).await?;
            }
        }
        deleted += self.delete_unreferenced(keys).await?;
        metrics::gauge!("playhouse_blob_bytes", "area" => area).set(bytes as f64);
        Ok(deleted)
    }

    async fn delete_unreferenced(&self, keys: Vec<BlobKey>) -> Result<u64, SweepError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let names: HashMap<BlobKey, BlobKey> = keys.into_iter().map(|key| (named_as(&key), key)).collect();
        let mut deleted = 0;
        for name in self.catalog.orphans(names.keys().cloned().collect()).await? {
            let Some(key) = names.get(&name) else { continue };
            tracing::info!(blob.key = %key, "deleting a file that nothing refers to");
            self.blobs.delete(key).await?;
            deleted += 1;
        }
        Ok(deleted)
    }
}

/// What rows call a blob: originals in the archive have the names that they had before.
fn named_as(key: &BlobKey) -> BlobKey {
    let archived = key.as_str().strip_prefix(ARCHIVE).filter(|name| name.starts_with('/'));
    archived.map_or_else(|| key.clone(), |name| BlobKey(format!("{UPLOADS}{name}")))
}

#[cfg(test)]
mod tests;
