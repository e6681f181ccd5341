//! Cues: what happens at an instant of a timeline, or from one to another, as the publisher of a broadcast tells it:
//! advertisement breaks (SCTE 35) and whatever else an encoder marks.
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// Values of one cue at most.
pub const VALUES_MAX: usize = 16;
/// Bytes of a name, class or identifier at most.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a text at most.
const TEXT_BYTES_MAX: usize = 512;
/// Numbers from this on are told as text.
const NUMBER_MAX: f64 = 1e15;
/// Classes of this vendor make players fetch what a cue names (draft-pantos-hls-rfc8216bis, appendix D).
const PLAYERS_OWN: &str = "com.apple.";

/// Which end of a splice a section tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SplicePoint {
    /// Out of the programme: a break begins.
    Out,
    /// Back into it.
    In,
    /// Neither.
    Command,
}

/// A `splice_info_section` (SCTE 35, 9.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CueSplice {
    /// What it tells.
    pub point: SplicePoint,
    /// Its bytes.
    pub section: Bytes,
}

/// How long what a cue tells lasts, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CueLength {
    /// As far as is planned.
    Planned(i64),
    /// It is over.
    Known(i64),
}

impl CueLength {
    /// Microseconds.
    pub fn micros(self) -> i64 {
        match self {
            Self::Planned(micros) | Self::Known(micros) => micros,
        }
    }
}

/// A value of a cue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CueValue {
    /// Finite, not negative.
    Number(f64),
    /// Without control characters and quotation marks.
    Text(String),
}

impl CueValue {
    /// A number, as text when it cannot be written as one everywhere.
    pub fn number(number: f64) -> Self {
        match (0.0..NUMBER_MAX).contains(&number) {
            true => Self::Number(number),
            false => Self::text(&number.to_string()),
        }
    }

    /// A text, cut to what is allowed.
    pub fn text(text: &str) -> Self {
        Self::Text(plain(text, TEXT_BYTES_MAX))
    }
}

/// Something on a timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cue {
    /// Its name: not that of another one of the same stream, except that the two ends of a splice share one.
    pub id: String,
    /// What kind of thing it is.
    pub class: Option<String>,
    /// When it begins, microseconds of stream time.
    pub start_micros: i64,
    /// Wall-clock time of that.
    pub date: Timestamp,
    /// How long it lasts, as far as told.
    pub length: Option<CueLength>,
    /// The section that tells it.
    pub splice: Option<CueSplice>,
    /// More of it. Names are upper-case letters, digits and hyphens; none occurs twice.
    pub values: Vec<(String, CueValue)>,
}

impl Cue {
    /// The instant that is told: the end of a break, when it is the way back.
    pub fn at_micros(&self) -> i64 {
        let is_way_back = self.splice.as_ref().is_some_and(|splice| splice.point == SplicePoint::In);
        let length = self.length.filter(|_| is_way_back).map_or(0, CueLength::micros);
        self.start_micros.saturating_add(length)
    }

    /// When it is over, microseconds of stream time.
    pub fn end_micros(&self) -> i64 {
        self.start_micros.saturating_add(self.length.map_or(0, CueLength::micros))
    }

    /// About how many bytes a manifest needs for it.
    pub fn weight(&self) -> usize {
        let value = |(name, value): &(String, CueValue)| {
            name.len() + if let CueValue::Text(text) = value { text.len() } else { size_of::<f64>() }
        };
        let section = self.splice.as_ref().map_or(0, |splice| 2 * splice.section.len());
        100 + self.class.as_ref().map_or(0, String::len) + section + self.values.iter().map(value).sum::<usize>()
    }
}

/// A class as publishers name it; `None` for what players act upon by themselves.
pub fn class_of(text: &str) -> Option<String> {
    let class = plain(text, NAME_BYTES_MAX);
    let is_players = class.to_ascii_lowercase().starts_with(PLAYERS_OWN);
    Some(class).filter(|class| !class.is_empty() && !is_players)
}

