//! Aggregate messages (7.1.6): FLV tags one behind another, with times of their own.
use bytes::{Buf, Bytes};

use super::super::chunk::{MessageHeader, RawMessage};
use super::super::{take, u24};
use super::kind;

/// The messages inside an aggregate, in order. What is cut short at its end, and what is no audio, video or data, is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    timestamp_ms: u32,
    first_ms: Option<u32>,
    rest: Bytes,
}

impl Aggregate {
    pub(super) fn new(timestamp_ms: u32, payload: Bytes) -> Self {
        Self { timestamp_ms, first_ms: None, rest: payload }
    }

    /// The next tag: its kind, time and body.
    fn tag(&mut self) -> Option<RawMessage> {
        let kind = self.rest.try_get_u8().ok()?;
        let length = u24(&mut self.rest)? as usize;
        let low = u24(&mut self.rest)?;
        let high = u32::from(self.rest.try_get_u8().ok()?);
        let stream = u24(&mut self.rest)?;
        let payload = take(&mut self.rest, length)?;
        // The length again, for reading backwards; the last one may be missing.
        let _ = take(&mut self.rest, 4);
        let time = high << 24 | low;
        // Only distances count: the aggregate's own time is that of its first tag.
        let since_first = time.wrapping_sub(*self.first_ms.get_or_insert(time));
        let timestamp_ms = self.timestamp_ms.wrapping_add(since_first);
        Some(RawMessage { header: MessageHeader { timestamp_ms, kind, stream }, payload })
    }
}

impl Iterator for Aggregate {
    type Item = RawMessage;

    fn next(&mut self) -> Option<RawMessage> {
        loop {
            let Some(tag) = self.tag() else {
                self.rest.clear();
                return None;
            };
            if matches!(tag.header.kind, kind::AUDIO | kind::VIDEO | kind::DATA | kind::DATA_AMF3) {
                return Some(tag);
            }
        }
    }
}
