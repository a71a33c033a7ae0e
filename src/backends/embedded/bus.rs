//! The bus of a single node: notices go to this process only.
//!
//! A full queue drops the newest notice, as the port allows: the store is the truth, and a lost
//! notice only costs delay.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::ports::{BoxFuture, Bus, Notice};

/// Queued notices: those of a second at a rate far beyond what one node's store takes.
const QUEUE: usize = 65_536;

/// A [`Bus`] within this process.
#[derive(Debug)]
pub struct LocalBus {
    sender: mpsc::Sender<Notice>,
    feed: Mutex<Option<mpsc::Receiver<Notice>>>,
}

impl LocalBus {
    /// A bus with the queue of a serving node.
    #[must_use]
    pub fn new() -> Self {
        Self::with_room(QUEUE)
    }

    /// A bus that queues up to `notices`, at least 1.
    #[must_use]
    pub fn with_room(notices: usize) -> Self {
        let (sender, receiver) = mpsc::channel(notices.max(1));
        Self { sender, feed: Mutex::new(Some(receiver)) }
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus for LocalBus {
    fn publish(&self, notice: Notice) -> BoxFuture<'_, ()> {
        drop(self.sender.try_send(notice));
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
    async fn a_full_queue_drops_notices_and_never_waits() {
        let bus = LocalBus::with_room(2);
        let mut feed = bus.feed().unwrap();
        for n in 0..5 {
            bus.publish(notice(n)).await;
        }
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
