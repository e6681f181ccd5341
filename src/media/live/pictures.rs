//! A stream of pictures that carries its configuration along: from a byte stream (annex B) of H.264 and HEVC, temporal units of
//! AV1 and frames of VP9 and VP8 to canonical frames and the configuration of their track.
use bytes::{BufMut, Bytes, BytesMut};

use crate::media::codecs::annexb::AnnexB;
use crate::media::codecs::av1::{self, Av1Config};
use crate::media::codecs::h264::{self, AvcConfig, SpsInfo};
use crate::media::codecs::hevc::{HevcConfig, HevcPictures, Left};
use crate::media::codecs::vp8;
use crate::media::codecs::vp9::{self, Vp9Config};
use crate::media::frames::{CodecConfig, TrackConfig};

/// Ticks per second.
const TIMESCALE: u32 = 90_000;
/// Parameter sets of a kind in one picture at most.
const SETS_MAX: usize = 32;
/// Units of H.264 that say nothing in a file: delimiters, ends, filler.
const H264_LEFT_OUT: std::ops::RangeInclusive<u8> = 9..=12;
/// The same of HEVC.
const HEVC_LEFT_OUT: std::ops::RangeInclusive<u8> = 35..=38;
/// Parameter sets of HEVC.
const HEVC_SETS: std::ops::RangeInclusive<u8> = 32..=34;

/// What is known of a stream's configuration.
#[derive(Debug)]
pub enum Pictures {
    /// Of H.264.
    H264(Option<AvcConfig>),
    /// Of HEVC.
    Hevc(Option<Box<HevcPictures>>),
    /// Of AV1.
    Av1(Option<Av1Config>),
    /// Of VP9, with their size.
    Vp9(Option<(u32, u32)>),
    /// Of VP8, with their size.
    Vp8(Option<(u32, u32)>),
}

/// A picture.
pub struct Seen {
    /// Whether decoding can start with it.
    pub keyframe: bool,
    /// Its canonical payload.
    pub payload: Bytes,
    /// Whether the configuration is another one from here on.
    pub is_new: bool,
}

impl Pictures {
    /// Its configuration, once it is known.
    pub fn config(&self) -> Option<TrackConfig> {
        let codec = match self {
            Self::H264(config) => CodecConfig::H264 { avcc: config.as_ref()?.to_bytes() },
            Self::Hevc(pictures) => CodecConfig::Hevc { hvcc: pictures.as_ref()?.config().to_bytes() },
            Self::Av1(config) => CodecConfig::Av1 { av1c: config.as_ref()?.to_bytes() },
            Self::Vp8(size) => CodecConfig::Vp8 { size: (*size)? },
            Self::Vp9(size) => CodecConfig::Vp9 { vpcc: Vp9Config::of_size((*size)?).to_bytes(), size: (*size)? },
        };
        let config = TrackConfig::new(codec, TIMESCALE);
        let config = TrackConfig { colour: config.own_colour(), ..config };
        Some(config)
    }

    /// Takes an access unit.
    pub fn take(&mut self, stream: Bytes) -> Result<Seen, Left> {
        match self {
            Self::H264(config) => take_h264(config, &stream),
            Self::Hevc(pictures) => take_hevc(pictures, &stream),
            Self::Av1(config) => take_av1(config, stream),
            Self::Vp9(size) => take_sized(size, (stream, vp9::key_frame_size)),
            Self::Vp8(size) => take_sized(size, (stream, vp8::key_frame_size)),
        }
    }
}

fn put_unit(out: &mut BytesMut, unit: &[u8]) {
    out.put_u32(u32::try_from(unit.len()).unwrap_or(0));
    out.put_slice(unit);
}

