//! One picture or sound track of a movie: its header, edits, sample entries and sample tables.
use bytes::Bytes;

use super::entry::SampleEntry;
use super::fields::{Children, Fields};
use super::tables::SampleTables;
use super::{MovieError, MovieLimits};
use crate::domain::asset::TrackKind;

/// Most edits looked at; more than two are not trivial anyway.
const EDITS_MAX: u32 = 1024;

/// One line of an edit list (section 8.6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Length in ticks of the movie's timescale; 0 for all that follows.
    pub(crate) duration: u64,
    /// Where in the track it starts, in the track's ticks; negative for an empty edit.
    pub(crate) media_time: i64,
    /// Whether it plays at normal speed.
    pub(crate) normal_rate: bool,
}

/// A picture or sound track.
#[derive(Debug, Clone)]
pub(crate) struct MovieTrack {
    pub(crate) kind: TrackKind,
    /// Clockwise rotation for display; `None` when the matrix does something else.
    pub(crate) rotation: Option<u16>,
    pub(crate) enabled: bool,
    pub(crate) timescale: u32,
    /// In the track's ticks.
    pub(crate) duration: u64,
    /// BCP 47.
    pub(crate) language: String,
    pub(crate) edits: Vec<Edit>,
    /// The first sample entry.
    pub(crate) entry: SampleEntry,
    /// How many sample entries there are.
    pub(crate) num_entries: u32,
    /// Media lie in another file.
    pub(crate) external: bool,
    pub(crate) tables: SampleTables,
}

impl MovieTrack {
    /// Reads a `trak` body; `None` for tracks that are neither picture nor sound.
    pub(crate) fn read(body: &Bytes, limits: &MovieLimits) -> Result<Option<Self>, MovieError> {
        let trak = Children::split(body)?;
        let mdia = trak.within(b"mdia")?;
        let Some(kind) = read_kind(mdia.required(b"hdlr")?) else { return Ok(None) };
        let (enabled, rotation) = read_track_header(trak.required(b"tkhd")?)?;
        let (timescale, duration, packed) = read_media_header(mdia.required(b"mdhd")?)?;
        let extended = mdia.first(b"elng").and_then(read_extended_language);
        let minf = mdia.within(b"minf")?;
        let stbl = minf.within(b"stbl")?;
        let (entry, num_entries) = SampleEntry::read_first(stbl.required(b"stsd")?, kind)?;
        Ok(Some(Self {
            kind,
            rotation,
            enabled,
            timescale,
            duration,
            language: extended.unwrap_or_else(|| language(packed)),
            edits: read_edits(&trak)?,
            entry,
            num_entries,
            external: minf.first(b"dinf").is_some_and(is_external),
            tables: SampleTables::read(&stbl, limits)?,
        }))
    }
}

fn read_kind(hdlr: &Bytes) -> Option<TrackKind> {
    let mut fields = Fields::new(hdlr);
    fields.skip(8)?;
    match &fields.code()? {
        b"vide" => Some(TrackKind::Video),
        b"soun" => Some(TrackKind::Audio),
        _ => None,
    }
}

fn read_track_header(body: &Bytes) -> Result<(bool, Option<u16>), MovieError> {
    let read = || {
        let mut fields = Fields::new(body);
        let version_flags = fields.u32()?;
        fields.skip(if version_flags >> 24 == 1 { 32 } else { 20 })?;
        fields.skip(16)?;
        let matrix = [fields.i32()?, fields.i32()?, fields.i32()?, fields.i32()?, fields.i32()?];
        Some((version_flags & 1 == 1, rotation(matrix)))
    };
    read().ok_or_else(|| MovieError::damaged("box tkhd"))
}

/// Rotation of a display matrix, of which `a b u c d` are given (16.16 fixed point).
fn rotation([a, b, _, c, d]: [i32; 5]) -> Option<u16> {
    const ONE: i32 = 1 << 16;
    match (a, b, c, d) {
        (ONE, 0, 0, ONE) | (0, 0, 0, 0) => Some(0),
        (0, ONE, c, 0) if c == -ONE => Some(90),
        (a, 0, 0, d) if a == -ONE && d == -ONE => Some(180),
        (0, b, ONE, 0) if b == -ONE => Some(270),
        _ => None,
    }
}

