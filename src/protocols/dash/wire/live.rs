//! Descriptions of what is live (ISO/IEC 23009-1, 5.3.1: `type="dynamic"`, and `static` once it has ended). A period whose segments are alike tells them in
//! advance, so that players fetch one while it is made (DASH-IF IOP part 4, low latency: `availabilityTimeOffset` and chunked
//! transfer); one whose segments are not lists those that are whole.
use std::time::Duration;

use super::{Addressing, Element, Init, MICROS, Run, adaptation_sets, duration, period};
use crate::domain::asset::Ticks;
use crate::domain::cues::Cue;
use crate::domain::time::Timestamp;
use crate::domain::trim::Cut;
use crate::media::live::listing::ListedPeriod;
use crate::media::live::part::PartTarget;
use crate::media::live::periods::Cadence;
use crate::media::view::View;
use crate::protocols::dash::paths::CLOCK;

/// Where the stream's own clock can be asked for.
const UTC_HTTP: &str = "urn:mpeg:dash:utc:http-iso:2014";
const PROFILE: &str = "urn:mpeg:dash:profile:isoff-live:2011";
const LOW_LATENCY_PROFILE: &str =
    "urn:mpeg:dash:profile:isoff-live:2011,http://www.dashif.org/guidelines/low-latency-live-v5";
/// How far behind what is there players stay who fetch parts: part targets, as PART-HOLD-BACK says in HLS.
const PARTS_BEHIND: i64 = 3;
/// For the network and a decoder, microseconds.
const MARGIN_MICROS: i64 = 400_000;
/// How far behind players stay who fetch whole segments: target durations.
const TARGETS_BEHIND: i64 = 3;

/// What a live description is rendered from.
pub struct LivePresentation<'a> {
    /// Its periods, oldest first.
    pub periods: &'a [ListedPeriod],
    /// Where the broadcast began on the stream's timeline, microseconds, and when that was.
    pub anchor: (i64, Timestamp),
    /// When this description came to be what it is.
    pub published: Timestamp,
    /// How far back viewers can go.
    pub window: Duration,
    /// TARGETDURATION, seconds.
    pub target_secs: u32,
    /// PART-TARGET.
    pub part_target: PartTarget,
    /// Whether nothing more will come.
    pub has_ended: bool,
    /// Whether players are to fetch segments while they are made.
    pub low_latency: bool,
    /// What the publisher has told of the timeline.
    pub cues: &'a [Cue],
}

/// Segments that are alike.
#[derive(Clone, Copy)]
pub(super) struct Regular {
    first: u64,
    segment_micros: i64,
    /// How long before its end a segment can be asked for, microseconds.
    offset_micros: i64,
    /// When the instant that the period starts with was.
    date: Timestamp,
}

impl LivePresentation<'_> {
    /// Whether players get what comes now while it is made.
    pub fn is_low_latency(&self) -> bool {
        let is_told = |last: &ListedPeriod| matches!(last.period.cadence, Cadence::Regular { .. });
        self.low_latency && self.periods.last().is_some_and(is_told)
    }

    /// How far behind the newest media players should be, seconds.
    fn delay_secs(&self) -> f64 {
        let part = i64::from(self.part_target.as_millis()) * 1000;
        let late = self.periods.last().map_or(0, |last| (last.delay_micros - part).max(0));
        let micros = match self.is_low_latency() {
            true => part * PARTS_BEHIND + late + MARGIN_MICROS,
            false => i64::from(self.target_secs) * TARGETS_BEHIND * i64::from(MICROS) + late,
        };
        seconds(micros)
    }
}

fn seconds(micros: i64) -> f64 {
    Ticks { value: micros, timescale: MICROS }.as_secs_f64()
}

