//! What a rung's plan means to each H.264 encoder.
use gstreamer as gst;
use gstreamer::prelude::*;

use super::rung::RungJob;
use crate::domain::video::Failure;
use crate::media::pipelines::internal;

/// The encoder that every machine has.
pub(super) const X264: &str = "x264enc";
/// Hardware encoders that are used where they work, the better ones first.
pub(super) const HARDWARE: [&str; 3] = ["nvh264enc", "vah264enc", "qsvh264enc"];

/// Key frames come when they are asked for and at no other time; at scene cuts there are pictures that need no other, but
/// decoding does not start there. A chunk starts with half a buffer: what follows another chunk cannot spend what that has
/// spent already.
const X264_OPTIONS: &str = "keyint=1000000000:min-keyint=100000000:scenecut=40:open-gop=0:vbv-init=0.5";

/// The same for what is encoded while it goes on.
const X264_LIVE_OPTIONS: &str = "keyint=1000000000:min-keyint=100000000:scenecut=0:open-gop=0:nal-hrd=none:force-cfr=0";
/// Short side up to which one thread keeps up with what goes on.
const LIVE_ONE_THREAD: u32 = 480;

/// Levels of ITU-T H.264 table A-1: name, macroblocks per second and per picture, kbit/s and kbits of buffer of the High
/// profile.
const LEVELS: [(&str, u64, u64, u64, u64); 13] = [
    ("1.3", 11_880, 396, 960, 2_500),
    ("2", 11_880, 396, 2_500, 2_500),
    ("2.1", 19_800, 792, 5_000, 5_000),
    ("2.2", 20_250, 1_620, 5_000, 5_000),
    ("3", 40_500, 1_620, 12_500, 12_500),
    ("3.1", 108_000, 3_600, 17_500, 17_500),
    ("3.2", 216_000, 5_120, 25_000, 25_000),
    ("4", 245_760, 8_192, 25_000, 31_250),
    ("4.1", 245_760, 8_192, 62_500, 78_125),
    ("4.2", 522_240, 8_704, 62_500, 78_125),
    ("5", 589_824, 22_080, 168_750, 168_750),
    ("5.1", 983_040, 36_864, 300_000, 300_000),
    ("5.2", 2_073_600, 36_864, 300_000, 300_000),
];

/// The lowest level that the rung's size, highest frame rate and highest rate need: the same in every chunk.
pub(super) fn level(job: &RungJob) -> &'static str {
    let blocks = u64::from(job.rung.width.div_ceil(16)) * u64::from(job.rung.height.div_ceil(16));
    let rate = blocks * u64::from(job.frame_rate_max.max(1));
    let kbits = u64::from(job.rung.bits_per_sec_max / 1000);
    let buffer = kbits * u64::from(job.rung.buffer_ms) / 1000;
    let fits = |(_, rate_max, blocks_max, kbits_max, buffer_max): &&(&str, u64, u64, u64, u64)| {
        rate <= *rate_max && blocks <= *blocks_max && kbits <= *kbits_max && buffer <= *buffer_max
    };
    LEVELS.iter().find(fits).map_or("6.2", |level| level.0)
}

/// Sets the encoder up.
pub(super) fn apply(encoder: &gst::Element, job: &RungJob) -> Result<(), Failure> {
    let kbits = (job.rung.bits_per_sec_max / 1000).max(1).to_string();
    let quality = job.rung.quality.to_string();
    let buffer_ms = job.rung.buffer_ms.clamp(1, 10_000).to_string();
    let buffer_kbits = (u64::from(job.rung.bits_per_sec_max) * u64::from(job.rung.buffer_ms) / 1_000_000).to_string();
    let preset = job.rung.preset.as_str();
    let threads = if job.rung.short_side() > LIVE_ONE_THREAD { "2" } else { "1" };
    let settings: Vec<(&str, &str)> = match job.rung.encoder.name.as_str() {
        X264 if job.is_live => vec![
            ("speed-preset", preset),
            ("tune", "zerolatency"),
            ("threads", threads),
            ("pass", "cbr"),
            ("bitrate", &kbits),
            ("vbv-buf-capacity", &buffer_ms),
            ("aud", "false"),
            ("option-string", X264_LIVE_OPTIONS),
        ],
        X264 => vec![
            ("speed-preset", preset),
            ("threads", "1"),
            ("pass", "qual"),
            ("quantizer", &quality),
            ("bitrate", &kbits),
            ("vbv-buf-capacity", &buffer_ms),
            ("aud", "false"),
            ("option-string", X264_OPTIONS),
        ],
        "nvh264enc" => vec![
            ("preset", preset),
            ("rc-mode", "vbr"),
            ("const-quality", &quality),
            ("max-bitrate", &kbits),
            ("vbv-buffer-size", &buffer_kbits),
            ("gop-size", "-1"),
            ("bframes", "0"),
            ("aud", "false"),
        ],
        "vah264enc" => vec![
            ("rate-control", "vbr"),
            ("bitrate", &kbits),
            ("cpb-size", &buffer_kbits),
            ("key-int-max", "1024"),
            ("b-frames", "0"),
            ("aud", "false"),
        ],
        "qsvh264enc" => vec![
            ("rate-control", "vbr"),
            ("bitrate", &kbits),
            ("max-bitrate", &kbits),
            ("gop-size", "0"),
            ("idr-interval", "0"),
            ("b-frames", "0"),
        ],
        other => return Err(internal(format!("no such encoder as {other}"))),
    };
    settings.into_iter().try_for_each(|(name, value)| set(encoder, name, value))
}

/// Sets a property by its text; versions of GStreamer that lack one go without it, a value that it refuses is an error.
fn set(encoder: &gst::Element, name: &str, value: &str) -> Result<(), Failure> {
    let Some(property) = encoder.find_property(name) else { return Ok(()) };
    let value = gst::glib::Value::deserialize_with_pspec(value, &property)
        .map_err(|_| internal(format!("{} has no {name} {value}", encoder.name())))?;
    encoder.set_property_from_value(name, &value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::pipelines::encode::testing::{rung, task};

    #[test]
    fn levels_follow_from_the_plan() {
        let level = |width, height, bits| {
            let mut rung = rung("v", (width, height));
            rung.bits_per_sec_max = bits;
            super::level(&RungJob::new(&rung, &task(std::path::Path::new("/none"))))
        };
        assert_eq!(level(256, 144, 200_000), "1.3");
        assert_eq!(level(1280, 720, 3_000_000), "3.2");
        assert_eq!(level(1920, 1080, 6_000_000), "4.2");
        assert_eq!(level(3840, 2160, 20_000_000), "5.2");
    }
}
