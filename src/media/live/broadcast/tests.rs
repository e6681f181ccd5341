use super::*;
use crate::media::codecs::opus::OpusConfig;
use crate::media::frames::CodecConfig;
use crate::media::live::listing::periods;
use crate::media::live::testing::{Publisher, at, audio, slate, video, visit};

/// Checks what viewers rely on, and returns the kinds of segments by rendition: `m` media, `-` gap.
fn check(broadcast: &Broadcast) -> Vec<String> {
    let mut patterns = Vec::new();
    for rendition in broadcast.renditions() {
        let mut pattern = String::new();
        let mut last: Option<(u64, i64, Timestamp)> = None;
        for segment in rendition.ring.segments() {
            let start = segment.beginning.start.rescale(MICROS);
            if let Some((number, end, date)) = last {
                assert_eq!(segment.beginning.number, number + 1, "{}", rendition.name);
                assert!((start - end).abs() < 60_000, "{} {}: {start} after {end}", rendition.name, number + 1);
                assert!(segment.beginning.date >= date);
            }
            assert!(segment.is_gap() || !segment.parts.is_empty());
            last = Some((segment.beginning.number, start + segment.micros(), segment.beginning.date));
            pattern.push(if segment.is_gap() { '-' } else { 'm' });
            if segment.discontinuity {
                pattern.insert(pattern.len() - 1, '|');
            }
        }
        patterns.push(pattern);
    }
    let numbers = |rendition: &Rendition| rendition.ring.next_number();
    assert!(broadcast.renditions().windows(2).all(|pair| numbers(&pair[0]).abs_diff(numbers(&pair[1])) <= 1));
    patterns
}

fn broadcast() -> Broadcast {
    Broadcast::new(BroadcastSettings::new(Duration::from_secs(600), 0))
}

#[test]
fn one_visit_from_start_to_end() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), out).unwrap();
    Publisher { base: 77, with_sound: true }.publish(&mut broadcast, 0, 10_000, out);
    assert_eq!((broadcast.target_secs(), broadcast.part_target().unwrap().as_millis()), (Some(2), 250));
    broadcast.end(out);
    assert_eq!(check(&broadcast), ["mmmmm", "mmmmm"]);
    assert_eq!(broadcast.health(), Health { epochs: 1, ..Health::default() });
    let first = broadcast.renditions()[0].ring.segments().next().unwrap();
    assert_eq!((first.beginning.start.as_secs_f64(), first.beginning.date), (1.0, at(0)));
}

#[test]
fn sound_goes_on_where_sound_of_its_codec_was() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    let opus = CodecConfig::Opus { dops: OpusConfig::of_channels(2).unwrap().to_bytes() };
    let opus = || TrackConfig::new(opus.clone(), 48_000);
    let codecs = |broadcast: &Broadcast| {
        let tracks = &broadcast.epochs().next_back().unwrap().tracks;
        tracks.iter().map(|track| track.as_ref().map(|(config, _)| config.codec.name())).collect::<Vec<_>>()
    };
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), out).unwrap();
    assert_eq!(codecs(&broadcast), [Some("H.264"), Some("AAC")]);
    broadcast.begin_visit(visit(vec![video(), opus(), audio()]), at(1000), out).unwrap();
    assert_eq!(codecs(&broadcast), [Some("H.264"), Some("AAC"), Some("Opus")]);
    broadcast.begin_visit(visit(vec![video(), opus()]), at(2000), out).unwrap();
    assert_eq!(codecs(&broadcast), [Some("H.264"), None, Some("Opus")]);
    broadcast.begin_visit(visit(vec![audio(), audio(), audio()]), at(3000), out).unwrap();
    assert_eq!(codecs(&broadcast), [None, Some("AAC"), Some("AAC"), Some("AAC")]);
}

#[test]
fn a_publisher_that_comes_back_continues_the_playlist() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    let publisher = Publisher { base: 0, with_sound: true };
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), out).unwrap();
    publisher.publish(&mut broadcast, 0, 6500, out);
    broadcast.end_visit(out);
    (6500..16_500).step_by(100).for_each(|ms| broadcast.tick(at(ms), out));
    broadcast.begin_visit(visit(vec![video(), audio()]), at(16_500), out).unwrap();
    Publisher { base: -16_500, with_sound: true }.publish(&mut broadcast, 16_500, 21_000, out);
    broadcast.end(out);
    let patterns = check(&broadcast);
    assert_eq!(patterns, ["mmmm-----|mmm", "mmmm-----|mmm"]);
    let segment = |number| broadcast.renditions()[0].ring.segment(number).unwrap();
    let late = segment(9).beginning.date.as_millis() - 16_500;
    assert!((0..40).contains(&late), "dates follow the clock, and are {late} ms late");
    assert!((segment(9).beginning.start.as_secs_f64() - 17.5).abs() < 0.04);
}

