//! Live ingest: one live stream, from its first publisher to the end of its broadcast and a while beyond.
//! Supervised by `Lives`; restarted from the catalog's record, and the broadcast waits for its publisher again. Decides who
//! feeds; media go from the publisher's connection straight into the [`LiveStream`] and never through this mailbox.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::describe::{DescribeReply, Description};
use super::live_ladder::{LadderState, LadderStats, make_rungs};
use super::live_metrics::count_since;
use super::live_picture::take_pictures;
use super::live_push::{PushStats, Pushes};
use super::live_realtime::encode_for_viewers;
use super::live_recording::LiveRecording;
use super::live_sound::make_siblings;
use super::live_transcode::transcode;
use super::lives::Lives;
use super::reply::{AskError, Reply};
use crate::domain::asset::{BlobKey, TIMELINE_ORIGIN_SECS};
use crate::domain::cluster::Lease;
use crate::domain::live::machine::{LiveEffect, LiveInput, LiveLimits, LiveMachine, PublisherId, Refusal};
use crate::domain::live::{LadderChoice, LatencyMode, Live, LiveState, LiveStep};
use crate::domain::ports::{Catalog, CatalogError};
use crate::media::live::broadcast::{BroadcastSettings, Health};
use crate::media::live::gate::{Feed, LinkStats, TurnedAway};
use crate::media::live::realtime::RealtimeStats;
use crate::media::live::ring::MICROS;
use crate::media::live::sibling::Sibling;
use crate::media::live::slate::SlateClip;
use crate::media::live::stream::{Forgetful, LiveStream};
use crate::media::live::transcoding::Transcoder;
use crate::media::live::vitals::Vitals;

/// How often a broadcast is told that time passes: gaps are made by the clock.
const TICK: Duration = Duration::from_millis(100);
/// The same while somebody feeds it: then it has to notice no more than that nothing comes.
const FED_TICK: Duration = Duration::from_millis(500);
/// How often what happens in a broadcast is put into the metrics.
const COUNTED_EVERY: Duration = Duration::from_secs(1);
/// Pause before a step that the catalog did not take is tried again.
const STEP_RETRY: Duration = Duration::from_secs(1);

/// What a live stream is started with.
pub struct LiveArguments {
    /// The right to be the only one; given back at the end.
    pub lease: Lease,
    /// Its record, as it was when somebody asked for it.
    pub live: Live,
    /// What all of them share.
    pub context: Arc<Lives>,
}

/// What a live stream is told.
#[derive(RactorMessage)]
pub enum LiveMessage {
    /// A publisher with the right key asks to feed it.
    Publish {
        /// The right to feed, or why not.
        reply: Reply<Feed, TurnedAway>,
    },
    /// The catalog has answered the question for a lease.
    Leased {
        /// The generation; `None` when it did not give one.
        generation: Option<u64>,
    },
    /// A feed is over.
    Left {
        /// Its generation.
        generation: u64,
    },
    /// The time to come back is over.
    GraceOver {
        /// The generation that left.
        generation: u64,
    },
    /// Its owner ends the broadcast.
    End {
        /// Answered once it is over.
        reply: Reply<(), AskError>,
    },
    /// Its owner has changed it.
    Change {
        /// As it is now.
        live: Box<Live>,
        /// Answered once it is so.
        reply: Reply<(), AskError>,
    },
    /// How is the broadcast?
    Ask {
        /// Its figures; `None` when there is no broadcast.
        reply: Reply<Option<IngestStats>, AskError>,
    },
    /// Time passes.
    Tick,
    /// Nobody was here for long.
    LingerOver {
        /// The generation after which the wait began.
        generation: u64,
    },
    /// The slate has been read.
    Slate {
        /// Its file.
        key: BlobKey,
        /// What viewers see.
        clip: Arc<SlateClip>,
    },
    /// The broadcast goes on at another node: let it go.
    HandOver {
        /// What its publisher is told.
        refusal: Refusal,
        /// Answered once another node can go on.
        reply: Reply<(), AskError>,
    },
    /// That is done.
    HandedOver,
    /// Describe yourself.
    Describe {
        /// The description.
        reply: DescribeReply,
    },
}

