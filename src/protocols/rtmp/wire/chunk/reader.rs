//! Reading of chunks.
use bytes::{Buf, BytesMut};

use super::super::u24;
use super::{CHUNK_BYTES_DEFAULT, ChunkError, ChunkLimits, EXTENDED, MessageHeader, RawMessage};

/// Memory taken at once for a message that comes in pieces; longer ones grow as they arrive, so that a claim alone costs
/// little.
const PREALLOCATED_BYTES_MAX: usize = 256 << 10;

/// Longest basic header, message header and extended timestamp together.
const HEADER_BYTES_MAX: usize = 3 + 11 + 4;

/// A first message whose time is also the distance to the second is believed up to this, milliseconds; see `time_after`.
const PLAUSIBLE_STEP_MS: u32 = 10_000;

/// Puts messages together from chunks. It holds the parts of unfinished messages and nothing else; what is not consumed is
/// at most one incomplete chunk header.
#[derive(Debug)]
pub struct ChunkReader {
    limits: ChunkLimits,
    chunk_bytes: usize,
    streams: Vec<Stream>,
    /// Sum of the lengths of unfinished messages.
    pub(super) buffered: usize,
    /// The chunk under way: index of its stream and bytes that are missing.
    current: Option<(usize, usize)>,
    repeats: Repeats,
}

/// State of one chunk stream.
#[derive(Debug, Default)]
struct Stream {
    id: u32,
    header: MessageHeader,
    length: usize,
    /// What the next message's time is further, when it has no field for it.
    step: u32,
    /// The extended field of the last header that had a timestamp field.
    extended: Option<u32>,
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    bytes: BytesMut,
    missing: usize,
}

/// Whether the peer repeats the extended timestamp in chunks without a header (5.3.1.3): the first specification did not ask
/// for it, and clients of both kinds are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeats {
    Unknown,
    Yes,
    No,
}

/// A chunk header as read from the wire.
struct Header {
    format: u8,
    stream: u32,
    /// Bytes of it.
    bytes: usize,
    fields: Fields,
}

#[derive(Default)]
struct Fields {
    timestamp: Option<u32>,
    is_extended: bool,
    length_and_kind: Option<(usize, u8)>,
    message_stream: Option<u32>,
}

impl ChunkReader {
    /// A reader with the chunk size of a new connection.
    pub fn new(limits: ChunkLimits) -> Self {
        Self {
            limits,
            chunk_bytes: CHUNK_BYTES_DEFAULT as usize,
            streams: Vec::new(),
            buffered: 0,
            current: None,
            repeats: Repeats::Unknown,
        }
    }

    /// Follows the peer's `Set Chunk Size` (5.4.1). No memory depends on it.
    pub fn set_chunk_bytes(&mut self, size: u32) -> Result<(), ChunkError> {
        if size == 0 || size > i32::MAX as u32 {
            return Err(ChunkError::ChunkSize(size));
        }
        self.chunk_bytes = size as usize;
        Ok(())
    }