/// A publisher that is killed has sent more of its pictures than of its sound.
#[test]
fn sound_ends_with_the_pictures_when_a_publisher_leaves() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), out).unwrap();
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 0, 5000, out);
    Publisher { base: 0, with_sound: false }.publish(&mut broadcast, 5000, 5400, out);
    broadcast.begin_visit(visit(vec![video(), audio()]), at(5400), out).unwrap();
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 5400, 9000, out);
    broadcast.end(out);
    for rendition in broadcast.renditions() {
        let segments: Vec<_> = rendition.ring.segments().collect();
        let second = segments.iter().position(|segment| segment.discontinuity).unwrap();
        let end = segments[second - 1].beginning.start.rescale(MICROS) + segments[second - 1].micros();
        let hole = segments[second].beginning.start.rescale(MICROS) - end;
        assert!(hole.abs() < 22_000, "{}: {hole} µs, more than a packet of sound", rendition.name);
    }
}

/// A busy browser's sound, or one over a bad line.
#[test]
fn what_is_left_out_of_the_sound_is_silence() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), out).unwrap();
    for (from, until, with_sound) in
        [(0, 3000, true), (3000, 3700, false), (3700, 6000, true), (6000, 6070, false), (6070, 8000, true)]
    {
        Publisher { base: 0, with_sound }.publish(&mut broadcast, from, until, out);
    }
    assert_eq!(broadcast.health().repairs.sound_gaps, 2);
    broadcast.end(out);
    assert!(check(&broadcast).iter().all(|pattern| !pattern.contains('-')));
    let sound = &broadcast.renditions()[1].ring;
    let parts: Vec<_> = sound.segments().flat_map(|segment| segment.parts.clone()).collect();
    assert!(parts.windows(2).all(|pair| pair[0].end() == pair[1].start), "{parts:?}");
}

/// Players take a last period that ends for the end of everything, and never go on.
#[test]
fn the_last_period_listed_has_no_end_before_the_broadcast_has() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    let ends = |broadcast: &Broadcast| {
        let listed = periods(broadcast).unwrap();
        listed.iter().map(|listed| listed.period.end_micros.is_some()).collect::<Vec<_>>()
    };
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), out).unwrap();
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 0, 6000, out);
    broadcast.end_visit(out);
    broadcast.begin_visit(visit(vec![video(), audio()]), at(9000), out).unwrap();
    for ms in (9000..10_000).step_by(50) {
        Publisher { base: 0, with_sound: true }.publish(&mut broadcast, ms, ms + 50, out);
        assert_eq!(ends(&broadcast).last(), Some(&false), "after {} ms", ms - 9000);
    }
    assert_eq!(ends(&broadcast), [true, false]);
    broadcast.end(out);
    assert_eq!(ends(&broadcast), [true, true]);
}

#[test]
fn a_second_publisher_takes_over_without_a_gap() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), out).unwrap();
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 0, 5000, out);
    broadcast.begin_visit(visit(vec![video(), audio()]), at(5000), out).unwrap();
    Publisher { base: 1_000_000, with_sound: true }.publish(&mut broadcast, 5000, 9000, out);
    broadcast.end(out);
    assert_eq!(check(&broadcast), ["mmm|mm", "mmm|mm"]);
}

#[test]
fn a_publisher_without_sound_leaves_gaps_in_the_sound() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), out).unwrap();
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 0, 4000, out);
    broadcast.begin_visit(visit(vec![video()]), at(4000), out).unwrap();
    Publisher { base: 0, with_sound: false }.publish(&mut broadcast, 4000, 8000, out);
    broadcast.begin_visit(visit(vec![video(), audio()]), at(8000), out).unwrap();
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 8000, 12_000, out);
    broadcast.end(out);
    assert_eq!(check(&broadcast), ["mm|mm|mm", "mm|--|mm"]);
}

