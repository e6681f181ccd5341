use bytes::Bytes;

use super::*;

const TIMESCALES: [u32; 2] = [90_000, 48_000];

fn settings(tracks: &[TrackKind]) -> PackagerSettings {
    let tracks = tracks.iter().map(|kind| (*kind, TIMESCALES[usize::from(*kind == TrackKind::Audio)])).collect();
    let part_target = PartTarget::for_frame_rate(Some((30, 1)));
    PackagerSettings { part_target, target_secs: None, first_segment: 0, tracks }
}

fn picture(number: i64, keyframe: bool) -> Frame {
    let dts = 90_000 + number * 3000;
    // As an encoder with two B frames: shown two pictures later at most.
    Frame { dts, pts: dts + 6000, duration: 3000, keyframe, payload: Bytes::from_static(&[0; 50]) }
}

fn packet(number: i64) -> Frame {
    let dts = 48_000 + number * 1024;
    Frame { dts, pts: dts, duration: 1024, keyframe: true, payload: Bytes::from_static(&[0; 20]) }
}

/// A segment of what came out.
#[derive(Debug, Default, Clone)]
struct Seen {
    number: u64,
    start: i64,
    parts: Vec<Part>,
    ended: bool,
    gap: Option<u32>,
}

/// Checks the order of what came out, and gathers it by track.
fn gather(out: &[Packaged], tracks: usize) -> Vec<Vec<Seen>> {
    let mut seen: Vec<Vec<Seen>> = vec![Vec::new(); tracks];
    for event in out {
        match event {
            Packaged::TargetDuration(_) => {}
            Packaged::Begin { track, number, start, .. } => {
                assert!(seen[*track].last().is_none_or(|last| last.ended && last.number + 1 == *number), "{event:?}");
                seen[*track].push(Seen { number: *number, start: *start, ..Seen::default() });
            }
            Packaged::Part { track, part } => {
                let segment = seen[*track].last_mut().unwrap();
                assert!(!segment.ended, "a part after the end");
                segment.parts.push(part.clone());
            }
            Packaged::End { track } => {
                let segment = seen[*track].last_mut().unwrap();
                assert!(!segment.ended && !segment.parts.is_empty(), "{segment:?}");
                segment.ended = true;
            }
            Packaged::Gap { track, number, start, duration } => {
                assert!(seen[*track].last().is_none_or(|last| last.ended && last.number + 1 == *number), "{event:?}");
                let (number, start, gap) = (*number, *start, Some(*duration));
                seen[*track].push(Seen { number, start, ended: true, gap, parts: Vec::new() });
            }
        }
    }
    seen
}

/// What must hold for every track of every stream.
fn check(seen: &[Vec<Seen>], target: PartTarget) {
    for (track, segments) in seen.iter().enumerate() {
        let ticks = target.ticks(TIMESCALES[track]);
        for segment in segments {
            let Some((_, whole)) = segment.parts.split_last() else { continue };
            for part in &segment.parts {
                assert!(i64::from(part.duration) <= ticks, "part of {} in segment {}", part.duration, segment.number);
            }
            for part in whole {
                let short = i64::from(part.duration) * 100 < ticks * 85;
                assert!(!short, "part of {} in segment {} of track {track}", part.duration, segment.number);
            }
            assert!(segment.parts.windows(2).all(|pair| pair[0].end() == pair[1].start));
        }
    }
    let numbers = |segments: &[Seen]| segments.iter().map(|segment| segment.number).collect::<Vec<_>>();
    assert!(seen.windows(2).all(|pair| numbers(&pair[0]) == numbers(&pair[1])), "equal numbers in all tracks");
}

/// Plays pictures and sound interleaved by time; `keys` tells key frames, `present` what comes at all.
fn play(
    seconds: i64,
    keys: impl Fn(i64) -> bool,
    present: impl Fn(TrackKind, i64) -> bool,
) -> (Vec<Vec<Seen>>, Vec<Packaged>) {
    let settings = settings(&[TrackKind::Video, TrackKind::Audio]);
    let target = settings.part_target;
    let mut packager = Packager::new(settings);
    let mut out = Vec::new();
    let mut next_packet = 0;
    for number in 0..seconds * 30 {
        while next_packet * 1024 * 30 < number * 48_000 {
            if present(TrackKind::Audio, next_packet * 1024 / 48) {
                packager.push(1, packet(next_packet), &mut out);
            }
            next_packet += 1;
        }
        if present(TrackKind::Video, number * 1000 / 30) {
            packager.push(0, picture(number, keys(number)), &mut out);
        }
    }
    packager.finish(&mut out);
    let seen = gather(&out, 2);
    check(&seen, target);
    (seen, out)
}

