//! Transcode workers: a bounded pool of actors, each driving one worker process, in which alone outside bytes are decoded.
//!
//! ```text
//! WorkerPool (ractor factory: one queue, quick tasks first; one worker takes nothing but quick tasks)
//! └─ TranscodeWorker*      holds its driver's inbox; `handle` hands the task over and returns
//!      └─ driver (task)    owns the process: starts it before it is needed, runs a task, watches it, replaces it
//!           └─ process     `playhouse worker`
//! ```
//! A process that crashes or hangs costs its one task and is replaced; the pool goes on. A driver that panics takes its
//! worker with it, and the factory starts both anew. Who waits for an answer always gets one, or sees
//! [`WorkError::Lost`].
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ractor::factory::{
    DiscardHandler, DiscardMode, DiscardReason, DiscardSettings, Factory, FactoryArguments, FactoryMessage,
    FactoryStatsLayer, Job, WorkerMessage, WorkerStartContext, queues, worker_builder,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

pub(super) use self::process::WorkerProcess;
use self::process::{Orders, RunError};
use self::queue::{QuickFirst, ReservingRouter, TaskKey};
use super::describe::Description;
use super::node_root::Branch;
use super::reply::{AskError, Post, Reply};
use crate::domain::video::Failure;
use crate::media::work::{Answer, Task, TaskKind};

mod process;
mod queue;
mod spawner;

pub use self::process::ProcessSettings;
pub use self::queue::Urgency;

/// Most tasks waiting: each is a few hundred bytes and belongs to a job of its own, which tries again later when told
/// that there is no room.
const QUEUE_MAX: usize = 1_000;
/// Longest wait for an answer, queue included. A job that waits longer has met a bug, not a long file.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Tasks after which a process is replaced: what libraries leak per file must not add up to its limit.
const TASKS_PER_PROCESS_MAX: u32 = 200;
/// Pause after a process could not be started; doubles up to the longest.
const START_BACKOFF: Duration = Duration::from_millis(200);
/// Longest such pause.
const START_BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Why a task has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The file cannot be used; says why.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The worker process ended over it. Counts as an attempt.
    #[error("the worker process ended")]
    Crashed,
    /// The worker process made no progress and was killed. Counts as an attempt.
    #[error("the worker process made no progress")]
    Hung,
    /// The queue is full; worth another try.
    #[error("too much work is waiting")]
    Busy,
    /// No process could be started; worth another try.
    #[error("no worker process could be started")]
    NoWorker,
    /// The pool hands out no such work at the moment; worth another try.
    #[error("work is paused")]
    Paused,
    /// The pool is being restarted or stopped; worth another try.
    #[error("the workers are not available right now")]
    Lost,
}

impl From<AskError> for WorkError {
    fn from(_: AskError) -> Self {
        Self::Lost
    }
}

/// A task on its way through the pool.
#[derive(RactorMessage)]
pub struct WorkMessage {
    task: Task,
    progress: watch::Sender<u8>,
    reply: Option<Reply<Answer, WorkError>>,
}

impl WorkMessage {
    fn answer(&mut self, answer: Result<Answer, WorkError>) {
        if let Some(reply) = self.reply.take() {
            reply.send(answer);
        }
    }

    fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_none_or(Reply::is_abandoned)
    }
}

type PoolMessage = FactoryMessage<TaskKey, WorkMessage>;
type PoolQueue = queues::PriorityQueue<TaskKey, WorkMessage, Urgency, QuickFirst, { Urgency::COUNT }>;
type PoolFactory = Factory<TaskKey, WorkMessage, DriverSeed, TranscodeWorker, ReservingRouter, PoolQueue>;
type PoolArguments = FactoryArguments<TaskKey, WorkMessage, DriverSeed, TranscodeWorker, ReservingRouter, PoolQueue>;

/// What the pool is started with.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// Processes for tasks of any kind; one more takes only quick ones. 0: one per core.
    pub processes: usize,
    /// How each is started and watched.
    pub process: ProcessSettings,
}

