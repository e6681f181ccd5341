//! Uploads whose clients store the bytes by themselves, in parts: how a file is cut into them.

/// Most parts of one upload.
pub const PARTS_MAX: u64 = 10_000;
/// Parts that are larger than they were asked to be are so by whole multiples of this.
const STEP_BYTES: u64 = 1024 * 1024;

/// How a file is cut: into parts of one size, and a last one of what is left. Parts are numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPlan {
    length: u64,
    part_bytes: u64,
}

impl PartPlan {
    /// A file of this length in parts of this size.
    pub fn new(length: u64, part_bytes: u64) -> Self {
        Self { length, part_bytes: part_bytes.max(1) }
    }

    /// The size of parts for a file of this length: the one that is wanted, or a larger one when they would be too many.
    pub fn part_bytes_for(length: u64, wanted: u64) -> u64 {
        let least = length.div_ceil(PARTS_MAX);
        if least <= wanted { wanted.max(1) } else { least.next_multiple_of(STEP_BYTES) }
    }

    /// Bytes of each part but the last.
    pub fn part_bytes(&self) -> u64 {
        self.part_bytes
    }

    /// How many parts there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.length.div_ceil(self.part_bytes)).unwrap_or(u32::MAX)
    }

    /// Bytes of this part; `None` when there is no such part.
    pub fn bytes_of(&self, part: u32) -> Option<u64> {
        let start = u64::from(part.checked_sub(1)?).checked_mul(self.part_bytes)?;
        (start < self.length).then(|| self.part_bytes.min(self.length - start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_file() {
        for (length, part_bytes, sizes) in
            [(10, 4, vec![4, 4, 2]), (8, 4, vec![4, 4]), (3, 4, vec![3]), (1, 1, vec![1])]
        {
            let plan = PartPlan::new(length, part_bytes);
            let found: Vec<u64> = (1..=plan.count()).filter_map(|part| plan.bytes_of(part)).collect();
            assert_eq!(found, sizes);
            assert_eq!((plan.bytes_of(0), plan.bytes_of(plan.count() + 1)), (None, None));
        }
        assert_eq!(PartPlan::new(u64::MAX, 1).bytes_of(u32::MAX), Some(1));
    }

    #[test]
    fn parts_grow_when_they_would_be_too_many() {
        assert_eq!(PartPlan::part_bytes_for(100, 64), 64);
        assert_eq!(PartPlan::part_bytes_for(PARTS_MAX * 64, 64), 64);
        let large = PartPlan::part_bytes_for(PARTS_MAX * 64 + 1, 64);
        assert_eq!(large, STEP_BYTES);
        assert!(PartPlan::new(1 << 50, PartPlan::part_bytes_for(1 << 50, 64)).count() <= 10_000);
    }
}
