//! Payloads of audio, video and data messages: FLV tag bodies (Adobe FLV 10.1, annex E) and what Enhanced RTMP v1 and v2
//! (E-RTMP) add: codecs by four-character code, several tracks in one stream, nanoseconds, colour information. Media bytes are
//! shares of the payload. A body that cannot be read costs that body, never the connection.
pub mod audio;
pub mod emit;
pub mod script;
mod tracks;
pub mod video;

use std::fmt;

/// A four-character code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FourCc(pub [u8; 4]);

impl FourCc {
    /// H.264.
    pub const AVC: Self = Self(*b"avc1");
    /// HEVC.
    pub const HEVC: Self = Self(*b"hvc1");
    /// VVC.
    pub const VVC: Self = Self(*b"vvc1");
    /// AV1.
    pub const AV1: Self = Self(*b"av01");
    /// VP8.
    pub const VP8: Self = Self(*b"vp08");
    /// VP9.
    pub const VP9: Self = Self(*b"vp09");
    /// AAC.
    pub const AAC: Self = Self(*b"mp4a");
    /// Opus.
    pub const OPUS: Self = Self(*b"Opus");
    /// FLAC.
    pub const FLAC: Self = Self(*b"fLaC");
    /// AC-3.
    pub const AC3: Self = Self(*b"ac-3");
    /// E-AC-3.
    pub const EAC3: Self = Self(*b"ec-3");
    /// MP3.
    pub const MP3: Self = Self(*b".mp3");

    /// From text of four bytes.
    pub fn parse(text: &str) -> Option<Self> {
        text.as_bytes().try_into().ok().map(Self)
    }

    /// The number that metadata has for it.
    pub fn number(self) -> f64 {
        f64::from(u32::from_be_bytes(self.0))
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    /// It ends inside a field.
    #[error("an FLV tag is cut short")]
    CutShort,
    /// A packet type that neither version of E-RTMP defines.
    #[error("packet type {0} is not known")]
    PacketType(u8),
    /// A way to lay out several tracks that E-RTMP does not define.
    #[error("multitrack type {0} is not known")]
    MultitrackType(u8),
    /// Its AMF values cannot be read.
    #[error("{0}")]
    Amf(#[from] super::amf::AmfError),
    /// A data message without a name.
    #[error("a data message has no name")]
    NoName,
}

#[cfg(test)]
mod tests;
