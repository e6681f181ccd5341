use std::time::Duration;

use super::*;
use crate::media::live::broadcast::BroadcastSettings;
use crate::media::live::testing::{Publisher, at, audio, video, visit};

const RUNG: &str = "r144";

/// A publisher that has sent this much, and a rung that is announced.
fn broadcast(ms: i64) -> (Broadcast, u32) {
    let settings = BroadcastSettings::new(Duration::from_secs(600), 0).with_ladder(Duration::from_millis(6500));
    let mut broadcast = Broadcast::new(settings);
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), &mut Vec::new()).unwrap();
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 0, ms, &mut Vec::new());
    let epoch = broadcast.epochs().next_back().unwrap().number;
    broadcast.begin_rung(RUNG, epoch, video()).unwrap();
    (broadcast, epoch)
}

/// Pictures of the rung from `from` to `to`, milliseconds of the broadcast; key frames at whole seconds that are even.
fn encode(broadcast: &mut Broadcast, epoch: u32, from: i64, to: i64) {
    for number in from * 30 / 1000..to * 30 / 1000 {
        let picture = RungPicture {
            pts: 90_000 + number * 3000,
            keyframe: number % 60 == 0,
            payload: Bytes::from_static(&[3; 20]),
        };
        broadcast.push_rung((RUNG, epoch), picture, at(number * 1000 / 30), &mut Vec::new());
    }
}

/// Segments of the rung as `m` media, `-` gaps, `o` open; each checked against the source's.
fn pattern(broadcast: &Broadcast) -> String {
    let ring_of = |name: &str| &broadcast.renditions().iter().find(|it| it.name == name).unwrap().ring;
    let (source, rung) = (ring_of("v0"), ring_of(RUNG));
    let kind = |segment: &crate::media::live::ring::LiveSegment| {
        let of_source = source.segment(segment.beginning.number).expect("a segment of the source");
        let micros = |start: Ticks| start.rescale(MICROS);
        assert_eq!(micros(segment.beginning.start), micros(of_source.beginning.start), "cut where the source is");
        match (segment.is_gap(), segment.is_complete) {
            (true, _) => '-',
            (false, true) => 'm',
            (false, false) => 'o',
        }
    };
    rung.segments().map(kind).collect()
}

#[test]
fn a_rung_is_cut_where_the_source_is() {
    let (mut broadcast, epoch) = broadcast(9000);
    encode(&mut broadcast, epoch, 0, 9000);
    assert_eq!(pattern(&broadcast), "mmmmo");
    let rendition = broadcast.renditions().iter().find(|it| it.name == RUNG).unwrap();
    let first = rendition.ring.segments().next().unwrap();
    assert_eq!((first.parts.len(), first.parts[0].independent, first.micros()), (9, true, 2_000_000));
    assert!(rendition.is_rung());
}

#[test]
fn what_comes_too_late_is_a_gap_and_the_source_goes_on() {
    let (mut broadcast, epoch) = broadcast(5000);
    encode(&mut broadcast, epoch, 0, 3000);
    // Its encoder ends; the publisher does not.
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 5000, 13_000, &mut Vec::new());
    assert_eq!(pattern(&broadcast), "m---");
    // Another one goes on with the next segment that it has all of.
    encode(&mut broadcast, epoch, 9500, 13_000);
    assert_eq!(pattern(&broadcast), "m-----o", "of what began at 9 s it has not all");
    let last = broadcast.renditions()[0].ring.next_number();
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 13_000, 17_000, &mut Vec::new());
    assert_eq!(broadcast.renditions()[0].ring.next_number(), last + 2);
}

