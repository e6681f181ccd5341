//! Janitor: ends expired uploads, removes the bytes of deleted videos, forgets ended sign-ins and deletes files that nothing
//! refers to. A single actor below `NodeRoot`. Every round can be repeated and cut off anywhere: bytes go before the
//! row that names them.
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

/// Rows looked at in one round: bounds memory; what is left waits for the next round.
const ROWS_PER_ROUND: u32 = 500;
/// Keys asked about in one query.
const KEYS_PER_QUERY: usize = 500;
/// How long ended sign-ins are kept for reuse detection.
const ENDED_LOGINS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Prefixes that hold nothing but blobs some row must name.
const SWEPT_PREFIXES: [&str; 2] = ["raw-uploads", "vod-abr"];

/// What the janitor works on.
pub struct JanitorContext {
    /// Of several nodes one cleans up.
    pub nodes: NodesHandle,
    /// Names what is to go.
    pub catalog: Arc<dyn Catalog>,
    /// Holds it.
    pub blobs: Arc<dyn BlobStore>,
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
        for prefix in SWEPT_PREFIXES {
            let mut old = self.blobs.list(prefix).try_filter_map(|meta| {
                let is_old = now.since(meta.modified) >= self.orphan_age;
                futures::future::ok(is_old.then_some(meta.key))
            });
            let mut keys: Vec<BlobKey> = Vec::new();
            while let Some(key) = old.try_next().await? {
                keys.push(key);
                if keys.len() == KEYS_PER_QUERY {
                    deleted += self.delete_unreferenced(std::mem::take(&mut keys)).await?;
                }
            }
            deleted += self.delete_unreferenced(keys).await?;
        }
        Ok(deleted)
    }

    async fn delete_unreferenced(&self, keys: Vec<BlobKey>) -> Result<u64, SweepError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let mut deleted = 0;
        for key in self.catalog.orphans(keys).await? {
            tracing::info!(blob.key = %key, "deleting a file that nothing refers to");
            self.blobs.delete(&key).await?;
            deleted += 1;
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests;