fn always(_: TrackKind, _: i64) -> bool {
    true
}

fn secs(segment: &Seen, track: usize) -> f64 {
    segment.start as f64 / f64::from(TIMESCALES[track])
}

#[test]
fn two_second_groups_make_two_second_segments() {
    let (seen, out) = play(11, |number| number % 60 == 0, always);
    assert!(out.contains(&Packaged::TargetDuration(2)));
    assert_eq!(seen[0].len(), 6);
    for (video, audio) in seen[0].iter().zip(&seen[1]) {
        assert!(video.parts[0].independent && video.gap.is_none() && audio.gap.is_none());
        let apart = (secs(video, 0) - secs(audio, 1)).abs();
        assert!(apart <= 1024.0 / 48_000.0, "segment {}: {apart} s apart", video.number);
    }
    let full = &seen[0][1];
    assert_eq!(full.parts.len(), 9, "eight parts of seven pictures and one of four");
    assert_eq!(full.parts.iter().map(|part| part.duration).sum::<u32>(), 180_000);
    assert!(full.parts[1..].iter().all(|part| !part.independent));
}

#[test]
fn a_full_part_does_not_wait_for_the_next_frame() {
    let mut packager = Packager::new(settings(&[TrackKind::Video]));
    let mut out = Vec::new();
    for number in 0..7 {
        assert!(!out.iter().any(|event| matches!(event, Packaged::Part { .. })), "after {number} pictures");
        packager.push(0, picture(number, number == 0), &mut out);
    }
    assert!(matches!(&out[..], [Packaged::Begin { .. }, Packaged::Part { .. }]), "{out:?}");
}

#[test]
fn the_first_closed_group_fixes_the_target_and_longer_ones_are_cut() {
    // Groups of 2.5 s first, then none for 40 s.
    let (seen, out) = play(48, |number| number % 75 == 0 && number < 200, always);
    assert!(out.contains(&Packaged::TargetDuration(3)));
    for segment in &seen[0][..seen[0].len() - 1] {
        let length: u32 = segment.parts.iter().map(|part| part.duration).sum();
        assert!(length <= 90_000 * 349 / 100, "segment {} lasts {length}", segment.number);
    }
    let starts_anywhere = seen[0].iter().filter(|segment| !segment.parts[0].independent).count();
    assert!(starts_anywhere >= 10, "{starts_anywhere}");
}

#[test]
fn no_key_frame_but_the_first_still_makes_segments() {
    let (seen, out) = play(65, |number| number == 0, always);
    assert!(out.contains(&Packaged::TargetDuration(10)));
    assert!(seen[0].len() >= 6);
}

#[test]
fn short_groups_and_scene_cuts_are_gathered() {
    let (seen, out) = play(20, |number| number % 15 == 0, always);
    assert!(out.contains(&Packaged::TargetDuration(2)));
    assert!(seen[0].iter().all(|segment| segment.parts[0].independent));
    assert!((8..=11).contains(&seen[0].len()), "{}", seen[0].len());
    // A scene cut 0.4 s behind each key frame restarts the encoder's two seconds.
    let (seen, _) = play(24, |number| number % 72 == 0 || number % 72 == 12, always);
    assert!(seen[0].iter().all(|segment| segment.parts[0].independent), "all segments start with a key frame");
}

#[test]
fn pictures_that_stop_become_gaps_and_come_back() {
    let away = |kind: TrackKind, ms: i64| kind == TrackKind::Audio || !(6000..16_000).contains(&ms);
    let (seen, _) = play(24, |number| number % 60 == 0, away);
    let gaps = seen[0].iter().filter(|segment| segment.gap.is_some()).count();
    assert!((2..=5).contains(&gaps), "{gaps} gaps");
    assert!(seen[0].last().unwrap().gap.is_none());
    assert!(seen[1].iter().all(|segment| segment.gap.is_none()), "sound went on");
    for (video, audio) in seen[0].iter().zip(&seen[1]).skip(1) {
        assert!((secs(video, 0) - secs(audio, 1)).abs() < 0.1, "segment {}", video.number);
    }
}

