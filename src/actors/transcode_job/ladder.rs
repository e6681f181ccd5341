//! A ladder being made: drives [`LadderMachine`]. Attempts run in tasks beside each other; what they come to is a message.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ractor::ActorRef;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempted, Order, UnitWork};
use super::begin::Started;
use super::effects::{Outcome, Shared};
use super::publish::Publishing;
use super::{TranscodeMessage, watch_progress};
use crate::actors::reply::{AskError, Reply};
use crate::domain::ladder::machine::{
    LadderEffect, LadderEnd, LadderInput, LadderLimits, LadderMachine, LadderStart, Publication,
};
use crate::domain::ladder::{LadderPlan, Pass, RungCodec, Unit, UnitEnd, UnitResult};
use crate::domain::ports::VideoStep;
use crate::domain::video::{RenditionState, Video};

/// Most viewers waiting for chunks of one video: beyond that they are told to come back.
const WAITING_MAX: usize = 1_000;

/// Told whether the chunk is made.
pub type ChunkReply = Reply<bool, AskError>;

/// Viewers that wait for chunks, by chunk.
#[derive(Default)]
pub(super) struct Waiting(HashMap<u32, Vec<ChunkReply>>);

impl Waiting {
    pub(super) fn add(&mut self, chunk: u32, reply: ChunkReply) {
        if self.0.values().map(Vec::len).sum::<usize>() >= WAITING_MAX {
            metrics::counter!("playhouse_transcode_demands_refused_total").increment(1);
            return reply.send(Err(AskError::TimedOut));
        }
        self.0.entry(chunk).or_default().push(reply);
    }

    pub(super) fn chunks(&self) -> Vec<u32> {
        self.0.keys().copied().collect()
    }

    pub(super) fn answer(&mut self, chunk: u32, answer: Result<bool, AskError>) {
        self.0.remove(&chunk).into_iter().flatten().for_each(|reply| reply.send(answer));
    }

    pub(super) fn answer_all(&mut self, answer: Result<bool, AskError>) {
        self.0.drain().flat_map(|(_, replies)| replies).for_each(|reply| reply.send(answer));
    }
}

/// A ladder being made.
pub(super) struct LadderRun {
    machine: LadderMachine,
    work: Arc<UnitWork>,
    withdrawals: HashMap<Unit, CancellationToken>,
    tasks: HashMap<Unit, AbortHandle>,
    others: Vec<AbortHandle>,
    states: Vec<(String, RenditionState)>,
    /// Units that this run has put on the gauge of work that waits.
    backlog: usize,
}

impl Drop for LadderRun {
    fn drop(&mut self) {
        self.tasks.values().chain(&self.others).for_each(AbortHandle::abort);
        metrics::gauge!("playhouse_transcode_backlog_units").decrement(self.backlog as f64);
    }
}

/// What was published of this plan, by the video's record.
fn published(video: &Video, plan: &LadderPlan) -> Option<Publication> {
    let is_settled = |name: &str| {
        let rendition = video.renditions.iter().find(|rendition| rendition.name == name);
        rendition.is_some_and(|rendition| matches!(rendition.state, RenditionState::Ready | RenditionState::Failed))
    };
    let are_settled = |codec| {
        let mut rungs = plan.rungs.iter().filter(|rung| rung.codec == codec);
        rungs.all(|rung| is_settled(&rung.name))
    };
    if video.asset_generation < plan.generation {
        return None;
    }
    if !are_settled(RungCodec::H264) || !plan.sound.iter().all(|sound| is_settled(&sound.name)) {
        return Some(Publication::Early);
    }
    let has_av1 = plan.rungs.iter().any(|rung| rung.codec == RungCodec::Av1);
    Some(if has_av1 && are_settled(RungCodec::Av1) { Publication::WithAv1 } else { Publication::Complete })
}

impl LadderRun {
    pub(super) fn new(shared: Shared, started: Started, keeps_pictures: bool) -> Self {
        let Started { video, plan, source, units, results, .. } = started;
        let first = plan.rungs.get(plan.first_rung).map(|rung| rung.name.as_str()).unwrap_or_default();
        let makes_first = |(unit, result): &(Unit, UnitResult)| result.rung(first).map(|_| unit.number);
        let first_made: BTreeSet<u32> = results.iter().filter_map(makes_first).collect();
        let limits = LadderLimits {
            attempts_max: shared.dependencies.attempts_max,
            in_flight_max: shared.dependencies.ladder.in_flight_max,
        };
        let published = published(&video, &plan);
        let start = LadderStart { plan: Arc::clone(&plan), units, first_made, keeps_pictures, published };
        let patterns = results.iter().flat_map(|(_, result)| match result {
            UnitResult::Pictures { rungs, .. } => rungs.as_slice(),
            UnitResult::Sound { .. } => &[],
        });
        let patterns = patterns.map(|rung| (rung.name.clone(), rung.clone())).collect::<HashMap<_, _>>();
        let playback_id = video.playback_id.clone();
        let places = Semaphore::new(limits.in_flight_max);
        let machine = LadderMachine::new(start, limits);
        let states = machine.states();
        Self {
            machine,
            work: Arc::new(UnitWork { shared, playback_id, plan, source, patterns: patterns.into(), places }),
            withdrawals: HashMap::new(),
            tasks: HashMap::new(),
            others: Vec::new(),
            states,
            backlog: 0,
        }
    }

