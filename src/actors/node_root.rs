//! Node root: starts the supervisors in order, restarts one that fails, and ends the node when one cannot be kept up.
//!
//! ```text
//! NodeRoot
//! ├─ uploads ─ UploadSession*
//! ├─ transcodes ─ TranscodeJob*
//! ├─ playback ─ PlaybackSession*
//! ├─ live ─ LiveIngest*
//! ├─ dispatcher
//! └─ janitor
//! ```
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use ractor_cluster::RactorMessage;

use super::describe::{DescribeReply, Description};
use super::reply::{AskError, Post};
use super::supervisor::{Family, FamilyHandle, Supervisor, SupervisorArguments, ended};
use crate::domain::ports::Clock;
use crate::domain::restart::{Decision, RestartHistory, RestartPolicy};

/// How long the root waits for its branches to stop when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

type Start = Box<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;
type Describe = Arc<dyn Fn() -> BoxFuture<'static, Result<Description, AskError>> + Send + Sync>;

/// One child of the root: a supervisor or a single actor, and how it is started again.
pub struct Branch {
    name: &'static str,
    start: Start,
    describe: Describe,
}

impl Branch {
    /// A branch from what starts and describes it; `start` links the actor to the cell it is given.
    pub fn new<S, D>(name: &'static str, start: S, describe: D) -> Self
    where
        S: Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync + 'static,
        D: Fn() -> BoxFuture<'static, Result<Description, AskError>> + Send + Sync + 'static,
    {
        Self { name, start: Box::new(start), describe: Arc::new(describe) }
    }

    /// The supervisor of a family; `handle` leads to each incarnation of it.
    pub fn family<F: Family>(handle: FamilyHandle<F>, arguments: SupervisorArguments<F>) -> Self {
        let described = handle.clone();
        Self::new(
            F::NAME,
            move |root| {
                let (handle, arguments) = (handle.clone(), arguments.clone());
                Box::pin(async move {
                    let (actor, _) = Actor::spawn_linked(None, Supervisor::<F>::default(), arguments, root).await?;
                    handle.install(Some(actor.clone()));
                    Ok(actor.get_cell())
                })
            },
            move || {
                let handle = described.clone();
                Box::pin(async move { handle.describe().await })
            },
        )
    }
}

/// A single actor below the root: behind which post it is, how it is started again, and the question that makes it
/// describe itself.
pub(crate) struct Single<A: Actor, F> {
    pub(crate) name: &'static str,
    pub(crate) post: Post<A::Msg>,
    pub(crate) make: F,
    pub(crate) describe: fn(DescribeReply) -> A::Msg,
}

impl<A, F> From<Single<A, F>> for Branch
where
    A: Actor,
    F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
{
    fn from(Single { name, post, make, describe }: Single<A, F>) -> Self {
        let described = post.clone();
        Self::new(
            name,
            move |root| {
                let (post, (actor, arguments)) = (post.clone(), make());
                Box::pin(async move {
                    let (actor, _) = Actor::spawn_linked(None, actor, arguments, root).await?;
                    post.install(Some(actor.clone()));
                    Ok(actor.get_cell())
                })
            },
            move || {
                let post = described.clone();
                Box::pin(async move { post.ask(describe).await })
            },
        )
    }
}

/// What the root is told.
#[derive(RactorMessage)]
pub enum RootMessage {
    /// Describe the whole tree.
    DescribeTree {
        /// The description.
        reply: DescribeReply,
    },
    /// A branch's back-off is over.
    RestartDue {
        /// Which one.
        index: usize,
    },
}

/// The only way in; answers once the tree has grown.
#[derive(Clone, Default)]
pub struct RootHandle(Post<RootMessage>);

impl RootHandle {
    /// The whole supervision tree with a snapshot of each actor.
    pub async fn describe(&self) -> Result<Description, AskError> {
        self.0.ask(|reply| RootMessage::DescribeTree { reply }).await
    }
}

/// What the root is started with.
pub struct RootArguments {
    /// Its children, in the order in which they start.
    pub branches: Vec<Branch>,
    /// When to restart one.
    pub policy: RestartPolicy,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
}

struct Grown {
    branch: Branch,
    id: Option<ActorId>,
    history: RestartHistory,
}

/// The root's own state.
pub struct RootState {
    branches: Vec<Grown>,
    policy: RestartPolicy,
    clock: Arc<dyn Clock>,
}

/// The root of a node's actors.
pub struct NodeRoot;

/// A running tree.
pub struct Tree {
    /// Asks it.
    pub handle: RootHandle,
    actor: ActorRef<RootMessage>,
    ended: ractor::concurrency::JoinHandle<()>,
}

impl Tree {
    /// Starts the root and its branches.
    pub async fn grow(arguments: RootArguments) -> Result<Self, SpawnErr> {
        Self::grow_behind(RootHandle::default(), arguments).await
    }

