//! The survey of a source: every packet's time to the very end, nothing decoded, and from that where pictures are cut.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use self::timescale::{ticks, timescale_of};
use self::track::{Track, TrackKind};
use super::internal;
use super::parse::{Parsing, attach, discard};
use super::remux::{check_length, nothing_came_out};
use super::times::SourceTimes;
use super::worker::Reporter;
use crate::domain::asset::TIMELINE_ORIGIN_SECS;
use crate::domain::ladder::Reading;
use crate::domain::video::{Failure, MediaInfo};
use crate::media::frames::frame_rate;
use crate::media::grid::GridSettings;
use crate::media::source::ExtentReader;
use crate::media::work::{Answer, MediaLimits, Survey};

mod cuts;
mod seeking;
mod timescale;
mod track;

/// Longest distance between two pictures, and longest video: further apart, times are damaged rather than long.
const LONGEST_NS: i64 = 30 * 24 * 3600 * 1_000_000_000;
/// Longest segment in ticks, so that its duration has 32 bits.
const TICKS_MAX: i64 = u32::MAX as i64;
/// Told frame rates this near to the counted one are right: parts of it.
const RATE_TOLERANCE: i128 = 100;

/// Surveys a source that inspection has looked at. `make_reader` opens it anew for each pass.
pub(super) fn survey(
    make_reader: &dyn Fn() -> ExtentReader,
    limits: &MediaLimits,
    media: &MediaInfo,
    reporter: &Arc<Reporter>,
) -> Result<Answer, Failure> {
    let mut reader = make_reader();
    let times = SourceTimes::of(&mut reader)?;
    let tracks = Tracks::default();
    let seen = Arc::clone(&tracks);
    let parsing = Parsing::start(reader, reporter, move |pipeline, pad| watch_pad(pipeline, pad, times, &seen))?;
    let end = parsing.watch(|| locked(&tracks).iter().any(Track::is_too_long));
    drop(parsing);
    let mut tracks = std::mem::take(&mut *locked(&tracks));
    if tracks.iter().any(Track::is_too_long) {
        return Err(internal("it has more pictures than are believable"));
    }
    tracks.retain(|track| track.kind() != TrackKind::Other && !track.is_empty());
    tracks.iter_mut().for_each(Track::settle);
    let pictures = tracks.iter().find(|track| track.kind() == TrackKind::Pictures && !track.is_empty());
    let sound = || tracks.iter().filter(|track| track.kind() == TrackKind::Sound);
    let Some(start_ns) = pictures.and_then(Track::start).or_else(|| sound().filter_map(Track::start).min()) else {
        return Err(nothing_came_out(end));
    };
    let duration_ns = tracks.iter().map(Track::length).max().unwrap_or(0);
    let duration_ms = u64::try_from(duration_ns / 1_000_000).unwrap_or(0);
    let start_ms = u64::try_from(start_ns / 1_000_000).unwrap_or(0);
    let end_ns = tracks.iter().map(Track::end).max().unwrap_or(start_ns);
    let until_ms = u64::try_from((end_ns - start_ns) / 1_000_000).unwrap_or(0);
    check_length(&MediaInfo { duration_ms: until_ms, ..media.clone() }, start_ms, media.duration_ms, &end)?;
    let Some(pictures) = pictures else {
        let timescale = 90_000;
        let (cuts, num_frames, frame_rate) = (Vec::new(), 0, (0, 1));
        return Ok(Answer::Surveyed(Survey {
            timescale,
            start_ns,
            cuts,
            num_frames,
            frame_rate,
            duration_ms,
            reading: Reading::Sought,
        }));
    };
    let grid = cut(pictures, start_ns, limits)?;
    let reading = if !pictures.has_all_times() {
        Reading::Paced
    } else if seeking::is_exact(make_reader, media, pictures, times, reporter)? {
        Reading::Sought
    } else {
        Reading::FromStart
    };
    Ok(Answer::Surveyed(Survey {
        timescale: grid.timescale,
        start_ns,
        cuts: grid.cuts,
        num_frames: pictures.num_shown(),
        frame_rate: average_rate(pictures),
        duration_ms,
        reading,
    }))
}

struct Grid {
    timescale: u32,
    cuts: Vec<i64>,
}

/// Cuts the pictures; origin and start are taken into account here and nowhere else.
fn cut(pictures: &Track, start_ns: i64, limits: &MediaLimits) -> Result<Grid, Failure> {
    let shown = pictures.shown();
    let times_ns: Vec<i64> = shown.iter().map(|picture| picture.at_ns - start_ns).collect();
    let end_ns = pictures.end() - start_ns;
    if end_ns > LONGEST_NS {
        return Err(Failure { code: "timestamps".into(), message: "The pictures' times jump by weeks.".into() });
    }
    let timescale = timescale_of(&times_ns, pictures.told_rate());
    // A gap of hours does not have to be exact.
    let longest_ns = times_ns.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    let timescale = if ticks(longest_ns, timescale) > TICKS_MAX / 2 { 1000 } else { timescale };
    let origin = i64::from(TIMELINE_ORIGIN_SECS) * i64::from(timescale);
    let mut at: Vec<(i64, bool)> =
        shown.iter().zip(&times_ns).map(|(picture, ns)| (origin + ticks(*ns, timescale), picture.is_key)).collect();
    at.dedup_by(|later, earlier| {
        earlier.1 |= later.1 && later.0 == earlier.0;
        later.0 == earlier.0
    });
    let millis = |duration: std::time::Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    let settings =
        GridSettings { target_ms: millis(limits.segment_duration), longest_ms: millis(limits.gop_duration_max) };
    let cuts = cuts::cuts(&at, origin + ticks(end_ns, timescale), &settings, timescale);
    Ok(Grid { timescale, cuts })
}

/// The told frame rate where it is what was counted, else what was counted.
fn average_rate(pictures: &Track) -> (u32, u32) {
    let (frames, length_ns) = (pictures.num_shown(), pictures.length().max(1));
    let agrees = |(numerator, denominator): (u32, u32)| {
        let told = i128::from(numerator) * i128::from(length_ns);
        let counted = i128::from(frames) * i128::from(denominator) * 1_000_000_000;
        (told - counted).abs() * RATE_TOLERANCE <= counted
    };
    let counted = || frame_rate(frames, u64::try_from(length_ns / 1000).unwrap_or(1), 1_000_000);
    pictures.told_rate().filter(|rate| agrees(*rate)).unwrap_or_else(counted)
}

type Tracks = Arc<Mutex<Vec<Track>>>;

fn locked(tracks: &Tracks) -> MutexGuard<'_, Vec<Track>> {
    tracks.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch_pad(pipeline: &gst::Pipeline, pad: &gst::Pad, times: SourceTimes, tracks: &Tracks) {
    let Some(sink) = discard() else { return };
    let Some(target) = sink.static_pad("sink") else { return };
    let number = {
        let mut tracks = locked(tracks);
        tracks.push(Track::new(times));
        tracks.len() - 1
    };
    let tracks = Arc::clone(tracks);
    target.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(track) = locked(&tracks).get_mut(number) {
            track.see(info);
        }
        gst::PadProbeReturn::Ok
    });
    attach(pipeline, pad, &[&sink]);
}

#[cfg(test)]
mod tests;
