//! The live family: lets publishers of every protocol in by their stream key, and leads viewers to the media of what is live.
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use moka::Entry;
use moka::ops::compute::Op;
use moka::sync::Cache;
use ractor::{Actor, ActorCell, ActorRef, SpawnErr};

use super::describe::DescribeReply;
pub use super::live_ingest::IngestStats;
use super::live_ingest::{LiveArguments, LiveIngestActor, LiveMessage};
use super::live_keys::KeySealer;
pub use super::live_ladder::LadderConditions;
use super::live_ladder::LadderState;
use super::live_metrics::measure;
use super::live_picture::NewestPicture;
pub use super::live_push::{PushConditions, PushStats};
use super::live_relay::{Branch, RelaysHandle};
use super::media_tokens::MediaTokens;
use super::nodes::{ASK_TIMEOUT, NodesHandle, Placed};
use super::remote::{Answer, Question};
use super::reply::{AskError, Post};
use super::supervisor::{ChildError, Family, FamilyHandle};
use super::transcode_worker::WorkerPoolHandle;
use crate::cluster::AskNodeError;
use crate::domain::cluster::Lease;
use crate::domain::ids::{LiveId, PlaybackId};
use crate::domain::live::machine::Refusal;
use crate::domain::live::{Live, LiveState, Passphrase, SealedPassphrase, StreamKey};
use crate::domain::ports::{AssetStore, BlobStore, Catalog, CatalogError, Clock, Entropy};
use crate::domain::video::Privacy;
use crate::media::live::broadcast::Broadcast;
use crate::media::live::gate::{Audience, Feed, Gate, Knock, NotAdmitted, Seat, Ticket, TurnedAway};
use crate::media::live::stream::LiveStream;

/// Most live streams in memory at once.
pub const LIVES_MAX: usize = 10_000;
/// What a stream's lease is for.
pub fn lease_key(id: &LiveId) -> String {
    format!("live/{id}")
}

/// Longest wait for another node to let go of a broadcast.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest stream key looked at; ours are far shorter.
const KEY_BYTES_MAX: usize = 128;

/// What live streams need.
pub struct Lives {
    /// Which node has which stream.
    pub nodes: NodesHandle,
    /// Opens passphrases.
    pub keys: KeySealer,
    /// Checks links to what is not public.
    pub tokens: Arc<MediaTokens>,
    /// Keys, leases and states.
    pub catalog: Arc<dyn Catalog>,
    /// Spans of recordings.
    pub blobs: Arc<dyn BlobStore>,
    /// Indexes of recordings.
    pub assets: Arc<dyn AssetStore>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Ids of recordings.
    pub entropy: Arc<dyn Entropy>,
    /// Where spans are written: on the file system of a local blob store.
    pub recordings: PathBuf,
    /// Room on the disk that recordings leave, bytes.
    pub disk_reserve_bytes: u64,
    /// Whether sound that not every player knows is made AAC as well, of streams with a ladder.
    pub makes_aac: bool,
    /// How much of a recorded stream is kept in memory.
    pub memory_window: Duration,
    /// How far back one can go in a stream that is not recorded.
    pub unrecorded_window_max: Duration,
    /// How rungs are made.
    pub ladder: LadderConditions,
    /// How it gets to other servers.
    pub push: PushConditions,
    /// Take pictures.
    pub workers: WorkerPoolHandle,
    /// An existing directory for pictures in the making.
    pub work_dir: PathBuf,
    /// Time between pictures.
    pub picture_interval: Duration,
    /// How long a broadcast waits for its publisher's return.
    pub grace: Duration,
    /// How long a stream that is over stays in memory, so that viewers see its end.
    pub linger: Duration,
    /// Nodes that are told of one stream; more are sent to these.
    pub relay_fan_out: usize,
    /// What can be watched.
    pub streams: Streams,
}

/// The media of live streams by playback id, read by delivery without a question to any actor; clones share them.
#[derive(Clone)]
pub struct Streams(Cache<PlaybackId, Watched>);

