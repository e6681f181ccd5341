//! Writing of chunks.
use bytes::{BufMut, Bytes};

use super::super::output::Output;
use super::{CHUNK_BYTES_DEFAULT, EXTENDED, MESSAGE_BYTES_MAX, MessageHeader};

/// Cuts messages into chunks, with headers as short as they can be.
#[derive(Debug)]
pub struct ChunkWriter {
    chunk_bytes: usize,
    streams: Vec<(u8, Last)>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    header: MessageHeader,
    length: usize,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self { chunk_bytes: CHUNK_BYTES_DEFAULT as usize, streams: Vec::new() }
    }
}

impl ChunkWriter {
    /// The size of the chunks that follow; the peer has been told by a message written before.
    pub fn set_chunk_bytes(&mut self, size: u32) {
        self.chunk_bytes = (size as usize).clamp(1, MESSAGE_BYTES_MAX);
    }

    /// Writes one message on a chunk stream from 2 to 63; messages of one chunk stream follow one another. Payloads are
    /// shared with the output. A payload above [`MESSAGE_BYTES_MAX`] cannot be written and is left out.
    pub fn write(&mut self, chunk_stream: u8, header: MessageHeader, payload: Bytes, output: &mut Output) {
        if payload.len() > MESSAGE_BYTES_MAX {
            return;
        }
        let last = self.streams.iter().find(|(id, _)| *id == chunk_stream).map(|(_, last)| *last);
        let current = Last { header, length: payload.len() };
        let extended = write_header(chunk_stream, current, last, output);
        match self.streams.iter_mut().find(|(id, _)| *id == chunk_stream) {
            Some((_, last)) => *last = current,
            None => self.streams.push((chunk_stream, current)),
        }
        let mut rest = payload;
        while rest.len() > self.chunk_bytes {
            output.push(rest.split_to(self.chunk_bytes));
            output.put(&[0xc0 | chunk_stream]);
            if let Some(extended) = extended {
                output.put(&extended.to_be_bytes());
            }
        }
        output.push(rest);
    }
}

/// Writes the header of a message's first chunk; the extended timestamp, which the other chunks repeat.
fn write_header(chunk_stream: u8, current: Last, last: Option<Last>, output: &mut Output) -> Option<u32> {
    let header = current.header;
    let step = |last: &Last| header.timestamp_ms.wrapping_sub(last.header.timestamp_ms);
    // Times that go back cannot be told as a distance.
    let last = last.filter(|last| last.header.stream == header.stream && step(last) < i32::MAX as u32);
    let is_like = |last: &Last| last.length == current.length && last.header.kind == header.kind;
    let (format, time) = match &last {
        None => (0_u8, header.timestamp_ms),
        Some(last) if is_like(last) => (2, step(last)),
        Some(last) => (1, step(last)),
    };
    let mut bytes = Vec::with_capacity(16);
    bytes.put_u8(format << 6 | chunk_stream);
    bytes.put_uint(u64::from(time.min(EXTENDED)), 3);
    if format <= 1 {
        bytes.put_uint(current.length as u64, 3);
        bytes.put_u8(header.kind);
    }
    if format == 0 {
        bytes.put_u32_le(header.stream);
    }
    let extended = (time >= EXTENDED).then_some(time);
    bytes.extend(extended.iter().flat_map(|time| time.to_be_bytes()));
    output.put(&bytes);
    extended
}