/// The only way in.
#[derive(Clone, Default)]
pub struct WorkerPoolHandle {
    post: Post<PoolMessage>,
    counters: Arc<PoolCounters>,
    /// Whether encoding is paused.
    gate: Gate,
}

/// Who has encoding stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PausedBy {
    /// The node's operator.
    Operator,
    /// Live streams, which need the cores.
    Live,
}

/// Whether encoding is paused: shared by the handle and all drivers.
#[derive(Clone, Default)]
struct Gate(watch::Sender<Pauses>);

#[derive(Debug, Clone, Copy, Default)]
struct Pauses {
    operator: bool,
    live: bool,
}

impl Pauses {
    fn of(&mut self, by: PausedBy) -> &mut bool {
        match by {
            PausedBy::Operator => &mut self.operator,
            PausedBy::Live => &mut self.live,
        }
    }

    fn any(self) -> bool {
        self.operator || self.live
    }
}

impl Gate {
    /// Whether this kind of work stands still while encoding is paused.
    const fn holds(kind: TaskKind) -> bool {
        matches!(kind, TaskKind::EncodePictures | TaskKind::EncodeSound)
    }

    fn is_closed_to(&self, kind: TaskKind) -> bool {
        Self::holds(kind) && self.0.borrow().any()
    }

    /// Waits until work of this kind may begin.
    async fn pass(&self, kind: TaskKind) {
        if Self::holds(kind) {
            // The sender lives as long as this gate does.
            let _ = self.0.subscribe().wait_for(|pauses| !pauses.any()).await;
        }
    }
}

/// What the pool says of itself.
#[derive(Debug, Default, Serialize)]
struct PoolCounters {
    /// Processes that are ready or at work.
    processes: AtomicU64,
    /// Tasks under way.
    running: AtomicU64,
    /// Tasks waiting, when last looked at.
    queued: AtomicU64,
    /// Tasks that were answered, refusals included.
    answered: AtomicU64,
    /// Processes that ended over a task, by themselves or because they made no progress.
    lost: AtomicU64,
    /// Whether encoding is paused.
    is_paused: AtomicBool,
}

impl WorkerPoolHandle {
    /// Has a task done and waits for its answer; `progress` is told how far it is, percent. Dropping the future gives
    /// the task up.
    pub async fn run(&self, task: Task, progress: watch::Sender<u8>) -> Result<Answer, WorkError> {
        let urgency = Urgency::of(task.kind());
        self.run_at(urgency, task, progress).await
    }

    /// As [`Self::run`], with an urgency of its own.
    pub async fn run_at(&self, urgency: Urgency, task: Task, progress: watch::Sender<u8>) -> Result<Answer, WorkError> {
        let kind = task.kind();
        loop {
            self.gate.pass(kind).await;
            let (task, progress) = (task.clone(), progress.clone());
            let dispatch = |reply| {
                let message = WorkMessage { task, progress, reply: Some(reply) };
                FactoryMessage::Dispatch(Job::new(TaskKey { kind, urgency }, message))
            };
            match self.post.ask_within(ANSWER_TIMEOUT, dispatch).await? {
                Err(WorkError::Paused) => {}
                answer => return answer,
            }
        }
    }

    /// Whether a worker has nothing to do.
    pub fn is_idle(&self) -> bool {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        // One process takes nothing but quick tasks.
        let is_free = load(&counters.running) + 1 < load(&counters.processes);
        is_free && load(&counters.queued) == 0 && !self.is_encoding_paused()
    }

    /// Hands out no more work of encoding, or does so again once nobody else has it paused. What is under way goes on.
    pub fn pause_encoding(&self, by: PausedBy, is_paused: bool) {
        self.gate.0.send_modify(|pauses| *pauses.of(by) = is_paused);
        self.counters.is_paused.store(self.gate.0.borrow().any(), Ordering::Relaxed);
    }

    /// Whether encoding is paused.
    pub fn is_encoding_paused(&self) -> bool {
        self.gate.0.borrow().any()
    }

