use bytes::Bytes;

use super::*;
use crate::domain::asset::Ticks;
use crate::domain::time::Timestamp;
use crate::media::live::part::Part;
use crate::media::live::ring::Beginning;
use crate::media::records::SampleRecord;

const FIRST: SampleRecord = SampleRecord { offset: 0, bytes: 4, dts: 0, duration: 500, composition: 0, keyframe: true };

fn part(independent: bool) -> Part {
    Part { bytes: Bytes::from_static(b"part"), start: 0, duration: 500, independent, first: FIRST }
}

fn beginning(number: u64, epoch: u32) -> Beginning {
    Beginning {
        number,
        start: Ticks { value: 0, timescale: 1000 },
        date: Timestamp::from_millis(number as i64 * 2000),
        epoch,
        independent: true,
    }
}

/// Two-second segments of four parts, the last one with `open` of them.
fn ring(segments: u64, open: usize) -> Ring {
    let mut ring = Ring::new(Duration::from_secs(60), 0);
    for number in 0..segments {
        ring.begin(beginning(number, 0));
        let parts = if number + 1 == segments { open } else { 4 };
        (0..parts).for_each(|index| ring.push(part(index == 0)));
    }
    ring
}

fn playlist(ring: &Ring) -> LivePlaylist<'_> {
    LivePlaylist {
        ring,
        target_secs: 2,
        part_target: PartTarget::for_frame_rate(None),
        hold_back_parts: 3,
        cues: &[],
        low_latency: true,
        others: &[],
    }
}

#[test]
fn a_small_playlist_in_full() {
    let ring = ring(2, 1);
    let sound = self::ring(2, 3);
    let text = render_live(&LivePlaylist { others: &[("a0-1", &sound)], ..playlist(&ring) }, false);
    let expected = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,HOLD-BACK=6.0,PART-HOLD-BACK=0.750\n\
        #EXT-X-PART-INF:PART-TARGET=0.250\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-MAP:URI=\"init-0.mp4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:00.000Z\n\
        #EXT-X-PART:DURATION=0.50000,URI=\"0-0.0.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.50000,URI=\"0-0.1.m4s\"\n\
        #EXT-X-PART:DURATION=0.50000,URI=\"0-0.2.m4s\"\n#EXT-X-PART:DURATION=0.50000,URI=\"0-0.3.m4s\"\n\
        #EXTINF:2.00000,\n0-0.m4s\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:02.000Z\n\
        #EXT-X-PART:DURATION=0.50000,URI=\"0-1.0.m4s\",INDEPENDENT=YES\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"0-1.1.m4s\"\n\
        #EXT-X-RENDITION-REPORT:URI=\"../a0-1/media.m3u8\",LAST-MSN=1,LAST-PART=2\n";
    assert_eq!(text, expected);
}

#[test]
fn a_rendition_that_has_only_gaps_goes_on_and_is_reported() {
    let mut gaps = ring(2, 4);
    (2..4).for_each(|number| gaps.gap(beginning(number, 1), 2000));
    let text = render_live(&playlist(&gaps), false);
    assert_eq!(text.matches("#EXT-X-MAP").count(), 1, "what has no media needs no initialisation segment: {text}");
    assert!(text.contains("#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:04"), "{text}");
    let report = |of: &Ring| {
        let text = render_live(&LivePlaylist { others: &[("r90", of)], ..playlist(of) }, false);
        text.lines().last().expect("a report").to_owned()
    };
    assert_eq!(report(&gaps), "#EXT-X-RENDITION-REPORT:URI=\"../r90/media.m3u8\",LAST-MSN=1,LAST-PART=3");
    (4..6).for_each(|number| gaps.gap(beginning(number, 1), 2000));
    assert_eq!(report(&gaps), "#EXT-X-RENDITION-REPORT:URI=\"../r90/media.m3u8\",LAST-MSN=5");
    gaps.begin(beginning(6, 1));
    gaps.push(part(true));
    assert!(render_live(&playlist(&gaps), false).contains("#EXT-X-MAP:URI=\"init-1.mp4\"\n#EXT-X-PROGRAM-DATE"));
}

#[test]
fn what_is_missing_of_a_segment_that_was_broken_off_is_listed() {
    let mut broken = ring(2, 3);
    broken.break_off(500);
    let text = render_live(&playlist(&broken), false);
    let end = "#EXT-X-PART:DURATION=0.25000,URI=\"0-1.3.m4s\",GAP=YES\n\
        #EXT-X-PART:DURATION=0.25000,URI=\"0-1.4.m4s\",GAP=YES\n#EXT-X-GAP\n#EXTINF:2.00000,\n0-1.m4s\n";
    assert!(text.contains(end), "{text}");
}

