//! A live stream that is fetched from another server, by RTMP, SRT, RTSP, HLS or WHEP, as if that were its publisher: one actor for each, with a
//! task that connects, feeds the stream, and tries again after ever longer pauses. It steps back for publishers who come with
//! the stream's key. Of the nodes of a cluster the one that has the pull's lease fetches.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use ractor_cluster::RactorMessage;
use serde::{Deserialize, Serialize};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backoff::Backoff;
use super::describe::{DescribeReply, Description};
use super::lives::LivesHandle;
use super::nodes::{ASK_TIMEOUT, NodesHandle, Placed};
use super::remote::{Answer, Question};
use super::reply::{AskError, Reply};
use super::supervisor::{ChildError, Family, FamilyHandle};
use crate::cluster::AskNodeError;
use crate::domain::cluster::{NodeName, Role};
use crate::domain::ids::LiveId;
use crate::domain::live::machine::Refusal;
use crate::domain::live::pull::Pull;
use crate::domain::live::{Live, LiveState};
use crate::domain::ports::{Catalog, CatalogError, Clock, Entropy};
use crate::domain::time::Timestamp;
use crate::media::live::gate::{Counted, Feed, NotTaken, TurnedAway};
use crate::protocols::hls::fetch::{self as hls, HlsError};
use crate::protocols::outlet::{InvalidOutlet, Outlet, Way};
use crate::protocols::rtmp::client::Ended;
use crate::protocols::rtsp::{self, RtspError};
use crate::protocols::srt::call::{CallError, Fetch};
use crate::protocols::webrtc::call::CallError as WebrtcCallError;

mod rtmp;
mod whep;

/// Most streams that are fetched at once.
pub const PULLS_MAX: usize = 1000;
/// How long an actor stays that fetches nothing: it may be switched on again.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether somebody else still feeds the stream.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the lease of a pull is for.
fn lease_key(id: &LiveId) -> String {
    format!("pull/{id}")
}

/// What pulls need.
pub struct PullContext {
    /// Which of them fetches.
    pub nodes: NodesHandle,
    /// Whom they feed.
    pub lives: LivesHandle,
    /// Where they are listed.
    pub catalog: Arc<dyn Catalog>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Whether servers may be on this machine or in its network.
    pub from_private: bool,
    /// How long what comes by SRT is held at least, so that what is lost can be sent again.
    pub srt_latency: Duration,
    /// The same of what comes by WHEP.
    pub webrtc_latency: Duration,
    /// A server that sends nothing for this long is hung up on.
    pub silence_max: Duration,
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullState {
    /// Somebody else feeds the stream.
    #[default]
    Waiting,
    /// The server is being asked.
    Connecting,
    /// The stream comes.
    Receiving,
    /// It did not; it is tried again.
    Failed,
    /// The stream has ended, and cannot be fed any more.
    Over,
}

/// How a pull does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullStats {
    /// How far it is.
    pub state: PullState,
    /// Since when.
    pub since: Timestamp,
    /// Why it failed the last time.
    pub error: Option<String>,
    /// How often it failed.
    pub failures: u64,
}

/// What a pull is told.
#[derive(RactorMessage)]
pub enum PullMessage {
    /// Its owner has changed it; `None`: the stream is not to be fetched any more.
    Change {
        /// As it is now.
        live: Option<Box<Live>>,
        /// Answered once it is so.
        reply: Reply<(), AskError>,
    },
    /// How does it do?
    Ask {
        /// Its figures; `None` when nothing is fetched.
        reply: Reply<Option<PullStats>, AskError>,
    },
    /// Nothing has been asked for a while.
    LeaveIfIdle,
    /// Describe yourself.
    Describe {
        /// The description.
        reply: DescribeReply,
    },
}

/// The family: what its supervisor starts children with.
pub struct PullFamily(Arc<PullContext>);

impl Family for PullFamily {
    type Key = LiveId;
    type Seed = Live;
    type Message = PullMessage;
    const NAME: &'static str = "pulls";

    async fn spawn(&self, _: &LiveId, live: &Live, supervisor: ActorCell) -> Result<ActorRef<PullMessage>, SpawnErr> {
        Ok(Actor::spawn_linked(None, PullActor, (live.clone(), Arc::clone(&self.0)), supervisor).await?.0)
    }

    fn describe(reply: DescribeReply) -> PullMessage {
        PullMessage::Describe { reply }
    }
}

/// The only way in.
#[derive(Clone)]
pub struct PullsHandle {
    family: FamilyHandle<PullFamily>,
    context: Arc<PullContext>,
}