    /// The same, behind a handle that was given out before.
    pub async fn grow_behind(handle: RootHandle, arguments: RootArguments) -> Result<Self, SpawnErr> {
        let (actor, ended) = Actor::spawn(None, NodeRoot, arguments).await?;
        handle.0.install(Some(actor.clone()));
        Ok(Self { handle, actor, ended })
    }

    /// Returns when the root has ended by itself, which it does only when a branch could not be kept up.
    pub async fn collapsed(&mut self) {
        let _ = (&mut self.ended).await;
    }

    /// Stops all actors, children first.
    pub async fn stop(self) {
        self.actor.stop_children_and_wait(None, Some(STOP_TIMEOUT)).await;
        let _ = self.actor.stop_and_wait(None, Some(STOP_TIMEOUT)).await;
    }
}

impl Actor for NodeRoot {
    type Msg = RootMessage;
    type State = RootState;
    type Arguments = RootArguments;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let mut branches = Vec::with_capacity(arguments.branches.len());
        for branch in arguments.branches {
            let cell = (branch.start)(me.get_cell()).await?;
            branches.push(Grown { branch, id: Some(cell.get_id()), history: RestartHistory::default() });
        }
        Ok(RootState { branches, policy: arguments.policy, clock: arguments.clock })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RootMessage::DescribeTree { reply } => state.describe(reply),
            RootMessage::RestartDue { index } => state.restart(&me, index).await?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let Some((id, reason, why)) = ended(&event) else { return Ok(()) };
        let Some(index) = state.branches.iter().position(|grown| grown.id == Some(id)) else { return Ok(()) };
        let Some(grown) = state.branches.get_mut(index) else { return Ok(()) };
        grown.id = None;
        match state.policy.decide(&mut grown.history, reason, state.clock.now()) {
            Decision::Forget => {}
            Decision::Restart { after } => {
                tracing::error!(branch = grown.branch.name, error = why, "supervisor failed, restarting");
                me.send_after(after, move || RootMessage::RestartDue { index });
            }
            Decision::GiveUp => {
                tracing::error!(
                    branch = grown.branch.name,
                    error = why,
                    "supervisor failed too often, ending the node"
                );
                me.stop(Some(format!("{} could not be kept up", grown.branch.name)));
            }
        }
        Ok(())
    }
}

impl RootState {
    async fn restart(&mut self, me: &ActorRef<RootMessage>, index: usize) -> Result<(), ActorProcessingErr> {
        let Some(grown) = self.branches.get_mut(index) else { return Ok(()) };
        metrics::counter!("playhouse_actor_restarts_total", "family" => "root").increment(1);
        grown.id = Some((grown.branch.start)(me.get_cell()).await?.get_id());
        Ok(())
    }

    fn describe(&self, reply: DescribeReply) {
        let asked: Vec<_> =
            self.branches.iter().map(|grown| (grown.branch.name, Arc::clone(&grown.branch.describe))).collect();
        tokio::spawn(async move {
            let answers = asked.into_iter().map(|(name, describe)| async move {
                describe().await.unwrap_or_else(|error| Description {
                    kind: name,
                    key: None,
                    state: error.to_string().into(),
                    children: Vec::new(),
                })
            });
            let children = futures::future::join_all(answers).await;
            reply.send(Ok(Description { kind: "node_root", key: None, state: serde_json::Value::Null, children }));
        });
    }
}

#[cfg(test)]
mod tests;
