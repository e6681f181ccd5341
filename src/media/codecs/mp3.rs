//! MP3: the headers of its frames (ISO/IEC 11172-3, section 2.4.1.3, and 13818-3).

use serde::{Deserialize, Serialize};
/// Samples a second by index, in version 1; later versions have halves and quarters.
const RATES: [u32; 3] = [44_100, 48_000, 32_000];

/// Kilobits a second by index in version 1, and in later ones.
const BIT_RATES: [[u32; 15]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mp3Header {
    /// Whether it is of version 1, with rates from 32 kHz on.
    pub is_first_version: bool,
    /// Samples a second.
    pub sample_rate: u32,
    /// Number of channels.
    pub channels: u16,
}

impl Mp3Header {
    /// Reads a frame's header; `None` when it is none of layer 3.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let &[0xff, second, third, fourth] = frame.first_chunk::<4>()? else { return None };
        let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
        let rate = RATES.get(usize::from(third >> 2 & 3)).copied()?;
        let shift = match version {
            3 => 0,
            2 => 1,
            0 => 2,
            _ => return None,
        };
        let is_frame = second >> 5 == 7 && layer == 1 && !matches!(third >> 4, 0 | 15);
        let channels = if fourth >> 6 == 3 { 1 } else { 2 };
        is_frame.then_some(Self { is_first_version: shift == 0, sample_rate: rate >> shift, channels })
    }

    /// Bytes of the frame that begins with this header; `None` when it is none of layer 3.
    pub fn frame_bytes(frame: &[u8]) -> Option<usize> {
        let header = Self::parse(frame)?;
        let third = *frame.get(2)?;
        let rates = if header.is_first_version { BIT_RATES.first()? } else { BIT_RATES.last()? };
        let bits_per_sec = rates.get(usize::from(third >> 4))? * 1000;
        let bytes = header.samples() / 8 * bits_per_sec / header.sample_rate + u32::from(third >> 1 & 1);
        usize::try_from(bytes).ok()
    }

    /// Samples of a frame.
    pub fn samples(self) -> u32 {
        if self.is_first_version { 1152 } else { 576 }
    }

    /// `objectTypeIndication` of its `esds`, and of its codec string.
    pub fn object_type_indication(self) -> u8 {
        if self.is_first_version { 0x6b } else { 0x69 }
    }

    /// RFC 6381 codec string.
    pub fn codec_string(self) -> String {
        format!("mp4a.{:X}", self.object_type_indication())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_frames() {
        let header = Mp3Header::parse(&[0xff, 0xfb, 0x54, 0xc4, 0, 0]).unwrap();
        assert_eq!(header, Mp3Header { is_first_version: true, sample_rate: 48_000, channels: 1 });
        assert_eq!((header.samples(), header.codec_string().as_str()), (1152, "mp4a.6B"));
        let low = Mp3Header::parse(&[0xff, 0xf3, 0x50, 0x04]).unwrap();
        assert_eq!((low.sample_rate, low.channels, low.samples()), (22_050, 2, 576));
        assert_eq!(Mp3Header::parse(&[0xff, 0xfd, 0x54, 0xc4]), None, "layer 2");
        assert_eq!(Mp3Header::parse(&[0xff, 0xfb, 0x5c, 0xc4]), None, "no such rate");
        assert_eq!(Mp3Header::parse(&[0xff, 0xfb, 0x54]), None);
        assert_eq!(Mp3Header::frame_bytes(&[0xff, 0xfb, 0x90, 0x64]), Some(417), "128 kb/s at 44.1 kHz");
        assert_eq!(Mp3Header::frame_bytes(&[0xff, 0xfb, 0x92, 0x64]), Some(418), "and padding");
        assert_eq!(Mp3Header::frame_bytes(&[0xff, 0xf3, 0x50, 0x04]), Some(130), "40 kb/s at 22.05 kHz");
    }
}