/// How long somebody who has fetched something counts as watching: longer than any segment.
const WATCHING: Duration = Duration::from_secs(15);
/// Most viewers of a stream that are told apart.
const VIEWERS_MAX: u64 = 1_000_000;

/// Who watches a stream: everyone who fetched something of it lately, here or where this node tells of it.
#[derive(Clone)]
pub struct Viewers {
    all: Cache<u64, ()>,
    /// Who did so since this was last taken, while somebody takes it.
    fresh: Arc<Mutex<Option<HashSet<u64>>>>,
}

impl Default for Viewers {
    fn default() -> Self {
        let all = Cache::builder().max_capacity(VIEWERS_MAX).time_to_idle(WATCHING).build();
        Self { all, fresh: Arc::default() }
    }
}

impl Viewers {
    /// Somebody told apart by this fingerprint fetches something.
    pub fn note(&self, fingerprint: u64) {
        if self.all.get(&fingerprint).is_none() {
            self.all.insert(fingerprint, ());
        }
        if let Some(fresh) = &mut *self.fresh() {
            fresh.insert(fingerprint);
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.all.run_pending_tasks();
        self.all.entry_count()
    }

    /// Who was noted since this was last called.
    pub(super) fn take_fresh(&self) -> HashSet<u64> {
        self.fresh().replace(HashSet::new()).unwrap_or_default()
    }

    /// Nobody calls that any more.
    pub(super) fn forget_fresh(&self) {
        *self.fresh() = None;
    }

    fn fresh(&self) -> MutexGuard<'_, Option<HashSet<u64>>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A live stream as its viewers' requests see it.
#[derive(Clone)]
pub struct Watched {
    /// Who may watch.
    pub privacy: Privacy,
    /// Its media.
    pub stream: Arc<LiveStream>,
    /// Who watches.
    pub viewers: Viewers,
    /// What it looks like.
    pub picture: NewestPicture,
    /// How its rungs do.
    pub ladder: LadderState,
    /// What is sent of it by SRT is encrypted with this.
    pub passphrase: Option<SealedPassphrase>,
    /// Whether another node has it.
    pub is_relayed: bool,
    /// Which nodes are told of it, and by which ones this one is.
    pub branch: Branch,
}

impl Default for Streams {
    fn default() -> Self {
        Self(Cache::new(LIVES_MAX as u64))
    }
}

impl Streams {
    /// The stream played under this id, if it is live or has just ended.
    pub fn find(&self, id: &PlaybackId) -> Option<Watched> {
        self.0.get(id)
    }

    pub(super) fn note(&self, live: &Live, (stream, ladder): (Option<&Arc<LiveStream>>, &LadderState)) {
        self.note_as(live, (stream, ladder), false);
    }

    /// The same of one that another node has.
    pub(super) fn note_relayed(&self, live: &Live, stream: &Arc<LiveStream>) {
        self.note_as(live, (Some(stream), &LadderState::default()), true);
    }

    fn note_as(&self, live: &Live, (stream, ladder): (Option<&Arc<LiveStream>>, &LadderState), is_relayed: bool) {
        let Some(stream) = stream else { return };
        let is_here = |known: &Watched| {
            !known.is_relayed && !known.stream.is_retired() && !known.stream.look(Broadcast::has_ended)
        };
        self.0.entry_by_ref(&live.playback_id).and_compute_with(|known| {
            let known = known.map(Entry::into_value);
            // Somebody was late to look for it elsewhere.
            if is_relayed && known.as_ref().is_some_and(is_here) {
                return Op::Nop;
            }
            let known = known.map(|known| (known.viewers, known.picture, known.branch));
            let (viewers, picture, branch) = known.unwrap_or_default();
            if !is_relayed {
                branch.root();
            }
            Op::Put(Watched {
                privacy: live.details.privacy,
                stream: Arc::clone(stream),
                viewers,
                picture,
                ladder: ladder.clone(),
                passphrase: live.passphrase.clone(),
                is_relayed,
                branch,
            })
        });
    }

    /// The stream that was played under this id is not any more, unless another one is by now.
    pub(super) fn remove(&self, id: &PlaybackId, stream: &Arc<LiveStream>) {
        if self.find(id).is_some_and(|watched| Arc::ptr_eq(&watched.stream, stream)) {
            self.0.invalidate(id);
        }
    }
}

/// The family: what its supervisor starts children with.
pub struct LiveFamily(Arc<Lives>);

impl Family for LiveFamily {
    type Key = LiveId;
    type Seed = (Live, Lease);
    type Message = LiveMessage;
    const NAME: &'static str = "live";

    async fn spawn(
        &self,
        _: &LiveId,
        seed: &(Live, Lease),
        supervisor: ActorCell,
    ) -> Result<ActorRef<LiveMessage>, SpawnErr> {
        let (live, lease) = seed.clone();
        let arguments = LiveArguments { live, lease, context: Arc::clone(&self.0) };
        Ok(Actor::spawn_linked(None, LiveIngestActor, arguments, supervisor).await?.0)
    }

    fn describe(reply: DescribeReply) -> LiveMessage {
        LiveMessage::Describe { reply }
    }
}

impl From<AskError> for TurnedAway {
    fn from(_: AskError) -> Self {
        Self::Unavailable
    }
}

/// The only way in.
#[derive(Clone)]
pub struct LivesHandle {
    family: FamilyHandle<LiveFamily>,
    relays: RelaysHandle,
    context: Arc<Lives>,
}

impl LivesHandle {
    /// A handle to the family that will be started with `context`.
    pub fn new(context: Arc<Lives>) -> Self {
        Self { family: FamilyHandle::default(), relays: RelaysHandle::new(Arc::clone(&context)), context }
    }

    /// The family behind it, for its supervisor.
    pub fn family(&self) -> (FamilyHandle<LiveFamily>, Arc<LiveFamily>) {
        (self.family.clone(), Arc::new(LiveFamily(Arc::clone(&self.context))))
    }

    /// Seals and opens stream keys and passphrases.
    pub fn keys(&self) -> &KeySealer {
        &self.context.keys
    }

    /// Signs and checks links to what is not public.
    pub fn tokens(&self) -> &Arc<MediaTokens> {
        &self.context.tokens
    }

    /// The stream played under this id, if it is live or has just ended.
    pub fn find(&self, id: &PlaybackId) -> Option<Watched> {
        self.context.streams.find(id)
    }

    /// Streams of other nodes.
    pub fn relays(&self) -> &RelaysHandle {
        &self.relays
    }

    /// Sets the gauges of live streams to how they are now.
    pub fn measure(&self) {
        measure(self.context.streams.0.iter().map(|(_, watched)| watched));
    }

    /// How many streams are in memory: live, or just ended.
    pub fn count(&self) -> u64 {
        self.context.streams.0.run_pending_tasks();
        self.context.streams.0.entry_count()
    }

    async fn running(&self, id: &LiveId) -> Result<Option<Post<LiveMessage>>, ChildError> {
        self.family.find(id.clone()).await
    }

    /// Ends a broadcast. One of an earlier life of this node is ended too.
    pub async fn end(&self, live: &Live) -> Result<(), ChildError> {
        let post = match self.running(&live.id).await? {
            Some(post) => post,
            None if live.state == LiveState::Live => match self.start(live, false).await {
                Ok(Some(post)) => post,
                Ok(None) => return Ok(()),
                Err(_) => return Err(ChildError::NotStarted),
            },
            None => return Ok(()),
        };
        Ok(post.ask(|reply| LiveMessage::End { reply }).await?)
    }

    /// Makes a change by its owner known; a new stream key drops whoever used the old one.
    pub async fn change(&self, live: &Live) -> Result<(), ChildError> {
        let Some(post) = self.running(&live.id).await? else { return Ok(()) };
        let live = Box::new(live.clone());
        Ok(post.ask(|reply| LiveMessage::Change { live, reply }).await?)
    }

    /// What is known of a broadcast's ingest; `None` without one.
    pub async fn stats(&self, id: &LiveId) -> Result<Option<IngestStats>, ChildError> {
        let Some(post) = self.running(id).await? else { return Ok(None) };
        let stats: Result<Option<IngestStats>, AskError> = post.ask(|reply| LiveMessage::Ask { reply }).await;
        Ok(stats?)
    }

    /// Takes up broadcasts that were going on when the process died: their publishers may come back. Returns how many.
    pub async fn resume(&self) -> Result<usize, CatalogError> {
        self.clear_recordings();
        self.take_up().await
    }

    fn clear_recordings(&self) {
        // What broadcasts that had just ended have left; only empty ones can be removed so.
        for entry in std::fs::read_dir(&self.context.recordings).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(entry.path());
        }
    }

    /// Takes up broadcasts that nobody has: those of a node that is gone have to be ended, too. Returns how many run here.
    pub async fn take_up(&self) -> Result<usize, CatalogError> {
        let lives = self.context.catalog.lives_in(LiveState::Live, LIVES_MAX as u32).await?;
        let mut resumed = 0;
        for live in lives {
            let started = self.start(&live, false).await;
            resumed += usize::from(matches!(started, Ok(Some(_))));
        }
        Ok(resumed)
    }
}

impl LivesHandle {
    /// The right to feed a stream that is fetched from elsewhere; nobody needs its key for that.
    pub async fn feed(&self, live: &Live) -> Result<Feed, TurnedAway> {
        let post = self.start(live, true).await?.ok_or(TurnedAway::Unavailable)?;
        post.ask(|reply| LiveMessage::Publish { reply }).await
    }

