//! How a ladder is made, as decisions alone: which units are attempted when, what is published when, and what becomes of
//! units that cannot be made.
//!
//! The order: the first chunk in the first rung, sound, then every chunk in all other rungs, then AV1. A chunk that a viewer
//! asks for goes before all of it. Units that are done are never attempted again, whatever happens to the server: what the
//! machine starts from is the record.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::progress::Pace;
use super::{Attempted, LadderPlan, Pass, RungCodec, Unit, UnitRow, UnitState};
use crate::domain::time::Timestamp;
use crate::domain::video::{Failure, RenditionState};

/// First pause after the catalog, the store or the workers were not available; doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Attempts that ended with the server itself before the chunk is suspected of it.
const INTERRUPTIONS_MAX: u32 = 10;
/// Times a chunk may come out unlike the others.
const REFUSALS_MAX: u32 = 2;
/// Units attempted beyond the usual number because somebody waits for them.
const DEMANDED_IN_FLIGHT_MAX: usize = 2;

/// Bounds of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LadderLimits {
    /// Worker processes that a unit may take with it before it fails.
    pub attempts_max: u32,
    /// Units handed to the workers at once: enough to keep all of them busy, few enough to let other videos in.
    pub in_flight_max: usize,
}

/// What a publication lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Publication {
    /// The first rung, whose chunks are made as they are asked for, and all sound.
    Early,
    /// All that is made in H.264, and all sound.
    Complete,
    /// AV1 besides.
    WithAv1,
}

/// What a job starts from.
#[derive(Debug, Clone)]
pub struct LadderStart {
    /// The plan.
    pub plan: Arc<LadderPlan>,
    /// Units as recorded, none of them leased.
    pub units: Vec<UnitRow>,
    /// Chunks whose first rung is made, in whatever pass.
    pub first_made: BTreeSet<u32>,
    /// Whether the source's own pictures are listed: then the video can be watched without any rung.
    pub keeps_pictures: bool,
    /// What was published before.
    pub published: Option<Publication>,
}

/// How an attempt at a unit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Its result is stored and recorded.
    Made,
    /// Its worker process ended, or made no progress.
    Crashed,
    /// The worker says that it cannot be made.
    Refused(Failure),
    /// What came out does not fit to the other chunks.
    Misfit,
    /// It did not come to a worker, or something that is needed was not available.
    Unavailable,
    /// It was taken back.
    Withdrawn,
}

/// What the machine learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LadderInput {
    /// Begin.
    Started,
    /// Somebody waits for the first rung of this chunk.
    Demanded(u32),
    /// A unit's worker has come so far, percent.
    Progressed(Unit, u8),
    /// An attempt is over, and its end is recorded.
    Ended(Unit, AttemptOutcome),
    /// What was to be published is.
    Published,
    /// It could not be.
    NotPublished,
    /// The pause is over.
    RetryDue,
}

/// How urgent a unit is, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precedence {
    /// A viewer waits.
    Demanded,
    /// Makes a video playable.
    First,
    /// Makes it heard.
    Sound,
    /// A chunk by its number: early ones of every video before later ones of any.
    Chunk(u32),
    /// Whenever there is time.
    Late,
}

/// What the job has to do. Attempts run beside each other; of publications and pauses there is one at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LadderEffect {
    /// Lease the unit and have it made in these rungs (indexes); answered by [`LadderInput::Ended`].
    Attempt(Unit, Vec<usize>, Precedence),
    /// Take an attempt back; answered by [`LadderInput::Ended`] as well.
    Withdraw(Unit),
    /// Record that a unit will not be made.
    GiveUp(Unit, Failure),
    /// Answer those who wait for the first rung of this chunk: it is made, or will not be.
    Answer(u32, bool),
    /// Make and publish a new generation.
    Publish(Publication),
    /// Tell how far all of it is.
    Tell(u8, Option<Timestamp>),
    /// Wait, then say [`LadderInput::RetryDue`].
    Wait(Duration),
    /// Nothing is left to do; says why something could not be made.
    End(LadderEnd),
}

