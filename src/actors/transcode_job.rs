//! Transcode job: one video from complete bytes to *ready*. Decides nothing itself: [`TranscodeMachine`] does.
//!
//! Supervised by `Transcodes` (restarted by the family's policy). Loses nothing: all it knows is in the catalog, and a
//! restarted job goes on from the video's state. One effect is under way at a time, in a task whose outcome comes back as
//! a message; ending the job ends the task. While the effect is to make a ladder, [`LadderRun`] has several units made
//! beside each other.
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use self::effects::{Carried, Closing, Outcome};
pub use self::ladder::ChunkReply;
use self::ladder::{LadderRun, Waiting};
use super::describe::{DescribeReply, Description};
use super::nodes::NodesHandle;
use super::reply::AskError;
use super::transcode_worker::{WorkError, WorkerPoolHandle};
use crate::domain::cluster::NodeLife;
use crate::domain::ids::VideoId;
use crate::domain::ladder::machine::{LadderEnd, LadderInput};
use crate::domain::ladder::{Av1Policy, Encoder, Ladder, LadderEnding, LadderSettings, LadderState};
use crate::domain::ports::{AssetStore, BlobStore, Catalog, Clock, VideoStep};
use crate::domain::transcode::{
    Attempts, Judgement, LadderStanding, Product, RecordStep, Standing, TranscodeEffect, TranscodeInput,
    TranscodeMachine, WorkEnd, WorkKind,
};
use crate::domain::video::{Video, VideoStatus};
use crate::media::work::{Answer, MediaLimits, Packaged, Task, Verdict};

mod attempt;
mod begin;
mod effects;
mod ladder;
mod pictures;
mod publish;
mod source;

pub(super) use effects::{is_offer, rendition};

/// Progress is written to the catalog in steps of this many percent.
const PROGRESS_STEP: u8 = 10;

/// What all jobs share.
#[derive(Clone)]
pub struct TranscodeDependencies {
    /// Where videos and attempts are recorded.
    pub catalog: Arc<dyn Catalog>,
    /// Where tables, spans and pictures go.
    pub blobs: Arc<dyn BlobStore>,
    /// Where indexes go.
    pub assets: Arc<dyn AssetStore>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Where jobs belong.
    pub nodes: NodesHandle,
    /// Where workers ask for blobs that are not on this machine.
    pub door: Option<PathBuf>,
    /// Who does the work.
    pub workers: WorkerPoolHandle,
    /// For files in the making, on the file system of the blobs.
    pub work_dir: PathBuf,
    /// Conditions of standard input.
    pub limits: MediaLimits,
    /// Worker processes that a file may take with it before its video fails.
    pub attempts_max: u32,
    /// How ladders are made.
    pub ladder: LadderDependencies,
}

impl TranscodeDependencies {
    /// The encoders that work on this machine; tried once.
    pub(super) async fn encoders(&self) -> Result<&[Encoder], WorkError> {
        let test = async || match self.workers.run(Task::SelfTest, Default::default()).await {
            Ok(Answer::SelfTested { encoders }) => Ok(encoders),
            Ok(_) => Err(WorkError::Crashed),
            Err(error) => Err(error),
        };
        Ok(self.ladder.encoders.get_or_try_init(test).await?)
    }
}

/// How ladders are made on this node.
#[derive(Clone)]
pub struct LadderDependencies {
    /// What an operator chooses.
    pub settings: LadderSettings,
    /// Which videos get an AV1 rung.
    pub av1: Av1Policy,
    /// The encoder of H.264 by name, or `auto`.
    pub encoder: String,
    /// Encoders that work on this machine, once they were tried.
    pub encoders: Arc<tokio::sync::OnceCell<Vec<Encoder>>>,
    /// In whose name units are leased.
    pub lease: NodeLife,
    /// Units of one video handed to the workers at once.
    pub in_flight_max: usize,
    /// Longest wait of a viewer for a chunk that is not made yet.
    pub make_wait: Duration,
}

/// What one job is started with.
pub struct TranscodeArguments {
    /// Its video.
    pub video_id: VideoId,
    /// What all jobs share.
    pub dependencies: Arc<TranscodeDependencies>,
}

