use super::*;
use crate::domain::ids::{UploadId, UserId};
use crate::domain::video::{Privacy, VideoDetails};

const STALL: Duration = Duration::from_secs(2);
const SIZE_MAX: u64 = 1000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn rules() -> UploadRules {
    UploadRules {
        size_bytes_max: SIZE_MAX,
        stall: STALL,
        expiry: Duration::from_secs(3600),
        idle: Duration::from_secs(60),
    }
}

fn upload(length: Option<u64>, protocol: UploadProtocol) -> Upload {
    let details = VideoDetails {
        title: "t".into(),
        description: String::new(),
        category: None,
        tags: Vec::new(),
        privacy: Privacy::Private,
    };
    Upload {
        id: UploadId::parse("upl_abcdefgh").unwrap(),
        user_id: UserId::parse("usr_abcdefgh").unwrap(),
        video_id: None,
        protocol,
        state: UploadState::Open,
        length,
        concatenation: Concatenation::None,
        details,
        file_name: None,
        file_type: None,
        expected_digest: None,
        raw_metadata: None,
        part_bytes: None,
        extents: Vec::new(),
        created_at: at(0),
        expires_at: at(3_600_000),
    }
}

struct Bench {
    machine: UploadMachine,
    tokens: u64,
}

impl Bench {
    fn of(upload: &Upload, offset: u64) -> Self {
        let (machine, effects) = UploadMachine::new(upload, offset, rules(), at(0));
        assert_eq!(effects, vec![UploadEffect::StartTimer(UploadTimer::Idle, rules().idle)]);
        Self { machine, tokens: 0 }
    }

    fn tus(length: u64) -> Self {
        Self::of(&upload(Some(length), UploadProtocol::Tus), 0)
    }

    fn ask(&mut self, request: Request, millis: i64) -> (Token, Vec<UploadEffect>) {
        self.tokens += 1;
        let token = Token(self.tokens);
        (token, self.machine.step(UploadInput::Ask(token, request), at(millis)))
    }

    fn append_at(&mut self, offset: u64, millis: i64) -> (Token, Vec<UploadEffect>) {
        self.ask(Request::Append(append(offset)), millis)
    }

    fn granted(&mut self, request: AppendRequest, millis: i64) -> Grant {
        let (_, effects) = self.ask(Request::Append(request), millis);
        match effects.as_slice() {
            [.., UploadEffect::Answer(_, Ok(Answer::Granted(grant)))] => *grant,
            other => panic!("not granted: {other:?}"),
        }
    }

    fn end(&mut self, grant: Grant, offset: u64, then: AfterAppend, millis: i64) -> (Token, Vec<UploadEffect>) {
        self.tokens += 1;
        let token = Token(self.tokens);
        let end = AppendEnd { offset, then };
        let input = UploadInput::AppendEnded { token, generation: grant.generation, end };
        (token, self.machine.step(input, at(millis)))
    }

    fn timer(&mut self, timer: UploadTimer, millis: i64) -> Vec<UploadEffect> {
        self.machine.step(UploadInput::TimerFired(timer), at(millis))
    }
}

fn append(offset: u64) -> AppendRequest {
    AppendRequest { offset, body_length: None, declares: None, checked: false, may_overlap: false }
}

fn refused(token: Token, error: UploadError) -> UploadEffect {
    UploadEffect::Answer(token, Err(error))
}

fn status_of(effects: &[UploadEffect], token: Token) -> Option<UploadStatus> {
    effects.iter().find_map(|effect| match effect {
        UploadEffect::Answer(to, Ok(Answer::Status(status))) if *to == token => Some(*status),
        _ => None,
    })
}

