use bytes::{Buf, BytesMut};

use super::super::output::Output;
use super::*;

fn message(kind: u8, timestamp_ms: u32, length: usize) -> RawMessage {
    let payload = (0..length).map(|at| (at * 7 + usize::from(kind)) as u8).collect::<Vec<_>>();
    RawMessage { header: MessageHeader { timestamp_ms, kind, stream: 1 }, payload: payload.into() }
}

fn written(writer: &mut ChunkWriter, messages: &[(u8, RawMessage)]) -> BytesMut {
    let mut output = Output::default();
    for (chunk_stream, message) in messages {
        writer.write(*chunk_stream, message.header, message.payload.clone(), &mut output);
    }
    let length = output.len();
    BytesMut::from(&output.copy_to_bytes(length)[..])
}

fn read_all(reader: &mut ChunkReader, bytes: &[u8]) -> Result<Vec<RawMessage>, ChunkError> {
    let mut input = BytesMut::from(bytes);
    std::iter::from_fn(|| reader.read(&mut input).transpose()).collect()
}

fn read_bytewise(reader: &mut ChunkReader, bytes: &[u8]) -> Vec<RawMessage> {
    let (mut input, mut messages) = (BytesMut::new(), Vec::new());
    for byte in bytes {
        input.extend_from_slice(&[*byte]);
        messages.extend(std::iter::from_fn(|| reader.read(&mut input).unwrap()));
        assert!(input.len() < 18, "only an unfinished header is left unread");
    }
    messages
}

fn reader() -> ChunkReader {
    ChunkReader::new(ChunkLimits::default())
}

/// Messages of all header formats: first, longer, as long, back in time, extended, and across the wrap.
fn session() -> Vec<(u8, RawMessage)> {
    vec![
        (3, message(20, 0, 300)),
        (4, message(8, 0, 10)),
        (6, message(9, 0, 5000)),
        (6, message(9, 40, 4000)),
        (6, message(9, 80, 4000)),
        (6, message(9, 120, 4000)),
        (4, message(8, 23, 0)),
        (4, message(8, 20, 12)),
        (6, message(9, 0xff_ffff, 700)),
        (6, message(9, 0x100_0010, 700)),
        (6, message(9, 0x300_0010, 700)),
        (6, message(9, u32::MAX - 5, 700)),
        (6, message(9, 34, 129)),
        (5, message(18, 0x200_0000, 128)),
    ]
}

#[test]
fn what_is_written_is_read_at_any_chunk_size_and_in_any_pieces() {
    let (sent, expected): (Vec<_>, Vec<_>) = (session(), session().into_iter().map(|(_, message)| message).collect());
    for chunk_bytes in [1, 2, 127, 128, 129, 4096, 60_000] {
        let mut writer = ChunkWriter::default();
        writer.set_chunk_bytes(chunk_bytes);
        let bytes = written(&mut writer, &sent);
        for read in [|reader: &mut ChunkReader, bytes: &[u8]| read_all(reader, bytes).unwrap(), read_bytewise] {
            let mut reader = reader();
            reader.set_chunk_bytes(chunk_bytes).unwrap();
            assert_eq!(read(&mut reader, &bytes), expected, "chunks of {chunk_bytes} bytes");
        }
    }
}

#[test]
fn a_message_in_one_chunk_is_shared_and_not_copied() {
    let mut writer = ChunkWriter::default();
    writer.set_chunk_bytes(60_000);
    let mut input = written(&mut writer, &[(6, message(9, 0, 50_000))]);
    let range = input.as_ptr_range();
    let mut reader = reader();
    reader.set_chunk_bytes(60_000).unwrap();
    let read = reader.read(&mut input).unwrap().unwrap();
    assert!(range.contains(&read.payload.as_ptr()));
}

#[test]
fn many_chunk_streams_interleave() {
    let mut writer = ChunkWriter::default();
    let parts = |writer: &mut ChunkWriter, id, message: &RawMessage| {
        let bytes = written(writer, &[(id, message.clone())]);
        // Chunks of 128 bytes: a header of 12 and one of 1 byte.
        vec![bytes[..140].to_vec(), bytes[140..].to_vec()]
    };
    let messages: Vec<_> = (0..40_u8).map(|id| message(9, u32::from(id), 200)).collect();
    let parts: Vec<_> = (3..).zip(&messages).map(|(id, message)| parts(&mut writer, id, message)).collect();
    let firsts = parts.iter().map(|part| &part[0]);
    let bytes = firsts.chain(parts.iter().map(|part| &part[1])).flatten().copied().collect::<Vec<_>>();
    assert_eq!(read_all(&mut reader(), &bytes).unwrap(), messages);
    assert_eq!(read_bytewise(&mut reader(), &bytes), messages);
}

#[test]
fn chunk_stream_ids_of_two_and_three_bytes() {
    let header = [0, 0, 0, 0, 0, 1, 9, 1, 0, 0, 0, b'x'];
    for id in [&[0x00_u8, 0][..], &[0x00, 255], &[0x01, 0, 0], &[0x01, 0xff, 0xff]] {
        let mut bytes = id.to_vec();
        bytes.extend_from_slice(&header);
        let found = read_bytewise(&mut reader(), &bytes);
        assert_eq!(found.len(), 1, "{id:?}");
        assert_eq!(&found[0].payload[..], b"x");
    }
}