/// What a job is told.
#[derive(RactorMessage)]
pub enum TranscodeMessage {
    /// What was under way is over.
    Happened(Box<Outcome>),
    /// The work under way has come so far, percent.
    Progressed(u8),
    /// Something happened to the ladder being made.
    Ladder(LadderInput),
    /// A viewer waits for the first rung of a chunk.
    MakeChunk {
        /// Generation of the plan that the chunk is of.
        generation: u32,
        /// The chunk.
        chunk: u32,
        /// Whether it is made.
        reply: ChunkReply,
    },
    /// The video was deleted.
    Deleted,
    /// Another node has the job by now.
    LeaseLost,
    /// Describe yourself.
    Describe {
        /// The description.
        reply: DescribeReply,
    },
}

/// A job's own state.
pub struct TranscodeState {
    video_id: VideoId,
    dependencies: Arc<TranscodeDependencies>,
    machine: TranscodeMachine,
    carried: Carried,
    task: Option<AbortHandle>,
    run: Option<LadderRun>,
    waiting: Waiting,
    /// The work whose product is to be stored.
    packaged_by: WorkKind,
    attempts: Attempts,
    percent: u8,
    percent_told: u8,
}

impl Drop for TranscodeState {
    fn drop(&mut self) {
        self.waiting.answer_all(Err(AskError::Gone));
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The actor.
pub struct TranscodeJob;

impl Actor for TranscodeJob {
    type Msg = TranscodeMessage;
    type State = TranscodeState;
    type Arguments = TranscodeArguments;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        TranscodeArguments { video_id, dependencies }: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let mut state = TranscodeState {
            machine: TranscodeMachine::new(dependencies.attempts_max),
            video_id,
            dependencies,
            carried: Carried::default(),
            task: None,
            run: None,
            waiting: Waiting::default(),
            packaged_by: WorkKind::Inspect,
            attempts: Attempts::default(),
            percent: 0,
            percent_told: 0,
        };
        state.perform(&me, TranscodeEffect::Load);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TranscodeMessage::Happened(outcome) => {
                if let Some(input) = state.take_in(&me, *outcome) {
                    state.step(&me, input);
                }
            }
            TranscodeMessage::Ladder(input) => state.step_ladder(&me, input),
            TranscodeMessage::MakeChunk { generation, chunk, reply } => state.demand(&me, (generation, chunk), reply),
            TranscodeMessage::Deleted | TranscodeMessage::LeaseLost => state.step(&me, TranscodeInput::Gone),
            TranscodeMessage::Progressed(percent) => state.progressed(percent),
            TranscodeMessage::Describe { reply } => reply.send(Ok(state.describe())),
        }
        Ok(())
    }
}

impl TranscodeState {
    fn step(&mut self, me: &ActorRef<TranscodeMessage>, input: TranscodeInput) {
        if let Some(effect) = self.machine.step(input) {
            self.perform(me, effect);
        }
    }

    /// Keeps what an outcome brought, and says it in the machine's words.
    fn take_in(&mut self, me: &ActorRef<TranscodeMessage>, outcome: Outcome) -> Option<TranscodeInput> {
        Some(match outcome {
            Outcome::Loaded(None) | Outcome::Gone => TranscodeInput::Gone,
            Outcome::Loaded(Some(loaded)) => {
                let standing = standing(&loaded.video, loaded.ladder.as_ref());
                self.carried = Carried::of(*loaded);
                TranscodeInput::Loaded(standing)
            }
            Outcome::AttemptRecorded(attempts) => {
                self.attempts = attempts;
                TranscodeInput::AttemptRecorded(attempts)
            }
            Outcome::Worked(answer) => TranscodeInput::Worked(self.take_answer(answer)),
            Outcome::NothingToDo => TranscodeInput::Worked(WorkEnd::Nothing),
            Outcome::AttemptEnded => TranscodeInput::AttemptEnded,
            Outcome::Stored(stored) => {
                self.carried.stored = stored;
                TranscodeInput::Stored
            }
            Outcome::Stepped(video) => {
                self.carried.stepped(*video);
                TranscodeInput::Stepped
            }
            Outcome::Planned(has_work) => TranscodeInput::Planned(has_work),
            Outcome::NotPlanned(failure) => TranscodeInput::NotPlanned(failure),
            Outcome::LadderBegun(started) => {
                self.begin_run(me, *started);
                return None;
            }
            Outcome::Published(published) => {
                let input = if published.is_some() { LadderInput::Published } else { LadderInput::NotPublished };
                if let Some(video) = published {
                    self.carried.stepped(*video);
                }
                self.step_ladder(me, input);
                return None;
            }
            Outcome::LadderClosed(results) => {
                self.carried.results = results;
                TranscodeInput::LadderEnded(None)
            }
            Outcome::RetryDue => TranscodeInput::RetryDue,
            Outcome::Unavailable(reason) => {
                tracing::warn!(video.id = %self.video_id, reason, "transcode job has to wait");
                TranscodeInput::Unavailable
            }
        })
    }

