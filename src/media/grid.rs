//! The grid: where segments start. Pictures are cut at key frames, sound at the frame nearest to where pictures are cut.
use serde::{Deserialize, Serialize};

/// How long segments should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GridSettings {
    /// Length aimed at, milliseconds.
    pub target_ms: u32,
    /// Length never exceeded, milliseconds; a longer group of pictures is not standard.
    pub longest_ms: u32,
}

impl Default for GridSettings {
    fn default() -> Self {
        Self { target_ms: 4000, longest_ms: 10_000 }
    }
}

impl GridSettings {
    fn target(&self, timescale: u32) -> i64 {
        ticks(self.target_ms, timescale)
    }

    /// The longest segment in ticks.
    pub fn longest(&self, timescale: u32) -> i64 {
        ticks(self.longest_ms, timescale)
    }
}

fn ticks(ms: u32, timescale: u32) -> i64 {
    i64::from(ms) * i64::from(timescale) / 1000
}

/// Gathers groups of pictures into segments near the target length, deciding as key frames come by: it looks one group
/// ahead. A single group longer than the longest segment is left whole; refusing it is the caller's business.
#[derive(Debug, Clone)]
pub struct KeyFrameCutter {
    target: i64,
    longest: i64,
    start: Option<i64>,
    candidate: Option<i64>,
}

impl KeyFrameCutter {
    /// A cutter for times in ticks of `timescale`.
    pub fn new(settings: &GridSettings, timescale: u32) -> Self {
        let (target, longest) = (settings.target(timescale), settings.longest(timescale));
        Self { target, longest, start: None, candidate: None }
    }

    /// The next key frame is shown at `at` (or, after the last one, the track ends there). Returns where the current
    /// segment ends, at a key frame passed before, once that is certain.
    pub fn push(&mut self, at: i64) -> Option<i64> {
        let (Some(start), candidate) = (self.start, self.candidate) else {
            self.start = Some(at);
            return None;
        };
        self.candidate = Some(at);
        let cut = candidate?;
        let (without, with) = (cut - start, at - start);
        let enough = without >= self.target || with > self.longest || with - self.target > self.target - without;
        if !enough {
            return None;
        }
        self.start = Some(cut);
        Some(cut)
    }

    /// The track ends at `end`. Like [`Self::push`], but a rest shorter than a quarter of the target stays with what is
    /// before it, as long as that does not make one and a half of the target.
    pub fn finish(&mut self, end: i64) -> Option<i64> {
        let (Some(start), Some(candidate)) = (self.start, self.candidate) else { return self.push(end) };
        let is_rest = end - candidate < self.target / 4 && end - start <= self.target * 3 / 2;
        if is_rest { None } else { self.push(end) }
    }
}

/// Indexes of the key frames that start segments, given when each is shown and when the track ends.
pub fn cut_at_key_frames(keys: &[i64], end: i64, mut cutter: KeyFrameCutter) -> Vec<usize> {
    let mut starts: Vec<usize> = if keys.is_empty() { Vec::new() } else { vec![0] };
    for (index, at) in keys.iter().copied().enumerate() {
        if cutter.push(at).is_some() {
            starts.push(index - 1);
        }
    }
    if !keys.is_empty() && cutter.finish(end).is_some() {
        starts.push(keys.len() - 1);
    }
    starts
}

/// Where sound is cut: at `cuts` (where pictures are cut, in the sound's ticks, ascending), and evenly near the target
/// length where pictures leave long gaps: before they start, after they end, or when there are none.
pub fn sound_cuts(cuts: &[i64], range: std::ops::Range<i64>, settings: &GridSettings, timescale: u32) -> Vec<i64> {
    let target = settings.target(timescale).max(1);
    let margin = target / 8;
    let inner = cuts.iter().copied().filter(|cut| *cut > range.start + margin && *cut < range.end - margin);
    let points: Vec<i64> = inner.chain([range.end]).collect();
    let longest_gap = settings.longest(timescale).min(if cuts.is_empty() { target * 3 / 2 } else { i64::MAX });
    let mut out = Vec::new();
    let mut previous = range.start;
    for point in points {
        let gap = point - previous;
        let pieces = if gap > longest_gap { (gap + target / 2) / target } else { 1 };
        let part = |piece: i64| (i128::from(gap) * i128::from(piece) / i128::from(pieces)) as i64;
        out.extend((1..pieces).map(|piece| previous + part(piece)));
        if point < range.end {
            out.push(point);
        }
        previous = point;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(keys: &[i64], end: i64) -> Vec<usize> {
        cut_at_key_frames(keys, end, KeyFrameCutter::new(&GridSettings::default(), 1000))
    }

    #[test]
    fn groups_are_gathered_to_about_the_target() {
        assert_eq!(cut(&[0, 2000, 4000, 6000, 8000], 10_000), [0, 2, 4]);
        assert_eq!(cut(&[1000, 4000, 7000], 9000), [0, 1]);
        assert_eq!(cut(&[0, 500, 6000, 6500], 13_000), [0, 2]);
        assert_eq!(cut(&[0, 4000, 8000], 8900), [0, 1], "a short rest is no segment");
        assert_eq!(cut(&[0, 4000, 8000], 9000), [0, 1, 2]);
        assert_eq!(cut(&[0, 5900], 6800), [0, 1], "unless that would make one too long");
        assert_eq!(cut(&[0], 40), [0]);
        assert_eq!(cut(&[0, 40], 80), [0]);
        assert_eq!(cut(&[], 0), Vec::<usize>::new());
        let every_second: Vec<i64> = (0..60).map(|second| second * 1000).collect();
        assert_eq!(cut(&every_second, 60_000), (0..15).map(|index| index * 4).collect::<Vec<_>>());
        assert_eq!(cut(&[0, 9000, 9100], 18_000), [0, 1, 2], "two groups never exceed the longest segment");
    }

    #[test]
    fn sound_follows_pictures_and_fills_what_they_leave() {
        let cuts = |cuts: &[i64], range| sound_cuts(cuts, range, &GridSettings::default(), 1000);
        assert_eq!(cuts(&[1000, 5000, 9000], 980..12_000), [5000, 9000]);
        assert_eq!(cuts(&[9000, 13_000], 1000..14_000), [9000, 13_000]);
        assert_eq!(cuts(&[1000, 5000], 1000..21_000), [5000, 9000, 13_000, 17_000]);
        assert_eq!(cuts(&[], 1000..13_000), [5000, 9000]);
        assert_eq!(cuts(&[], 1000..7000), Vec::<i64>::new());
        assert_eq!(cuts(&[], 0..0), Vec::<i64>::new());
    }
}