    /// Whether somebody feeds a stream, at whatever node. What a node of the release before has is taken to be fed: publishers come first,
    /// and whether one is there it cannot be asked.
    pub async fn is_fed(&self, live: &Live) -> bool {
        let nodes = &self.context.nodes;
        let Ok(Some(node)) = nodes.holder(&lease_key(&live.id)).await else {
            return self.is_fed_here(&live.playback_id);
        };
        let question = Question::IsFed(live.playback_id.clone());
        let answer = nodes.ask(&node, &question, ASK_TIMEOUT).await;
        matches!(answer, Ok(Answer::Fed(true)) | Err(AskNodeError::OtherRelease(_)))
    }

    pub(super) fn is_fed_here(&self, id: &PlaybackId) -> bool {
        self.find(id).is_some_and(|watched| !watched.is_relayed && watched.stream.look(Broadcast::is_fed))
    }

    /// Lets go of a broadcast for another node to go on with; nothing when it is not here.
    pub(super) async fn hand_over(&self, id: &LiveId) -> Result<(), AskError> {
        let Ok(Some(post)) = self.running(id).await else { return Ok(()) };
        let refusal = Refusal::TakenOver;
        post.ask_within(HAND_OVER_TIMEOUT, |reply| LiveMessage::HandOver { refusal, reply }).await?
    }