/// What is known of a broadcast's ingest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IngestStats {
    /// Whether it is recorded; `false` also while the disk does not take it.
    pub recording: bool,
    /// How it does.
    #[serde(flatten)]
    pub vitals: Vitals,
    /// How the link to its publisher does, if its protocol tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkStats>,
    /// How its rungs do, when it has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ladder: Option<LadderStats>,
    /// How it is shown to viewers by WHEP, when there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whep: Option<RealtimeStats>,
    /// How it gets to other servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pushes: Vec<PushStats>,
}

/// A live stream's own state.
pub struct LiveIngestState {
    live: Live,
    lease: Lease,
    /// Takes steps of this broadcast as long as the lease is held.
    catalog: Arc<dyn Catalog>,
    machine: LiveMachine,
    context: Arc<Lives>,
    stream: Option<Arc<LiveStream>>,
    /// Who waits for an answer.
    asking: HashMap<PublisherId, Reply<Feed, TurnedAway>>,
    next_publisher: u64,
    /// Tells the feed of a generation that it is over.
    fence: Option<(u64, watch::Sender<Option<Refusal>>)>,
    generation: u64,
    /// How the link to its publisher does, as that one's feed tells.
    link: watch::Receiver<Option<LinkStats>>,
    /// Ends with the actor.
    pictures: Option<AbortOnDropHandle<()>>,
    /// Ends with the actor too.
    ladder: Option<AbortOnDropHandle<()>>,
    ladder_state: LadderState,
    /// And what is made of the publisher's sound.
    sound: Option<AbortOnDropHandle<()>>,
    /// And what is encoded for viewers by WebRTC.
    realtime: Option<AbortOnDropHandle<()>>,
    /// And what is pushed to other servers.
    pushes: Pushes,
    /// What of the broadcast is in the metrics, and when it was put there.
    counted: (Health, Instant),
    /// What viewers see while nobody publishes, once it has been read, and its file.
    slate: Option<(BlobKey, Arc<SlateClip>)>,
    /// What is kept of the broadcast.
    recording: Option<LiveRecording>,
    /// The last step's way into the catalog, awaited by the next.
    recorded: Option<JoinHandle<()>>,
    /// Whether the broadcast began before this actor did.
    is_resumed: bool,
}

pub(crate) struct LiveIngestActor;

async fn read_clip(context: &Lives, key: &BlobKey) -> Result<Arc<SlateClip>, String> {
    let file = context.blobs.read_all(key).await.map_err(|error| error.to_string())?;
    SlateClip::read(&file).map(Arc::new).map_err(|error| error.to_string())
}

fn limits(live: &Live, context: &Lives) -> LiveLimits {
    LiveLimits { grace: context.grace, permanent: live.choices.permanent }
}