    fn begin_run(&mut self, me: &ActorRef<TranscodeMessage>, started: begin::Started) {
        let keeps_pictures = self.carried.video().is_some_and(plays_source);
        self.carried.stepped((*started.video).clone());
        self.carried.ladder = Some(started.ladder.clone());
        self.run = Some(LadderRun::new(self.shared(), started, keeps_pictures));
        self.step_ladder(me, LadderInput::Started);
        for chunk in self.waiting.chunks() {
            self.step_ladder(me, LadderInput::Demanded(chunk));
        }
    }

    fn step_ladder(&mut self, me: &ActorRef<TranscodeMessage>, input: LadderInput) {
        let Some(run) = &mut self.run else { return };
        let Some(end) = run.step(me, input, &mut self.waiting) else { return };
        let generation = run.plan().generation;
        self.run = None;
        self.waiting.answer_all(Ok(false));
        match end {
            LadderEnd::Made(failure) => {
                self.carried.failure = failure;
                self.spawn(me, self.shared().read_results(generation));
            }
            LadderEnd::Failed(failure) => {
                self.carried.failure = Some(failure.clone());
                self.step(me, TranscodeInput::LadderEnded(Some(failure)));
            }
        }
    }

    /// A chunk that is of another plan will not be made; one of a ladder that is not being made yet has to wait for it.
    fn demand(&mut self, me: &ActorRef<TranscodeMessage>, (generation, chunk): (u32, u32), reply: ChunkReply) {
        let planned = self.carried.ladder.as_ref().map(|ladder| ladder.generation);
        match &self.run {
            Some(run) if run.plan().generation == generation => {
                self.waiting.add(chunk, reply);
                self.step_ladder(me, LadderInput::Demanded(chunk));
            }
            None if planned.is_none_or(|planned| planned == generation) => self.waiting.add(chunk, reply),
            _ => reply.send(Ok(false)),
        }
    }

    fn shared(&self) -> effects::Shared {
        effects::Shared { video_id: self.video_id.clone(), dependencies: Arc::clone(&self.dependencies) }
    }

    fn take_answer(&mut self, answer: Result<Answer, WorkError>) -> WorkEnd {
        match answer {
            Ok(Answer::Digested) => WorkEnd::Done,
            Ok(Answer::Illustrated { file, content_type, width, height }) => {
                self.carried.picture = Some((file, content_type, width, height));
                WorkEnd::Done
            }
            Ok(Answer::Inspected { media, verdict } | Answer::Remuxed { media, verdict }) => {
                if let TranscodeEffect::Work(kind) = self.machine.current() {
                    self.packaged_by = *kind;
                }
                let has_picture = !media.video.is_empty();
                self.carried.media = Some(media);
                self.carried.non_standard.clear();
                WorkEnd::Judged(match verdict {
                    Verdict::Playable(packaged) => {
                        self.carried.packaged = Some(packaged);
                        Judgement::Playable { has_picture }
                    }
                    Verdict::Remux => Judgement::Remux,
                    Verdict::NonStandard(reasons) => {
                        self.carried.non_standard.clone_from(&reasons);
                        match reasons.iter().any(|reason| reason.code == "no_tracks") {
                            true => Judgement::Empty(reasons),
                            false => Judgement::NonStandard { has_picture },
                        }
                    }
                })
            }
            Ok(Answer::Surveyed(survey)) => {
                self.carried.survey = Some(survey);
                WorkEnd::Done
            }
            Ok(Answer::StillsMade { pictures }) => {
                self.carried.stills = pictures;
                if self.carried.stills.is_empty() { WorkEnd::Nothing } else { WorkEnd::Done }
            }
            Ok(Answer::StoryboardMade { sheets, width, height }) => {
                self.carried.sheets = Some((sheets, width, height));
                WorkEnd::Done
            }
            // An answer to a question that was not asked: the worker is not to be trusted.
            Ok(_) => WorkEnd::Crashed,
            Err(WorkError::Refused(failure)) => WorkEnd::Refused(failure),
            Err(WorkError::Crashed) => WorkEnd::Crashed,
            Err(WorkError::Hung) => WorkEnd::Hung,
            Err(WorkError::Busy | WorkError::NoWorker | WorkError::Paused | WorkError::Lost) => WorkEnd::Unavailable,
        }
    }

