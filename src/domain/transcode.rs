//! A video's way from complete bytes to *ready*, as decisions alone: what to do next, given what the last step came to.
//!
//! ```text
//! verifying ──Verify──▶ processing ──Inspect──▶ standard? ──no───────────▶ Illustrate ▶ Survey
//!                                        │ yes, in another container:                             │
//!                                        │      Remux, judged again                               │
//!                                        ▼                                                        ▼
//!                              store ▶ playable ──Illustrate───────────────────────────────▶ plan ▶ ladder
//!                                                                                                 │
//!                                                                       ready ◀─ Storyboard ◀─ Stills
//! ```
//! One effect is under way at a time; the ladder is one of them, and has a machine of its own. Every attempt at work on the file is recorded before it starts, so that a file that
//! kills workers fails its video after a bounded number of them, restarts of the server included.
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::video::{Failure, NonStandard, VideoStatus, text_enum};

/// First pause after the catalog, the store or the workers were not available; doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Attempts that ended with the server itself before the file is suspected: enough for an unlucky day of restarts, few
/// enough for a file that takes the whole machine down.
const INTERRUPTIONS_MAX: u32 = 10;

text_enum!(
    /// Work on a file that a worker process does.
    WorkKind {
        /// Checks the digest of the whole file.
        Verify = "verify",
        /// Says what is in it.
        Inspect = "inspect",
        /// Puts its streams into spans.
        Remux = "remux",
        /// Makes a picture.
        Illustrate = "illustrate",
        /// Finds out where it can be cut.
        Survey = "survey",
        /// Makes full pictures of its best moments.
        Stills = "stills",
        /// Lays small pictures out on sheets.
        Storyboard = "storyboard",
    }
);

/// Attempts at one kind of work on one video that did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attempts {
    /// Ended with their worker process.
    pub crashed: u32,
    /// Ended with the server.
    pub interrupted: u32,
}

/// How an attempt ended while the server lived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// With an answer.
    Answered,
    /// With its worker process.
    Crashed,
    /// It never came to a worker; it does not count.
    Withdrawn,
}

/// What can be done with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It can be played; `has_picture` says whether there is anything to see.
    Playable {
        /// Whether there is a track of pictures.
        has_picture: bool,
    },
    /// Its streams have to be put into spans first.
    Remux,
    /// Its pictures or sound have to be encoded first; `has_picture` as above.
    NonStandard {
        /// Whether there is a track of pictures.
        has_picture: bool,
    },
    /// There is nothing in it to be played; the conditions it does not meet.
    Empty(Vec<NonStandard>),
}

/// How far a video's ladder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LadderStanding {
    /// Nothing is planned.
    None,
    /// Something is left to do.
    Open,
    /// All that can be made is.
    Ended,
}

/// How far a video is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// By its record.
    pub status: VideoStatus,
    /// Whether a digest is expected.
    pub has_digest: bool,
    /// Whether the early picture is still to be made.
    pub lacks_picture: bool,
    /// Whether it is played as it came.
    pub plays_source: bool,
    /// How far its ladder is.
    pub ladder: LadderStanding,
    /// Whether pictures of its best moments are there.
    pub has_stills: bool,
    /// Whether small pictures for the scrubber are there.
    pub has_storyboard: bool,
}

/// What work came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkEnd {
    /// The digest is right, where the file can be cut is known, or the picture is made.
    Done,
    /// The file was inspected or remuxed.
    Judged(Judgement),
    /// There is nothing to make it from.
    Nothing,
    /// The file cannot be used.
    Refused(Failure),
    /// The worker process ended over it.
    Crashed,
    /// The worker process made no progress.
    Hung,
    /// It did not come to a worker, or the workers are being restarted.
    Unavailable,
}

/// What the job learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TranscodeInput {
    /// The video was read.
    Loaded(Standing),
    /// A ladder was planned and stored; `false` when there is nothing to be made.
    Planned(bool),
    /// No ladder can be made.
    NotPlanned(Failure),
    /// The ladder has come to its end; the video cannot be watched when there is a failure.
    LadderEnded(Option<Failure>),
    /// An attempt was recorded; these were made before.
    AttemptRecorded(Attempts),
    /// The work is over.
    Worked(WorkEnd),
    /// The end of the attempt was recorded.
    AttemptEnded,
    /// What was made is stored.
    Stored,
    /// The catalog took the step.
    Stepped,
    /// The video was deleted, or somebody else is further: nothing is left to do here.
    Gone,
    /// The catalog or the store did not do it; worth another try.
    Unavailable,
    /// The pause is over.
    RetryDue,
}

