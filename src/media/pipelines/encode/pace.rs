//! Pictures that follow each other evenly, because only some of them say when they are shown, and decoders guess the rest:
//! times jump to and fro by what was reordered.

/// Pictures in a row that are late before it is believed that something is missing.
const LATE_MAX: u32 = 16;
/// Earlier or later than this is no reordering, nanoseconds.
const OFF_MAX_NS: i64 = 1_000_000_000;

/// Evens out the times of pictures that come in the order of presentation.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next picture is due: the end of the last one.
    due_ns: Option<i64>,
    num_late: u32,
}

impl Pace {
    /// The time of the next picture, of which the decoder says that it is shown at `at_ns`.
    pub(super) fn even_out(&mut self, at_ns: i64, duration_ns: Option<i64>) -> i64 {
        let Some(duration_ns) = duration_ns.filter(|ns| *ns > 0) else { return at_ns };
        let due_ns = self.due_ns.unwrap_or(at_ns);
        let late_ns = at_ns.saturating_sub(due_ns);
        self.num_late = if late_ns > duration_ns / 2 { self.num_late + 1 } else { 0 };
        let is_due = late_ns.abs() <= OFF_MAX_NS && self.num_late < LATE_MAX;
        let at_ns = if is_due { due_ns } else { at_ns };
        self.due_ns = Some(at_ns.saturating_add(duration_ns));
        at_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evened(times: &[i64]) -> Vec<i64> {
        let mut pace = Pace::default();
        times.iter().map(|ms| pace.even_out(ms * 1_000_000, Some(40_000_000)) / 1_000_000).collect()
    }

    #[test]
    fn reordering_is_evened_out() {
        assert_eq!(evened(&[540, 580, 700, 740, 740, 740, 780]), [540, 580, 620, 660, 700, 740, 780]);
        assert_eq!(evened(&[0, 40, 80, 80, 120, 160]), [0, 40, 80, 120, 160, 200], "key frames of AVI");
    }

    #[test]
    fn what_is_missing_is_missed() {
        let late: Vec<i64> = [0, 40].into_iter().chain((0..20).map(|index| 240 + index * 40)).collect();
        let found = evened(&late);
        assert_eq!((found[2], found[16], found[17], found[21]), (80, 640, 840, 1000));
        assert_eq!(evened(&[0, 40, 5000, 5040]), [0, 40, 5000, 5040]);
    }

    #[test]
    fn pictures_of_no_known_duration_are_left_as_they_are() {
        assert_eq!(Pace::default().even_out(7, None), 7);
    }
}