fn take_h264(config: &mut Option<AvcConfig>, stream: &[u8]) -> Result<Seen, Left> {
    let (mut sps, mut pps) = (Vec::new(), Vec::new());
    let mut payload = BytesMut::with_capacity(stream.len() + 16);
    let (mut has_slice, mut keyframe) = (false, false);
    for unit in AnnexB::new(stream) {
        match unit.first().map_or(0, |first| first & 0x1f) {
            h264::NAL_SPS if sps.len() < SETS_MAX => sps.push(Bytes::copy_from_slice(unit)),
            h264::NAL_PPS if pps.len() < SETS_MAX => pps.push(Bytes::copy_from_slice(unit)),
            h264::NAL_SPS | h264::NAL_PPS => {}
            kind if H264_LEFT_OUT.contains(&kind) => {}
            kind => {
                has_slice |= (h264::NAL_SLICE..=h264::NAL_IDR).contains(&kind);
                keyframe |= kind == h264::NAL_IDR;
                put_unit(&mut payload, unit);
            }
        }
    }
    let found = found_config(config.as_ref(), sps, pps);
    let is_new = found.is_some();
    *config = found.or(config.take());
    if config.is_none() {
        return Err(Left::Undecodable);
    }
    if !has_slice {
        return Err(Left::Damaged);
    }
    Ok(Seen { keyframe, payload: payload.freeze(), is_new })
}

/// The configuration that these sets make together with the ones known, when it is another one.
fn found_config(known: Option<&AvcConfig>, sps: Vec<Bytes>, pps: Vec<Bytes>) -> Option<AvcConfig> {
    let is_said = |sets: &[Bytes], known: &[Bytes]| sets.iter().all(|set| known.contains(set));
    if known.is_some_and(|known| is_said(&sps, &known.sps) && is_said(&pps, &known.pps)) {
        return None;
    }
    let or_known = |sets: Vec<Bytes>, known: Option<&Vec<Bytes>>| match sets.is_empty() {
        true => known.cloned().unwrap_or_default(),
        false => sets,
    };
    let sps = or_known(sps, known.map(|known| &known.sps));
    let pps = or_known(pps, known.map(|known| &known.pps));
    SpsInfo::parse(sps.first()?).ok()?;
    AvcConfig::from_parameter_sets(sps, pps).ok().filter(|found| !found.pps.is_empty())
}

fn take_hevc(pictures: &mut Option<Box<HevcPictures>>, stream: &[u8]) -> Result<Seen, Left> {
    let kind = |unit: &[u8]| unit.first().map_or(0, |first| first >> 1 & 0x3f);
    let is_first = pictures.is_none();
    if is_first {
        let sets = AnnexB::new(stream).filter(|unit| HEVC_SETS.contains(&kind(unit))).take(SETS_MAX);
        let config = HevcConfig::from_parameter_sets(sets.map(Bytes::copy_from_slice).collect());
        *pictures = config.ok().map(|config| Box::new(HevcPictures::new(config)));
    }
    let Some(pictures) = pictures else { return Err(Left::Undecodable) };
    let mut payload = BytesMut::with_capacity(stream.len() + 16);
    for unit in AnnexB::new(stream).filter(|unit| !HEVC_LEFT_OUT.contains(&kind(unit))) {
        put_unit(&mut payload, unit);
    }
    let (keyframe, payload, is_new) = pictures.take(payload.freeze())?;
    Ok(Seen { keyframe, payload, is_new: is_new || is_first })
}

fn take_av1(config: &mut Option<Av1Config>, stream: Bytes) -> Result<Seen, Left> {
    let payload = av1::without_delimiter(stream);
    let keyframe = av1::is_key(&payload);
    let told = Av1Config::from_units(&payload).ok().filter(|told| keyframe && config.as_ref() != Some(told));
    let is_new = told.is_some();
    *config = told.or(config.take());
    if config.is_some() { Ok(Seen { keyframe, payload, is_new }) } else { Err(Left::Undecodable) }
}

type SizeOfKey = fn(&[u8]) -> Option<(u32, u32)>;

fn take_sized(size: &mut Option<(u32, u32)>, (payload, of_key): (Bytes, SizeOfKey)) -> Result<Seen, Left> {
    let found = of_key(&payload);
    let is_new = found.is_some() && found != *size;
    *size = found.or(*size);
    if size.is_some() { Ok(Seen { keyframe: found.is_some(), payload, is_new }) } else { Err(Left::Undecodable) }
}