/// Steps of the video's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordStep {
    /// The digest was right.
    Verified,
    /// What was found, and what is not standard about it.
    Inspected,
    /// The asset is stored.
    Published,
    /// The picture is stored.
    Illustrated,
    /// Pictures of the best moments are stored.
    StillsMade,
    /// Sheets are stored.
    StoryboardMade,
    /// Nothing is left to do.
    Finished,
    /// It will not become playable.
    Failed(Failure),
}

/// What work makes that has to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Tables, spans and the index.
    Asset,
    /// A picture.
    Picture,
    /// Pictures of the best moments.
    Stills,
    /// Sheets of small pictures.
    Storyboard,
}

/// What the job has to do; one at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TranscodeEffect {
    /// Read the video.
    Load,
    /// Record that an attempt begins.
    RecordAttempt(WorkKind),
    /// Have it done by a worker.
    Work(WorkKind),
    /// Record how the attempt ended.
    EndAttempt(WorkKind, AttemptEnd),
    /// Store what the work made.
    Store(Product),
    /// Take a step of the video's record.
    Step(RecordStep),
    /// Plan a ladder and store the plan.
    Plan,
    /// Make it.
    MakeLadder,
    /// Wait, then say [`TranscodeInput::RetryDue`].
    Wait(Duration),
    /// Remove what was made and not published, and end.
    Stop,
}

/// The decisions of one job.
#[derive(Debug, Clone)]
pub struct TranscodeMachine {
    attempts_max: u32,
    /// What is under way.
    current: TranscodeEffect,
    /// What comes after the end of an attempt is recorded.
    then: Option<TranscodeEffect>,
    /// Judgement that waits for its step.
    judgement: Option<Judgement>,
    standing: Standing,
    /// The last worker did not crash but hang.
    hung: bool,
    retries: u32,
}

impl TranscodeMachine {
    /// A job that has done nothing; its first effect is [`TranscodeEffect::Load`].
    pub fn new(attempts_max: u32) -> Self {
        let standing = Standing {
            status: VideoStatus::Uploading,
            has_digest: false,
            lacks_picture: false,
            plays_source: false,
            ladder: LadderStanding::None,
            has_stills: false,
            has_storyboard: false,
        };
        Self {
            attempts_max,
            current: TranscodeEffect::Load,
            then: None,
            judgement: None,
            standing,
            hung: false,
            retries: 0,
        }
    }

    /// What is under way.
    pub fn current(&self) -> &TranscodeEffect {
        &self.current
    }

    /// What to do next. An input that does not answer what is under way changes nothing.
    pub fn step(&mut self, input: TranscodeInput) -> Option<TranscodeEffect> {
        // Recording attempts is no progress: without workers it goes well each time.
        let is_progress = !matches!(input, TranscodeInput::AttemptRecorded(_) | TranscodeInput::AttemptEnded);
        let next = match (input, self.current.clone()) {
            (TranscodeInput::Gone, _) => TranscodeEffect::Stop,
            (TranscodeInput::Unavailable, _) => return Some(self.pause()),
            (TranscodeInput::RetryDue, current) => return Some(current),
            (TranscodeInput::Loaded(standing), TranscodeEffect::Load) => {
                self.standing = standing;
                self.begin()
            }
            (TranscodeInput::Planned(true), TranscodeEffect::Plan) => TranscodeEffect::MakeLadder,
            (TranscodeInput::Planned(false), TranscodeEffect::Plan) => self.after_ladder(),
            (TranscodeInput::NotPlanned(_), TranscodeEffect::Plan) if self.standing.plays_source => self.after_ladder(),
            (TranscodeInput::NotPlanned(failure), TranscodeEffect::Plan)
            | (TranscodeInput::LadderEnded(Some(failure)), TranscodeEffect::MakeLadder) => {
                TranscodeEffect::Step(RecordStep::Failed(failure))
            }
            (TranscodeInput::LadderEnded(None), TranscodeEffect::MakeLadder) => self.after_ladder(),
            (TranscodeInput::AttemptRecorded(attempts), TranscodeEffect::RecordAttempt(kind)) => {
                self.try_work(kind, attempts)
            }
            (TranscodeInput::Worked(WorkEnd::Unavailable), TranscodeEffect::Work(kind)) => {
                self.then = None;
                self.current = TranscodeEffect::EndAttempt(kind, AttemptEnd::Withdrawn);
                return Some(self.pause());
            }
            (TranscodeInput::Worked(end), TranscodeEffect::Work(kind)) => self.worked(kind, end),
            (TranscodeInput::AttemptEnded, TranscodeEffect::EndAttempt(kind, _)) => {
                self.then.take().unwrap_or(TranscodeEffect::RecordAttempt(kind))
            }
            (TranscodeInput::Stored, TranscodeEffect::Store(product)) => TranscodeEffect::Step(match product {
                Product::Asset => RecordStep::Published,
                Product::Picture => RecordStep::Illustrated,
                Product::Stills => RecordStep::StillsMade,
                Product::Storyboard => RecordStep::StoryboardMade,
            }),
            (TranscodeInput::Stepped, TranscodeEffect::Step(step)) => self.stepped(&step),
            _ => return None,
        };
        if is_progress {
            self.retries = 0;
        }
        self.current = next.clone();
        Some(next)
    }