    /// Follows the peer's `Abort Message` (5.4.2): forgets the unfinished message of a chunk stream.
    pub fn abort(&mut self, stream: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|known| known.id == stream)
            && stream.partial.take().is_some()
        {
            self.buffered = self.buffered.saturating_sub(stream.length);
        }
    }

    /// Consumes input up to the end of the next message; `None` when more input is needed. After an error the stream cannot
    /// be followed any further.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<RawMessage>, ChunkError> {
        loop {
            if let Some((index, missing)) = self.current {
                let taken = missing.min(input.len());
                let done = self.append(index, input.get(..taken).unwrap_or_default());
                input.advance(taken);
                self.current = (taken < missing).then_some((index, missing - taken));
                if done.is_some() || self.current.is_some() {
                    return Ok(done);
                }
            }
            let Some(header) = self.header(input)? else { return Ok(None) };
            let Some(index) = self.begin(&header, input)? else { return Ok(None) };
            let Some(stream) = self.streams.get_mut(index) else { return Ok(None) };
            let whole = stream.partial.is_none() && stream.length <= self.chunk_bytes;
            if whole && input.len() >= stream.length {
                let payload = input.split_to(stream.length).freeze();
                return Ok(Some(RawMessage { header: stream.header, payload }));
            }
            self.current = Some((index, self.expect_chunk(index)?));
        }
    }

    /// Reads a chunk's header without consuming it; `None` when it is not there yet.
    fn header(&self, input: &BytesMut) -> Result<Option<Header>, ChunkError> {
        let mut bytes = input.get(..HEADER_BYTES_MAX.min(input.len())).unwrap_or_default();
        let before = bytes.len();
        let Some((format, stream)) = basic_header(&mut bytes) else { return Ok(None) };
        let Some(fields) = message_header(format, &mut bytes) else { return Ok(None) };
        Ok(Some(Header { format, stream, bytes: before - bytes.len(), fields }))
    }

    /// Applies a header and consumes it; the index of its stream. `None` when an extended timestamp may still follow.
    fn begin(&mut self, header: &Header, input: &mut BytesMut) -> Result<Option<usize>, ChunkError> {
        let index = self.stream(header)?;
        let Some(stream) = self.streams.get(index) else { return Ok(None) };
        if stream.partial.is_some() && header.format != 3 {
            return Err(ChunkError::Unfinished(header.stream));
        }
        let length = header.fields.length_and_kind.map_or(stream.length, |(length, _)| length);
        if length > self.limits.message_bytes_max {
            return Err(ChunkError::MessageTooLong { bytes: length, max: self.limits.message_bytes_max });
        }
        let mut consumed = header.bytes;
        let mut repeated = None;
        if header.format == 3 && stream.extended.is_some() && self.repeats != Repeats::No {
            let behind = input.get(consumed..).and_then(|rest| rest.first_chunk::<4>());
            let Some(behind) = behind else { return Ok(None) };
            repeated = self.repeated(index, u32::from_be_bytes(*behind));
            consumed += if repeated.is_some() { 4 } else { 0 };
        }
        input.advance(consumed);
        if let Some(stream) = self.streams.get_mut(index)
            && stream.partial.is_none()
        {
            stream.start(header, repeated);
        }
        Ok(Some(index))
    }

    /// Whether four bytes behind a header without fields are an extended timestamp; learns it from the first ones.
    fn repeated(&mut self, index: usize, field: u32) -> Option<u32> {
        let stream = self.streams.get(index)?;
        if self.repeats == Repeats::Unknown {
            let is_same = stream.extended == Some(field) || stream.header.timestamp_ms == field;
            self.repeats = if is_same { Repeats::Yes } else { Repeats::No };
        }
        (self.repeats == Repeats::Yes).then_some(field)
    }

    /// The index of a header's stream, which is made when it is new.
    fn stream(&mut self, header: &Header) -> Result<usize, ChunkError> {
        if let Some(index) = self.streams.iter().position(|known| known.id == header.stream) {
            return Ok(index);
        }
        // librtmp begins its control stream with a header that lacks the message stream, which is 0 there.
        if header.format > 1 {
            return Err(ChunkError::NoHeader(header.stream));
        }
        if self.streams.len() >= self.limits.streams_max {
            return Err(ChunkError::TooManyStreams(self.limits.streams_max));
        }
        self.streams.push(Stream { id: header.stream, ..Stream::default() });
        Ok(self.streams.len() - 1)
    }

    /// Makes room for a chunk that does not lie in the input as a whole message; its length.
    fn expect_chunk(&mut self, index: usize) -> Result<usize, ChunkError> {
        let Some(stream) = self.streams.get_mut(index) else { return Ok(0) };
        if stream.partial.is_none() {
            let buffered = self.buffered.saturating_add(stream.length);
            if buffered > self.limits.buffered_bytes_max {
                return Err(ChunkError::TooMuchBuffered(self.limits.buffered_bytes_max));
            }
            self.buffered = buffered;
            let bytes = BytesMut::with_capacity(stream.length.min(PREALLOCATED_BYTES_MAX));
            stream.partial = Some(Partial { bytes, missing: stream.length });
        }
        Ok(stream.partial.as_ref().map_or(0, |partial| partial.missing).min(self.chunk_bytes))
    }

    /// Adds to a stream's unfinished message; the message when that completes it.
    fn append(&mut self, index: usize, bytes: &[u8]) -> Option<RawMessage> {
        let stream = self.streams.get_mut(index)?;
        let partial = stream.partial.as_mut()?;
        partial.bytes.extend_from_slice(bytes);
        partial.missing = partial.missing.saturating_sub(bytes.len());
        if partial.missing > 0 {
            return None;
        }
        self.buffered = self.buffered.saturating_sub(stream.length);
        let payload = stream.partial.take()?.bytes.freeze();
        Some(RawMessage { header: stream.header, payload })
    }
}

