//! Live priority: has encoding of stored videos stand still while live streams would be late. A single actor below
//! `NodeRoot`; it measures how late its own clock rings, which is what everything else of the node feels.
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use serde::Serialize;

use super::describe::{DescribeReply, Description};
use super::lives::LivesHandle;
use super::node_root::{Branch, Single};
use super::reply::Post;
use super::transcode_worker::{PausedBy, WorkerPoolHandle};
use crate::domain::live::priority::LivePriority;

/// Between two rings.
const RING: Duration = Duration::from_millis(250);
/// The same while nothing is live.
const IDLE_RING: Duration = Duration::from_secs(1);

/// What it works with.
#[derive(Clone)]
pub struct PriorityContext {
    /// Knows how many streams are on.
    pub lives: LivesHandle,
    /// Stand still.
    pub workers: WorkerPoolHandle,
    /// Lateness from which encoding stands still.
    pub lateness_max: Duration,
}

/// What it is told.
#[derive(RactorMessage)]
pub enum PriorityMessage {
    /// The clock rings.
    Rang {
        /// When it should have.
        due: Instant,
    },
    /// Describe yourself.
    Describe {
        /// The description.
        reply: DescribeReply,
    },
}

struct PriorityState {
    context: Arc<PriorityContext>,
    priority: LivePriority,
    lateness: Duration,
}

struct PriorityActor;

/// The branch of the root.
pub fn branch(context: PriorityContext) -> Branch {
    let context = Arc::new(context);
    let make = move || (PriorityActor, Arc::clone(&context));
    let describe = |reply| PriorityMessage::Describe { reply };
    Single { name: "live_priority", post: Post::default(), make, describe }.into()
}

fn ring(me: &ActorRef<PriorityMessage>, context: &PriorityContext) {
    let wait = if context.lives.count() > 0 { RING } else { IDLE_RING };
    let due = Instant::now() + wait;
    me.send_after(wait, move || PriorityMessage::Rang { due });
}

impl Actor for PriorityActor {
    type Msg = PriorityMessage;
    type State = PriorityState;
    type Arguments = Arc<PriorityContext>;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        context: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        ring(&me, &context);
        // One that failed may have left a claim.
        context.workers.pause_encoding(PausedBy::Live, false);
        let priority = LivePriority::new(context.lateness_max);
        Ok(PriorityState { context, priority, lateness: Duration::ZERO })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PriorityMessage::Rang { due } => {
                ring(&me, &state.context);
                state.rang(due);
            }
            PriorityMessage::Describe { reply } => reply.send(Ok(state.describe())),
        }
        Ok(())
    }
}

impl PriorityState {
    fn rang(&mut self, due: Instant) {
        self.lateness = due.elapsed();
        metrics::histogram!("playhouse_live_clock_lateness_seconds").record(self.lateness.as_secs_f64());
        let was_claimed = self.priority.is_claimed();
        let is_claimed = self.priority.rang(self.lateness, self.context.lives.count());
        if is_claimed != was_claimed {
            tracing::info!(is_paused = is_claimed, lateness = ?self.lateness, "live streams and encoding share the cores");
            self.context.workers.pause_encoding(PausedBy::Live, is_claimed);
        }
    }

    fn describe(&self) -> Description {
        #[derive(Serialize)]
        struct Shown {
            is_encoding_paused: bool,
            lateness_ms: u64,
        }
        let lateness_ms = u64::try_from(self.lateness.as_millis()).unwrap_or(u64::MAX);
        let shown = Shown { is_encoding_paused: self.priority.is_claimed(), lateness_ms };
        Description::leaf("live_priority", "live_priority", &shown)
    }
}
