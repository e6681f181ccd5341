//! The ladder of a live stream: which rungs it has, and which of them go first when the machine does not keep up.
use std::time::Duration;

use super::plan::{BUFFER_MS, STEP, is_near, size_of};
use super::rates::{SourceRate, bits_per_sec_max};
use super::{Encoder, PictureTreatment, Reading, Rung, RungCodec};
use crate::domain::time::Timestamp;

/// First letter of rungs' names in URLs.
const LETTER: char = 'r';
/// The encoder that every machine has.
const ENCODER: &str = "x264enc";
/// Most rungs beside the source.
const RUNGS_MAX: usize = 6;
/// Short side of what is made for viewers by WebRTC at most.
const REALTIME_SIDE_MAX: u32 = 720;
/// After a rung was dropped, what is left has this long to catch up; at the start, with what came before it, all have longer.
const RELIEF: Duration = Duration::from_secs(4);
/// How long at the start.
const START: Duration = Duration::from_secs(10);

/// Whether a rendition of this name is a rung.
pub fn is_rung(name: &str) -> bool {
    name.starts_with(LETTER)
}

/// What a publisher sends, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSource {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second as a fraction.
    pub frame_rate: (u32, u32),
    /// Bits per second; 0 when not known yet.
    pub bits_per_sec: u64,
}

/// What an operator chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveLadderSettings {
    /// Short sides of rungs, pixels.
    pub short_sides: Vec<u32>,
    /// Speed preset.
    pub preset: String,
}

/// The rungs below the source, largest first; none when there is nothing worth making.
pub fn live_rungs(source: LiveSource, settings: &LiveLadderSettings) -> Vec<Rung> {
    let near = f64::from(source.width.min(source.height)) * STEP;
    let mut sides: Vec<u32> = settings.short_sides.iter().copied().filter(|side| f64::from(*side) <= near).collect();
    sides.sort_unstable_by(|a, b| b.cmp(a));
    sides.dedup();
    sides.truncate(RUNGS_MAX);
    sides.into_iter().map(|side| rung(source, settings, side)).collect()
}

fn rung(source: LiveSource, settings: &LiveLadderSettings, side: u32) -> Rung {
    let rate =
        SourceRate { pixels: u64::from(source.width) * u64::from(source.height), bits_per_sec: source.bits_per_sec };
    let (width, height) = size_of((source.width, source.height), side);
    let bits = bits_per_sec_max(u64::from(width) * u64::from(height), source.frame_rate, rate);
    Rung {
        name: format!("{LETTER}{side}"),
        codec: RungCodec::H264,
        width,
        height,
        bits_per_sec_max: (bits / 1000.0).round() as u32 * 1000,
        buffer_ms: BUFFER_MS,
        quality: 0,
        preset: settings.preset.clone(),
        encoder: Encoder { name: ENCODER.into(), version: String::new() },
    }
}

/// What is made of pictures that cannot be sent as they are to viewers who see them at once: no larger than they need to see.
pub fn realtime_rung(source: LiveSource, settings: &LiveLadderSettings) -> Rung {
    let side = source.width.min(source.height).min(REALTIME_SIDE_MAX);
    rung(source, settings, side)
}

/// The rungs that a publisher does not send itself: its own renditions have these short sides.
pub fn without_own(rungs: Vec<Rung>, own: &[u32]) -> Vec<Rung> {
    rungs.into_iter().filter(|rung| !own.iter().any(|side| is_near(rung.short_side(), *side))).collect()
}

/// Pictures of a live stream as they came, turned the way they are shown; their dynamic range is `sdr`, `pq` or `hlg`.
pub fn live_treatment(rotation: u16, dynamic_range: &str, frame_rate_max: u32) -> PictureTreatment {
    PictureTreatment {
        track: 0,
        rotation,
        deinterlace: false,
        dynamic_range: dynamic_range.into(),
        frame_rate_max,
        reading: Reading::FromStart,
    }
}

/// Decides which rungs are given up: the largest first, one at a time, for as long as the rest falls behind. They come back
/// with the next publisher.
#[derive(Debug, Clone)]
pub struct Overload {
    lag_max: Duration,
    /// Rungs that are encoded.
    left: usize,
    dropped: usize,
    /// Nothing is dropped before this.
    relief_until: Timestamp,
}

impl Overload {
    /// For so many rungs that begin now, which may be behind the source by this.
    pub fn new(rungs: usize, lag_max: Duration, now: Timestamp) -> Self {
        Self { lag_max, left: rungs, dropped: 0, relief_until: now + START }
    }

    /// Whether no rung is left.
    pub fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    /// The rungs are so far behind now. Returns the index of the rung to give up, if one is.
    pub fn step(&mut self, lag: Duration, now: Timestamp) -> Option<usize> {
        if lag <= self.lag_max || self.left == 0 || now < self.relief_until {
            return None;
        }
        self.relief_until = now + RELIEF;
        self.left -= 1;
        self.dropped += 1;
        Some(self.dropped - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(width: u32, height: u32) -> Vec<(String, u32, u32)> {
        let source = LiveSource { width, height, frame_rate: (30, 1), bits_per_sec: 6_000_000 };
        let settings = LiveLadderSettings { short_sides: vec![360, 720, 480, 360], preset: "veryfast".into() };
        let rungs = live_rungs(source, &settings);
        assert!(rungs.iter().map(|rung| rung.bits_per_sec_max).is_sorted_by(|a, b| a > b));
        assert!(rungs.iter().all(|rung| is_rung(&rung.name)));
        rungs.into_iter().map(|rung| (rung.name, rung.width, rung.height)).collect()
    }

    #[test]
    fn rungs_are_below_the_source_and_have_its_shape() {
        let rung = |name: &str, width, height| (name.to_owned(), width, height);
        assert_eq!(names(1920, 1080), [rung("r720", 1280, 720), rung("r480", 854, 480), rung("r360", 640, 360)]);
        assert_eq!(names(720, 1280), [rung("r480", 480, 854), rung("r360", 360, 640)]);
        assert_eq!(names(640, 360), []);
    }

    #[test]
    fn what_the_publisher_sends_itself_is_not_made_again() {
        let source = LiveSource { width: 1920, height: 1080, frame_rate: (30, 1), bits_per_sec: 6_000_000 };
        let settings = LiveLadderSettings { short_sides: vec![360, 480, 720], preset: "veryfast".into() };
        let left = without_own(live_rungs(source, &settings), &[730, 352, 240]);
        assert_eq!(left.iter().map(|rung| rung.name.as_str()).collect::<Vec<_>>(), ["r480"]);
    }

    #[test]
    fn the_largest_goes_first_and_the_others_get_time() {
        let at = Timestamp::from_millis;
        let mut overload = Overload::new(2, Duration::from_secs(2), at(0));
        let (little, much) = (Duration::from_secs(1), Duration::from_secs(3));
        assert_eq!(overload.step(much, at(9000)), None, "it has only begun");
        assert_eq!(overload.step(little, at(10_000)), None);
        assert_eq!(overload.step(much, at(10_100)), Some(0));
        assert_eq!(overload.step(much, at(13_000)), None);
        assert_eq!(overload.step(much, at(14_200)), Some(1));
        assert_eq!(overload.step(much, at(60_000)), None, "there is nothing left to give up");
    }
}
