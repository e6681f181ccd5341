//! One family of actors under one supervisor: children are started by key when asked for, restarted by policy when they
//! fail, and leave when they are done.
//!
//! A child in back-off is not started by a question: the asker is told when to come back. A child that failed too often
//! stays down until the policy's window has passed. Names that were never started allocate nothing.
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message, SpawnErr, SupervisionEvent};
use serde::Serialize;

use super::describe::{DescribeReply, Description};
use super::reply::{AskError, Post, Reply};
use crate::domain::ports::Clock;
use crate::domain::restart::{Decision, RestartHistory, RestartPolicy, StopReason};

/// How long one child has to describe itself; a slow one is shown as silent instead of holding up the others.
const DESCRIBE_CHILD_TIMEOUT: Duration = Duration::from_millis(500);
/// Most children described one by one; beyond that the snapshot only counts.
const DESCRIBE_CHILDREN_MAX: usize = 200;

/// A family: what its children are and how one is started.
pub trait Family: Send + Sync + 'static {
    /// What names a child.
    type Key: Clone + Eq + Hash + fmt::Display + Send + Sync + 'static;
    /// What a child needs to know when it is first started; kept for its restarts.
    type Seed: Clone + Send + Sync + 'static;
    /// What a child is told.
    type Message: Message;
    /// Name of the supervisor in logs, metrics and descriptions, e.g. `uploads`.
    const NAME: &'static str;

    /// Starts a child linked to `supervisor`. Cheap: slow work is the child's first message to itself.
    fn spawn(
        &self,
        key: &Self::Key,
        seed: &Self::Seed,
        supervisor: ActorCell,
    ) -> impl Future<Output = Result<ActorRef<Self::Message>, SpawnErr>> + Send;

    /// The question that makes a child describe itself.
    fn describe(reply: DescribeReply) -> Self::Message;
}

/// Why a child cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChildError {
    /// It failed and is about to be restarted.
    #[error("restarting, try again in {} ms", after.as_millis())]
    Restarting {
        /// When to ask again.
        after: Duration,
    },
    /// It failed too often.
    #[error("failed too often to be restarted")]
    GivenUp,
    /// The family has as many children as it may.
    #[error("too many at once")]
    TooMany,
    /// It could not be started.
    #[error("could not be started")]
    NotStarted,
    /// The supervisor did not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
}

type RunningChildren<F> = Vec<(<F as Family>::Key, ActorRef<<F as Family>::Message>)>;

/// What a family's supervisor is told.
pub enum SupervisorMessage<F: Family> {
    /// Give me this child, started if it is not running.
    FindOrStart {
        /// Its key.
        key: F::Key,
        /// For its first start.
        seed: F::Seed,
        /// The child.
        reply: Reply<ActorRef<F::Message>, ChildError>,
    },
    /// Give me this child if it is running.
    Find {
        /// Its key.
        key: F::Key,
        /// The child, or `None`.
        reply: Reply<Option<ActorRef<F::Message>>, ChildError>,
    },
    /// Give me all running children.
    List {
        /// The children.
        reply: Reply<RunningChildren<F>, ChildError>,
    },
    /// Describe yourself and your children.
    Describe {
        /// The description.
        reply: DescribeReply,
    },
    /// A child's back-off is over.
    RestartDue {
        /// Its key.
        key: F::Key,
    },
}

impl<F: Family> Message for SupervisorMessage<F> {}

/// The only way in.
pub struct FamilyHandle<F: Family> {
    post: Post<SupervisorMessage<F>>,
}

impl<F: Family> Clone for FamilyHandle<F> {
    fn clone(&self) -> Self {
        Self { post: self.post.clone() }
    }
}

impl<F: Family> Default for FamilyHandle<F> {
    fn default() -> Self {
        Self { post: Post::default() }
    }
}

impl<F: Family> FamilyHandle<F> {
    /// This child, started if it is not running.
    pub async fn find_or_start(&self, key: F::Key, seed: F::Seed) -> Result<Post<F::Message>, ChildError> {
        self.post.ask(|reply| SupervisorMessage::FindOrStart { key, seed, reply }).await.map(Post::to)
    }

    /// This child if it is running.
    pub async fn find(&self, key: F::Key) -> Result<Option<Post<F::Message>>, ChildError> {
        Ok(self.post.ask(|reply| SupervisorMessage::Find { key, reply }).await?.map(Post::to))
    }

    /// All running children.
    pub async fn list(&self) -> Result<Vec<(F::Key, Post<F::Message>)>, ChildError> {
        let children = self.post.ask(|reply| SupervisorMessage::List { reply }).await?;
        Ok(children.into_iter().map(|(key, actor)| (key, Post::to(actor))).collect())
    }

