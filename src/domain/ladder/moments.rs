//! Choosing what stands for a video: its best moments, of different scenes and spread over time.
use super::Candidate;

/// Most moments.
const MOMENTS_MAX: usize = 4;
/// Sum of differences of two histograms, as a share of the most there can be, from which they are of different scenes.
const SCENE_DISTANCE: f64 = 0.12;
/// Share of the video by which moments are apart.
const TIME_DISTANCE: u64 = 12;

/// The best moments, best first.
pub fn best_moments(mut candidates: Vec<Candidate>, length_ms: u64) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.score.cmp(&a.score).then(a.at_ms.cmp(&b.at_ms)));
    let mut chosen: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let is_near = |other: &Candidate| {
            other.at_ms.abs_diff(candidate.at_ms) < length_ms / TIME_DISTANCE
                || distance(&other.histogram, &candidate.histogram) < SCENE_DISTANCE
        };
        if chosen.len() < MOMENTS_MAX && !chosen.iter().any(is_near) {
            chosen.push(candidate);
        }
    }
    chosen
}

/// 0 for equal histograms, 1 for the most different ones.
fn distance(one: &[u8], other: &[u8]) -> f64 {
    let difference: u64 = one.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    let all: u64 = one.iter().chain(other).map(|share| u64::from(*share)).sum();
    difference as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(at_ms: u64, score: u16, scene: usize) -> Candidate {
        let mut histogram = vec![0; 8];
        histogram[scene] = 255;
        Candidate { at_ms, score, histogram }
    }

    #[test]
    fn moments_are_good_apart_and_of_different_scenes() {
        let candidates = vec![
            candidate(0, 100, 0),
            candidate(30_000, 900, 1),
            candidate(31_000, 890, 2),
            candidate(60_000, 800, 1),
            candidate(90_000, 700, 3),
            candidate(100_000, 600, 4),
            candidate(110_000, 500, 5),
        ];
        let chosen: Vec<u64> = best_moments(candidates, 120_000).iter().map(|candidate| candidate.at_ms).collect();
        assert_eq!(chosen, [30_000, 90_000, 100_000, 110_000]);
        assert!(best_moments(Vec::new(), 9).is_empty());
    }
}
