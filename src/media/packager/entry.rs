//! Sample entries: a track's codec and configuration.
use bytes::Bytes;
use mp4_atom::{
    Ac3, Ac3SpecificBox, Atom, Audio, Av01, Av1c, Avc1, Avcc, Codec, Colr, Dfla, Dops, Eac3, Ec3SpecificBox, Esds,
    FixedPoint, Flac, Hvc1, Hvcc, Mp4a, Opus, Pasp, Visual, Vp08, Vp09, VpcC,
};

use super::TRACK_ID;
use crate::domain::asset::{AudioProperties, VideoProperties};
use crate::media::codecs::h264::AvcConfig;
use crate::media::codecs::hevc::HevcConfig;
use crate::media::codecs::vp9::Vp9Config;
use crate::media::frames::{CodecConfig, InvalidConfig, TrackConfig};

/// `objectTypeIndication` of MPEG-4 audio.
const MPEG_4_AUDIO: u8 = 0x40;

/// A side of a picture as boxes have it.
pub(super) fn side(pixels: u32) -> u16 {
    u16::try_from(pixels).unwrap_or(u16::MAX)
}

/// The sample entry of a track.
pub(super) fn sample_entry(
    config: &TrackConfig,
    video: Option<VideoProperties>,
    audio: Option<AudioProperties>,
) -> Result<Codec, InvalidConfig> {
    let invalid = || InvalidConfig(config.codec.name());
    let entry = match (video, audio) {
        (Some(video), _) => visual_entry(config, &video),
        (_, Some(audio)) => sound_entry(config, &audio),
        _ => None,
    };
    entry.ok_or_else(invalid)
}

/// A box of its body.
fn boxed<A: Atom>(body: &[u8]) -> Option<A> {
    A::decode_body(&mut { body }).ok()
}

fn visual_entry(config: &TrackConfig, video: &VideoProperties) -> Option<Codec> {
    let (visual, colr, pasp) = (visual(video), colour(config), pixel_shape(config));
    Some(match &config.codec {
        CodecConfig::H264 { avcc } => {
            // Written anew: some writers leave trailing bytes or the chroma fields of High profiles out.
            let avcc: Avcc = boxed(&AvcConfig::parse(avcc).ok()?.to_bytes())?;
            Codec::Avc1(Avc1 { visual, avcc, colr, pasp, ..Default::default() })
        }
        CodecConfig::Hevc { hvcc } => {
            let hvcc: Hvcc = boxed(&HevcConfig::parse(hvcc).ok()?.to_bytes())?;
            Codec::Hvc1(Hvc1 { visual, hvcc, colr, pasp, ..Default::default() })
        }
        CodecConfig::Av1 { av1c } => {
            let av1c: Av1c = boxed(av1c)?;
            Codec::Av01(Av01 { visual, av1c, colr, pasp, ..Default::default() })
        }
        CodecConfig::Vp9 { vpcc, .. } => {
            let vpcc: VpcC = boxed(&[&[1, 0, 0, 0], &vpcc[..]].concat())?;
            Codec::Vp09(Vp09 { visual, vpcc, colr, pasp, ..Default::default() })
        }
        CodecConfig::Vp8 { size } => {
            let vpcc: VpcC = boxed(&[&[1, 0, 0, 0], &Vp9Config::of_size(*size).to_bytes()[..]].concat())?;
            Codec::Vp08(Vp08 { visual, vpcc, colr, pasp, ..Default::default() })
        }
        _ => return None,
    })
}

fn sound_entry(config: &TrackConfig, properties: &AudioProperties) -> Option<Codec> {
    let audio = Audio {
        data_reference_index: 1,
        channel_count: properties.channels,
        sample_size: 16,
        sample_rate: FixedPoint::new(u16::try_from(properties.sample_rate).unwrap_or(0), 0),
    };
    Some(match &config.codec {
        CodecConfig::Aac { config } => {
            Codec::Mp4a(Mp4a { audio, esds: descriptor(MPEG_4_AUDIO, Some(config)), btrt: None, taic: None })
        }
        CodecConfig::Mp3(header) => {
            Codec::Mp4a(Mp4a { audio, esds: descriptor(header.object_type_indication(), None), btrt: None, taic: None })
        }
        CodecConfig::Opus { dops } => Codec::Opus(Opus { audio, dops: boxed::<Dops>(dops)?, btrt: None }),
        CodecConfig::Ac3 { dac3 } => Codec::Ac3(Ac3 { audio, dac3: boxed::<Ac3SpecificBox>(dac3)? }),
        CodecConfig::Eac3 { dec3 } => Codec::Eac3(Eac3 { audio, dec3: boxed::<Ec3SpecificBox>(dec3)? }),
        CodecConfig::Flac { dfla } => Codec::Flac(Flac { audio, dfla: boxed::<Dfla>(dfla)? }),
        _ => return None,
    })
}

fn visual(video: &VideoProperties) -> Visual {
    Visual { data_reference_index: 1, width: side(video.width), height: side(video.height), ..Default::default() }
}

fn colour(config: &TrackConfig) -> Option<Colr> {
    config.colour.map(|colour| Colr::Nclx {
        colour_primaries: colour.primaries,
        transfer_characteristics: colour.transfer,
        matrix_coefficients: colour.matrix,
        full_range_flag: colour.full_range,
    })
}

fn pixel_shape(config: &TrackConfig) -> Option<Pasp> {
    config.pixel_aspect.map(|(h_spacing, v_spacing)| Pasp { h_spacing, v_spacing })
}

fn descriptor(object_type_indication: u8, specific: Option<&Bytes>) -> Esds {
    use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig};
    let to_specific =
        |config: &Bytes| DecoderSpecific { raw: config.to_vec(), profile: 0, freq_index: 0, chan_conf: 0 };
    let dec_specific = specific.map(to_specific);
    let dec_config = DecoderConfig { object_type_indication, stream_type: 5, dec_specific, ..Default::default() };
    let es_desc = EsDescriptor { es_id: TRACK_ID as u16, dec_config, sl_config: SLConfig {}, ..Default::default() };
    Esds { es_desc }
}
