//! Watchers of ceremonies on this node: subscribe, look, wait. A watch misses no change after its
//! subscription, however late it begins to wait.
//!
//! Watchers are given the view that the look which wakes them has just read: a thousand watchers of
//! one ceremony read and parse its record once. A view may be old by the time that it is used, as one
//! that the watcher reads itself may, and it never goes back.

use std::sync::Arc;

use dashmap::DashMap;
use fido_relay_proto::CeremonyId;
use tokio::sync::watch;

use crate::app::ceremonies::CeremonySnapshot;
use crate::ports::Revision;

/// The newest view of a ceremony since it has watchers.
type Seen = Option<(Revision, Arc<CeremonySnapshot>)>;

/// A ceremony that is watched. Its watchers are counted under the map's lock; the channel's count of
/// receivers is not exact there, since one may be about to drop.
#[derive(Debug)]
struct WatchedCeremony {
    seen: watch::Sender<Seen>,
    watchers: usize,
}

/// The watched ceremonies of a node.
#[derive(Debug, Default)]
pub struct Watchers {
    watched: DashMap<CeremonyId, WatchedCeremony>,
}

/// A watcher of a ceremony; the ceremony counts as watched until it drops.
#[derive(Debug)]
pub struct Watch {
    watchers: Arc<Watchers>,
    ceremony: CeremonyId,
    seen: watch::Receiver<Seen>,
}

impl Watchers {
    /// Subscribes to the changes of a ceremony.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, ceremony: CeremonyId) -> Watch {
        let mut watched = self.watched.entry(ceremony).or_default();
        watched.watchers += 1;
        let mut seen = watched.seen.subscribe();
        // What the watcher has read itself may be older than what earlier watchers were given.
        seen.mark_changed();
        Watch { watchers: Arc::clone(self), ceremony, seen }
    }

    /// Gives every watcher of this ceremony its view at this revision, unless they have a newer one: of
    /// two looks at the same time the later may have read the earlier state.
    pub fn wake(
        &self,
        ceremony: CeremonyId,
        revision: Revision,
        view: impl FnOnce() -> CeremonySnapshot,
    ) {
        let seen = self.watched.get(&ceremony).map(|watched| watched.seen.clone());
        let Some(seen) = seen else { return };
        seen.send_if_modified(|seen| {
            let is_newer = seen.as_ref().is_none_or(|(known, _)| *known < revision);
            if is_newer {
                *seen = Some((revision, Arc::new(view())));
            }
            is_newer
        });
    }

    /// How many ceremonies are watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.watched.len()
    }
}

impl Default for WatchedCeremony {
    fn default() -> Self {
        Self { seen: watch::Sender::new(None), watchers: 0 }
    }
}

impl Watch {
    /// Waits for a view that is newer than the last one, and gives the newest: at first what earlier
    /// watchers were given, if there are any. A call that is dropped early loses nothing.
    pub async fn changed(&mut self) -> Arc<CeremonySnapshot> {
        loop {
            if self.seen.changed().await.is_err() {
                // The sender lives as long as this watch.
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
        self.watchers.watched.remove_if_mut(&self.ceremony, |_, watched| {
            watched.watchers -= 1;
            watched.watchers == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::life::PriorAuth;
    use fido_relay_proto::{Binding, CeremonyType, ClientId, Phase, Step, TenantId, UnixMillis};
    use futures::FutureExt as _;

    use super::*;
    use crate::app::ceremonies::ProgressEvent;

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
        watchers.wake(id, Revision(1), || unreachable!("no watcher"));
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

    fn view(id: CeremonyId, steps: u32) -> CeremonySnapshot {
        let (step, at, phase) = (Step::Sent, UnixMillis(0), Phase::Offered);
        let event = |seq| ProgressEvent { seq, step, at, phase };
        CeremonySnapshot {
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
            progress: (1..=steps).map(event).collect(),
            end: None,
            success: None,
        }
    }

    #[test]
    fn a_ceremony_is_unwatched_however_leaving_and_waking_race() {
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
            assert_eq!(watchers.watched(), 0, "in round {revision}");
        }
    }

    #[tokio::test]
    async fn a_ceremony_is_unwatched_when_the_last_watcher_leaves() {
        let watchers = Arc::new(Watchers::default());
        let id = CeremonyId::from_bytes([1; 16]);
        let first = watchers.subscribe(id);
        let second = watchers.subscribe(id);
        drop(first);
        assert_eq!(watchers.watched(), 1);
        drop(second);
        assert_eq!(watchers.watched(), 0);
    }
}
