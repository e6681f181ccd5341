//! What relays ask, and what they are told.
use serde::{Deserialize, Serialize};

use crate::domain::cluster::NodeName;
use crate::domain::ids::PlaybackId;
use crate::media::live::broadcast::Told;
use crate::media::live::frame_relay::ToldFrame;
use crate::storage::codec::Versioned;

/// The version of the protocol since which nodes tell of frames, and send one another on.
pub const TREES_SINCE: u16 = 3;
/// Longest request.
pub const REQUEST_BYTES_MAX: usize = 96;

/// What is asked for: the id of a stream, and behind a space what of it. The first version of the protocol has the id alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The stream.
    pub playback: PlaybackId,
    /// What of it.
    pub wants: Wants,
}

/// What of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// All but its frames, from whoever is best asked for it.
    Stream,
    /// The same, from this very node: another one that it has named did not do.
    StreamHere,
    /// Its frames.
    Frames,
}

impl Wants {
    const ALL: [Self; 3] = [Self::Stream, Self::StreamHere, Self::Frames];

    const fn word(self) -> &'static str {
        match self {
            Self::Stream => "",
            Self::StreamHere => "here",
            Self::Frames => "frames",
        }
    }
}

impl Request {
    /// As it is said.
    pub fn text(&self) -> String {
        format!("{} {}", self.playback, self.wants.word()).trim_end().to_owned()
    }

    /// What is asked; `None` for what makes no sense.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (id, word) = text.split_once(' ').unwrap_or((text, ""));
        let wants = Wants::ALL.into_iter().find(|wants| wants.word() == word)?;
        Some(Self { playback: PlaybackId::parse(id).ok()?, wants })
    }
}

/// What relays are told. Variants are only ever added.
#[derive(Debug, Serialize, Deserialize)]
pub enum Piece {
    /// Of the stream itself.
    Told(Told),
    /// What it looks like.
    Picture {
        /// JPEG.
        body: bytes::Bytes,
        /// The segment that it was taken from.
        segment: u64,
    },
    /// Nothing more comes: this node is better asked. Since version 3.
    Ask(NodeName),
    /// The nodes from the one that has the stream to the one that tells of it. Since version 3.
    Path(Vec<NodeName>),
}

impl Versioned for Piece {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 64 << 20;
}

impl Versioned for ToldFrame {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 64 << 20;
}

/// What those who are told answer. Variants are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// What viewers of frames need, as it is now.
    Needs {
        /// Viewers who see the stream at once.
        viewers: u32,
        /// Whether some of them need encoded pictures.
        pictures: bool,
        /// Whether some need encoded sound.
        sound: bool,
        /// Key frames that were asked for.
        keys: u64,
    },
    /// Who has fetched something of the stream since this was last said.
    Watched(Vec<u64>),
}

/// Viewers that are told of at once.
pub const WATCHED_MAX: usize = 50_000;

impl Versioned for Said {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1 << 20;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::codec;

    #[test]
    fn requests_are_understood_and_the_plain_one_is_as_ever() {
        let playback = PlaybackId::random(&crate::system::SystemEntropy);
        assert_eq!(Request { playback: playback.clone(), wants: Wants::Stream }.text(), playback.to_string());
        for wants in Wants::ALL {
            let request = Request { playback: playback.clone(), wants };
            let text = request.text();
            assert!(text.len() <= REQUEST_BYTES_MAX);
            assert_eq!(Request::parse(text.as_bytes()), Some(request));
        }
        for nonsense in ["", "frames", &format!("{playback} sound"), &format!("{playback}  frames")] {
            assert_eq!(Request::parse(nonsense.as_bytes()), None, "{nonsense}");
        }
        assert_eq!(Request::parse(&[0xff]), None);
    }

    /// What the third version of the protocol between nodes added here. Lines are added and never changed.
    const FORMS: [&str; 4] =
        ["0102066e6f64652d31", "010301066e6f64652d31", "0100fb2c01010002", "01010201fdffffffffffffffff"];

    #[test]
    fn what_is_said_has_the_form_that_it_came_with() {
        let hex = |bytes: Vec<u8>| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let node = || "node-1".parse().unwrap();
        let pieces = [Piece::Ask(node()), Piece::Path(vec![node()])];
        let said =
            [Said::Needs { viewers: 300, pictures: true, sound: false, keys: 2 }, Said::Watched(vec![1, u64::MAX])];
        let pieces = pieces.iter().map(|piece| hex(codec::encode(piece).unwrap()));
        let forms: Vec<String> = pieces.chain(said.iter().map(|said| hex(codec::encode(said).unwrap()))).collect();
        assert_eq!(forms, FORMS, "a release in use does not understand what has changed");
    }
}
