//! One task asleep until the earliest deadline. An entry that no longer matters is harmless: the
//! tick it causes changes nothing.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fido_relay_proto::UnixMillis;
use tokio::sync::Notify;

use crate::ports::Clock;

/// Longest sleep, so that a wall clock that was set forward is noticed.
const NAP: Duration = Duration::from_secs(30);

/// What is due when.
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
    /// Has this given by [`Deadlines::due`] at `at`.
    pub(crate) fn schedule(&self, at: UnixMillis, key: K) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = due.first().is_none_or(|(first, _)| at < *first);
        due.insert((at, key));
        drop(due);
        if earliest {
            self.sooner.notify_one();
        }
    }

    /// Forgets a deadline that no longer matters, to save the memory.
    pub(crate) fn forget(&self, at: UnixMillis, key: &K) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.remove(&(at, key.clone()));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Sleeps until something is due and gives it.
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
                        Duration::from_millis(at.millis_since(now)).min(NAP)
                    }
                    None => NAP,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = sooner => {}
            }
        }
    }
}
