use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::domain::time::Timestamp;
use crate::media::live::broadcast::{BroadcastSettings, RungPicture};
use crate::media::live::stream::Forgetful;
use crate::media::live::testing::{at, audio, video, visit};
use crate::media::live::timeline::Stamp;
use crate::storage::codec::{self, Versioned};

fn stream() -> Arc<LiveStream> {
    let settings = BroadcastSettings::new(Duration::from_secs(60), 0);
    Arc::new(LiveStream::new(settings, Box::new(Forgetful)))
}

/// Ten pictures a second, a key frame each second, each with a packet of sound, in the visit of this generation.
fn play(stream: &LiveStream, generation: u64, tenths: std::ops::Range<i64>) {
    for tenth in tenths {
        let arrival = Duration::from_millis(tenth as u64 * 100);
        for track in [0, 1] {
            let stamp = Stamp { dts: tenth * 100, composition: 0, keyframe: tenth % 10 == 0 || track == 1, arrival };
            let payload = Bytes::from(vec![tenth as u8; 10]);
            stream.push(generation, (track, stamp), payload, Timestamp::from_millis(tenth * 100)).unwrap();
        }
    }
}

/// What somebody reads who has begun at this place.
fn read(stream: &LiveStream, cursor: &mut Cursor) -> Vec<(u32, usize, Frame)> {
    let read = |tapped: Tapped| (tapped.tracks.epoch, tapped.track, tapped.frame);
    stream.look(|broadcast| broadcast.tap().read(cursor).map(read).collect())
}

fn join(stream: &LiveStream) -> Cursor {
    stream.look(|broadcast| broadcast.tap().join())
}

#[test]
fn readers_at_another_node_read_the_same() {
    let (origin, mirror) = (stream(), stream());
    origin.begin_visit(1, visit(vec![video(), audio()]), at(0)).unwrap();
    play(&origin, 1, 0..15);
    let (mut listener, mut taker) = (FrameListener::new(&origin), FrameTaker::default());
    let (mut here, mut there) = (join(&origin), join(&mirror));
    let mut tell = || listener.hear(&origin).into_iter().for_each(|told| taker.take(told, &mirror));
    let tapped = mirror.tapped();
    tell();
    let begun = read(&origin, &mut here);
    assert!(begun.len() == 10 && tapped.has_changed().unwrap(), "from the newest key frame on");
    assert_eq!(read(&mirror, &mut there), begun);
    for round in 2..6 {
        play(&origin, 1, round * 10 - 5..round * 10 + 5);
        tell();
        assert_eq!(read(&mirror, &mut there), read(&origin, &mut here));
    }
    // Another publisher, with other tracks.
    origin.begin_visit(2, visit(vec![video()]), at(6000)).unwrap();
    let stamp = Stamp { dts: 0, composition: 0, keyframe: true, arrival: Duration::from_secs(7) };
    origin.push(2, (0, stamp), Bytes::from_static(&[9]), at(7000)).unwrap();
    tell();
    let anew = read(&origin, &mut here);
    assert!(anew.iter().any(|(epoch, ..)| *epoch > begun[0].0), "{anew:?}");
    assert_eq!(read(&mirror, &mut there), anew);
}

#[test]
fn what_was_heard_is_not_heard_again_and_what_is_forgotten_is() {
    let (origin, mirror) = (stream(), stream());
    origin.begin_visit(1, visit(vec![video(), audio()]), at(0)).unwrap();
    play(&origin, 1, 0..15);
    let mut taker = FrameTaker::default();
    let mut there = join(&mirror);
    let tell_anew = |taker: &mut FrameTaker| {
        FrameListener::new(&origin).hear(&origin).into_iter().for_each(|told| taker.take(told, &mirror));
    };
    tell_anew(&mut taker);
    assert_eq!(read(&mirror, &mut there).len(), 10);
    // The line to the other node was cut for a moment.
    play(&origin, 1, 15..17);
    tell_anew(&mut taker);
    let (further, skips) = (read(&mirror, &mut there), there.skips());
    assert_eq!((further.len(), skips), (4, 0), "{further:?}");
    taker.forget(&mirror);
    assert!(!mirror.look(|broadcast| broadcast.tap().can_begin()), "nobody begins with what is old");
    tell_anew(&mut taker);
    assert_eq!(read(&mirror, &mut join(&mirror)).len(), 14);
}

