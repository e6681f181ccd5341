//! Audio tag bodies.
use bytes::{Buf, Bytes};

use super::tracks::{TrackPart, Tracks, modifiers, u8};
use super::{FlvError, FourCc};

const MULTITRACK: u8 = 5;
const ENHANCED: u8 = 9;
const AAC: u8 = 10;

/// A codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// AAC; raw frames.
    Aac,
    /// MP3; whole frames.
    Mp3,
    /// Opus; packets.
    Opus,
    /// FLAC; frames.
    Flac,
    /// AC-3; frames.
    Ac3,
    /// E-AC-3; frames.
    Eac3,
    /// An old codec, by its number in FLV.
    Legacy(u8),
    /// Some other code.
    Other(FourCc),
}

impl AudioCodec {
    /// By its code.
    pub fn from_four_cc(code: FourCc) -> Self {
        match code {
            FourCc::AAC => Self::Aac,
            FourCc::MP3 => Self::Mp3,
            FourCc::OPUS => Self::Opus,
            FourCc::FLAC => Self::Flac,
            FourCc::AC3 => Self::Ac3,
            FourCc::EAC3 => Self::Eac3,
            other => Self::Other(other),
        }
    }

    /// Whether it can be published here.
    pub fn is_taken(self) -> bool {
        !matches!(self, Self::Legacy(_) | Self::Other(_))
    }

    /// By its number in a legacy header.
    pub fn from_legacy(number: u8) -> Self {
        match number {
            AAC => Self::Aac,
            2 | 14 => Self::Mp3,
            other => Self::Legacy(other),
        }
    }

    /// Its code; none of old codecs.
    pub fn four_cc(self) -> Option<FourCc> {
        match self {
            Self::Aac => Some(FourCc::AAC),
            Self::Mp3 => Some(FourCc::MP3),
            Self::Opus => Some(FourCc::OPUS),
            Self::Flac => Some(FourCc::FLAC),
            Self::Ac3 => Some(FourCc::AC3),
            Self::Eac3 => Some(FourCc::EAC3),
            Self::Other(code) => Some(code),
            Self::Legacy(_) => None,
        }
    }
}

impl std::fmt::Display for AudioCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Aac => "AAC",
            Self::Mp3 => "MP3",
            Self::Opus => "Opus",
            Self::Flac => "FLAC",
            Self::Ac3 => "AC-3",
            Self::Eac3 => "E-AC-3",
            Self::Legacy(0 | 3) => "PCM",
            Self::Legacy(4..=6) => "Nellymoser",
            Self::Legacy(7 | 8) => "G.711",
            Self::Legacy(11) => "Speex",
            Self::Legacy(number) => return write!(f, "audio codec number {number}"),
            Self::Other(code) => return write!(f, "audio codec {code}"),
        };
        f.write_str(name)
    }
}

/// One track's packet.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioPacket {
    /// The track; 0 is the default one, and the only one without multitrack.
    pub track: u8,
    /// Its codec.
    pub codec: AudioCodec,
    /// To be added to the message's time, nanoseconds below one millisecond.
    pub offset_ns: u32,
    /// Rate and channels of a legacy header; of AAC they mean nothing.
    pub legacy: Option<LegacyFormat>,
    /// What it holds.
    pub body: AudioBody,
}

/// What a legacy header says (FLV E.4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegacyFormat {
    /// Samples per second, rounded to one of four rates.
    pub rate_hz: u32,
    /// Bits of a sample before coding.
    pub bits: u8,
    /// Channels.
    pub channels: u8,
}

/// What a packet holds.
#[derive(Debug, Clone, PartialEq)]
pub enum AudioBody {
    /// The codec's configuration: `AudioSpecificConfig`, an Opus ID header, FLAC stream information, which ffmpeg sends
    /// without the signature and block header that E-RTMP puts in front. Empty of codecs that need none.
    SequenceStart(Bytes),
    /// A frame.
    Frame(Bytes),
    /// The sequence ends here.
    SequenceEnd,
    /// Which speaker each channel is for.
    Channels(ChannelLayout),
}

