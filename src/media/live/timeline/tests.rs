use super::*;

const VIDEO: TrackClock = TrackClock { kind: TrackKind::Video, timescale: 90_000 };
const AUDIO: TrackClock = TrackClock { kind: TrackKind::Audio, timescale: 48_000 };

fn timeline(clock: IngestClock) -> Timeline {
    let mut timeline = Timeline::new(clock, Ticks { value: 1, timescale: 1 });
    assert_eq!((timeline.add_track(VIDEO), timeline.add_track(AUDIO)), (0, 1));
    timeline
}

fn stamp(dts: i64, arrival_ms: u64) -> Stamp {
    Stamp { dts, composition: 0, keyframe: false, arrival: Duration::from_millis(arrival_ms) }
}

/// Seconds of a frame on the timeline.
fn secs(placed: Placed, clock: TrackClock) -> f64 {
    Ticks { value: placed.dts, timescale: clock.timescale }.as_secs_f64()
}

#[test]
fn a_visit_starts_where_it_is_told_and_keeps_sound_with_pictures() {
    let mut timeline = timeline(IngestClock::RTMP);
    assert_eq!(timeline.place((0, 0), stamp(5000, 0)).unwrap().dts, 90_000);
    assert_eq!(timeline.place((1, 1024), stamp(5100, 0)).unwrap().dts, 48_000 + 4800);
    assert_eq!(timeline.place((0, 0), stamp(5040, 40)).unwrap().dts, 90_000 + 3600);
    assert_eq!(timeline.repairs(), Repairs::default());
    assert_eq!(timeline.place((2, 0), stamp(0, 0)), None, "no such track");
}

#[test]
fn times_go_on_over_the_end_of_their_field() {
    for clock in [IngestClock::RTMP, IngestClock::MPEG_TS] {
        let mut timeline = timeline(clock);
        let step = i64::from(clock.ticks_per_sec) / 25;
        let first = (1i64 << clock.bits) - 10 * step;
        let mut last = f64::MIN;
        for number in 0..50i64 {
            let dts = (first + number * step) % (1 << clock.bits);
            let now = secs(timeline.place((0, 0), stamp(dts, number as u64 * 40)).unwrap(), VIDEO);
            assert!((now - (1.0 + number as f64 / 25.0)).abs() < 0.001, "{number}: {now} after {last}");
            last = now;
        }
        assert_eq!(timeline.repairs(), Repairs { wrapped: 1, ..Repairs::default() });
    }
}

#[test]
fn a_jump_is_taken_out_of_all_tracks_alike() {
    for jump in [3_600_000i64, -3_600_000, -30_000] {
        let mut timeline = timeline(IngestClock::RTMP);
        let base = 10_000_000;
        for number in 0..50u64 {
            timeline.place((0, 0), stamp(base + number as i64 * 40, number * 40)).unwrap();
            timeline.place((1, 1024), stamp(base + number as i64 * 40, number * 40));
        }
        // One packet of sound from before the jump comes after it.
        let video = timeline.place((0, 0), stamp(base + jump + 2000, 2000)).unwrap();
        let late = timeline.place((1, 1024), stamp(base + 2000, 2001));
        let audio = timeline.place((1, 1024), stamp(base + jump + 2040, 2040)).unwrap();
        assert!((secs(video, VIDEO) - 3.0).abs() < 0.02, "{jump}: {video:?}");
        assert!(late.is_some());
        assert!((secs(audio, AUDIO) - 3.04).abs() < 0.06, "{jump}: {audio:?}");
        assert_eq!(timeline.repairs().jumps, 2, "{jump}");
    }
}

#[test]
fn repeated_and_backward_times_increase() {
    let mut timeline = timeline(IngestClock::RTMP);
    let stamps = [0, 40, 40, 20, 80, 120];
    let placed: Vec<i64> =
        stamps.iter().map(|dts| timeline.place((0, 0), stamp(1000 + dts, *dts as u64)).unwrap().dts).collect();
    assert!(placed.windows(2).all(|pair| pair[0] < pair[1]), "{placed:?}");
    assert_eq!(timeline.repairs().unordered, 2);
    let early = Stamp { composition: -80, ..stamp(1160, 160) };
    let placed = timeline.place((0, 0), early).unwrap();
    assert_eq!((placed.pts, timeline.repairs().shown_early), (placed.dts, 1));
}