    /// Starts the pool, linked to `supervisor` if there is one; from then on the handle leads to it. Its processes start
    /// at once, so that the first task finds a warm one.
    pub async fn start(
        &self,
        settings: PoolSettings,
        supervisor: Option<ActorCell>,
    ) -> Result<ActorCell, ractor::SpawnErr> {
        let arguments = self.arguments(settings);
        let (pool, _) = match supervisor {
            Some(supervisor) => Actor::spawn_linked(None, PoolFactory::default(), arguments, supervisor).await?,
            None => Actor::spawn(None, PoolFactory::default(), arguments).await?,
        };
        self.post.install(Some(pool.clone()));
        Ok(pool.get_cell())
    }

    /// The pool as a branch of the root.
    pub fn branch(&self, settings: PoolSettings) -> Branch {
        let (starting, describing) = (self.clone(), Arc::clone(&self.counters));
        Branch::new(
            "workers",
            move |root| {
                let (pool, settings) = (starting.clone(), settings.clone());
                Box::pin(async move { pool.start(settings, Some(root)).await })
            },
            move || {
                let description = Description::leaf("workers", "pool", &*describing);
                Box::pin(async move { Ok(description) })
            },
        )
    }

    fn arguments(&self, settings: PoolSettings) -> PoolArguments {
        let processes = match settings.processes {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            processes => processes,
        };
        let (process, counters) = (Arc::new(settings.process), Arc::clone(&self.counters));
        let gate = self.gate.clone();
        let seed = move |_| (TranscodeWorker, DriverSeed(Arc::clone(&process), Arc::clone(&counters), gate.clone()));
        FactoryArguments::builder()
            .worker_builder(Box::new(worker_builder(seed)))
            .num_initial_workers(processes + 1)
            .router(ReservingRouter)
            .queue(queues::PriorityQueue::new(QuickFirst))
            .discard_handler(Arc::new(AnswerBusy))
            .discard_settings(DiscardSettings::Static { limit: QUEUE_MAX, mode: DiscardMode::Newest })
            .stats(Arc::new(QueueMetrics(Arc::clone(&self.counters))))
            .build()
    }
}

struct AnswerBusy;

impl DiscardHandler<TaskKey, WorkMessage> for AnswerBusy {
    fn discard(&self, _: DiscardReason, job: &mut Job<TaskKey, WorkMessage>) {
        metrics::counter!("playhouse_worker_tasks_discarded_total").increment(1);
        job.msg.answer(Err(WorkError::Busy));
    }
}

struct QueueMetrics(Arc<PoolCounters>);

impl FactoryStatsLayer for QueueMetrics {
    fn record_queue_depth(&self, _: &str, depth: usize) {
        metrics::gauge!("playhouse_worker_queue_depth").set(depth as f64);
        self.0.queued.store(depth as u64, Ordering::Relaxed);
    }
    fn record_worker_count(&self, _: &str, count: usize) {
        metrics::gauge!("playhouse_workers").set(count as f64);
    }
}

/// What a worker's driver needs to know.
#[derive(RactorMessage)]
struct DriverSeed(Arc<ProcessSettings>, Arc<PoolCounters>, Gate);

/// One worker of the pool.
struct TranscodeWorker;

impl Actor for TranscodeWorker {
    type Msg = WorkerMessage<TaskKey, WorkMessage>;
    type State = (mpsc::Sender<Job<TaskKey, WorkMessage>>, ActorRef<PoolMessage>, usize);
    type Arguments = WorkerStartContext<TaskKey, WorkMessage, DriverSeed>;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        start: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        // One place: the factory hands over a task only after the one before is finished.
        let (tasks, inbox) = mpsc::channel(1);
        let (pool, number) = (start.factory.clone(), start.wid);
        let DriverSeed(settings, counters, gate) = start.custom_start;
        let driver = Driver { settings, counters, gate, pool: pool.clone(), number };
        tokio::spawn(async move {
            if tokio::spawn(driver.run(inbox)).await.is_err_and(|error| error.is_panic()) {
                me.kill();
            }
        });
        Ok((tasks, pool, number))
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        (tasks, pool, number): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::FactoryPing(sent) => pool.cast(FactoryMessage::WorkerPong(*number, sent.elapsed()))?,
            WorkerMessage::Dispatch(job) => tasks.try_send(job).map_err(|_| "the driver takes no task")?,
        }
        Ok(())
    }
}

