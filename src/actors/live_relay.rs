//! Relays: live streams of other nodes that are watched through this one. A relay is told of everything of its stream once, however many
//! watch here, and makes a stream of it that is like the one where it comes from, to the numbers of its segments; frames it is told of
//! while somebody here reads them. Many relays of one stream are a tree: a node tells so many others, and sends the next to one of
//! these. When the node that has the stream is gone, relays look who has it now.
mod branch;
mod listening;
pub mod speech;
mod telling;

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use ractor_cluster::RactorMessage;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

pub use branch::Branch;
use listening::Relayed;
use telling::tell_peer;

use super::describe::{DescribeReply, Description};
use super::lives::{Lives, Streams, Watched};
use super::nodes::PeerRequest;
use super::supervisor::{Family, FamilyHandle};
use crate::domain::cluster::NodeName;
use crate::domain::ids::PlaybackId;
use crate::domain::live::{Live, LiveState};
use crate::media::live::broadcast::{Broadcast, BroadcastSettings};
use crate::media::live::stream::{Forgetful, LiveStream};

/// Most relays of a node.
pub const RELAYS_MAX: usize = 10_000;
/// Longest wait of the first viewer for what a stream is.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what is not live is not looked for again.
const ABSENT_FOR: Duration = Duration::from_secs(1);
/// Names that are remembered as such.
const ABSENT_MAX: u64 = 10_000;
/// How often it is looked who has a stream that nobody has, and whether anybody watches.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A relay that nobody watches through ends after this long.
const UNWATCHED_MAX: Duration = Duration::from_secs(30);
/// Longest wait for a peer that takes or sends nothing: streams are never silent for so long.
const STALL_MAX: Duration = Duration::from_secs(15);

/// What a relay is told by others of this node.
#[derive(RactorMessage)]
pub enum RelayMessage {
    /// The stream's record has changed.
    Changed,
    /// Nobody needs it any more.
    Over,
    /// Describe yourself.
    Describe {
        /// The description.
        reply: DescribeReply,
    },
}

/// The family.
pub struct RelayFamily(Arc<Lives>);

impl Family for RelayFamily {
    type Key = PlaybackId;
    type Seed = Live;
    type Message = RelayMessage;
    const NAME: &'static str = "relays";

    async fn spawn(
        &self,
        _: &PlaybackId,
        live: &Live,
        supervisor: ActorCell,
    ) -> Result<ActorRef<RelayMessage>, SpawnErr> {
        Ok(Actor::spawn_linked(None, RelayActor, (live.clone(), Arc::clone(&self.0)), supervisor).await?.0)
    }

    fn describe(reply: DescribeReply) -> RelayMessage {
        RelayMessage::Describe { reply }
    }
}

/// The only way in.
#[derive(Clone)]
pub struct RelaysHandle {
    family: FamilyHandle<RelayFamily>,
    context: Arc<Lives>,
    absent: Cache<PlaybackId, ()>,
    /// Streams that are looked for just now: once for all who ask.
    sought: moka::future::Cache<PlaybackId, ()>,
}

impl RelaysHandle {
    /// A handle to the family that will be started with `context`.
    pub fn new(context: Arc<Lives>) -> Self {
        let absent = Cache::builder().max_capacity(ABSENT_MAX).time_to_live(ABSENT_FOR).build();
        let sought = moka::future::Cache::builder().max_capacity(ABSENT_MAX).time_to_live(LOOK_EVERY).build();
        Self { family: FamilyHandle::default(), context, absent, sought }
    }

    /// The family behind it, for its supervisor.
    pub fn family(&self) -> (FamilyHandle<RelayFamily>, Arc<RelayFamily>) {
        (self.family.clone(), Arc::new(RelayFamily(Arc::clone(&self.context))))
    }

    /// A stream that another node has, once it is known what it is.
    pub async fn watch(&self, playback: &PlaybackId) -> Option<Watched> {
        if !self.context.nodes.is_cluster() || self.absent.contains_key(playback) {
            return None;
        }
        let found = self.context.catalog.live_by_playback(playback).await.ok()?;
        let Some(live) = found.filter(|live| live.state == LiveState::Live) else {
            self.absent.insert(playback.clone(), ());
            return None;
        };
        self.family.find_or_start(playback.clone(), live).await.ok()?;
        let watched = self.context.streams.find(playback)?;
        let is_known = |broadcast: &Broadcast| broadcast.target_secs().map(drop);
        watched.stream.wait_for(HEAD_TIMEOUT, is_known).await;
        Some(watched)
    }

    /// Looks for a stream that another node has, so that it is found here.
    pub async fn seek(&self, playback: &PlaybackId) {
        self.sought.get_with_by_ref(playback, async { drop(self.watch(playback).await) }).await;
    }

    /// Whether viewers of frames are served here of streams that this node has; by a node of an older release they are by itself.
    pub fn have_frames_of(&self, node: &NodeName) -> bool {
        !self.context.nodes.is_older(node, speech::TREES_SINCE)
    }