#[test]
fn bytes_come_in_appends_and_the_last_one_completes() {
    let mut bench = Bench::tus(10);
    let grant = bench.granted(append(0), 0);
    assert_eq!((grant.offset, grant.limit), (0, 10));
    let (token, effects) = bench.end(grant, 6, AfterAppend::Continue, 50_000);
    assert!(effects.contains(&UploadEffect::MoveExpiry(at(3_650_000))), "{effects:?}");
    assert_eq!(status_of(&effects, token).unwrap().offset, 6);
    let grant = bench.granted(append(6), 50_001);
    let (token, effects) = bench.end(grant, 10, AfterAppend::Continue, 50_002);
    assert_eq!(effects, vec![UploadEffect::Complete { declares: None }]);
    let effects = bench.machine.step(UploadInput::Completed(Ok(())), at(50_003));
    assert_eq!(effects[0], UploadEffect::Announce);
    assert_eq!(status_of(&effects, token).unwrap().state, UploadState::Complete);
}

#[test]
fn the_chunk_api_completes_only_when_told_and_repeating_it_is_harmless() {
    let mut bench = Bench::of(&upload(Some(4), UploadProtocol::Chunked), 0);
    let (token, effects) = bench.ask(Request::Complete, 0);
    assert_eq!(effects, vec![refused(token, UploadError::Incomplete { offset: 0, length: Some(4) })]);
    let grant = bench.granted(append(0), 1);
    let (token, effects) = bench.end(grant, 4, AfterAppend::Continue, 2);
    assert_eq!(status_of(&effects, token).unwrap().state, UploadState::Open);
    let (token, effects) = bench.ask(Request::Complete, 3);
    assert_eq!(effects, vec![UploadEffect::Complete { declares: None }]);
    let effects = bench.machine.step(UploadInput::Completed(Ok(())), at(4));
    assert_eq!(status_of(&effects, token).unwrap().state, UploadState::Complete);
    let (token, effects) = bench.ask(Request::Complete, 5);
    assert_eq!(effects.len(), 1, "not announced twice");
    assert_eq!(status_of(&effects, token).unwrap().state, UploadState::Complete);
}

#[test]
fn a_live_writer_keeps_its_place_and_the_second_is_refused() {
    let mut bench = Bench::tus(100);
    bench.granted(append(0), 0);
    bench.machine.observe_writer(10, at(900));
    let (second, effects) = bench.append_at(10, 1000);
    assert_eq!(effects, vec![UploadEffect::StartTimer(UploadTimer::Stall, STALL / 8)]);
    let (third, effects) = bench.append_at(10, 1001);
    assert_eq!(effects, vec![refused(third, UploadError::Locked)], "only one waits");
    assert_eq!(bench.timer(UploadTimer::Stall, 1250), vec![UploadEffect::StartTimer(UploadTimer::Stall, STALL / 8)]);
    bench.machine.observe_writer(20, at(1300));
    assert_eq!(bench.timer(UploadTimer::Stall, 1500), vec![refused(second, UploadError::Locked)]);
}

#[test]
fn a_dead_writer_is_pre_empted_and_its_bytes_are_kept() {
    let mut bench = Bench::tus(100);
    let first = bench.granted(append(0), 0);
    bench.machine.observe_writer(30, at(500));
    let (second, effects) = bench.append_at(30, 1500);
    assert_eq!(effects, vec![UploadEffect::StartTimer(UploadTimer::Stall, STALL / 8)]);
    assert_eq!(
        bench.timer(UploadTimer::Stall, 2500),
        vec![UploadEffect::CancelWriter { generation: first.generation }],
        "silent for two seconds"
    );
    let (_, effects) = bench.end(first, 30, AfterAppend::Continue, 2501);
    let granted = effects.iter().find_map(|effect| match effect {
        UploadEffect::Answer(token, Ok(Answer::Granted(grant))) if *token == second => Some(*grant),
        _ => None,
    });
    assert_eq!(granted.unwrap().offset, 30);
    let (late, effects) = bench.end(first, 31, AfterAppend::Continue, 2502);
    assert_eq!(effects, vec![refused(late, UploadError::Preempted)], "the older generation is fenced");
}

#[test]
fn a_writer_silent_for_long_is_pre_empted_at_once() {
    let mut bench = Bench::tus(100);
    let first = bench.granted(append(0), 0);
    let (_, effects) = bench.append_at(0, 2000);
    assert_eq!(effects, vec![UploadEffect::CancelWriter { generation: first.generation }]);
}