    /// The family's description.
    pub async fn describe(&self) -> Result<Description, AskError> {
        self.post.ask(|reply| SupervisorMessage::Describe { reply }).await
    }

    /// Leads to this incarnation of the supervisor from now on.
    pub fn install(&self, supervisor: Option<ActorRef<SupervisorMessage<F>>>) {
        self.post.install(supervisor);
    }
}

/// What a supervisor is started with.
pub struct SupervisorArguments<F: Family> {
    /// How to start a child.
    pub family: Arc<F>,
    /// When to restart one.
    pub policy: RestartPolicy,
    /// Most children at once.
    pub children_max: usize,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
}

impl<F: Family> Clone for SupervisorArguments<F> {
    fn clone(&self) -> Self {
        Self {
            family: Arc::clone(&self.family),
            policy: self.policy.clone(),
            children_max: self.children_max,
            clock: Arc::clone(&self.clock),
        }
    }
}

enum ChildStatus<M> {
    Running(ActorRef<M>),
    BackingOff(Duration),
    Down,
}

struct Child<F: Family> {
    seed: F::Seed,
    status: ChildStatus<F::Message>,
    history: RestartHistory,
}

/// A supervisor's own state.
pub struct SupervisorState<F: Family> {
    arguments: SupervisorArguments<F>,
    children: HashMap<F::Key, Child<F>>,
    keys: HashMap<ActorId, F::Key>,
    restarts: u64,
}

/// The supervisor of one family.
pub struct Supervisor<F: Family>(std::marker::PhantomData<fn() -> F>);

impl<F: Family> Default for Supervisor<F> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<F: Family> Actor for Supervisor<F> {
    type Msg = SupervisorMessage<F>;
    type State = SupervisorState<F>;
    type Arguments = SupervisorArguments<F>;

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        // There from the start, so that their first increase is seen.
        metrics::counter!("playhouse_actor_restarts_total", "family" => F::NAME).increment(0);
        metrics::counter!("playhouse_actor_given_up_total", "family" => F::NAME).increment(0);
        metrics::gauge!("playhouse_actors", "family" => F::NAME).set(0.0);
        Ok(SupervisorState { arguments, children: HashMap::new(), keys: HashMap::new(), restarts: 0 })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMessage::FindOrStart { key, seed, reply } => {
                reply.send(state.find_or_start(&me, key, seed).await);
            }
            SupervisorMessage::Find { key, reply } => reply.send(Ok(state.running(&key))),
            SupervisorMessage::List { reply } => reply.send(Ok(state.list())),
            SupervisorMessage::Describe { reply } => state.describe(reply),
            SupervisorMessage::RestartDue { key } => state.restart(&me, key).await,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((id, reason, why)) = ended(&event) {
            state.child_ended(&me, id, reason, &why);
        }
        Ok(())
    }
}

/// Which actor a supervision event says has ended, how, and why in words.
pub(crate) fn ended(event: &SupervisionEvent) -> Option<(ActorId, StopReason, String)> {
    match event {
        SupervisionEvent::ActorFailed(cell, error) => Some((cell.get_id(), StopReason::Failed, error.to_string())),
        SupervisionEvent::ActorTerminated(cell, _, why) => {
            let why = why.clone().unwrap_or_default();
            let reason = if why == "killed" { StopReason::Failed } else { StopReason::Finished };
            Some((cell.get_id(), reason, why))
        }
        _ => None,
    }
}

impl<F: Family> SupervisorState<F> {
    fn running(&self, key: &F::Key) -> Option<ActorRef<F::Message>> {
        match &self.children.get(key)?.status {
            ChildStatus::Running(actor) => Some(actor.clone()),
            _ => None,
        }
    }

    fn list(&self) -> RunningChildren<F> {
        self.children.keys().filter_map(|key| Some((key.clone(), self.running(key)?))).collect()
    }

    async fn find_or_start(
        &mut self,
        me: &ActorRef<SupervisorMessage<F>>,
        key: F::Key,
        seed: F::Seed,
    ) -> Result<ActorRef<F::Message>, ChildError> {
        let is_full = self.children.len() >= self.arguments.children_max;
        let history = match self.children.get_mut(&key) {
            Some(Child { status: ChildStatus::Running(actor), .. }) => return Ok(actor.clone()),
            Some(Child { status: ChildStatus::BackingOff(after), .. }) => {
                return Err(ChildError::Restarting { after: *after });
            }
            Some(child) => {
                let policy = &self.arguments.policy;
                if policy.is_exhausted(&mut child.history, self.arguments.clock.now()) {
                    return Err(ChildError::GivenUp);
                }
                std::mem::take(&mut child.history)
            }
            None if is_full => return Err(ChildError::TooMany),
            None => RestartHistory::default(),
        };
        self.start(me, key, seed, history).await
    }

