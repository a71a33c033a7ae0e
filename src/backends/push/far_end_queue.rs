//! The wakes of each far end (an origin of Web Push, a project of FCM, APNs), with concurrency limits
//! and a breaker of its own, so that one that is slow or down does not block the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};

use super::breaker::CircuitBreaker;

/// Far ends with a queue. Idle ones are dropped to make room.
const QUEUES_MAX: usize = 1_024;

/// The concurrency limits of one far end.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    pub(super) slots: usize,
    pub(super) calls: usize,
}

/// The limits and the breaker of one far end.
#[derive(Debug)]
pub(super) struct FarEndQueue {
    breaker: Mutex<CircuitBreaker>,
    pub(super) slots: Semaphore,
    pub(super) calls: Semaphore,
    /// Notified when the breaker closes.
    pub(super) recovered: Notify,
}

impl FarEndQueue {
    fn new(limits: QueueLimits) -> Self {
        Self {
            breaker: Mutex::default(),
            slots: Semaphore::new(limits.slots),
            calls: Semaphore::new(limits.calls),
            recovered: Notify::new(),
        }
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, CircuitBreaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queues of one service by far end.
#[derive(Debug)]
pub(super) struct FarEndQueues {
    limits: QueueLimits,
    queues: Mutex<HashMap<String, Arc<FarEndQueue>>>,
}

impl FarEndQueues {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { limits, queues: Mutex::default() }
    }

    /// The queue of a far end; `None` if [`QUEUES_MAX`] others are in use.
    pub(super) fn of(&self, far_end: &str) -> Option<Arc<FarEndQueue>> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(far_end) {
            return Some(Arc::clone(queue));
        }
        if queues.len() >= QUEUES_MAX {
            let in_use = |queue: &Arc<FarEndQueue>| Arc::strong_count(queue) > 1;
            queues.retain(|_, queue| in_use(queue) || !queue.breaker().is_reset());
            if queues.len() >= QUEUES_MAX {
                queues.retain(|_, queue| in_use(queue));
            }
            if queues.len() >= QUEUES_MAX {
                return None;
            }
        }
        let queue = Arc::new(FarEndQueue::new(self.limits));
        queues.insert(far_end.to_owned(), Arc::clone(&queue));
        Some(queue)
    }

    #[cfg(feature = "test-support")]
    pub(super) fn len(&self) -> usize {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_ends_in_use_keep_their_lane_and_the_others_make_room() {
        let queues = FarEndQueues::new(QueueLimits { slots: 1, calls: 1 });
        let kept: Vec<_> = (0..QUEUES_MAX).map(|n| queues.of(&n.to_string()).unwrap()).collect();
        assert!(queues.of("one more").is_none(), "all are in use");
        assert!(Arc::ptr_eq(&queues.of("7").unwrap(), &kept[7]));
        drop(kept);
        assert!(queues.of("one more").is_some());
        assert_eq!(queues.len(), 1);
    }
}