    /// Waits before what is under way is done again. Storing starts over: half of it may have been done, and files that
    /// were taken over cannot be taken over twice.
    fn pause(&mut self) -> TranscodeEffect {
        if matches!(self.current, TranscodeEffect::Store(_)) {
            self.current = TranscodeEffect::Load;
        }
        let pause = RETRY_FIRST.saturating_mul(2u32.saturating_pow(self.retries)).min(RETRY_MAX);
        self.retries = self.retries.saturating_add(1);
        TranscodeEffect::Wait(pause)
    }

    fn try_work(&mut self, kind: WorkKind, attempts: Attempts) -> TranscodeEffect {
        let crashed_too_often = attempts.crashed >= self.attempts_max;
        if !crashed_too_often && attempts.interrupted < INTERRUPTIONS_MAX {
            return TranscodeEffect::Work(kind);
        }
        // The attempt that was recorded does not take place.
        let then = match (kind, crashed_too_often) {
            (WorkKind::Illustrate | WorkKind::Stills | WorkKind::Storyboard, _) => self.without(kind),
            (_, true) => TranscodeEffect::Step(RecordStep::Failed(gave_up(self.hung, attempts.crashed))),
            (_, false) => TranscodeEffect::Step(RecordStep::Failed(interrupted(attempts.interrupted))),
        };
        self.then = Some(then);
        TranscodeEffect::EndAttempt(kind, AttemptEnd::Withdrawn)
    }

    fn worked(&mut self, kind: WorkKind, end: WorkEnd) -> TranscodeEffect {
        let (end, then) = match (end, kind) {
            (WorkEnd::Unavailable, _) => (AttemptEnd::Withdrawn, None),
            (WorkEnd::Crashed, _) => {
                self.hung = false;
                (AttemptEnd::Crashed, None)
            }
            (WorkEnd::Hung, _) => {
                self.hung = true;
                (AttemptEnd::Crashed, None)
            }
            (
                WorkEnd::Refused(_) | WorkEnd::Nothing,
                WorkKind::Illustrate | WorkKind::Stills | WorkKind::Storyboard,
            ) => (AttemptEnd::Answered, Some(self.without(kind))),
            (WorkEnd::Refused(failure), _) => {
                (AttemptEnd::Answered, Some(TranscodeEffect::Step(RecordStep::Failed(failure))))
            }
            (WorkEnd::Judged(judgement), WorkKind::Inspect | WorkKind::Remux)
                if !(kind == WorkKind::Remux && judgement == Judgement::Remux) =>
            {
                self.judgement = Some(judgement);
                (AttemptEnd::Answered, Some(TranscodeEffect::Step(RecordStep::Inspected)))
            }
            (WorkEnd::Done, WorkKind::Verify) => {
                (AttemptEnd::Answered, Some(TranscodeEffect::Step(RecordStep::Verified)))
            }
            (WorkEnd::Done, WorkKind::Illustrate) => {
                (AttemptEnd::Answered, Some(TranscodeEffect::Store(Product::Picture)))
            }
            (WorkEnd::Done, WorkKind::Stills) => (AttemptEnd::Answered, Some(TranscodeEffect::Store(Product::Stills))),
            (WorkEnd::Done, WorkKind::Storyboard) => {
                (AttemptEnd::Answered, Some(TranscodeEffect::Store(Product::Storyboard)))
            }
            (WorkEnd::Done, WorkKind::Survey) => (AttemptEnd::Answered, Some(TranscodeEffect::Plan)),
            // An answer to another question: the worker is not to be trusted.
            (WorkEnd::Done | WorkEnd::Judged(_) | WorkEnd::Nothing, _) => (AttemptEnd::Crashed, None),
        };
        self.then = then;
        TranscodeEffect::EndAttempt(kind, end)
    }

