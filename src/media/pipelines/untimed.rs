//! Pictures that do not all say when they are shown: AVI says when the n-th packet is decoded, MPEG program streams give
//! times to some packets only, raw streams to next to none.

/// The times of a coded picture as far as its container gives them, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Given {
    /// When it is shown.
    pub(super) shown: Option<i64>,
    /// When it is decoded.
    pub(super) decoded: Option<i64>,
}

/// When the pictures are shown, in the order of presentation: one picture follows the other as they are decoded, late by as
/// much as the first one is. `step` is the usual distance between two, nanoseconds.
pub(super) fn presentation_times(given: impl Iterator<Item = Given>, step: i64) -> Vec<i64> {
    let mut late = None;
    let mut times = Vec::new();
    let mut last: Option<i64> = None;
    for Given { shown, decoded } in given {
        let at = decoded.or(shown).unwrap_or_else(|| last.map_or(0, |last| last.saturating_add(step)));
        if late.is_none() {
            late = shown.zip(decoded).map(|(shown, decoded)| shown - decoded);
        }
        times.push(at);
        last = Some(at);
    }
    let late = late.unwrap_or(0).max(0);
    times.iter_mut().for_each(|at| *at = at.saturating_add(late));
    times.sort_unstable();
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_those_of_decoding() {
        let given = |shown, decoded| Given { shown, decoded };
        let avi = [given(Some(0), Some(0)), given(None, Some(40)), given(None, Some(80))];
        assert_eq!(presentation_times(avi.into_iter(), 40), [0, 40, 80]);
        let program = [given(Some(540), Some(500)), given(None, Some(540)), given(Some(580), Some(580))];
        assert_eq!(presentation_times(program.into_iter(), 40), [540, 580, 620]);
        let raw = [given(Some(7), None), Given::default(), Given::default()];
        assert_eq!(presentation_times(raw.into_iter(), 40), [7, 47, 87]);
    }
}