/// Owns a worker process and keeps a warm one at hand.
struct Driver {
    settings: Arc<ProcessSettings>,
    counters: Arc<PoolCounters>,
    gate: Gate,
    pool: ActorRef<PoolMessage>,
    number: usize,
}

impl Driver {
    /// Until the inbox closes, which is when the worker actor ends; the process dies with its owner.
    async fn run(self, mut inbox: mpsc::Receiver<Job<TaskKey, WorkMessage>>) {
        let mut backoff = START_BACKOFF;
        loop {
            match WorkerProcess::start(&self.settings).await {
                Ok(process) => {
                    backoff = START_BACKOFF;
                    tracing::debug!(worker.number = self.number, process.id = process.id(), "worker process ready");
                    self.counters.processes.fetch_add(1, Ordering::Relaxed);
                    let served = self.serve(process, &mut inbox).await;
                    self.counters.processes.fetch_sub(1, Ordering::Relaxed);
                    if served.is_none() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, program = %self.settings.program.display(), "worker process did not start");
                    count_death("not_started");
                    if inbox.is_closed() {
                        return;
                    }
                    if let Ok(job) = inbox.try_recv() {
                        self.finish(job, Err(WorkError::NoWorker));
                    }
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(START_BACKOFF_MAX);
                }
            }
        }
    }

    /// Runs tasks on this process until it has to be replaced; `None` when there will be no more tasks.
    async fn serve(
        &self,
        mut process: WorkerProcess,
        inbox: &mut mpsc::Receiver<Job<TaskKey, WorkMessage>>,
    ) -> Option<()> {
        for _ in 0..TASKS_PER_PROCESS_MAX {
            let job = tokio::select! {
                job = inbox.recv() => job?,
                () = process.ended() => {
                    tracing::warn!(worker.number = self.number, "idle worker process ended");
                    count_death("idle");
                    return Some(());
                }
            };
            if !self.perform(&mut process, job).await {
                return Some(());
            }
        }
        Some(())
    }

    /// Runs one task and answers; returns whether the process is good for another.
    async fn perform(&self, process: &mut WorkerProcess, job: Job<TaskKey, WorkMessage>) -> bool {
        // It was in the queue when encoding was paused.
        if self.gate.is_closed_to(job.key.kind) {
            self.finish(job, Err(WorkError::Paused));
            return true;
        }
        let started = Instant::now();
        let message = &job.msg;
        let is_abandoned = || message.is_abandoned();
        let orders = Orders { progress: &message.progress, is_abandoned: &is_abandoned };
        self.counters.running.fetch_add(1, Ordering::Relaxed);
        let result = process.run(message.task.clone(), &self.settings, &orders).await;
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
        let task = job.key.kind.as_str();
        metrics::histogram!("playhouse_worker_task_seconds", "task" => task).record(started.elapsed().as_secs_f64());
        let (answer, is_good) = match result {
            Ok(answer) => {
                self.counters.answered.fetch_add(1, Ordering::Relaxed);
                (answer.map_err(WorkError::Refused), true)
            }
            Err(error) => {
                tracing::warn!(worker.number = self.number, task, %error, "worker process is replaced");
                let (reason, answer) = match error {
                    RunError::Crashed(_) => ("crashed", WorkError::Crashed),
                    RunError::Hung => ("hung", WorkError::Hung),
                    RunError::Abandoned => ("abandoned", WorkError::Lost),
                };
                count_death(reason);
                self.counters.lost.fetch_add(1, Ordering::Relaxed);
                (Err(answer), false)
            }
        };
        self.finish(job, answer);
        is_good
    }

    fn finish(&self, mut job: Job<TaskKey, WorkMessage>, answer: Result<Answer, WorkError>) {
        job.msg.answer(answer);
        // A pool that is gone has no use for it.
        let _ = self.pool.cast(FactoryMessage::Finished(self.number, job.key));
    }
}

fn count_death(reason: &'static str) {
    metrics::counter!("playhouse_worker_deaths_total", "reason" => reason).increment(1);
}