impl Stream {
    /// Begins a message. `repeated` is the extended timestamp of a header without fields.
    fn start(&mut self, header: &Header, repeated: Option<u32>) {
        if let Some((length, kind)) = header.fields.length_and_kind {
            self.length = length;
            self.header.kind = kind;
        }
        if let Some(stream) = header.fields.message_stream {
            self.header.stream = stream;
        }
        if let Some(field) = header.fields.timestamp {
            self.extended = header.fields.is_extended.then_some(field);
        }
        self.header.timestamp_ms = self.time_after(header, repeated);
    }

    /// The time of the message that begins (5.3.1.2).
    ///
    /// After a full header, one without fields means that the distance is the full header's time again. That is meant by
    /// encoders whose stream starts near zero; with a late start, an encoder that leaves the fields out means no distance.
    fn time_after(&mut self, header: &Header, repeated: Option<u32>) -> u32 {
        let now = self.header.timestamp_ms;
        match (header.format, header.fields.timestamp) {
            (0, Some(time)) => {
                self.step = if time <= PLAUSIBLE_STEP_MS { time } else { 0 };
                time
            }
            (_, Some(step)) => {
                self.step = step;
                now.wrapping_add(step)
            }
            // The field repeats a step, or the absolute time that came with the last full header or has come since.
            (_, None) => match repeated {
                Some(field) if field == self.step => now.wrapping_add(field),
                Some(field) if field >= now && field - now <= PLAUSIBLE_STEP_MS => field,
                _ => now.wrapping_add(self.step),
            },
        }
    }
}

/// Format and chunk stream (5.3.1.1).
fn basic_header(bytes: &mut &[u8]) -> Option<(u8, u32)> {
    let first = bytes.try_get_u8().ok()?;
    let stream = match first & 0x3f {
        0 => 64 + u32::from(bytes.try_get_u8().ok()?),
        1 => 64 + u32::from(bytes.try_get_u16_le().ok()?),
        small => u32::from(small),
    };
    Some((first >> 6, stream))
}

/// The fields of a format (5.3.1.2), and the extended timestamp where they announce one.
fn message_header(format: u8, bytes: &mut &[u8]) -> Option<Fields> {
    let mut fields = Fields::default();
    if format <= 2 {
        fields.timestamp = Some(u24(bytes)?);
    }
    if format <= 1 {
        let length = u24(bytes)?;
        fields.length_and_kind = Some((length as usize, bytes.try_get_u8().ok()?));
    }
    if format == 0 {
        fields.message_stream = Some(bytes.try_get_u32_le().ok()?);
    }
    if fields.timestamp == Some(EXTENDED) {
        fields.is_extended = true;
        fields.timestamp = Some(bytes.try_get_u32().ok()?);
    }
    Some(fields)
}
