//! Every act happens whole with one entry of the journal, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fido_relay_proto::UnixMillis;
use serde_json::Value;

use super::App;
use crate::backends::embedded::{LocalBus, RevocationList};
use crate::ports::{Clock, Position, Store};
use crate::tasks::Tasks;

/// A clock that stands until it is set.
#[derive(Debug)]
pub(super) struct HandClock(AtomicU64);

impl HandClock {
    pub(super) fn at(now: UnixMillis) -> Self {
        Self(AtomicU64::new(now.0))
    }

    pub(super) fn set(&self, now: UnixMillis) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::Relaxed))
    }
}

/// Acts on a store, without cards and webhooks.
pub(super) fn over(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> App {
    App {
        store,
        clock,
        bus: Arc::new(LocalBus::with_room(1)),
        revocations: Arc::new(RevocationList::in_memory()),
        cards: None,
        webhooks: None,
        public_url: "https://relay.example".to_owned(),
        tasks: Tasks::default(),
    }
}

/// All entries of a journal.
pub(super) async fn entries(store: &dyn Store) -> Vec<Value> {
    let rows = store.journal(Position::default(), usize::MAX).await.unwrap();
    let entries = rows.iter().flat_map(|row| &row.entries);
    entries.map(|entry| serde_json::from_str(entry).unwrap()).collect()
}