/// Renders the description as it is now.
pub fn render_live_mpd(live: &LivePresentation, view: View) -> String {
    let (zero, began) = live.anchor;
    let target = f64::from(live.target_secs);
    let mpd = Element::new("MPD").attribute("xmlns", "urn:mpeg:dash:schema:mpd:2011");
    let mpd = mpd.attribute("profiles", if live.is_low_latency() { LOW_LATENCY_PROFILE } else { PROFILE });
    let mpd = mpd
        .attribute("type", if live.has_ended { "static" } else { "dynamic" })
        .attribute("availabilityStartTime", began)
        .attribute("publishTime", live.published)
        .attribute("maxSegmentDuration", duration(target + 0.5))
        .attribute("minBufferTime", duration(f64::from(live.part_target.as_millis()) / 1000.0));
    let end = live.periods.last().and_then(|last| last.period.end_micros).filter(|_| live.has_ended);
    let mpd = match end {
        Some(end) => mpd.attribute("mediaPresentationDuration", duration(seconds(end - zero))),
        None => mpd
            .attribute("minimumUpdatePeriod", duration(target))
            .attribute("timeShiftBufferDepth", duration(live.window.as_secs_f64()))
            .attribute("suggestedPresentationDelay", duration(live.delay_secs())),
    };
    let mpd = if live.is_low_latency() { mpd.child(service_description(live)) } else { mpd };
    let mpd = live.periods.iter().fold(mpd, |mpd, listed| mpd.child(live_period(live, listed, view)));
    mpd.child(clock()).document()
}

/// How far players may fall behind before they seek to the live edge, milliseconds: who did so while a publisher is away for a
/// moment would land where there will be no period, and some never leave that.
const DRIFT_MAX_MS: f64 = 15_000.0;

fn service_description(live: &LivePresentation) -> Element {
    let target = live.delay_secs() * 1000.0;
    let latency = Element::new("Latency")
        .attribute("referenceId", 0)
        .attribute("target", format!("{target:.0}"))
        .attribute("min", format!("{:.0}", target * 0.75))
        .attribute("max", format!("{:.0}", target + DRIFT_MAX_MS));
    let rate = Element::new("PlaybackRate").attribute("min", "0.96").attribute("max", "1.06");
    Element::new("ServiceDescription").attribute("id", 0).child(latency).child(rate)
}

fn live_period(live: &LivePresentation, listed: &ListedPeriod, view: View) -> Element {
    let ListedPeriod { period: of, first, tracks, delay_micros, independent } = listed;
    let longest = tracks.iter().map(|track| track.segments.len()).max().unwrap_or(0);
    let segments = 0..u32::try_from(longest).unwrap_or(u32::MAX);
    let addressing = match of.cadence {
        Cadence::Regular { segment_micros } => {
            let offset_micros = segment_micros - delay_micros;
            let since = u64::try_from(of.start_micros - live.anchor.0).unwrap_or(0);
            let date = live.anchor.1 + Duration::from_micros(since);
            Addressing::Regular(Regular { first: of.first, segment_micros, offset_micros, date })
        }
        Cadence::Unknown | Cadence::Irregular => Addressing::Timeline,
    };
    let run = Run {
        sets: adaptation_sets(tracks, view, &segments),
        segments,
        number: *first,
        start: Ticks { value: of.start_micros, timescale: MICROS },
        addressing,
        init: Init::OfEpoch(of.epoch),
        independent: *independent,
        cues: live.cues,
        end_micros: of.end_micros.unwrap_or(i64::MAX),
        cut: Cut::NONE,
    };
    let element = period(&run, of.first, seconds(of.start_micros - live.anchor.0));
    match of.end_micros {
        Some(end) => element.attribute("duration", duration(seconds(end - of.start_micros))),
        None => element,
    }
}

fn clock() -> Element {
    Element::new("UTCTiming").attribute("schemeIdUri", UTC_HTTP).attribute("value", CLOCK)
}

/// When what is shown was taken; each segment says so too (`prft`).
pub(super) fn production(run: &Run, regular: Regular) -> Element {
    Element::new("ProducerReferenceTime")
        .attribute("id", 0)
        .attribute("inband", "true")
        .attribute("type", "encoder")
        .attribute("wallClockTime", regular.date)
        .attribute("presentationTime", run.offset_in(MICROS))
        .child(clock())
}

/// A template of segments that are alike.
pub(super) fn template(run: &Run, regular: Regular) -> Element {
    Element::new("SegmentTemplate")
        .attribute("timescale", MICROS)
        .attribute("duration", regular.segment_micros)
        .attribute("presentationTimeOffset", run.offset_in(MICROS))
        .attribute("startNumber", regular.first)
        .attribute("availabilityTimeOffset", format!("{:.3}", seconds(regular.offset_micros)))
        .attribute("availabilityTimeComplete", "false")
        .attribute("media", run.media_template())
}

#[cfg(test)]
mod tests;
