//! What a transport stream tells of its timeline, as cues.
use bytes::Bytes;

use super::id3;
use super::sections::checked;
use crate::domain::cues::{CueSplice, CueValue, values_of};
use crate::media::codecs::scte35::{SpliceInfo, splice_time};
use crate::media::live::broadcast::ToldCue;

/// Class of breaks.
const SPLICE: &str = "urn:scte:scte35:2013:bin";
/// Class of ID3 tags.
const ID3: &str = "org.id3";
/// Table of splice information.
const SPLICE_TABLE: u8 = 0xfc;
/// `splice_command_type` of what is sent to keep a connection alive, and of schedules that say nothing of now.
const IDLE: [u8; 2] = [0, 4];

/// A splice that is told at about `now` on the stream's clock; `None` when nothing happens.
pub(super) fn of_splice(section: Bytes, now: i64) -> Option<ToldCue> {
    let body = checked(&section)?;
    let is_idle = body.get(13).is_none_or(|command| IDLE.contains(command));
    if body.first() != Some(&SPLICE_TABLE) || is_idle {
        return None;
    }
    let info = SpliceInfo::read(&section);
    Some(ToldCue {
        time: splice_time(&section).unwrap_or(now),
        class: Some(SPLICE.to_owned()),
        event: info.event.map(|event| event.to_string()),
        length_micros: info.length_micros,
        splice: Some(CueSplice { point: info.point, section }),
        values: Vec::new(),
    })
}

/// The texts of a tag; `None` when it has none.
pub(super) fn of_tag(tag: &[u8], time: i64) -> Option<ToldCue> {
    let texts = id3::read_texts(tag)?.into_iter().map(|(name, text)| (name, CueValue::text(&text)));
    let values = values_of(texts);
    let class = Some(ID3.to_owned());
    (!values.is_empty()).then_some(ToldCue { time, class, event: None, length_micros: None, splice: None, values })
}