    /// Lets go of broadcasts that another node has by now, or may have: their publishers are to come back, to whichever node.
    pub async fn let_go_of_lost(&self) {
        let mut going = Vec::new();
        for (id, post) in self.family.list().await.unwrap_or_default() {
            if self.context.nodes.has_lost(&lease_key(&id)).await {
                tracing::warn!(live.id = %id, "a broadcast is to go on at another node");
                going.push(async move {
                    let refusal = Refusal::Leaving;
                    post.ask_within(HAND_OVER_TIMEOUT, |reply| LiveMessage::HandOver { refusal, reply }).await.flatten()
                });
            }
        }
        for error in futures::future::join_all(going).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "a broadcast is not let go of in time");
        }
    }

    /// The actor of a stream; `None` while it is another node's, which is asked to let go of it when somebody `feeds` it here.
    async fn start(&self, live: &Live, feeds: bool) -> Result<Option<Post<LiveMessage>>, TurnedAway> {
        if feeds && !self.context.nodes.may_have() {
            return Err(TurnedAway::Unavailable);
        }
        if let Some(post) = self.running(&live.id).await.map_err(|_| TurnedAway::Unavailable)? {
            return Ok(Some(post));
        }
        let key = lease_key(&live.id);
        let mut placed = self.context.nodes.take(&key).await;
        if let Ok(Placed::At(node)) = &placed
            && feeds
        {
            // The newest publisher wins, wherever it has come to.
            let asked = self.context.nodes.ask(node, &Question::HandOverLive(live.id.clone()), HAND_OVER_TIMEOUT).await;
            tracing::info!(live.id = %live.id, %node, ?asked, "a broadcast goes on at this node");
            placed = self.context.nodes.take(&key).await;
        }
        let placed =
            placed.inspect_err(|error| tracing::warn!(live.id = %live.id, %error, "whose a stream is cannot be told"));
        let Ok(Placed::Here(lease)) = placed else { return Ok(None) };
        let post = self.family.find_or_start(live.id.clone(), (live.clone(), lease)).await;
        post.map(Some).map_err(|_| TurnedAway::Unavailable)
    }

    async fn by_key(&self, key: &str) -> Result<Live, TurnedAway> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(TurnedAway::UnknownKey);
        }
        let found = self.context.catalog.live_by_key(&StreamKey::from_text(key).hash()).await;
        let found = found.map_err(|error| {
            tracing::warn!(%error, "a stream key cannot be looked up");
            TurnedAway::Unavailable
        })?;
        found.ok_or(TurnedAway::UnknownKey)
    }
}