impl Actor for LiveIngestActor {
    type Msg = LiveMessage;
    type State = LiveIngestState;
    type Arguments = LiveArguments;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        LiveArguments { live, lease, context }: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        // A restart begins with what the catalog has now.
        let live = context.catalog.live(&live.id).await.ok().flatten().unwrap_or(live);
        let machine = LiveMachine::new(limits(&live, &context), live.state, live.generation);
        let generation = live.generation;
        if live.state == LiveState::Live {
            me.send_after(context.grace, move || LiveMessage::GraceOver { generation });
        }
        me.send_after(context.linger, move || LiveMessage::LingerOver { generation });
        let is_resumed = live.state == LiveState::Live;
        let interrupted = live.recording.clone().filter(|_| live.state == LiveState::Live);
        let recording = match interrupted {
            Some(video_id) => Some(LiveRecording::recover(&context, video_id).await?),
            None => None,
        };
        let asking = HashMap::new();
        Ok(LiveIngestState {
            live,
            catalog: context.catalog.fenced(&lease),
            lease,
            machine,
            context,
            stream: None,
            asking,
            next_publisher: 0,
            fence: None,
            generation,
            link: watch::channel(None).1,
            pictures: None,
            ladder: None,
            ladder_state: LadderState::default(),
            sound: None,
            realtime: None,
            pushes: Pushes::default(),
            counted: (Health::default(), Instant::now()),
            slate: None,
            recording,
            recorded: None,
            is_resumed,
        })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LiveMessage::Publish { reply } => state.publish(&me, reply),
            LiveMessage::Leased { generation } => state.leased(&me, generation),
            LiveMessage::Left { generation } => {
                state.step(&me, LiveInput::Left { generation });
                state.pass_time();
            }
            LiveMessage::GraceOver { generation } => state.step(&me, LiveInput::GraceOver { generation }),
            LiveMessage::End { reply } => {
                state.step(&me, LiveInput::EndAsked);
                reply.send(Ok(()));
            }
            LiveMessage::Change { live, reply } => {
                state.change(&me, *live);
                reply.send(Ok(()));
            }
            LiveMessage::Ask { reply } => reply.send(Ok(state.stats())),
            LiveMessage::Tick => state.tick(&me),
            LiveMessage::LingerOver { generation } => state.linger_over(&me, generation),
            LiveMessage::HandOver { refusal, reply } => state.hand_over(&me, refusal, reply),
            LiveMessage::HandedOver => me.stop(None),
            LiveMessage::Slate { key, clip } => state.take_slate((key, clip)),
            LiveMessage::Describe { reply } => reply.send(Ok(state.describe())),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
        if let Some(stream) = &state.stream {
            state.context.streams.remove(&state.live.playback_id, stream);
        }
        state.refuse_all();
        let (catalog, lease) = (Arc::clone(&state.context.catalog), state.lease.clone());
        tokio::spawn(async move {
            if let Err(error) = catalog.drop_lease(&lease).await {
                tracing::debug!(%error, "the lease of a stream is given back when this node ends");
            }
        });
        Ok(())
    }
}

impl LiveIngestState {
    fn publish(&mut self, me: &ActorRef<LiveMessage>, reply: Reply<Feed, TurnedAway>) {
        let publisher = PublisherId(self.next_publisher);
        self.next_publisher += 1;
        self.asking.insert(publisher, reply);
        self.step(me, LiveInput::Asked(publisher));
    }

    fn leased(&mut self, me: &ActorRef<LiveMessage>, generation: Option<u64>) {
        self.generation = generation.unwrap_or(self.generation);
        self.step(me, generation.map_or(LiveInput::NotLeased, |generation| LiveInput::Leased { generation }));
    }

    fn change(&mut self, me: &ActorRef<LiveMessage>, live: Live) {
        let key_changed = live.key.hash != self.live.key.hash;
        self.live = live;
        self.machine.set_limits(limits(&self.live, &self.context));
        self.read_slate(me);
        if let Some(stream) = &self.stream {
            self.pushes.set(&self.context, &self.live, stream);
        }
        self.context.streams.note(&self.live, (self.stream.as_ref(), &self.ladder_state));
        if key_changed {
            if let Some((_, fence)) = self.fence.take() {
                fence.send_replace(Some(Refusal::KeyChanged));
            }
            self.step(me, LiveInput::KeyChanged);
        }
    }

    fn step(&mut self, me: &ActorRef<LiveMessage>, input: LiveInput) {
        for effect in self.machine.step(input) {
            tracing::debug!(live.id = %self.live.id, ?effect, "live stream goes on");
            self.perform(me, effect);
        }
    }

    fn perform(&mut self, me: &ActorRef<LiveMessage>, effect: LiveEffect) {
        match effect {
            LiveEffect::Lease(_) => self.lease(me),
            LiveEffect::Fence(generation) => self.fence_off(generation),
            LiveEffect::Open => self.open(me),
            LiveEffect::Feed { publisher, generation } => self.feed(me, publisher, generation),
            LiveEffect::Refuse { publisher, refusal } => {
                if let Some(reply) = self.asking.remove(&publisher) {
                    reply.send(Err(refusal.into()));
                }
            }
            LiveEffect::AwaitReturn { grace, generation } => {
                me.send_after(grace, move || LiveMessage::GraceOver { generation });
            }
            LiveEffect::Close => self.close(me),
        }
    }

    fn lease(&self, me: &ActorRef<LiveMessage>) {
        let (me, catalog, id) = (me.clone(), Arc::clone(&self.catalog), self.live.id.clone());
        let now = self.context.clock.now();
        tokio::spawn(async move {
            let leased = catalog.lease_live(&id, now).await;
            let generation = leased.inspect_err(|error| tracing::warn!(live.id = %id, %error, "no lease")).ok();
            let _ = me.cast(LiveMessage::Leased { generation });
        });
    }