#[test]
fn pictures_go_on_where_those_before_them_were_told_to_end() {
    const INTERVAL: i64 = 3000;
    // At a key frame the publisher's clock is set; in the middle of a group it pauses.
    for (number, moved, keyframe) in
        [(60, 80, true), (60, -80, true), (60, 2, true), (45, 200, false), (45, -5, false), (60, -400, true)]
    {
        let mut timeline = timeline(IngestClock::RTP);
        let at = |n: i64| n * INTERVAL + if n >= number { moved * 90 } else { 0 };
        let placed = |n: i64| {
            let arrival = Duration::from_millis(n as u64 * 33);
            let stamp =
                Stamp { dts: at(n), composition: 0, keyframe: n % 60 == 0 && (keyframe || n != number), arrival };
            timeline.place((0, 0), stamp).unwrap()
        };
        let placed: Vec<Placed> = (0..120).map(placed).collect();
        for (n, pair) in placed.windows(2).enumerate().skip(20) {
            let end = pair[0].duration.map(|duration| pair[0].dts + i64::from(duration));
            // Pictures that are earlier and out of rhythm are where they are: nobody knows how long they last.
            let is_lost = !keyframe && moved < 0 && n + 1 == 45;
            assert!(is_lost || end.is_none_or(|end| end == pair[1].dts), "{moved} ms: {n} {pair:?}");
            assert!(pair[1].dts > pair[0].dts && pair[1].pts >= 90_000 + at(n as i64 + 1), "{moved} ms: {n} {pair:?}");
        }
        let last = placed.last().unwrap();
        assert_eq!((last.dts, last.pts), (90_000 + at(119), 90_000 + at(119)), "{moved} ms: in step again");
    }
}

#[test]
fn sound_is_counted_in_samples() {
    let mut timeline = timeline(IngestClock::RTMP);
    timeline.place((0, 0), stamp(0, 0));
    let mut last = None;
    for number in 0..5000i64 {
        // Rounded to milliseconds, and 3 ms of jitter.
        let dts = number * 1024 * 1000 / 48_000 + (number % 3);
        let placed = timeline.place((1, 1024), stamp(dts, dts as u64)).unwrap();
        assert_eq!(placed.dts, last.map_or(placed.dts, |last| last + 1024));
        last = Some(placed.dts);
    }
    assert_eq!(timeline.repairs(), Repairs::default());
}

#[test]
fn holes_in_the_sound_stay_and_overlaps_go() {
    let mut timeline = timeline(IngestClock::RTMP);
    timeline.place((0, 0), stamp(0, 0));
    assert_eq!(timeline.place((1, 1024), stamp(0, 0)).unwrap().dts, 48_000);
    assert_eq!(timeline.place((1, 1024), stamp(500, 500)).unwrap().dts, 48_000 + 24_000);
    assert_eq!(timeline.place((1, 1024), stamp(400, 510)), None);
    assert_eq!(timeline.place((1, 1024), stamp(521, 521)).unwrap().dts, 48_000 + 25_024);
    let Repairs { sound_gaps, sound_overlaps, .. } = timeline.repairs();
    assert_eq!((sound_gaps, sound_overlaps), (1, 1));
}

#[test]
fn a_publisher_that_paused_its_clock_or_its_line_goes_on() {
    let mut timeline = timeline(IngestClock::RTMP);
    timeline.place((0, 0), stamp(0, 0));
    // The line was dead for 8 s, then all of it came at once.
    for number in 1..200 {
        let placed = timeline.place((0, 0), stamp(number * 40, 8000)).unwrap();
        assert!((secs(placed, VIDEO) - (1.0 + number as f64 * 0.04)).abs() < 0.003);
    }
    // The encoder was paused for a minute, and its clock with it or not: both are taken as they come.
    let placed = timeline.place((0, 0), stamp(8000 + 60_000, 68_000)).unwrap();
    assert!((secs(placed, VIDEO) - 69.0).abs() < 0.01, "{placed:?}");
    assert_eq!(timeline.repairs().jumps, 0);
}
