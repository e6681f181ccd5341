//! Where pictures are cut: at key frames as the source rung is, so that both have the same segments; groups of pictures too
//! long for that are divided at any picture.
use crate::media::grid::{GridSettings, KeyFrameCutter, cut_at_key_frames};

/// Starts of the segments and the end of the last one. `pictures` are shown at ascending times, each once, with what of
/// them is a key frame; all ends at `end`. Empty without pictures.
pub(super) fn cuts(pictures: &[(i64, bool)], end: i64, settings: &GridSettings, timescale: u32) -> Vec<i64> {
    let Some((first, _)) = pictures.first() else { return Vec::new() };
    let end = end.max(pictures.last().map_or(0, |(last, _)| last + 1));
    let times: Vec<i64> = pictures.iter().map(|(at, _)| *at).collect();
    let later_keys = pictures.iter().skip(1).filter(|(_, key)| *key).map(|(at, _)| *at);
    let keys: Vec<i64> = std::iter::once(*first).chain(later_keys).collect();
    let starts = cut_at_key_frames(&keys, end, KeyFrameCutter::new(settings, timescale));
    let at_keys: Vec<i64> = starts.iter().filter_map(|index| keys.get(*index).copied()).chain([end]).collect();
    let target = i64::from(settings.target_ms) * i64::from(timescale) / 1000;
    let mut cuts = Vec::with_capacity(at_keys.len());
    for pair in at_keys.windows(2) {
        let [start, stop] = *pair else { continue };
        cuts.push(start);
        divide(&times, start..stop, target, &mut cuts);
    }
    cuts.push(end);
    cuts
}

/// Adds cuts within a range that is longer than one and a half of the target: as evenly as its pictures allow.
fn divide(times: &[i64], range: std::ops::Range<i64>, target: i64, cuts: &mut Vec<i64>) {
    let target = target.max(1);
    let length = range.end - range.start;
    if length <= target * 3 / 2 {
        return;
    }
    let pieces = (length + target / 2) / target;
    let part = |piece: i64| range.start + (i128::from(length) * i128::from(piece) / i128::from(pieces)) as i64;
    let mut last = range.start;
    // Gaps may be very long: only as many pieces are looked at as there are pictures.
    let mut piece = 1;
    while piece < pieces {
        let Some(at) = nearest(times, part(piece), last, range.end) else { return };
        cuts.push(at);
        last = at;
        let passed = i128::from(at - range.start) * i128::from(pieces) / i128::from(length);
        piece = (piece + 1).max(i64::try_from(passed).unwrap_or(pieces) + 1);
    }
}

/// The picture nearest to `wanted` that is shown after `after` and before `before`.
fn nearest(times: &[i64], wanted: i64, after: i64, before: i64) -> Option<i64> {
    let first = times.partition_point(|at| *at <= after);
    let last = times.partition_point(|at| *at < before);
    let within = times.get(first..last)?;
    let above = within.partition_point(|at| *at < wanted);
    let neighbours = [above.checked_sub(1).and_then(|index| within.get(index)), within.get(above)];
    neighbours.into_iter().flatten().copied().min_by_key(|at| (at - wanted).abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pictures: &[(i64, bool)], end: i64) -> Vec<i64> {
        cuts(pictures, end, &GridSettings::default(), 1000)
    }

    fn regular(num: i64, step: i64, gop: i64) -> Vec<(i64, bool)> {
        (0..num).map(|index| (index * step, index % gop == 0)).collect()
    }

    #[test]
    fn key_frames_within_reach_are_taken() {
        assert_eq!(cut(&regular(300, 40, 50), 12_000), [0, 4000, 8000, 12_000]);
        assert_eq!(cut(&regular(375, 40, 125), 15_000), [0, 5000, 10_000, 15_000]);
        assert_eq!(cut(&regular(1, 40, 1), 40), [0, 40]);
        assert_eq!(cut(&[], 0), Vec::<i64>::new());
    }

    #[test]
    fn long_groups_are_divided_at_pictures_and_keep_their_key_frames() {
        assert_eq!(cut(&regular(500, 40, 250), 20_000), [0, 3320, 6680, 10_000, 13_320, 16_680, 20_000]);
        let endless = cut(&regular(15_000, 40, 99_999), 600_000);
        let lengths: Vec<i64> = endless.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(lengths.iter().all(|length| (2000..=6000).contains(length)), "{lengths:?}");
        assert!(endless.iter().all(|at| at % 40 == 0));
    }

    #[test]
    fn every_segment_has_a_picture_whatever_the_gaps() {
        let mut pictures = regular(25, 40, 25);
        pictures.extend(regular(25, 40, 25).iter().map(|(at, _)| (at + 9_000_000_000, false)));
        let found = cut(&pictures, 9_000_001_000);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
        let has_picture = |pair: &[i64]| pictures.iter().any(|(at, _)| (pair[0]..pair[1]).contains(at));
        assert!(found.windows(2).all(has_picture), "{found:?}");
        assert!(found.len() < 10);
    }

    #[test]
    fn an_end_before_the_last_picture_is_moved_behind_it() {
        assert_eq!(cut(&[(0, true), (500, false)], 100), [0, 501]);
    }
}
