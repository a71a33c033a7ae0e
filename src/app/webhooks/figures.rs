//! How deliveries fare, counted for metrics and for tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Figures {
    delivered: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    waiting: AtomicU64,
    open_circuits: AtomicU64,
    oldest_due: AtomicU64,
}

/// How deliveries fare, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookFigures {
    /// Deliveries that arrived.
    pub delivered: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Deliveries that wait or are on their way.
    pub waiting: u64,
    /// Endpoints that nothing is sent to because they failed too often in a row.
    pub open_circuits: u64,
    /// When the delivery that waits longest was due, in milliseconds since the epoch; 0: none
    /// waits.
    pub oldest_due: u64,
}

impl Figures {
    pub(super) fn delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dead(&self) {
        self.dead.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn state(&self, waiting: u64, open_circuits: u64, oldest_due: u64) {
        self.waiting.store(waiting, Ordering::Relaxed);
        self.open_circuits.store(open_circuits, Ordering::Relaxed);
        self.oldest_due.store(oldest_due, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> WebhookFigures {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        WebhookFigures {
            delivered: read(&self.delivered),
            failed: read(&self.failed),
            dead: read(&self.dead),
            waiting: read(&self.waiting),
            open_circuits: read(&self.open_circuits),
            oldest_due: read(&self.oldest_due),
        }
    }
}
