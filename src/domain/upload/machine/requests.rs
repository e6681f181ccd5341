//! Questions to an upload that no writer holds, and the parking of those that must wait.
use super::{
    Answer, AppendRequest, Effects, Grant, PARKED_MAX, Parked, Phase, Request, Token, UploadEffect, UploadMachine,
    Writer,
};
use crate::domain::time::Timestamp;
use crate::domain::upload::error::{UploadError, UploadFault};

impl UploadMachine {
    pub(super) fn ask(&mut self, token: Token, request: Request, now: Timestamp, effects: &mut Effects) {
        match &self.phase {
            Phase::Idle => self.ask_idle(token, request, now, effects),
            Phase::Complete => self.ask_complete(token, &request, effects),
            Phase::Ended => self.ask_ended(token, &request, effects),
            Phase::Writing(_) => self.ask_writing(token, request, now, effects),
            Phase::Declaring(..) | Phase::Measuring | Phase::Completing(_) | Phase::Ending => {
                self.park(token, request, effects);
            }
        }
    }

    /// Parks a question; when there is no room it is refused as locked.
    pub(super) fn park(&mut self, token: Token, request: Request, effects: &mut Effects) {
        if self.parked.len() >= PARKED_MAX {
            effects.push(UploadEffect::Answer(token, Err(UploadError::Locked)));
            return;
        }
        let writer_bytes = if let Phase::Writing(writer) = &self.phase { writer.bytes } else { 0 };
        self.parked.push_back(Parked { token, request, writer_bytes });
    }

    /// Takes up parked questions for as long as nothing is under way.
    pub(super) fn take_up_parked(&mut self, now: Timestamp, effects: &mut Effects) {
        while matches!(self.phase, Phase::Idle | Phase::Complete | Phase::Ended) {
            let Some(parked) = self.parked.pop_front() else { return };
            self.ask(parked.token, parked.request, now, effects);
        }
        if matches!(self.phase, Phase::Writing(_)) {
            for Parked { token, request, .. } in std::mem::take(&mut self.parked) {
                self.ask(token, request, now, effects);
            }
        }
    }

    pub(super) fn fail_parked(&mut self, fault: &UploadFault, effects: &mut Effects) {
        for parked in self.parked.drain(..) {
            effects.push(UploadEffect::Answer(parked.token, Err(fault.clone().into())));
        }
    }

    fn ask_idle(&mut self, token: Token, request: Request, now: Timestamp, effects: &mut Effects) {
        match request {
            Request::Append(request) => self.admit(token, request, now, effects),
            // All bytes came, but the step after it was lost, e.g. to a crash: take it now.
            Request::Inspect { .. } if self.completes_itself && self.has_all_bytes() => {
                self.complete_for(token, None, effects);
            }
            Request::Inspect { .. } | Request::Report => self.answer_status(token, effects),
            Request::Renew => self.renew(token, now, effects),
            Request::Complete => self.ask_to_complete(token, effects),
            Request::Terminate { reason } => self.end_for(token, reason, effects),
            Request::Expire if now < self.expires_at => self.answer_status(token, effects),
            Request::Expire if self.completes_itself && self.has_all_bytes() => {
                self.complete_for(token, None, effects);
            }
            Request::Expire => self.end_for(token, "expired", effects),
        }
    }

    fn ask_complete(&mut self, token: Token, request: &Request, effects: &mut Effects) {
        match request {
            // The answer to the last append was lost: the same request again is no error.
            Request::Append(append)
                if !self.is_final
                    && ((append.offset == self.offset && append.body_length == Some(0))
                        || (append.may_overlap && self.holds(append))) =>
            {
                self.answer_status(token, effects);
            }
            Request::Append(_) if self.is_final => {
                effects.push(UploadEffect::Answer(token, Err(UploadError::FinalUpload)));
            }
            Request::Append(append) if append.offset != self.offset => {
                let mismatch = UploadError::OffsetMismatch { expected: self.offset, provided: append.offset };
                effects.push(UploadEffect::Answer(token, Err(mismatch)));
            }
            Request::Append(_) => effects.push(UploadEffect::Answer(token, Err(UploadError::Complete))),
            Request::Terminate { reason } if self.is_partial => self.end_for(token, reason, effects),
            Request::Expire if self.is_partial => self.end_for(token, "expired", effects),
            Request::Terminate { .. } | Request::Renew => {
                effects.push(UploadEffect::Answer(token, Err(UploadError::Complete)));
            }
            Request::Inspect { .. } | Request::Complete | Request::Report | Request::Expire => {
                self.answer_status(token, effects);
            }
        }
    }

    fn ask_ended(&mut self, token: Token, request: &Request, effects: &mut Effects) {
        match request {
            Request::Terminate { .. } | Request::Expire | Request::Report => self.answer_status(token, effects),
            _ => effects.push(UploadEffect::Answer(token, Err(UploadError::Ended))),
        }
    }

    fn holds(&self, append: &AppendRequest) -> bool {
        append.body_length.is_some_and(|length| append.offset.saturating_add(length) <= self.offset)
    }