    /// Starts what is to be done; its outcome comes back as a message.
    fn perform(&mut self, me: &ActorRef<TranscodeMessage>, effect: TranscodeEffect) {
        tracing::debug!(video.id = %self.video_id, ?effect, "transcode job goes on");
        let shared = self.shared();
        match effect {
            TranscodeEffect::Load => self.spawn(me, shared.load()),
            TranscodeEffect::RecordAttempt(kind) => self.spawn(me, shared.record_attempt(kind)),
            TranscodeEffect::Work(kind) => {
                self.percent = 0;
                let progress = watch_progress(me, TranscodeMessage::Progressed);
                let task = self.carried.task(kind, &shared);
                self.spawn(me, shared.work(kind, task, progress));
            }
            TranscodeEffect::EndAttempt(kind, end) => self.spawn(me, shared.end_attempt(kind, end)),
            TranscodeEffect::Store(product) => {
                let (made, kind) = (self.carried.made(product), self.made_by(product));
                self.spawn(me, shared.store(made, kind));
            }
            TranscodeEffect::Step(step) => {
                let closing = self.closing(&step);
                let step = self.carried.step(step);
                self.spawn(me, shared.step(step, closing));
            }
            TranscodeEffect::Plan => match self.planning() {
                Some(planning) => self.spawn(me, shared.plan(planning)),
                None => self.spawn(me, async { Outcome::Gone }),
            },
            TranscodeEffect::MakeLadder => {
                self.spawn(me, shared.begin_ladder());
            }
            TranscodeEffect::Wait(pause) => self.spawn(me, wait(pause)),
            TranscodeEffect::Stop => {
                let unpublished = std::mem::take(&mut self.carried.stored);
                let me = me.clone();
                (self.task, self.run) = (None, None);
                tokio::spawn(async move {
                    shared.clean_up(unpublished).await;
                    me.stop(None);
                });
            }
        }
    }

