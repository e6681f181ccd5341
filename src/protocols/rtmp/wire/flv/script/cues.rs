//! Events on the timeline. Encoders send SCTE-35 in several forms: `onAdCue` of Adobe Primetime with or without the section
//! itself, `onCuePoint` named `scte35` with the section's fields spelt out, and messages named after SCTE-35 that hold the
//! section in base64 or as bytes.
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::super::super::amf::{Amf, Members};
use super::metadata::{positive, text};

/// With or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// First byte of a `splice_info_section`.
const SECTION_TABLE: u8 = 0xfc;
/// A section's length has 12 bits, behind 3 bytes.
const SECTION_BYTES_MAX: usize = 3 + 0xfff;

/// Members that have been seen to hold a section.
const SECTION_NAMES: &[&str] = &["cue", "scte35", "data", "messageData", "message", "payload", "section", "base64"];

/// `onCuePoint` (FLV E.6.3 and later).
#[derive(Debug, Clone, PartialEq)]
pub struct CuePoint {
    /// Its name.
    pub name: Option<String>,
    /// `event`, `navigation`, or whatever the encoder says.
    pub kind: Option<String>,
    /// When, in seconds of the publisher's time; the message's own time when absent.
    pub time_secs: Option<f64>,
    /// Its parameters; when it has none, all its members.
    pub parameters: Members,
}

/// An advertisement break or another splice.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Splice {
    /// The `splice_info_section` (SCTE 35 section 9.6), when the encoder sent it.
    pub section: Option<Bytes>,
    /// What the encoder calls it, such as `SpliceOut`.
    pub kind: Option<String>,
    /// Ties repetitions and updates together.
    pub id: Option<String>,
    /// When, in seconds of the publisher's time; the message's own time when absent.
    pub time_secs: Option<f64>,
    /// How long, when known.
    pub duration_secs: Option<f64>,
    /// How much of it has passed, when it is repeated.
    pub elapsed_secs: Option<f64>,
    /// All its members as they came.
    pub members: Members,
}

/// Text on the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextData {
    /// The text; captions in base64 (`onCaptionInfo`) are left as they came.
    pub text: String,
    /// Language, as the encoder writes it.
    pub language: Option<String>,
    /// Number of the text track.
    pub track: Option<u32>,
}

impl CuePoint {
    pub(super) fn read(value: &Amf) -> Self {
        let parameters = value.get("parameters").filter(|parameters| !parameters.members().is_empty());
        Self {
            name: text(value, &["name"]),
            kind: text(value, &["type"]),
            time_secs: value.get("time").and_then(Amf::as_number),
            parameters: parameters.unwrap_or(value).members().to_vec(),
        }
    }
}

impl Splice {
    /// A cue point, when it is one about splicing.
    pub(super) fn from_cue_point(value: &Amf) -> Option<Self> {
        let says = |name| value.get(name).and_then(Amf::as_str).is_some_and(is_scte35);
        let is_splice = says("name") || says("type");
        // YouTube's cue points are breaks by themselves.
        let is_break = value.get("break_duration_sec").is_some() || value.get("cue_point_start").is_some();
        (is_splice || is_break).then(|| Self::from_members(value))
    }

    /// A message with another name, when it is one about splicing.
    pub(super) fn read(name: &str, value: &Amf) -> Option<Self> {
        if name != "onAdCue" && !is_scte35(name) {
            return None;
        }
        // The section may be the only value.
        if let Some(section) = section(value) {
            return Some(Self { section: Some(section), ..Self::default() });
        }
        Some(Self::from_members(value))
    }

    fn from_members(value: &Amf) -> Self {
        let parameters = value.get("parameters").unwrap_or(&Amf::Null);
        let both = [value, parameters];
        let of_both = |names: &[&str]| both.iter().find_map(|value| positive(value, names));
        let name = |names: &[&str]| both.iter().find_map(|value| identifier(value, names));
        let section = both.iter().find_map(|value| SECTION_NAMES.iter().find_map(|name| section(value.get(name)?)));
        let kind = both.iter().find_map(|value| text(value, &["cue", "command", "type"]));
        // The section itself is not what it is called.
        let kind = kind.filter(|kind| section_of_text(kind).is_none()).or_else(|| text(value, &["type"]));
        Self {
            section,
            kind,
            id: name(&["id", "splice_event_id", "spliceEventId", "event_id", "eventId"]),
            time_secs: value.get("time").and_then(Amf::as_number),
            duration_secs: of_both(&["duration", "break_duration_sec", "breakDuration"]),
            elapsed_secs: of_both(&["elapsed"]),
            members: value.members().to_vec(),
        }
    }
}

impl TextData {
    pub(super) fn read(value: &Amf) -> Self {
        let content = value.as_str().map(str::to_owned).or_else(|| text(value, &["text", "data", "caption"]));
        let track = value.get("trackid").or_else(|| value.get("trackId")).and_then(Amf::as_number);
        Self {
            text: content.unwrap_or_default(),
            language: text(value, &["language", "lang"]),
            track: track.filter(|number| (0.0..=f64::from(u32::MAX)).contains(number)).map(|number| number as u32),
        }
    }
}

fn is_scte35(name: &str) -> bool {
    let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    letters.to_ascii_lowercase().contains("scte35")
}

/// Text, or a number as text.
fn identifier(value: &Amf, names: &[&str]) -> Option<String> {
    let number = |name| value.get(name)?.as_number().map(|number| number.to_string());
    text(value, names).or_else(|| names.iter().find_map(|name| number(name)))
}

/// A section as bytes or in base64.
fn section(value: &Amf) -> Option<Bytes> {
    match value {
        Amf::Bytes(bytes) => checked(bytes.clone()),
        Amf::String(text) => section_of_text(text),
        _ => None,
    }
}

fn section_of_text(text: &str) -> Option<Bytes> {
    let text = text.trim();
    let is_short = text.len() <= SECTION_BYTES_MAX * 4 / 3 + 4;
    is_short.then(|| BASE64.decode(text).ok()).flatten().and_then(checked)
}

fn checked(bytes: Vec<u8>) -> Option<Bytes> {
    let length =
        bytes.get(1..3).map(|length| length.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)) & 0xfff)?;
    let is_whole = bytes.first() == Some(&SECTION_TABLE) && bytes.len() >= 3 + length;
    is_whole.then(|| Bytes::from(bytes).slice(..3 + length))
}