#[test]
fn a_parked_append_whose_offset_is_outdated_by_then_is_told_the_new_one() {
    let mut bench = Bench::tus(100);
    let first = bench.granted(append(0), 0);
    let (second, _) = bench.append_at(0, 1000);
    let (_, effects) = bench.end(first, 40, AfterAppend::Continue, 1100);
    assert!(effects.contains(&refused(second, UploadError::OffsetMismatch { expected: 40, provided: 0 })));
}

#[test]
fn looking_at_an_upload_syncs_a_live_writer_and_ends_a_dead_one() {
    let mut bench = Bench::tus(100);
    let first = bench.granted(append(0), 0);
    let (token, effects) = bench.ask(Request::Inspect { preempt: false }, 100);
    assert_eq!(effects, vec![UploadEffect::SyncOffset(token)]);
    let effects = bench.machine.step(UploadInput::OffsetSynced(token, Ok(7)), at(101));
    assert_eq!(status_of(&effects, token).unwrap().offset, 7);
    let (token, effects) = bench.ask(Request::Inspect { preempt: false }, 3000);
    assert_eq!(effects, vec![UploadEffect::CancelWriter { generation: first.generation }]);
    let (_, effects) = bench.end(first, 9, AfterAppend::Continue, 3001);
    assert_eq!(status_of(&effects, token).unwrap().offset, 9);
}

#[test]
fn a_look_that_pre_empts_ends_even_a_live_writer() {
    let mut bench = Bench::tus(100);
    let first = bench.granted(append(0), 0);
    let (_, effects) = bench.ask(Request::Inspect { preempt: true }, 1);
    assert_eq!(effects, vec![UploadEffect::CancelWriter { generation: first.generation }]);
}

#[test]
fn a_checked_append_does_not_count_before_its_digest_is_right() {
    let mut bench = Bench::tus(100);
    let grant = bench.granted(AppendRequest { checked: true, ..append(0) }, 0);
    bench.machine.observe_writer(50, at(10));
    let (token, effects) = bench.ask(Request::Inspect { preempt: false }, 20);
    assert_eq!(status_of(&effects, token).unwrap().offset, 0);
    let (token, effects) = bench.end(grant, 0, AfterAppend::Continue, 30);
    assert_eq!(status_of(&effects, token).unwrap().offset, 0);
}

#[test]
fn a_deferred_length_is_stored_before_the_append_that_declares_it() {
    let mut bench = Bench::of(&upload(None, UploadProtocol::Tus), 0);
    let declaring = AppendRequest { declares: Some(20), ..append(0) };
    let (token, effects) = bench.ask(Request::Append(declaring.clone()), 0);
    assert_eq!(effects, vec![UploadEffect::StoreLength(20)]);
    let effects = bench.machine.step(UploadInput::LengthStored(Ok(())), at(1));
    let [UploadEffect::Answer(to, Ok(Answer::Granted(grant)))] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((*to, grant.limit), (token, 20));
    bench.end(*grant, 5, AfterAppend::Continue, 2);
    let (token, effects) = bench.ask(Request::Append(AppendRequest { declares: Some(21), ..append(5) }), 3);
    assert_eq!(effects, vec![refused(token, UploadError::LengthConflict { known: 20, declared: 21 })]);
    bench.granted(AppendRequest { declares: Some(20), ..append(5) }, 4);
}

#[test]
fn a_refused_length_refuses_the_append_and_leaves_the_upload_as_it_was() {
    let mut bench = Bench::of(&upload(None, UploadProtocol::Tus), 0);
    let declaring = AppendRequest { declares: Some(20), ..append(0) };
    let (token, _) = bench.ask(Request::Append(declaring), 0);
    let quota = UploadFault::Quota { used: 90, limit: 100 };
    let effects = bench.machine.step(UploadInput::LengthStored(Err(quota.clone())), at(1));
    assert_eq!(effects, vec![refused(token, UploadError::Fault(quota))]);
    assert_eq!(bench.granted(append(0), 2).limit, SIZE_MAX);
}

