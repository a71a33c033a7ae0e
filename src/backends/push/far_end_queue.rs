//! Lanes: what is under way to each far end (an origin of Web Push, a project of FCM, APNs), so that
//! one that is slow or down keeps the others neither waiting nor out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};

use super::breaker::Breaker;

/// Far ends that are remembered. Those with nothing under way make room for others.
const LANES_MAX: usize = 1_024;

/// What one far end may have at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    /// Wakes that may be under way at once.
    pub(super) places: usize,
    /// Calls that may be made at once.
    pub(super) calls: usize,
}

/// The bounds and the breaker of one far end.
#[derive(Debug)]
pub(super) struct FarEndQueue {
    breaker: Mutex<Breaker>,
    pub(super) places: Semaphore,
    pub(super) calls: Semaphore,
    /// Notified when the breaker has closed.
    pub(super) recovered: Notify,
}

impl FarEndQueue {
    fn new(share: QueueLimits) -> Self {
        Self {
            breaker: Mutex::default(),
            places: Semaphore::new(share.places),
            calls: Semaphore::new(share.calls),
            recovered: Notify::new(),
        }
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lanes of one service.
#[derive(Debug)]
pub(super) struct FarEndQueues {
    share: QueueLimits,
    lanes: Mutex<HashMap<String, Arc<FarEndQueue>>>,
}

impl FarEndQueues {
    pub(super) fn new(share: QueueLimits) -> Self {
        Self { share, lanes: Mutex::default() }
    }

    /// The lane of a far end; `None` if as many as there is room for are in use.
    pub(super) fn of(&self, far_end: &str) -> Option<Arc<FarEndQueue>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(far_end) {
            return Some(Arc::clone(lane));
        }
        if lanes.len() >= LANES_MAX {
            let in_use = |lane: &Arc<FarEndQueue>| Arc::strong_count(lane) > 1;
            lanes.retain(|_, lane| in_use(lane) || !lane.breaker().is_at_rest());
            if lanes.len() >= LANES_MAX {
                lanes.retain(|_, lane| in_use(lane));
            }
            if lanes.len() >= LANES_MAX {
                return None;
            }
        }
        let lane = Arc::new(FarEndQueue::new(self.share));
        lanes.insert(far_end.to_owned(), Arc::clone(&lane));
        Some(lane)
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_ends_in_use_keep_their_lane_and_the_others_make_room() {
        let lanes = FarEndQueues::new(QueueLimits { places: 1, calls: 1 });
        let kept: Vec<_> = (0..LANES_MAX).map(|n| lanes.of(&n.to_string()).unwrap()).collect();
        assert!(lanes.of("one more").is_none(), "all are in use");
        assert!(Arc::ptr_eq(&lanes.of("7").unwrap(), &kept[7]));
        drop(kept);
        assert!(lanes.of("one more").is_some());
        assert_eq!(lanes.len(), 1);
    }
}
