//! What an index tells of the tracks, standard or not.
use crate::domain::asset::TrackKind;
use crate::domain::video::{AudioInfo, MediaInfo, VideoInfo};
use crate::media::codecs::aac::AacConfig;
use crate::media::codecs::h264::{AvcConfig, SpsInfo};
use crate::media::codecs::others::{
    PictureFormat, audio_codec_name, av1_format, chroma_name, dynamic_range, hevc_format, layout_name,
    video_codec_name, vp_format,
};
use crate::media::frames::{Colour, frame_rate};
use crate::media::movie::{EntryFormat, Movie, MovieTrack, SampleEntry};

/// Describes a movie.
pub(crate) fn describe(movie: &Movie) -> MediaInfo {
    let whole = millis(movie.duration, movie.timescale);
    let tracks = movie.tracks.iter().map(|track| millis(track.duration, track.timescale));
    let duration_ms = if whole > 0 { whole } else { tracks.max().unwrap_or(0) };
    let of = |kind| movie.tracks.iter().filter(move |track| track.kind == kind);
    MediaInfo {
        container: if movie.quicktime { "mov".into() } else { "mp4".into() },
        duration_ms,
        bit_rate: rate(movie.file_bytes, duration_ms),
        video: of(TrackKind::Video).filter_map(describe_video).collect(),
        audio: of(TrackKind::Audio).filter_map(describe_audio).collect(),
    }
}

fn millis(ticks: u64, timescale: u32) -> u64 {
    u64::try_from(u128::from(ticks) * 1000 / u128::from(timescale.max(1))).unwrap_or(u64::MAX)
}

/// Bits per second; 0 when the duration is not known.
fn rate(bytes: u64, duration_ms: u64) -> u64 {
    let rate = (u128::from(bytes) * 8000).checked_div(u128::from(duration_ms));
    rate.map_or(0, |rate| u64::try_from(rate).unwrap_or(u64::MAX))
}

fn track_rate(track: &MovieTrack) -> u64 {
    rate(track.tables.media_bytes(), millis(track.duration, track.timescale))
}

/// The frame rate that all durations but the last tell.
pub(crate) fn track_frame_rate(track: &MovieTrack) -> (u32, u32) {
    let (mut frames, mut ticks) = (0u64, 0u64);
    let mut runs = track.tables.duration_runs().peekable();
    while let Some((count, duration)) = runs.next() {
        let last = runs.peek().is_none() && frames > 0;
        let count = if last { count.saturating_sub(1) } else { count };
        frames += u64::from(count);
        ticks = ticks.saturating_add(u64::from(count) * u64::from(duration));
    }
    frame_rate(frames, ticks, track.timescale)
}

fn describe_video(track: &MovieTrack) -> Option<VideoInfo> {
    let EntryFormat::Video { width, height, colour, interlaced, pixel_aspect } = track.entry.format else {
        return None;
    };
    let codec = video_codec_name(track.entry.code);
    let sps = sps_of(&track.entry).filter(|_| codec == "h264");
    let colour = colour.or_else(|| sps.and_then(sps_colour));
    let format = sps.map(|sps| sps_format(&sps)).or_else(|| format_of(&track.entry)).unwrap_or_default();
    let (width, height) = sps.map_or((u32::from(width), u32::from(height)), |sps| (sps.width, sps.height));
    Some(VideoInfo {
        codec,
        profile: format.profile,
        width,
        height,
        rotation: track.rotation.unwrap_or(0),
        pixel_aspect: pixel_aspect.unwrap_or((0, 0)),
        frame_rate: track_frame_rate(track),
        bit_depth: format.bit_depth,
        chroma: format.chroma.into(),
        interlaced: sps.map_or(interlaced, |sps| !sps.progressive),
        dynamic_range: dynamic_range(colour.map(|colour| colour.transfer)).into(),
        colorimetry: colour.map(|colour| format!("{}/{}/{}", colour.primaries, colour.transfer, colour.matrix)),
        bit_rate: track_rate(track),
    })
}

fn sps_of(entry: &SampleEntry) -> Option<SpsInfo> {
    let avc = AvcConfig::parse(entry.config(b"avcC")?).ok()?;
    SpsInfo::parse(avc.sps.first()?).ok()
}

fn sps_colour(sps: SpsInfo) -> Option<Colour> {
    let (primaries, transfer, matrix) = sps.colour?;
    let [primaries, transfer, matrix] = [primaries, transfer, matrix].map(u16::from);
    Some(Colour { primaries, transfer, matrix, full_range: false })
}

fn sps_format(sps: &SpsInfo) -> PictureFormat {
    let bit_depth = sps.bit_depth_luma.max(sps.bit_depth_chroma);
    PictureFormat { profile: Some(sps.profile_name()), bit_depth, chroma: chroma_name(sps.chroma_format) }
}

fn format_of(entry: &SampleEntry) -> Option<PictureFormat> {
    if let Some(record) = entry.config(b"hvcC") {
        return hevc_format(record);
    }
    if let Some(record) = entry.config(b"av1C") {
        return av1_format(record);
    }
    entry.config(b"vpcC").and_then(|record| record.get(4..)).and_then(vp_format)
}

fn describe_audio(track: &MovieTrack) -> Option<AudioInfo> {
    let EntryFormat::Audio { channels, sample_rate, descriptor } = &track.entry.format else { return None };
    let indication = descriptor.as_ref().map(|descriptor| descriptor.object_type_indication);
    let codec = audio_codec_name(track.entry.code, indication);
    let specific = descriptor.as_ref().and_then(|descriptor| descriptor.specific.as_ref());
    let aac = specific.filter(|_| codec == "aac").and_then(|config| AacConfig::parse(config));
    let known = aac.map(|aac| aac.channels).filter(|channels| *channels > 0);
    let channels = known.unwrap_or_else(|| u16::try_from(*channels).unwrap_or(u16::MAX));
    let sample_rate = aac.map_or(*sample_rate, |aac| aac.sample_rate);
    let (layout, language) = (layout_name(channels), track.language.clone());
    Some(AudioInfo { codec, channels, layout, sample_rate, language, bit_rate: track_rate(track) })
}