/// What a ladder came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LadderEnd {
    /// The video can be watched; `Some` when renditions are missing.
    Made(Option<Failure>),
    /// It cannot.
    Failed(Failure),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Waiting,
    Running { rungs: Vec<usize>, percent: Option<u8> },
    Done,
    Failed,
}

#[derive(Debug, Clone)]
struct UnitStatus {
    unit: Unit,
    attempted: Attempted,
    progress: Progress,
}

/// The decisions of one ladder.
#[derive(Debug, Clone)]
pub struct LadderMachine {
    plan: Arc<LadderPlan>,
    limits: LadderLimits,
    keeps_pictures: bool,
    h264: Vec<usize>,
    av1: Vec<usize>,
    units: Vec<UnitStatus>,
    index: HashMap<Unit, usize>,
    first_made: BTreeSet<u32>,
    demanded: BTreeSet<u32>,
    published: Option<Publication>,
    publishing: Option<Publication>,
    failure: Option<Failure>,
    is_holding: bool,
    retries: u32,
    has_ended: bool,
    pace: Pace,
}

/// The units that a plan begins with.
pub fn planned_units(plan: &LadderPlan) -> Vec<Unit> {
    let chunks = || 0..u32::try_from(plan.chunks.len()).unwrap_or(u32::MAX);
    let (h264, av1) = (plan.rungs_in(RungCodec::H264).len(), plan.rungs_in(RungCodec::Av1).len());
    let mut units = Vec::new();
    if h264 > 1 {
        units.extend(chunks().take(1).map(|chunk| Unit::new(Pass::First, chunk)));
    }
    units.extend((0u32..).zip(&plan.sound).map(|(number, _)| Unit::new(Pass::Sound, number)));
    if h264 > 0 {
        units.extend(chunks().map(|chunk| Unit::new(Pass::Rest, chunk)));
    }
    if av1 > 0 {
        units.extend(chunks().map(|chunk| Unit::new(Pass::Av1, chunk)));
    }
    units
}

impl LadderMachine {
    /// A job that has attempted nothing in this life of the server; its first input is [`LadderInput::Started`].
    pub fn new(start: LadderStart, limits: LadderLimits) -> Self {
        let LadderStart { plan, units, first_made, keeps_pictures, published } = start;
        let status = |row: &UnitRow| UnitStatus {
            unit: row.unit,
            attempted: row.attempted,
            progress: match row.state {
                UnitState::Done => Progress::Done,
                UnitState::Failed => Progress::Failed,
                UnitState::Queued | UnitState::Leased => Progress::Waiting,
            },
        };
        let mut machine = Self {
            h264: plan.rungs_in(RungCodec::H264),
            av1: plan.rungs_in(RungCodec::Av1),
            plan,
            limits,
            keeps_pictures,
            units: Vec::new(),
            index: HashMap::new(),
            first_made,
            demanded: BTreeSet::new(),
            published,
            publishing: None,
            failure: None,
            is_holding: false,
            retries: 0,
            has_ended: false,
            pace: Pace::default(),
        };
        units.iter().for_each(|row| machine.add(status(row)));
        machine
    }

    /// Workers have come or gone: from now on so many units are handed to them at once.
    pub fn allow(&mut self, in_flight_max: usize) {
        self.limits.in_flight_max = in_flight_max;
    }

    /// What to do next.
    pub fn step(&mut self, input: LadderInput, now: Timestamp) -> Vec<LadderEffect> {
        let mut effects = Vec::new();
        match input {
            LadderInput::Demanded(chunk) => self.demand(chunk, &mut effects),
            _ if self.has_ended => return effects,
            LadderInput::Started => self.remember_failures(),
            LadderInput::Progressed(unit, percent) => self.progressed(unit, percent),
            LadderInput::Ended(unit, outcome) => self.ended(unit, outcome, &mut effects),
            LadderInput::Published => {
                self.retries = 0;
                self.published = self.publishing.take().or(self.published);
            }
            LadderInput::NotPublished => {
                self.publishing = None;
                self.hold(&mut effects);
            }
            LadderInput::RetryDue => self.is_holding = false,
        }
        if !self.has_ended {
            self.attempt_more(&mut effects);
            self.settle(&mut effects);
        }
        if !self.has_ended {
            let (done, total) = self.work();
            effects.extend(self.pace.tell(done, total, now).map(|(percent, at)| LadderEffect::Tell(percent, at)));
        }
        effects
    }