    /// Lets go of the broadcast, as it is, for another node to go on with.
    fn hand_over(&mut self, me: &ActorRef<LiveMessage>, refusal: Refusal, reply: Reply<(), AskError>) {
        if let Some((_, fence)) = self.fence.take() {
            fence.send_replace(Some(refusal));
        }
        if let Some(stream) = self.stream.take() {
            stream.begin_to_retire();
            self.context.streams.remove(&self.live.playback_id, &stream);
            stream.retire();
        }
        (self.ladder, self.realtime, self.sound, self.pictures) = (None, None, None, None);
        let (recording, recorded) = (self.recording.take(), self.recorded.take());
        let (me, context, lease) = (me.clone(), Arc::clone(&self.context), self.lease.clone());
        tokio::spawn(async move {
            if let Some(recorded) = recorded {
                let _ = recorded.await;
            }
            if let Some(recording) = recording
                && let Err(error) = recording.hand_over(&context).await
            {
                tracing::error!(%error, "what was recorded last is not handed over");
            }
            if let Err(error) = context.catalog.drop_lease(&lease).await {
                tracing::warn!(%error, "the lease of a stream is not given back");
            }
            reply.send(Ok(()));
            let _ = me.cast(LiveMessage::HandedOver);
        });
    }

    fn fence_off(&mut self, generation: u64) {
        if let Some((_, fence)) = self.fence.take_if(|(fenced, _)| *fenced == generation) {
            let refusal = if self.machine.state() == LiveState::Live { Refusal::TakenOver } else { Refusal::Ended };
            fence.send_replace(Some(refusal));
        }
    }

    fn open(&mut self, me: &ActorRef<LiveMessage>) {
        self.is_resumed = false;
        self.recording = self.live.choices.archive.then(|| LiveRecording::begin(&self.context));
        let recording = self.recording.as_ref().map(|recording| recording.video_id().clone());
        self.record(async move { LiveStep::Opened { recording } });
        self.ensure_stream(me);
    }

    /// The broadcast's media; made anew when it went with an earlier life of this actor.
    fn ensure_stream(&mut self, me: &ActorRef<LiveMessage>) -> Arc<LiveStream> {
        if let Some(stream) = self.stream.as_ref().filter(|stream| !stream.look(|broadcast| broadcast.has_ended())) {
            return Arc::clone(stream);
        }
        let stream = Arc::new(self.new_stream());
        self.stream = Some(Arc::clone(&stream));
        self.counted = (Health::default(), Instant::now());
        self.make_rungs(&stream);
        let encoding = encode_for_viewers(Arc::clone(&self.context), self.live.clone(), Arc::clone(&stream));
        self.realtime = Some(AbortOnDropHandle::new(tokio::spawn(encoding)));
        self.pushes = Pushes::default();
        self.pushes.set(&self.context, &self.live, &stream);
        self.read_slate(me);
        self.context.streams.note(&self.live, (Some(&stream), &self.ladder_state));
        if let Some(watched) = self.context.streams.find(&self.live.playback_id) {
            let (context, live) = (Arc::clone(&self.context), self.live.clone());
            let pictures = take_pictures(context, live, (Arc::clone(&stream), watched.picture));
            self.pictures = Some(AbortOnDropHandle::new(tokio::spawn(pictures)));
        }
        me.send_after(TICK, || LiveMessage::Tick);
        stream
    }

    /// Has the broadcast show what its owner has chosen; a file that has not been read yet comes back as a message.
    fn read_slate(&mut self, me: &ActorRef<LiveMessage>) {
        let wanted = self.live.slate.as_ref().map(|slate| slate.clip.key.clone());
        self.slate.take_if(|(key, _)| Some(&*key) != wanted.as_ref());
        self.show_slate();
        let Some(key) = wanted.filter(|_| self.slate.is_none() && self.stream.is_some()) else { return };
        let (me, context) = (me.clone(), Arc::clone(&self.context));
        tokio::spawn(async move {
            match read_clip(&context, &key).await {
                Ok(clip) => drop(me.cast(LiveMessage::Slate { key, clip })),
                Err(error) => tracing::warn!(blob.key = %key, error, "a slate cannot be shown"),
            }
        });
    }