#[test]
fn an_append_that_says_it_is_the_last_sets_the_length() {
    let mut bench = Bench::of(&upload(None, UploadProtocol::Ietf), 0);
    let grant = bench.granted(append(0), 0);
    let (token, effects) = bench.end(grant, 12, AfterAppend::Finish, 1);
    assert!(effects.contains(&UploadEffect::Complete { declares: Some(12) }), "{effects:?}");
    let effects = bench.machine.step(UploadInput::Completed(Ok(())), at(2));
    assert_eq!(status_of(&effects, token).unwrap().length, Some(12));
}

#[test]
fn a_last_append_beyond_the_quota_declares_nothing() {
    let mut bench = Bench::of(&upload(None, UploadProtocol::Ietf), 0);
    let grant = bench.granted(append(0), 0);
    let (token, _) = bench.end(grant, 12, AfterAppend::Finish, 1);
    let quota = UploadFault::Quota { used: 90, limit: 100 };
    let effects = bench.machine.step(UploadInput::Completed(Err(quota.clone())), at(2));
    assert_eq!(effects, vec![refused(token, UploadError::Fault(quota))]);
    let (token, effects) = bench.ask(Request::Inspect { preempt: false }, 3);
    let status = status_of(&effects, token).expect("a status: not completed without its length being declared");
    assert_eq!((status.offset, status.length, status.state), (12, None, UploadState::Open));
    let grant = bench.granted(append(12), 4);
    let (_, effects) = bench.end(grant, 12, AfterAppend::Finish, 5);
    assert_eq!(effects, vec![UploadEffect::Complete { declares: Some(12) }], "tried again");
}

#[test]
fn contradicting_appends_are_refused() {
    let mut bench = Bench::tus(10);
    let cases = [
        (append(3), UploadError::OffsetMismatch { expected: 0, provided: 3 }),
        (AppendRequest { body_length: Some(11), ..append(0) }, UploadError::Overrun { length: 10 }),
        (AppendRequest { may_overlap: true, ..append(4) }, UploadError::OffsetMismatch { expected: 0, provided: 4 }),
        (append(u64::MAX), UploadError::OffsetMismatch { expected: 0, provided: u64::MAX }),
    ];
    for (request, error) in cases {
        let (token, effects) = bench.ask(Request::Append(request), 0);
        assert_eq!(effects, vec![refused(token, error)]);
    }
    let mut deferred = Bench::of(&upload(None, UploadProtocol::Tus), 0);
    let too_long = AppendRequest { declares: Some(SIZE_MAX + 1), ..append(0) };
    let (token, effects) = deferred.ask(Request::Append(too_long), 0);
    assert_eq!(effects, vec![refused(token, UploadError::TooLarge { limit: SIZE_MAX })]);
}

#[test]
fn a_repeated_chunk_skips_what_is_held() {
    let mut bench = Bench::of(&upload(Some(10), UploadProtocol::Chunked), 6);
    let repeated = AppendRequest { body_length: Some(8), may_overlap: true, ..append(0) };
    let grant = bench.granted(repeated, 0);
    assert_eq!((grant.offset, grant.skip, grant.limit), (6, 6, 4));
    bench.end(grant, 10, AfterAppend::Continue, 1);
    bench.ask(Request::Complete, 2);
    bench.machine.step(UploadInput::Completed(Ok(())), at(3));
    let held = AppendRequest { body_length: Some(4), may_overlap: true, ..append(6) };
    let (token, effects) = bench.ask(Request::Append(held), 4);
    assert_eq!(status_of(&effects, token).unwrap().state, UploadState::Complete);
}

