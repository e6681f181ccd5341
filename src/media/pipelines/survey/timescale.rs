//! A timescale in which all pictures' times are whole numbers: containers' own timescales are gone once GStreamer has
//! turned times into nanoseconds, but show in the roundings.

/// Tried in this order. The first is exact for MPEG, for milliseconds and for most frame rates; then come NTSC film, rates
/// above 60, sampling rates (sound recorders that film), and the microsecond.
const USUAL: [u32; 13] =
    [90_000, 24_000, 60_000, 120_000, 240_000, 25_600, 30_720, 57_600, 44_100, 48_000, 65_536, 360_000, 1_000_000];
/// What rounding to nanoseconds, twice, can make wrong.
const TOLERANCE_NS: i64 = 2;
/// Finer ones leave too little room for the length of a segment.
const FINEST: u32 = 1_000_000;

/// The timescale for pictures shown at these nanoseconds from the origin, where the container may tell a frame rate. When
/// none is exact: microseconds.
pub(super) fn timescale_of(times_ns: &[i64], told_rate: Option<(u32, u32)>) -> u32 {
    let of_rate = told_rate.into_iter().flat_map(|(numerator, _)| multiples(numerator));
    let is_exact = |timescale: &u32| times_ns.iter().all(|at| is_whole(*at, *timescale));
    USUAL.into_iter().take(5).chain(of_rate).chain(USUAL.into_iter().skip(5)).find(is_exact).unwrap_or(FINEST)
}

/// A frame rate's numerator, or as many times it as a usable timescale has.
fn multiples(numerator: u32) -> Option<u32> {
    let factor = 10_000u32.div_ceil(numerator.max(1));
    numerator.checked_mul(factor).filter(|timescale| (1..=FINEST).contains(timescale))
}

fn is_whole(at_ns: i64, timescale: u32) -> bool {
    let back = i128::from(ticks(at_ns, timescale)) * 1_000_000_000 / i128::from(timescale);
    (back - i128::from(at_ns)).abs() <= i128::from(TOLERANCE_NS)
}

/// Nanoseconds in ticks, rounded to the nearest.
pub(super) fn ticks(ns: i64, timescale: u32) -> i64 {
    let scaled = i128::from(ns) * i128::from(timescale);
    i64::try_from((scaled + 500_000_000).div_euclid(1_000_000_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(numerator: i64, denominator: i64) -> Vec<i64> {
        (0..5000).map(|index| index * denominator * 1_000_000_000 / numerator).collect()
    }

    #[test]
    fn usual_rates_are_exact() {
        for (numerator, denominator) in [(25, 1), (30, 1), (50, 1), (60, 1), (24, 1), (12, 1), (15, 1), (30_000, 1001)]
        {
            assert_eq!(timescale_of(&times(numerator, denominator), None), 90_000, "{numerator}/{denominator}");
        }
        assert_eq!(timescale_of(&times(24_000, 1001), None), 24_000);
        assert_eq!(timescale_of(&times(60_000, 1001), None), 60_000);
        assert_eq!(timescale_of(&times(120_000, 1001), None), 120_000);
    }

    #[test]
    fn odd_rates_are_exact_when_told_and_near_when_not() {
        assert_eq!(timescale_of(&times(19, 1), Some((19, 1))), 10_013);
        assert_eq!(timescale_of(&times(2997, 125), Some((2997, 125))), 11_988);
        assert_eq!(timescale_of(&times(1_000_003, 40_000), Some((1_000_003, 40_000))), 1_000_000);
        assert_eq!(timescale_of(&[0, 33_000_000, 67_000_000, 100_000_000], None), 90_000, "milliseconds");
        assert_eq!(timescale_of(&[], None), 90_000);
    }
}
