use super::*;

const NO_ATTEMPTS: Attempts = Attempts { crashed: 0, interrupted: 0 };

fn loaded(status: VideoStatus) -> TranscodeInput {
    TranscodeInput::Loaded { status, has_digest: true, lacks_picture: true }
}

fn playable() -> WorkEnd {
    WorkEnd::Judged(Judgement::Playable { has_picture: true })
}

/// Feeds inputs and returns the effects.
fn run(machine: &mut TranscodeMachine, inputs: impl IntoIterator<Item = TranscodeInput>) -> Vec<TranscodeEffect> {
    inputs.into_iter().filter_map(|input| machine.step(input)).collect()
}

/// The inputs of one piece of work that goes well up to its recorded end.
fn work(end: WorkEnd) -> [TranscodeInput; 3] {
    [TranscodeInput::AttemptRecorded(NO_ATTEMPTS), TranscodeInput::Worked(end), TranscodeInput::AttemptEnded]
}

#[test]
fn a_standard_file_is_verified_inspected_published_and_illustrated() {
    let mut machine = TranscodeMachine::new(2);
    let mut inputs = vec![loaded(VideoStatus::Verifying)];
    inputs.extend(work(WorkEnd::Done));
    inputs.push(TranscodeInput::Stepped);
    inputs.extend(work(playable()));
    inputs.extend([TranscodeInput::Stepped, TranscodeInput::Stored, TranscodeInput::Stepped]);
    inputs.extend(work(WorkEnd::Done));
    inputs.extend([TranscodeInput::Stored, TranscodeInput::Stepped, TranscodeInput::Stepped]);
    use TranscodeEffect::{EndAttempt, RecordAttempt, Step, Stop, Store, Work};
    use WorkKind::{Illustrate, Inspect, Verify};
    let answered = AttemptEnd::Answered;
    let expected = [
        RecordAttempt(Verify),
        Work(Verify),
        EndAttempt(Verify, answered),
        Step(RecordStep::Verified),
        RecordAttempt(Inspect),
        Work(Inspect),
        EndAttempt(Inspect, answered),
        Step(RecordStep::Inspected),
        Store(Product::Asset),
        Step(RecordStep::Published),
        RecordAttempt(Illustrate),
        Work(Illustrate),
        EndAttempt(Illustrate, answered),
        Store(Product::Picture),
        Step(RecordStep::Illustrated),
        Step(RecordStep::Finished),
        Stop,
    ];
    assert_eq!(run(&mut machine, inputs), expected);
}

#[test]
fn a_restarted_job_goes_on_where_the_record_is() {
    let first = |status, lacks_picture| {
        let input = TranscodeInput::Loaded { status, has_digest: false, lacks_picture };
        TranscodeMachine::new(2).step(input).unwrap()
    };
    assert_eq!(first(VideoStatus::Verifying, true), TranscodeEffect::Step(RecordStep::Verified));
    assert_eq!(first(VideoStatus::Processing, true), TranscodeEffect::RecordAttempt(WorkKind::Inspect));
    assert_eq!(first(VideoStatus::Playable, true), TranscodeEffect::RecordAttempt(WorkKind::Illustrate));
    assert_eq!(first(VideoStatus::Playable, false), TranscodeEffect::Step(RecordStep::Finished));
    for status in [VideoStatus::Uploading, VideoStatus::Ready, VideoStatus::Failed] {
        assert_eq!(first(status, true), TranscodeEffect::Stop);
    }
}

#[test]
fn another_container_is_remuxed_and_judged_again() {
    let mut machine = TranscodeMachine::new(2);
    let mut inputs = vec![loaded(VideoStatus::Processing)];
    inputs.extend(work(WorkEnd::Judged(Judgement::Remux)));
    inputs.push(TranscodeInput::Stepped);
    inputs.extend(work(playable()));
    inputs.push(TranscodeInput::Stepped);
    let effects = run(&mut machine, inputs);
    assert!(effects.contains(&TranscodeEffect::Work(WorkKind::Remux)));
    assert_eq!(effects.last(), Some(&TranscodeEffect::Store(Product::Asset)));
}

#[test]
fn non_standard_input_fails_with_every_reason() {
    let reasons = ["the video codec is hevc, not h264", "the audio codec is opus, not aac"];
    let reason = |message: &str| NonStandard { code: "codec".into(), message: message.into() };
    let judgement = Judgement::NonStandard(reasons.map(reason).into());
    let mut machine = TranscodeMachine::new(2);
    let mut inputs = vec![loaded(VideoStatus::Processing)];
    inputs.extend(work(WorkEnd::Judged(judgement)));
    inputs.push(TranscodeInput::Stepped);
    let effects = run(&mut machine, inputs);
    let Some(TranscodeEffect::Step(RecordStep::Failed(failure))) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(failure.code, "non_standard_input");
    assert!(reasons.iter().all(|reason| failure.message.contains(reason)), "{}", failure.message);
}