#[test]
fn ending_cancels_the_writer_first_and_later_requests_are_told() {
    let mut bench = Bench::tus(10);
    let grant = bench.granted(append(0), 0);
    let (ending, effects) = bench.ask(Request::Terminate { reason: "client" }, 1);
    assert_eq!(effects, vec![UploadEffect::CancelWriter { generation: grant.generation }]);
    let (_, effects) = bench.end(grant, 3, AfterAppend::Continue, 2);
    assert!(effects.contains(&UploadEffect::Terminate("client")), "{effects:?}");
    let effects = bench.machine.step(UploadInput::Terminated(Ok(())), at(3));
    assert_eq!(status_of(&effects, ending).unwrap().state, UploadState::Terminated);
    let (token, effects) = bench.append_at(3, 4);
    assert_eq!(effects, vec![refused(token, UploadError::Ended)]);
}

#[test]
fn content_that_cannot_be_a_film_ends_the_upload_before_its_request_is_answered() {
    let mut bench = Bench::tus(10);
    let grant = bench.granted(append(0), 0);
    let (token, effects) = bench.end(grant, 5, AfterAppend::Reject("not_media"), 1);
    assert!(effects.contains(&UploadEffect::Terminate("not_media")) && status_of(&effects, token).is_none());
    let effects = bench.machine.step(UploadInput::Terminated(Ok(())), at(2));
    assert_eq!(status_of(&effects, token).unwrap().state, UploadState::Terminated);
}

#[test]
fn expiry_spares_what_lives_and_completes_what_is_whole() {
    let mut bench = Bench::tus(10);
    let (token, effects) = bench.ask(Request::Expire, 1000);
    assert_eq!(status_of(&effects, token).unwrap().state, UploadState::Open, "not due");
    let (_, effects) = bench.ask(Request::Expire, 3_600_000);
    assert_eq!(effects, vec![UploadEffect::Terminate("expired")]);

    let mut writing = Bench::tus(10);
    writing.granted(append(0), 3_599_000);
    let (token, effects) = writing.ask(Request::Expire, 3_600_500);
    assert_eq!(status_of(&effects, token).unwrap().state, UploadState::Open, "a live writer");

    let mut whole = Bench::of(&upload(Some(10), UploadProtocol::Tus), 10);
    let (_, effects) = whole.ask(Request::Expire, 3_600_000);
    assert_eq!(effects, vec![UploadEffect::Complete { declares: None }]);
}

#[test]
fn a_look_takes_the_step_that_a_crash_left_out() {
    let mut bench = Bench::of(&upload(Some(10), UploadProtocol::Tus), 10);
    let (token, effects) = bench.ask(Request::Inspect { preempt: false }, 0);
    assert_eq!(effects, vec![UploadEffect::Complete { declares: None }]);
    let effects = bench.machine.step(UploadInput::Completed(Err(UploadFault::Unavailable("x".into()))), at(1));
    assert_eq!(effects, vec![refused(token, UploadError::Fault(UploadFault::Unavailable("x".into())))]);
    let (_, effects) = bench.ask(Request::Inspect { preempt: false }, 2);
    assert_eq!(effects, vec![UploadEffect::Complete { declares: None }], "tried again");
}

#[test]
fn a_writer_gone_without_a_word_has_its_bytes_measured() {
    let mut bench = Bench::tus(10);
    let grant = bench.granted(append(0), 0);
    let lost = UploadInput::WriterLost { generation: grant.generation };
    assert_eq!(bench.machine.step(lost.clone(), at(1)), vec![UploadEffect::MeasureOffset]);
    let (token, effects) = bench.append_at(4, 2);
    assert!(effects.is_empty(), "waits for the measure");
    let effects = bench.machine.step(UploadInput::OffsetMeasured(Ok(4)), at(3));
    let [UploadEffect::Resumed, UploadEffect::Answer(to, Ok(Answer::Granted(_)))] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(*to, token);
    assert!(bench.machine.step(lost, at(4)).is_empty(), "only once");
}

