//! How a connection is ended from outside its task.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::task::AtomicWaker;

use super::listener_refusal::ListenerRefusal;
use crate::metrics::Metrics;

/// Ends a connection from outside, at whatever layer it is.
#[derive(Debug)]
pub(in crate::edge) struct HangUp {
    hung_up: AtomicBool,
    /// The task that drives the connection.
    driver: AtomicWaker,
    metrics: Metrics,
}

impl HangUp {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { hung_up: AtomicBool::new(false), driver: AtomicWaker::new(), metrics }
    }

    /// Counted once, by its first reason.
    pub(super) fn hang_up(&self, why: ListenerRefusal) {
        if !self.hung_up.swap(true, Ordering::AcqRel) {
            self.count(why);
            self.driver.wake();
        }
    }

    /// Never called with a lock held: it wakes a task.
    pub(super) fn evict(&self) {
        self.hang_up(ListenerRefusal::Evicted);
    }

    pub(super) fn count(&self, why: ListenerRefusal) {
        self.metrics.turned_away(why.name());
    }

    pub(super) fn is_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::Acquire)
    }

    pub(super) fn driver(&self) -> &AtomicWaker {
        &self.driver
    }
}