/// Which speaker each channel is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelLayout {
    /// Only their number.
    Count(u8),
    /// The speakers of a mask, in the order of its bits.
    Native {
        /// Number of channels.
        channels: u8,
        /// A bit for each speaker, front left first.
        mask: u32,
    },
    /// A speaker for each channel, by its number in the native order; 0xfe is unused and 0xff unknown.
    Custom(Bytes),
}

/// The packets of one audio message.
#[derive(Debug, Clone)]
pub struct AudioPackets {
    packet_type: u8,
    offset_ns: u32,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Legacy(Option<AudioPacket>),
    Enhanced(Tracks),
}

impl AudioPackets {
    /// Reads a message's payload as far as all tracks have it in common. An empty payload, which means silence, has no
    /// packets.
    pub fn read(mut payload: Bytes) -> Result<Self, FlvError> {
        let Ok(first) = payload.try_get_u8() else {
            return Ok(Self { packet_type: 0, offset_ns: 0, source: Source::Legacy(None) });
        };
        if first >> 4 != ENHANCED {
            let source = Source::Legacy(Some(legacy(first, payload)?));
            return Ok(Self { packet_type: 0, offset_ns: 0, source });
        }
        let (mut packet_type, offset_ns) = modifiers(first & 0x0f, &mut payload)?;
        let tracks = Tracks::read(&mut packet_type, MULTITRACK, payload)?;
        Ok(Self { packet_type, offset_ns, source: Source::Enhanced(tracks) })
    }

    fn packet(&self, part: TrackPart) -> Result<AudioPacket, FlvError> {
        let body = match self.packet_type {
            0 => AudioBody::SequenceStart(part.body),
            1 => AudioBody::Frame(part.body),
            2 => AudioBody::SequenceEnd,
            4 => AudioBody::Channels(channels(part.body)?),
            other => return Err(FlvError::PacketType(other)),
        };
        let codec = AudioCodec::from_four_cc(part.codec);
        Ok(AudioPacket { track: part.track, codec, offset_ns: self.offset_ns, legacy: None, body })
    }
}

impl Iterator for AudioPackets {
    type Item = Result<AudioPacket, FlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Legacy(packet) => packet.take().map(Ok),
            Source::Enhanced(tracks) => {
                let part = tracks.next()?;
                Some(part.and_then(|part| self.packet(part)))
            }
        }
    }
}

/// A body with a legacy header (FLV E.4.2.1).
fn legacy(first: u8, mut rest: Bytes) -> Result<AudioPacket, FlvError> {
    let number = first >> 4;
    let body = if number == AAC {
        match u8(&mut rest)? {
            0 => AudioBody::SequenceStart(rest),
            1 => AudioBody::Frame(rest),
            other => return Err(FlvError::PacketType(other)),
        }
    } else {
        AudioBody::Frame(rest)
    };
    let coarse = 44_100 >> (3 - u32::from(first >> 2 & 3));
    let rate_hz = if number == 14 { 8000 } else { coarse };
    let bits = if first & 2 == 0 { 8 } else { 16 };
    let legacy = Some(LegacyFormat { rate_hz, bits, channels: 1 + (first & 1) });
    Ok(AudioPacket { track: 0, codec: AudioCodec::from_legacy(number), offset_ns: 0, legacy, body })
}

fn channels(mut body: Bytes) -> Result<ChannelLayout, FlvError> {
    let (order, count) = (u8(&mut body)?, u8(&mut body)?);
    match order {
        1 => {
            let mask = body.try_get_u32().map_err(|_| FlvError::CutShort)?;
            Ok(ChannelLayout::Native { channels: count, mask })
        }
        2 => {
            let speakers = super::super::take(&mut body, usize::from(count)).ok_or(FlvError::CutShort)?;
            Ok(ChannelLayout::Custom(speakers))
        }
        // What is not known says at least how many there are.
        _ => Ok(ChannelLayout::Count(count)),
    }
}
