//! What nodes send one another, read and taken: one that has gone mad must not take the others with it.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chitchat::{ChitchatMessage, Deserializable};
use futures::FutureExt;
use playhouse::actors::live_relay::speech::{Piece, REQUEST_BYTES_MAX, Request, Said};
use playhouse::actors::peer_frames;
use playhouse::actors::remote::{Answer, Question};
use playhouse::cluster::wire::{self, Hello};
use playhouse::domain::cluster::NodeName;
use playhouse::domain::playback::machine::{PlaybackInput, PlaybackMachine};
use playhouse::domain::time::Timestamp;
use playhouse::media::live::broadcast::{Broadcast, BroadcastSettings, Listener};
use playhouse::media::live::frame_relay::{FrameListener, FrameTaker, ToldFrame};
use playhouse::media::live::listing;
use playhouse::media::live::stream::{Forgetful, LiveStream};
use playhouse::storage::codec;

use super::targets::Target;

/// Each kind of what is sent, as releases in use send it.
const QUESTIONS: &str = include_str!("../../src/actors/remote/forms.txt");
const TOLD: &str = include_str!("../../src/media/live/broadcast/mirror/forms.txt");
const FRAMES: &str = include_str!("../../src/media/live/frame_relay/forms.txt");

/// Frames of everything that is sent are at most so long.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

pub(crate) fn targets() -> Vec<Target> {
    let questions = QUESTIONS.lines().filter_map(|line| line.split_once(' ')).map(|(_, hex)| parse(hex)).collect();
    vec![
        Target { name: "greetings of nodes", samples: greetings(), read: read_greeting },
        Target { name: "messages of nodes", samples: messages(), read: read_message },
        Target { name: "questions of nodes", samples: questions, read: read_question },
        Target { name: "requests of relays", samples: requests(), read: read_request },
        Target { name: "what relays are told", samples: with_all(pieces()), read: read_pieces },
        Target { name: "frames that are told", samples: with_all(frames()), read: read_frames },
        Target { name: "what relays say", samples: said(), read: |input| codec::decode::<Said>(input).is_ok() },
        Target {
            name: "gossip",
            samples: gossip(),
            read: |mut input| ChitchatMessage::deserialize(&mut input).is_ok(),
        },
    ]
}