impl PullsHandle {
    /// A handle to the family that will be started with `context`.
    pub fn new(context: Arc<PullContext>) -> Self {
        Self { family: FamilyHandle::default(), context }
    }

    /// The family behind it, for its supervisor.
    pub fn family(&self) -> (FamilyHandle<PullFamily>, Arc<PullFamily>) {
        (self.family.clone(), Arc::new(PullFamily(Arc::clone(&self.context))))
    }

    /// Has the stream fetched as its record says, or not, by the node that does or is to.
    pub async fn change(&self, live: &Live) -> Result<(), PullFailure> {
        match self.place(live).await? {
            Some(node) => {
                self.change_here(live, false).await?;
                let question = Question::PullChanged(live.id.clone());
                match self.context.nodes.ask(&node, &question, ASK_TIMEOUT).await {
                    // It hears of it by the change feed, a little later.
                    Err(AskNodeError::OtherRelease(_)) => {}
                    answer => drop(answer?),
                }
            }
            None => self.change_here(live, is_wanted(live)).await?,
        }
        Ok(())
    }

    /// The node that fetches a stream, or is to, when that is another one.
    async fn place(&self, live: &Live) -> Result<Option<NodeName>, PullFailure> {
        let (nodes, key) = (&self.context.nodes, lease_key(&live.id));
        if let Some(holder) = nodes.holder(&key).await? {
            return Ok(Some(holder));
        }
        if !is_wanted(live) {
            return Ok(None);
        }
        match nodes.claim(&key, Role::Ingest).await? {
            Placed::Here(_) => Ok(None),
            Placed::At(node) => Ok(Some(node)),
            Placed::Nowhere => Err(PullFailure::Nowhere),
        }
    }

    /// The record of a stream that may be fetched here has changed.
    pub(super) async fn changed(&self, id: &LiveId) -> Result<(), PullFailure> {
        let Some(live) = self.context.catalog.live(id).await? else { return Ok(()) };
        if live.pull.is_none() && self.family.find(id.clone()).await?.is_none() {
            return Ok(());
        }
        let is_here = self.place(&live).await?.is_none();
        Ok(self.change_here(&live, is_here && is_wanted(&live)).await?)
    }

    /// The record of a stream has changed, by whichever node; for those of a cluster that nobody tells.
    pub async fn note_changed(&self, id: &LiveId) {
        if !self.context.nodes.is_cluster() {
            return;
        }
        if let Err(error) = self.changed(id).await {
            tracing::debug!(live.id = %id, %error, "a pull is not as its record says yet");
        }
    }

    async fn change_here(&self, live: &Live, is_wanted: bool) -> Result<(), ChildError> {
        let post = match self.family.find(live.id.clone()).await? {
            Some(post) => post,
            None if is_wanted => {
                self.family.find_or_start(live.id.clone(), live.clone()).await?;
                return Ok(());
            }
            None => return Ok(()),
        };
        let live = is_wanted.then(|| Box::new(live.clone()));
        Ok(post.ask(|reply| PullMessage::Change { live, reply }).await?)
    }