    fn take_slate(&mut self, (key, clip): (BlobKey, Arc<SlateClip>)) {
        if self.live.slate.as_ref().is_some_and(|slate| slate.clip.key == key) {
            self.slate = Some((key, clip));
            self.show_slate();
        }
    }

    fn show_slate(&self) {
        if let Some(stream) = &self.stream {
            stream.set_slate(self.slate.as_ref().map(|(_, clip)| Arc::clone(clip)));
        }
    }

    fn make_rungs(&mut self, stream: &Arc<LiveStream>) {
        self.ladder_state = LadderState::default();
        let is_wanted = self.live.choices.ladder == LadderChoice::Full;
        self.ladder = is_wanted.then(|| {
            let (context, live) = (Arc::clone(&self.context), self.live.clone());
            let rungs = make_rungs(context, live, (Arc::clone(stream), self.ladder_state.clone()));
            AbortOnDropHandle::new(tokio::spawn(rungs))
        });
    }

    fn new_stream(&self) -> LiveStream {
        let window = Duration::from_millis(self.live.choices.window_ms);
        let settings = BroadcastSettings::new(window, u32::try_from(self.generation).unwrap_or(u32::MAX));
        let settings = match self.live.choices.ladder {
            LadderChoice::Full => settings.with_ladder(self.context.ladder.lag_max),
            LadderChoice::Source => settings,
        };
        let settings = BroadcastSettings { low_latency: self.live.choices.latency == LatencyMode::Low, ..settings };
        let lost_until = if self.is_resumed { self.lost_until() } else { 0 };
        let start_micros = settings.start_micros.max(lost_until);
        match &self.recording {
            Some(recording) => {
                let start_micros = recording.end_micros().unwrap_or(start_micros).max(start_micros);
                let settings = BroadcastSettings { memory: self.context.memory_window, start_micros, ..settings };
                LiveStream::new(settings, recording.keeper())
            }
            None => {
                let window = window.min(self.context.unrecorded_window_max);
                let settings = BroadcastSettings { window, memory: window, start_micros, ..settings };
                LiveStream::new(settings, Box::new(Forgetful))
            }
        }
    }

    /// Where the timeline is by now, when another node may have shown what it did not come to store, microseconds: viewers are not
    /// taken back.
    fn lost_until(&self) -> i64 {
        let Some(began) = self.live.started_at.filter(|_| self.context.nodes.is_cluster()) else { return 0 };
        let passed = self.context.clock.now().as_millis() - began.as_millis();
        i64::from(TIMELINE_ORIGIN_SECS) * i64::from(MICROS) + passed.max(0) * 1000
    }

    fn feed(&mut self, me: &ActorRef<LiveMessage>, publisher: PublisherId, generation: u64) {
        let Some(reply) = self.asking.remove(&publisher) else { return };
        let stream = self.ensure_stream(me);
        let (fence, fenced) = watch::channel(None);
        self.fence = Some((generation, fence));
        let to = me.clone();
        let on_end = Box::new(move || drop(to.cast(LiveMessage::Left { generation })));
        tracing::info!(live.id = %self.live.id, generation, "publisher let in");
        let (link, told) = watch::channel(None);
        self.link = told;
        let feed = Feed::new(Arc::clone(&stream), generation, fenced, on_end).with_link(link);
        reply.send(Ok(self.with_sibling(self.with_transcoder(feed), stream)));
    }

    /// Pictures that players do not take are encoded anew, if the publisher has such ones.
    fn with_transcoder(&self, feed: Feed) -> Feed {
        let (context, live) = (Arc::clone(&self.context), self.live.clone());
        feed.with_transcoder(Box::new(move || {
            let (transcoder, encoding) = Transcoder::new();
            // It ends with the publisher's end.
            tokio::spawn(transcode(Arc::clone(&context), live.clone(), encoding));
            transcoder
        }))
    }

