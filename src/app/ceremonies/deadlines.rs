//! A queue of keys by the time at which each is due. An entry that no longer matters is harmless: what
//! it causes changes nothing.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fido_relay_proto::UnixMillis;
use tokio::sync::Notify;

use crate::ports::Clock;

/// Longest sleep, so that a wall clock that was set forward is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Keys by due time.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    /// A set, because the same deadline is scheduled after every step of a ceremony.
    due: Mutex<BTreeSet<(UnixMillis, K)>>,
    sooner: Notify,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self { due: Mutex::default(), sooner: Notify::new() }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Has [`Deadlines::due`] give this key at `at`.
    pub(crate) fn schedule(&self, at: UnixMillis, key: K) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = due.first().is_none_or(|(first, _)| at < *first);
        due.insert((at, key));
        drop(due);
        if earliest {
            self.sooner.notify_one();
        }
    }

    /// Removes a deadline that no longer matters, to save memory.
    pub(crate) fn forget(&self, at: UnixMillis, key: &K) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.remove(&(at, key.clone()));
    }

    pub(crate) fn len(&self) -> usize {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Sleeps until the earliest key is due, and removes it.
    pub(crate) async fn due(&self, clock: &dyn Clock) -> K {
        loop {
            let sooner = self.sooner.notified();
            let wait = {
                let now = clock.now();
                let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
                match due.pop_first() {
                    Some((at, key)) if at <= now => return key,
                    Some((at, key)) => {
                        due.insert((at, key));
                        Duration::from_millis(at.millis_since(now)).min(LONGEST_SLEEP)
                    }
                    None => LONGEST_SLEEP,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = sooner => {}
            }
        }
    }
}
