use super::*;
use crate::media::testing::avcc;

fn message(medium: Medium, timestamp_ms: u32, payload: Vec<u8>) -> MediaMessage {
    MediaMessage { medium, timestamp_ms, payload: payload.into() }
}

/// A legacy AVC tag: configuration (0) or a frame (1).
fn video(at: u32, packet_type: u8, key: bool, body: &[u8]) -> MediaMessage {
    let head = [if key { 0x17 } else { 0x27 }, packet_type, 0, 0, 80];
    message(Medium::Video, at, [&head, body].concat())
}

fn audio(at: u32, packet_type: u8, body: &[u8]) -> MediaMessage {
    message(Medium::Audio, at, [&[0xaf, packet_type], body].concat())
}

/// A picture of one slice of this kind: 5 is IDR, 1 is not.
fn slice(kind: u8) -> Vec<u8> {
    vec![0, 0, 0, 3, 0x60 | kind, 0x88, 0x80]
}

const AAC: &[u8] = &[0x11, 0x90];

fn feed(ingest: &mut RtmpIngest, message: MediaMessage) -> Vec<Fed> {
    let mut out = Vec::new();
    let arrival = Duration::from_millis(u64::from(message.timestamp_ms));
    ingest.take(message, arrival, &mut out);
    out
}

fn kinds(fed: &[Fed]) -> String {
    let kind = |fed: &Fed| match fed {
        Fed::Visit(visit) => format!(
            "[{}]",
            visit
                .tracks
                .iter()
                .map(|track| if track.kind() == TrackKind::Video { 'v' } else { 'a' })
                .collect::<String>()
        ),
        Fed::Frame { track, stamp, .. } => format!("{track}{}", if stamp.keyframe { "k" } else { "-" }),
        Fed::Cue(cue) => format!("cue@{}", cue.time),
    };
    fed.iter().map(kind).collect::<Vec<_>>().join(" ")
}

#[test]
fn tracks_are_announced_once_all_have_told_their_configuration() {
    let mut ingest = RtmpIngest::default();
    assert!(feed(&mut ingest, video(0, 0, true, &avcc())).is_empty());
    assert!(feed(&mut ingest, video(0, 1, true, &slice(5))).is_empty(), "held until the sound is known");
    assert!(feed(&mut ingest, audio(0, 0, AAC)).is_empty());
    assert_eq!(kinds(&feed(&mut ingest, audio(5, 1, &[1, 2, 3]))), "[va] 0k 1k");
    assert_eq!(kinds(&feed(&mut ingest, video(33, 1, false, &slice(1)))), "0-");
    assert_eq!(kinds(&feed(&mut ingest, video(66, 1, true, &slice(1)))), "0-", "no IDR picture is no key frame");
    let Fed::Frame { stamp, .. } = feed(&mut ingest, video(99, 1, true, &slice(5))).remove(0) else {
        panic!("a frame")
    };
    assert_eq!((stamp.dts, stamp.composition, stamp.keyframe), (99, 80, true));
    assert_eq!(ingest.unusable(), Unusable::default());
}

#[test]
fn one_kind_alone_is_announced_after_a_moment() {
    let mut ingest = RtmpIngest::default();
    feed(&mut ingest, audio(0, 0, AAC));
    let mut all = Vec::new();
    for at in (0..1500).step_by(21) {
        all.extend(feed(&mut ingest, audio(at, 1, &[9])));
    }
    let shown = kinds(&all);
    assert!(shown.starts_with("[a] 0k 0k"), "{shown}");
    assert_eq!(shown.matches("0k").count(), 72, "what was held is not lost");
}

#[test]
fn a_new_configuration_is_a_new_visit_and_the_same_one_is_not() {
    let mut ingest = RtmpIngest::default();
    feed(&mut ingest, audio(0, 0, AAC));
    feed(&mut ingest, video(0, 0, true, &avcc()));
    assert_eq!(kinds(&feed(&mut ingest, video(0, 1, true, &slice(5)))), "[va] 0k");
    feed(&mut ingest, video(20, 0, true, &avcc()));
    assert_eq!(kinds(&feed(&mut ingest, video(40, 1, false, &slice(1)))), "0-");
    feed(&mut ingest, audio(50, 0, &[0x12, 0x10]));
    assert_eq!(kinds(&feed(&mut ingest, video(60, 1, true, &slice(5)))), "[va] 0k");
}

#[test]
fn what_cannot_be_used_is_counted() {
    let mut ingest = RtmpIngest::default();
    feed(&mut ingest, video(0, 1, true, &slice(5)));
    feed(&mut ingest, message(Medium::Audio, 0, vec![0x2f, 1, 2, 3]));
    feed(&mut ingest, video(0, 0, true, &[1, 2]));
    feed(&mut ingest, message(Medium::Video, 0, vec![0x17]));
    feed(&mut ingest, message(Medium::Data, 0, vec![0xff]));
    assert_eq!(ingest.unusable(), Unusable { damaged: 2, codec: 1, unconfigured: 1 });
    assert!(ingest.unknown_codec().is_some());
}