/// A message of 6 + 6 bytes at an extended time, in chunks of 6, with or without the time in front of the second one.
fn extended(repeats: bool, payload: &[u8; 12]) -> Vec<u8> {
    let time = [1_u8, 2, 3, 4];
    let mut bytes = vec![0x06, 0xff, 0xff, 0xff, 0, 0, 12, 9, 1, 0, 0, 0];
    bytes.extend_from_slice(&time);
    bytes.extend_from_slice(&payload[..6]);
    bytes.push(0xc6);
    bytes.extend_from_slice(if repeats { &time } else { &[] });
    bytes.extend_from_slice(&payload[6..]);
    bytes
}

#[test]
fn extended_timestamps_are_repeated_by_some_clients_and_not_by_others() {
    for repeats in [true, false] {
        let bytes = [extended(repeats, b"hello world!"), extended(repeats, b"once again!!")].concat();
        for read in [|reader: &mut ChunkReader, bytes: &[u8]| read_all(reader, bytes).unwrap(), read_bytewise] {
            let mut reader = reader();
            reader.set_chunk_bytes(6).unwrap();
            let found = read(&mut reader, &bytes);
            let payloads: Vec<_> = found.iter().map(|message| &message.payload[..]).collect();
            assert_eq!(payloads, [b"hello world!", b"once again!!"], "repeats: {repeats}");
            assert!(found.iter().all(|message| message.header.timestamp_ms == 0x0102_0304));
        }
    }
}

#[test]
fn a_header_without_fields_continues_times_as_encoders_mean_it() {
    let first = |time: u32| [&[0x04], &time.to_be_bytes()[1..], &[0, 0, 1, 8, 1, 0, 0, 0, b'a']].concat();
    let times = |bytes: &[u8]| {
        let found = read_all(&mut reader(), bytes).unwrap();
        found.iter().map(|message| message.header.timestamp_ms).collect::<Vec<_>>()
    };
    // The distance last told is told again.
    let bytes = [&first(500)[..], &[0x84, 0, 0, 23, b'b', 0xc4, b'c', 0xc4, b'd']].concat();
    assert_eq!(times(&bytes), [500, 523, 546, 569]);
    // After a full header its time is the distance, as the specification says and ffmpeg does, unless that is absurd.
    assert_eq!(times(&[&first(40)[..], &[0xc4, b'b']].concat()), [40, 80]);
    assert_eq!(times(&[&first(400_000)[..], &[0xc4, b'b']].concat()), [400_000, 400_000]);
}

#[test]
fn a_control_stream_may_begin_without_a_message_stream() {
    let found = read_all(&mut reader(), &[0x42, 0, 0, 5, 0, 0, 4, 3, 0, 0, 0, 9]).unwrap();
    assert_eq!(found[0].header, MessageHeader { timestamp_ms: 5, kind: 3, stream: 0 });
    assert_eq!(read_all(&mut reader(), &[0x82, 0, 0, 5]), Err(ChunkError::NoHeader(2)));
    assert_eq!(read_all(&mut reader(), &[0xc2]), Err(ChunkError::NoHeader(2)));
}

#[test]
fn an_aborted_message_is_forgotten() {
    let mut writer = ChunkWriter::default();
    let bytes = written(&mut writer, &[(6, message(9, 0, 200))]);
    let mut reader = reader();
    assert_eq!(read_all(&mut reader, &bytes[..140]).unwrap(), []);
    reader.abort(6);
    reader.abort(60);
    let next = message(9, 40, 100);
    let bytes = written(&mut ChunkWriter::default(), &[(6, next.clone())]);
    assert_eq!(read_all(&mut reader, &bytes).unwrap(), [next]);
    assert_eq!(reader.buffered, 0);
}

#[test]
fn a_message_inside_another_is_refused() {
    let bytes = written(&mut ChunkWriter::default(), &[(6, message(9, 0, 200))]);
    let twice = [&bytes[..140], &bytes[..]].concat();
    assert_eq!(read_all(&mut reader(), &twice), Err(ChunkError::Unfinished(6)));
}

#[test]
fn caps_hold_before_memory_is_taken() {
    let limits = ChunkLimits { message_bytes_max: 1000, streams_max: 4, buffered_bytes_max: 2500 };
    let claim = |id: u8, length: u16| {
        let [high, low] = length.to_be_bytes();
        vec![id, 0, 0, 0, 0, high, low, 9, 1, 0, 0, 0]
    };
    let mut reader = ChunkReader::new(limits);
    assert_eq!(read_all(&mut reader, &claim(6, 1001)), Err(ChunkError::MessageTooLong { bytes: 1001, max: 1000 }));
    let mut reader = ChunkReader::new(limits);
    let full = [claim(6, 1000), vec![0; 128], claim(7, 1000), vec![0; 128], claim(8, 1000)].concat();
    assert_eq!(read_all(&mut reader, &full), Err(ChunkError::TooMuchBuffered(2500)));
    let mut reader = ChunkReader::new(limits);
    let many: Vec<u8> = (6..11).flat_map(|id| claim(id, 0)).collect();
    assert_eq!(read_all(&mut reader, &many), Err(ChunkError::TooManyStreams(4)));
    for size in [0, 0x8000_0000, u32::MAX] {
        assert_eq!(reader.set_chunk_bytes(size), Err(ChunkError::ChunkSize(size)));
    }
    assert!(reader.set_chunk_bytes(0x7fff_ffff).is_ok(), "some encoders say so");
}