#[test]
fn a_file_that_kills_workers_fails_after_as_many_attempts_as_allowed() {
    let mut machine = TranscodeMachine::new(2);
    let mut inputs = vec![loaded(VideoStatus::Processing)];
    for crashed in 0..2 {
        inputs.push(TranscodeInput::AttemptRecorded(Attempts { crashed, interrupted: 0 }));
        inputs.extend([TranscodeInput::Worked(WorkEnd::Hung), TranscodeInput::AttemptEnded]);
    }
    inputs.push(TranscodeInput::AttemptRecorded(Attempts { crashed: 2, interrupted: 0 }));
    inputs.push(TranscodeInput::AttemptEnded);
    let effects = run(&mut machine, inputs);
    let worked = effects.iter().filter(|effect| **effect == TranscodeEffect::Work(WorkKind::Inspect)).count();
    assert_eq!(worked, 2);
    let Some(TranscodeEffect::Step(RecordStep::Failed(failure))) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(failure.code, "decoder_hung");
}

#[test]
fn restarts_of_the_server_are_forgiven_but_not_for_ever() {
    let after = |interrupted| {
        let mut machine = TranscodeMachine::new(2);
        let recorded = TranscodeInput::AttemptRecorded(Attempts { crashed: 1, interrupted });
        run(&mut machine, [loaded(VideoStatus::Processing), recorded]).pop()
    };
    assert_eq!(after(3), Some(TranscodeEffect::Work(WorkKind::Inspect)));
    assert_eq!(after(10), Some(TranscodeEffect::EndAttempt(WorkKind::Inspect, AttemptEnd::Withdrawn)));
}

#[test]
fn a_picture_that_cannot_be_made_does_not_fail_the_video() {
    let failure = Failure { code: "no_picture".into(), message: String::new() };
    let mut machine = TranscodeMachine::new(2);
    let mut inputs = vec![loaded(VideoStatus::Playable)];
    inputs.extend(work(WorkEnd::Refused(failure)));
    let effects = run(&mut machine, inputs);
    assert_eq!(effects.last(), Some(&TranscodeEffect::Step(RecordStep::Finished)));
    let mut machine = TranscodeMachine::new(2);
    let crashed = TranscodeInput::AttemptRecorded(Attempts { crashed: 2, interrupted: 0 });
    let effects = run(&mut machine, [loaded(VideoStatus::Playable), crashed, TranscodeInput::AttemptEnded]);
    assert_eq!(effects.last(), Some(&TranscodeEffect::Step(RecordStep::Finished)));
}

#[test]
fn what_was_not_available_is_tried_again_with_growing_pauses() {
    let mut machine = TranscodeMachine::new(2);
    machine.step(loaded(VideoStatus::Processing));
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let Some(TranscodeEffect::Wait(pause)) = machine.step(TranscodeInput::Unavailable) else { panic!() };
        pauses.push(pause);
        let again = machine.step(TranscodeInput::RetryDue);
        assert_eq!(again, Some(TranscodeEffect::RecordAttempt(WorkKind::Inspect)));
    }
    assert!(pauses.is_sorted() && pauses.first() == Some(&RETRY_FIRST) && pauses.last() == Some(&RETRY_MAX));
}

#[test]
fn work_without_a_worker_is_withdrawn_and_does_not_count() {
    let mut machine = TranscodeMachine::new(2);
    let inputs = [
        loaded(VideoStatus::Processing),
        TranscodeInput::AttemptRecorded(NO_ATTEMPTS),
        TranscodeInput::Worked(WorkEnd::Unavailable),
        TranscodeInput::RetryDue,
        TranscodeInput::AttemptEnded,
    ];
    let effects = run(&mut machine, inputs);
    let withdrawn = TranscodeEffect::EndAttempt(WorkKind::Inspect, AttemptEnd::Withdrawn);
    assert_eq!(
        effects[2..],
        [TranscodeEffect::Wait(RETRY_FIRST), withdrawn, TranscodeEffect::RecordAttempt(WorkKind::Inspect)]
    );
}

#[test]
fn half_stored_work_is_done_again_and_a_deleted_video_ends_the_job() {
    let mut machine = TranscodeMachine::new(2);
    let mut inputs = vec![loaded(VideoStatus::Processing)];
    inputs.extend(work(playable()));
    inputs.extend([TranscodeInput::Stepped, TranscodeInput::Unavailable, TranscodeInput::RetryDue]);
    assert_eq!(run(&mut machine, inputs).last(), Some(&TranscodeEffect::Load));
    assert_eq!(machine.step(TranscodeInput::Gone), Some(TranscodeEffect::Stop));
}

#[test]
fn an_answer_nobody_asked_for_changes_nothing() {
    let mut machine = TranscodeMachine::new(2);
    machine.step(loaded(VideoStatus::Processing));
    assert_eq!(machine.step(TranscodeInput::Stored), None);
    assert_eq!(machine.current(), &TranscodeEffect::RecordAttempt(WorkKind::Inspect));
}

#[test]
fn an_answer_that_makes_no_sense_counts_against_the_worker() {
    let mut machine = TranscodeMachine::new(2);
    let mut inputs = vec![loaded(VideoStatus::Processing)];
    inputs.extend(work(WorkEnd::Judged(Judgement::Remux)));
    inputs.push(TranscodeInput::Stepped);
    inputs.extend(work(WorkEnd::Judged(Judgement::Remux)));
    let effects = run(&mut machine, inputs);
    let crashed = TranscodeEffect::EndAttempt(WorkKind::Remux, AttemptEnd::Crashed);
    assert_eq!(effects.get(effects.len() - 2), Some(&crashed));
}
