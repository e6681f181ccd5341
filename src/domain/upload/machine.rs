//! What happens to one upload: who may append, when a silent writer is given up, when all bytes are here.
//!
//! At most one writer holds the upload, under a generation number. Requests that must wait for it are parked here, in
//! order and bounded, and answered once it has ended, has shown that it lives, or was silent for `stall`. The machine
//! knows neither sockets nor files: it is told what came of its effects.
use std::collections::VecDeque;
use std::time::Duration;

use super::error::{UploadError, UploadFault};
use super::{Concatenation, Upload, UploadProtocol, UploadState};
use crate::domain::time::Timestamp;

mod requests;
mod writing;

/// Most requests parked at once; further ones are refused as locked. A client has one request under way, plus the ones
/// its connection lost.
const PARKED_MAX: usize = 16;
/// How often a parked request looks at the writer, as a fraction of the stall time: often enough that a live writer is
/// told from a dead one soon, and rare enough to cost nothing.
const STALL_POLLS: u32 = 8;

/// Names a question while it is open; handed back with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Times and sizes the machine decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRules {
    /// Largest file, bytes.
    pub size_bytes_max: u64,
    /// A writer silent for this long is dead.
    pub stall: Duration,
    /// How long the upload is kept after its last byte.
    pub expiry: Duration,
    /// Without a request for this long it leaves memory.
    pub idle: Duration,
}

/// What an append wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendRequest {
    /// Where its first byte goes.
    pub offset: u64,
    /// How many bytes it brings, when it says so.
    pub body_length: Option<u64>,
    /// The upload's total length, when it says so.
    pub declares: Option<u64>,
    /// Whether its bytes count only once their digest is right.
    pub checked: bool,
    /// Whether it may start below the offset: bytes already held are then skipped.
    pub may_overlap: bool,
}

/// The right to append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Which writer this is; the one before it is fenced.
    pub generation: u64,
    /// Where the next byte is written.
    pub offset: u64,
    /// Leading bytes of the body that are already held.
    pub skip: u64,
    /// Most bytes that may be written.
    pub limit: u64,
    /// Whether nothing counts before its digest is right.
    pub checked: bool,
}

/// How an append ended; its bytes up to `offset` are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendEnd {
    /// The durable offset after it.
    pub offset: u64,
    /// What follows from it.
    pub then: AfterAppend,
}

/// What follows from an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterAppend {
    /// More bytes may come.
    Continue,
    /// The connection broke, or a later request took over: what comes next resumes it.
    Cut,
    /// Its request said that these were the last bytes.
    Finish,
    /// What came can never become a video: the upload ends for this reason.
    Reject(&'static str),
}

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadStatus {
    /// The durable offset.
    pub offset: u64,
    /// Total length, unless deferred.
    pub length: Option<u64>,
    /// How far it is.
    pub state: UploadState,
    /// When it is dropped if it stays unfinished.
    pub expires_at: Timestamp,
}

/// What a question comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Append.
    Granted(Grant),
    /// This is how it stands.
    Status(UploadStatus),
}

/// What the machine is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// May I append?
    Append(AppendRequest),
    /// Where does it stand? With `preempt`, a writer under way is ended first, so that the offset stays good.
    Inspect {
        /// Whether a writer under way is ended first.
        preempt: bool,
    },
    /// All bytes are here: make the video. Repeating it is harmless.
    Complete,
    /// Its client is about to store more of its parts: keep it for as long as after a byte.
    Renew,
    /// End it.
    Terminate {
        /// Stable code for the change feed.
        reason: &'static str,
    },
    /// End it if it has expired.
    Expire,
    /// How does it stand, once the end of my append has taken effect?
    Report,
}

/// What comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadInput {
    /// A question.
    Ask(Token, Request),
    /// A writer has ended and wants to know how the upload stands.
    AppendEnded {
        /// Who asks.
        token: Token,
        /// Which writer.
        generation: u64,
        /// How it ended.
        end: AppendEnd,
    },
    /// A writer is gone without a word.
    WriterLost {
        /// Which writer.
        generation: u64,
    },
    /// [`UploadEffect::StoreLength`] was done.
    LengthStored(Result<(), UploadFault>),
    /// [`UploadEffect::MeasureOffset`] was done.
    OffsetMeasured(Result<u64, UploadFault>),
    /// [`UploadEffect::SyncOffset`] was done.
    OffsetSynced(Token, Result<u64, UploadFault>),
    /// [`UploadEffect::Complete`] was done.
    Completed(Result<(), UploadFault>),
    /// [`UploadEffect::Terminate`] was done.
    Terminated(Result<(), UploadFault>),
    /// A timer has run out.
    TimerFired(UploadTimer),
}

