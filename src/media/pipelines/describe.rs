//! From caps and tags to what the API tells of a file.
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::probe::{Found, Stream, container_name};
use crate::domain::video::{AudioInfo, MediaInfo, VideoInfo};
use crate::media::codecs::others::layout_name;
use crate::media::frames::frame_rate;

/// Says what probing found in a source of so many bytes.
pub(super) fn media_info(found: &Found, source_bytes: u64) -> MediaInfo {
    let duration_ms = found.duration.map_or(0, gst::ClockTime::mseconds);
    let rate = u128::from(source_bytes) * 8000 / u128::from(duration_ms.max(1));
    let audio: Vec<AudioInfo> = found.streams.iter().filter(|s| s.is_audio()).filter_map(audio_info).collect();
    let container = match found.container.as_str() {
        // Bare sound: what it is called depends on its layer.
        "audio/mpeg" | "application/x-id3" => audio.first().map_or("mpeg", |audio| audio.codec.as_str()),
        caps => container_name(caps),
    };
    MediaInfo {
        container: container.to_owned(),
        duration_ms,
        bit_rate: if duration_ms == 0 { 0 } else { u64::try_from(rate).unwrap_or(u64::MAX) },
        video: found.streams.iter().filter(|stream| stream.is_video()).filter_map(video_info).collect(),
        audio,
    }
}

/// The short codec name of a stream's caps.
pub(super) fn codec_name(caps: &gst::StructureRef) -> String {
    let version = caps.get::<i32>("mpegversion").ok();
    match (caps.name().as_str(), version) {
        ("video/x-h264", _) => "h264",
        ("video/x-h265", _) => "hevc",
        ("video/mpeg", Some(4)) => "mpeg4",
        ("video/mpeg", Some(2)) => "mpeg2",
        ("video/mpeg", _) => "mpeg1",
        ("image/jpeg", _) => "mjpeg",
        ("audio/mpeg", Some(2 | 4)) => "aac",
        ("audio/mpeg", _) if caps.get::<i32>("layer") == Ok(3) => "mp3",
        ("audio/mpeg", _) => "mp2",
        ("audio/x-raw", _) => "pcm",
        (name, _) => return name.rsplit('/').next().unwrap_or(name).trim_start_matches("x-").to_owned(),
    }
    .to_owned()
}

/// `high-4:2:2` as it is usually written, `High 4:2:2`.
fn profile_name(caps: &str) -> String {
    let capital = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    if caps.starts_with(|first: char| first.is_ascii_digit()) {
        return format!("profile {caps}");
    }
    caps.split('-').map(capital).collect::<Vec<_>>().join(" ")
}

fn video_info(stream: &Stream) -> Option<VideoInfo> {
    let caps = stream.caps.as_ref()?.structure(0)?;
    let side = |name: &str| caps.get::<i32>(name).ok().and_then(|side| u32::try_from(side).ok()).unwrap_or(0);
    let colorimetry = caps.get::<&str>("colorimetry").ok();
    let interlace = caps.get::<&str>("interlace-mode").unwrap_or("progressive");
    Some(VideoInfo {
        codec: codec_name(caps),
        profile: caps.get::<&str>("profile").ok().map(profile_name),
        width: side("width"),
        height: side("height"),
        rotation: rotation(stream),
        pixel_aspect: pixel_aspect(caps),
        frame_rate: told_rate(caps).unwrap_or_else(|| counted_rate(stream)),
        bit_depth: u8::try_from(caps.get::<u32>("bit-depth-luma").unwrap_or(8)).unwrap_or(8),
        chroma: caps.get::<&str>("chroma-format").unwrap_or("4:2:0").to_owned(),
        interlaced: interlace != "progressive",
        dynamic_range: dynamic_range(colorimetry).to_owned(),
        colorimetry: colorimetry.map(str::to_owned),
        bit_rate: bit_rate(stream),
    })
}

fn pixel_aspect(caps: &gst::StructureRef) -> (u32, u32) {
    let told = caps.get::<gst::Fraction>("pixel-aspect-ratio").ok();
    let side = |side: i32| u32::try_from(side).unwrap_or(0);
    told.map_or((0, 0), |told| (side(told.numer()), side(told.denom())))
}