/// A publisher's name for something that happens.
pub fn event_of(text: &str) -> Option<String> {
    Some(plain(text, NAME_BYTES_MAX)).filter(|event| !event.is_empty())
}

/// Values under names that can be attributes; the first [`VALUES_MAX`] that can be told.
pub fn values_of(told: impl IntoIterator<Item = (String, CueValue)>) -> Vec<(String, CueValue)> {
    let mut values: Vec<(String, CueValue)> = Vec::new();
    for (name, value) in told {
        let sign = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_uppercase() } else { '-' };
        let name: String = name.chars().take(NAME_BYTES_MAX).map(sign).collect();
        let name = name.trim_matches('-').to_owned();
        if values.len() < VALUES_MAX && !name.is_empty() && values.iter().all(|(known, _)| *known != name) {
            values.push((name, value));
        }
    }
    values
}

/// Without control characters and quotation marks, and no longer than that.
fn plain(text: &str, bytes_max: usize) -> String {
    let mut out = String::new();
    for char in text.trim().chars() {
        let char = if char == '"' { '\'' } else { char };
        if out.len() + char.len_utf8() > bytes_max {
            break;
        }
        // Line separators are none of ASCII's control characters and split lines for some readers.
        if !char.is_control() && !matches!(char, '\u{2028}' | '\u{2029}') {
            out.push(char);
        }
    }
    out
}

/// When an instant of a timeline was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Microseconds of stream time.
    pub start_micros: i64,
    /// Wall-clock time.
    pub date: Timestamp,
}

/// What is known of a recorded timeline besides its media.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chronicle {
    /// Ascending; one for each time that the publisher's clock began anew. None for what was never live.
    pub anchors: Vec<Anchor>,
    /// In the order in which they were told.
    pub cues: Vec<Cue>,
}

impl Chronicle {
    /// When an instant of the timeline was; `None` when nothing is known of it.
    pub fn date_at(&self, micros: i64) -> Option<Timestamp> {
        let before = self.anchors.iter().rev().find(|anchor| anchor.start_micros <= micros);
        let anchor = before.or(self.anchors.first())?;
        let passed = (micros - anchor.start_micros).div_euclid(1000);
        Some(Timestamp::from_millis(anchor.date.as_millis().saturating_add(passed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_such_as_manifests_can_hold() {
        let text = |text: &str| CueValue::Text(text.to_owned());
        let told = [("ad_Break", CueValue::number(3.5)), ("ad-break", text("again")), ("„“", text("no letters"))];
        let told = told.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(values_of(told), [("AD-BREAK".to_owned(), CueValue::Number(3.5))]);
        assert_eq!(values_of((0..40).map(|n| (n.to_string(), CueValue::number(0.0)))).len(), VALUES_MAX);
        assert_eq!(CueValue::text(" a\"b\r\n\u{2028}c "), text("a'bc"));
        assert_eq!(CueValue::number(-1.0), text("-1"));
        assert_eq!(CueValue::number(f64::NAN), text("NaN"));
        assert_eq!(class_of(&"é".repeat(60)).unwrap().len(), NAME_BYTES_MAX);
        assert_eq!(class_of("Com.Apple.HLS.interstitial"), None, "players would fetch what a publisher names");
    }

    #[test]
    fn dates_follow_the_nearest_anchor_before() {
        let anchor = |start_micros, ms| Anchor { start_micros, date: Timestamp::from_millis(ms) };
        let anchors = vec![anchor(1_000_000, 5000), anchor(9_000_000, 60_000)];
        let chronicle = Chronicle { anchors, cues: Vec::new() };
        let at = |micros| chronicle.date_at(micros).map(Timestamp::as_millis);
        assert_eq!((at(2_500_000), at(9_500_000), at(0)), (Some(6500), Some(60_500), Some(4000)));
        assert_eq!(Chronicle::default().date_at(7), None);
    }
}
