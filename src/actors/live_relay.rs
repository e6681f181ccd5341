//! Relays: live streams of other nodes that are watched through this one. A relay is told of everything of its stream once, however many
//! watch here, and makes a stream of it that is like the one where it comes from, to the numbers of its segments. When the node that
//! has the stream is gone, it looks who has it now.
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use ractor_cluster::RactorMessage;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::describe::{DescribeReply, Description};
use super::live_picture::{NewestPicture, Picture};
use super::lives::{Lives, Streams, Watched};
use super::nodes::{PeerRequest, PeerStream};
use super::peer_frames::{self, in_time};
use super::supervisor::{Family, FamilyHandle};
use crate::domain::cluster::NodeName;
use crate::domain::ids::PlaybackId;
use crate::domain::live::{Live, LiveState};
use crate::media::live::broadcast::{Broadcast, BroadcastSettings, Listener, Told};
use crate::media::live::stream::{Forgetful, LiveStream};
use crate::storage::codec::{self, Versioned};

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
/// What is new is looked for at least so often.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Longest name of a stream that is asked for.
const NAME_BYTES_MAX: usize = 64;
/// Longest wait for a peer that takes or sends nothing: streams are never silent for so long.
const STALL_MAX: Duration = Duration::from_secs(15);

/// What relays are told. Variants are only ever added.
#[derive(Debug, Serialize, Deserialize)]
enum Piece {
    /// Of the stream itself.
    Told(Told),
    /// What it looks like.
    Picture {
        /// JPEG.
        body: bytes::Bytes,
        /// The segment that it was taken from.
        segment: u64,
    },
}

impl Versioned for Piece {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 64 << 20;
}

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
}

impl RelaysHandle {
    /// A handle to the family that will be started with `context`.
    pub fn new(context: Arc<Lives>) -> Self {
        let absent = Cache::builder().max_capacity(ABSENT_MAX).time_to_live(ABSENT_FOR).build();
        Self { family: FamilyHandle::default(), context, absent }
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
                    let streams = self.context.streams.clone();
                    served.spawn(async move {
                        if let Err(reason) = tell_peer(&streams, stream).await {
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
                let viewers = state.watched().map_or(0, |watched| watched.viewers.count());
                let has_ended = state.stream.look(Broadcast::has_ended);
                let snapshot = RelaySnapshot { viewers, has_ended };
                reply.send(Ok(Description::leaf("live_relay", &state.live.playback_id, &snapshot)));
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
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
    let mut listened = tokio::spawn(listen_always(live.clone(), Arc::clone(&context), Arc::clone(&stream)));
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
    listened.abort();
}

/// Until the stream has ended.
async fn listen_always(live: Live, context: Arc<Lives>, stream: Arc<LiveStream>) {
    loop {
        match context.nodes.holder(&super::lives::lease_key(&live.id)).await.ok().flatten() {
            Some(node) => {
                if let Err(reason) = listen(&node, (&live, &context), &stream).await {
                    tracing::debug!(live.id = %live.id, %node, reason, "a stream is not relayed now");
                }
            }
            None if is_over(&live, &context).await => {
                stream.end();
                return;
            }
            None => {}
        }
        if stream.look(Broadcast::has_ended) {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn is_over(live: &Live, context: &Lives) -> bool {
    let found = context.catalog.live(&live.id).await;
    found.is_ok_and(|live| live.is_none_or(|live| live.state != LiveState::Live))
}

/// Takes what a node tells of a stream.
async fn listen(node: &NodeName, (live, context): (&Live, &Lives), stream: &LiveStream) -> Result<(), String> {
    let PeerStream { mut send, mut receive } = in_time(STALL_MAX, context.nodes.open_relay(node)).await?;
    in_time(STALL_MAX, peer_frames::write(&mut send, live.playback_id.as_str().as_bytes())).await?;
    let picture = context.streams.find(&live.playback_id).map(|watched| watched.picture).unwrap_or_default();
    loop {
        let bytes = in_time(STALL_MAX, peer_frames::read(&mut receive, Piece::BYTES_MAX)).await?;
        metrics::counter!("playhouse_live_relay_bytes_total").increment(bytes.len() as u64);
        match codec::decode(&bytes).map_err(|error| error.to_string())? {
            Piece::Told(told) => stream.take_told(vec![told]).map_err(|error| error.to_string())?,
            Piece::Picture { body, segment } => picture.set(Picture { body, segment }),
        }
    }
}

/// Tells a node of a stream, until that is over or nobody wants to hear of it.
async fn tell_peer(streams: &Streams, stream: PeerStream) -> Result<(), String> {
    let PeerStream { mut send, mut receive } = stream;
    let name = in_time(STALL_MAX, peer_frames::read(&mut receive, NAME_BYTES_MAX)).await?;
    let name = std::str::from_utf8(&name).map_err(|error| error.to_string())?;
    let playback = PlaybackId::parse(name).map_err(|error| error.to_string())?;
    let Watched { stream, picture, .. } = streams.find(&playback).ok_or("there is no such stream here")?;
    let (mut listener, mut moved, mut shown) = (Listener::default(), stream.moved(), None);
    loop {
        moved.mark_unchanged();
        for told in stream.tell(&mut listener) {
            send_piece(&mut send, &Piece::Told(told)).await?;
        }
        if let Some(Picture { body, segment }) = newer(&picture, &mut shown) {
            send_piece(&mut send, &Piece::Picture { body, segment }).await?;
        }
        // It may have been a relay's, of a stream that goes on here by now.
        let is_current = streams.find(&playback).is_some_and(|now| Arc::ptr_eq(&now.stream, &stream));
        if stream.look(Broadcast::has_ended) || stream.is_retired() || !is_current {
            return in_time(STALL_MAX, send.shutdown()).await;
        }
        // Whatever else changes is seen by looking.
        let _ = tokio::time::timeout(TELL_EVERY, moved.changed()).await;
    }
}

fn newer(picture: &NewestPicture, shown: &mut Option<u64>) -> Option<Picture> {
    let now = picture.get().filter(|picture| Some(picture.segment) != *shown)?;
    *shown = Some(now.segment);
    Some(now)
}

async fn send_piece(send: &mut (impl AsyncWriteExt + Unpin), piece: &Piece) -> Result<(), String> {
    let bytes = codec::encode(piece).map_err(|error| error.to_string())?;
    in_time(STALL_MAX, peer_frames::write(send, &bytes)).await
}
