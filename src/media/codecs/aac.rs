//! AAC: `AudioSpecificConfig` (ISO/IEC 14496-3 section 1.6.2.1) and the `esds` descriptors around it (14496-1 section
//! 7.2.6).
use bytes::Bytes;

use super::bits::BitReader;

const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Audio object type of AAC-LC.
pub const OBJECT_LC: u8 = 2;
/// Audio object type of spectral band replication: HE-AAC.
pub const OBJECT_SBR: u8 = 5;
/// Audio object type of parametric stereo: HE-AAC version 2.
pub const OBJECT_PS: u8 = 29;

/// What an `AudioSpecificConfig` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AacConfig {
    /// Audio object type as signalled first: 2 for LC, 5 for HE, 29 for HE version 2.
    pub object_type: u8,
    /// Samples per second as played, band replication included.
    pub sample_rate: u32,
    /// Number of channels as played; 0 when a program config element says it.
    pub channels: u16,
    /// Samples as played that a packet makes: 1024, or 2048 with band replication.
    pub packet_samples: u32,
}

/// Samples of a packet before band replication.
const CORE_SAMPLES: u32 = 1024;

impl AacConfig {
    /// Reads an `AudioSpecificConfig`; `None` when it is damaged.
    pub fn parse(config: &[u8]) -> Option<Self> {
        let bits = &mut BitReader::new(config);
        let object_type = read_object_type(bits)?;
        let core_rate = read_rate(bits)?;
        let channels = match bits.bits(4)? {
            count @ 0..=6 => count as u16,
            7 | 12 | 14 => 8,
            11 => 7,
            _ => return None,
        };
        let sample_rate = match object_type {
            OBJECT_SBR | OBJECT_PS => read_rate(bits)?,
            OBJECT_LC => backward_compatible_rate(bits).unwrap_or(core_rate),
            _ => core_rate,
        };
        let channels = if object_type == OBJECT_PS && channels == 1 { 2 } else { channels };
        let packet_samples = if sample_rate > core_rate { 2 * CORE_SAMPLES } else { CORE_SAMPLES };
        Some(Self { object_type, sample_rate, channels, packet_samples })
    }

    /// RFC 6381 codec string, e.g. `mp4a.40.2`.
    pub fn codec_string(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}

fn read_object_type(bits: &mut BitReader) -> Option<u8> {
    let first = bits.bits(5)?;
    let object_type = if first == 31 { 32 + bits.bits(6)? } else { first };
    u8::try_from(object_type).ok()
}

fn read_rate(bits: &mut BitReader) -> Option<u32> {
    match bits.bits(4)? {
        15 => bits.bits(24).filter(|rate| *rate > 0),
        index => RATES.get(index as usize).copied(),
    }
}

/// The rate behind the `0x2b7` sync extension, which announces band replication to decoders that know it.
fn backward_compatible_rate(bits: &mut BitReader) -> Option<u32> {
    bits.bit()?;
    if bits.bit()? {
        bits.skip(14)?;
    }
    if bits.bit()? || bits.left() < 16 || bits.bits(11)? != 0x2b7 || read_object_type(bits)? != OBJECT_SBR {
        return None;
    }
    if bits.bit()? { read_rate(bits) } else { None }
}

/// A frame's head in an ADTS stream (ISO/IEC 13818-7, section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdtsHead {
    /// Bytes of the head itself.
    pub head_bytes: usize,
    /// Bytes of the frame, the head included.
    pub frame_bytes: usize,
    /// `AudioSpecificConfig`.
    pub config: [u8; 2],
}

impl AdtsHead {
    /// `None` when there is none, or its frame holds more than one access unit.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let &[0xff, second, third, fourth, fifth, sixth, seventh] = bytes.first_chunk::<7>()? else { return None };
        if second & 0xf6 != 0xf0 || seventh & 3 != 0 {
            return None;
        }
        let (object_type, rate) = ((third >> 6) + 1, third >> 2 & 15);
        let channels = (third & 1) << 2 | fourth >> 6;
        let head_bytes = if second & 1 == 1 { 7 } else { 9 };
        let frame_bytes = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
        let config = [object_type << 3 | rate >> 1, rate << 7 | channels << 3];
        let is_sane = frame_bytes > head_bytes && usize::from(rate) < RATES.len();
        is_sane.then_some(Self { head_bytes, frame_bytes, config })
    }
}

