//! A bounded memory of what the catalog said, that never brings back what was forgotten.
//!
//! A load that began before a change and ends after it holds the old row: it may be used once, but not remembered.
//! Hence the ticket: taken before loading, it is void as soon as anything was forgotten meanwhile.
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

/// The memory.
pub(crate) struct Memory<K, V> {
    cache: Cache<K, V>,
    changes: Mutex<u64>,
}

/// Allows one value to be remembered, unless something was forgotten since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u64);

impl<K: Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Memory<K, V> {
    /// Of at most `entries_max` values, each for at most `ttl`.
    pub(crate) fn new(entries_max: u64, ttl: Duration) -> Self {
        Self { cache: Cache::builder().max_capacity(entries_max).time_to_live(ttl).build(), changes: Mutex::new(0) }
    }

    /// What is remembered.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.cache.get(key)
    }

    /// To be taken before loading.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(*self.changes())
    }

    /// Remembers what was loaded.
    pub(crate) fn remember(&self, ticket: Ticket, key: K, value: V) {
        let changes = self.changes();
        if *changes == ticket.0 {
            self.cache.insert(key, value);
        }
    }

    /// Forgets one value.
    pub(crate) fn forget(&self, key: &K) {
        *self.changes() += 1;
        self.cache.invalidate(key);
    }

    /// Forgets everything.
    pub(crate) fn forget_all(&self) {
        *self.changes() += 1;
        self.cache.invalidate_all();
    }

    fn changes(&self) -> MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_before_a_change_is_not_remembered_after_it() {
        let memory = Memory::new(10, Duration::from_secs(60));
        let ticket = memory.ticket();
        memory.forget(&1);
        memory.remember(ticket, 1, "old");
        assert_eq!(memory.get(&1), None);
        memory.remember(memory.ticket(), 1, "new");
        assert_eq!(memory.get(&1), Some("new"));
        memory.forget_all();
        assert_eq!(memory.get(&1), None);
    }
}