    pub(super) fn plan(&self) -> &LadderPlan {
        &self.work.plan
    }

    /// Units that wait, run, are done and failed, and how far all of it is in percent.
    pub(super) fn describe(&self) -> ([usize; 4], u8) {
        (self.machine.counts(), self.machine.percent())
    }

    /// Units that this node's workers and others' are given at once. Others are taken to have as many.
    fn in_flight_max(&self) -> usize {
        let others = self.work.others(Unit::new(Pass::Rest, 0)).len();
        self.work.shared.dependencies.ladder.in_flight_max * (1 + others)
    }

    /// Takes an input in and does what follows. Returns how the ladder ended, when it has.
    pub(super) fn step(
        &mut self,
        me: &ActorRef<TranscodeMessage>,
        input: LadderInput,
        waiting: &mut Waiting,
    ) -> Option<LadderEnd> {
        if let LadderInput::Ended(unit, _) = &input {
            self.tasks.remove(unit);
            self.withdrawals.remove(unit);
        }
        let now = self.work.shared.dependencies.clock.now();
        self.machine.allow(self.in_flight_max());
        let effects = self.machine.step(input, now);
        let mut end = None;
        for effect in effects {
            end = end.or(self.perform(me, effect, waiting));
        }
        self.tell_states();
        self.tell_backlog();
        end
    }

    fn perform(
        &mut self,
        me: &ActorRef<TranscodeMessage>,
        effect: LadderEffect,
        waiting: &mut Waiting,
    ) -> Option<LadderEnd> {
        match effect {
            LadderEffect::Attempt(unit, rungs, precedence) => {
                let withdrawn = CancellationToken::new();
                self.withdrawals.insert(unit, withdrawn.clone());
                self.attempt(me, Order { unit, rungs, precedence, withdrawn });
            }
            LadderEffect::Withdraw(unit) => {
                if let Some(token) = self.withdrawals.get(&unit) {
                    token.cancel();
                }
            }
            LadderEffect::GiveUp(unit, failure) => {
                metrics::counter!("playhouse_transcode_failures_total", "code" => failure.code.clone()).increment(1);
                tracing::warn!(video.id = %self.work.shared.video_id, %unit, reason = failure.message, "unit given up");
                let work = Arc::clone(&self.work);
                self.spawn(async move { work.record_end(unit, &UnitEnd::Failed(failure)).await });
            }
            LadderEffect::Answer(chunk, is_made) => waiting.answer(chunk, Ok(is_made)),
            LadderEffect::Publish(publication) => {
                let (plan, states) = (Arc::clone(&self.work.plan), self.machine.states());
                let publishing = Publishing { plan, publication, states };
                let (shared, me) = (self.work.shared.clone(), me.clone());
                self.spawn(async move { happened(&me, shared.publish(publishing).await) });
            }
            LadderEffect::Tell(percent, ready_at) => self.tell(VideoStep::Progress { percent, ready_at }),
            LadderEffect::Wait(pause) => {
                let me = me.clone();
                self.spawn(async move {
                    tokio::time::sleep(pause).await;
                    let _ = me.cast(TranscodeMessage::Ladder(LadderInput::RetryDue));
                });
            }
            LadderEffect::End(end) => return Some(end),
        }
        None
    }

    fn attempt(&mut self, me: &ActorRef<TranscodeMessage>, order: Order) {
        let (unit, me, work) = (order.unit, me.clone(), Arc::clone(&self.work));
        let progress =
            watch_progress(&me, move |percent| TranscodeMessage::Ladder(LadderInput::Progressed(unit, percent)));
        let task = tokio::spawn(async move {
            let message = match work.attempt(order, progress).await {
                Attempted::Ended(outcome) => TranscodeMessage::Ladder(LadderInput::Ended(unit, outcome)),
                Attempted::Gone => TranscodeMessage::Happened(Box::new(Outcome::Gone)),
            };
            // A job that has ended needs no outcome.
            let _ = me.cast(message);
        });
        self.tasks.insert(unit, task.abort_handle());
    }

    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.others.retain(|task| !task.is_finished());
        self.others.push(tokio::spawn(work).abort_handle());
    }

    /// Told for those who watch; the next step makes good for one that was lost.
    fn tell(&mut self, step: VideoStep) {
        let shared = self.work.shared.clone();
        self.spawn(async move {
            let now = shared.dependencies.clock.now();
            if let Err(error) = shared.dependencies.catalog.step_video(&shared.video_id, step, now).await {
                tracing::debug!(video.id = %shared.video_id, %error, "progress not told");
            }
        });
    }

    fn tell_states(&mut self) {
        let states = self.machine.states();
        if states != self.states {
            self.states.clone_from(&states);
            self.tell(VideoStep::Transcoding { states });
        }
    }

    fn tell_backlog(&mut self) {
        let [waiting, ..] = self.machine.counts();
        let gauge = metrics::gauge!("playhouse_transcode_backlog_units");
        gauge.increment(waiting as f64 - self.backlog as f64);
        self.backlog = waiting;
    }
}

fn happened(me: &ActorRef<TranscodeMessage>, outcome: Outcome) {
    let _ = me.cast(TranscodeMessage::Happened(Box::new(outcome)));
}
