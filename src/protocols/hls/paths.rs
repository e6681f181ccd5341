//! Names below an asset's base URL: `master.m3u8`, `<track>/media.m3u8`, `<track>/iframes.m3u8`, `<track>/init.mp4`,
//! `<track>/<n>.m4s`, `<track>/k<n>.m4s`, `<track>/init-<epoch>.mp4`. Each object has exactly one name, so that caches hold it once.
use crate::domain::ports::MediaObject;

/// The multivariant playlist.
pub const MULTIVARIANT: &str = "master.m3u8";
/// A track's media playlist.
pub const MEDIA: &str = "media.m3u8";
/// A track's I-frame playlist.
pub const KEY_FRAMES: &str = "iframes.m3u8";
/// A track's initialisation segment.
pub const INIT: &str = "init.mp4";
const SEGMENT_SUFFIX: &str = ".m4s";
const INIT_PREFIX: &str = "init-";
const INIT_SUFFIX: &str = ".mp4";
/// Longest track name.
const TRACK_CHARS_MAX: usize = 32;
/// Most digits of a number below 2^32.
const DIGITS_MAX: usize = 10;

/// What the tail of a media URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaPath<'a> {
    /// The multivariant playlist.
    Multivariant,
    /// A track's media playlist.
    Media {
        /// The track's name.
        track: &'a str,
    },
    /// A track's I-frame playlist.
    KeyFrames {
        /// The track's name.
        track: &'a str,
    },
    /// Bytes of a track.
    Object {
        /// The track's name.
        track: &'a str,
        /// Which of its objects.
        object: MediaObject,
    },
}

impl<'a> MediaPath<'a> {
    /// Reads what follows an asset's base URL and a slash. `None` for anything that is not exactly a name of ours.
    pub fn parse(tail: &'a str) -> Option<Self> {
        if tail == MULTIVARIANT {
            return Some(Self::Multivariant);
        }
        let (track, name) = split_track(tail)?;
        let object = match name {
            MEDIA => return Some(Self::Media { track }),
            KEY_FRAMES => return Some(Self::KeyFrames { track }),
            INIT => MediaObject::Init,
            _ => parse_numbered(name)?,
        };
        Some(Self::Object { track, object })
    }
}

fn parse_numbered(name: &str) -> Option<MediaObject> {
    if let Some(digits) = name.strip_prefix(INIT_PREFIX).and_then(|rest| rest.strip_suffix(INIT_SUFFIX)) {
        return parse_number(digits).map(MediaObject::EpochInit);
    }
    let stem = name.strip_suffix(SEGMENT_SUFFIX)?;
    match stem.strip_prefix('k') {
        Some(digits) => parse_number(digits).map(MediaObject::KeyFrame),
        None => parse_number(stem).map(MediaObject::Segment),
    }
}

/// Splits the name of a track from that of an object of it; `None` when that cannot be a track's name.
pub(super) fn split_track(tail: &str) -> Option<(&str, &str)> {
    let (track, name) = tail.split_once('/')?;
    let sane = (1..=TRACK_CHARS_MAX).contains(&track.len())
        && track.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    sane.then_some((track, name))
}

fn parse_number(digits: &str) -> Option<u32> {
    let canonical = (1..=DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

/// The name of an object below its track.
pub fn object_name(object: MediaObject) -> String {
    match object {
        MediaObject::Init => INIT.to_owned(),
        MediaObject::Segment(number) => format!("{number}{SEGMENT_SUFFIX}"),
        MediaObject::KeyFrame(number) => format!("k{number}{SEGMENT_SUFFIX}"),
        MediaObject::EpochInit(epoch) => format!("{INIT_PREFIX}{epoch}{INIT_SUFFIX}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let numbered = [MediaObject::Segment(0), MediaObject::Segment(4_294_967_295), MediaObject::EpochInit(3)];
        for object in numbered.into_iter().chain([MediaObject::Init]) {
            let tail = format!("v0-1/{}", object_name(object));
            assert_eq!(MediaPath::parse(&tail), Some(MediaPath::Object { track: "v0-1", object }));
        }
        let key_frame = MediaPath::Object { track: "v0-12", object: MediaObject::KeyFrame(17) };
        assert_eq!(MediaPath::parse("v0-12/k17.m4s"), Some(key_frame));
        assert_eq!(MediaPath::parse("master.m3u8"), Some(MediaPath::Multivariant));
        assert_eq!(MediaPath::parse("a0-1/media.m3u8"), Some(MediaPath::Media { track: "a0-1" }));
        assert_eq!(MediaPath::parse("v0-1/iframes.m3u8"), Some(MediaPath::KeyFrames { track: "v0-1" }));
    }

    #[test]
    fn other_names_are_refused() {
        let others = [
            "",
            "/",
            "v0-1",
            "v0-1/",
            "/0.m4s",
            "v0-1/00.m4s",
            "v0-1/+1.m4s",
            "v0-1/4294967296.m4s",
            "v0-1/k.m4s",
            "v0-1/1.m4s/",
            "V0/0.m4s",
            "../0.m4s",
            "v0-1/../init.mp4",
            "v0-1/0.ts",
            "v0-1/99999999999.m4s",
            "v 0/0.m4s",
        ];
        for other in others {
            assert_eq!(MediaPath::parse(other), None, "{other}");
        }
    }
}
