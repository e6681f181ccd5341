//! How many bits a second rungs may take.
use crate::domain::video::VideoInfo;

/// Pixels of a picture and the rate that pictures of this size look good at, bits per second, up to 30 pictures a second.
const RATES: [(u64, u64); 8] = [
    (256 * 144, 200_000),
    (426 * 240, 400_000),
    (640 * 360, 900_000),
    (854 * 480, 1_600_000),
    (1280 * 720, 3_200_000),
    (1920 * 1080, 6_000_000),
    (2560 * 1440, 12_000_000),
    (3840 * 2160, 22_000_000),
];
/// Least rate that encoders keep to.
const RATE_MIN: f64 = 80_000.0;
/// Fewer bits that AV1 needs.
pub(super) const AV1_SHARE: f64 = 0.7;

/// A source's pictures, as far as rates depend on them.
#[derive(Debug, Clone, Copy)]
pub(super) struct SourceRate {
    pub(super) pixels: u64,
    /// Bits per second; 0 when not known.
    pub(super) bits_per_sec: u64,
}

impl SourceRate {
    /// Of a track in a file of this overall rate. Newer codecs say more with a bit than H.264 does.
    pub(super) fn of(video: &VideoInfo, file_bits_per_sec: u64) -> Self {
        let told = if video.bit_rate > 0 { video.bit_rate } else { file_bits_per_sec };
        let share = match video.codec.as_str() {
            "av1" => 2.0,
            "hevc" | "h265" | "vp9" => 1.6,
            _ => 1.0,
        };
        Self { pixels: u64::from(video.width) * u64::from(video.height), bits_per_sec: (told as f64 * share) as u64 }
    }
}

/// The rate that no second of a rung exceeds: what its size and frame rate deserve, and not more than the source has to say.
pub(super) fn bits_per_sec_max(pixels: u64, frame_rate: (u32, u32), source: SourceRate) -> f64 {
    let frames_per_sec = f64::from(frame_rate.0) / f64::from(frame_rate.1.max(1));
    let deserved = by_size(pixels) * if frames_per_sec > 31.0 { 1.5 } else { 1.0 };
    if source.bits_per_sec == 0 || source.pixels == 0 {
        return deserved;
    }
    let share = (pixels as f64 / source.pixels as f64).min(1.0).powf(0.75);
    let said = source.bits_per_sec as f64 * share * 1.3 + 50_000.0;
    deserved.min(said).max(RATE_MIN)
}

/// Between two sizes of the table the rate grows evenly; beyond its ends it goes with the size.
fn by_size(pixels: u64) -> f64 {
    let mut below: Option<(u64, u64)> = None;
    for (size, rate) in RATES {
        if pixels <= size {
            let (size_below, rate_below) = below.unwrap_or((0, 0));
            let share = (pixels - size_below) as f64 / (size - size_below) as f64;
            return (rate_below as f64 + (rate - rate_below) as f64 * share).max(RATE_MIN);
        }
        below = Some((size, rate));
    }
    below.map_or(RATE_MIN, |(size, rate)| rate as f64 * pixels as f64 / size as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: SourceRate = SourceRate { pixels: 0, bits_per_sec: 0 };

    #[test]
    fn larger_and_faster_pictures_get_more() {
        let rate = |pixels, frames| bits_per_sec_max(pixels, (frames, 1), UNKNOWN);
        assert_eq!(rate(1280 * 720, 30), 3_200_000.0);
        assert_eq!(rate(1280 * 720, 60), 4_800_000.0);
        let sizes = [1, 1000, 36_864, 60_000, 230_400, 500_000, 921_600, 3_000_000, 8_294_400, 20_000_000];
        assert!(sizes.map(|pixels| rate(pixels, 25)).is_sorted());
    }

    #[test]
    fn a_poor_source_needs_no_more_than_it_has() {
        let poor = SourceRate { pixels: 1280 * 720, bits_per_sec: 500_000 };
        let own = bits_per_sec_max(1280 * 720, (25, 1), poor);
        assert!((500_000.0..1_000_000.0).contains(&own), "{own}");
        let small = bits_per_sec_max(640 * 360, (25, 1), poor);
        assert!(small < own && small > own / 4.0, "{small} of {own}");
        let video =
            VideoInfo { codec: "hevc".into(), bit_rate: 500_000, width: 1280, height: 720, ..VideoInfo::default() };
        assert!(bits_per_sec_max(1280 * 720, (25, 1), SourceRate::of(&video, 9)) > own);
    }
}
