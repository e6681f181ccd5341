//! Who is served first: inspections before everything else, and one worker that never does anything longer.
use std::collections::HashMap;

use ractor::factory::queues::{Priority, PriorityManager};
use ractor::factory::routing::{RouteResult, Router};
use ractor::factory::{Job, WorkerId, WorkerProperties};
use ractor::{ActorProcessingErr, BytesConvertable};

use super::WorkMessage;
use crate::media::work::TaskKind;

/// The worker that takes only quick tasks, so that a new upload never waits behind long ones.
const RESERVED: WorkerId = 0;

/// In which order waiting tasks are taken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// Makes a video playable, and is over in no time.
    Quick = 0,
    /// A viewer waits for it.
    Demanded = 1,
    /// Makes a video playable.
    Soon = 2,
    /// Lets it be heard.
    Sound = 3,
    /// The first chunks of a video.
    Early = 4,
    /// Its first minute.
    Middle = 5,
    /// Its first ten minutes.
    Long = 6,
    /// What comes then.
    Rest = 7,
    /// Makes it prettier.
    #[default]
    Later = 8,
}

impl Urgency {
    /// Every value, most urgent first.
    const ALL: [Self; Self::COUNT] = [
        Self::Quick,
        Self::Demanded,
        Self::Soon,
        Self::Sound,
        Self::Early,
        Self::Middle,
        Self::Long,
        Self::Rest,
        Self::Later,
    ];
    /// Number of values.
    pub(super) const COUNT: usize = 9;

    /// What is usual for a kind of task.
    pub(super) const fn of(kind: TaskKind) -> Self {
        match kind {
            TaskKind::Inspect | TaskKind::SelfTest => Self::Quick,
            TaskKind::Digest | TaskKind::Remux | TaskKind::Survey | TaskKind::Thumbnail | TaskKind::Stills => {
                Self::Soon
            }
            TaskKind::EncodeSound => Self::Sound,
            TaskKind::EncodePictures | TaskKind::Storyboard => Self::Later,
        }
    }
}

impl From<usize> for Urgency {
    fn from(index: usize) -> Self {
        Self::ALL.get(index).copied().unwrap_or_default()
    }
}

impl Priority for Urgency {
    fn get_index(&self) -> usize {
        *self as usize
    }
}

/// What the pool knows of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TaskKey {
    /// Its kind.
    pub(super) kind: TaskKind,
    /// When it is taken.
    pub(super) urgency: Urgency,
}

/// Asked for by the framework; tasks never leave the node through it.
impl BytesConvertable for TaskKey {
    fn into_bytes(self) -> Vec<u8> {
        Vec::new()
    }

    fn from_bytes(_: Vec<u8>) -> Self {
        Self { kind: TaskKind::Inspect, urgency: Urgency::Later }
    }
}

/// Tells the queue how urgent a task is.
pub(super) struct QuickFirst;

impl PriorityManager<TaskKey, Urgency> for QuickFirst {
    fn is_discardable(&self, _: &TaskKey) -> bool {
        true
    }

    fn get_priority(&self, key: &TaskKey) -> Option<Urgency> {
        Some(key.urgency)
    }
}

/// Gives a task to a free worker that may take it; quick ones prefer the reserved worker.
pub(super) struct ReservingRouter;

impl ReservingRouter {
    fn may_take(worker: WorkerId, key: TaskKey) -> bool {
        worker != RESERVED || key.urgency == Urgency::Quick
    }
}

impl Router<TaskKey, WorkMessage> for ReservingRouter {
    fn route_message(
        &mut self,
        job: Job<TaskKey, WorkMessage>,
        pool_size: usize,
        hint: Option<WorkerId>,
        pool: &mut HashMap<WorkerId, WorkerProperties<TaskKey, WorkMessage>>,
    ) -> Result<RouteResult<TaskKey, WorkMessage>, ActorProcessingErr> {
        let target = self.choose_target_worker(&job, pool_size, hint, pool);
        match target.and_then(|worker| pool.get_mut(&worker)) {
            Some(worker) => {
                worker.enqueue_job(job)?;
                Ok(RouteResult::Handled)
            }
            None => Ok(RouteResult::Backlog(job)),
        }
    }

    fn choose_target_worker(
        &mut self,
        job: &Job<TaskKey, WorkMessage>,
        _: usize,
        _: Option<WorkerId>,
        pool: &HashMap<WorkerId, WorkerProperties<TaskKey, WorkMessage>>,
    ) -> Option<WorkerId> {
        let free = pool.iter().filter(|(_, worker)| worker.is_available()).map(|(number, _)| *number);
        free.filter(|number| Self::may_take(*number, job.key)).min()
    }

    fn is_factory_queueing(&self) -> bool {
        true
    }
}
