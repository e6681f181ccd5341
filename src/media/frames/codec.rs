//! Codecs with their configurations, and what those say.
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::asset::TrackKind;
use crate::media::codecs::aac::AacConfig;
use crate::media::codecs::av1::Av1Config;
use crate::media::codecs::dolby::DolbyFrame;
use crate::media::codecs::flac::FlacConfig;
use crate::media::codecs::h264::{AvcConfig, SpsInfo};
use crate::media::codecs::hevc::HevcConfig;
use crate::media::codecs::mp3::Mp3Header;
use crate::media::codecs::opus::{self, OpusConfig};
use crate::media::codecs::vp9::Vp9Config;
use crate::media::movie::Colour;

/// A codec with its decoder configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodecConfig {
    /// H.264, with the body of its `avcC` box.
    H264 {
        /// `AVCDecoderConfigurationRecord`.
        avcc: Bytes,
    },
    /// HEVC, with the body of its `hvcC` box.
    Hevc {
        /// `HEVCDecoderConfigurationRecord`.
        hvcc: Bytes,
    },
    /// AV1, with the body of its `av1C` box, sequence header included.
    Av1 {
        /// `AV1CodecConfigurationRecord`.
        av1c: Bytes,
    },
    /// VP9, with the body of its `vpcC` box behind version and flags, and the size of its pictures, which that does not tell.
    Vp9 {
        /// `VPCodecConfigurationRecord`.
        vpcc: Bytes,
        /// Width and height.
        size: (u32, u32),
    },
    /// VP8, which players of HLS do not take: it is encoded anew.
    Vp8 {
        /// Width and height.
        size: (u32, u32),
    },
    /// AAC.
    Aac {
        /// `AudioSpecificConfig`.
        config: Bytes,
    },
    /// Opus, with the body of its `dOps` box.
    Opus {
        /// `OpusSpecificBox`.
        dops: Bytes,
    },
    /// MP3, by the header of a frame.
    Mp3(Mp3Header),
    /// AC-3, with the body of its `dac3` box.
    Ac3 {
        /// `AC3SpecificBox`.
        dac3: Bytes,
    },
    /// E-AC-3, with the body of its `dec3` box.
    Eac3 {
        /// `EC3SpecificBox`.
        dec3: Bytes,
    },
    /// FLAC, with the body of its `dfLa` box.
    Flac {
        /// `FLACSpecificBox`, version and flags included.
        dfla: Bytes,
    },
}

/// A decoder configuration that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged {0} configuration")]
pub struct InvalidConfig(pub &'static str);

/// What a configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// RFC 6381 codec string.
    pub(super) codec: String,
    pub(super) format: Format,
}

/// What it says of pictures or sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Pictures { width: u32, height: u32, colour: Option<Colour> },
    Sound { sample_rate: u32, channels: u16 },
}

fn colour((primaries, transfer, matrix): (u8, u8, u8), full_range: bool) -> Colour {
    let [primaries, transfer, matrix] = [primaries, transfer, matrix].map(u16::from);
    Colour { primaries, transfer, matrix, full_range }
}

impl CodecConfig {
    /// Picture or sound.
    pub fn kind(&self) -> TrackKind {
        match self {
            Self::H264 { .. } | Self::Hevc { .. } | Self::Av1 { .. } | Self::Vp9 { .. } | Self::Vp8 { .. } => {
                TrackKind::Video
            }
            Self::Aac { .. }
            | Self::Opus { .. }
            | Self::Mp3(_)
            | Self::Ac3 { .. }
            | Self::Eac3 { .. }
            | Self::Flac { .. } => TrackKind::Audio,
        }
    }

