//! While a writer holds the upload: who waits for it, who ends it, and what its end brings.
use super::{
    AfterAppend, AppendEnd, Effects, Phase, Request, STALL_POLLS, Token, UploadEffect, UploadMachine, UploadTimer,
    Writer,
};
use crate::domain::time::Timestamp;
use crate::domain::upload::error::{UploadError, UploadFault};

/// What a question means for the writer under way.
enum Claim {
    /// It wants the writer's place: waits until the writer has shown that it lives or does not.
    Place,
    /// It ends the writer at once.
    End,
    /// It takes the offset as of now.
    Look,
    /// It has no business while a writer lives.
    None,
}

fn claim_of(request: &Request) -> Claim {
    match request {
        Request::Append(_) | Request::Complete => Claim::Place,
        Request::Terminate { .. } | Request::Inspect { preempt: true } => Claim::End,
        Request::Inspect { preempt: false } | Request::Report => Claim::Look,
        Request::Expire | Request::Renew => Claim::None,
    }
}

impl UploadMachine {
    pub(super) fn ask_writing(&mut self, token: Token, request: Request, now: Timestamp, effects: &mut Effects) {
        let stall = self.rules.stall;
        let Phase::Writing(writer) = &mut self.phase else { return };
        let is_dead = writer.is_cancelled || now.since(writer.last_byte_at) >= stall;
        match claim_of(&request) {
            _ if is_dead => {
                cancel(writer, effects);
                self.park(token, request, effects);
            }
            Claim::End => {
                cancel(writer, effects);
                self.park(token, request, effects);
            }
            Claim::Look if writer.checked => self.answer_status(token, effects),
            Claim::Look => effects.push(UploadEffect::SyncOffset(token)),
            Claim::None => self.answer_status(token, effects),
            Claim::Place if self.parked.iter().any(|parked| matches!(claim_of(&parked.request), Claim::Place)) => {
                effects.push(UploadEffect::Answer(token, Err(UploadError::Locked)));
            }
            Claim::Place => {
                self.park(token, request, effects);
                self.start_stall_timer(effects);
            }
        }
    }

    fn start_stall_timer(&mut self, effects: &mut Effects) {
        if !self.is_stall_timer_running {
            self.is_stall_timer_running = true;
            effects.push(UploadEffect::StartTimer(UploadTimer::Stall, self.rules.stall / STALL_POLLS));
        }
    }

    /// The writer that somebody waits for has brought bytes since (then it lives and the waiting one is refused), was
    /// silent for too long (then it is ended), or neither yet.
    pub(super) fn look_at_writer(&mut self, now: Timestamp, effects: &mut Effects) {
        self.is_stall_timer_running = false;
        let Phase::Writing(writer) = &mut self.phase else { return };
        if writer.is_cancelled || self.parked.is_empty() {
            return;
        }
        let bytes = writer.bytes;
        if now.since(writer.last_byte_at) >= self.rules.stall {
            cancel(writer, effects);
            return;
        }
        self.parked.retain(|parked| {
            let is_refused = bytes > parked.writer_bytes;
            if is_refused {
                effects.push(UploadEffect::Answer(parked.token, Err(UploadError::Locked)));
            }
            !is_refused
        });
        if !self.parked.is_empty() {
            self.start_stall_timer(effects);
        }
    }

    pub(super) fn append_ended(
        &mut self,
        token: Token,
        generation: u64,
        end: AppendEnd,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        match &self.phase {
            Phase::Writing(writer) if writer.generation == generation => {}
            _ => {
                effects.push(UploadEffect::Answer(token, Err(UploadError::Preempted)));
                return;
            }
        }
        self.phase = Phase::Idle;
        if end.offset > self.offset {
            self.move_expiry(now, effects);
        }
        self.offset = end.offset;
        self.is_cut = end.then == AfterAppend::Cut;
        self.after_append(token, end.then, effects);
        self.take_up_parked(now, effects);
    }

    fn after_append(&mut self, token: Token, then: AfterAppend, effects: &mut Effects) {
        match (then, self.length) {
            (AfterAppend::Reject(reason), _) => self.end_for(token, reason, effects),
            (AfterAppend::Finish, None) => self.complete_for(token, Some(self.offset), effects),
            (AfterAppend::Finish, Some(length)) if length != self.offset => {
                let error = UploadError::Incomplete { offset: self.offset, length: self.length };
                effects.push(UploadEffect::Answer(token, Err(error)));
            }
            (AfterAppend::Finish, Some(_)) => self.complete_for(token, None, effects),
            (AfterAppend::Continue | AfterAppend::Cut, _) if self.completes_itself && self.has_all_bytes() => {
                self.complete_for(token, None, effects);
            }
            (AfterAppend::Continue | AfterAppend::Cut, _) => self.answer_status(token, effects),
        }
    }

    /// Moves the expiry on, but writes it down only when that makes a difference: small appends come often.
    fn move_expiry(&mut self, now: Timestamp, effects: &mut Effects) {
        let expires_at = now + self.rules.expiry;
        if expires_at.since(self.expires_at) >= self.rules.expiry / 100 {
            self.expires_at = expires_at;
            effects.push(UploadEffect::MoveExpiry(expires_at));
        }
    }

    pub(super) fn writer_lost(&mut self, generation: u64, effects: &mut Effects) {
        if matches!(&self.phase, Phase::Writing(writer) if writer.generation == generation) {
            self.phase = Phase::Measuring;
            self.is_cut = true;
            effects.push(UploadEffect::MeasureOffset);
        }
    }

    pub(super) fn offset_measured(&mut self, outcome: Result<u64, UploadFault>, now: Timestamp, effects: &mut Effects) {
        match outcome {
            Ok(offset) => {
                self.phase = Phase::Idle;
                self.offset = offset;
                self.take_up_parked(now, effects);
            }
            Err(fault) => {
                self.fail_parked(&fault, effects);
                effects.push(UploadEffect::Fail);
            }
        }
    }
}

fn cancel(writer: &mut Writer, effects: &mut Effects) {
    if !writer.is_cancelled {
        writer.is_cancelled = true;
        effects.push(UploadEffect::CancelWriter { generation: writer.generation });
    }
}
