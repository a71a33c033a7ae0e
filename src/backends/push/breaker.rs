//! A breaker: a far end that failed so often in a row is left alone for a while, then tried by one
//! call. It knows times and counts alone.

use std::time::Duration;

use tokio::time::Instant;

/// What a call may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerDecision {
    /// The call may be made now.
    Allow,
    /// Nothing before this time; the first after it is the one that tries.
    WaitUntil(Instant),
}

/// The failures of one far end.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    in_a_row: u32,
    /// Set while it is open.
    until: Option<Instant>,
    /// Whether the one call that tries is under way.
    is_trying: bool,
    /// Tries in a row that found it still failing.
    reopened: u32,
}

impl Breaker {
    /// Whether a call may go. Open, it lets one through for each pause.
    pub(super) fn pass(&mut self, now: Instant, pause: Duration) -> BreakerDecision {
        match self.until {
            None => BreakerDecision::Allow,
            Some(until) if now < until => BreakerDecision::WaitUntil(until),
            Some(_) => {
                // Another may follow if this one never comes back.
                self.until = Some(now + pause);
                self.is_trying = true;
                BreakerDecision::Allow
            }
        }
    }

    /// Whether calls are held back now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// The far end answered as one that works.
    pub(super) fn well(&mut self) {
        *self = Self::default();
    }

    /// It did not. After so many in a row it opens; a try that failed doubles the pause,
    /// up to four times the first one.
    pub(super) fn failed(&mut self, now: Instant, most: u32, pause: Duration) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.until.is_some() && !self.is_trying {
            // A call that began before it opened says nothing new.
            return;
        }
        if self.in_a_row >= most {
            if std::mem::take(&mut self.is_trying) {
                self.reopened = self.reopened.saturating_add(1);
            }
            self.until = Some(now + pause * (1 << self.reopened.min(2)));
        }
    }

    /// Whether it has nothing to remember.
    pub(super) fn is_at_rest(&self) -> bool {
        self.in_a_row == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_so_many_in_a_row_and_one_try_closes_it() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert_eq!(breaker.pass(Instant::now(), PAUSE), BreakerDecision::Allow);
            breaker.failed(Instant::now(), 5, PAUSE);
        }
        breaker.well();
        assert!(breaker.is_at_rest());
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
        breaker.well();
        assert_eq!(breaker.pass(Instant::now(), PAUSE), BreakerDecision::Allow);
        assert!(breaker.is_at_rest());
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_fails_doubles_the_pause_up_to_four_times() {
        let mut breaker = Breaker::default();
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