    /// The codec's usual name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::H264 { .. } => "H.264",
            Self::Hevc { .. } => "HEVC",
            Self::Av1 { .. } => "AV1",
            Self::Vp9 { .. } => "VP9",
            Self::Vp8 { .. } => "VP8",
            Self::Aac { .. } => "AAC",
            Self::Opus { .. } => "Opus",
            Self::Mp3(_) => "MP3",
            Self::Ac3 { .. } => "AC-3",
            Self::Eac3 { .. } => "E-AC-3",
            Self::Flac { .. } => "FLAC",
        }
    }

    pub(super) fn told(&self) -> Result<Told, InvalidConfig> {
        self.read().ok_or(InvalidConfig(self.name()))
    }

    fn read(&self) -> Option<Told> {
        let (codec, format) = match self {
            Self::H264 { avcc } => {
                let avc = AvcConfig::parse(avcc).ok()?;
                let SpsInfo { width, height, .. } = SpsInfo::parse(avc.sps.first()?).ok()?;
                (avc.codec_string(), Format::Pictures { width, height, colour: None })
            }
            Self::Hevc { hvcc } => {
                let hevc = HevcConfig::parse(hvcc).ok()?;
                let colour = hevc.sps.colour.map(|(p, t, m, full)| colour((p, t, m), full));
                let format = Format::Pictures { width: hevc.sps.width, height: hevc.sps.height, colour };
                (hevc.codec_string(), format)
            }
            Self::Av1 { av1c } => {
                let av1 = Av1Config::parse(av1c).ok()?;
                let colour = av1.sequence.colour.map(|codes| colour(codes, av1.sequence.full_range));
                let format = Format::Pictures { width: av1.sequence.width, height: av1.sequence.height, colour };
                (av1.codec_string(), format)
            }
            Self::Vp9 { vpcc, size: (width, height) } => {
                let vp9 = Vp9Config::parse(vpcc).ok()?;
                let colour = vp9.colour().map(|codes| colour(codes, vp9.full_range));
                (vp9.codec_string(), Format::Pictures { width: *width, height: *height, colour })
            }
            Self::Vp8 { size: (width, height) } => {
                ("vp8".to_owned(), Format::Pictures { width: *width, height: *height, colour: None })
            }
            sound => sound.read_sound()?,
        };
        Some(Told { codec, format })
    }

    fn read_sound(&self) -> Option<(String, Format)> {
        let (codec, sample_rate, channels) = match self {
            Self::Aac { config } => {
                let aac = AacConfig::parse(config)?;
                (aac.codec_string(), aac.sample_rate, aac.channels)
            }
            Self::Opus { dops } => {
                let opus = OpusConfig::parse(dops)?;
                ("opus".to_owned(), opus::SAMPLE_RATE, u16::from(opus.channels))
            }
            Self::Mp3(header) => (header.codec_string(), header.sample_rate, header.channels),
            Self::Ac3 { dac3 } => {
                let ac3 = DolbyFrame::parse_dac3(dac3)?;
                ("ac-3".to_owned(), ac3.sample_rate(), ac3.channels())
            }
            Self::Eac3 { dec3 } => {
                let eac3 = DolbyFrame::parse_dec3(dec3)?;
                ("ec-3".to_owned(), eac3.sample_rate(), eac3.channels())
            }
            Self::Flac { dfla } => {
                let flac = FlacConfig::parse_box(dfla)?;
                ("flac".to_owned(), flac.sample_rate, flac.channels)
            }
            _ => return None,
        };
        Some((codec, Format::Sound { sample_rate, channels }))
    }
}

/// How long packets of a track of sound are, samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketLength {
    /// All alike; 0 of pictures.
    Fixed(u32),
    /// Each says it: Opus.
    Opus,
    /// Each says it: E-AC-3.
    Eac3,
    /// Each says it: FLAC.
    Flac(FlacConfig),
}

impl PacketLength {
    /// Of a track with this configuration.
    pub fn of(codec: &CodecConfig) -> Self {
        match codec {
            CodecConfig::Aac { config } => Self::Fixed(AacConfig::parse(config).map_or(1024, |aac| aac.packet_samples)),
            CodecConfig::Opus { .. } => Self::Opus,
            CodecConfig::Mp3(header) => Self::Fixed(header.samples()),
            CodecConfig::Ac3 { .. } => Self::Fixed(1536),
            CodecConfig::Eac3 { .. } => Self::Eac3,
            CodecConfig::Flac { dfla } => FlacConfig::parse_box(dfla).map_or(Self::Fixed(4096), Self::Flac),
            CodecConfig::H264 { .. }
            | CodecConfig::Hevc { .. }
            | CodecConfig::Av1 { .. }
            | CodecConfig::Vp9 { .. }
            | CodecConfig::Vp8 { .. } => Self::Fixed(0),
        }
    }

    /// Of this packet; of one that says nonsense what is usual.
    pub fn samples(&self, packet: &[u8]) -> u32 {
        match self {
            Self::Fixed(samples) => *samples,
            Self::Opus => opus::packet_samples(packet).unwrap_or(960),
            Self::Eac3 => DolbyFrame::parse(packet).map_or(1536, |frame| frame.samples()),
            Self::Flac(config) => config.samples(packet),
        }
    }
}