    fn spawn(&mut self, me: &ActorRef<TranscodeMessage>, work: impl Future<Output = Outcome> + Send + 'static) {
        let me = me.clone();
        let task = tokio::spawn(async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Outcome::Unavailable("a step panicked".into()));
            // An actor that has ended needs no outcome.
            let _ = me.cast(TranscodeMessage::Happened(Box::new(outcome)));
        });
        self.task = Some(task.abort_handle());
    }

    /// The work that a product came from.
    fn made_by(&self, product: Product) -> WorkKind {
        match product {
            Product::Picture => WorkKind::Illustrate,
            Product::Stills => WorkKind::Stills,
            Product::Storyboard => WorkKind::Storyboard,
            Product::Asset => self.packaged_by,
        }
    }

    /// How the ladder is left when the video's record comes to an end.
    fn closing(&self, step: &RecordStep) -> Option<Closing> {
        let generation = self.carried.ladder.as_ref()?.generation;
        let failure = self.carried.failure.clone();
        let ending = match step {
            RecordStep::Finished => LadderEnding {
                state: if failure.is_some() { LadderState::Failed } else { LadderState::Done },
                failure,
                disowned: self.carried.tile_blobs(),
            },
            RecordStep::Failed(_) => LadderEnding { failure, ..LadderEnding::of(LadderState::Abandoned) },
            _ => return None,
        };
        Some(Closing { generation, ending })
    }

    fn planning(&self) -> Option<begin::Planning> {
        let video = self.carried.video()?.clone();
        let media = self.carried.media.clone().or_else(|| video.media.clone())?;
        Some(begin::Planning { keeps_source: plays_source(&video), survey: self.carried.survey.clone(), video, media })
    }

    fn progressed(&mut self, percent: u8) {
        self.percent = percent;
        let is_told = percent < self.percent_told.saturating_add(PROGRESS_STEP);
        if is_told || !matches!(self.machine.current(), TranscodeEffect::Work(WorkKind::Remux)) {
            return;
        }
        self.percent_told = percent;
        let (dependencies, video_id) = (Arc::clone(&self.dependencies), self.video_id.clone());
        tokio::spawn(async move {
            let now = dependencies.clock.now();
            // Told for those who watch; the next one makes good for one that was lost.
            let _ =
                dependencies.catalog.step_video(&video_id, VideoStep::Progress { percent, ready_at: None }, now).await;
        });
    }

    fn describe(&self) -> Description {
        #[derive(Serialize)]
        struct TranscodeSnapshot {
            doing: String,
            status: Option<VideoStatus>,
            attempts: Attempts,
            percent: u8,
            #[serde(skip_serializing_if = "Option::is_none")]
            units: Option<Units>,
        }
        #[derive(Serialize)]
        struct Units {
            waiting: usize,
            running: usize,
            done: usize,
            failed: usize,
        }
        let run = self.run.as_ref().map(LadderRun::describe);
        let snapshot = TranscodeSnapshot {
            units: run.map(|([waiting, running, done, failed], _)| Units { waiting, running, done, failed }),
            doing: format!("{:?}", self.machine.current()),
            status: self.carried.status(),
            attempts: self.attempts,
            percent: run.map_or(self.percent, |(_, percent)| percent),
        };
        Description::leaf("transcode_job", &self.video_id, &snapshot)
    }
}

/// Whether a video can be watched as it came.
fn plays_source(video: &Video) -> bool {
    let has_picture = video.media.as_ref().is_none_or(|media| !media.video.is_empty());
    let is_source = video.renditions.iter().any(|known| known.kind == "video" && known.rung == "source");
    video.asset_generation > 0 && (is_source || (!has_picture && video.non_standard.is_empty()))
}

/// How far a video is.
fn standing(video: &Video, ladder: Option<&Ladder>) -> Standing {
    let has_picture = video.media.as_ref().is_none_or(|media| !media.video.is_empty());
    Standing {
        status: video.status,
        has_digest: video.expected_digest.is_some(),
        lacks_picture: has_picture && video.thumbnails.is_empty(),
        plays_source: plays_source(video),
        ladder: match ladder {
            Some(Ladder { state: LadderState::Open, .. }) => LadderStanding::Open,
            Some(Ladder { state: LadderState::Done | LadderState::Failed, .. }) => LadderStanding::Ended,
            Some(Ladder { state: LadderState::Abandoned, .. }) | None => LadderStanding::None,
        },
        has_stills: !has_picture || video.thumbnails.iter().any(|picture| picture.moment.is_candidate()),
        has_storyboard: !has_picture || video.storyboard.is_some(),
    }
}

/// Hands progress on as messages. Ends with the work, which holds the sender. A watch keeps only the latest, so that nothing
/// can pile up.
fn watch_progress(
    me: &ActorRef<TranscodeMessage>,
    message: impl Fn(u8) -> TranscodeMessage + Send + 'static,
) -> watch::Sender<u8> {
    let (tx, mut rx) = watch::channel(0);
    let me = me.clone();
    tokio::spawn(async move {
        while rx.changed().await.is_ok() {
            let percent = *rx.borrow_and_update();
            if me.cast(message(percent)).is_err() {
                return;
            }
        }
    });
    tx
}

async fn wait(pause: Duration) -> Outcome {
    tokio::time::sleep(pause).await;
    Outcome::RetryDue
}
