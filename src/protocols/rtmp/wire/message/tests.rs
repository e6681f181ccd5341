use super::super::chunk::MessageHeader;
use super::*;

fn raw(kind: u8, payload: &[u8]) -> RawMessage {
    let header = MessageHeader { timestamp_ms: 1000, kind, stream: 1 };
    RawMessage { header, payload: Bytes::copy_from_slice(payload) }
}

fn read(kind: u8, payload: &[u8]) -> Result<Message, MessageError> {
    Message::read(raw(kind, payload), &AmfLimits::default())
}

#[test]
fn control_messages_are_read_as_they_were_written() {
    for message in [
        Message::SetChunkSize(4096),
        Message::Abort(5),
        Message::Acknowledgement(u32::MAX),
        Message::WindowSize(2_500_000),
        Message::PeerBandwidth(2_500_000, 2),
        Message::UserControl(UserControl::StreamBegin(1)),
        Message::UserControl(UserControl::StreamEnd(1)),
        Message::UserControl(UserControl::BufferLength { stream: 1, millis: 3000 }),
        Message::UserControl(UserControl::Ping(7)),
        Message::UserControl(UserControl::Pong(7)),
        Message::UserControl(UserControl::Other(31)),
        Message::Command(Command::new("publish", 5.0, Amf::Null).with(Amf::text("key")).with(Amf::text("live"))),
    ] {
        let (kind, payload) = message.control().unwrap();
        assert_eq!(read(kind, &payload), Ok(message));
    }
}

#[test]
fn control_messages_cut_short_are_errors() {
    for kind in [1, 2, 3, 5, 6] {
        assert_eq!(read(kind, &[0; 3]), Err(MessageError::CutShort(kind)));
    }
    assert_eq!(read(4, &[0, 6, 0]), Err(MessageError::CutShort(4)));
    assert_eq!(read(20, &[]), Err(MessageError::NoName));
    assert_eq!(read(20, &[5]), Err(MessageError::NoName));
    assert_eq!(read(20, &[2, 0, 9]), Err(MessageError::Amf(AmfError::CutShort)));
}

#[test]
fn amf3_messages_with_and_without_their_format_byte() {
    let command = Command::new("createStream", 4.0, Amf::Null);
    let plain = command.write();
    let prefixed = [&[0], &plain[..]].concat();
    assert_eq!(read(17, &plain), Ok(Message::Command(command.clone())));
    assert_eq!(read(17, &prefixed), Ok(Message::Command(command)));
    assert_eq!(read(15, &[0, 2, 0, 0]), Ok(Message::Data(Bytes::from_static(&[2, 0, 0]))));
}

#[test]
fn an_aggregate_is_split_and_its_times_follow_its_own() {
    let tag = |kind: u8, time: u8, body: &[u8]| {
        [&[kind, 0, 0, body.len() as u8, 0, 0, time, 0, 0, 0, 0], body, &[0, 0, 0, 11]].concat()
    };
    let bytes = [tag(8, 50, b"a"), tag(99, 60, b"?"), tag(9, 90, b"vv"), tag(22, 95, b"x"), tag(18, 99, b"")].concat();
    let messages = |bytes: &[u8]| match read(22, bytes) {
        Ok(Message::Aggregate(aggregate)) => aggregate.collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let found = messages(&bytes);
    let summary: Vec<_> =
        found.iter().map(|tag| (tag.header.kind, tag.header.timestamp_ms, &tag.payload[..])).collect();
    assert_eq!(summary, [(8, 1000, &b"a"[..]), (9, 1040, b"vv"), (18, 1049, b"")]);
    for end in 0..bytes.len() {
        assert!(messages(&bytes[..end]).len() <= 3);
    }
    assert_eq!(messages(&bytes[..bytes.len() - 4]).len(), 3, "the last length may be missing");
}