fn parse(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn greetings() -> Vec<Vec<u8>> {
    let hello = r#"{"life":{"node":"one","epoch":7},"address":"192.0.2.1:4700","oldest":1,"newest":3,"program":"0.1.0","work":8}"#;
    [hello.to_owned(), format!(r#"{{"welcome":{hello}}}"#), r#"{"refused":"too old"}"#.to_owned()]
        .map(String::into_bytes)
        .to_vec()
}

fn read_greeting(input: &[u8]) -> bool {
    let hello = wire::parse::<Hello>(input).map(|hello| hello.common(&wire::VERSIONS));
    hello.is_ok() | wire::parse::<wire::Answer>(input).is_ok()
}

/// A length, and so many bytes.
fn messages() -> Vec<Vec<u8>> {
    [0, 5, 300].map(|length: u32| [&length.to_be_bytes()[..], &vec![7; length as usize]].concat()).to_vec()
}

fn read_message(mut input: &[u8]) -> bool {
    let read = peer_frames::read(&mut input, MESSAGE_BYTES_MAX).now_or_never();
    read.is_some_and(|read| read.is_ok())
}

fn read_question(input: &[u8]) -> bool {
    let question: Result<Question, _> = codec::decode(input);
    let answer: Result<Answer, _> = codec::decode(input);
    let is_known = question.is_ok() | answer.is_ok();
    match question {
        Ok(Question::KeepSession(machine)) => go_on(*machine),
        Ok(question) => drop(question.since()),
        Err(_) => {}
    }
    if let Ok(Answer::Session(Some(machine))) = answer {
        go_on(*machine);
    }
    is_known
}

/// A session of another node is taken over, with the beacons of its viewer.
fn go_on(mut machine: PlaybackMachine) {
    let Ok(Question::Heartbeat { beat, .. }) =
        codec::decode(&parse(&QUESTIONS[2..QUESTIONS.find('\n').expect("a line")]))
    else {
        panic!("no beacon")
    };
    let now = Timestamp::from_millis(1_790_000_000_000);
    machine.step(PlaybackInput::Heartbeat(beat), now);
    machine.step(PlaybackInput::Fetched { media_ms: 4000 }, now);
    machine.step(PlaybackInput::IdleChecked, now);
    machine.step(PlaybackInput::Closed, now);
}

fn requests() -> Vec<Vec<u8>> {
    ["", " here", " frames"].map(|word| format!("plb_{}{word}", "2".repeat(22)).into_bytes()).to_vec()
}

fn read_request(input: &[u8]) -> bool {
    let request = Request::parse(input);
    request.as_ref().inspect(|request| assert!(request.text().len() <= REQUEST_BYTES_MAX)).is_some()
}

/// Pieces: what is told of broadcasts is the first kind of them.
fn pieces() -> Vec<Vec<u8>> {
    let node = |name: &str| name.parse::<NodeName>().expect("a name");
    let told = TOLD.lines().map(|line| [&[1, 0], &parse(line)[1..]].concat());
    let others = [
        Piece::Picture { body: Bytes::from_static(b"\xff\xd8"), segment: 3 },
        Piece::Ask(node("one")),
        Piece::Path(vec![node("one"), node("two")]),
    ];
    told.chain(others.iter().map(|piece| codec::encode(piece).expect("a form"))).collect()
}

fn frames() -> Vec<Vec<u8>> {
    FRAMES.lines().map(parse).collect()
}

/// Each by itself, and all in a row.
fn with_all(messages: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let framed =
        |message: &Vec<u8>| [&u16::try_from(message.len()).expect("short").to_be_bytes()[..], message].concat();
    let framed: Vec<Vec<u8>> = messages.iter().map(framed).collect();
    // Most changes are to hit what comes in its turn.
    let all = framed.concat();
    framed.into_iter().chain([all.clone(), all.clone(), all]).collect()
}

fn messages_of(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first_chunk()?;
        let (message, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        input = rest;
        Some(message)
    })
}

fn stream() -> Arc<LiveStream> {
    let settings = BroadcastSettings::new(Duration::from_secs(60), 0);
    Arc::new(LiveStream::new(settings, Box::new(Forgetful)))
}

/// Looks at a broadcast as viewers do, and those who are told of it from here.
fn look_at(stream: &LiveStream) {
    stream.look(|broadcast: &Broadcast| {
        let _ = (listing::tracks(broadcast), listing::periods(broadcast));
        for rendition in broadcast.renditions() {
            let _ = (rendition.ring.last_part(), rendition.ring.kept_micros());
            let _: Vec<_> = rendition.ring.segments().map(|segment| segment.following()).collect();
        }
    });
    let told = stream.tell(&mut Listener::default());
    let forms = told.into_iter().map(|told| codec::encode(&Piece::Told(told)).expect("a form"));
    let another = LiveStream::new(BroadcastSettings::new(Duration::from_secs(60), 0), Box::new(Forgetful));
    for form in forms {
        let Ok(Piece::Told(told)) = codec::decode(&form) else { panic!("what is told on is not understood") };
        another.take_told(vec![told]).expect("what was taken can be told on");
    }
}

fn read_pieces(input: &[u8]) -> bool {
    let stream = stream();
    let mut is_known = false;
    for piece in messages_of(input).map_while(|message| codec::decode::<Piece>(message).ok()) {
        is_known = true;
        if let Piece::Told(told) = piece {
            let _ = stream.take_told(vec![told]);
            look_at(&stream);
        }
    }
    is_known
}

fn read_frames(input: &[u8]) -> bool {
    let (stream, mut taker) = (stream(), FrameTaker::default());
    let mut listener = FrameListener::new(&stream);
    let mut is_known = false;
    for told in messages_of(input).map_while(|message| codec::decode::<ToldFrame>(message).ok()) {
        is_known = true;
        // Some come twice when a stream moves.
        taker.take(told.clone(), &stream);
        taker.take(told, &stream);
        for told in listener.hear(&stream) {
            codec::encode(&told).expect("a form");
        }
    }
    taker.forget(&stream);
    is_known
}

fn said() -> Vec<Vec<u8>> {
    let said = [Said::Needs { viewers: 3, pictures: true, sound: false, keys: 300 }, Said::Watched(vec![7, u64::MAX])];
    said.iter().map(|said| codec::encode(said).expect("a form")).collect()
}

/// Somebody else's messages: a digest, and a node with a key.
fn gossip() -> Vec<Vec<u8>> {
    let text = |text: &str| [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
    let number = |number: u64| number.to_le_bytes().to_vec();
    let node = [text("one"), number(7), vec![4, 192, 0, 2, 1, 0x5c, 0x12]].concat();
    let digest = [vec![1, 0], node.clone(), number(5), number(0), number(9)].concat();
    let operations = [
        [vec![0], node, number(0), number(0)].concat(),
        [vec![1], text("state"), text("up"), number(9), vec![0]].concat(),
    ]
    .concat();
    let delta = [&[2][..], &(operations.len() as u16).to_le_bytes(), &operations, &[0]].concat();
    let head = |kind: u8| vec![0x53, 0xb0, 0, kind];
    vec![
        [head(0), digest.clone(), text("a cluster")].concat(),
        [head(1), digest, delta.clone()].concat(),
        [head(2), delta].concat(),
        head(3),
    ]
}
