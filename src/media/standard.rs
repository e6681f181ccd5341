//! *Standard input*: what can be played with no work at all. Each condition that a file does not meet is told with the
//! value found; a file with none is listed as it came.
use super::codecs::aac::{AacConfig, OBJECT_LC, OBJECT_PS, OBJECT_SBR};
use super::codecs::h264::{AvcConfig, SpsInfo, profile_name};
use super::codecs::others::{audio_codec_name, chroma_name, dynamic_range, video_codec_name};
use super::frames::{CodecConfig, TrackConfig};
use super::movie::{EntryFormat, MovieTrack};
use crate::domain::asset::{AssetTrack, TrackKind};
use crate::domain::video::NonStandard;

/// One condition not met.
pub(crate) fn unmet(code: &str, message: impl Into<String>) -> NonStandard {
    NonStandard { code: code.into(), message: message.into() }
}

/// Checks all that a track's header tells. Returns its configuration when its codec is one we package.
pub(crate) fn check_header(track: &MovieTrack, unmets: &mut Vec<NonStandard>) -> Option<TrackConfig> {
    if track.num_entries > 1 {
        let message = format!("the format changes within a track ({} sample descriptions)", track.num_entries);
        unmets.push(unmet("parameter_sets", message));
    }
    if track.external {
        unmets.push(unmet("external_media", "the media lie in another file"));
    }
    let config = TrackConfig::of_track(track);
    match track.kind {
        TrackKind::Video => check_video(track, config, unmets),
        TrackKind::Audio => check_audio(track, config, unmets),
    }
}

fn check_video(track: &MovieTrack, config: Option<TrackConfig>, unmets: &mut Vec<NonStandard>) -> Option<TrackConfig> {
    if track.rotation.is_none() {
        unmets.push(unmet("display_matrix", "the picture is mirrored, scaled or turned by an odd angle for display"));
    }
    match &config {
        Some(TrackConfig { codec: CodecConfig::H264 { avcc }, colour, .. }) => {
            check_h264(avcc, colour.map(|colour| colour.transfer), unmets);
            config
        }
        _ => {
            let name = video_codec_name(track.entry.code);
            unmets.push(unmet("video_codec", format!("the video codec is {name}, not h264")));
            None
        }
    }
}

/// Checks an `avcC` record; the container's colour, when it has one, outranks that of the parameter set.
pub(crate) fn check_h264(record: &[u8], container_transfer: Option<u16>, unmets: &mut Vec<NonStandard>) {
    let parsed = AvcConfig::parse(record).ok();
    let info = parsed.as_ref().and_then(|avc| avc.sps.first()).and_then(|sps| SpsInfo::parse(sps).ok());
    let (Some(avc), Some(info)) = (parsed, info) else {
        unmets.push(unmet("parameter_sets", "the H.264 parameter sets cannot be read"));
        return;
    };
    if avc.sps.len() > 1 {
        let message = format!("the track has {} sequence parameter sets instead of one", avc.sps.len());
        unmets.push(unmet("parameter_sets", message));
    }
    if !matches!(info.profile, 66 | 77 | 100 | 110 | 122 | 244) {
        unmets.push(unmet("profile", format!("the H.264 profile is {}", profile_name(info.profile))));
    }
    if info.bit_depth_luma != 8 || info.bit_depth_chroma != 8 {
        let depth = info.bit_depth_luma.max(info.bit_depth_chroma);
        unmets.push(unmet("bit_depth", format!("the pictures have {depth} bits per sample, not 8")));
    }
    if info.chroma_format != 1 {
        let chroma = chroma_name(info.chroma_format);
        unmets.push(unmet("chroma", format!("the chroma subsampling is {chroma}, not 4:2:0")));
    }
    if info.profile == 244 && info.chroma_format == 1 && info.bit_depth_luma == 8 {
        unmets.push(unmet("profile", format!("the H.264 profile is {}", info.profile_name())));
    }
    if !info.progressive {
        unmets.push(unmet("interlaced", "the pictures may be interlaced"));
    }
    let transfer = container_transfer.or_else(|| info.colour.map(|(_, transfer, _)| u16::from(transfer)));
    if dynamic_range(transfer) != "sdr" {
        let range = dynamic_range(transfer).to_uppercase();
        unmets.push(unmet("dynamic_range", format!("the pictures are HDR ({range}), not SDR")));
    }
}

fn check_audio(track: &MovieTrack, config: Option<TrackConfig>, unmets: &mut Vec<NonStandard>) -> Option<TrackConfig> {
    let EntryFormat::Audio { descriptor, .. } = &track.entry.format else { return None };
    match &config {
        Some(TrackConfig { codec: CodecConfig::Aac { config: specific }, .. }) => {
            check_aac(specific, unmets);
            config
        }
        _ => {
            let indication = descriptor.as_ref().map(|descriptor| descriptor.object_type_indication);
            let name = audio_codec_name(track.entry.code, indication);
            unmets.push(unmet("audio_codec", format!("the audio codec is {name}, not aac")));
            None
        }
    }
}

/// Checks an `AudioSpecificConfig`.
pub(crate) fn check_aac(config: &[u8], unmets: &mut Vec<NonStandard>) {
    let Some(aac) = AacConfig::parse(config) else {
        unmets.push(unmet("audio_codec", "the AAC configuration cannot be read"));
        return;
    };
    if !matches!(aac.object_type, OBJECT_LC | OBJECT_SBR | OBJECT_PS) {
        let message = format!("the audio is AAC of object type {}, not LC or HE", aac.object_type);
        unmets.push(unmet("audio_codec", message));
    }
    if aac.channels == 0 {
        unmets.push(unmet("audio_layout", "the channels are arranged in a way of their own"));
    }
}

/// What the conditions on configurations alone say of tracks found in another container.
pub fn check_configs(configs: &[TrackConfig]) -> Vec<NonStandard> {
    let mut unmets = Vec::new();
    for config in configs {
        match &config.codec {
            CodecConfig::H264 { avcc } => check_h264(avcc, config.colour.map(|colour| colour.transfer), &mut unmets),
            CodecConfig::Aac { config } => check_aac(config, &mut unmets),
            other if config.kind() == TrackKind::Video => {
                unmets.push(unmet("video_codec", format!("the video codec is {}, not H.264", other.name())));
            }
            other => unmets.push(unmet("audio_codec", format!("the audio codec is {}, not AAC", other.name()))),
        }
    }
    unmets
}

/// Checks the measured peak rate.
pub(crate) fn check_rate(track: &AssetTrack, bits_per_sec_max: u64, unmets: &mut Vec<NonStandard>) {
    let peak = track.peak_bits_per_sec();
    // A single picture lasts too short a time for its rate to mean anything.
    let long_enough = track.duration_ticks() >= i64::from(track.timescale);
    if long_enough && peak > bits_per_sec_max {
        let message = format!(
            "the bit rate reaches {:.1} Mb/s, more than {:.1} Mb/s",
            peak as f64 / 1e6,
            bits_per_sec_max as f64 / 1e6
        );
        unmets.push(unmet("bit_rate", message));
    }
}
