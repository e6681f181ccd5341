//! Rendering of playlists (draft-pantos-hls-rfc8216bis section 4). Pure text, no sockets. All of an asset's media
//! playlists share one target duration (section 6.2.4).
mod date_ranges;
mod groups;

use std::fmt::Write;

pub use date_ranges::render_date_range;
use groups::{AudioGroup, audio_groups, channels};

use super::paths::{KEY_FRAMES, MEDIA, object_name};
use crate::domain::asset::{Asset, AssetTrack, Ticks, TrackKind, peak_bits_per_sec};
use crate::domain::ports::MediaObject;
use crate::domain::trim::Cut;
use crate::media::packager::dynamic_range;
use crate::media::view::{View, family, short_side};

/// `EXT-X-MAP` outside I-frame playlists needs version 6, and `EXT-X-MEDIA` with its services 7 (section 8).
const VERSION: u32 = 7;
/// Codec strings of AV1 begin so.
const AV1: &str = "av01";
/// Codec strings of HEVC begin so.
const HEVC: &str = "hvc1";
const INDEPENDENT: &str = "#EXT-X-INDEPENDENT-SEGMENTS\n";

/// Renders the multivariant playlist: one variant per picture track of the view and group of sound, what players start with
/// first; below them sound alone. Only the sound tracks when there are no pictures.
pub fn render_multivariant(tracks: &[AssetTrack], view: View, cut: Cut) -> String {
    let independent = if are_independent(tracks) { INDEPENDENT } else { "" };
    render_variants(format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n{independent}"), tracks, (view, cut))
}

/// Whether segments need nothing of each other. Those of HEVC may begin with pictures that are shown before the first key
/// frame and need ones of the segment before.
fn are_independent(tracks: &[AssetTrack]) -> bool {
    tracks.iter().all(|track| track.kind != TrackKind::Video || family(track) != HEVC)
}

/// The same of what is live. A long group of pictures is cut there without a key frame: parts say whether they are
/// independent, not the whole.
pub fn render_live_multivariant(tracks: &[AssetTrack]) -> String {
    render_variants(format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n"), tracks, (View::default(), Cut::NONE))
}

fn render_variants(head: String, tracks: &[AssetTrack], (view, cut): (View, Cut)) -> String {
    let mut out = head;
    let tracks = cut.tracks(tracks);
    let groups = audio_groups(&tracks);
    let videos = view.pictures(&tracks);
    let alone = videos.is_empty() && groups.iter().all(|group| group.members.len() == 1);
    if !alone {
        groups.iter().for_each(|group| render_group(&mut out, group));
    }
    let scored = videos.iter().any(|video| family(video) != videos.first().map_or("", |first| family(first)));
    for video in &videos {
        let score = scored.then(|| score(video));
        if groups.is_empty() {
            render_variant(&mut out, Variant { video, group: None, score });
        }
        groups.iter().for_each(|group| render_variant(&mut out, Variant { video, group: Some(group), score }));
    }
    if videos.is_empty() {
        groups.iter().for_each(|group| render_sound_variant(&mut out, group, (alone, false)));
    } else if view.only.is_none() {
        groups.iter().take(1).for_each(|group| render_sound_variant(&mut out, group, (false, scored)));
    }
    let has_key_frames = |video: &&&AssetTrack| cut.key_frames(video).next().is_some();
    videos.iter().filter(has_key_frames).for_each(|video| render_trick_play(&mut out, video));
    out
}

/// How much a viewer would like a variant (`SCORE`), for players that can choose between codecs: by size, and of two of one
/// size the one that needs fewer bits.
fn score(video: &AssetTrack) -> f64 {
    f64::from(short_side(video)) + if family(video) == AV1 { 0.5 } else { 0.0 }
}

fn render_group(out: &mut String, group: &AudioGroup) {
    for member in &group.members {
        let _ = write!(out, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{}\",NAME=\"{}\"", group.id, member.name);
        if let Some(language) = &member.language {
            let _ = write!(out, ",LANGUAGE=\"{language}\"");
        }
        let choice = if member.is_default { "YES" } else { "NO" };
        let (channels, uri) = (channels(member.track), &member.track.name);
        let _ = writeln!(out, ",DEFAULT={choice},AUTOSELECT=YES,CHANNELS=\"{channels}\",URI=\"{uri}/{MEDIA}\"");
    }
}

struct Variant<'a> {
    video: &'a AssetTrack,
    group: Option<&'a AudioGroup<'a>>,
    score: Option<f64>,
}

fn render_variant(out: &mut String, Variant { video, group, score }: Variant) {
    let peak = video.peak_bits_per_sec() + group.map_or(0, |group| group.most(AssetTrack::peak_bits_per_sec));
    let average = video.average_bits_per_sec() + group.map_or(0, |group| group.most(AssetTrack::average_bits_per_sec));
    let sound = group.map(|group| format!(",{}", group.codecs())).unwrap_or_default();
    let codecs = format!("{}{sound}", video.codec);
    let _ = write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{codecs}\"");
    if let Some(score) = score {
        let _ = write!(out, ",SCORE={score:.1}");
    }
    if let Some(properties) = &video.video {
        let (width, height) = properties.display_size();
        let (frames, seconds) = properties.frame_rate;
        let _ = write!(out, ",RESOLUTION={width}x{height}");
        if frames > 0 && seconds > 0 {
            let _ = write!(out, ",FRAME-RATE={:.3}", f64::from(frames) / f64::from(seconds));
        }
        out.push_str(video_range(video));
    }
    if let Some(group) = group {
        let _ = write!(out, ",AUDIO=\"{}\"", group.id);
    }
    let _ = writeln!(out, "\n{}/{MEDIA}", video.name);
}

