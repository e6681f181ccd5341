//! Opus: its ID header (RFC 7845, section 5.1), the `dOps` box that says the same (Opus in ISOBMFF, section 4.3.2), and the
//! length of packets (RFC 6716, section 3.1).
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What an ID header begins with.
const MAGIC: &[u8] = b"OpusHead";
/// Samples a second of all times in Opus.
pub const SAMPLE_RATE: u32 = 48_000;
/// Channels that are believed.
const CHANNELS_MAX: u8 = 8;
/// Samples of the longest packet: 120 ms.
const PACKET_MAX: u32 = 5760;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpusConfig {
    /// Number of channels.
    pub channels: u8,
    /// Samples that decoders leave out at the beginning.
    pub pre_skip: u16,
    input_rate: u32,
    gain: i16,
    /// Family and table of the mapping of channels; the family is 0 without a table.
    mapping: Bytes,
}

impl OpusConfig {
    /// Reads an ID header; `None` when it is damaged.
    pub fn parse_head(header: &[u8]) -> Option<Self> {
        let mut rest = header.strip_prefix(MAGIC)?;
        let (version, channels) = (rest.try_get_u8().ok()?, rest.try_get_u8().ok()?);
        let (pre_skip, input_rate) = (rest.try_get_u16_le().ok()?, rest.try_get_u32_le().ok()?);
        let gain = rest.try_get_i16_le().ok()?;
        if version & 0xf0 != 0 {
            return None;
        }
        Self { channels, pre_skip, input_rate, gain, mapping: Bytes::copy_from_slice(rest) }.checked()
    }

    /// Of so many channels in their usual order (RFC 7845, section 5.1.1); `None` of none or more than eight.
    pub fn of_channels(channels: u8) -> Option<Self> {
        // Streams, those of them that are of two channels, and which channel is where.
        let mapping: &'static [u8] = match channels {
            1 | 2 => &[0],
            3 => &[1, 2, 1, 0, 2, 1],
            4 => &[1, 2, 2, 0, 1, 2, 3],
            5 => &[1, 3, 2, 0, 4, 1, 2, 3],
            6 => &[1, 4, 2, 0, 4, 1, 2, 3, 5],
            7 => &[1, 4, 3, 0, 4, 1, 2, 3, 5, 6],
            8 => &[1, 5, 3, 0, 6, 1, 2, 3, 4, 5, 7],
            _ => return None,
        };
        let mapping = Bytes::from_static(mapping);
        Some(Self { channels, pre_skip: 0, input_rate: SAMPLE_RATE, gain: 0, mapping })
    }

    /// Reads a `dOps` body; `None` when it is damaged.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let mut rest = record;
        let (version, channels) = (rest.try_get_u8().ok()?, rest.try_get_u8().ok()?);
        let (pre_skip, input_rate) = (rest.try_get_u16().ok()?, rest.try_get_u32().ok()?);
        let gain = rest.try_get_i16().ok()?;
        if version != 0 {
            return None;
        }
        Self { channels, pre_skip, input_rate, gain, mapping: Bytes::copy_from_slice(rest) }.checked()
    }

    /// With no more of the mapping than there is to it.
    fn checked(mut self) -> Option<Self> {
        let has_table = *self.mapping.first()? != 0;
        let length = if has_table { 3 + usize::from(self.channels) } else { 1 };
        let is_sane = (1..=CHANNELS_MAX).contains(&self.channels) && self.mapping.len() >= length;
        if !is_sane || !has_table && self.channels > 2 {
            return None;
        }
        self.mapping.truncate(length);
        Some(self)
    }

    /// Whether its channels are in the same order.
    pub fn is_mapped_like(&self, other: &Self) -> bool {
        (self.channels, &self.mapping) == (other.channels, &other.mapping)
    }

    /// The ID header.
    pub fn to_head(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(MAGIC.len() + 10 + self.mapping.len());
        out.put_slice(MAGIC);
        out.put_slice(&[1, self.channels]);
        out.put_u16_le(self.pre_skip);
        out.put_u32_le(self.input_rate);
        out.put_i16_le(self.gain);
        out.put_slice(&self.mapping);
        out.freeze()
    }

    /// The `dOps` body.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(10 + self.mapping.len());
        out.put_slice(&[0, self.channels]);
        out.put_u16(self.pre_skip);
        out.put_u32(self.input_rate);
        out.put_i16(self.gain);
        out.put_slice(&self.mapping);
        out.freeze()
    }
}

/// Samples of a packet; `None` when it says nonsense.
pub fn packet_samples(packet: &[u8]) -> Option<u32> {
    let first = *packet.first()?;
    let frame = match first >> 3 {
        config @ 0..=11 => [480, 960, 1920, 2880].get(usize::from(config % 4)).copied()?,
        config @ 12..=15 => [480, 960].get(usize::from(config % 2)).copied()?,
        config => 120u32 << (config % 4),
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|samples| (1..=PACKET_MAX).contains(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ffmpeg sends it for libopus in stereo.
    const HEAD: &[u8] = b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00";

    #[test]
    fn headers_become_boxes_and_are_read_again() {
        let config = OpusConfig::parse_head(HEAD).unwrap();
        assert_eq!((config.channels, config.pre_skip), (2, 312));
        assert_eq!(config.to_bytes().as_ref(), b"\x00\x02\x01\x38\x00\x00\xbb\x80\x00\x00\x00");
        assert_eq!(config.to_head().as_ref(), HEAD);
        assert_eq!(OpusConfig::parse(&config.to_bytes()), Some(config));
        for channels in 1..=8 {
            let config = OpusConfig::of_channels(channels).unwrap();
            assert_eq!(OpusConfig::parse(&config.to_bytes()), Some(config));
        }
        let surround = [&HEAD[..9], &[6], &HEAD[10..18], &[1, 4, 2, 0, 4, 1, 2, 3, 5, 99]].concat();
        let surround = OpusConfig::parse_head(&surround).unwrap();
        assert_eq!((surround.channels, surround.to_bytes().len()), (6, 10 + 9));
        for length in 0..HEAD.len() {
            assert_eq!(OpusConfig::parse_head(HEAD.get(..length).unwrap()), None);
        }
    }

    #[test]
    fn packets_tell_how_long_they_are() {
        assert_eq!(packet_samples(&[0xfc, 1]), Some(960), "20 ms, full band");
        assert_eq!(packet_samples(&[0xe0]), Some(120));
        assert_eq!(packet_samples(&[0x18]), Some(2880));
        assert_eq!(packet_samples(&[0xfd]), Some(1920));
        assert_eq!(packet_samples(&[0xff, 3]), Some(2880));
        assert_eq!(packet_samples(&[0xff, 0]), None);
        assert_eq!(packet_samples(&[0x1b, 48]), None, "longer than 120 ms");
        assert_eq!((packet_samples(&[]), packet_samples(&[0xff])), (None, None));
    }
}
