//! How each codec is carried in a transport stream: its stream type and descriptors, and what its frames look like.
use bytes::{BufMut, Bytes, BytesMut};

use crate::domain::asset::TrackKind;
use crate::media::codecs::aac::AdtsTrack;
use crate::media::codecs::annexb::AnnexBWriter;
use crate::media::codecs::h264::AvcConfig;
use crate::media::codecs::hevc::HevcConfig;
use crate::media::codecs::opus::OpusConfig;
use crate::media::frames::{CodecConfig, Frame, TrackConfig};
use crate::media::movie::three_letters;

/// Stream types (ISO/IEC 13818-1 table 2-34, and what ATSC A/53 adds).
const MPEG1_AUDIO: u8 = 0x03;
const MPEG2_AUDIO: u8 = 0x04;
const PRIVATE: u8 = 0x06;
const ADTS: u8 = 0x0f;
const H264: u8 = 0x1b;
const HEVC: u8 = 0x24;
const AC3: u8 = 0x81;
const EAC3: u8 = 0x87;

/// Stream ids of PES packets (table 2-22).
const VIDEO_ID: u8 = 0xe0;
const AUDIO_ID: u8 = 0xc0;
const PRIVATE_ID: u8 = 0xbd;

/// Descriptors of a registration, of a language, and of an extension (EN 300 468).
const REGISTRATION: u8 = 0x05;
const LANGUAGE: u8 = 0x0a;
const EXTENSION: u8 = 0x7f;
/// Extension of Opus ("Opus in MPEG-TS" by Xiph, section 4.1).
const OPUS_EXTENSION: u8 = 0x80;

/// A track that transport streams cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("transport streams cannot carry this {0}")]
pub struct NotCarried(pub &'static str);

/// What is written of frames.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    ByteStream(AnnexBWriter),
    Adts(AdtsTrack),
    Opus,
    AsIs,
}

/// How a track is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carriage {
    pub(super) stream_type: u8,
    /// Of its PES packets.
    pub(super) stream_id: u8,
    pub(super) descriptors: Bytes,
    form: Form,
}

impl Carriage {
    pub(super) fn of(config: &TrackConfig) -> Result<Self, NotCarried> {
        let not_carried = || NotCarried(config.codec.name());
        let (stream_type, registered, form) = match &config.codec {
            CodecConfig::H264 { avcc } => {
                let avc = AvcConfig::parse(avcc).map_err(|_| not_carried())?;
                (H264, None, Form::ByteStream(AnnexBWriter::of_h264(&avc)))
            }
            CodecConfig::Hevc { hvcc } => {
                let hevc = HevcConfig::parse(hvcc).map_err(|_| not_carried())?;
                (HEVC, Some(b"HEVC"), Form::ByteStream(AnnexBWriter::of_hevc(&hevc)))
            }
            CodecConfig::Aac { config } => (ADTS, None, Form::Adts(AdtsTrack::of(config).ok_or_else(not_carried)?)),
            CodecConfig::Mp3(header) => {
                (if header.is_first_version { MPEG1_AUDIO } else { MPEG2_AUDIO }, None, Form::AsIs)
            }
            CodecConfig::Ac3 { .. } => (AC3, Some(b"AC-3"), Form::AsIs),
            CodecConfig::Eac3 { .. } => (EAC3, Some(b"EAC3"), Form::AsIs),
            CodecConfig::Opus { .. } => (PRIVATE, Some(b"Opus"), Form::Opus),
            CodecConfig::Av1 { .. } | CodecConfig::Vp9 { .. } | CodecConfig::Vp8 { .. } | CodecConfig::Flac { .. } => {
                return Err(not_carried());
            }
        };
        let stream_id = match (config.kind(), stream_type) {
            (TrackKind::Video, _) => VIDEO_ID,
            (TrackKind::Audio, PRIVATE | AC3 | EAC3) => PRIVATE_ID,
            (TrackKind::Audio, _) => AUDIO_ID,
        };
        let mut descriptors = BytesMut::new();
        if let Some(name) = registered {
            put_descriptor(&mut descriptors, REGISTRATION, name);
        }
        if let CodecConfig::Opus { dops } = &config.codec {
            let opus = OpusConfig::parse(dops).ok_or_else(not_carried)?;
            // Only the usual orders of channels have a code of their own.
            let usual = OpusConfig::of_channels(opus.channels).filter(|usual| usual.is_mapped_like(&opus));
            usual.ok_or_else(not_carried)?;
            put_descriptor(&mut descriptors, EXTENSION, &[OPUS_EXTENSION, opus.channels]);
        }
        let language = config.language.split('-').next().and_then(three_letters).filter(|code| *code != "und");
        if let Some(&[a, b, c]) = language.and_then(|code| code.as_bytes().first_chunk::<3>()) {
            put_descriptor(&mut descriptors, LANGUAGE, &[a, b, c, 0]);
        }
        Ok(Self { stream_type, stream_id, descriptors: descriptors.freeze(), form })
    }

    /// Whether it is of pictures.
    pub(super) fn is_picture(&self) -> bool {
        self.stream_id == VIDEO_ID
    }

    /// What a PES packet has of this frame; `false` when it cannot be told.
    pub(super) fn put(&self, frame: &Frame, out: &mut BytesMut) -> bool {
        match &self.form {
            Form::ByteStream(writer) => writer.write(frame.keyframe, &frame.payload, out),
            Form::Adts(track) => {
                let Some(head) = track.head(frame.payload.len()) else { return false };
                out.put_slice(&head);
                out.put_slice(&frame.payload);
            }
            Form::Opus => {
                // Nothing is left out at either end, and no extension.
                out.put_u16(0x3ff << 5);
                let mut left = frame.payload.len();
                while left >= 255 {
                    out.put_u8(255);
                    left -= 255;
                }
                out.put_u8(u8::try_from(left).unwrap_or(0));
                out.put_slice(&frame.payload);
            }
            Form::AsIs => out.put_slice(&frame.payload),
        }
        true
    }
}

fn put_descriptor(out: &mut BytesMut, tag: u8, body: &[u8]) {
    out.put_u8(tag);
    out.put_u8(u8::try_from(body.len()).unwrap_or(0));
    out.put_slice(body);
}
