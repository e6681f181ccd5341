use super::*;

const NO_ATTEMPTS: Attempts = Attempts { crashed: 0, interrupted: 0 };

fn standing(status: VideoStatus) -> Standing {
    Standing {
        status,
        has_digest: true,
        lacks_picture: true,
        plays_source: status != VideoStatus::Processing,
        ladder: LadderStanding::None,
        has_stills: false,
        has_storyboard: false,
    }
}

fn loaded(status: VideoStatus) -> TranscodeInput {
    TranscodeInput::Loaded(standing(status))
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

use TranscodeEffect::{EndAttempt, Load, MakeLadder, Plan, RecordAttempt, Step, Stop, Store, Work};
use WorkKind::{Illustrate, Inspect, Stills, Storyboard, Survey, Verify};

/// The effects of one piece of work that goes well.
fn done(kind: WorkKind) -> [TranscodeEffect; 3] {
    [RecordAttempt(kind), Work(kind), EndAttempt(kind, AttemptEnd::Answered)]
}

#[test]
fn a_standard_file_is_published_as_it_is_and_then_gets_its_ladder_and_pictures() {
    let mut machine = TranscodeMachine::new(2);
    let mut inputs = vec![loaded(VideoStatus::Verifying)];
    inputs.extend(work(WorkEnd::Done));
    inputs.push(TranscodeInput::Stepped);
    inputs.extend(work(playable()));
    inputs.extend([TranscodeInput::Stepped, TranscodeInput::Stored, TranscodeInput::Stepped]);
    inputs.extend(work(WorkEnd::Done));
    inputs.extend([TranscodeInput::Stored, TranscodeInput::Stepped]);
    inputs.extend([TranscodeInput::Planned(true), TranscodeInput::LadderEnded(None)]);
    for _ in [Stills, Storyboard] {
        inputs.extend(work(WorkEnd::Done));
        inputs.extend([TranscodeInput::Stored, TranscodeInput::Stepped]);
    }
    inputs.push(TranscodeInput::Stepped);
    let mut expected = done(Verify).to_vec();
    expected.push(Step(RecordStep::Verified));
    expected.extend(done(Inspect));
    expected.extend([Step(RecordStep::Inspected), Store(Product::Asset), Step(RecordStep::Published)]);
    expected.extend(done(Illustrate));
    expected.extend([Store(Product::Picture), Step(RecordStep::Illustrated), Plan, MakeLadder]);
    expected.extend(done(Stills));
    expected.extend([Store(Product::Stills), Step(RecordStep::StillsMade)]);
    expected.extend(done(Storyboard));
    expected.extend([Store(Product::Storyboard), Step(RecordStep::StoryboardMade), Step(RecordStep::Finished), Load]);
    assert_eq!(run(&mut machine, inputs), expected);
    let ready = |ladder| TranscodeInput::Loaded(Standing { ladder, ..standing(VideoStatus::Ready) });
    let asked_again = ready(LadderStanding::Open);
    assert_eq!(machine.clone().step(asked_again), Some(MakeLadder), "AV1 was asked for meanwhile");
    assert_eq!(machine.step(ready(LadderStanding::Ended)), Some(Stop));
}

#[test]
fn a_restarted_job_goes_on_where_the_record_is() {
    let first = |standing| TranscodeMachine::new(2).step(TranscodeInput::Loaded(standing)).unwrap();
    let at = |status| Standing { has_digest: false, ..standing(status) };
    assert_eq!(first(at(VideoStatus::Verifying)), Step(RecordStep::Verified));
    assert_eq!(first(at(VideoStatus::Processing)), RecordAttempt(Inspect));
    let playable = at(VideoStatus::Playable);
    assert_eq!(first(playable), RecordAttempt(Illustrate));
    let illustrated = Standing { lacks_picture: false, ..playable };
    assert_eq!(first(illustrated), Plan);
    assert_eq!(first(Standing { plays_source: false, ..illustrated }), RecordAttempt(Survey), "its plan was abandoned");
    let open = LadderStanding::Open;
    assert_eq!(first(Standing { ladder: open, ..illustrated }), MakeLadder);
    assert_eq!(first(Standing { ladder: open, ..at(VideoStatus::Processing) }), MakeLadder);
    assert_eq!(first(Standing { ladder: open, ..at(VideoStatus::Ready) }), MakeLadder, "AV1 was asked for");
    let ended = Standing { ladder: LadderStanding::Ended, ..illustrated };
    assert_eq!(first(ended), RecordAttempt(Stills));
    assert_eq!(first(Standing { has_stills: true, ..ended }), RecordAttempt(Storyboard));
    assert_eq!(first(Standing { has_stills: true, has_storyboard: true, ..ended }), Step(RecordStep::Finished));
    for status in [VideoStatus::Uploading, VideoStatus::Ready, VideoStatus::Failed] {
        assert_eq!(first(at(status)), Stop);
    }
}

fn judged(judgement: Judgement) -> TranscodeMachine {
    let mut machine = TranscodeMachine::new(2);
    machine.step(loaded(VideoStatus::Processing));
    run(&mut machine, work(WorkEnd::Judged(judgement)));
    machine
}

#[test]
fn what_is_not_standard_is_surveyed_and_planned() {
    let mut machine = judged(Judgement::NonStandard { has_picture: true });
    let mut inputs = vec![TranscodeInput::Stepped];
    inputs.extend(work(WorkEnd::Refused(Failure { code: "no_picture".into(), message: String::new() })));
    inputs.extend(work(WorkEnd::Done));
    inputs.push(TranscodeInput::Planned(true));
    let expected = [done(Illustrate), done(Survey)].concat();
    let effects = run(&mut machine, inputs);
    assert_eq!(effects, [expected, vec![Plan, MakeLadder]].concat());
    let failure = Failure { code: "decoder_crashed".into(), message: String::new() };
    let failed = machine.step(TranscodeInput::LadderEnded(Some(failure.clone())));
    assert_eq!(failed, Some(Step(RecordStep::Failed(failure))));
}

#[test]
fn sound_alone_gets_no_pictures() {
    let mut machine = judged(Judgement::NonStandard { has_picture: false });
    let mut inputs = vec![TranscodeInput::Stepped];
    inputs.extend(work(WorkEnd::Done));
    inputs.extend([TranscodeInput::Planned(true), TranscodeInput::LadderEnded(None)]);
    let effects = run(&mut machine, inputs);
    assert_eq!(effects, [done(Survey).to_vec(), vec![Plan, MakeLadder, Step(RecordStep::Finished)]].concat());
}

#[test]
fn a_video_that_plays_as_it_came_needs_no_ladder() {
    let after_plan = |input| {
        let mut machine = TranscodeMachine::new(2);
        machine.step(TranscodeInput::Loaded(Standing { lacks_picture: false, ..standing(VideoStatus::Playable) }));
        machine.step(input).unwrap()
    };
    let failure = Failure { code: "no_encoder".into(), message: String::new() };
    assert_eq!(after_plan(TranscodeInput::Planned(false)), RecordAttempt(Stills));
    assert_eq!(after_plan(TranscodeInput::NotPlanned(failure)), RecordAttempt(Stills));
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
fn a_file_with_nothing_in_it_fails_with_the_reason() {
    let reason = NonStandard { code: "no_tracks".into(), message: "there is neither picture nor sound".into() };
    let mut machine = judged(Judgement::Empty(vec![reason]));
    let Some(Step(RecordStep::Failed(failure))) = machine.step(TranscodeInput::Stepped) else { panic!() };
    assert_eq!(failure.code, "no_tracks");
    assert!(failure.message.contains("neither picture nor sound"), "{}", failure.message);
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
    assert_eq!(effects.last(), Some(&Plan));
    let mut machine = TranscodeMachine::new(2);
    let crashed = TranscodeInput::AttemptRecorded(Attempts { crashed: 2, interrupted: 0 });
    let effects = run(&mut machine, [loaded(VideoStatus::Playable), crashed, TranscodeInput::AttemptEnded]);
    assert_eq!(effects.last(), Some(&Plan));
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
