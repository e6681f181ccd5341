//! Copies of viewers' sessions. In a cluster each beacon is acknowledged once the session as it is then is also on the node that has it
//! next: the one to which its id belongs when the node that has it is gone, or, when a node has come, the one that had it before.
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use moka::sync::Cache;

use super::nodes::ASK_TIMEOUT;
use super::playback::{PlaybackError, PlaybackHandle, placement_key};
use super::playback_session::PlaybackMessage;
use super::remote::{Answer, Question};
use super::reply::{AskError, Post};
use crate::cluster::AskNodeError;
use crate::domain::cluster::{NodeName, Role};
use crate::domain::ids::PlaybackSessionId;
use crate::domain::playback::machine::PlaybackMachine;

/// Copies held at most; beyond that the longest unused is dropped.
const COPIES_MAX: u64 = 200_000;
/// Sessions that change hands at once.
const AT_ONCE_MAX: usize = 64;
/// Longest wait of a beacon for its copy: a node that does not answer is soon gone.
const COPY_TIMEOUT: Duration = Duration::from_secs(1);

/// Sessions of other nodes, as they were last.
#[derive(Clone)]
pub(super) struct Copies(Cache<PlaybackSessionId, PlaybackMachine>);

impl Copies {
    /// Kept for twice as long as a session may be silent.
    pub(super) fn new(idle: Duration) -> Self {
        Self(Cache::builder().max_capacity(COPIES_MAX).time_to_live(idle * 2).build())
    }

    /// Keeps one, unless a newer one is there.
    pub(super) fn keep(&self, machine: PlaybackMachine) {
        let is_old = |known: &PlaybackMachine| known.seen_at() > machine.seen_at();
        if !self.0.get(machine.id()).is_some_and(|known| is_old(&known)) {
            self.0.insert(machine.id().clone(), machine);
        }
    }
}

impl PlaybackHandle {
    fn next_node(&self, session: &PlaybackSessionId) -> Option<NodeName> {
        self.context.nodes.next_owner(&placement_key(session), Role::Api)
    }

    /// Has a session kept by the node that has it next.
    pub(super) async fn copy(&self, machine: PlaybackMachine) {
        let Some(node) = self.next_node(machine.id()) else { return };
        let kept = self.context.nodes.ask(&node, &Question::KeepSession(Box::new(machine)), COPY_TIMEOUT).await;
        if !matches!(kept, Ok(Answer::Done)) {
            metrics::counter!("playhouse_playback_copies_failed_total").increment(1);
        }
    }

    /// The session of this id here, or what another node or an earlier life has left of it, if that is not over for lack of beacons.
    pub(super) async fn find_or_adopt(
        &self,
        session: &PlaybackSessionId,
    ) -> Result<Post<PlaybackMessage>, PlaybackError> {
        let is_on = |machine: &PlaybackMachine| {
            let silent = self.context.clock.now().since(machine.seen_at());
            silent < Duration::from_millis(self.context.limits.idle_ms)
        };
        self.adopt_if(session, is_on).await
    }

    async fn adopt_if(
        &self,
        session: &PlaybackSessionId,
        is_wanted: impl Fn(&PlaybackMachine) -> bool,
    ) -> Result<Post<PlaybackMessage>, PlaybackError> {
        if let Some(post) = self.family.find(session.clone()).await? {
            return Ok(post);
        }
        let theirs = match self.next_node(session) {
            Some(node) => {
                let question = Question::ReleaseSession(session.clone());
                match self.context.nodes.ask(&node, &question, ASK_TIMEOUT).await {
                    Ok(Answer::Session(released)) => released,
                    Ok(_) | Err(AskNodeError::OtherRelease(_)) => None,
                    // Whether it has the session is not known: a node that has just come may not be connected with it yet.
                    Err(_) if self.copies.0.get(session).is_none() => return Err(AskError::TimedOut.into()),
                    Err(_) => None,
                }
            }
            None => None,
        };
        let found = theirs.map(|machine| *machine).into_iter().chain(self.copies.0.get(session));
        let newest = found.max_by_key(PlaybackMachine::seen_at).filter(is_wanted);
        let newest = newest.ok_or(PlaybackError::NoSession)?;
        tracing::debug!(session.id = %session, "a session goes on here");
        metrics::counter!("playhouse_playback_sessions_adopted_total").increment(1);
        self.copies.0.invalidate(session);
        Ok(self.family.find_or_start(session.clone(), newest).await?)
    }

    /// Lets go of a session whose beacons go to another node now.
    pub(super) async fn release_here(&self, session: &PlaybackSessionId) -> Option<Box<PlaybackMachine>> {
        let running = self.family.find(session.clone()).await.ok().flatten();
        let released: Option<PlaybackMachine> = match running {
            Some(post) => {
                let asked: Result<PlaybackMachine, AskError> =
                    post.ask(|reply| PlaybackMessage::Release { reply }).await;
                asked.ok()
            }
            None => None,
        };
        // An answer may get lost: what was let go of is still known here.
        if let Some(machine) = &released {
            self.copies.keep(machine.clone());
        }
        released.or_else(|| self.copies.0.get(session)).map(Box::new)
    }

    /// Takes up sessions that have become this node's because another one is gone.
    pub async fn take_up(&self) {
        let is_own =
            |session: &PlaybackSessionId| self.context.nodes.elsewhere(&placement_key(session), Role::Api).is_none();
        let own: Vec<_> = self.copies.0.iter().map(|(session, _)| session).filter(|session| is_own(session)).collect();
        let taking = |session: Arc<PlaybackSessionId>| async move {
            // One that is over has its sums stored so.
            if let Err(error) = self.adopt_if(&session, |_| true).await {
                tracing::debug!(session.id = %*session, %error, "a session is not taken up");
            }
        };
        stream::iter(own).for_each_concurrent(AT_ONCE_MAX, taking).await;
    }

    /// Lets go of all sessions: those who have them next go on with them.
    pub(super) async fn release_all(&self) {
        let Ok(sessions) = self.family.list().await else { return };
        let releasing = |session: PlaybackSessionId| async move {
            if let Some(machine) = self.release_here(&session).await {
                self.copy(*machine).await;
            }
        };
        let sessions = sessions.into_iter().map(|(session, _)| session);
        stream::iter(sessions).for_each_concurrent(AT_ONCE_MAX, releasing).await;
    }
}
