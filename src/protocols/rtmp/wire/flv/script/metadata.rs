//! `onMetaData` (FLV E.5, E-RTMP "Enhancing onMetaData"). All of it is hearsay: what the stream itself says wins.
use super::super::super::amf::{Amf, Members};
use super::super::FourCc;
use super::super::audio::AudioCodec;
use super::super::video::VideoCodec;

/// Tracks described beyond the default ones at most: their number is a byte on the wire.
const TRACKS_MAX: usize = 256;

/// What the publisher says about its stream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamMetadata {
    /// The default video track; absent when nothing is said about video.
    pub video: Option<TrackMetadata>,
    /// The default audio track; absent when nothing is said about audio.
    pub audio: Option<TrackMetadata>,
    /// Further tracks of both kinds, by kind and number.
    pub tracks: Vec<TrackMetadata>,
    /// The encoder's name.
    pub encoder: Option<String>,
    /// Seconds, when it is a file with an end.
    pub duration_secs: Option<f64>,
    /// All of it as it came, to be passed on.
    pub members: Members,
}

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaKind {
    /// Video.
    #[default]
    Video,
    /// Audio.
    Audio,
}

/// What is said about a track; zero and nonsense count as nothing said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrackMetadata {
    /// Its kind.
    pub kind: MediaKind,
    /// Its number; 0 is the default track.
    pub track: u8,
    /// Its codec.
    pub codec: Option<CodecId>,
    /// Bits per second.
    pub bits_per_sec: Option<f64>,
    /// Pixels across.
    pub width: Option<u32>,
    /// Pixels down.
    pub height: Option<u32>,
    /// Frames per second.
    pub frames_per_sec: Option<f64>,
    /// Samples per second.
    pub rate_hz: Option<u32>,
    /// Channels.
    pub channels: Option<u8>,
    /// Language, as the encoder writes it.
    pub language: Option<String>,
}

/// A codec as metadata names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodecId {
    /// By its number in FLV.
    Legacy(u8),
    /// By its code.
    FourCc(FourCc),
}

impl CodecId {
    fn read(value: &Amf) -> Option<Self> {
        if let Some(code) = value.as_str().and_then(FourCc::parse) {
            return Some(Self::FourCc(code));
        }
        let number = value.as_number().filter(|number| (0.0..=f64::from(u32::MAX)).contains(number))? as u32;
        Some(u8::try_from(number).map_or(Self::FourCc(FourCc(number.to_be_bytes())), Self::Legacy))
    }

    /// The codec of a video track.
    pub fn video(self) -> VideoCodec {
        match self {
            Self::Legacy(number) => VideoCodec::from_legacy(number),
            Self::FourCc(code) => VideoCodec::from_four_cc(code),
        }
    }

    /// The codec of an audio track.
    pub fn audio(self) -> AudioCodec {
        match self {
            Self::Legacy(number) => AudioCodec::from_legacy(number),
            Self::FourCc(code) => AudioCodec::from_four_cc(code),
        }
    }
}

impl StreamMetadata {
    pub(super) fn read(value: &Amf) -> Self {
        let said = |track: TrackMetadata| (track != empty(track.kind, 0)).then_some(track);
        let video = said(track(MediaKind::Video, 0, value));
        let audio = said(track(MediaKind::Audio, 0, value));
        let mut tracks = further(MediaKind::Video, value, video.as_ref());
        tracks.extend(further(MediaKind::Audio, value, audio.as_ref()));
        Self {
            video,
            audio,
            tracks,
            encoder: text(value, &["encoder"]),
            duration_secs: positive(value, &["duration"]),
            members: value.members().to_vec(),
        }
    }
}

fn empty(kind: MediaKind, track: u8) -> TrackMetadata {
    TrackMetadata { kind, track, ..TrackMetadata::default() }
}

fn track(kind: MediaKind, track: u8, value: &Amf) -> TrackMetadata {
    let mut found = empty(kind, track);
    let kilobits = |names: &[&str]| positive(value, names).map(|kilobits| kilobits * 1000.0);
    let codec = |name| value.get(name).and_then(CodecId::read);
    match kind {
        MediaKind::Video => {
            found.codec = codec("videocodecid");
            found.bits_per_sec = kilobits(&["videodatarate"]);
            found.width = whole(value, &["width", "displayWidth"]);
            found.height = whole(value, &["height", "displayHeight"]);
            found.frames_per_sec = positive(value, &["framerate", "videoframerate"]);
        }
        MediaKind::Audio => {
            found.codec = codec("audiocodecid");
            found.bits_per_sec = kilobits(&["audiodatarate"]);
            found.rate_hz = whole(value, &["audiosamplerate", "samplerate"]);
            let stereo = value.get("stereo").and_then(Amf::as_bool).map(|stereo| if stereo { 2 } else { 1 });
            found.channels = whole(value, &["audiochannels", "channels"]).and_then(|n| u8::try_from(n).ok()).or(stereo);
        }
    }
    // The top level of a stream has no language.
    if track > 0 {
        found.language = text(value, &["language", "lang"]);
    }
    found
}

/// Tracks beyond the default one; what they do not say is as in the default one.
fn further(kind: MediaKind, value: &Amf, default: Option<&TrackMetadata>) -> Vec<TrackMetadata> {
    let map = match kind {
        MediaKind::Video => value.get("videoTrackIdInfoMap"),
        MediaKind::Audio => value.get("audioTrackIdInfoMap"),
    };
    let default = default.cloned().unwrap_or_default();
    let read = |(id, value): &(String, Amf)| {
        let id = id.trim().parse::<u8>().ok().filter(|id| *id > 0)?;
        let own = track(kind, id, value);
        Some(TrackMetadata {
            kind,
            track: id,
            codec: own.codec.or(default.codec),
            bits_per_sec: own.bits_per_sec.or(default.bits_per_sec),
            width: own.width.or(default.width),
            height: own.height.or(default.height),
            frames_per_sec: own.frames_per_sec.or(default.frames_per_sec),
            rate_hz: own.rate_hz.or(default.rate_hz),
            channels: own.channels.or(default.channels),
            language: own.language,
        })
    };
    map.map_or(&[][..], Amf::members).iter().take(TRACKS_MAX).filter_map(read).collect()
}

/// The first of these members that is a number above zero.
pub(super) fn positive(value: &Amf, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| value.get(name)?.as_number().filter(|number| *number > 0.0))
}

fn whole(value: &Amf, names: &[&str]) -> Option<u32> {
    positive(value, names).filter(|number| *number <= f64::from(u32::MAX)).map(|number| number as u32)
}

/// The first of these members that is text with something in it.
pub(super) fn text(value: &Amf, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| value.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
}