    /// Renditions by name, as far as they are; those that are listed whole are known to who lists them.
    pub fn states(&self) -> Vec<(String, RenditionState)> {
        let rungs =
            self.plan.rungs.iter().enumerate().map(|(rung, planned)| (planned.name.clone(), self.rung_state(rung)));
        let sound = (0u32..).zip(&self.plan.sound).map(|(number, planned)| {
            let state = match self.progress_of(Unit::new(Pass::Sound, number)) {
                Some(Progress::Failed) => RenditionState::Failed,
                Some(Progress::Running { .. } | Progress::Done) => RenditionState::Processing,
                _ => RenditionState::Queued,
            };
            (planned.name.clone(), state)
        });
        rungs.chain(sound).collect()
    }

    /// Units that wait, run, are done and failed.
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for status in &self.units {
            let place = match status.progress {
                Progress::Waiting => 0,
                Progress::Running { .. } => 1,
                Progress::Done => 2,
                Progress::Failed => 3,
            };
            if let Some(count) = counts.get_mut(place) {
                *count += 1;
            }
        }
        counts
    }

    /// How far all of it is, percent.
    pub fn percent(&self) -> u8 {
        self.pace.percent()
    }

    fn add(&mut self, status: UnitStatus) {
        self.index.insert(status.unit, self.units.len());
        self.units.push(status);
    }

    fn status(&mut self, unit: Unit) -> Option<&mut UnitStatus> {
        self.units.get_mut(*self.index.get(&unit)?)
    }

    fn progress_of(&self, unit: Unit) -> Option<&Progress> {
        self.units.get(*self.index.get(&unit)?).map(|status| &status.progress)
    }

    fn rung_state(&self, rung: usize) -> RenditionState {
        let is_of = |status: &&UnitStatus| match status.unit.pass {
            Pass::Sound => false,
            Pass::Av1 => self.av1.contains(&rung),
            Pass::First => self.first_rung() == Some(rung),
            Pass::Rest => self.h264.contains(&rung),
        };
        let mut state = RenditionState::Queued;
        for status in self.units.iter().filter(is_of) {
            match status.progress {
                Progress::Failed => return RenditionState::Failed,
                Progress::Running { .. } | Progress::Done => state = RenditionState::Processing,
                Progress::Waiting => {}
            }
        }
        state
    }

    fn first_rung(&self) -> Option<usize> {
        Some(self.plan.first_rung).filter(|rung| self.h264.contains(rung))
    }

    /// The rungs of a unit. The first rung of a chunk is made in one pass only.
    fn rungs_of(&self, unit: Unit) -> Vec<usize> {
        match unit.pass {
            Pass::Sound => Vec::new(),
            Pass::Av1 => self.av1.clone(),
            Pass::First => self.first_rung().into_iter().collect(),
            Pass::Rest => {
                let is_apart = self.index.contains_key(&Unit::new(Pass::First, unit.number));
                let left_out = self.first_rung().filter(|_| is_apart);
                self.h264.iter().copied().filter(|rung| Some(*rung) != left_out).collect()
            }
        }
    }

    /// The unit in which the first rung of a chunk is made when somebody waits for it.
    fn early_unit(&self, chunk: u32) -> Unit {
        Unit::new(if self.h264.len() > 1 { Pass::First } else { Pass::Rest }, chunk)
    }

    fn demand(&mut self, chunk: u32, effects: &mut Vec<LadderEffect>) {
        let exists = (chunk as usize) < self.plan.chunks.len() && self.first_rung().is_some();
        if self.first_made.contains(&chunk) {
            return effects.push(LadderEffect::Answer(chunk, true));
        }
        if !exists || self.has_ended || self.failure.is_some() {
            return effects.push(LadderEffect::Answer(chunk, false));
        }
        self.demanded.insert(chunk);
        let rest = Unit::new(Pass::Rest, chunk);
        // What waits in line behind others is taken back; what is under way will be there sooner than a second attempt.
        if self.early_unit(chunk) != rest
            && let Some(Progress::Running { percent: None, rungs }) = self.progress_of(rest)
            && self.first_rung().is_some_and(|first| rungs.contains(&first))
        {
            effects.push(LadderEffect::Withdraw(rest));
        }
    }

    fn progressed(&mut self, unit: Unit, now_percent: u8) {
        if let Some(UnitStatus { progress: Progress::Running { percent, .. }, .. }) = self.status(unit) {
            *percent = Some(now_percent);
        }
    }

    fn ended(&mut self, unit: Unit, outcome: AttemptOutcome, effects: &mut Vec<LadderEffect>) {
        let (first, is_reported) = (self.first_rung(), self.failure.is_some());
        let Some(status) = self.status(unit) else { return };
        let Progress::Running { rungs, .. } = &status.progress else { return };
        let made_first = first.is_some_and(|first| rungs.contains(&first));
        status.progress = Progress::Waiting;
        match outcome {
            AttemptOutcome::Made => {
                status.progress = Progress::Done;
                self.retries = 0;
                if made_first {
                    self.first_made.insert(unit.number);
                    if self.demanded.remove(&unit.number) {
                        effects.push(LadderEffect::Answer(unit.number, true));
                    }
                }
            }
            AttemptOutcome::Crashed => status.attempted.crashed += 1,
            AttemptOutcome::Misfit => status.attempted.refused += 1,
            AttemptOutcome::Refused(_) if is_reported => {}
            AttemptOutcome::Refused(failure) => {
                let failure = self.failure_of(unit, &failure.code, failure.message.trim_end_matches('.'));
                self.give_up(unit, failure, effects);
            }
            AttemptOutcome::Unavailable => self.hold(effects),
            AttemptOutcome::Withdrawn => {}
        }
    }

    fn hold(&mut self, effects: &mut Vec<LadderEffect>) {
        if !self.is_holding {
            self.is_holding = true;
            let pause = RETRY_FIRST.saturating_mul(2u32.saturating_pow(self.retries)).min(RETRY_MAX);
            self.retries = self.retries.saturating_add(1);
            effects.push(LadderEffect::Wait(pause));
        }
    }

    fn num_running(&self) -> usize {
        self.units.iter().filter(|status| matches!(status.progress, Progress::Running { .. })).count()
    }

    fn attempt_more(&mut self, effects: &mut Vec<LadderEffect>) {
        let mut running = self.num_running();
        while !self.is_holding {
            let Some((unit, precedence)) = self.next_unit() else { return };
            let extra = if precedence == Precedence::Demanded { DEMANDED_IN_FLIGHT_MAX } else { 0 };
            if running >= self.limits.in_flight_max + extra {
                return;
            }
            if !self.index.contains_key(&unit) {
                self.add(UnitStatus { unit, attempted: Attempted::default(), progress: Progress::Waiting });
            }
            let rungs = self.rungs_of(unit);
            let verdict = self.exhausted(unit);
            match (verdict, self.status(unit)) {
                (Some(failure), _) => self.give_up(unit, failure, effects),
                // Made in the other pass already.
                (None, Some(status)) if rungs.is_empty() && unit.pass != Pass::Sound => {
                    status.progress = Progress::Done
                }
                (None, Some(status)) => {
                    status.progress = Progress::Running { rungs: rungs.clone(), percent: None };
                    running += 1;
                    effects.push(LadderEffect::Attempt(unit, rungs, precedence));
                }
                (None, None) => return,
            }
        }
    }

    /// The most urgent unit that waits.
    fn next_unit(&self) -> Option<(Unit, Precedence)> {
        let waits = |unit: Unit| matches!(self.progress_of(unit), Some(Progress::Waiting));
        let runs = |unit: Unit| matches!(self.progress_of(unit), Some(Progress::Running { .. }));
        let is_due = |chunk: &u32| {
            let early = self.early_unit(*chunk);
            let is_new = early.pass == Pass::First && !self.index.contains_key(&early);
            (is_new || waits(early)) && !runs(Unit::new(Pass::Rest, *chunk))
        };
        if let Some(chunk) = self.demanded.iter().copied().find(is_due) {
            return Some((self.early_unit(chunk), Precedence::Demanded));
        }
        let may_begin = |unit: Unit| unit.pass != Pass::Av1 || self.is_settled(&[Pass::First, Pass::Sound, Pass::Rest]);
        let waiting = self.units.iter().filter(|status| status.progress == Progress::Waiting).map(|status| status.unit);
        let best = waiting
            .map(|unit| (self.precedence(unit), unit))
            .min_by_key(|(precedence, unit)| (*precedence, unit.number));
        best.filter(|(_, unit)| may_begin(*unit)).map(|(precedence, unit)| (unit, precedence))
    }

    fn precedence(&self, unit: Unit) -> Precedence {
        match unit.pass {
            Pass::Av1 => Precedence::Late,
            Pass::Sound => Precedence::Sound,
            Pass::First | Pass::Rest if unit == self.early_unit(0) => Precedence::First,
            Pass::First | Pass::Rest => Precedence::Chunk(unit.number),
        }
    }

    /// Why a unit is not attempted again.
    fn exhausted(&self, unit: Unit) -> Option<Failure> {
        let Attempted { crashed, interrupted, refused } = self.units.get(*self.index.get(&unit)?)?.attempted;
        if crashed >= self.limits.attempts_max {
            let why = format!("the program that decodes and encodes it ended or hung over it {crashed} times");
            return Some(self.failure_of(unit, "decoder_crashed", &why));
        }
        if interrupted >= INTERRUPTIONS_MAX {
            let why = format!("the server stopped {interrupted} times while it was being made");
            return Some(self.failure_of(unit, "interrupted", &why));
        }
        let why = "what comes out does not fit to the rest";
        (refused >= REFUSALS_MAX).then(|| self.failure_of(unit, "encoder_inconsistent", why))
    }

    fn failure_of(&self, unit: Unit, code: &str, why: &str) -> Failure {
        let message = match unit.pass {
            Pass::Sound => format!("Sound track {} cannot be made: {why}.", unit.number + 1),
            _ => {
                let start: u64 = (0..unit.number).map(|chunk| self.plan.chunk_ms(chunk)).sum();
                let end = start + self.plan.chunk_ms(unit.number);
                format!("The video from {} to {} cannot be made: {why}.", clock(start), clock(end))
            }
        };
        Failure { code: code.to_owned(), message }
    }

    /// What failed in an earlier life of the server takes along what is of no use without it, as it did then.
    fn remember_failures(&mut self) {
        let failed = |status: &&UnitStatus| status.progress == Progress::Failed;
        let failed: Vec<Unit> = self.units.iter().filter(failed).map(|status| status.unit).collect();
        for unit in failed {
            let failure = self.failure_of(unit, "not_made", "it could not be made before");
            self.give_up(unit, failure, &mut Vec::new());
        }
    }

    /// A unit will not be made, and with it none of those that are of no use without it.
    fn give_up(&mut self, unit: Unit, failure: Failure, effects: &mut Vec<LadderEffect>) {
        effects.push(LadderEffect::GiveUp(unit, failure.clone()));
        let goes_along = |other: Unit| match unit.pass {
            Pass::Sound => other == unit,
            Pass::Av1 => other.pass == Pass::Av1,
            Pass::First | Pass::Rest => other.pass != Pass::Sound,
        };
        for status in self.units.iter_mut().filter(|status| goes_along(status.unit)) {
            match status.progress {
                Progress::Running { .. } => effects.push(LadderEffect::Withdraw(status.unit)),
                Progress::Done => continue,
                Progress::Waiting | Progress::Failed => {}
            }
            status.progress = Progress::Failed;
        }
        if matches!(unit.pass, Pass::First | Pass::Rest) {
            effects
                .extend(std::mem::take(&mut self.demanded).into_iter().map(|chunk| LadderEffect::Answer(chunk, false)));
        }
        self.failure.get_or_insert(failure);
    }

    /// Whether no unit of these passes will come any further.
    fn is_settled(&self, passes: &[Pass]) -> bool {
        let is_settled = |status: &UnitStatus| matches!(status.progress, Progress::Done | Progress::Failed);
        self.units.iter().filter(|status| passes.contains(&status.unit.pass)).all(is_settled)
    }

    fn has_failed(&self, pass: Pass) -> bool {
        self.units.iter().any(|status| status.unit.pass == pass && status.progress == Progress::Failed)
    }

    /// The most that can be published.
    fn publishable(&self) -> Option<Publication> {
        if !self.is_settled(&[Pass::Sound]) {
            return None;
        }
        if self.is_settled(&[Pass::First, Pass::Rest]) {
            let has_av1 = !self.av1.is_empty() && self.is_settled(&[Pass::Av1]) && !self.has_failed(Pass::Av1);
            return Some(if has_av1 { Publication::WithAv1 } else { Publication::Complete });
        }
        (self.failure_of_pictures().is_none() && self.first_made.contains(&0)).then_some(Publication::Early)
    }

    fn failure_of_pictures(&self) -> Option<&Failure> {
        self.failure.as_ref().filter(|_| self.has_failed(Pass::First) || self.has_failed(Pass::Rest))
    }

    /// Why the video cannot be watched at all.
    fn fatal_failure(&self) -> Option<Failure> {
        if let Some(failure) = self.failure_of_pictures() {
            return (!self.keeps_pictures).then(|| failure.clone());
        }
        let has_pictures = self.keeps_pictures || !self.h264.is_empty();
        let made_sound = |status: &UnitStatus| status.unit.pass == Pass::Sound && status.progress != Progress::Failed;
        let is_silent = !self.units.iter().any(made_sound);
        self.failure.clone().filter(|_| !has_pictures && is_silent)
    }

    fn settle(&mut self, effects: &mut Vec<LadderEffect>) {
        if let Some(failure) = self.fatal_failure() {
            self.has_ended = true;
            return effects.push(LadderEffect::End(LadderEnd::Failed(failure)));
        }
        if self.publishing.is_some() || self.is_holding {
            return;
        }
        match self.publishable() {
            Some(goal) if self.published.is_none_or(|published| published < goal) => {
                self.publishing = Some(goal);
                effects.push(LadderEffect::Publish(goal));
            }
            Some(_) if self.is_settled(Pass::ALL) => {
                self.has_ended = true;
                effects.push(LadderEffect::End(LadderEnd::Made(self.failure.clone())));
            }
            _ => {}
        }
    }

    /// What is done, and all there is to do, by the time it takes.
    fn work(&self) -> (f64, f64) {
        let (mut done, mut total) = (0.0, 0.0);
        for status in &self.units {
            let weight = self.weight(status.unit);
            total += weight;
            done += match &status.progress {
                Progress::Done | Progress::Failed => weight,
                Progress::Running { percent, .. } => weight * f64::from(percent.unwrap_or(0)) / 100.0,
                Progress::Waiting => 0.0,
            };
        }
        (done, total)
    }

    /// About how long a unit takes: decoding, and each rung by its pixels.
    fn weight(&self, unit: Unit) -> f64 {
        let pixels = |rung: &usize| {
            self.plan.rungs.get(*rung).map_or(0.0, |rung| f64::from(rung.width) * f64::from(rung.height))
        };
        let decoding = self.h264.iter().chain(&self.av1).map(pixels).fold(0.0, f64::max);
        let encoding: f64 = self.rungs_of(unit).iter().map(pixels).sum();
        match unit.pass {
            Pass::Sound => self.plan.pictures_ms().max(1) as f64 * 10_000.0,
            Pass::First | Pass::Rest => self.plan.chunk_ms(unit.number) as f64 * (decoding + encoding),
            Pass::Av1 => self.plan.chunk_ms(unit.number) as f64 * (decoding + 12.0 * encoding),
        }
    }
}

/// `1:02:03`, or `2:03` below an hour.
fn clock(ms: u64) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests;