#[test]
fn pictures_that_come_back_just_after_a_cut_leave_no_scrap_of_a_gap() {
    for back in 150..270 {
        let away = |kind: TrackKind, ms: i64| kind == TrackKind::Audio || ms < 4000 || ms >= back * 1000 / 30;
        let (seen, _) =
            play(12, |number| number % 60 == 0 && number < 120 || number >= back && (number - back) % 60 == 0, away);
        for segment in &seen[0] {
            assert!(segment.gap.is_none_or(|gap| gap >= 45_000), "back with picture {back}: {:?}", segment.gap);
        }
        for segment in &seen[1] {
            let length: u32 = segment.parts.iter().map(|part| part.duration).sum();
            assert!(length <= 48_000 * 252 / 100, "back with picture {back}: {length} ticks of sound");
        }
    }
}

#[test]
fn late_and_missing_sound_is_a_gap() {
    let late = |kind: TrackKind, ms: i64| kind == TrackKind::Video || (5000..9000).contains(&ms);
    let (seen, _) = play(14, |number| number % 60 == 0, late);
    let gaps: Vec<bool> = seen[1].iter().map(|segment| segment.gap.is_some()).collect();
    assert_eq!(gaps, [true, true, false, false, false, true, true]);
    let lasting: Vec<u32> = seen[1].iter().filter_map(|segment| segment.gap).collect();
    assert_eq!(lasting[..3], [96_000, 96_000, 96_000]);
}

#[test]
fn sound_alone_is_cut_by_the_clock() {
    let mut packager = Packager::new(settings(&[TrackKind::Audio]));
    let mut out = Vec::new();
    (0..500).for_each(|number| packager.push(0, packet(number), &mut out));
    packager.finish(&mut out);
    assert!(out.contains(&Packaged::TargetDuration(2)));
    let segments = gather(&out, 1).remove(0);
    assert_eq!(segments.len(), 6);
    for segment in &segments[..5] {
        let length: u32 = segment.parts.iter().map(|part| part.duration).sum();
        assert_eq!(length, 93 * 1024, "as many packets as fit into two seconds");
    }
}

#[test]
fn pictures_before_the_first_key_frame_are_dropped() {
    let mut packager = Packager::new(settings(&[TrackKind::Video, TrackKind::Audio]));
    let mut out = Vec::new();
    packager.push(1, packet(0), &mut out);
    (0..5).for_each(|number| packager.push(0, picture(number, number == 3), &mut out));
    packager.push(1, packet(10), &mut out);
    packager.finish(&mut out);
    assert_eq!(packager.dropped(), Dropped { undecodable: 3, early_sound: 1 });
    assert_eq!(gather(&out, 2)[0][0].start, picture(3, true).pts);
}

#[test]
fn unknown_durations_wait_for_the_next_frame() {
    let mut packager = Packager::new(settings(&[TrackKind::Video]));
    let mut out = Vec::new();
    for number in 0..90 {
        packager.push(0, Frame { duration: 0, ..picture(number, number % 60 == 0) }, &mut out);
    }
    packager.finish(&mut out);
    let seen = gather(&out, 1);
    check(&seen, PartTarget::for_frame_rate(Some((30, 1))));
    let total: u32 = seen[0].iter().flat_map(|segment| &segment.parts).map(|part| part.duration).sum();
    assert_eq!(total, 90 * 3000);
}

/// Plays two tracks of pictures whose key frames these tell; the second one comes while `present` says so, given seconds.
fn play_pictures(seconds: i64, keys: [fn(i64) -> bool; 2], present: impl Fn(i64) -> bool) -> (Packager, Vec<Packaged>) {
    let mut packager = Packager::new(settings(&[TrackKind::Video, TrackKind::Video]));
    let mut out = Vec::new();
    for number in 0..seconds * 30 {
        if present(number / 30) {
            // Rounded otherwise by its encoder, and sent first.
            let frame = picture(number, keys[1](number));
            packager.push(1, Frame { dts: frame.dts - 40, pts: frame.pts - 40, ..frame }, &mut out);
        }
        packager.push(0, picture(number, keys[0](number)), &mut out);
    }
    (packager, out)
}

fn is_independent(out: &[Packaged], of: usize) -> Vec<bool> {
    let begins = out.iter().filter_map(|event| match event {
        Packaged::Begin { track, independent, .. } if *track == of => Some(*independent),
        _ => None,
    });
    begins.collect()
}

