//! One task asleep until the earliest deadline. An entry that no longer matters is harmless: the
//! tick it causes changes nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fido_relay_proto::UnixMillis;
use tokio::sync::Notify;

use super::ceremonies::CeremonyKey;
use crate::ports::Clock;

/// Longest sleep, so that a wall clock that was set forward is noticed.
const NAP: Duration = Duration::from_secs(30);

/// What is due when.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: Mutex<BinaryHeap<Reverse<(UnixMillis, CeremonyKey)>>>,
    sooner: Notify,
}

impl Deadlines {
    /// Has this ceremony ticked at `at`.
    pub(super) fn schedule(&self, at: UnixMillis, key: CeremonyKey) {
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = heap.peek().is_none_or(|Reverse((first, _))| at < *first);
        heap.push(Reverse((at, key)));
        drop(heap);
        if earliest {
            self.sooner.notify_one();
        }
    }

    /// Sleeps until something is due and gives it.
    pub(super) async fn due(&self, clock: &dyn Clock) -> CeremonyKey {
        loop {
            let sooner = self.sooner.notified();
            let wait = {
                let now = clock.now();
                let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
                match heap.peek() {
                    Some(Reverse((at, _))) if *at <= now => {
                        if let Some(Reverse((_, key))) = heap.pop() {
                            return key;
                        }
                        continue;
                    }
                    Some(Reverse((at, _))) => Duration::from_millis(at.millis_since(now)).min(NAP),
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
