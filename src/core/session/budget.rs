//! Rate limits of one socket in little memory: a token bucket in one number, and the times of policy
//! errors.

use super::limits::FrameBudget;

/// The generic cell rate algorithm: a token bucket, stored as the time at which it will be full.
#[derive(Debug, Default)]
pub(super) struct TokenBucket {
    full_at: u64,
}

impl TokenBucket {
    /// Takes one frame out of the budget; returns whether there was one. A refused frame costs
    /// nothing, so that a peer that slows down is served again at once.
    pub(super) fn admit(&mut self, now: u64, budget: FrameBudget) -> bool {
        let from = self.full_at.max(now);
        let burst = u64::from(budget.burst.max(1));
        let allowed = budget.every_ms.saturating_mul(burst - 1);
        if from - now > allowed {
            return false;
        }
        self.full_at = from.saturating_add(budget.every_ms);
        true
    }
}

/// The policy errors of one socket. Allocates at the first error, since most sockets have none.
#[derive(Debug, Default)]
pub(super) struct PolicyErrors {
    recent: Option<Box<ErrorTimes>>,
}

/// The times of the latest errors, oldest first.
#[derive(Debug, Default)]
struct ErrorTimes {
    times: Vec<u64>,
}

impl PolicyErrors {
    /// Counts one error; returns whether there are now `limit` of them within `window_ms`.
    pub(super) fn count(&mut self, now: u64, limit: usize, window_ms: u64) -> bool {
        let times = &mut self.recent.get_or_insert_default().times;
        times.retain(|then| now.saturating_sub(*then) < window_ms);
        times.push(now);
        times.len() >= limit
    }
}
