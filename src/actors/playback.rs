//! The playback family: opens viewer sessions, and leads beacons to them.
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef, SpawnErr};

use super::describe::DescribeReply;
use super::nodes::{ASK_TIMEOUT, NodesHandle};
use super::playback_copies::Copies;
use super::playback_derived::Players;
use super::playback_session::{PlaybackActor, PlaybackArguments, PlaybackMessage};
use super::remote::{Answer, Question};
use super::reply::AskError;
use super::supervisor::{ChildError, Family, FamilyHandle};
use crate::domain::cluster::Role;
use crate::domain::ids::{PlaybackSessionId, UserId, VideoId};
use crate::domain::playback::machine::{Heartbeat, PlaybackLimits, PlaybackMachine, PlaybackOpening};
use crate::domain::ports::{Catalog, Clock, Entropy, Journal, JournalBatch};
use crate::storage::codec::{self, Versioned};

/// The journal's tree of open sessions.
pub(crate) const JOURNAL_TREE: &str = "playback";

/// As journalled; a record of another version is dropped.
impl Versioned for PlaybackMachine {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 4096;
}

/// What sessions need.
pub struct Playback {
    /// Counts views, keeps positions and summaries.
    pub catalog: Arc<dyn Catalog>,
    /// Keeps open sessions over a crash.
    pub journal: Arc<dyn Journal>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// For session ids.
    pub entropy: Arc<dyn Entropy>,
    /// When sessions count and end.
    pub limits: PlaybackLimits,
    /// Where sessions belong.
    pub nodes: NodesHandle,
}

impl Family for Playback {
    type Key = PlaybackSessionId;
    type Seed = PlaybackMachine;
    type Message = PlaybackMessage;
    const NAME: &'static str = "playback";

    async fn spawn(
        &self,
        _: &PlaybackSessionId,
        machine: &PlaybackMachine,
        supervisor: ActorCell,
    ) -> Result<ActorRef<PlaybackMessage>, SpawnErr> {
        let arguments = PlaybackArguments {
            machine: machine.clone(),
            catalog: Arc::clone(&self.catalog),
            journal: Arc::clone(&self.journal),
            clock: Arc::clone(&self.clock),
            idle: Duration::from_millis(self.limits.idle_ms),
        };
        Ok(Actor::spawn_linked(None, PlaybackActor, arguments, supervisor).await?.0)
    }

    fn describe(reply: DescribeReply) -> PlaybackMessage {
        PlaybackMessage::Describe { reply }
    }
}

/// What a session is placed by.
pub(super) fn placement_key(id: &PlaybackSessionId) -> String {
    format!("session/{id}")
}

/// Why a session did not take a beacon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaybackError {
    /// It has ended, or never was.
    #[error("no such playback session")]
    NoSession,
    /// It belongs to another video.
    #[error("this playback session is of another video")]
    OtherVideo,
    /// It could not be opened or reached.
    #[error(transparent)]
    Unavailable(#[from] ChildError),
}

