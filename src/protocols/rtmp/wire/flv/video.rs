//! Video tag bodies.
use bytes::{Buf, Bytes};

use super::super::amf::{Amf, AmfLimits, amf0};
use super::super::u24;
use super::tracks::{TrackPart, Tracks, modifiers, u8};
use super::{FlvError, FourCc};

pub use color::{ColorInfo, LightLevel, MasteringDisplay};

mod color;

const MULTITRACK: u8 = 6;
const METADATA: u8 = 4;

/// A codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// H.264; frames are length-prefixed NAL units.
    Avc,
    /// HEVC; frames are length-prefixed NAL units.
    Hevc,
    /// VVC; frames are length-prefixed NAL units.
    Vvc,
    /// AV1; frames are temporal units of OBUs.
    Av1,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// An old codec, by its number in FLV.
    Legacy(u8),
    /// Some other code.
    Other(FourCc),
}

impl VideoCodec {
    /// By its code.
    pub fn from_four_cc(code: FourCc) -> Self {
        match code {
            FourCc::AVC => Self::Avc,
            FourCc::HEVC => Self::Hevc,
            FourCc::VVC => Self::Vvc,
            FourCc::AV1 => Self::Av1,
            FourCc::VP8 => Self::Vp8,
            FourCc::VP9 => Self::Vp9,
            other => Self::Other(other),
        }
    }

    /// By its number in a legacy header. 12 and 13 are no standard: encoders used them for HEVC and AV1 before E-RTMP, framed
    /// like H.264.
    pub fn from_legacy(number: u8) -> Self {
        match number {
            7 => Self::Avc,
            12 => Self::Hevc,
            13 => Self::Av1,
            other => Self::Legacy(other),
        }
    }

    /// Its code; none of old codecs.
    pub fn four_cc(self) -> Option<FourCc> {
        match self {
            Self::Avc => Some(FourCc::AVC),
            Self::Hevc => Some(FourCc::HEVC),
            Self::Vvc => Some(FourCc::VVC),
            Self::Av1 => Some(FourCc::AV1),
            Self::Vp8 => Some(FourCc::VP8),
            Self::Vp9 => Some(FourCc::VP9),
            Self::Other(code) => Some(code),
            Self::Legacy(_) => None,
        }
    }

    /// Whether it can be published here.
    pub fn is_taken(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc | Self::Av1 | Self::Vp9)
    }

    /// Whether coded frames carry a composition time.
    pub(super) fn has_composition_time(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc | Self::Vvc)
    }
}

impl std::fmt::Display for VideoCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Avc => "H.264",
            Self::Hevc => "HEVC",
            Self::Vvc => "VVC (H.266)",
            Self::Av1 => "AV1",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Legacy(2) => "Sorenson H.263",
            Self::Legacy(4 | 5) => "VP6",
            Self::Legacy(number) => return write!(f, "video codec number {number}"),
            Self::Other(code) => return write!(f, "video codec {code}"),
        };
        f.write_str(name)
    }
}

/// What the header says about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Decoding may start here.
    Key,
    /// It needs others.
    Inter,
    /// It needs others and none needs it (H.263 only).
    Disposable,
    /// A key frame made by a server.
    GeneratedKey,
    /// Not a frame.
    Command,
    /// Reserved.
    Reserved(u8),
}

impl FrameKind {
    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Key,
            2 => Self::Inter,
            3 => Self::Disposable,
            4 => Self::GeneratedKey,
            5 => Self::Command,
            other => Self::Reserved(other),
        }
    }

    /// Whether decoding may start here.
    pub fn is_key(self) -> bool {
        matches!(self, Self::Key | Self::GeneratedKey)
    }
}

/// One track's packet.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoPacket {
    /// The track; 0 is the default one, and the only one without multitrack.
    pub track: u8,
    /// Its codec.
    pub codec: VideoCodec,
    /// What kind of frame it is.
    pub kind: FrameKind,
    /// To be added to the message's time, nanoseconds below one millisecond.
    pub offset_ns: u32,
    /// What it holds.
    pub body: VideoBody,
}

/// What a packet holds.
#[derive(Debug, Clone, PartialEq)]
pub enum VideoBody {
    /// The codec's configuration record: `avcC`, `hvcC`, `av1C`, `vpcC` without their boxes; the last one with the version
    /// and flags that its box has.
    SequenceStart(Bytes),
    /// A frame.
    Frame {
        /// When it is shown, relative to the message's time, milliseconds; may be negative.
        composition_ms: i32,
        /// Its bytes, as the codec frames them in MP4.
        data: Bytes,
    },
    /// The sequence ends here.
    SequenceEnd,
    /// Colour information for what follows; `None` returns to what the stream itself says.
    Color(Option<Box<ColorInfo>>),
    /// Metadata without colour information.
    Metadata,
    /// A descriptor of MPEG-2 TS in place of a configuration record.
    TsSequenceStart(Bytes),
    /// Start (0) or end (1) of seeking; not for us.
    Command(u8),
}