/// The same for writing, of a track with some `AudioSpecificConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdtsTrack {
    object_type: u8,
    rate: u8,
    channels: u8,
}

impl AdtsTrack {
    /// Bytes of a head.
    const HEAD_BYTES: usize = 7;
    /// Bytes of the longest frame, its head included.
    const FRAME_BYTES_MAX: usize = (1 << 13) - 1;

    /// `None` when heads cannot say it: of other kinds of AAC, of other rates, with channels in an order of their own. Of a stream
    /// with band replication they tell what is below it; decoders find the rest.
    pub fn of(config: &[u8]) -> Option<Self> {
        let bits = &mut BitReader::new(config);
        let mut object_type = read_object_type(bits)?;
        let core_rate = read_rate(bits)?;
        let channels = u8::try_from(bits.bits(4)?).ok().filter(|channels| (1..=7).contains(channels))?;
        if matches!(object_type, OBJECT_SBR | OBJECT_PS) {
            read_rate(bits)?;
            object_type = read_object_type(bits)?;
        }
        let rate = RATES.iter().position(|rate| *rate == core_rate)?;
        let is_sayable = (1..=4).contains(&object_type);
        is_sayable.then_some(Self { object_type, rate: u8::try_from(rate).ok()?, channels })
    }

    /// The head of a frame with so many bytes of payload; `None` when that is too long.
    pub fn head(&self, payload_bytes: usize) -> Option<[u8; Self::HEAD_BYTES]> {
        let length = payload_bytes + Self::HEAD_BYTES;
        let [_, high, low] = u32::try_from(length << 5).ok()?.to_be_bytes().last_chunk::<3>().copied()?;
        let [top] = u8::try_from(length >> 11).ok()?.to_be_bytes();
        let (profile, channels) = (self.object_type - 1, self.channels);
        let third = profile << 6 | self.rate << 2 | channels >> 2;
        let is_short = length <= Self::FRAME_BYTES_MAX;
        is_short.then_some([0xff, 0xf1, third, channels << 6 | top, high, low | 0x1f, 0xfc])
    }
}

/// What an `esds` box says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EsDescriptor {
    /// `objectTypeIndication`: 0x40 is MPEG-4 audio, 0x69 and 0x6b are MP3.
    pub object_type_indication: u8,
    /// `DecoderSpecificInfo`: for AAC the `AudioSpecificConfig`.
    pub specific: Option<Bytes>,
}

impl EsDescriptor {
    /// Reads an `esds` body behind version and flags; `None` when it is damaged.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (tag, mut stream) = take_descriptor(&mut { body })?;
        let (&[_, _, flags], rest) = stream.split_first_chunk::<3>()?;
        if tag != 3 {
            return None;
        }
        stream = rest;
        if flags & 0x80 != 0 {
            stream = stream.get(2..)?;
        }
        if flags & 0x40 != 0 {
            let (length, rest) = stream.split_first()?;
            stream = rest.get(usize::from(*length)..)?;
        }
        if flags & 0x20 != 0 {
            stream = stream.get(2..)?;
        }
        let (tag, decoder) = take_descriptor(&mut stream)?;
        let (head, mut rest) = decoder.split_first_chunk::<13>()?;
        if tag != 4 {
            return None;
        }
        let specific = take_descriptor(&mut rest).filter(|(tag, _)| *tag == 5);
        let specific = specific.map(|(_, bytes)| Bytes::copy_from_slice(bytes));
        Some(Self { object_type_indication: *head.first()?, specific })
    }
}

