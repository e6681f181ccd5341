//! Tracks as movies describe them.
use bytes::Bytes;

use super::{CodecConfig, TrackConfig};
use crate::media::codecs::mp3::Mp3Header;
use crate::media::codecs::vp9::Vp9Config;
use crate::media::movie::{EntryFormat, MovieTrack};

impl TrackConfig {
    /// The configuration of a movie's track; `None` when its codec is not one that is packaged, or says nothing of itself.
    pub(crate) fn of_track(track: &MovieTrack) -> Option<Self> {
        let mut config = Self::new(codec_of(track)?, track.timescale);
        config.language.clone_from(&track.language);
        config.rotation = track.rotation.unwrap_or(0);
        if let EntryFormat::Video { colour, pixel_aspect, .. } = &track.entry.format {
            config.colour = *colour;
            config.pixel_aspect = pixel_aspect.filter(|(x, y)| x != y);
        }
        Some(config)
    }
}

fn codec_of(track: &MovieTrack) -> Option<CodecConfig> {
    let body = |kind| track.entry.config(kind).cloned();
    match (&track.entry.code, &track.entry.format) {
        (b"avc1" | b"avc2" | b"avc3" | b"avc4", _) => Some(CodecConfig::H264 { avcc: body(b"avcC")? }),
        (b"hvc1" | b"hev1", _) => Some(CodecConfig::Hevc { hvcc: body(b"hvcC")? }),
        (b"av01", _) => Some(CodecConfig::Av1 { av1c: body(b"av1C")? }),
        (b"vp09", EntryFormat::Video { width, height, .. }) => {
            let vpcc = Vp9Config::parse(body(b"vpcC")?.get(4..)?).ok()?.to_bytes();
            Some(CodecConfig::Vp9 { vpcc, size: (u32::from(*width), u32::from(*height)) })
        }
        (b"Opus", _) => Some(CodecConfig::Opus { dops: body(b"dOps")? }),
        (b"ac-3", _) => Some(CodecConfig::Ac3 { dac3: body(b"dac3")? }),
        (b"ec-3", _) => Some(CodecConfig::Eac3 { dec3: body(b"dec3")? }),
        (b"fLaC", _) => Some(CodecConfig::Flac { dfla: body(b"dfLa")? }),
        (_, EntryFormat::Audio { .. }) => described(track),
        _ => None,
    }
}

/// Sound whose codec only its `esds` tells.
fn described(track: &MovieTrack) -> Option<CodecConfig> {
    let EntryFormat::Audio { channels, sample_rate, descriptor } = &track.entry.format else { return None };
    let descriptor = descriptor.as_ref()?;
    let specific: Option<&Bytes> = descriptor.specific.as_ref();
    match descriptor.object_type_indication {
        0x40 | 0x66..=0x68 => Some(CodecConfig::Aac { config: specific?.clone() }),
        kind @ (0x69 | 0x6b) => Some(CodecConfig::Mp3(Mp3Header {
            is_first_version: kind == 0x6b,
            sample_rate: *sample_rate,
            channels: u16::try_from(*channels).ok()?,
        })),
        _ => None,
    }
}