/// What tells players that a variant is not SDR.
fn video_range(video: &AssetTrack) -> &'static str {
    match dynamic_range(&video.init) {
        "pq" => ",VIDEO-RANGE=PQ",
        "hlg" => ",VIDEO-RANGE=HLG",
        _ => "",
    }
}

/// Sound without pictures: `alone` when no group names it, with a score when the other variants have one.
fn render_sound_variant(out: &mut String, group: &AudioGroup, (alone, scored): (bool, bool)) {
    let Some(shown) = group.default_track() else { return };
    let (peak, average) = (group.most(AssetTrack::peak_bits_per_sec), group.most(AssetTrack::average_bits_per_sec));
    let codecs = group.codecs();
    let _ = write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{codecs}\"");
    if scored {
        out.push_str(",SCORE=0.0");
    }
    if !alone {
        let _ = write!(out, ",AUDIO=\"{}\"", group.id);
    }
    let _ = writeln!(out, "\n{}/{MEDIA}", shown.name);
}

fn render_trick_play(out: &mut String, video: &AssetTrack) {
    let sizes: Vec<_> = video.key_frames.iter().map(|key| (key.bytes, key.duration)).collect();
    let peak = peak_bits_per_sec(&sizes, video.timescale);
    let _ = write!(out, "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={peak},CODECS=\"{}\"", video.codec);
    if let Some(properties) = &video.video {
        let (width, height) = properties.display_size();
        let _ = write!(out, ",RESOLUTION={width}x{height}{}", video_range(video));
    }
    let _ = writeln!(out, ",URI=\"{}/{KEY_FRAMES}\"", video.name);
}

/// Renders what is left of a track as a media playlist. Its target duration is that of the whole asset.
pub fn render_media(asset: &Asset, track: &AssetTrack, cut: Cut) -> String {
    let runs = asset.runs();
    let listed = || runs.iter().cloned().flatten();
    let durations = asset.tracks.iter().flat_map(|track| {
        listed().filter_map(move |number| Some((track, track.segments.get(number as usize)?.duration)))
    });
    let mut out = render_head(target_duration(durations));
    if are_independent(std::slice::from_ref(track)) {
        out.push_str(INDEPENDENT);
    }
    asset.chronicle.cues.iter().for_each(|cue| render_date_range(&mut out, cue));
    let (mut map, mut before) = (None, None);
    for number in listed() {
        let Some(segment) = track.segments.get(number as usize) else { break };
        if !cut.keeps_segment(track, segment) {
            continue;
        }
        let epoch = asset.epoch_of(number);
        if before.is_some_and(|before| before != (number.wrapping_sub(1), epoch)) {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if before.is_none_or(|(_, before)| before != epoch) {
            let needed = init_object(asset, track, epoch);
            if map.replace(needed) != Some(needed) {
                render_map(&mut out, needed);
            }
        }
        if before.is_none_or(|before| before != (number.wrapping_sub(1), epoch)) {
            render_date(&mut out, asset, Ticks { value: segment.start, timescale: track.timescale });
        }
        before = Some((number, epoch));
        if segment.is_gap() {
            out.push_str("#EXT-X-GAP\n");
        }
        render_entry(&mut out, track, segment.duration, MediaObject::Segment(number));
    }
    out.push_str("#EXT-X-ENDLIST\n");
    out
}

/// When what follows was, where that is known; until the next discontinuity it follows from durations.
fn render_date(out: &mut String, asset: &Asset, at: Ticks) {
    if let Some(date) = asset.chronicle.date_at(at.rescale(1_000_000)) {
        let _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{date}");
    }
}

/// The initialisation segment that a track needs in an epoch.
pub fn init_object(asset: &Asset, track: &AssetTrack, epoch: usize) -> MediaObject {
    let own = asset.init_of(epoch, &track.name).and_then(|_| u32::try_from(epoch).ok());
    own.map_or(MediaObject::Init, MediaObject::EpochInit)
}

/// Renders a track's I-frame playlist: each key frame is a resource of its own.
pub fn render_key_frames(track: &AssetTrack, cut: Cut) -> Option<String> {
    cut.key_frames(track).next()?;
    let target = target_duration(track.key_frames.iter().map(|key| (track, key.duration)));
    let mut out = render_head(target);
    out.push_str("#EXT-X-I-FRAMES-ONLY\n");
    render_map(&mut out, MediaObject::Init);
    for (number, key) in cut.key_frames(track) {
        render_entry(&mut out, track, key.duration, MediaObject::KeyFrame(number));
    }
    out.push_str("#EXT-X-ENDLIST\n");
    Some(out)
}

fn render_head(target: u64) -> String {
    format!(
        "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n"
    )
}

fn render_map(out: &mut String, init: MediaObject) {
    let _ = writeln!(out, "#EXT-X-MAP:URI=\"{}\"", object_name(init));
}

fn render_entry(out: &mut String, track: &AssetTrack, duration: u32, object: MediaObject) {
    let seconds = Ticks { value: i64::from(duration), timescale: track.timescale }.as_secs_f64();
    let _ = writeln!(out, "#EXTINF:{seconds:.6},\n{}", object_name(object));
}

/// The longest duration, each rounded to the nearest second, and at least one (section 4.4.3.1).
fn target_duration<'a>(durations: impl Iterator<Item = (&'a AssetTrack, u32)>) -> u64 {
    let rounded = durations.map(|(track, duration)| {
        let timescale = u64::from(track.timescale.max(1));
        (u64::from(duration) * 2 + timescale) / (2 * timescale)
    });
    rounded.max().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests;
