//! Data messages: stream metadata, and events on the timeline.
mod cues;
mod metadata;

use bytes::Bytes;

use super::super::amf::{Amf, AmfLimits, amf0};
use super::FlvError;

pub use cues::{CuePoint, Splice, TextData};
pub use metadata::{CodecId, MediaKind, StreamMetadata, TrackMetadata};

/// A publisher's order to keep the data that follows, as it is on the wire.
const KEEP: &[u8] = b"\x02\x00\x0d@setDataFrame";

/// A data message as players expect it: without a publisher's order to keep it.
pub fn for_players(payload: Bytes) -> Bytes {
    if payload.starts_with(KEEP) { payload.slice(KEEP.len()..) } else { payload }
}

/// A data message, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Script {
    /// `onMetaData`: what the stream is said to be.
    Metadata(Box<StreamMetadata>),
    /// `@clearDataFrame`: forget the metadata.
    ClearMetadata,
    /// `onCuePoint` that is not about splicing.
    Cue(CuePoint),
    /// An advertisement break: SCTE-35 in one of the forms found, or `onAdCue`.
    Splice(Splice),
    /// `onTextData`, `onTextDataEvent`, `onCaption`, `onCaptionInfo`: text.
    Text(TextData),
    /// Anything else.
    Other {
        /// Its name.
        name: String,
        /// Its values.
        values: Vec<Amf>,
    },
}

impl Script {
    /// Reads a data message's payload.
    pub fn read(payload: &[u8], limits: &AmfLimits) -> Result<Self, FlvError> {
        let mut reader = amf0::Reader::new(payload, limits);
        let mut name = reader.next_value()?;
        // To a server the name follows the order to keep what comes.
        if name.as_ref().and_then(Amf::as_str) == Some("@setDataFrame") {
            name = reader.next_value()?;
        }
        let Some(Amf::String(name)) = name else { return Err(FlvError::NoName) };
        let values = reader.rest()?;
        let value = values.iter().find(|value| !value.members().is_empty()).or(values.first()).unwrap_or(&Amf::Null);
        Ok(match name.as_str() {
            "onMetaData" => Self::Metadata(Box::new(StreamMetadata::read(value))),
            "@clearDataFrame" => Self::ClearMetadata,
            "onCuePoint" => match Splice::from_cue_point(value) {
                Some(splice) => Self::Splice(splice),
                None => Self::Cue(CuePoint::read(value)),
            },
            "onTextData" | "onTextDataEvent" | "onCaption" | "onCaptionInfo" => Self::Text(TextData::read(value)),
            _ => match Splice::read(&name, value) {
                Some(splice) => Self::Splice(splice),
                None => Self::Other { name, values },
            },
        })
    }
}