fn read_media_header(body: &Bytes) -> Result<(u32, u64, u16), MovieError> {
    let read = || {
        let mut fields = Fields::new(body);
        let long = fields.u8()? == 1;
        fields.skip(if long { 19 } else { 11 })?;
        let timescale = fields.u32()?;
        let duration = if long { fields.u64()? } else { u64::from(fields.u32()?) };
        (timescale > 0).then_some((timescale, duration, fields.u16()?))
    };
    read().ok_or_else(|| MovieError::damaged("box mdhd"))
}

fn read_edits(trak: &Children) -> Result<Vec<Edit>, MovieError> {
    let Some(edts) = trak.first(b"edts") else { return Ok(Vec::new()) };
    let edts = Children::split(edts)?;
    let Some(elst) = edts.first(b"elst") else { return Ok(Vec::new()) };
    let read = || {
        let mut fields = Fields::new(elst);
        let long = fields.u8()? == 1;
        fields.skip(3)?;
        let count = fields.u32()?;
        let edits = (0..count.min(EDITS_MAX)).map(|_| read_edit(&mut fields, long));
        edits.collect::<Option<Vec<_>>>()
    };
    read().ok_or_else(|| MovieError::damaged("box elst"))
}

fn read_edit(fields: &mut Fields, long: bool) -> Option<Edit> {
    let (duration, media_time) =
        if long { (fields.u64()?, fields.i64()?) } else { (u64::from(fields.u32()?), i64::from(fields.i32()?)) };
    Some(Edit { duration, media_time, normal_rate: fields.u32()? == 1 << 16 })
}

fn is_external(dinf: &Bytes) -> bool {
    let references = || {
        let dinf = Children::split(dinf).ok()?;
        let dref = dinf.first(b"dref")?;
        Children::split(&dref.get(8..).map(|_| dref.slice(8..))?).ok()
    };
    references().is_some_and(|list| {
        let mut entries = list.all(b"url ").chain(list.all(b"alis")).chain(list.all(b"urn "));
        entries.any(|entry| entry.get(3).is_none_or(|flags| flags & 1 == 0))
    })
}

fn read_extended_language(elng: &Bytes) -> Option<String> {
    let tag = elng.get(4..)?.split(|byte| *byte == 0).next()?;
    let sane = (2..=35).contains(&tag.len()) && tag.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    sane.then(|| String::from_utf8_lossy(tag).into_owned())
}

/// ISO 639-2 codes (and two Macintosh codes) as BCP 47 wants them: two letters where there are two.
fn language(packed: u16) -> String {
    if packed < 0x400 {
        return if packed == 0 { "und".into() } else { macintosh_language(packed).into() };
    }
    let letters = [packed >> 10 & 31, packed >> 5 & 31, packed & 31].map(|letter| 0x60 + letter as u8);
    if letters.iter().any(|letter| !letter.is_ascii_lowercase()) {
        return "und".into();
    }
    let code: String = letters.iter().copied().map(char::from).collect();
    let two = TWO_LETTER_CODES.iter().find(|(three, _)| three.split('/').any(|three| three == code));
    two.map_or(code, |(_, two)| (*two).into())
}

/// The ISO 639-2 code of a language tag that is one or has one: what `language` makes of it is the tag again.
pub(crate) fn three_letters(tag: &str) -> Option<&str> {
    let is_code = tag.len() == 3 && tag.bytes().all(|byte| byte.is_ascii_lowercase());
    let three = TWO_LETTER_CODES.iter().find(|(_, two)| *two == tag).and_then(|(three, _)| three.split('/').next());
    three.or(is_code.then_some(tag))
}