#[test]
fn a_rung_that_nobody_encodes_is_not_waited_for() {
    let (mut broadcast, epoch) = broadcast(5000);
    encode(&mut broadcast, epoch, 0, 3000);
    let out = &mut Vec::new();
    broadcast.give_up_rungs_but(&[], out);
    assert_eq!(pattern(&broadcast), "m-", "there is a whole segment of the source, with half of it");
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 5000, 9000, out);
    assert_eq!(pattern(&broadcast), "m---", "all that the source has completed");
    let rendition = broadcast.renditions().iter().find(|it| it.name == RUNG).unwrap();
    let broken = rendition.ring.segments().nth(1).unwrap();
    let length = broken.seconds(broken.missing);
    assert!(broken.micros() == 2_000_000 && length > 1.0 && length < 1.5, "half of it is missing: {length}");
    broadcast.give_up_rungs_but(&[RUNG.to_owned()], out);
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 9000, 13_000, out);
    assert_eq!(pattern(&broadcast), "m---", "it is waited for again");
}

#[test]
fn pictures_of_another_epoch_are_of_no_use() {
    let (mut broadcast, epoch) = broadcast(5000);
    encode(&mut broadcast, epoch, 0, 5000);
    let out = &mut Vec::new();
    broadcast.end_visit(out);
    broadcast.begin_visit(visit(vec![video(), audio()]), at(5000), out).unwrap();
    encode(&mut broadcast, epoch, 5000, 6000);
    let numbers: Vec<u64> = broadcast.renditions().iter().map(|it| it.ring.next_number()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] == pair[1]), "all end with the visit: {numbers:?}");
    assert_eq!(pattern(&broadcast), "mmm");
}

#[test]
fn the_last_picture_cuts_no_part_short() {
    // The publisher leaves after 36 pictures of a segment, of which the encoder has all but the last.
    let (mut broadcast, epoch) = broadcast(5205);
    encode(&mut broadcast, epoch, 0, 5170);
    let out = &mut Vec::new();
    broadcast.end_visit(out);
    broadcast.begin_visit(visit(vec![video(), audio()]), at(5300), out).unwrap();
    let rendition = broadcast.renditions().iter().find(|it| it.name == RUNG).unwrap();
    let last = rendition.ring.segments().rfind(|segment| !segment.is_gap()).unwrap();
    let lengths: Vec<u32> = last.parts.iter().map(|part| part.duration / 3000).collect();
    assert_eq!(lengths, [7; 5], "pictures in each part");
}

#[test]
fn an_encoder_that_begins_anew_goes_on_in_the_open_segment() {
    let (mut broadcast, epoch) = broadcast(7000);
    assert_eq!(broadcast.rung_resumes_at(RUNG, epoch), None);
    encode(&mut broadcast, epoch, 0, 3000);
    let at_tick = broadcast.rung_resumes_at(RUNG, epoch).unwrap();
    assert!((90_000 * 7 / 2..90_000 * 4).contains(&at_tick), "after the last part: {at_tick}");
    broadcast.begin_rung(RUNG, epoch, video()).unwrap();
    // What it makes of pictures that are there already is left out, and so is what needs them.
    encode(&mut broadcast, epoch, 2000, 3000);
    assert_eq!(broadcast.rung_resumes_at(RUNG, epoch), Some(at_tick));
    let first = (at_tick - 90_000) / 3000;
    let picture = RungPicture { pts: at_tick, keyframe: true, payload: Bytes::from_static(&[3; 20]) };
    broadcast.push_rung((RUNG, epoch), picture, at(first * 1000 / 30), &mut Vec::new());
    encode(&mut broadcast, epoch, (first + 1) * 1000 / 30 + 1, 5000);
    assert_eq!(pattern(&broadcast), "mmo");
    let rendition = broadcast.renditions().iter().find(|it| it.name == RUNG).unwrap();
    let resumed = rendition.ring.segments().nth(1).unwrap();
    assert_eq!(resumed.micros(), 2_000_000, "without a hole");
    assert!(resumed.parts.iter().any(|part| part.independent && part.start == at_tick));
    let sequence = |part: &Part| {
        let mfhd = part.bytes.windows(4).position(|name| name == b"mfhd").expect("a movie fragment header");
        u32::from_be_bytes(part.bytes[mfhd + 8..mfhd + 12].try_into().unwrap())
    };
    assert!(resumed.parts.windows(2).all(|pair| sequence(&pair[0]) < sequence(&pair[1])), "numbers go on");
}
