//! Byte streams of H.264 and HEVC (annex B of ITU-T H.264 and H.265): NAL units behind start codes.

/// NAL units looked at in one access unit at most.
pub const UNITS_MAX: usize = 4096;

/// The NAL units of a byte stream, none of them empty.
#[derive(Debug, Clone)]
pub struct AnnexB<'a> {
    /// Behind a start code.
    rest: Option<&'a [u8]>,
    left: usize,
}

impl<'a> AnnexB<'a> {
    /// Walks `stream`; what precedes its first start code is left out.
    pub fn new(stream: &'a [u8]) -> Self {
        Self { rest: split(stream).1, left: UNITS_MAX }
    }
}

/// What precedes the first start code, and what is behind it.
fn split(stream: &[u8]) -> (&[u8], Option<&[u8]>) {
    let found = stream.windows(3).position(|window| window == [0, 0, 1]);
    match found.and_then(|at| stream.split_at_checked(at)) {
        Some((before, code)) => (before, code.get(3..)),
        None => (stream, None),
    }
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            self.left = self.left.checked_sub(1)?;
            let (unit, rest) = split(self.rest?);
            self.rest = rest;
            // Zeros behind a unit belong to the next start code, or are there to fill.
            let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if let Some(unit) = unit.get(..end).filter(|unit| !unit.is_empty()) {
                return Some(unit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_lie_between_start_codes() {
        let stream = [9, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 0, 0, 1, 0, 0, 1, 0x65, 0, 0, 3, 1, 0, 0];
        let units: Vec<&[u8]> = AnnexB::new(&stream).collect();
        assert_eq!(units, [&[0x67, 1][..], &[0x68], &[0x65, 0, 0, 3, 1]]);
        assert_eq!(AnnexB::new(&[1, 2, 3]).count() + AnnexB::new(&[]).count() + AnnexB::new(&[0, 0, 1]).count(), 0);
        assert!(AnnexB::new(&[0, 0, 1, 5].repeat(10_000)).count() <= UNITS_MAX);
    }
}