#[test]
fn a_final_upload_takes_no_bytes_and_completes_from_its_parts() {
    let mut record = upload(Some(11), UploadProtocol::Tus);
    record.concatenation = Concatenation::Final(vec![UploadId::parse("upl_abcdefgh").unwrap()]);
    let mut bench = Bench::of(&record, 0);
    let (token, effects) = bench.append_at(0, 0);
    assert_eq!(effects, vec![refused(token, UploadError::FinalUpload)]);
    let (token, effects) = bench.ask(Request::Complete, 1);
    assert_eq!(effects, vec![UploadEffect::Complete { declares: None }]);
    let effects = bench.machine.step(UploadInput::Completed(Ok(())), at(2));
    assert_eq!(status_of(&effects, token).map(|status| status.offset), Some(11));
}

#[test]
fn a_complete_part_may_still_be_ended_but_a_complete_video_upload_may_not() {
    let mut record = upload(Some(4), UploadProtocol::Tus);
    record.state = UploadState::Complete;
    let (token, effects) = Bench::of(&record, 4).ask(Request::Terminate { reason: "client" }, 0);
    assert_eq!(effects, vec![refused(token, UploadError::Complete)]);
    record.concatenation = Concatenation::Partial;
    let (_, effects) = Bench::of(&record, 4).ask(Request::Terminate { reason: "client" }, 0);
    assert_eq!(effects, vec![UploadEffect::Terminate("client")]);
}

#[test]
fn parked_requests_are_bounded() {
    let mut bench = Bench::tus(10);
    bench.granted(append(0), 0);
    bench.ask(Request::Terminate { reason: "client" }, 1);
    for _ in 1..PARKED_MAX {
        assert!(bench.ask(Request::Inspect { preempt: false }, 2).1.is_empty());
    }
    let (token, effects) = bench.ask(Request::Inspect { preempt: false }, 3);
    assert_eq!(effects, vec![refused(token, UploadError::Locked)]);
}

#[test]
fn it_leaves_memory_when_idle_and_never_while_somebody_is_there() {
    let mut bench = Bench::tus(10);
    let grant = bench.granted(append(0), 50_000);
    assert!(matches!(bench.timer(UploadTimer::Idle, 200_000)[..], [UploadEffect::StartTimer(UploadTimer::Idle, _)]));
    bench.end(grant, 3, AfterAppend::Continue, 200_000);
    assert!(matches!(bench.timer(UploadTimer::Idle, 230_000)[..], [UploadEffect::StartTimer(UploadTimer::Idle, _)]));
    assert_eq!(bench.timer(UploadTimer::Idle, 260_000), vec![UploadEffect::Leave]);
}

#[test]
fn an_upload_whose_client_stores_it_is_complete_when_all_parts_could_be_taken() {
    let direct = Upload { part_bytes: Some(4), ..upload(Some(10), UploadProtocol::Chunked) };
    let mut bench = Bench::of(&direct, 0);
    let (token, effects) = bench.ask(Request::Renew, 1000);
    assert_eq!(effects.first(), Some(&UploadEffect::MoveExpiry(at(3_601_000))));
    assert_eq!(status_of(&effects, token).unwrap().expires_at, at(3_601_000));
    let (first, effects) = bench.ask(Request::Complete, 2000);
    assert_eq!(effects, [UploadEffect::Complete { declares: None }]);
    let (second, effects) = bench.ask(Request::Complete, 2001);
    assert_eq!(effects, [], "it is being completed");
    let missing = UploadFault::PartMissing { part: 2 };
    let effects = bench.machine.step(UploadInput::Completed(Err(missing.clone())), at(2002));
    assert_eq!(effects, [first, second].map(|token| refused(token, missing.clone().into())));
    let (token, effects) = bench.ask(Request::Inspect { preempt: false }, 2003);
    assert_eq!(status_of(&effects, token).unwrap().state, UploadState::Open);
    let (token, _) = bench.ask(Request::Complete, 3000);
    let effects = bench.machine.step(UploadInput::Completed(Ok(())), at(3001));
    assert_eq!(effects.first(), Some(&UploadEffect::Announce));
    let status = status_of(&effects, token).unwrap();
    assert_eq!((status.state, status.offset), (UploadState::Complete, 10));
    let (token, effects) = bench.ask(Request::Renew, 4000);
    assert_eq!(effects, [refused(token, UploadError::Complete)]);
}
