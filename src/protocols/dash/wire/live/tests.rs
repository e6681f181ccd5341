use super::*;
use crate::media::live::broadcast::{Broadcast, BroadcastSettings};
use crate::media::live::listing;
use crate::media::live::testing::{Publisher, at, audio, video, visit};

fn broadcast() -> Broadcast {
    let mut broadcast = Broadcast::new(BroadcastSettings::new(Duration::from_secs(60), 1));
    broadcast.begin_visit(visit(vec![video(), audio()]), at(0), &mut Vec::new()).unwrap();
    broadcast
}

fn description(broadcast: &Broadcast) -> String {
    let periods = listing::periods(broadcast).unwrap();
    let live = LivePresentation {
        periods: &periods,
        anchor: broadcast.anchor().unwrap(),
        published: at(100_000),
        window: broadcast.window(),
        target_secs: broadcast.target_secs().unwrap(),
        part_target: broadcast.part_target().unwrap(),
        has_ended: broadcast.has_ended(),
        cues: &[],
        low_latency: true,
    };
    render_live_mpd(&live, View::default())
}

/// Values of an attribute, in order.
fn values<'a>(mpd: &'a str, name: &str) -> Vec<&'a str> {
    let pattern = format!(" {name}=\"");
    mpd.split(&pattern).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn segments_that_are_alike_are_told_in_advance() {
    let mut broadcast = broadcast();
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 0, 7000, &mut Vec::new());
    let mpd = description(&broadcast);
    assert_eq!(values(&mpd, "type")[0], "dynamic");
    assert_eq!(values(&mpd, "availabilityStartTime"), ["1970-01-01T00:00:00.000Z"]);
    assert_eq!(values(&mpd, "timeShiftBufferDepth"), ["PT60.000000S"]);
    assert_eq!(values(&mpd, "startNumber"), ["16777216", "16777216"]);
    assert!(mpd.contains("timescale=\"1000000\" duration=\"2000000\" presentationTimeOffset=\"1000000\""), "{mpd}");
    let offsets = values(&mpd, "availabilityTimeOffset");
    let offset: f64 = offsets[0].parse().unwrap();
    assert!((1.6..1.8).contains(&offset), "a segment can be had once its first part is there: {offset}");
    assert!(mpd.contains("http://www.dashif.org/guidelines/low-latency-live-v5"));
    assert!(mpd.contains("$RepresentationID$/init-4096.mp4"), "{mpd}");
    assert!(!mpd.contains("SegmentTimeline"));
}

#[test]
fn a_visit_is_a_period_and_the_end_makes_it_static() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    Publisher { base: 0, with_sound: true }.publish(&mut broadcast, 0, 6000, out);
    broadcast.end_visit(out);
    (6000..11_000).step_by(100).for_each(|ms| broadcast.tick(at(ms), out));
    let away = description(&broadcast);
    assert_eq!((values(&away, "start"), values(&away, "type")[0]), (vec!["PT0S"], "dynamic"), "{away}");
    broadcast.begin_visit(visit(vec![video(), audio()]), at(11_000), out).unwrap();
    Publisher { base: -11_000, with_sound: true }.publish(&mut broadcast, 11_000, 16_000, out);
    let back = description(&broadcast);
    let starts = values(&back, "start");
    assert!(starts.len() == 2 && starts[1].starts_with("PT11.0"), "{starts:?}");
    let whole = format!("start=\"PT0S\" duration=\"{}\"", starts[1]);
    assert!(back.contains(&whole), "there is no hole between them: {back}");
    assert!(back.contains("init-4096.mp4") && back.contains("init-4097.mp4"));
    broadcast.end(out);
    let ended = description(&broadcast);
    assert_eq!(values(&ended, "type")[0], "static");
    assert!(ended.contains("mediaPresentationDuration=\"PT16.") && !ended.contains("minimumUpdatePeriod"), "{ended}");
}

#[test]
fn other_segments_are_listed_when_they_are_whole() {
    let mut broadcast = broadcast();
    let out = &mut Vec::new();
    let publisher = Publisher { base: 0, with_sound: true };
    publisher.publish(&mut broadcast, 0, 4000, out);
    // Each starts with a key frame.
    publisher.publish(&mut broadcast, 4000, 5000, out);
    publisher.publish(&mut broadcast, 5000, 6500, out);
    publisher.publish(&mut broadcast, 6500, 9000, out);
    // The first segment that is out of step is the one of 1.5 seconds from 5.0 on.
    let mpd = description(&broadcast);
    let timeline: Vec<&str> = mpd.lines().filter(|line| line.trim_start().starts_with("<S ")).collect();
    assert_eq!(values(&mpd, "start"), ["PT0S", "PT5.000000S"], "{mpd}");
    assert!(mpd.contains("SegmentTimeline") && timeline[0].contains("d=\"135000\""), "{timeline:?}");
    assert!(!mpd.contains("low-latency-live"));
}
