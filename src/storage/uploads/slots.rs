//! The slots of uploads that are worked on, by id.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::domain::ids::UploadId;

/// Slots of uploads no one works on are dropped when there are this many.
pub(super) const SWEEP_MIN: usize = 64;

/// One slot per upload, for as long as somebody has it.
pub(super) struct Slots<S>(Mutex<Known<S>>);

struct Known<S> {
    by_id: HashMap<UploadId, Weak<S>>,
    sweep_at: usize,
}

impl<S> Default for Slots<S> {
    fn default() -> Self {
        Self(Mutex::new(Known { by_id: HashMap::new(), sweep_at: SWEEP_MIN }))
    }
}

impl<S> Slots<S> {
    /// The slot of an upload; made when nobody has it.
    pub(super) fn get(&self, id: &UploadId, make: impl FnOnce() -> S) -> Arc<S> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = known.by_id.get(id).and_then(Weak::upgrade) {
            return slot;
        }
        if known.by_id.len() >= known.sweep_at {
            known.by_id.retain(|_, slot| slot.strong_count() > 0);
            known.sweep_at = SWEEP_MIN.max(known.by_id.len() * 2);
        }
        let slot = Arc::new(make());
        known.by_id.insert(id.clone(), Arc::downgrade(&slot));
        slot
    }

    /// How many are known.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_id.len()
    }
}