/// The packets of one video message.
#[derive(Debug, Clone)]
pub struct VideoPackets {
    kind: FrameKind,
    packet_type: u8,
    offset_ns: u32,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Legacy(Option<VideoPacket>),
    Enhanced(Tracks),
}

impl VideoPackets {
    /// Reads a message's payload as far as all tracks have it in common. An empty payload has no packets.
    pub fn read(mut payload: Bytes) -> Result<Self, FlvError> {
        let Ok(first) = payload.try_get_u8() else {
            return Ok(Self { kind: FrameKind::Command, packet_type: 0, offset_ns: 0, source: Source::Legacy(None) });
        };
        let kind = FrameKind::from_number(first >> 4 & 0x07);
        if first & 0x80 == 0 {
            let source = Source::Legacy(Some(legacy(kind, first & 0x0f, payload)?));
            return Ok(Self { kind, packet_type: 0, offset_ns: 0, source });
        }
        let (mut packet_type, offset_ns) = modifiers(first & 0x0f, &mut payload)?;
        if kind == FrameKind::Command && packet_type != METADATA {
            let packet = command(VideoCodec::Legacy(0), u8(&mut payload)?);
            return Ok(Self { kind, packet_type, offset_ns, source: Source::Legacy(Some(packet)) });
        }
        let tracks = Tracks::read(&mut packet_type, MULTITRACK, payload)?;
        Ok(Self { kind, packet_type, offset_ns, source: Source::Enhanced(tracks) })
    }

    fn packet(&self, part: TrackPart) -> Result<VideoPacket, FlvError> {
        let codec = VideoCodec::from_four_cc(part.codec);
        let body = match self.packet_type {
            0 => VideoBody::SequenceStart(part.body),
            1 if codec.has_composition_time() => coded_frame(part.body)?,
            // Without a composition time, or with one of zero.
            1 | 3 => VideoBody::Frame { composition_ms: 0, data: part.body },
            2 => VideoBody::SequenceEnd,
            METADATA => metadata(&part.body)?,
            5 => VideoBody::TsSequenceStart(part.body),
            other => return Err(FlvError::PacketType(other)),
        };
        Ok(VideoPacket { track: part.track, codec, kind: self.kind, offset_ns: self.offset_ns, body })
    }
}

impl Iterator for VideoPackets {
    type Item = Result<VideoPacket, FlvError>;

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

fn command(codec: VideoCodec, number: u8) -> VideoPacket {
    VideoPacket { track: 0, codec, kind: FrameKind::Command, offset_ns: 0, body: VideoBody::Command(number) }
}

/// A body with a legacy header (FLV E.4.3.1).
fn legacy(kind: FrameKind, codec: u8, mut rest: Bytes) -> Result<VideoPacket, FlvError> {
    let is_old = matches!(VideoCodec::from_legacy(codec), VideoCodec::Legacy(_));
    let codec = VideoCodec::from_legacy(codec);
    if kind == FrameKind::Command {
        return Ok(command(codec, u8(&mut rest)?));
    }
    let body = if is_old {
        VideoBody::Frame { composition_ms: 0, data: rest }
    } else {
        let packet_type = u8(&mut rest)?;
        let frame = coded_frame(rest);
        match (packet_type, frame) {
            (0, Ok(VideoBody::Frame { data, .. })) => VideoBody::SequenceStart(data),
            (1, Ok(frame)) => frame,
            // Some encoders leave out the composition time here.
            (2, _) => VideoBody::SequenceEnd,
            (0 | 1, _) => return Err(FlvError::CutShort),
            (other, _) => return Err(FlvError::PacketType(other)),
        }
    };
    Ok(VideoPacket { track: 0, codec, kind, offset_ns: 0, body })
}

fn coded_frame(mut rest: Bytes) -> Result<VideoBody, FlvError> {
    let unsigned = u24(&mut rest).ok_or(FlvError::CutShort)?;
    Ok(VideoBody::Frame { composition_ms: (unsigned << 8).cast_signed() >> 8, data: rest })
}

/// Pairs of names and values; only one name is defined.
fn metadata(body: &[u8]) -> Result<VideoBody, FlvError> {
    let mut reader = amf0::Reader::new(body, &AmfLimits::default());
    while let Some(name) = reader.next_value()? {
        let value = reader.next_value()?.unwrap_or(Amf::Undefined);
        if name.as_str() == Some("colorInfo") {
            let is_reset = value.members().is_empty();
            return Ok(VideoBody::Color((!is_reset).then(|| Box::new(ColorInfo::read(&value)))));
        }
    }
    Ok(VideoBody::Metadata)
}
