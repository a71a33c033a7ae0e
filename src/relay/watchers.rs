//! Who waits for a ceremony on this node: subscribe, look, wait, look again; any other order loses
//! the change that lands between.
//!
//! Whoever wakes them has just looked, and leaves what it saw: a thousand who wait for one ceremony
//! need not read and parse the same record a thousand times. It may be old by the time that they
//! read it, as a look of their own may, and it never goes back.

use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use fido_relay_proto::CeremonyId;
use tokio::sync::Notify;

use super::view::View;
use crate::ports::Revision;

#[derive(Debug, Default)]
struct Room {
    changed: Notify,
    /// What was seen last by whoever woke those who wait.
    seen: Mutex<Option<(Revision, Arc<View>)>>,
}

/// A room and how many wait in it. They are counted under the map's lock: what else holds the room
/// for a moment says nothing about who waits.
#[derive(Debug, Default)]
struct Seats {
    room: Arc<Room>,
    taken: usize,
}

/// Ceremony → those who wait.
#[derive(Debug, Default)]
pub struct Watchers {
    rooms: DashMap<CeremonyId, Seats>,
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
        let mut seats = self.rooms.entry(ceremony).or_default();
        seats.taken += 1;
        let room = Arc::clone(&seats.room);
        Watch { watchers: self, ceremony, room }
    }

    /// Wakes everybody who waits for this ceremony, and shows them what was just seen of it.
    pub fn wake(&self, ceremony: CeremonyId, revision: Revision, view: impl FnOnce() -> View) {
        let room = self.rooms.get(&ceremony).map(|seats| Arc::clone(&seats.room));
        if let Some(room) = room {
            room.see(revision, view);
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

impl Room {
    /// Of two who look at the same time the later may have seen the earlier state.
    fn see(&self, revision: Revision, view: impl FnOnce() -> View) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref().is_none_or(|(known, _)| *known < revision) {
            *seen = Some((revision, Arc::new(view())));
        }
    }
}

impl Watch<'_> {
    /// What was seen when somebody was last woken here, if anybody was.
    #[must_use]
    pub fn seen(&self) -> Option<Arc<View>> {
        let seen = self.room.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().map(|(_, view)| Arc::clone(view))
    }

    /// A future that ends at the next change after this call, also if it is first polled later.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.room.changed.notified()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.watchers.rooms.remove_if_mut(&self.ceremony, |_, seats| {
            seats.taken -= 1;
            seats.taken == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::{CeremonyType, ClientId, Phase, Step, TenantId, UnixMillis};

    use super::*;
    use crate::relay::view::Moment;

    #[tokio::test]
    async fn a_change_between_subscribing_and_waiting_is_not_lost() {
        let watchers = Watchers::default();
        let id = CeremonyId::from_bytes([1; 16]);
        let watch = watchers.subscribe(id);
        let changed = watch.changed();
        watchers.wake(id, Revision(1), || view(id, 1));
        changed.await;
    }

    #[test]
    fn what_was_seen_never_goes_back_and_a_new_room_has_seen_nothing() {
        let watchers = Watchers::default();
        let id = CeremonyId::from_bytes([1; 16]);
        watchers.wake(id, Revision(1), || unreachable!("nobody waits"));
        let watch = watchers.subscribe(id);
        assert!(watch.seen().is_none());
        watchers.wake(id, Revision(7), || view(id, 3));
        watchers.wake(id, Revision(6), || view(id, 2));
        assert_eq!(watch.seen().unwrap().seq(), 3);
        watchers.wake(id, Revision(8), || view(id, 4));
        assert_eq!(watch.seen().unwrap().seq(), 4);
        drop(watch);
        assert!(watchers.subscribe(id).seen().is_none());
    }

    fn view(id: CeremonyId, steps: u32) -> View {
        let (step, at, phase) = (Step::Sent, UnixMillis(0), Phase::Offered);
        let moment = |seq| Moment { seq, step, at, phase };
        View {
            id,
            tenant: TenantId::default(),
            client_id: ClientId::from_bytes([2; 16]),
            ceremony_type: CeremonyType::Authentication,
            username: "ada".to_owned().try_into().unwrap(),
            deadline: UnixMillis(0),
            code: None,
            phase: Phase::Offered,
            progress: (1..=steps).map(moment).collect(),
            end: None,
            success: None,
        }
    }

    #[test]
    fn the_room_is_gone_however_those_who_leave_and_who_wakes_them_meet() {
        let watchers = Watchers::default();
        let id = CeremonyId::from_bytes([1; 16]);
        for revision in 1..=2_000 {
            let watches: Vec<_> = (0..4).map(|_| watchers.subscribe(id)).collect();
            let start = std::sync::Barrier::new(watches.len() + 1);
            std::thread::scope(|scope| {
                for watch in watches {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        drop(watch);
                    });
                }
                start.wait();
                watchers.wake(id, Revision(revision), || view(id, 1));
            });
            assert!(watchers.is_empty(), "in round {revision}");
        }
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