    fn stepped(&mut self, step: &RecordStep) -> TranscodeEffect {
        match step {
            RecordStep::Verified => TranscodeEffect::RecordAttempt(WorkKind::Inspect),
            RecordStep::Inspected => match self.judgement.take() {
                Some(Judgement::Playable { has_picture }) => {
                    self.standing.plays_source = true;
                    self.expect_pictures(has_picture);
                    TranscodeEffect::Store(Product::Asset)
                }
                Some(Judgement::Remux) => TranscodeEffect::RecordAttempt(WorkKind::Remux),
                Some(Judgement::NonStandard { has_picture }) => {
                    self.expect_pictures(has_picture);
                    self.illustrate_first()
                }
                Some(Judgement::Empty(reasons)) => TranscodeEffect::Step(RecordStep::Failed(empty(&reasons))),
                None => TranscodeEffect::Load,
            },
            RecordStep::Published => self.illustrate_first(),
            RecordStep::Illustrated => self.without(WorkKind::Illustrate),
            RecordStep::StillsMade => self.without(WorkKind::Stills),
            RecordStep::StoryboardMade => self.without(WorkKind::Storyboard),
            // More may have been asked for meanwhile.
            RecordStep::Finished => TranscodeEffect::Load,
            RecordStep::Failed(_) => TranscodeEffect::Stop,
        }
    }

    fn expect_pictures(&mut self, has_picture: bool) {
        if !has_picture {
            (self.standing.lacks_picture, self.standing.has_stills, self.standing.has_storyboard) = (false, true, true);
        }
    }

    fn illustrate_first(&self) -> TranscodeEffect {
        if self.standing.lacks_picture {
            return TranscodeEffect::RecordAttempt(WorkKind::Illustrate);
        }
        self.towards_ladder()
    }

    fn begin(&self) -> TranscodeEffect {
        let Standing { status, has_digest, ladder, .. } = self.standing;
        let is_open = ladder == LadderStanding::Open;
        match status {
            VideoStatus::Verifying if has_digest => TranscodeEffect::RecordAttempt(WorkKind::Verify),
            VideoStatus::Verifying => TranscodeEffect::Step(RecordStep::Verified),
            VideoStatus::Processing if !is_open => TranscodeEffect::RecordAttempt(WorkKind::Inspect),
            VideoStatus::Playable => self.illustrate_first(),
            VideoStatus::Processing => self.towards_ladder(),
            VideoStatus::Ready if is_open => self.towards_ladder(),
            VideoStatus::Uploading | VideoStatus::Ready | VideoStatus::Failed => TranscodeEffect::Stop,
        }
    }

    /// What comes next until there is a ladder to be made, and then that.
    fn towards_ladder(&self) -> TranscodeEffect {
        match self.standing.ladder {
            LadderStanding::Open => TranscodeEffect::MakeLadder,
            LadderStanding::Ended => self.after_ladder(),
            LadderStanding::None if self.standing.plays_source => TranscodeEffect::Plan,
            LadderStanding::None => TranscodeEffect::RecordAttempt(WorkKind::Survey),
        }
    }

    /// Pictures come last: nothing waits for them.
    fn after_ladder(&self) -> TranscodeEffect {
        if !self.standing.has_stills {
            return TranscodeEffect::RecordAttempt(WorkKind::Stills);
        }
        if !self.standing.has_storyboard {
            return TranscodeEffect::RecordAttempt(WorkKind::Storyboard);
        }
        TranscodeEffect::Step(RecordStep::Finished)
    }

    /// What follows when this work is done, or cannot be done and nothing depends on it.
    fn without(&mut self, kind: WorkKind) -> TranscodeEffect {
        match kind {
            WorkKind::Stills => self.standing.has_stills = true,
            WorkKind::Storyboard => self.standing.has_storyboard = true,
            _ => {
                self.standing.lacks_picture = false;
                return self.towards_ladder();
            }
        }
        self.after_ladder()
    }
}

fn gave_up(hung: bool, times: u32) -> Failure {
    let (code, what) = if hung { ("decoder_hung", "hung") } else { ("decoder_crashed", "crashed") };
    let message =
        format!("The program that reads the file {what} over it {times} times; the file seems to be damaged.");
    Failure { code: code.into(), message }
}

fn interrupted(times: u32) -> Failure {
    let message = format!("The server stopped {times} times while the file was being read; it was not tried again.");
    Failure { code: "interrupted".into(), message }
}

fn empty(reasons: &[NonStandard]) -> Failure {
    let reasons: Vec<&str> = reasons.iter().map(|reason| reason.message.as_str()).collect();
    let message = format!("There is nothing in the file that could be played: {}.", reasons.join("; "));
    Failure { code: "no_tracks".into(), message }
}

#[cfg(test)]
mod tests;
