//! Who is served first: inspections before everything else, and one worker that never does anything longer.
use std::collections::HashMap;

use ractor::ActorProcessingErr;
use ractor::factory::queues::{Priority, PriorityManager};
use ractor::factory::routing::{RouteResult, Router};
use ractor::factory::{Job, WorkerId, WorkerProperties};

use super::WorkMessage;
use crate::media::work::TaskKind;

/// The worker that takes only quick tasks, so that a new upload never waits behind long ones.
const RESERVED: WorkerId = 0;

/// In which order waiting tasks are taken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Makes a video playable, and is over in no time.
    Quick = 0,
    /// Makes a video playable.
    Soon = 1,
    /// Makes it prettier.
    #[default]
    Later = 2,
}

impl Urgency {
    /// Number of values.
    pub(super) const COUNT: usize = 3;

    const fn of(kind: TaskKind) -> Self {
        match kind {
            TaskKind::Inspect | TaskKind::SelfTest => Self::Quick,
            TaskKind::Digest | TaskKind::Remux | TaskKind::Survey | TaskKind::Stage | TaskKind::Stills => Self::Soon,
            TaskKind::Thumbnail | TaskKind::EncodePictures | TaskKind::EncodeSound | TaskKind::Storyboard => {
                Self::Later
            }
        }
    }
}

impl From<usize> for Urgency {
    fn from(index: usize) -> Self {
        match index {
            0 => Self::Quick,
            1 => Self::Soon,
            _ => Self::Later,
        }
    }
}

impl Priority for Urgency {
    fn get_index(&self) -> usize {
        *self as usize
    }
}

/// Tells the queue how urgent a task is.
pub(super) struct QuickFirst;

impl PriorityManager<TaskKind, Urgency> for QuickFirst {
    fn is_discardable(&self, _: &TaskKind) -> bool {
        true
    }

    fn get_priority(&self, kind: &TaskKind) -> Option<Urgency> {
        Some(Urgency::of(*kind))
    }
}

/// Gives a task to a free worker that may take it; quick ones prefer the reserved worker.
pub(super) struct ReservingRouter;

impl ReservingRouter {
    fn may_take(worker: WorkerId, kind: TaskKind) -> bool {
        worker != RESERVED || Urgency::of(kind) == Urgency::Quick
    }
}

impl Router<TaskKind, WorkMessage> for ReservingRouter {
    fn route_message(
        &mut self,
        job: Job<TaskKind, WorkMessage>,
        pool_size: usize,
        hint: Option<WorkerId>,
        pool: &mut HashMap<WorkerId, WorkerProperties<TaskKind, WorkMessage>>,
    ) -> Result<RouteResult<TaskKind, WorkMessage>, ActorProcessingErr> {
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
        job: &Job<TaskKind, WorkMessage>,
        _: usize,
        _: Option<WorkerId>,
        pool: &HashMap<WorkerId, WorkerProperties<TaskKind, WorkMessage>>,
    ) -> Option<WorkerId> {
        let free = pool.iter().filter(|(_, worker)| worker.is_available()).map(|(number, _)| *number);
        free.filter(|number| Self::may_take(*number, job.key)).min()
    }

    fn is_factory_queueing(&self) -> bool {
        true
    }
}
