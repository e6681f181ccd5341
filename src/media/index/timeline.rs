//! From a track's own times to the output timeline: edit list, initial gap, and the origin that keeps all of it unsigned.
use crate::domain::asset::{TIMELINE_ORIGIN_SECS, Ticks};
use crate::domain::video::NonStandard;
use crate::media::movie::MovieTrack;
use crate::media::standard::unmet;

/// Times beyond this are taken as this; far above any real one, and far from overflow.
const TICKS_MAX: u64 = 1 << 50;

/// How a track's times are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shift {
    /// Added to presentation times.
    pub(crate) presentation: i64,
    /// Added to decode times, so that the first sample is decoded when it is shown: players that place a track by its first
    /// decode time then place every rendition alike, however far its encoder reorders.
    pub(crate) decode: i64,
    /// Where in the track presentation starts, in its own times.
    pub(crate) media_start: i64,
    /// Where in the track presentation ends, in its own times, when the edit list says so.
    pub(crate) media_end: Option<i64>,
}

/// Reads a trivial edit list: an optional empty edit, then at most one at normal speed that cuts less than the origin.
pub(crate) fn shift_of(track: &MovieTrack, movie_timescale: u32) -> Result<Shift, NonStandard> {
    let timescale = track.timescale;
    let in_track = |ticks: u64| {
        let ticks = Ticks { value: ticks.min(TICKS_MAX) as i64, timescale: movie_timescale };
        ticks.rescale(timescale).min(TICKS_MAX as i64)
    };
    let (gap, rest) = match track.edits.as_slice() {
        [first, rest @ ..] if first.media_time == -1 => (in_track(first.duration), rest),
        all => (0, all),
    };
    let (media_start, media_end) = match rest {
        [] => (0, None),
        [edit] if edit.media_time >= 0 && edit.normal_rate => {
            let end = (edit.duration > 0).then(|| edit.media_time.saturating_add(in_track(edit.duration)));
            (edit.media_time, end)
        }
        [edit] if !edit.normal_rate => return Err(unmet("edit_list", "the edit list changes the speed")),
        _ => return Err(unmet("edit_list", format!("the edit list has {} parts", track.edits.len()))),
    };
    let origin = i64::from(TIMELINE_ORIGIN_SECS) * i64::from(timescale);
    if media_start > origin {
        let cut = Ticks { value: media_start, timescale }.as_secs_f64();
        return Err(unmet("edit_list", format!("the edit list cuts {cut:.3} s from the start")));
    }
    let presentation = origin + gap - media_start;
    let decode = presentation + i64::from(track.tables.first_composition());
    if decode < 0 {
        return Err(unmet("timestamps", "pictures are shown too long before they are decoded"));
    }
    Ok(Shift { presentation, decode, media_start, media_end })
}