fn told_rate(caps: &gst::StructureRef) -> Option<(u32, u32)> {
    let told = caps.get::<gst::Fraction>("framerate").ok()?;
    let rate = (u32::try_from(told.numer()).ok()?, u32::try_from(told.denom()).ok()?);
    (rate.0 > 0 && rate.1 > 0).then_some(rate)
}

/// The average over the pictures seen; a usual rate when it is very near one.
fn counted_rate(stream: &Stream) -> (u32, u32) {
    let Some((first, last)) = stream.range.filter(|(first, last)| last > first && stream.num_packets > 1) else {
        return (0, 1);
    };
    let average = gst::ClockTime::from_nseconds((last - first).nseconds() / (stream.num_packets - 1));
    let usual = gst_video::guess_framerate(average);
    match usual.and_then(|rate| Some((u32::try_from(rate.numer()).ok()?, u32::try_from(rate.denom()).ok()?))) {
        Some(rate) => rate,
        None => frame_rate(stream.num_packets - 1, (last - first).mseconds(), 1000),
    }
}

fn dynamic_range(colorimetry: Option<&str>) -> &'static str {
    let parsed = colorimetry.and_then(|text| text.parse::<gst_video::VideoColorimetry>().ok());
    match parsed.map(|colorimetry| colorimetry.transfer()) {
        Some(gst_video::VideoTransferFunction::Smpte2084) => "pq",
        Some(gst_video::VideoTransferFunction::AribStdB67) => "hlg",
        _ => "sdr",
    }
}

fn rotation(stream: &Stream) -> u16 {
    let orientation = stream.tags.as_ref().and_then(|tags| tags.get::<gst::tags::ImageOrientation>());
    orientation.as_ref().map_or(0, |orientation| degrees(orientation.get()))
}

/// Clockwise degrees of an `image-orientation` tag.
pub(super) fn degrees(orientation: &str) -> u16 {
    match orientation {
        "rotate-90" => 90,
        "rotate-180" => 180,
        "rotate-270" => 270,
        _ => 0,
    }
}

fn bit_rate(stream: &Stream) -> u64 {
    let tags = stream.tags.as_ref();
    let told = tags.and_then(|tags| tags.get::<gst::tags::Bitrate>()).map(|rate| u64::from(rate.get()));
    let nominal = tags.and_then(|tags| tags.get::<gst::tags::NominalBitrate>()).map(|rate| u64::from(rate.get()));
    let counted = stream.range.filter(|(first, last)| last > first).map(|(first, last)| {
        let rate = u128::from(stream.bytes) * 8_000_000_000 / u128::from((last - first).nseconds().max(1));
        u64::try_from(rate).unwrap_or(u64::MAX)
    });
    told.or(nominal).or(counted).unwrap_or(0)
}

fn audio_info(stream: &Stream) -> Option<AudioInfo> {
    let caps = stream.caps.as_ref()?.structure(0)?;
    let channels = caps.get::<i32>("channels").ok().and_then(|channels| u16::try_from(channels).ok()).unwrap_or(0);
    let rate = caps.get::<i32>("rate").ok().and_then(|rate| u32::try_from(rate).ok()).unwrap_or(0);
    let language = stream.tags.as_ref().and_then(|tags| tags.get::<gst::tags::LanguageCode>());
    Some(AudioInfo {
        codec: codec_name(caps),
        channels,
        layout: layout_name(channels),
        sample_rate: rate,
        language: language.map_or_else(|| "und".to_owned(), |language| language.get().to_owned()),
        bit_rate: bit_rate(stream),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_written_as_usual() {
        assert_eq!(profile_name("high"), "High");
        assert_eq!(profile_name("main-10"), "Main 10");
        assert_eq!(profile_name("high-4:2:2"), "High 4:2:2");
        assert_eq!(profile_name("0"), "profile 0");
    }

    #[test]
    fn dynamic_range_is_read_from_colorimetry() {
        gst::init().unwrap();
        assert_eq!(dynamic_range(Some("bt2100-pq")), "pq");
        assert_eq!(dynamic_range(Some("bt2100-hlg")), "hlg");
        assert_eq!(dynamic_range(Some("bt709")), "sdr");
        assert_eq!(dynamic_range(None), "sdr");
    }
}
