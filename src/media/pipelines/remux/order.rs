//! Decode times for pictures that come in decode order with presentation times alone: Matroska has none, and those of
//! other containers are not to be trusted.
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Most pictures that may be shown before one that was decoded earlier (ITU-T H.264 annex E.2.1,
/// `max_num_reorder_frames`).
pub(super) const DEPTH_MAX: usize = 16;

/// How many pictures at most precede one in decoding order and follow it in presentation.
pub(super) fn reorder_depth(presentation: &[i64]) -> usize {
    let later = |index: usize, at: i64| {
        let before = presentation.get(index.saturating_sub(2 * DEPTH_MAX)..index).unwrap_or_default();
        before.iter().filter(|earlier| **earlier > at).count()
    };
    presentation.iter().enumerate().map(|(index, at)| later(index, *at)).max().unwrap_or(0).min(DEPTH_MAX)
}

/// Gives the n-th picture the n-th smallest presentation time, late by the depth of reordering: increasing, and never
/// after its presentation as long as the depth holds.
pub(super) struct DecodeTimes {
    depth: usize,
    /// The earliest presentation time of all.
    first: i64,
    /// Ticks between pictures, for the times before the first presentation.
    step: i64,
    seen: usize,
    waiting: BinaryHeap<Reverse<i64>>,
}

impl DecodeTimes {
    /// For pictures of which the first ones have these presentation times.
    pub(super) fn new(window: &[i64], step: i64) -> Self {
        let first = window.iter().copied().min().unwrap_or(0);
        Self { depth: reorder_depth(window), first, step: step.max(1), seen: 0, waiting: BinaryHeap::new() }
    }

    /// The decode time of the next picture, which is shown at `at`.
    pub(super) fn next(&mut self, at: i64) -> i64 {
        self.waiting.push(Reverse(at));
        let index = self.seen;
        self.seen += 1;
        if index < self.depth {
            let ahead = i64::try_from(self.depth - index).unwrap_or(0);
            return self.first - ahead * self.step;
        }
        self.waiting.pop().map_or(at, |Reverse(smallest)| smallest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_times(presentation: &[i64]) -> Vec<i64> {
        let mut times = DecodeTimes::new(presentation, 40);
        presentation.iter().map(|at| times.next(*at)).collect()
    }

    #[test]
    fn without_reordering_both_times_are_the_same() {
        assert_eq!(decode_times(&[0, 40, 80, 125]), [0, 40, 80, 125]);
        assert_eq!(reorder_depth(&[]), 0);
    }

    #[test]
    fn reordered_pictures_are_decoded_in_time_and_in_order() {
        // I B-pyramid: I0 P4 B2 b1 b3 P8 B6 b5 b7
        let presentation = [0, 160, 80, 40, 120, 320, 240, 200, 280];
        assert_eq!(reorder_depth(&presentation), 2);
        let decode = decode_times(&presentation);
        assert_eq!(decode, [-80, -40, 0, 40, 80, 120, 160, 200, 240]);
        assert!(decode.iter().zip(presentation).all(|(dts, pts)| *dts <= pts));
    }

    #[test]
    fn a_hostile_order_is_bounded() {
        let backwards: Vec<i64> = (0..100).rev().collect();
        assert_eq!(reorder_depth(&backwards), DEPTH_MAX);
    }
}
