//! A circuit breaker: after a number of failures in a row no call is made to a far end for a while,
//! then one trial call. Pure: it knows times and counts.

use std::time::Duration;

use tokio::time::Instant;

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerDecision {
    /// Make it now.
    Allow,
    /// Ask again at this time; the first call after it is the trial.
    WaitUntil(Instant),
}

/// The state of one far end.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    in_a_row: u32,
    /// The end of the pause; set while the breaker is open.
    until: Option<Instant>,
    /// Whether the trial call is under way.
    is_trying: bool,
    /// Failed trials in a row.
    reopened: u32,
}

impl CircuitBreaker {
    /// Whether a call may be made. While open, one trial is allowed after each pause.
    pub(super) fn pass(&mut self, now: Instant, pause: Duration) -> BreakerDecision {
        match self.until {
            None => BreakerDecision::Allow,
            Some(until) if now < until => BreakerDecision::WaitUntil(until),
            Some(_) => {
                // Another trial may follow if this one never ends.
                self.until = Some(now + pause);
                self.is_trying = true;
                BreakerDecision::Allow
            }
        }
    }

    /// Whether calls must wait.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Counts a failure. The `limit`th in a row opens the breaker; each failed trial doubles the
    /// pause, up to four times the first one.
    pub(super) fn failed(&mut self, now: Instant, limit: u32, pause: Duration) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.until.is_some() && !self.is_trying {
            // A call from before the breaker opened is no trial.
            return;
        }
        if self.in_a_row >= limit {
            if std::mem::take(&mut self.is_trying) {
                self.reopened = self.reopened.saturating_add(1);
            }
            self.until = Some(now + pause * (1 << self.reopened.min(2)));
        }
    }

    /// Whether the last call succeeded.
    pub(super) fn is_reset(&self) -> bool {
        self.in_a_row == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_so_many_in_a_row_and_one_try_closes_it() {
        let mut breaker = CircuitBreaker::default();
        for _ in 0..4 {
            assert_eq!(breaker.pass(Instant::now(), PAUSE), BreakerDecision::Allow);
            breaker.failed(Instant::now(), 5, PAUSE);
        }
        breaker.succeeded();
        assert!(breaker.is_reset());
        for _ in 0..5 {
            assert_eq!(breaker.pass(Instant::now(), PAUSE), BreakerDecision::Allow);
            breaker.failed(Instant::now(), 5, PAUSE);
        }
        let until = Instant::now() + PAUSE;
        assert_eq!(breaker.pass(Instant::now(), PAUSE), BreakerDecision::WaitUntil(until));
        tokio::time::advance(PAUSE).await;
        assert!(!breaker.is_open(Instant::now()));
        assert_eq!(breaker.pass(Instant::now(), PAUSE), BreakerDecision::Allow);
        let next = Instant::now() + PAUSE;
        assert_eq!(
            breaker.pass(Instant::now(), PAUSE),
            BreakerDecision::WaitUntil(next),
            "one alone"
        );
        breaker.succeeded();
        assert_eq!(breaker.pass(Instant::now(), PAUSE), BreakerDecision::Allow);
        assert!(breaker.is_reset());
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_fails_doubles_the_pause_up_to_four_times() {
        let mut breaker = CircuitBreaker::default();
        for times in [1, 2, 4, 4] {
            breaker.failed(Instant::now(), 1, PAUSE);
            let until = Instant::now() + PAUSE * times;
            assert_eq!(breaker.pass(Instant::now(), PAUSE), BreakerDecision::WaitUntil(until));
            breaker.failed(Instant::now(), 1, PAUSE);
            let same = breaker.pass(Instant::now(), PAUSE);
            assert_eq!(same, BreakerDecision::WaitUntil(until), "a late failure changes nothing");
            tokio::time::advance(PAUSE * times).await;
            assert_eq!(breaker.pass(Instant::now(), PAUSE), BreakerDecision::Allow);
        }
    }
}
