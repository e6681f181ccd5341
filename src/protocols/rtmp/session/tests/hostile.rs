use std::time::Duration;

use super::super::super::wire::amf::AmfError;
use super::super::super::wire::chunk::ChunkError;
use super::super::super::wire::handshake::HandshakeError;
use super::super::super::wire::message::MessageError;
use super::*;

#[test]
fn each_step_has_its_time_however_the_bytes_drip() {
    let timeouts = Timeouts::default();
    let start = Instant::now();
    let mut session = ServerSession::new(ServerConfig::default(), 1, start);
    assert_eq!(session.deadline(), Some(start + timeouts.handshake));
    let mut input = BytesMut::from(&[3][..]);
    for second in 0..timeouts.handshake.as_secs() {
        input.extend_from_slice(&[0]);
        assert_eq!(session.next(&mut input, start + Duration::from_secs(second)), Ok(None));
    }
    let late = start + timeouts.handshake;
    assert_eq!(session.next(&mut input, late), Err(SessionError::TimedOut(Phase::Handshake)));

    let (mut raw, mut session, now) = Raw::shaken();
    assert_eq!(session.deadline(), Some(now + timeouts.connect));
    raw.call(0, "createStream", 1.0, &[]);
    assert_eq!(raw.say(&mut session, now), Ok(vec![]), "without an application nothing is answered");
    assert!(session.output().is_empty());
    assert_eq!(raw.say(&mut session, now + timeouts.connect), Err(SessionError::TimedOut(Phase::Connect)));

    let (mut raw, mut session, now) = Raw::connected();
    raw.call(0, "createStream", 1.0, &[]);
    raw.say(&mut session, now).unwrap();
    assert_eq!(session.deadline(), Some(now + timeouts.request));
    raw.call(1, "publish", 2.0, &[Amf::text("key")]);
    raw.say(&mut session, now).unwrap();
    assert_eq!(session.deadline(), None, "now it is the caller's turn");
    session.accept().unwrap();
    raw.call(0, "deleteStream", 3.0, &[Amf::Number(1.0)]);
    let later = now + Duration::from_secs(3600);
    assert_eq!(raw.say(&mut session, later), Ok(vec![ServerEvent::Ended]));
    assert_eq!(raw.say(&mut session, later + timeouts.request), Err(SessionError::TimedOut(Phase::Request)));
}

#[test]
fn garbage_and_other_protocols_end_at_once() {
    for (bytes, error) in [
        (&b"\x16\x03\x01\x02\x00"[..], SessionError::Handshake(HandshakeError::Tls)),
        (b"GET / HTTP/1.1\r\n", SessionError::Handshake(HandshakeError::Http)),
        (b"\xff\xff\xff", SessionError::Handshake(HandshakeError::Version(0xff))),
    ] {
        let now = Instant::now();
        let mut session = ServerSession::new(ServerConfig::default(), 1, now);
        assert_eq!(session.next(&mut BytesMut::from(bytes), now), Err(error));
    }
}

#[test]
fn oversized_and_broken_messages_end_the_session() {
    let long = [0x06, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0];
    let (_, mut session, now) = Raw::connected();
    let error = ChunkError::MessageTooLong { bytes: 0xff_ffff, max: 8 << 20 };
    assert_eq!(session.next(&mut BytesMut::from(&long[..]), now), Err(SessionError::Chunk(error)));

    let (mut raw, mut session, now) = Raw::connected();
    raw.message(1, 0, &[0; 4]);
    assert_eq!(raw.say(&mut session, now), Err(SessionError::Chunk(ChunkError::ChunkSize(0))));

    let (mut raw, mut session, now) = Raw::connected();
    let mut deep = BytesMut::new();
    amf0::write(&Amf::text("publish"), &mut deep);
    amf0::write(&Amf::Number(1.0), &mut deep);
    for _ in 0..1000 {
        deep.extend_from_slice(&[3, 0, 1, b'a']);
    }
    raw.message(20, 1, &deep);
    assert_eq!(raw.say(&mut session, now), Err(SessionError::Message(MessageError::Amf(AmfError::TooDeep))));
}

#[test]
fn a_peer_that_asks_and_does_not_read_is_cut_off() {
    let (mut raw, mut session, now) = Raw::connected();
    let mut asked = 0;
    let error = loop {
        raw.message(4, 0, &[0, 6, 0, 0, 0, 1]);
        if let Err(error) = raw.say(&mut session, now) {
            break error;
        }
        asked += 1;
        assert!(asked < 100_000, "answers pile up");
    };
    assert!(matches!(error, SessionError::OutputFull(bytes) if bytes < 300 << 10), "{error:?}");
}

#[test]
fn a_command_may_lack_everything() {
    for name in ["publish", "play", "deleteStream", "closeStream", "FCPublish", "connect", "", "\u{1f600}"] {
        let (mut raw, mut session, now) = Raw::connected();
        let mut payload = BytesMut::new();
        amf0::write(&Amf::text(name), &mut payload);
        raw.message(20, 1, &payload);
        let events = raw.say(&mut session, now).unwrap();
        if let [ServerEvent::PublishRequested(request)] = &events[..] {
            assert_eq!(request.target.key(), Some("live"), "an application is all there is");
        }
    }
}

#[test]
fn a_client_gives_up_in_time_and_on_errors() {
    let mut pair = Pair::publish("rtmp://host/live/key");
    pair.run();
    let late = pair.now + Timeouts::default().connect;
    let error = pair.client.next(&mut BytesMut::new(), late);
    assert_eq!(error, Err(SessionError::TimedOut(Phase::Connect)), "the server does not decide");
}