impl From<AskError> for PlaybackError {
    fn from(error: AskError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// The only way in.
#[derive(Clone)]
pub struct PlaybackHandle {
    pub(super) family: FamilyHandle<Playback>,
    pub(super) context: Arc<Playback>,
    pub(super) copies: Copies,
    pub(super) players: Players,
}

impl PlaybackHandle {
    /// A handle to the family that will be started with `context`.
    pub fn new(context: Arc<Playback>) -> Self {
        let idle = Duration::from_millis(context.limits.idle_ms);
        Self { family: FamilyHandle::default(), context, copies: Copies::new(idle), players: Players::new(idle) }
    }

    /// The family behind it, for its supervisor.
    pub fn family(&self) -> (FamilyHandle<Playback>, Arc<Playback>) {
        (self.family.clone(), Arc::clone(&self.context))
    }

    /// Opens a session of a viewer of this video, which is `duration_ms` long.
    pub async fn open(
        &self,
        video_id: &VideoId,
        duration_ms: u64,
        user_id: Option<UserId>,
    ) -> Result<PlaybackSessionId, PlaybackError> {
        let draw = || PlaybackSessionId::random(&*self.context.entropy);
        let id = self.context.nodes.draw_own(Role::Api, placement_key, draw);
        let opening = PlaybackOpening { id: id.clone(), video_id: video_id.clone(), user_id, duration_ms };
        let machine = PlaybackMachine::open(opening, self.context.limits, self.context.clock.now());
        self.family.find_or_start(id.clone(), machine.clone()).await?;
        self.copy(machine).await;
        metrics::counter!("playhouse_playback_sessions_opened_total").increment(1);
        Ok(id)
    }

    /// Hands a beacon to its session, on whatever node that is.
    pub async fn heartbeat(
        &self,
        session: PlaybackSessionId,
        video_id: VideoId,
        beat: Heartbeat,
    ) -> Result<(), PlaybackError> {
        let Some(node) = self.context.nodes.elsewhere(&placement_key(&session), Role::Api) else {
            return self.heartbeat_here(session, video_id, beat).await;
        };
        let question = Question::Heartbeat { session, video_id, beat };
        match self.context.nodes.ask(&node, &question, ASK_TIMEOUT).await {
            Ok(Answer::Done) => Ok(()),
            Ok(Answer::NoSession) => Err(PlaybackError::NoSession),
            Ok(Answer::OtherVideo) => Err(PlaybackError::OtherVideo),
            answer => {
                tracing::warn!(%node, ?answer, "a beacon did not get to its session");
                Err(AskError::TimedOut.into())
            }
        }
    }

    pub(super) async fn heartbeat_here(
        &self,
        session: PlaybackSessionId,
        video_id: VideoId,
        beat: Heartbeat,
    ) -> Result<(), PlaybackError> {
        if self.context.nodes.is_aside() {
            // Others may go on with it: what was acknowledged here they would never hear of.
            return Err(AskError::Gone.into());
        }
        let post = self.find_or_adopt(&session).await?;
        let taken = post.ask(|reply| PlaybackMessage::TakeHeartbeat { video_id, beat, reply }).await?;
        self.copy(taken).await;
        Ok(())
    }

    /// What is known of the connection of this session's viewer, bits per second; `None` when nothing is, or the session has
    /// ended.
    pub async fn throughput(&self, session: PlaybackSessionId) -> Option<u64> {
        let Some(node) = self.context.nodes.elsewhere(&placement_key(&session), Role::Api) else {
            return self.throughput_here(session).await;
        };
        match self.context.nodes.ask(&node, &Question::Throughput(session), ASK_TIMEOUT).await {
            Ok(Answer::Throughput(throughput)) => throughput,
            _ => None,
        }
    }

    pub(super) async fn throughput_here(&self, session: PlaybackSessionId) -> Option<u64> {
        let post = self.family.find(session).await.ok().flatten()?;
        let found: Result<Option<u64>, AskError> = post.ask(|reply| PlaybackMessage::FindThroughput { reply }).await;
        found.ok().flatten()
    }

    /// Takes up the sessions that were open when the process died; returns how many.
    pub async fn restore(&self) -> Result<usize, PlaybackError> {
        let records = self.context.journal.scan(JOURNAL_TREE).await.unwrap_or_else(|error| {
            tracing::error!(%error, "open playback sessions could not be read");
            Vec::new()
        });
        let mut restored = 0;
        for (key, value) in records {
            match codec::decode::<PlaybackMachine>(&value) {
                Ok(machine) => {
                    let session = machine.id().clone();
                    if self.context.nodes.is_cluster() {
                        // Others may have gone on with it meanwhile.
                        self.copies.keep(machine);
                    } else {
                        self.family.find_or_start(session, machine).await?;
                    }
                    restored += 1;
                }
                Err(error) => {
                    tracing::warn!(%error, "dropping an unreadable playback session");
                    let mut batch = JournalBatch::default();
                    batch.removes.push((JOURNAL_TREE, key));
                    let _ = self.context.journal.write(batch).await;
                }
            }
        }
        Ok(restored)
    }

    /// Ends all sessions for good, as when the node stops: their sums are stored before this returns. In a cluster others go on with
    /// them.
    pub async fn close_all(&self) {
        if self.context.nodes.has_others() {
            return self.release_all().await;
        }
        let Ok(sessions) = self.family.list().await else { return };
        let closing = sessions.into_iter().map(|(_, post)| async move {
            let _: Result<(), AskError> = post.ask(|reply| PlaybackMessage::Close { reply }).await;
        });
        futures::future::join_all(closing).await;
    }
}

#[cfg(test)]
mod tests;