    fn admit(&mut self, token: Token, request: AppendRequest, now: Timestamp, effects: &mut Effects) {
        if let Err(error) = self.check_append(&request) {
            effects.push(UploadEffect::Answer(token, Err(error)));
            return;
        }
        match request.declares {
            Some(length) if self.length.is_none() => {
                self.phase = Phase::Declaring(token, request);
                effects.push(UploadEffect::StoreLength(length));
            }
            _ => self.grant(token, &request, now, effects),
        }
    }

    fn check_append(&self, request: &AppendRequest) -> Result<(), UploadError> {
        if self.is_final {
            return Err(UploadError::FinalUpload);
        }
        let overlaps = request.may_overlap && request.offset <= self.offset;
        if request.offset != self.offset && !overlaps {
            return Err(UploadError::OffsetMismatch { expected: self.offset, provided: request.offset });
        }
        let limit = self.rules.size_bytes_max;
        let end = request.offset.saturating_add(request.body_length.unwrap_or(0));
        match (self.length, request.declares) {
            (Some(known), Some(declared)) if known != declared => {
                return Err(UploadError::LengthConflict { known, declared });
            }
            (None, Some(declared)) if declared > limit => return Err(UploadError::TooLarge { limit }),
            (None, Some(declared)) if declared < self.offset => {
                return Err(UploadError::LengthConflict { known: self.offset, declared });
            }
            _ => {}
        }
        match self.length.or(request.declares) {
            Some(length) if end > length => Err(UploadError::Overrun { length }),
            None if end > limit => Err(UploadError::TooLarge { limit }),
            _ => Ok(()),
        }
    }

    fn grant(&mut self, token: Token, request: &AppendRequest, now: Timestamp, effects: &mut Effects) {
        self.generation += 1;
        if std::mem::take(&mut self.is_cut) && self.offset > 0 {
            effects.push(UploadEffect::Resumed);
        }
        let grant = Grant {
            generation: self.generation,
            offset: self.offset,
            skip: self.offset.saturating_sub(request.offset),
            limit: self.length.unwrap_or(self.rules.size_bytes_max).saturating_sub(self.offset),
            checked: request.checked,
        };
        self.phase = Phase::Writing(Writer {
            generation: self.generation,
            checked: request.checked,
            is_cancelled: false,
            bytes: 0,
            last_byte_at: now,
        });
        effects.push(UploadEffect::Answer(token, Ok(Answer::Granted(grant))));
    }

    pub(super) fn length_stored(&mut self, outcome: Result<(), UploadFault>, now: Timestamp, effects: &mut Effects) {
        let Phase::Declaring(token, request) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        match outcome {
            Ok(()) => {
                self.length = request.declares;
                self.grant(token, &request, now, effects);
            }
            Err(fault) => effects.push(UploadEffect::Answer(token, Err(fault.into()))),
        }
        self.take_up_parked(now, effects);
    }

    fn ask_to_complete(&mut self, token: Token, effects: &mut Effects) {
        if self.is_direct || self.has_all_bytes() {
            self.complete_for(token, None, effects);
        } else {
            let error = UploadError::Incomplete { offset: self.offset, length: self.length };
            effects.push(UploadEffect::Answer(token, Err(error)));
        }
    }

    fn renew(&mut self, token: Token, now: Timestamp, effects: &mut Effects) {
        self.expires_at = now + self.rules.expiry;
        effects.push(UploadEffect::MoveExpiry(self.expires_at));
        self.answer_status(token, effects);
    }

    /// Starts completing; `token` is answered when it is done.
    pub(super) fn complete_for(&mut self, token: Token, declares: Option<u64>, effects: &mut Effects) {
        self.parked.push_front(Parked { token, request: Request::Report, writer_bytes: 0 });
        self.phase = Phase::Completing(declares);
        effects.push(UploadEffect::Complete { declares });
    }

    /// Starts ending; `token` is answered when it is done.
    pub(super) fn end_for(&mut self, token: Token, reason: &'static str, effects: &mut Effects) {
        self.parked.push_front(Parked { token, request: Request::Report, writer_bytes: 0 });
        self.phase = Phase::Ending;
        effects.push(UploadEffect::Terminate(reason));
    }

    pub(super) fn completed(&mut self, outcome: Result<(), UploadFault>, now: Timestamp, effects: &mut Effects) {
        let Phase::Completing(declares) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        match outcome {
            Ok(()) => {
                self.phase = Phase::Complete;
                self.length = self.length.or(declares);
                self.offset = self.length.unwrap_or(self.offset);
                effects.push(UploadEffect::Announce);
                self.take_up_parked(now, effects);
            }
            // The length, if it was to be declared, is as open as before: next time it meets the quota again.
            Err(fault) => self.fail_parked(&fault, effects),
        }
    }

    pub(super) fn terminated(&mut self, outcome: Result<(), UploadFault>, now: Timestamp, effects: &mut Effects) {
        match outcome {
            Ok(()) => {
                self.phase = Phase::Ended;
                self.take_up_parked(now, effects);
            }
            Err(fault) => {
                // Nothing was removed: the catalog comes first.
                self.phase = if self.is_partial && self.has_all_bytes() { Phase::Complete } else { Phase::Idle };
                self.fail_parked(&fault, effects);
            }
        }
    }
}
