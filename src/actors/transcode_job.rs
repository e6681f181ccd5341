//! Transcode job: one video from complete bytes to *ready*. Decides nothing itself: [`TranscodeMachine`] does.
//!
//! Supervised by `Transcodes` (restarted by the family's policy). Loses nothing: all it knows is in the catalog, and a
//! restarted job goes on from the video's state. One effect is under way at a time, in a task whose outcome comes back as
//! a message; ending the job ends the task.
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use self::effects::{Carried, Outcome};
use super::describe::{DescribeReply, Description};
use super::transcode_worker::{WorkError, WorkerPoolHandle};
use crate::domain::ids::VideoId;
use crate::domain::ports::{AssetStore, BlobStore, Catalog, Clock, VideoStep};
use crate::domain::transcode::{
    Attempts, Judgement, TranscodeEffect, TranscodeInput, TranscodeMachine, WorkEnd, WorkKind,
};
use crate::domain::video::VideoStatus;
use crate::media::work::{Answer, MediaLimits, Packaged, Verdict};

mod effects;

/// Progress is written to the catalog in steps of this many percent.
const PROGRESS_STEP: u8 = 10;

/// What all jobs share.
pub struct TranscodeDependencies {
    /// Where videos and attempts are recorded.
    pub catalog: Arc<dyn Catalog>,
    /// Where tables, spans and pictures go.
    pub blobs: Arc<dyn BlobStore>,
    /// Where indexes go.
    pub assets: Arc<dyn AssetStore>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Who does the work.
    pub workers: WorkerPoolHandle,
    /// For files in the making, on the file system of the blobs.
    pub work_dir: PathBuf,
    /// Conditions of standard input.
    pub limits: MediaLimits,
    /// Worker processes that a file may take with it before its video fails.
    pub attempts_max: u32,
}

/// What one job is started with.
pub struct TranscodeArguments {
    /// Its video.
    pub video_id: VideoId,
    /// What all jobs share.
    pub dependencies: Arc<TranscodeDependencies>,
}

/// What a job is told.
pub enum TranscodeMessage {
    /// What was under way is over.
    Happened(Box<Outcome>),
    /// The work under way has come so far, percent.
    Progressed(u8),
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
    attempts: Attempts,
    percent: u8,
    percent_told: u8,
}

impl Drop for TranscodeState {
    fn drop(&mut self) {
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
                let input = state.take_in(*outcome);
                if let Some(effect) = state.machine.step(input) {
                    state.perform(&me, effect);
                }
            }
            TranscodeMessage::Progressed(percent) => state.progressed(percent),
            TranscodeMessage::Describe { reply } => reply.send(Ok(state.describe())),
        }
        Ok(())
    }
}

impl TranscodeState {
    /// Keeps what an outcome brought, and says it in the machine's words.
    fn take_in(&mut self, outcome: Outcome) -> TranscodeInput {
        match outcome {
            Outcome::Loaded(None) | Outcome::Gone => TranscodeInput::Gone,
            Outcome::Loaded(Some(video)) => {
                let has_picture = video.media.as_ref().is_none_or(|media| !media.video.is_empty());
                let input = TranscodeInput::Loaded {
                    status: video.status,
                    has_digest: video.expected_digest.is_some(),
                    lacks_picture: has_picture && video.thumbnails.is_empty(),
                };
                self.carried = Carried::of(*video);
                input
            }
            Outcome::AttemptRecorded(attempts) => {
                self.attempts = attempts;
                TranscodeInput::AttemptRecorded(attempts)
            }
            Outcome::Worked(answer) => TranscodeInput::Worked(self.take_answer(answer)),
            Outcome::AttemptEnded => TranscodeInput::AttemptEnded,
            Outcome::Stored(stored) => {
                self.carried.stored = stored;
                TranscodeInput::Stored
            }
            Outcome::Stepped(video) => {
                self.carried.stepped(*video);
                TranscodeInput::Stepped
            }
            Outcome::RetryDue => TranscodeInput::RetryDue,
            Outcome::Unavailable(reason) => {
                tracing::warn!(video.id = %self.video_id, reason, "transcode job has to wait");
                TranscodeInput::Unavailable
            }
        }
    }

    fn take_answer(&mut self, answer: Result<Answer, WorkError>) -> WorkEnd {
        match answer {
            Ok(Answer::Digested) => WorkEnd::Done,
            Ok(Answer::Illustrated { file, content_type, width, height }) => {
                self.carried.picture = Some((file, content_type, width, height));
                WorkEnd::Done
            }
            Ok(Answer::Inspected { media, verdict } | Answer::Remuxed { media, verdict }) => {
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
                        Judgement::NonStandard(reasons)
                    }
                })
            }
            // An answer to a question that was not asked: the worker is not to be trusted.
            Ok(_) => WorkEnd::Crashed,
            Err(WorkError::Refused(failure)) => WorkEnd::Refused(failure),
            Err(WorkError::Crashed) => WorkEnd::Crashed,
            Err(WorkError::Hung) => WorkEnd::Hung,
            Err(WorkError::Busy | WorkError::NoWorker | WorkError::Lost) => WorkEnd::Unavailable,
        }
    }

    /// Starts what is to be done; its outcome comes back as a message.
    fn perform(&mut self, me: &ActorRef<TranscodeMessage>, effect: TranscodeEffect) {
        tracing::debug!(video.id = %self.video_id, ?effect, "transcode job goes on");
        let shared = effects::Shared { video_id: self.video_id.clone(), dependencies: Arc::clone(&self.dependencies) };
        match effect {
            TranscodeEffect::Load => self.spawn(me, shared.load()),
            TranscodeEffect::RecordAttempt(kind) => self.spawn(me, shared.record_attempt(kind)),
            TranscodeEffect::Work(kind) => {
                self.percent = 0;
                let progress = self.watch_progress(me);
                let task = self.carried.task(kind, &shared);
                self.spawn(me, shared.work(kind, task, progress));
            }
            TranscodeEffect::EndAttempt(kind, end) => self.spawn(me, shared.end_attempt(kind, end)),
            TranscodeEffect::Store(product) => {
                let made = self.carried.made(product);
                self.spawn(me, shared.store(made));
            }
            TranscodeEffect::Step(step) => {
                let step = self.carried.step(step);
                self.spawn(me, shared.step(step));
            }
            TranscodeEffect::Wait(pause) => self.spawn(me, wait(pause)),
            TranscodeEffect::Stop => {
                let unpublished = std::mem::take(&mut self.carried.stored);
                let me = me.clone();
                self.task = None;
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

    fn watch_progress(&self, me: &ActorRef<TranscodeMessage>) -> watch::Sender<u8> {
        let (tx, mut rx) = watch::channel(0);
        let me = me.clone();
        // Ends with the work, which holds the sender. A watch keeps only the latest, so that nothing can pile up.
        tokio::spawn(async move {
            while rx.changed().await.is_ok() {
                let percent = *rx.borrow_and_update();
                if me.cast(TranscodeMessage::Progressed(percent)).is_err() {
                    return;
                }
            }
        });
        tx
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
        }
        let snapshot = TranscodeSnapshot {
            doing: format!("{:?}", self.machine.current()),
            status: self.carried.status(),
            attempts: self.attempts,
            percent: self.percent,
        };
        Description::leaf("transcode_job", &self.video_id, &snapshot)
    }
}

async fn wait(pause: Duration) -> Outcome {
    tokio::time::sleep(pause).await;
    Outcome::RetryDue
}