#[test]
fn what_is_made_for_viewers_is_told_of_too() {
    let (origin, mirror) = (stream(), stream());
    origin.begin_visit(1, visit(vec![video(), audio()]), at(0)).unwrap();
    let (mut listener, mut taker) = (FrameListener::new(&origin), FrameTaker::default());
    let mut cursor = mirror.realtime().join();
    let mut tell = || listener.hear(&origin).into_iter().for_each(|told| taker.take(told, &mirror));
    let frame = |dts| Frame { dts, pts: dts, duration: 0, keyframe: true, payload: Bytes::from_static(&[1]) };
    origin.realtime().begin_pictures(1, video());
    origin.realtime().begin_sound(1, audio());
    origin.realtime().push_picture(&frame(3000));
    origin.realtime().push_sound(&frame(960));
    origin.begin_rung(("r90", 1), video()).unwrap();
    let picture = |pts| RungPicture { pts, keyframe: true, payload: Bytes::from_static(&[0, 0, 0, 2, 0x65, 1]) };
    origin.push_rung(("r90", 1), picture(9000), at(100));
    tell();
    let heard = mirror.realtime().read(&mut cursor);
    let times: Vec<i64> = heard.frames.iter().map(|tapped| tapped.frame.dts).collect();
    assert!(heard.is_anew && times == [3000, 960], "{heard:?}");
    assert!(heard.rungs.len() == 1 && heard.rungs[0].1.len() == 1, "{heard:?}");
    origin.realtime().end_pictures();
    origin.give_up_rungs_but(&[]);
    tell();
    let over = mirror.realtime().read(&mut cursor);
    assert!(over.is_anew && over.frames.is_empty() && over.rungs.is_empty(), "{over:?}");
    taker.take(ToldFrame::Frame { lane: FrameLane::Rung("r1".into()), track: 9, frame: frame(1) }, &mirror);
    taker.take(ToldFrame::Frame { lane: FrameLane::Source, track: 9, frame: frame(1) }, &mirror);
    taker.take(ToldFrame::Tracks { lane: FrameLane::Sound, epoch: 1, configs: Vec::new() }, &mirror);
    assert!(mirror.realtime().read(&mut cursor).frames.is_empty(), "nonsense changes nothing");
}

/// As relays send it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Line(ToldFrame);

impl Versioned for Line {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 << 20;
}

/// Something of each kind as version 3 of the protocol between nodes has it. Lines are added and never changed.
const FORMS: &str = include_str!("forms.txt");

#[test]
fn what_is_told_has_the_form_that_it_came_with() {
    let frame = Frame { dts: -1, pts: 300, duration: 3000, keyframe: true, payload: Bytes::from_static(&[1, 2]) };
    let tracks = |lane| ToldFrame::Tracks { lane, epoch: 2, configs: vec![video(), audio()] };
    let told = [
        tracks(FrameLane::Source),
        tracks(FrameLane::Pictures),
        tracks(FrameLane::Sound),
        tracks(FrameLane::Rung("r480".into())),
        ToldFrame::Frame { lane: FrameLane::Source, track: 1, frame },
        ToldFrame::Anew,
        ToldFrame::Rungs(vec!["r480".into()]),
    ];
    let hex = |told: &ToldFrame| -> String {
        let bytes = codec::encode(&Line(told.clone())).unwrap();
        assert_eq!(codec::decode::<Line>(&bytes).unwrap(), Line(told.clone()));
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let forms: Vec<String> = told.iter().map(hex).collect();
    assert_eq!(forms, FORMS.lines().collect::<Vec<_>>(), "a release in use does not understand what has changed");
}