    /// The record of the stream played under this id has changed.
    pub async fn note_changed(&self, playback: &PlaybackId) {
        if let Ok(Some(relay)) = self.family.find(playback.clone()).await {
            let _ = relay.tell(RelayMessage::Changed);
        }
    }

    /// Tells other nodes' relays of streams that this node has, until there are none.
    pub async fn serve(self, mut asked: mpsc::Receiver<PeerRequest>) {
        let mut served = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                request = asked.recv() => {
                    let Some(PeerRequest { from, stream }) = request else { return };
                    let context = Arc::clone(&self.context);
                    served.spawn(async move {
                        if let Err(reason) = tell_peer(&context, &from.node, stream).await {
                            tracing::debug!(node = %from.node, reason, "a relay ended");
                        }
                    });
                }
                Some(_) = served.join_next() => {}
            }
        }
    }
}

struct RelayActor;

struct RelayState {
    live: Live,
    context: Arc<Lives>,
    stream: Arc<LiveStream>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Serialize)]
struct RelaySnapshot {
    viewers: u64,
    has_ended: bool,
    /// Nodes from the one that has the stream to the one that tells this one.
    above: Vec<NodeName>,
    /// Nodes that this one tells.
    below: Vec<NodeName>,
    /// Whether frames are read here.
    has_frames: bool,
}

impl Actor for RelayActor {
    type Msg = RelayMessage;
    type State = RelayState;
    type Arguments = (Live, Arc<Lives>);

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        (live, context): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let settings = BroadcastSettings::new(context.memory_window, 0);
        let stream = Arc::new(LiveStream::new(settings, Box::new(Forgetful)));
        context.streams.note_relayed(&live, &stream);
        metrics::counter!("playhouse_live_relays_total").increment(1);
        let following = follow(live.clone(), Arc::clone(&context), Arc::clone(&stream));
        let task = tokio::spawn(async move {
            following.await;
            let _ = me.cast(RelayMessage::Over);
        });
        Ok(RelayState { live, context, stream, _task: AbortOnDropHandle::new(task) })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RelayMessage::Changed => state.look_up(),
            RelayMessage::Over => me.stop(None),
            RelayMessage::Describe { reply } => {
                let snapshot = state.snapshot();
                reply.send(Ok(Description::leaf("live_relay", &state.live.playback_id, &snapshot)));
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
        state.stream.begin_to_retire();
        state.context.streams.remove(&state.live.playback_id, &state.stream);
        // Whoever waits for what comes next asks again.
        state.stream.retire();
        Ok(())
    }
}

impl RelayState {
    /// As viewers see it, unless this node has the stream itself by now.
    fn watched(&self) -> Option<Watched> {
        let watched = self.context.streams.find(&self.live.playback_id)?;
        Arc::ptr_eq(&watched.stream, &self.stream).then_some(watched)
    }

    fn snapshot(&self) -> RelaySnapshot {
        let watched = self.watched();
        let (above, below) = watched.as_ref().map(|watched| watched.branch.around()).unwrap_or_default();
        let viewers = watched.map_or(0, |watched| watched.viewers.count());
        let look = |broadcast: &Broadcast| (broadcast.has_ended(), broadcast.tap().is_read());
        let (has_ended, has_frames) = self.stream.look(look);
        RelaySnapshot { viewers, has_ended, above, below, has_frames }
    }

    /// Reads the stream's record again: who may watch may have changed.
    fn look_up(&self) {
        let (context, id, stream) = (Arc::clone(&self.context), self.live.id.clone(), Arc::clone(&self.stream));
        tokio::spawn(async move {
            match context.catalog.live(&id).await {
                Ok(Some(live)) => note_unless_own(&context.streams, &live, &stream),
                Ok(None) => stream.end(),
                Err(error) => tracing::warn!(live.id = %id, %error, "whether a stream may be watched is not known"),
            }
        });
    }
}

fn note_unless_own(streams: &Streams, live: &Live, stream: &Arc<LiveStream>) {
    if streams.find(&live.playback_id).is_some_and(|known| Arc::ptr_eq(&known.stream, stream)) {
        streams.note_relayed(live, stream);
    }
}

/// Keeps a stream like the one of whoever has it, for as long as somebody watches and it goes on.
async fn follow(live: Live, context: Arc<Lives>, stream: Arc<LiveStream>) {
    let relayed = Relayed { live: live.clone(), context: Arc::clone(&context), stream: Arc::clone(&stream) };
    let mut listened = AbortOnDropHandle::new(tokio::spawn(async move { relayed.listen_always().await }));
    let mut unwatched = Duration::ZERO;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = &mut listened => {
                // Its end is shown for a while.
                tokio::time::sleep(context.linger).await;
                return;
            }
            _ = looks.tick() => {}
        }
        let watched = context.streams.find(&live.playback_id).filter(|it| Arc::ptr_eq(&it.stream, &stream));
        let Some(watched) = watched else { break };
        let is_watched = watched.viewers.count() > 0 || stream.look(|broadcast| broadcast.tap().is_read());
        unwatched = if is_watched { Duration::ZERO } else { unwatched + LOOK_EVERY };
        if unwatched >= UNWATCHED_MAX {
            break;
        }
    }
}
