use super::*;

const LIMITS: PlaybackLimits = PlaybackLimits { idle_ms: 60_000, view_after_ms: 3_000 };

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn open(duration_ms: u64) -> PlaybackMachine {
    let opening = PlaybackOpening {
        id: PlaybackSessionId::parse("pbs_aaaaaaaa").unwrap(),
        video_id: VideoId::parse("vid_aaaaaaaa").unwrap(),
        user_id: Some(UserId::parse("usr_aaaaaaaa").unwrap()),
        duration_ms,
    };
    PlaybackMachine::open(opening, LIMITS, at(0))
}

fn beat(sequence: u64, position_ms: u64, events: &[PlayerEvent]) -> PlaybackInput {
    PlaybackInput::Heartbeat(Heartbeat { sequence, position_ms, events: events.to_vec(), ..Heartbeat::default() })
}

fn summary(effects: &[PlaybackEffect]) -> SessionSummary {
    let end = effects.iter().find_map(|effect| match effect {
        PlaybackEffect::End(summary) => Some(summary.clone()),
        _ => None,
    });
    end.expect("the session ended")
}

#[test]
fn a_view_counts_once_and_repeated_beacons_change_nothing() {
    let mut machine = open(60_000);
    assert!(!machine.step(beat(1, 0, &[PlayerEvent::Play]), at(1)).contains(&PlaybackEffect::CountView));
    assert!(machine.step(beat(2, 5_000, &[]), at(6)).contains(&PlaybackEffect::CountView));
    let before = machine.clone();
    assert_eq!(machine.step(beat(2, 9_000, &[PlayerEvent::Seek]), at(6)), []);
    assert_eq!(machine, before);
    assert!(!machine.step(beat(3, 10_000, &[]), at(11)).contains(&PlaybackEffect::CountView));
    assert_eq!(summary(&machine.step(PlaybackInput::Closed, at(12))).watch_ms, 10_000);
}

#[test]
fn an_overtaken_beacon_still_adds_its_rebufferings_but_not_its_position() {
    let mut machine = open(60_000);
    machine.step(beat(0, 0, &[PlayerEvent::Play]), at(0));
    machine.step(beat(2, 8_000, &[]), at(8));
    let late = Heartbeat { sequence: 1, position_ms: 4_000, rebuffers_ms: vec![700, 300], ..Heartbeat::default() };
    machine.step(PlaybackInput::Heartbeat(late.clone()), at(9));
    machine.step(PlaybackInput::Heartbeat(late), at(9));
    let summary = summary(&machine.step(PlaybackInput::Closed, at(10)));
    assert_eq!((summary.rebuffer_count, summary.rebuffer_ms, summary.position_ms), (2, 1_000, 8_000));
}

#[test]
fn every_sequence_number_of_a_shuffled_run_is_taken_exactly_once() {
    let mut seen = SeenSequences::default();
    let order = [3u64, 0, 1, 5, 2, 4, 70, 8, 69, 7, 71];
    for sequence in order {
        assert!(seen.insert(sequence), "{sequence} is new");
        assert!(!seen.insert(sequence), "{sequence} is known");
    }
    assert!(!seen.insert(3), "older than the window counts as seen");
}

#[test]
fn a_jump_is_not_watched_time_and_positions_are_saved_on_pause() {
    let mut machine = open(600_000);
    machine.step(beat(0, 0, &[PlayerEvent::Play]), at(0));
    machine.step(beat(1, 300_000, &[PlayerEvent::Seek]), at(5));
    let effects = machine.step(beat(2, 305_000, &[PlayerEvent::Pause]), at(10));
    let saved = effects.iter().find_map(|effect| match effect {
        PlaybackEffect::SavePosition(position) => Some(position.clone()),
        _ => None,
    });
    assert_eq!(saved.map(|position| (position.position_ms, position.watched_per_myriad)), Some((305_000, 5_083)));
    let summary = summary(&machine.step(PlaybackInput::Closed, at(11)));
    assert_eq!((summary.watch_ms, summary.seek_count), (10_000, 1));
}

#[test]
fn a_silent_session_ends_by_itself_and_an_active_one_does_not() {
    let mut machine = open(60_000);
    machine.step(beat(0, 1_000, &[]), at(30));
    let again = Duration::from_secs(30);
    assert_eq!(machine.step(PlaybackInput::IdleChecked, at(60)), [PlaybackEffect::CheckIdleAfter(again)]);
    let ended = summary(&machine.step(PlaybackInput::IdleChecked, at(90)));
    assert_eq!((ended.ended_at, ended.viewed), (at(30), false));
}

#[test]
fn a_player_without_beacons_earns_its_view_by_fetching() {
    let mut machine = open(60_000);
    assert_eq!(machine.step(PlaybackInput::Fetched { media_ms: 2_000 }, at(0)), []);
    assert_eq!(machine.step(PlaybackInput::Fetched { media_ms: 4_000 }, at(1)), [PlaybackEffect::CountView]);
    assert_eq!(machine.step(PlaybackInput::Fetched { media_ms: 4_000 }, at(2)), []);
    let effects = machine.step(PlaybackInput::Closed, at(3));
    assert!(!effects.iter().any(|effect| matches!(effect, PlaybackEffect::SavePosition(_))), "it told no position");
}

#[test]
fn the_bit_rate_is_weighted_by_time_watched() {
    let mut machine = open(600_000);
    for (sequence, position_ms, bit_rate) in [(0, 0, 1_000), (1, 10_000, 1_000_000), (2, 40_000, 3_000_000)] {
        let beat = Heartbeat {
            sequence,
            position_ms,
            bit_rate: Some(bit_rate),
            startup_ms: Some(400),
            ..Heartbeat::default()
        };
        machine.step(PlaybackInput::Heartbeat(beat), at(position_ms as i64 / 1000));
    }
    let summary = summary(&machine.step(PlaybackInput::Closed, at(41)));
    assert_eq!((summary.average_bit_rate, summary.startup_ms), (2_500_000, Some(400)));
}