fn take_descriptor<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, mut tail) = rest.split_first()?;
    let mut length = 0usize;
    for _ in 0..4 {
        let (&byte, after) = tail.split_first()?;
        tail = after;
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (body, tail) = tail.split_at_checked(length.min(tail.len()))?;
    *rest = tail;
    Some((tag, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(object_type: u8, sample_rate: u32, channels: u16) -> Option<AacConfig> {
        Some(AacConfig { object_type, sample_rate, channels, packet_samples: 1024 })
    }

    fn doubled(config: Option<AacConfig>) -> Option<AacConfig> {
        config.map(|config| AacConfig { packet_samples: 2048, ..config })
    }

    #[test]
    fn configs_as_encoders_write_them() {
        assert_eq!(AacConfig::parse(&[0x11, 0x90]), config(2, 48_000, 2));
        assert_eq!(AacConfig::parse(&[0x12, 0x08, 0x56, 0xe5, 0x00]), config(2, 44_100, 1));
        assert_eq!(AacConfig::parse(&[0x13, 0x90, 0x56, 0xe5, 0xa0]), doubled(config(2, 44_100, 2)));
        assert_eq!(AacConfig::parse(&[0x2b, 0x92, 0x08, 0x00]), doubled(config(5, 44_100, 2)));
        assert_eq!(AacConfig::parse(&[0xeb, 0x0a, 0x08, 0x00]), doubled(config(29, 44_100, 2)));
        assert_eq!(AacConfig::parse(&[0x11, 0xb0]).map(|config| config.channels), Some(6));
        assert_eq!(AacConfig::parse(&[0x11]), None);
        assert_eq!(AacConfig::parse(&[]), None);
    }

    #[test]
    fn heads_of_adts() {
        let head = AdtsHead::parse(&[0xff, 0xf1, 0x4c, 0x80, 0x2e, 0x7f, 0xfc]).unwrap();
        assert_eq!((head.head_bytes, head.frame_bytes), (7, 371));
        assert_eq!(AacConfig::parse(&head.config), config(2, 48_000, 2));
        assert_eq!(AdtsHead::parse(&[0xff, 0xf1, 0x4c, 0x80, 0, 0x1f, 0xfc]), None, "shorter than its head");
        assert_eq!(AdtsHead::parse(&[0xff, 0xfb, 0x4c, 0x80, 0x2e, 0x7f, 0xfc]), None, "of another layer");
        assert_eq!(AdtsHead::parse(&[0xff, 0xf1, 0x4c]), None);
    }

    #[test]
    fn heads_are_written_as_they_are_read() {
        for (config, length) in [([0x11, 0x90], 364), ([0x12, 0x08], 8184), ([0x11, 0xb0], 1)] {
            let head = AdtsTrack::of(&config).unwrap().head(length).unwrap();
            let read = AdtsHead::parse(&head).unwrap();
            assert_eq!((read.head_bytes, read.frame_bytes, read.config), (7, length + 7, config));
        }
        let high_efficiency = AdtsTrack::of(&[0x2b, 0x92, 0x08, 0x00]).unwrap();
        assert_eq!(AdtsHead::parse(&high_efficiency.head(9).unwrap()).map(|head| head.config), Some([0x13, 0x90]));
        assert_eq!(AdtsTrack::of(&[0x11, 0x80]), None, "no usual channels");
        assert_eq!(AdtsTrack::of(&[0x11, 0x90]).unwrap().head(8185), None);
    }

    #[test]
    fn esds_with_long_and_short_lengths() {
        let body = [
            0x03, 0x80, 0x80, 0x80, 0x22, 0, 2, 0, 0x04, 0x80, 0x80, 0x80, 0x14, 0x40, 0x15, 0, 0, 0, 0, 1, 0xf4, 0, 0,
            1, 0xf3, 0xf9, 0x05, 0x80, 0x80, 0x80, 0x02, 0x11, 0x90, 0x06, 0x80, 0x80, 0x80, 0x01, 0x02,
        ];
        let descriptor = EsDescriptor::parse(&body).unwrap();
        assert_eq!(descriptor.object_type_indication, 0x40);
        assert_eq!(descriptor.specific.as_deref(), Some(&[0x11, 0x90][..]));
        for length in 0..body.len() {
            let _ = EsDescriptor::parse(&body[..length]);
        }
        assert_eq!(EsDescriptor::parse(&body[..20]), None);
    }
}