#[test]
fn a_publisher_that_falls_silent_and_goes_on() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    let publisher = Publisher { base: 0, with_sound: true };
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), out).unwrap();
    publisher.publish(&mut broadcast, 0, 4000, out);
    (4000..9000).step_by(50).for_each(|ms| broadcast.tick(at(ms), out));
    assert!(!broadcast.is_fed());
    publisher.publish(&mut broadcast, 9000, 13_000, out);
    broadcast.end(out);
    let patterns = check(&broadcast);
    assert_eq!(patterns[0], "mm---|mm");
    assert_eq!(broadcast.health().epochs, 2);
}

#[test]
fn sound_that_is_new_begins_where_the_stream_is() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    broadcast.begin_visit(visit(vec![video()]), at(0), out).unwrap();
    Publisher { base: 0, with_sound: false }.publish(&mut broadcast, 0, 4000, out);
    broadcast.begin_visit(visit(vec![video(), audio()]), at(4000), out).unwrap();
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 4000, 8000, out);
    broadcast.end(out);
    assert_eq!(check(&broadcast), ["mm|mm", "mm"]);
    assert_eq!(broadcast.renditions()[1].ring.segments().next().unwrap().beginning.number, 2);
}

#[test]
fn old_epochs_are_forgotten_with_their_segments() {
    let mut broadcast = Broadcast::new(BroadcastSettings::new(Duration::from_secs(6), 0));
    let out = &mut Vec::new();
    for turn in 0..20 {
        broadcast.begin_visit(visit(vec![video(), audio()]), at(turn * 4000), out).unwrap();
        Publisher { base: 0, with_sound: true }.publish(&mut broadcast, turn * 4000, turn * 4000 + 4000, out);
    }
    assert!(broadcast.epochs().count() <= 3, "{}", broadcast.epochs().count());
    assert!(broadcast.renditions()[0].ring.discontinuity_sequence() >= 16);
}

#[test]
fn the_slate_is_shown_while_nobody_publishes() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    broadcast.set_slate(Some(slate()));
    (0..500).step_by(100).for_each(|ms| broadcast.tick(at(ms), out));
    assert_eq!((broadcast.shows_slate(), check(&broadcast)), (false, Vec::<String>::new()), "before the first visit");
    let publisher = Publisher { base: 0, with_sound: true };
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), out).unwrap();
    publisher.publish(&mut broadcast, 0, 6500, out);
    broadcast.end_visit(out);
    (6500..16_500).step_by(100).for_each(|ms| broadcast.tick(at(ms), out));
    assert_eq!((broadcast.is_fed(), broadcast.shows_slate()), (false, true));
    broadcast.begin_visit(visit(vec![video(), audio()]), at(16_500), out).unwrap();
    assert_eq!((broadcast.is_fed(), broadcast.shows_slate()), (true, false));
    publisher.publish(&mut broadcast, 16_500, 21_000, out);
    broadcast.end(out);
    assert_eq!(check(&broadcast), ["mmmm|mmmmm|mmm", "mmmm|mmmmm|mmm"]);
    let shown = broadcast.renditions()[0].ring.segment(5).unwrap();
    assert_eq!((shown.micros(), shown.beginning.independent), (2_000_000, true));
    assert!(shown.parts.iter().all(|part| part.duration <= 22_500), "no part is longer than PART-TARGET");
    assert_eq!(
        broadcast.health(),
        Health { epochs: 2, ..Health::default() },
        "the slate is no visit, and needs no repair"
    );
}

#[test]
fn a_slate_can_come_and_go_while_it_would_be_shown() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    let publisher = Publisher { base: 0, with_sound: true };
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), out).unwrap();
    publisher.publish(&mut broadcast, 0, 4000, out);
    // It says nothing any more, and its connection is still there.
    (4000..10_000).step_by(100).for_each(|ms| broadcast.tick(at(ms), out));
    broadcast.set_slate(Some(slate()));
    (10_000..14_000).step_by(100).for_each(|ms| broadcast.tick(at(ms), out));
    broadcast.set_slate(None);
    (14_000..18_000).step_by(100).for_each(|ms| broadcast.tick(at(ms), out));
    broadcast.set_slate(Some(slate()));
    (18_000..22_000).step_by(100).for_each(|ms| broadcast.tick(at(ms), out));
    publisher.publish(&mut broadcast, 22_000, 26_000, out);
    broadcast.end(out);
    let patterns = check(&broadcast);
    assert_eq!(patterns[0], "mm---|mm--|mmm|mm");
    assert_eq!(patterns[0], patterns[1]);
    assert_eq!(broadcast.health().epochs, 2);
}