#[test]
fn old_segments_lose_their_parts_and_are_skipped_in_deltas() {
    let ring = ring(20, 2);
    let full = render_live(&playlist(&ring), false);
    let parts = full.lines().filter(|line| line.starts_with("#EXT-X-PART:")).count();
    assert_eq!(parts, 3 * 4 + 2, "of what ends within the last six seconds");
    let delta = render_live(&playlist(&ring), true);
    assert!(delta.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=12\n#EXT-X-PROGRAM-DATE-TIME"), "{delta}");
    let rest = |text: &str, from: &str| text[text.find(from).unwrap()..].to_owned();
    let first_kept = format!("#EXT-X-PROGRAM-DATE-TIME:{}", Timestamp::from_millis(24_000));
    assert_eq!(rest(&delta, &first_kept), rest(&full, &first_kept), "but for what is skipped they are equal");
    assert!(!render_live(&playlist(&self::ring(4, 1)), true).contains("SKIP:"), "nothing to skip");
}

#[test]
fn cues_are_in_every_answer() {
    let cue = Cue {
        id: "1-1".into(),
        class: None,
        start_micros: 0,
        date: Timestamp::from_millis(0),
        length: None,
        splice: None,
        values: Vec::new(),
    };
    let ring = ring(20, 2);
    let playlist = LivePlaylist { cues: &[cue], ..playlist(&ring) };
    let (full, delta) = (render_live(&playlist, false), render_live(&playlist, true));
    for text in [&full, &delta] {
        assert!(text.contains("\n#EXT-X-DATERANGE:ID=\"1-1\",START-DATE=\"1970-01-01T00:00:00.000Z\"\n"), "{text}");
    }
    assert!(delta.contains("#EXT-X-SKIP") && !delta.contains("DATERANGES"), "they are not offered to be skipped");
}

#[test]
fn without_low_latency_there_are_whole_segments_only() {
    let ring = ring(5, 2);
    let text = render_live(&LivePlaylist { low_latency: false, ..playlist(&ring) }, false);
    assert!(!text.contains("PART") && !text.contains("HINT") && !text.contains("REPORT"), "{text}");
    assert!(text.contains(",HOLD-BACK=6.0\n#EXT-X-MEDIA-SEQUENCE:0\n"), "{text}");
    assert_eq!(text.matches("#EXTINF").count(), 4);
    assert!(text.ends_with("0-3.m4s\n"), "{text}");
}

#[test]
fn epochs_gaps_and_the_end() {
    let mut ring = ring(1, 4);
    ring.gap(beginning(1, 0), 2000);
    ring.begin(beginning(2, 1));
    ring.push(part(true));
    let text = render_live(&playlist(&ring), false);
    let lines = ["#EXT-X-GAP\n#EXTINF:2.00000,\n0-1.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-1.mp4\"\n"];
    assert!(lines.iter().all(|line| text.contains(line)), "{text}");
    ring.end();
    let text = render_live(&playlist(&ring), true);
    assert!(text.ends_with("1-2.m4s\n#EXT-X-ENDLIST\n"), "{text}");
    assert!(["PART", "SERVER-CONTROL", "PRELOAD", "SKIP"].iter().all(|tag| !text.contains(tag)), "{text}");
}

#[test]
fn the_hint_foresees_the_end_of_a_segment() {
    let hint = |ring: &Ring| next_part(ring).unwrap().1;
    assert_eq!(hint(&ring(3, 3)), Position { segment: 2, part: 3 });
    assert_eq!(hint(&ring(3, 4)), Position { segment: 3, part: 0 });
    assert_eq!(hint(&ring(1, 4)), Position { segment: 0, part: 4 }, "nothing to compare with");
    assert_eq!(hint(&ring(3, 0)), Position { segment: 2, part: 0 });
}

#[test]
fn directives_are_checked() {
    let parse = ReloadRequest::parse;
    assert_eq!(
        parse("a=b&_HLS_msn=7&_HLS_part=2&_HLS_skip=YES&session=x").unwrap(),
        ReloadRequest { segment: Some(7), part: Some(2), skip: true }
    );
    assert_eq!(parse("").unwrap(), ReloadRequest::default());
    assert_eq!(parse("_HLS_part=2"), Err(BadDirective::PartWithoutSegment));
    for query in
        ["_HLS_msn=", "_HLS_msn=+1", "_HLS_msn=1e3", "_HLS_msn=99999999999999999999", "_HLS_msn=1&_HLS_part=-1"]
    {
        assert!(matches!(parse(query), Err(BadDirective::NotANumber(_))), "{query}");
    }
    let ring = ring(5, 2);
    let answerable = |query: &str| parse(query).unwrap().is_answerable(&ring, PartTarget::for_frame_rate(None));
    for (query, answer) in [
        ("", Ok(true)),
        ("_HLS_msn=4&_HLS_part=1", Ok(true)),
        ("_HLS_msn=3", Ok(true)),
        ("_HLS_msn=4", Ok(false)),
        ("_HLS_msn=4&_HLS_part=2", Ok(false)),
        ("_HLS_msn=6", Ok(false)),
        ("_HLS_msn=7", Err(BadDirective::TooFarAhead)),
    ] {
        assert_eq!(answerable(query), answer, "{query}");
    }
}