/// All timers of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadTimer {
    /// Look at the writer that others wait for.
    Stall,
    /// Leave memory if nobody came.
    Idle,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadEffect {
    /// Answer a question.
    Answer(Token, Result<Answer, UploadError>),
    /// Make this writer stop, keep its bytes and report.
    CancelWriter {
        /// Which writer.
        generation: u64,
    },
    /// Store the total length.
    StoreLength(u64),
    /// Read the durable offset; no writer is there.
    MeasureOffset,
    /// Make durable what an active writer wrote so far and read the offset.
    SyncOffset(Token),
    /// Move the expiry.
    MoveExpiry(Timestamp),
    /// Seal the bytes and make the video; first store the length when it was never declared.
    Complete {
        /// The length to store first.
        declares: Option<u64>,
    },
    /// End the upload and remove its bytes.
    Terminate(&'static str),
    /// A writer goes on where another was cut off.
    Resumed,
    /// It became complete just now: tell whoever makes the video.
    Announce,
    /// Start a timer.
    StartTimer(UploadTimer, Duration),
    /// Leave memory; nothing is lost.
    Leave,
    /// What is stored cannot be told: start over.
    Fail,
}

#[derive(Debug)]
struct Writer {
    generation: u64,
    checked: bool,
    is_cancelled: bool,
    /// Bytes brought so far, and when the last of them came.
    bytes: u64,
    last_byte_at: Timestamp,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Declaring(Token, AppendRequest),
    Writing(Writer),
    Measuring,
    /// With the length that is declared on the way.
    Completing(Option<u64>),
    Ending,
    Complete,
    Ended,
}

#[derive(Debug)]
struct Parked {
    token: Token,
    request: Request,
    /// What the writer had brought when this request came: more than that means it lives.
    writer_bytes: u64,
}

/// One upload's decisions.
#[derive(Debug)]
pub struct UploadMachine {
    rules: UploadRules,
    length: Option<u64>,
    offset: u64,
    expires_at: Timestamp,
    is_final: bool,
    is_partial: bool,
    /// Whether its client stores the bytes by itself: none are here before it is completed.
    is_direct: bool,
    completes_itself: bool,
    phase: Phase,
    /// Whether the last writer was cut off, in this life of the session or before it.
    is_cut: bool,
    generation: u64,
    parked: VecDeque<Parked>,
    is_stall_timer_running: bool,
    last_active: Timestamp,
}

/// For people and metrics.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct UploadSnapshot {
    /// What it is doing.
    pub phase: &'static str,
    /// Durable offset, bytes.
    pub offset: u64,
    /// Total length, bytes.
    pub length: Option<u64>,
    /// Number of the last writer.
    pub generation: u64,
    /// Requests that wait.
    pub parked: usize,
    /// When it expires.
    pub expires_at: Timestamp,
}

type Effects = Vec<UploadEffect>;

impl UploadMachine {
    /// The machine of a stored upload whose durable offset is `offset`, and its first effects.
    pub fn new(upload: &Upload, offset: u64, rules: UploadRules, now: Timestamp) -> (Self, Vec<UploadEffect>) {
        let phase = match upload.state {
            UploadState::Open => Phase::Idle,
            UploadState::Complete => Phase::Complete,
            UploadState::Terminated => Phase::Ended,
        };
        let idle = rules.idle;
        let is_final = matches!(upload.concatenation, Concatenation::Final(_));
        let machine = Self {
            rules,
            length: upload.length,
            offset: if is_final || upload.state == UploadState::Complete {
                upload.length.unwrap_or(offset)
            } else {
                offset
            },
            expires_at: upload.expires_at,
            is_final,
            is_partial: upload.concatenation == Concatenation::Partial,
            is_direct: upload.part_bytes.is_some(),
            completes_itself: upload.protocol != UploadProtocol::Chunked,
            phase,
            is_cut: offset > 0,
            generation: 0,
            parked: VecDeque::new(),
            is_stall_timer_running: false,
            last_active: now,
        };
        (machine, vec![UploadEffect::StartTimer(UploadTimer::Idle, idle)])
    }