#[test]
fn other_pictures_are_cut_with_the_leading_ones() {
    let every_two = |number| number % 60 == 0;
    let (mut packager, mut out) = play_pictures(10, [every_two, every_two], |_| true);
    packager.finish(&mut out);
    let seen = gather(&out, 2);
    assert_eq!((seen[0].len(), seen[1].len(), packager.dropped()), (5, 5, Dropped::default()));
    assert_eq!(is_independent(&out, 1), [true; 5]);
    for (leading, other) in seen[0].iter().zip(&seen[1]) {
        assert_eq!((leading.number, leading.start - other.start), (other.number, 40));
        assert_eq!(leading.parts.len(), other.parts.len());
    }
}

#[test]
fn pictures_with_key_frames_elsewhere_are_cut_at_the_same_times() {
    let (mut packager, mut out) = play_pictures(10, [|number| number % 60 == 0, |number| number % 60 == 25], |_| true);
    packager.finish(&mut out);
    let seen = gather(&out, 2);
    assert_eq!((seen[0].len(), seen[1].len()), (5, 5));
    assert_eq!(
        is_independent(&out, 1),
        [true, false, false, false, false],
        "only its first one begins with a key frame"
    );
    assert_eq!(packager.dropped(), Dropped { undecodable: 25, early_sound: 0 });
    for (leading, other) in seen[0].iter().zip(&seen[1]).skip(1) {
        assert!((leading.start - other.start).abs() < 3000, "segment {}", leading.number);
    }
}

#[test]
fn pictures_that_are_missing_are_gaps_and_hold_nobody_up() {
    let every_two = |number| number % 60 == 0;
    let (mut packager, mut out) = play_pictures(30, [every_two, every_two], |second| !(6..21).contains(&second));
    let seen = gather(&out, 2);
    assert!(seen[1].len() + 1 >= seen[0].len(), "{} and {}", seen[1].len(), seen[0].len());
    packager.finish(&mut out);
    let gaps: Vec<bool> = gather(&out, 2)[1].iter().map(|segment| segment.gap.is_some()).collect();
    let expected = [[false; 3].as_slice(), &[true; 8], &[false; 4]].concat();
    assert_eq!(gaps, expected, "back with its first key frame, at 22 s");
    let (_, out) = play_pictures(20, [every_two, every_two], |_| false);
    let never = &gather(&out, 2)[1];
    assert!(never.len() >= 5 && never.iter().all(|segment| segment.gap.is_some()), "{}", never.len());
}

#[test]
fn segments_begin_with_what_is_shown_first_of_them() {
    let mut packager = Packager::new(settings(&[TrackKind::Video, TrackKind::Audio]));
    let mut out = Vec::new();
    for number in 0..240 {
        // Open groups: two pictures behind each key frame are shown before it.
        let behind = number % 60;
        let shift = if number >= 60 && (1..3).contains(&behind) { -3000 } else { 0 };
        let shift = if number >= 60 && behind == 0 { 6000 } else { shift };
        let frame = picture(number, behind == 0);
        packager.push(0, Frame { pts: frame.pts + shift, ..frame }, &mut out);
        (number * 8 / 5..(number + 1) * 8 / 5)
            .for_each(|packet_number| packager.push(1, packet(packet_number), &mut out));
    }
    packager.finish(&mut out);
    let seen = gather(&out, 2);
    let starts: Vec<i64> = seen[0].iter().map(|segment| segment.start - seen[0][0].start).collect();
    assert_eq!(starts, [0, 180_000, 360_000, 540_000]);
    for (video, audio) in seen[0].iter().zip(&seen[1]) {
        assert!((secs(video, 0) - secs(audio, 1)).abs() < 0.03, "segment {}", video.number);
    }
}

#[test]
fn a_key_frame_that_is_shown_late_begins_its_segment_where_it_is_shown() {
    let mut packager = Packager::new(settings(&[TrackKind::Video]));
    let mut out = Vec::new();
    for number in 0..180 {
        let frame = picture(number, number % 60 == 0);
        // The publisher's clock is found to be late; those before it are decoded as they are shown.
        let pts = frame.dts + if number == 120 { 2700 } else { 0 };
        packager.push(0, Frame { pts, ..frame }, &mut out);
    }
    packager.finish(&mut out);
    let seen = gather(&out, 1);
    let starts: Vec<i64> = seen[0].iter().map(|segment| segment.start - seen[0][0].start).collect();
    assert_eq!(starts, [0, 180_000, 362_700]);
}