#[async_trait]
impl Gate for LivesHandle {
    async fn passphrase(&self, key: &str) -> Result<Option<Passphrase>, TurnedAway> {
        let Some(sealed) = self.by_key(key).await?.passphrase else { return Ok(None) };
        let opened = self.context.keys.open_passphrase(&sealed);
        // Without its passphrase a stream that has one is closed to everybody.
        opened.map(Some).ok_or(TurnedAway::Unavailable)
    }

    async fn check(&self, key: &str) -> Result<(), TurnedAway> {
        match self.by_key(key).await?.state {
            LiveState::Ended => Err(Refusal::Ended.into()),
            LiveState::Idle | LiveState::Live => Ok(()),
        }
    }

    async fn knock(&self, knock: Knock) -> Result<Feed, TurnedAway> {
        let Knock { key, protocol, address, agent } = knock;
        let live = self.by_key(&key).await?;
        tracing::info!(live.id = %live.id, protocol, %address, agent, "a publisher asks");
        self.feed(&live).await
    }
}

#[async_trait]
impl Audience for LivesHandle {
    async fn seek(&self, ticket: &Ticket) {
        if let Ok(playback) = PlaybackId::parse(&ticket.playback)
            && self.find(&playback).is_none()
        {
            self.relays.seek(&playback).await;
        }
    }

    fn admit(&self, ticket: &Ticket) -> Result<Seat, NotAdmitted> {
        let playback = PlaybackId::parse(&ticket.playback).map_err(|_| NotAdmitted::NotFound)?;
        let watched = self.find(&playback).ok_or(NotAdmitted::NotFound)?;
        let is_signed = |token: &String| self.context.tokens.verify(token, &playback, self.context.clock.now());
        if watched.privacy != Privacy::Public && !ticket.token.as_ref().is_some_and(is_signed) {
            return Err(NotAdmitted::NotFound);
        }
        if watched.stream.look(Broadcast::has_ended) {
            return Err(NotAdmitted::NotFound);
        }
        if watched.is_relayed && !watched.branch.has_frames() {
            return Err(NotAdmitted::Elsewhere);
        }
        let opened = watched.passphrase.map(|sealed| self.context.keys.open_passphrase(&sealed));
        // Without its passphrase a stream that has one is closed to everybody.
        let passphrase = opened.map(|opened| opened.ok_or(NotAdmitted::Unavailable)).transpose()?;
        watched.viewers.note(ticket.fingerprint());
        Ok(Seat { stream: watched.stream, passphrase })
    }
}
