//! Watchers of ceremonies on this node: subscribe, look, wait. A watch misses no change after its
//! subscription, however late it begins to wait.
//!
//! What wakes watchers has just read the record, and gives them what it saw: a thousand watchers of
//! one ceremony read and parse its record once. What they are given may be old by the time that they
//! use it, as a look of their own may, and it never goes back.

use std::sync::Arc;

use dashmap::DashMap;
use fido_relay_proto::CeremonyId;
use tokio::sync::watch;

use crate::app::ceremonies::view::View;
use crate::ports::Revision;

/// What was seen last of a ceremony since there are watchers of it.
type Seen = Option<(Revision, Arc<View>)>;

/// A ceremony that is watched. Its watchers are counted under the map's lock, which the count of
/// receivers is not: one may be about to drop.
#[derive(Debug)]
struct Room {
    seen: watch::Sender<Seen>,
    watchers: usize,
}

/// Rooms by ceremony.
#[derive(Debug, Default)]
pub struct Watchers {
    rooms: DashMap<CeremonyId, Room>,
}

/// A watcher of a ceremony; the room is kept until it drops.
#[derive(Debug)]
pub struct Watch {
    watchers: Arc<Watchers>,
    ceremony: CeremonyId,
    seen: watch::Receiver<Seen>,
}

impl Watchers {
    /// A place to wait for changes of a ceremony.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, ceremony: CeremonyId) -> Watch {
        let mut room = self.rooms.entry(ceremony).or_default();
        room.watchers += 1;
        let mut seen = room.seen.subscribe();
        // A look of the watcher's own may be older than what those before it were given.
        seen.mark_changed();
        Watch { watchers: Arc::clone(self), ceremony, seen }
    }

    /// Gives every watcher of this ceremony what was just seen of it. Of two looks at the same time
    /// the later may have seen the earlier state, which is not given.
    pub fn wake(&self, ceremony: CeremonyId, revision: Revision, view: impl FnOnce() -> View) {
        let seen = self.rooms.get(&ceremony).map(|room| room.seen.clone());
        let Some(seen) = seen else { return };
        seen.send_if_modified(|seen| {
            let is_newer = seen.as_ref().is_none_or(|(known, _)| *known < revision);
            if is_newer {
                *seen = Some((revision, Arc::new(view())));
            }
            is_newer
        });
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

impl Default for Room {
    fn default() -> Self {
        Self { seen: watch::Sender::new(None), watchers: 0 }
    }
}

impl Watch {
    /// Waits for something that was seen after what was given last, and gives the newest of it: at
    /// first what earlier watchers were given, if there are any. A call that is dropped early loses
    /// nothing.
    pub async fn changed(&mut self) -> Arc<View> {
        loop {
            if self.seen.changed().await.is_err() {
                // The room is there for as long as this watch.
                return std::future::pending().await;
            }
            if let Some((_, view)) = &*self.seen.borrow_and_update() {
                return Arc::clone(view);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watchers.rooms.remove_if_mut(&self.ceremony, |_, room| {
            room.watchers -= 1;
            room.watchers == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::life::PriorAuth;
    use fido_relay_proto::{Binding, CeremonyType, ClientId, Phase, Step, TenantId, UnixMillis};
    use futures::FutureExt as _;

    use super::*;
    use crate::app::ceremonies::view::ProgressEvent;

    #[tokio::test]
    async fn a_change_between_subscribing_and_waiting_is_not_lost() {
        let watchers = Arc::new(Watchers::default());
        let id = CeremonyId::from_bytes([1; 16]);
        let mut watch = watchers.subscribe(id);
        watchers.wake(id, Revision(1), || view(id, 1));
        assert_eq!(watch.changed().await.steps(true).seq(), 1);
    }

    #[tokio::test]
    async fn what_was_seen_never_goes_back_and_is_given_once_to_each_however_late() {
        let watchers = Arc::new(Watchers::default());
        let id = CeremonyId::from_bytes([1; 16]);
        watchers.wake(id, Revision(1), || unreachable!("nobody waits"));
        let mut watch = watchers.subscribe(id);
        watchers.wake(id, Revision(7), || view(id, 3));
        watchers.wake(id, Revision(6), || unreachable!("it is older"));
        assert_eq!(watch.changed().await.steps(true).seq(), 3);
        watchers.wake(id, Revision(7), || unreachable!("it is known"));
        assert!(watch.changed().now_or_never().is_none());
        let mut late = watchers.subscribe(id);
        assert_eq!(late.changed().await.steps(true).seq(), 3);
        assert!(late.changed().now_or_never().is_none());
        watchers.wake(id, Revision(8), || view(id, 4));
        assert_eq!(watch.changed().await.steps(true).seq(), 4);
        assert_eq!(late.changed().await.steps(true).seq(), 4);
    }

    fn view(id: CeremonyId, steps: u32) -> View {
        let (step, at, phase) = (Step::Sent, UnixMillis(0), Phase::Offered);
        let moment = |seq| ProgressEvent { seq, step, at, phase };
        View {
            id,
            tenant: TenantId::default(),
            client_id: ClientId::from_bytes([2; 16]),
            ceremony_type: CeremonyType::Authentication,
            username: "ada".to_owned().try_into().unwrap(),
            prior_auth: PriorAuth::None,
            binding: Binding::Code,
            show_delivery: None,
            same_network: None,
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
        let watchers = Arc::new(Watchers::default());
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
        let watchers = Arc::new(Watchers::default());
        let id = CeremonyId::from_bytes([1; 16]);
        let first = watchers.subscribe(id);
        let second = watchers.subscribe(id);
        drop(first);
        assert_eq!(watchers.len(), 1);
        drop(second);
        assert!(watchers.is_empty());
    }
}
