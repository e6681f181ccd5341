//! Names below a live stream's base URL: `master.m3u8`, `<track>/media.m3u8`, `<track>/init-<epoch>.mp4`,
//! `<track>/<epoch>-<segment>.m4s`, `<track>/<epoch>-<segment>.<part>.m4s`. Each object has exactly one name, and no name is used
//! twice. What is asked for before it is there says which epoch's it must be: of another one, a player could not decode it.
use crate::media::live::ring::Position;
use crate::protocols::hls::paths::{MEDIA, MULTIVARIANT, split_track};

/// A picture of what is live now.
pub const PICTURE: &str = "thumbnail.jpg";
/// Most digits of a number below 2^53, beyond which players err.
const DIGITS_MAX: usize = 16;

/// What the tail of a live media URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LivePath<'a> {
    /// The multivariant playlist.
    Multivariant,
    /// A picture of what is live now.
    Picture,
    /// A rendition's media playlist.
    Media {
        /// The rendition's name.
        track: &'a str,
    },
    /// The initialisation segment of an epoch.
    Init {
        /// The rendition's name.
        track: &'a str,
        /// The epoch.
        epoch: u32,
    },
    /// A whole segment.
    Segment {
        /// The rendition's name.
        track: &'a str,
        /// The epoch.
        epoch: u32,
        /// Its media sequence number.
        number: u64,
    },
    /// A part.
    Part {
        /// The rendition's name.
        track: &'a str,
        /// The epoch.
        epoch: u32,
        /// Where it is.
        position: Position,
    },
}

impl<'a> LivePath<'a> {
    /// Reads what follows a stream's base URL and a slash. `None` for anything that is not exactly a name of ours.
    pub fn parse(tail: &'a str) -> Option<Self> {
        if tail == MULTIVARIANT {
            return Some(Self::Multivariant);
        }
        if tail == PICTURE {
            return Some(Self::Picture);
        }
        let (track, name) = split_track(tail)?;
        if name == MEDIA {
            return Some(Self::Media { track });
        }
        if let Some(epoch) = name.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")) {
            return Some(Self::Init { track, epoch: u32::try_from(number(epoch)?).ok()? });
        }
        let (epoch, stem) = name.strip_suffix(".m4s")?.split_once('-')?;
        let epoch = u32::try_from(number(epoch)?).ok()?;
        Some(match stem.split_once('.') {
            Some((segment, part)) => {
                let position = Position { segment: number(segment)?, part: u32::try_from(number(part)?).ok()? };
                Self::Part { track, epoch, position }
            }
            None => Self::Segment { track, epoch, number: number(stem)? },
        })
    }
}

fn number(digits: &str) -> Option<u64> {
    let canonical = (1..=DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

/// Name of a segment below its track.
pub fn segment_name(epoch: u32, number: impl std::fmt::Display) -> String {
    format!("{epoch}-{number}.m4s")
}

/// Name of a part below its track.
pub fn part_name(epoch: u32, position: Position) -> String {
    segment_name(epoch, format_args!("{}.{}", position.segment, position.part))
}

/// Name of an epoch's initialisation segment below its track.
pub fn epoch_init_name(epoch: u32) -> String {
    format!("init-{epoch}.mp4")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let position = Position { segment: 16_777_218, part: 7 };
        let part = format!("v0/{}", part_name(4097, position));
        assert_eq!(LivePath::parse(&part), Some(LivePath::Part { track: "v0", epoch: 4097, position }));
        let init = format!("a0/{}", epoch_init_name(4097));
        assert_eq!(LivePath::parse(&init), Some(LivePath::Init { track: "a0", epoch: 4097 }));
        let segment = format!("v0/{}", segment_name(7, 12));
        assert_eq!(LivePath::parse(&segment), Some(LivePath::Segment { track: "v0", epoch: 7, number: 12 }));
        assert_eq!(LivePath::parse("master.m3u8"), Some(LivePath::Multivariant));
    }

    #[test]
    fn other_names_are_refused() {
        for other in [
            "",
            "v0",
            "v0/",
            "v0/1.m4s",
            "v0/0-01.m4s",
            "v0/0-1.2.3.m4s",
            "v0/0-.1.m4s",
            "v0/-1.m4s",
            "../0-1.m4s",
            "v0/init-.mp4",
        ] {
            assert_eq!(LivePath::parse(other), None, "{other}");
        }
        assert_eq!(LivePath::parse("v0/0-99999999999999999.m4s"), None);
    }
}
