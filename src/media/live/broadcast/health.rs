//! What happened in a broadcast, as counters.
use serde::Serialize;

use super::Broadcast;
use crate::media::live::packager::Dropped;
use crate::media::live::timeline::Repairs;

/// Counters of a broadcast.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Times that were repaired.
    pub repairs: Repairs,
    /// Frames left out.
    pub dropped: Dropped,
    /// Epochs so far.
    pub epochs: u32,
    /// Gap segments so far, each counted once for all renditions.
    pub gaps: u64,
    /// Cues so far.
    pub cues: u64,
    /// Cues left out: too many at once, or nothing to place them by.
    pub cues_dropped: u64,
}

impl Broadcast {
    /// Counters.
    pub fn health(&self) -> Health {
        let mut health = self.health;
        if let Some(ongoing) = &self.ongoing {
            health.repairs = add_repairs(health.repairs, ongoing.timeline.repairs());
            let Dropped { undecodable, early_sound } = ongoing.packager.dropped();
            health.dropped.undecodable += undecodable;
            health.dropped.early_sound += early_sound;
        }
        health
    }
}

fn add_repairs(a: Repairs, b: Repairs) -> Repairs {
    Repairs {
        wrapped: a.wrapped + b.wrapped,
        unordered: a.unordered + b.unordered,
        shown_early: a.shown_early + b.shown_early,
        jumps: a.jumps + b.jumps,
        sound_gaps: a.sound_gaps + b.sound_gaps,
        sound_overlaps: a.sound_overlaps + b.sound_overlaps,
    }
}
