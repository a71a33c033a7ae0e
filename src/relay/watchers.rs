//! Who waits for a ceremony on this node. It only says "look again": subscribe, look, wait, look
//! again; any other order loses the change that lands between.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use fido_relay_proto::CeremonyId;
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Room {
    changed: Notify,
}

/// Ceremony → those who wait.
#[derive(Debug, Default)]
pub struct Watchers {
    rooms: DashMap<CeremonyId, Arc<Room>>,
}

/// One who waits. Its place is kept until it drops.
#[derive(Debug)]
pub struct Watch<'a> {
    watchers: &'a Watchers,
    ceremony: CeremonyId,
    room: Arc<Room>,
}

impl Watchers {
    /// A place to wait for changes of a ceremony.
    #[must_use]
    pub fn subscribe(&self, ceremony: CeremonyId) -> Watch<'_> {
        let room = Arc::clone(&self.rooms.entry(ceremony).or_default());
        Watch { watchers: self, ceremony, room }
    }

    /// Wakes everybody who waits for this ceremony.
    pub fn wake(&self, ceremony: CeremonyId) {
        let room = self.rooms.get(&ceremony).map(|room| Arc::clone(&room));
        if let Some(room) = room {
            room.changed.notify_waiters();
        }
    }

    /// Ceremonies that somebody waits for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }
}

impl Watch<'_> {
    /// A future that ends at the next change after this call, also if it is first polled later.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.room.changed.notified()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // The map and this watch hold the room: with nobody else, the last one turns off the light.
        if let Entry::Occupied(entry) = self.watchers.rooms.entry(self.ceremony)
            && Arc::strong_count(entry.get()) <= 2
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_subscribing_and_waiting_is_not_lost() {
        let watchers = Watchers::default();
        let id = CeremonyId::from_bytes([1; 16]);
        let watch = watchers.subscribe(id);
        let changed = watch.changed();
        watchers.wake(id);
        changed.await;
    }

    #[tokio::test]
    async fn the_room_is_gone_when_the_last_watcher_leaves() {
        let watchers = Watchers::default();
        let id = CeremonyId::from_bytes([1; 16]);
        let first = watchers.subscribe(id);
        let second = watchers.subscribe(id);
        drop(first);
        assert_eq!(watchers.len(), 1);
        drop(second);
        assert!(watchers.is_empty());
    }
}
