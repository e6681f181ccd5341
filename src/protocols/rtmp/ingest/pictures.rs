//! A publisher's track of pictures: its configuration, from records or from the pictures themselves, and its frames as
//! everybody else has them.
use bytes::Bytes;

use super::super::wire::flv::video::{ColorInfo, FrameKind, VideoCodec};
use crate::media::codecs::av1::{self, Av1Config};
use crate::media::codecs::h264::{self, AvcConfig};
use crate::media::codecs::hevc::{HevcConfig, HevcPictures, Left};
use crate::media::codecs::vp9::{Vp9Config, key_frame_size};
use crate::media::frames::{CodecConfig, Colour, TrackConfig};

/// Ticks per second of pictures: a multiple of the milliseconds that they come with.
const TIMESCALE: u32 = 90_000;
/// A code point that says nothing (ITU-T H.273).
const UNSPECIFIED: u16 = 2;

/// A codec, and what is known of its configuration.
#[derive(Debug)]
enum Source {
    Avc(AvcConfig, Bytes),
    Hevc(Box<HevcPictures>),
    /// Its record may lack the sequence header, or have another one than its key frames, which are right.
    Av1 {
        record: Option<Av1Config>,
        found: Option<Av1Config>,
    },
    /// Its pictures' size is in key frames.
    Vp9(Vp9Config, Option<(u32, u32)>),
}

/// A track of pictures.
#[derive(Debug)]
pub(super) struct Pictures {
    source: Source,
    colour: Option<Box<ColorInfo>>,
}

/// What a picture is taken for.
pub(super) struct Taken {
    pub(super) keyframe: bool,
    pub(super) payload: Bytes,
    /// Whether the track's configuration is another one from here on.
    pub(super) is_new: bool,
}

impl Pictures {
    /// A track with this configuration record; `None` when it cannot be read.
    pub(super) fn begin(codec: VideoCodec, record: Bytes) -> Option<Self> {
        let source = match codec {
            VideoCodec::Avc => Source::Avc(AvcConfig::parse(&record).ok()?, record),
            VideoCodec::Hevc => Source::Hevc(Box::new(HevcPictures::new(HevcConfig::parse(&record).ok()?))),
            VideoCodec::Av1 => Source::Av1 { record: Av1Config::parse(&record).ok(), found: None },
            VideoCodec::Vp9 => Source::Vp9(Vp9Config::parse(record.get(4..)?).ok()?, None),
            _ => return None,
        };
        Some(Self { source, colour: None })
    }

    /// Goes on with another record: what was told of colours holds, and so does the size until the next key frame.
    pub(super) fn replaces(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        let source = match (self.source, before.source) {
            (Source::Vp9(config, None), Source::Vp9(_, size)) => Source::Vp9(config, size),
            (Source::Av1 { record, .. }, Source::Av1 { record: same, found }) if record == same => {
                Source::Av1 { record, found }
            }
            (Source::Hevc(pictures), Source::Hevc(same)) if pictures.config() == same.config() => Source::Hevc(same),
            (source, _) => source,
        };
        Self { source, colour: before.colour }
    }

    /// The publisher tells of colours.
    pub(super) fn set_colour(&mut self, colour: Option<Box<ColorInfo>>) {
        self.colour = colour;
    }

    /// Its configuration, as far as it is known.
    pub(super) fn config(&self) -> Option<TrackConfig> {
        let codec = match &self.source {
            Source::Avc(_, avcc) => CodecConfig::H264 { avcc: avcc.clone() },
            Source::Hevc(pictures) => CodecConfig::Hevc { hvcc: pictures.config().to_bytes() },
            Source::Av1 { record, found } => CodecConfig::Av1 { av1c: found.as_ref().or(record.as_ref())?.to_bytes() },
            Source::Vp9(config, size) => CodecConfig::Vp9 { vpcc: config.to_bytes(), size: (*size)? },
        };
        let mut config = TrackConfig::new(codec, TIMESCALE);
        config.colour = merged(self.colour.as_deref(), config.own_colour());
        Some(config)
    }

    /// Takes a picture.
    pub(super) fn take(&mut self, kind: FrameKind, data: Bytes) -> Result<Taken, Left> {
        match &mut self.source {
            Source::Avc(config, _) => {
                // A key frame is an IDR picture, whatever the tag says.
                let keyframe = kind.is_key() && config.picture_kind(&data) == Some(h264::PictureKind::Idr);
                Ok(Taken { keyframe, payload: data, is_new: false })
            }
            Source::Hevc(pictures) => {
                let (keyframe, payload, is_new) = pictures.take(data)?;
                Ok(Taken { keyframe, payload, is_new })
            }
            Source::Av1 { found, .. } => {
                let payload = av1::without_delimiter(data);
                let keyframe = av1::is_key(&payload);
                let told = Av1Config::from_units(&payload).ok().filter(|told| keyframe && found.as_ref() != Some(told));
                let is_new = told.is_some();
                *found = told.or(found.take());
                Ok(Taken { keyframe, payload, is_new })
            }
            Source::Vp9(_, size) => {
                let found = key_frame_size(&data);
                let is_new = found.is_some() && found != *size;
                *size = found.or(*size);
                Ok(Taken { keyframe: found.is_some(), payload: data, is_new })
            }
        }
    }
}

/// What the publisher tells, and for the rest what the stream itself says.
fn merged(told: Option<&ColorInfo>, own: Option<Colour>) -> Option<Colour> {
    let fields =
        told.map(|told| (told.primaries, told.transfer, told.matrix)).filter(|told| *told != (None, None, None));
    let Some((primaries, transfer, matrix)) = fields else { return own };
    let blank = Colour { primaries: UNSPECIFIED, transfer: UNSPECIFIED, matrix: UNSPECIFIED, full_range: false };
    let own = own.unwrap_or(blank);
    Some(Colour {
        primaries: primaries.map_or(own.primaries, u16::from),
        transfer: transfer.map_or(own.transfer, u16::from),
        matrix: matrix.map_or(own.matrix, u16::from),
        full_range: own.full_range,
    })
}