    /// Sound that not every player knows is made AAC as well, if the publisher's is not all that is wanted.
    fn with_sibling(&mut self, feed: Feed, stream: Arc<LiveStream>) -> Feed {
        if !self.context.makes_aac || self.live.choices.ladder == LadderChoice::Source {
            return feed;
        }
        let (sibling, from) = Sibling::new();
        let making = make_siblings(Arc::clone(&self.context), self.live.clone(), stream, from);
        self.sound = Some(AbortOnDropHandle::new(tokio::spawn(making)));
        feed.with_sibling(sibling)
    }

    fn close(&mut self, me: &ActorRef<LiveMessage>) {
        if let Some(stream) = &self.stream {
            stream.end();
        }
        let (recording, context) = (self.recording.take(), Arc::clone(&self.context));
        self.record(async move {
            let archive = match recording {
                Some(recording) => recording.archive(&context).await,
                None => None,
            };
            LiveStep::Closed { archive: archive.map(Box::new) }
        });
        let generation = self.generation;
        me.send_after(self.context.linger, move || LiveMessage::LingerOver { generation });
    }

    /// Has the catalog take a step, however often it has to be asked; in the order in which they were made.
    fn record(&mut self, step: impl Future<Output = LiveStep> + Send + 'static) {
        let (catalog, clock) = (Arc::clone(&self.catalog), Arc::clone(&self.context.clock));
        let (id, before) = (self.live.id.clone(), self.recorded.take());
        self.recorded = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let step = step.await;
            loop {
                match catalog.step_live(&id, step.clone(), clock.now()).await {
                    // What is another node's by now that one goes on with.
                    Ok(_) | Err(CatalogError::NotFound | CatalogError::NotHeld) => return,
                    Err(error) => tracing::warn!(live.id = %id, %error, "a live stream's step is not recorded yet"),
                }
                tokio::time::sleep(STEP_RETRY).await;
            }
        }));
    }

    /// Gaps, and the slate, are made by the clock.
    fn pass_time(&self) {
        if let Some(stream) = &self.stream {
            stream.tick(self.context.clock.now());
        }
    }

    fn tick(&mut self, me: &ActorRef<LiveMessage>) {
        self.pass_time();
        let Some(stream) = &self.stream else { return };
        let (has_ended, is_fed) = stream.look(|broadcast| (broadcast.has_ended(), broadcast.is_fed()));
        if !has_ended {
            me.send_after(if is_fed { FED_TICK } else { TICK }, || LiveMessage::Tick);
        }
        if has_ended || self.counted.1.elapsed() >= COUNTED_EVERY {
            let health = stream.look(|broadcast| broadcast.health());
            let (before, _) = std::mem::replace(&mut self.counted, (health, Instant::now()));
            count_since(before, health);
        }
    }

    /// A stream that nobody feeds leaves memory; viewers had time to see its end.
    fn linger_over(&mut self, me: &ActorRef<LiveMessage>, generation: u64) {
        let is_over = self.machine.state() != LiveState::Live && generation == self.generation;
        if is_over && self.asking.is_empty() {
            me.stop(None);
        }
    }

    fn refuse_all(&mut self) {
        if let Some((_, fence)) = self.fence.take() {
            fence.send_replace(Some(Refusal::Unavailable));
        }
        self.asking.drain().for_each(|(_, reply)| reply.send(Err(TurnedAway::Unavailable)));
    }

    fn stats(&self) -> Option<IngestStats> {
        let stream = self.stream.as_ref()?;
        let vitals = stream.look(Vitals::of);
        let recording = self.recording.as_ref().is_some_and(|recording| !recording.is_failing());
        let ladder = self.ladder.as_ref().map(|_| stream.look(|broadcast| self.ladder_state.stats(broadcast)));
        let link = self.machine.feeding().and_then(|_| *self.link.borrow());
        let whep = stream.realtime().stats();
        Some(IngestStats { recording, vitals, link, ladder, whep, pushes: self.pushes.stats() })
    }

    fn describe(&self) -> Description {
        #[derive(Serialize)]
        struct Shown {
            state: LiveState,
            generation: u64,
            feeding: Option<u64>,
            stats: Option<IngestStats>,
        }
        let shown = Shown {
            state: self.machine.state(),
            generation: self.generation,
            feeding: self.machine.feeding(),
            stats: self.stats(),
        };
        Description::leaf("live_ingest", &self.live.id, &shown)
    }
}