    /// Tells how far the current writer is; the shell reads its counters before each step.
    pub fn observe_writer(&mut self, bytes: u64, last_byte_at: Timestamp) {
        if let Phase::Writing(writer) = &mut self.phase {
            writer.bytes = bytes;
            writer.last_byte_at = writer.last_byte_at.max(last_byte_at);
        }
    }

    /// Takes one input.
    pub fn step(&mut self, input: UploadInput, now: Timestamp) -> Vec<UploadEffect> {
        let mut effects = Vec::new();
        if !matches!(input, UploadInput::TimerFired(_)) {
            self.last_active = now;
        }
        match input {
            UploadInput::Ask(token, request) => self.ask(token, request, now, &mut effects),
            UploadInput::AppendEnded { token, generation, end } => {
                self.append_ended(token, generation, end, now, &mut effects);
            }
            UploadInput::WriterLost { generation } => self.writer_lost(generation, &mut effects),
            UploadInput::LengthStored(outcome) => self.length_stored(outcome, now, &mut effects),
            UploadInput::OffsetMeasured(outcome) => self.offset_measured(outcome, now, &mut effects),
            UploadInput::OffsetSynced(token, outcome) => {
                let answer = outcome.map(|offset| Answer::Status(self.status_at(offset))).map_err(UploadError::from);
                effects.push(UploadEffect::Answer(token, answer));
            }
            UploadInput::Completed(outcome) => self.completed(outcome, now, &mut effects),
            UploadInput::Terminated(outcome) => self.terminated(outcome, now, &mut effects),
            UploadInput::TimerFired(UploadTimer::Stall) => self.look_at_writer(now, &mut effects),
            UploadInput::TimerFired(UploadTimer::Idle) => self.idle_timer(now, &mut effects),
        }
        effects
    }

    /// For people and metrics.
    pub fn snapshot(&self) -> UploadSnapshot {
        let phase = match &self.phase {
            Phase::Idle => "idle",
            Phase::Declaring(..) => "declaring_length",
            Phase::Writing(writer) if writer.is_cancelled => "pre_empting",
            Phase::Writing(_) => "writing",
            Phase::Measuring => "measuring",
            Phase::Completing(_) => "completing",
            Phase::Ending => "ending",
            Phase::Complete => "complete",
            Phase::Ended => "ended",
        };
        UploadSnapshot {
            phase,
            offset: self.offset,
            length: self.length,
            generation: self.generation,
            parked: self.parked.len(),
            expires_at: self.expires_at,
        }
    }

    fn status(&self) -> UploadStatus {
        self.status_at(self.offset)
    }

    fn status_at(&self, offset: u64) -> UploadStatus {
        let state = match self.phase {
            Phase::Complete => UploadState::Complete,
            Phase::Ended => UploadState::Terminated,
            _ => UploadState::Open,
        };
        UploadStatus { offset, length: self.length, state, expires_at: self.expires_at }
    }

    fn answer_status(&self, token: Token, effects: &mut Effects) {
        effects.push(UploadEffect::Answer(token, Ok(Answer::Status(self.status()))));
    }

    fn has_all_bytes(&self) -> bool {
        self.length == Some(self.offset)
    }

    /// Whether nobody writes, waits or is being waited for.
    pub fn rests(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Complete | Phase::Ended) && self.parked.is_empty()
    }

    /// Whether an upload that stands so is as this machine has it.
    pub fn is_at(&self, state: UploadState, offset: u64) -> bool {
        let status = self.status();
        status.state == state && (state != UploadState::Open || status.offset == offset)
    }

    fn idle_timer(&mut self, now: Timestamp, effects: &mut Effects) {
        let quiet = now.since(self.last_active);
        if self.rests() && quiet >= self.rules.idle {
            effects.push(UploadEffect::Leave);
        } else {
            let after = self.rules.idle.saturating_sub(quiet).max(self.rules.stall);
            effects.push(UploadEffect::StartTimer(UploadTimer::Idle, after));
        }
    }
}

#[cfg(test)]
mod tests;
