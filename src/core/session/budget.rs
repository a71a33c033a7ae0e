//! Counting in a few words: a rate in one number, and the rare list of policy errors.

use super::limits::FrameBudget;

/// The generic cell rate algorithm: a token bucket held as the one instant at which it will be
/// full again.
#[derive(Debug, Default)]
pub(super) struct TokenBucket {
    full_at: u64,
}

impl TokenBucket {
    /// Takes one frame out of the budget; tells whether there was one. A refused frame costs
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

/// The policy errors of one socket. Most sockets never make one, so nothing is kept for them.
#[derive(Debug, Default)]
pub(super) struct PolicyErrors {
    recent: Option<Box<ErrorTimes>>,
}

/// When the latest errors were, the oldest first.
#[derive(Debug, Default)]
struct ErrorTimes {
    times: Vec<u64>,
}

impl PolicyErrors {
    /// Counts one error; tells whether there are now `limit` of them within `window_ms`.
    pub(super) fn count(&mut self, now: u64, limit: usize, window_ms: u64) -> bool {
        let times = &mut self.recent.get_or_insert_default().times;
        times.retain(|then| now.saturating_sub(*then) < window_ms);
        times.push(now);
        times.len() >= limit
    }
}
