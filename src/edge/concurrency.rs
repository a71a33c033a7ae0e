//! How many may do something at the same time: so many per key, and so many in all.
//!
//! Where a newcomer may take the place of another, the limit is
//! [`EvictingLimit`](super::listener::EvictingLimit).

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// Which bound of a limit left no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge) enum LimitReached {
    PerKey,
    Total,
}

/// A limit that refuses newcomers. Nothing is kept of keys without a slot.
#[derive(Debug)]
pub(in crate::edge) struct ConcurrencyLimit<K: Eq + Hash> {
    per_key: usize,
    total: usize,
    taken: AtomicUsize,
    by_key: DashMap<K, usize>,
}

/// One slot of a limit, given back when it drops.
#[derive(Debug)]
pub(in crate::edge) struct ConcurrencySlot<K: Copy + Eq + Hash> {
    limit: Arc<ConcurrencyLimit<K>>,
    key: Option<K>,
}

impl<K: Copy + Eq + Hash> ConcurrencyLimit<K> {
    pub(in crate::edge) fn new(per_key: usize, total: usize) -> Arc<Self> {
        Arc::new(Self { per_key, total, taken: AtomicUsize::new(0), by_key: DashMap::new() })
    }

    /// A slot of this key and of all.
    ///
    /// # Errors
    /// The bound that is reached, that of the key before that of all.
    pub(in crate::edge) fn acquire(
        self: &Arc<Self>,
        key: K,
    ) -> Result<ConcurrencySlot<K>, LimitReached> {
        // Counted first and compared second, so that of two at once not both get the last slot.
        let of_key = {
            let mut of_key = self.by_key.entry(key).or_default();
            *of_key += 1;
            *of_key
        };
        let (slot, taken) = self.count(Some(key));
        if of_key > self.per_key {
            return Err(LimitReached::PerKey);
        }
        if taken > self.total { Err(LimitReached::Total) } else { Ok(slot) }
    }

    /// A slot that counts in all alone.
    ///
    /// # Errors
    /// [`LimitReached::Total`].
    pub(in crate::edge) fn acquire_unkeyed(
        self: &Arc<Self>,
    ) -> Result<ConcurrencySlot<K>, LimitReached> {
        let (slot, taken) = self.count(None);
        if taken > self.total { Err(LimitReached::Total) } else { Ok(slot) }
    }

    fn count(self: &Arc<Self>, key: Option<K>) -> (ConcurrencySlot<K>, usize) {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        (ConcurrencySlot { limit: Arc::clone(self), key }, taken)
    }
}

impl<K: Copy + Eq + Hash> Drop for ConcurrencySlot<K> {
    fn drop(&mut self) {
        self.limit.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(key) = self.key
            && let Entry::Occupied(mut of_key) = self.limit.by_key.entry(key)
        {
            if *of_key.get() <= 1 {
                of_key.remove();
            } else {
                *of_key.get_mut() -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_bounded_per_key_and_in_all_and_come_back() {
        let limit = ConcurrencyLimit::new(2, 3);
        let first = limit.acquire("near").unwrap();
        let second = limit.acquire("near").unwrap();
        assert_eq!(limit.acquire("near").unwrap_err(), LimitReached::PerKey);
        let third = limit.acquire("far").unwrap();
        assert_eq!(limit.acquire("far").unwrap_err(), LimitReached::Total);
        drop(first);
        drop(limit.acquire("near").unwrap());
        let unkeyed = limit.acquire_unkeyed().unwrap();
        assert_eq!(limit.acquire_unkeyed().unwrap_err(), LimitReached::Total);
        drop((unkeyed, third));
        assert_eq!(limit.by_key.len(), 1, "nothing is kept of keys without a slot");
        drop(second);
        assert_eq!((limit.by_key.len(), limit.taken.load(Ordering::Relaxed)), (0, 0));
    }
}
