//! A publisher's track of sound: its configuration, from a record or from its first packet.
use bytes::Bytes;

use super::super::wire::flv::audio::AudioCodec;
use crate::media::codecs::aac::AacConfig;
use crate::media::codecs::dolby::DolbyFrame;
use crate::media::codecs::flac::FlacConfig;
use crate::media::codecs::mp3::Mp3Header;
use crate::media::codecs::opus::{self, OpusConfig};
use crate::media::frames::{CodecConfig, TrackConfig};

/// A track of sound.
#[derive(Debug)]
pub(super) struct Sound {
    codec: AudioCodec,
    /// With its sample rate.
    config: Option<(CodecConfig, u32)>,
    /// The first frame of AC-3 and E-AC-3, which stands for those like it.
    frame: Option<DolbyFrame>,
}

impl Sound {
    /// A track that tells its configuration with its packets.
    pub(super) fn new(codec: AudioCodec) -> Self {
        Self { codec, config: None, frame: None }
    }

    /// A track with this configuration record; `None` when it cannot be read.
    pub(super) fn begin(codec: AudioCodec, record: Bytes) -> Option<Self> {
        let config = match codec {
            AudioCodec::Aac => {
                let rate = AacConfig::parse(&record)?.sample_rate;
                Some((CodecConfig::Aac { config: record }, rate))
            }
            AudioCodec::Opus => {
                let dops = OpusConfig::parse_head(&record)?.to_bytes();
                Some((CodecConfig::Opus { dops }, opus::SAMPLE_RATE))
            }
            AudioCodec::Flac => {
                let flac = FlacConfig::parse(&record)?;
                Some((CodecConfig::Flac { dfla: flac.to_bytes() }, flac.sample_rate))
            }
            // They say it in every packet.
            AudioCodec::Mp3 | AudioCodec::Ac3 | AudioCodec::Eac3 => None,
            AudioCodec::Legacy(_) | AudioCodec::Other(_) => return None,
        };
        Some(Self { codec, config, frame: None })
    }

    /// Goes on with another record: packets' own words hold.
    pub(super) fn replaces(self, before: Option<Self>) -> Self {
        match before {
            Some(before) if self.config.is_none() && before.codec == self.codec => before,
            _ => self,
        }
    }

    /// Whether it is of this codec: some change without a word.
    pub(super) fn is_in(&self, codec: AudioCodec) -> bool {
        self.codec == codec
    }

    /// Its configuration, as far as it is known.
    pub(super) fn config(&self) -> Option<TrackConfig> {
        let (codec, rate) = self.config.clone()?;
        Some(TrackConfig::new(codec, rate))
    }

    /// Hears what a packet says; whether the track's configuration is another one from here on. `None` when it cannot be read.
    pub(super) fn hear(&mut self, packet: &[u8]) -> Option<bool> {
        let found = match self.codec {
            AudioCodec::Mp3 => {
                let header = Mp3Header::parse(packet)?;
                (CodecConfig::Mp3(header), header.sample_rate)
            }
            AudioCodec::Ac3 | AudioCodec::Eac3 => {
                let frame = DolbyFrame::parse(packet)?;
                if self.frame.is_some_and(|known| known.is_like(&frame)) {
                    return Some(false);
                }
                self.frame = Some(frame);
                let record = frame.to_bytes();
                let codec = match frame.is_enhanced {
                    true => CodecConfig::Eac3 { dec3: record },
                    false => CodecConfig::Ac3 { dac3: record },
                };
                (codec, frame.sample_rate())
            }
            _ => return Some(false),
        };
        let is_new = self.config.as_ref() != Some(&found);
        self.config = Some(found);
        Some(is_new)
    }
}