    async fn start(
        &mut self,
        me: &ActorRef<SupervisorMessage<F>>,
        key: F::Key,
        seed: F::Seed,
        history: RestartHistory,
    ) -> Result<ActorRef<F::Message>, ChildError> {
        let family = Arc::clone(&self.arguments.family);
        match family.spawn(&key, &seed, me.get_cell()).await {
            Ok(actor) => {
                self.keys.insert(actor.get_id(), key.clone());
                self.children.insert(key, Child { seed, status: ChildStatus::Running(actor.clone()), history });
                metrics::gauge!("playhouse_actors", "family" => F::NAME).set(self.keys.len() as f64);
                Ok(actor)
            }
            Err(error) => {
                tracing::error!(family = F::NAME, key = %key, %error, "child could not be started");
                self.children.remove(&key);
                Err(ChildError::NotStarted)
            }
        }
    }

    async fn restart(&mut self, me: &ActorRef<SupervisorMessage<F>>, key: F::Key) {
        let Some(Child { seed, status: ChildStatus::BackingOff(_), history }) = self.children.remove(&key) else {
            return;
        };
        self.restarts += 1;
        metrics::counter!("playhouse_actor_restarts_total", "family" => F::NAME).increment(1);
        let _ = self.start(me, key, seed, history).await;
    }

    fn child_ended(&mut self, me: &ActorRef<SupervisorMessage<F>>, id: ActorId, reason: StopReason, why: &str) {
        let Some(key) = self.keys.remove(&id) else { return };
        metrics::gauge!("playhouse_actors", "family" => F::NAME).set(self.keys.len() as f64);
        let Some(child) = self.children.get_mut(&key) else { return };
        let now = self.arguments.clock.now();
        match self.arguments.policy.decide(&mut child.history, reason, now) {
            Decision::Forget => {
                self.children.remove(&key);
            }
            Decision::Restart { after } => {
                tracing::warn!(family = F::NAME, key = %key, error = why, after_ms = after.as_millis() as u64, "child failed, restarting");
                child.status = ChildStatus::BackingOff(after);
                me.send_after(after, move || SupervisorMessage::RestartDue { key });
            }
            Decision::GiveUp => {
                tracing::error!(family = F::NAME, key = %key, error = why, "child failed too often, giving up");
                metrics::counter!("playhouse_actor_given_up_total", "family" => F::NAME).increment(1);
                child.status = ChildStatus::Down;
                let window = self.arguments.policy.window;
                self.forget_the_long_down(window);
            }
        }
    }

    /// Children that were given up on are remembered only as long as the policy looks back.
    fn forget_the_long_down(&mut self, window: Duration) {
        let now = self.arguments.clock.now();
        self.children.retain(|_, child| {
            !matches!(child.status, ChildStatus::Down) || child.history.last().is_some_and(|at| now.since(at) <= window)
        });
    }

    /// Asks the children without blocking the mailbox, and answers when they have or their time is up.
    fn describe(&self, reply: DescribeReply) {
        #[derive(Serialize)]
        struct Snapshot {
            running: usize,
            backing_off: usize,
            down: usize,
            restarts: u64,
        }
        let count = |wanted: fn(&ChildStatus<F::Message>) -> bool| {
            self.children.values().filter(|child| wanted(&child.status)).count()
        };
        let snapshot = Snapshot {
            running: self.keys.len(),
            backing_off: count(|status| matches!(status, ChildStatus::BackingOff(_))),
            down: count(|status| matches!(status, ChildStatus::Down)),
            restarts: self.restarts,
        };
        let state = serde_json::to_value(snapshot).unwrap_or_default();
        let children: Vec<_> = self.list().into_iter().take(DESCRIBE_CHILDREN_MAX).collect();
        tokio::spawn(async move {
            let asked = children.into_iter().map(|(key, actor)| async move {
                let answer = Post::to(actor).ask_within(DESCRIBE_CHILD_TIMEOUT, F::describe).await;
                answer.ok()?.ok().or_else(|| Some(Description::leaf(F::NAME, key, &"silent")))
            });
            let children = futures::future::join_all(asked).await.into_iter().flatten().collect();
            reply.send(Ok(Description { kind: F::NAME, key: None, state, children }));
        });
    }
}

#[cfg(test)]
mod tests;
