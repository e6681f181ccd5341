//! Groups of sound (`EXT-X-MEDIA`): one for each codec and number of channels, all with the same members.
use crate::domain::asset::{AssetTrack, TrackKind};

/// Most channels that every player plays, and what it plays them in (RFC 6381).
const STEREO: u16 = 2;
const AAC: &str = "mp4a.40.";

/// What can be listened to, in one codec and layout as far as there is one.
pub(super) struct AudioGroup<'a> {
    pub(super) id: String,
    pub(super) members: Vec<Member<'a>>,
}

/// One thing to listen to.
pub(super) struct Member<'a> {
    pub(super) track: &'a AssetTrack,
    /// The language, when it is known.
    pub(super) language: Option<String>,
    /// The language, and a number where several have the same one.
    pub(super) name: String,
    pub(super) is_default: bool,
}

impl AudioGroup<'_> {
    /// The highest of its members' bit rates.
    pub(super) fn most(&self, rate: impl Fn(&AssetTrack) -> u64) -> u64 {
        self.members.iter().map(|member| rate(member.track)).max().unwrap_or(0)
    }

    /// The one that players choose by themselves.
    pub(super) fn default_track(&self) -> Option<&AssetTrack> {
        self.members.iter().find(|member| member.is_default).map(|member| member.track)
    }

    /// Its members' codecs, each once.
    pub(super) fn codecs(&self) -> String {
        let mut codecs: Vec<&str> = self.members.iter().map(|member| member.track.codec.as_str()).collect();
        codecs.sort_unstable();
        codecs.dedup();
        codecs.join(",")
    }
}

/// What is listened to, whatever its encoding: its language, and which one it is of those of that language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subject<'a> {
    language: &'a str,
    number: usize,
}

/// Tracks of one codec and number of channels.
struct Encoding<'a> {
    codec: &'a str,
    channels: u16,
    tracks: Vec<(Subject<'a>, &'a AssetTrack)>,
}

impl<'a> Encoding<'a> {
    fn add(&mut self, track: &'a AssetTrack) {
        let language = track.audio.as_ref().map_or("und", |audio| &audio.language);
        let number = self.tracks.iter().filter(|(known, _)| known.language == language).count();
        self.tracks.push((Subject { language, number }, track));
    }

    fn find(&self, subject: Subject) -> Option<&'a AssetTrack> {
        self.tracks.iter().find(|(known, _)| *known == subject).map(|(_, track)| *track)
    }
}

/// The groups of an asset, the one that every player plays first. All have the same members (section 4.4.6.1.1): what there
/// is not in a group's own encoding stands in it as it is in another.
pub(super) fn audio_groups<'a>(tracks: &'a [AssetTrack]) -> Vec<AudioGroup<'a>> {
    let encodings = encodings(tracks);
    let mut subjects: Vec<Subject> = Vec::new();
    for (subject, _) in encodings.iter().flat_map(|encoding| &encoding.tracks) {
        if !subjects.contains(subject) {
            subjects.push(*subject);
        }
    }
    let default = default_subject(&encodings).or(subjects.first().copied());
    let group = |(index, own): (usize, &Encoding<'a>)| {
        let mut members: Vec<Member> = Vec::new();
        for subject in &subjects {
            let mut tried = std::iter::once(own).chain(&encodings);
            let Some(track) = tried.find_map(|encoding| encoding.find(*subject)) else { continue };
            members.push(member(&members, (*subject, track), Some(*subject) == default));
        }
        AudioGroup { id: format!("audio{index}"), members }
    };
    encodings.iter().enumerate().map(group).collect()
}

fn encodings(tracks: &[AssetTrack]) -> Vec<Encoding<'_>> {
    let mut encodings: Vec<Encoding> = Vec::new();
    for track in tracks.iter().filter(|track| track.kind == TrackKind::Audio) {
        let (codec, channels) = (track.codec.as_str(), channels(track));
        match encodings.iter_mut().find(|known| known.codec == codec && known.channels == channels) {
            Some(encoding) => encoding.add(track),
            None => {
                let mut encoding = Encoding { codec, channels, tracks: Vec::new() };
                encoding.add(track);
                encodings.push(encoding);
            }
        }
    }
    encodings.sort_by_key(|encoding| (encoding.channels > STEREO, !encoding.codec.starts_with(AAC)));
    encodings
}

fn default_subject<'a>(encodings: &[Encoding<'a>]) -> Option<Subject<'a>> {
    let mut tracks = encodings.iter().flat_map(|encoding| &encoding.tracks);
    let is_default = |track: &AssetTrack| track.audio.as_ref().is_some_and(|audio| audio.default);
    tracks.find(|(_, track)| is_default(track)).map(|(subject, _)| *subject)
}

fn member<'a>(others: &[Member], (subject, track): (Subject, &'a AssetTrack), is_default: bool) -> Member<'a> {
    let language = Some(attribute(subject.language)).filter(|tag| tag != "und");
    let mut name = language.clone().unwrap_or_else(|| "Audio".to_owned());
    if others.iter().any(|other| other.name == name) {
        name = format!("{name} {}", others.len() + 1);
    }
    Member { track, language, name, is_default }
}

/// Number of channels; 0 when it is not known.
pub(super) fn channels(track: &AssetTrack) -> u16 {
    track.audio.as_ref().map_or(0, |audio| audio.channels)
}

/// A text as it may stand in a quoted attribute (section 4.2).
fn attribute(text: &str) -> String {
    text.chars().filter(|char| !char.is_control() && *char != '"').collect()
}
