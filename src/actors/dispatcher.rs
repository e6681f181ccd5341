//! Dispatcher: hands the change feed to whoever listens on this node, in commit order, each event once per start.
//! A single actor below `NodeRoot`. It starts at the feed's end: what listeners keep in memory is younger. It reads
//! when this process has committed events and, for those of other nodes, every second; a failed read is repeated.
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use serde::Serialize;

use super::describe::{DescribeReply, Description};
use super::node_root::{Branch, Single};
use super::reply::Post;
use crate::domain::events::Event;
use crate::domain::ports::{Catalog, CatalogError};

/// How late events of other nodes are seen at most.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Events read at once: bounds memory when the feed is far ahead.
const EVENTS_PER_READ: u32 = 500;

/// Told of each event; the next one waits until it is done.
pub type Listener = Arc<dyn Fn(Event) -> BoxFuture<'static, ()> + Send + Sync>;

/// What the dispatcher is told.
#[derive(RactorMessage)]
pub enum DispatcherMessage {
    /// There may be new events.
    FeedMoved,
    /// A read has ended.
    ReadEnded {
        /// Sequence of the last event handed on, or why there is none.
        outcome: Result<u64, CatalogError>,
        /// Whether there may be more.
        has_more: bool,
    },
    /// Describe yourself.
    Describe {
        /// The description.
        reply: DescribeReply,
    },
    /// The poll timer fired.
    PollTimerFired,
}

struct Context {
    catalog: Arc<dyn Catalog>,
    listeners: Vec<Listener>,
}

#[derive(Debug, Default, Serialize)]
struct DispatcherSnapshot {
    /// `None` until the feed's end is known.
    handed_on: Option<u64>,
    is_reading: bool,
    /// Asked for while reading.
    is_behind: bool,
}

/// The dispatcher's own state.
pub struct DispatcherState {
    context: Arc<Context>,
    snapshot: DispatcherSnapshot,
    wake: tokio::task::AbortHandle,
}

struct DispatcherActor;

/// The dispatcher as a branch of the root.
pub fn branch(catalog: Arc<dyn Catalog>, listeners: Vec<Listener>) -> Branch {
    let context = Arc::new(Context { catalog, listeners });
    let make = move || (DispatcherActor, Arc::clone(&context));
    let describe = |reply| DispatcherMessage::Describe { reply };
    Single { name: "dispatcher", post: Post::default(), make, describe }.into()
}

impl Actor for DispatcherActor {
    type Msg = DispatcherMessage;
    type State = DispatcherState;
    type Arguments = Arc<Context>;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        context: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let (mut told, waker) = (context.catalog.told(), me.clone());
        let wake = tokio::spawn(async move {
            while told.next().await.is_some() && waker.cast(DispatcherMessage::FeedMoved).is_ok() {}
        });
        me.send_interval(POLL_INTERVAL, || DispatcherMessage::PollTimerFired);
        let mut state = DispatcherState { context, snapshot: DispatcherSnapshot::default(), wake: wake.abort_handle() };
        state.read(&me);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            DispatcherMessage::FeedMoved | DispatcherMessage::PollTimerFired => state.read(&me),
            DispatcherMessage::ReadEnded { outcome, has_more } => state.read_ended(&me, outcome, has_more),
            DispatcherMessage::Describe { reply } => {
                reply.send(Ok(Description::leaf("dispatcher", "dispatcher", &state.snapshot)));
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
        state.wake.abort();
        Ok(())
    }
}

impl DispatcherState {
    /// Reads on, one read at a time.
    fn read(&mut self, me: &ActorRef<DispatcherMessage>) {
        self.snapshot.is_behind = self.snapshot.is_reading;
        if self.snapshot.is_reading {
            return;
        }
        self.snapshot.is_reading = true;
        let (me, context, after) = (me.clone(), Arc::clone(&self.context), self.snapshot.handed_on);
        tokio::spawn(async move {
            let (outcome, has_more) = match after {
                None => (context.catalog.last_event().await, false),
                Some(after) => context.hand_on(after).await,
            };
            let _ = me.cast(DispatcherMessage::ReadEnded { outcome, has_more });
        });
    }

    fn read_ended(&mut self, me: &ActorRef<DispatcherMessage>, outcome: Result<u64, CatalogError>, has_more: bool) {
        self.snapshot.is_reading = false;
        match outcome {
            Ok(sequence) => self.snapshot.handed_on = Some(sequence),
            Err(error) => return tracing::warn!(%error, "change feed not read, will be tried again"),
        }
        if has_more || self.snapshot.is_behind {
            self.read(me);
        }
    }
}

impl Context {
    async fn hand_on(&self, after: u64) -> (Result<u64, CatalogError>, bool) {
        let events = match self.catalog.events_after(after, EVENTS_PER_READ).await {
            Ok(events) => events,
            Err(error) => return (Err(error), false),
        };
        let has_more = events.len() >= EVENTS_PER_READ as usize;
        let mut last = after;
        for event in events {
            last = event.sequence;
            for listener in &self.listeners {
                listener(event.clone()).await;
            }
        }
        (Ok(last), has_more)
    }
}

#[cfg(test)]
mod tests;
