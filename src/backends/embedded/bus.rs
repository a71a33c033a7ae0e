//! The bus of a relay that is alone: notices go to this process only.
//!
//! A full queue loses the newest notice and counts it, as the port allows: the store is the truth,
//! and whoever missed a notice finds the same by looking.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::ports::{BoxFuture, Bus, Notice};

/// Notices that may wait: those of a second at a rate far beyond what one node's store takes.
const QUEUE: usize = 65_536;

/// Carries notices within this process.
#[derive(Debug)]
pub struct LocalBus {
    sender: mpsc::Sender<Notice>,
    feed: Mutex<Option<mpsc::Receiver<Notice>>>,
    lost: AtomicU64,
}

impl LocalBus {
    /// A bus with room for as many waiting notices as a node ever has.
    #[must_use]
    pub fn new() -> Self {
        Self::with_room(QUEUE)
    }

    /// A bus with room for `notices` waiting ones, at least 1.
    #[must_use]
    pub fn with_room(notices: usize) -> Self {
        let (sender, receiver) = mpsc::channel(notices.max(1));
        Self { sender, feed: Mutex::new(Some(receiver)), lost: AtomicU64::new(0) }
    }

    /// Notices lost so far because nobody took them in time.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus for LocalBus {
    fn publish(&self, notice: Notice) -> BoxFuture<'_, ()> {
        if self.sender.try_send(notice).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Box::pin(std::future::ready(()))
    }

    fn feed(&self) -> Option<mpsc::Receiver<Notice>> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::{CeremonyId, TenantId};

    use super::*;

    fn notice(n: u8) -> Notice {
        Notice::Ceremony(TenantId::default(), CeremonyId::from_bytes([n; 16]))
    }

    #[tokio::test]
    async fn what_is_published_arrives_in_the_feed() {
        let bus = LocalBus::new();
        let mut feed = bus.feed().unwrap();
        bus.publish(notice(1)).await;
        bus.publish(notice(2)).await;
        assert_eq!(feed.recv().await, Some(notice(1)));
        assert_eq!(feed.recv().await, Some(notice(2)));
    }

    #[tokio::test]
    async fn a_full_queue_loses_notices_and_counts_them_but_never_waits() {
        let bus = LocalBus::with_room(2);
        let mut feed = bus.feed().unwrap();
        for n in 0..5 {
            bus.publish(notice(n)).await;
        }
        assert_eq!(bus.lost(), 3);
        assert_eq!(feed.recv().await, Some(notice(0)));
        assert_eq!(feed.recv().await, Some(notice(1)));
        bus.publish(notice(9)).await;
        assert_eq!(feed.recv().await, Some(notice(9)));
    }

    #[test]
    fn the_feed_is_given_once() {
        let bus = LocalBus::new();
        assert!(bus.feed().is_some());
        assert!(bus.feed().is_none());
    }
}