    /// How the pull of a stream does, wherever that is; `None` when it is not fetched, or by a node that cannot be asked.
    pub async fn stats(&self, id: &LiveId) -> Result<Option<PullStats>, PullFailure> {
        let Some(node) = self.context.nodes.holder(&lease_key(id)).await? else {
            return Ok(self.stats_here(id).await?);
        };
        match self.context.nodes.ask(&node, &Question::PullStats(id.clone()), ASK_TIMEOUT).await {
            Ok(Answer::PullStats(stats)) => Ok(stats),
            Ok(_) | Err(AskNodeError::OtherRelease(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn stats_here(&self, id: &LiveId) -> Result<Option<PullStats>, ChildError> {
        let Some(post) = self.family.find(id.clone()).await? else { return Ok(None) };
        match post.ask(|reply| PullMessage::Ask { reply }).await {
            // It has just left, since there was nothing to be fetched.
            Err(AskError::Gone) => Ok(None),
            stats => Ok(stats?),
        }
    }

    /// Begins with what the catalog says is to be fetched, and belongs to this node. Returns how many streams.
    pub async fn resume(&self) -> Result<usize, CatalogError> {
        let mut begun = 0;
        for live in self.context.catalog.lives_pulled(PULLS_MAX as u32).await? {
            if !is_wanted(&live) || self.family.find(live.id.clone()).await.is_ok_and(|post| post.is_some()) {
                continue;
            }
            if let Ok(None) = self.place(&live).await {
                begun += usize::from(self.change_here(&live, true).await.is_ok());
            }
        }
        Ok(begun)
    }

    /// Ends pulls that another node has by now, or may have.
    pub async fn let_go_of_lost(&self) {
        for (id, post) in self.family.list().await.unwrap_or_default() {
            if self.context.nodes.has_lost(&lease_key(&id)).await {
                tracing::info!(live.id = %id, "a stream is to be fetched by another node");
                let ended: Result<(), AskError> = post.ask(|reply| PullMessage::Change { live: None, reply }).await;
                let _ = ended.inspect_err(|error| tracing::warn!(%error, "a pull does not end"));
            }
        }
    }
}

/// Why a pull cannot be changed, or is not known of.
#[derive(Debug, thiserror::Error)]
pub enum PullFailure {
    /// No node fetches streams.
    #[error("no node takes streams in now")]
    Nowhere,
    /// The catalog does not answer.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The node that fetches it does not answer.
    #[error(transparent)]
    Node(#[from] AskNodeError),
    /// Its actor does not.
    #[error(transparent)]
    Child(#[from] ChildError),
}

fn is_wanted(live: &Live) -> bool {
    live.state != LiveState::Ended && live.pull.as_ref().is_some_and(|pull| pull.enabled)
}

/// A pull under way. Its task ends when this is dropped, with a farewell to the server.
struct Running {
    pull: Pull,
    stats: Arc<Mutex<PullStats>>,
    _stop: DropGuard,
}

impl Running {
    fn start(context: &Arc<PullContext>, live: &Live, pull: &Pull) -> Self {
        let since = context.clock.now();
        let stats = PullStats { state: PullState::default(), since, error: None, failures: 0 };
        let (stats, stop) = (Arc::new(Mutex::new(stats)), CancellationToken::new());
        let puller =
            Puller { live: live.clone(), pull: pull.clone(), context: Arc::clone(context), stats: Arc::clone(&stats) };
        let stopped = stop.clone();
        tokio::spawn(async move { puller.run(&stopped).await });
        Self { pull: pull.clone(), stats, _stop: stop.drop_guard() }
    }
}

/// A pull's own state.
pub struct PullActorState {
    id: LiveId,
    context: Arc<PullContext>,
    running: Option<Running>,
}

impl PullActorState {
    fn set(&mut self, live: Option<&Live>) {
        let wanted = live.and_then(|live| Some((live, live.pull.as_ref()?)));
        let is_running = |pull: &Pull| self.running.as_ref().is_some_and(|running| running.pull == *pull);
        match wanted {
            Some((_, pull)) if is_running(pull) => {}
            Some((live, pull)) => self.running = Some(Running::start(&self.context, live, pull)),
            None => self.running = None,
        }
    }

    fn stats(&self) -> Option<PullStats> {
        self.running.as_ref().map(|running| locked(&running.stats).clone())
    }
}

fn locked(stats: &Mutex<PullStats>) -> MutexGuard<'_, PullStats> {
    stats.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One live stream that is fetched.
pub struct PullActor;

impl Actor for PullActor {
    type Msg = PullMessage;
    type State = PullActorState;
    type Arguments = (Live, Arc<PullContext>);

    async fn pre_start(
        &self,
        _: ActorRef<PullMessage>,
        (live, context): Self::Arguments,
    ) -> Result<PullActorState, ActorProcessingErr> {
        let mut state = PullActorState { id: live.id.clone(), context, running: None };
        state.set(Some(&live));
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<PullMessage>,
        message: PullMessage,
        state: &mut PullActorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PullMessage::Change { live, reply } => {
                state.set(live.as_deref());
                reply.send(Ok(()));
                me.send_after(IDLE_MAX, || PullMessage::LeaveIfIdle);
            }
            PullMessage::LeaveIfIdle => {
                if state.running.is_none() {
                    me.stop(None);
                }
            }
            PullMessage::Ask { reply } => reply.send(Ok(state.stats())),
            PullMessage::Describe { reply } => reply.send(Ok(Description::leaf("pull", &state.id, &state.stats()))),
        }
        Ok(())
    }
}

/// Why a pull failed.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error("its URL was sealed under another secret: give it anew")]
    Sealed,
    #[error(transparent)]
    Url(#[from] InvalidOutlet),
    #[error(transparent)]
    Rtmp(#[from] Ended),
    #[error("nothing came for {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("{0}")]
    Unfit(String),
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error(transparent)]
    TurnedAway(#[from] TurnedAway),
    #[error(transparent)]
    Fenced(Refusal),
    #[error(transparent)]
    Hls(#[from] HlsError),
    #[error(transparent)]
    Rtsp(#[from] RtspError),
    #[error(transparent)]
    Srt(#[from] CallError),
    #[error(transparent)]
    Webrtc(#[from] WebrtcCallError),
}

impl PullError {
    /// Whether the stream cannot be fed any more.
    fn is_over(&self) -> bool {
        use crate::protocols::webrtc::publishing::Ended;
        let turned_away = match self {
            Self::TurnedAway(turned_away)
            | Self::Webrtc(WebrtcCallError::Receiving(Ended::TurnedAway(turned_away))) => turned_away,
            _ => return false,
        };
        matches!(turned_away, TurnedAway::Refused(Refusal::Ended))
    }
}

/// What a pull is made with.
#[derive(Clone)]
struct Puller {
    live: Live,
    pull: Pull,
    context: Arc<PullContext>,
    stats: Arc<Mutex<PullStats>>,
}

impl Puller {
    /// Until the stream has ended, or nobody wants it any more.
    async fn run(&self, stop: &CancellationToken) {
        let mut backoff = Backoff::new();
        while self.is_free(stop).await {
            backoff.begin();
            let error = match self.fetch(stop).await {
                Ok(()) => return,
                Err(error) if error.is_over() => break,
                Err(error) => error.to_string(),
            };
            let error = self.outlet().map_or(error.clone(), |outlet| outlet.without_secrets(&error));
            tracing::warn!(live.id = %self.live.id, from = self.pull.shown, error, "a pull failed");
            metrics::counter!("playhouse_live_pull_failures_total").increment(1);
            self.note(PullState::Failed, |stats| {
                stats.failures += 1;
                stats.error = Some(error);
            });
            if !backoff.wait(stop).await {
                return;
            }
        }
        self.note(PullState::Over, |_| {});
    }

    /// Waits until nobody else feeds the stream.
    async fn is_free(&self, stop: &CancellationToken) -> bool {
        while self.context.lives.is_fed(&self.live).await {
            self.note(PullState::Waiting, |_| {});
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return false,
            }
        }
        !stop.is_cancelled()
    }

    /// Over one connection.
    async fn fetch(&self, stop: &CancellationToken) -> Result<(), PullError> {
        let outlet = self.outlet()?;
        self.note(PullState::Connecting, |_| {});
        match outlet {
            Outlet::Rtmp(url) => self.by_rtmp(&url, stop).await,
            Outlet::Srt(url) => {
                let conditions = (self.context.srt_latency, !self.context.from_private);
                let opening = Fetch::open(&url, conditions);
                let Some(fetch) = stop.run_until_cancelled(opening).await.transpose()? else { return Ok(()) };
                let feed = self.feed("srt").await?;
                let fed = (feed, Arc::clone(&self.context.clock));
                Ok(fetch.run(fed, self.context.silence_max, stop.cancelled()).await?)
            }
            Outlet::Rtsp(url) => {
                let opening = rtsp::Fetch::open(&url, !self.context.from_private);
                let Some(fetch) = stop.run_until_cancelled(opening).await.transpose()? else { return Ok(()) };
                let feed = self.feed("rtsp").await?;
                let _counted = Counted::new("rtsp");
                let fed = (feed, Arc::clone(&self.context.clock));
                Ok(fetch.run(fed, self.context.silence_max, stop.cancelled()).await?)
            }
            Outlet::Hls(url) => {
                let opening = hls::Fetch::open(&url, !self.context.from_private);
                let Some(fetch) = stop.run_until_cancelled(opening).await.transpose()? else { return Ok(()) };
                let fed = (self.feed("hls").await?, Arc::clone(&self.context.clock));
                Ok(fetch.run(fed, self.context.silence_max, stop.cancelled()).await?)
            }
            Outlet::Webrtc(url) => self.by_whep(&url, stop).await,
        }
    }

    fn outlet(&self) -> Result<Outlet, PullError> {
        let url = self.context.lives.keys().open_url(&self.pull.url).ok_or(PullError::Sealed)?;
        Ok(Outlet::parse(&url, Way::From)?)
    }

    /// The right to feed the stream, now that something will come.
    async fn feed(&self, protocol: &'static str) -> Result<Feed, TurnedAway> {
        let feed = self.context.lives.feed(&self.live).await?;
        tracing::info!(live.id = %self.live.id, from = self.pull.shown, protocol, "pulling");
        self.note(PullState::Receiving, |stats| stats.error = None);
        Ok(feed)
    }

    fn note(&self, state: PullState, change: impl FnOnce(&mut PullStats)) {
        let mut stats = locked(&self.stats);
        if stats.state != state {
            (stats.state, stats.since) = (state, self.context.clock.now());
        }
        change(&mut stats);
    }
}