/// A language as publishers write it, as BCP 47 wants it; `None` when it is no tag.
pub(crate) fn language_tag(text: &str) -> Option<String> {
    let is_subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let first = text.split('-').next()?;
    let is_tag = matches!(first.len(), 2 | 3) && text.len() <= 35 && text.split('-').all(is_subtag);
    let lower = text.to_ascii_lowercase();
    let two = TWO_LETTER_CODES.iter().find(|(three, _)| three.split('/').any(|three| three == lower));
    is_tag.then(|| two.map_or_else(|| text.to_owned(), |(_, two)| (*two).to_owned()))
}

fn macintosh_language(code: u16) -> &'static str {
    const NAMES: [&str; 13] = ["en", "fr", "de", "it", "nl", "sv", "es", "da", "pt", "no", "he", "ja", "ar"];
    NAMES.get(usize::from(code)).copied().unwrap_or("und")
}

const TWO_LETTER_CODES: [(&str, &str); 40] = [
    ("eng", "en"),
    ("fra/fre", "fr"),
    ("deu/ger", "de"),
    ("spa", "es"),
    ("ita", "it"),
    ("por", "pt"),
    ("nld/dut", "nl"),
    ("swe", "sv"),
    ("dan", "da"),
    ("nor", "no"),
    ("nob", "nb"),
    ("fin", "fi"),
    ("isl/ice", "is"),
    ("pol", "pl"),
    ("ces/cze", "cs"),
    ("slk/slo", "sk"),
    ("slv", "sl"),
    ("hrv", "hr"),
    ("srp", "sr"),
    ("hun", "hu"),
    ("ron/rum", "ro"),
    ("bul", "bg"),
    ("ell/gre", "el"),
    ("tur", "tr"),
    ("rus", "ru"),
    ("ukr", "uk"),
    ("heb", "he"),
    ("ara", "ar"),
    ("fas/per", "fa"),
    ("hin", "hi"),
    ("ben", "bn"),
    ("tam", "ta"),
    ("tel", "te"),
    ("tha", "th"),
    ("vie", "vi"),
    ("ind", "id"),
    ("msa/may", "ms"),
    ("zho/chi", "zh"),
    ("jpn", "ja"),
    ("kor", "ko"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages() {
        let pack = |code: &[u8; 3]| code.iter().fold(0u16, |packed, byte| packed << 5 | u16::from(byte - 0x60));
        assert_eq!(language(pack(b"eng")), "en");
        assert_eq!(language(pack(b"ger")), "de");
        assert_eq!(language(pack(b"und")), "und");
        assert_eq!(language(pack(b"gsw")), "gsw");
        assert_eq!(language(11), "ja");
        assert_eq!(language(0x7fff), "und");
    }

    #[test]
    fn tags_have_three_letters_in_boxes_and_come_back() {
        let pack = |code: &str| code.bytes().fold(0u16, |packed, byte| packed << 5 | u16::from(byte - 0x60));
        for tag in ["de", "en", "fr", "gsw", "zh"] {
            assert_eq!(language(pack(three_letters(tag).unwrap())), tag);
        }
        assert_eq!((three_letters("xx"), three_letters("pt-BR"), three_letters("Deutsch")), (None, None, None));
        assert_eq!(language_tag("ger").as_deref(), Some("de"));
        assert_eq!(language_tag("ENG").as_deref(), Some("en"));
        assert_eq!(language_tag("pt-BR").as_deref(), Some("pt-BR"));
        assert_eq!((language_tag("Deutsch"), language_tag(""), language_tag("e")), (None, None, None));
    }

    #[test]
    fn rotations() {
        const ONE: i32 = 1 << 16;
        assert_eq!(rotation([ONE, 0, 0, 0, ONE]), Some(0));
        assert_eq!(rotation([0, ONE, 0, -ONE, 0]), Some(90));
        assert_eq!(rotation([-ONE, 0, 0, 0, -ONE]), Some(180));
        assert_eq!(rotation([0, -ONE, 0, ONE, 0]), Some(270));
        assert_eq!(rotation([-ONE, 0, 0, 0, ONE]), None);
    }
}
