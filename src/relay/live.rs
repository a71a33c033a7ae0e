//! Which ceremonies are open: of a user, so that a phone that returns gets them again, and which of
//! them it rings for; of a client and of the node, so that neither has too many. A cache of what
//! the store says: built at the start, kept by every look.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{CeremonyId, ClientId, DeviceId, UnixMillis};

use super::ceremonies::CeremonyKey;
use crate::app::devices::UserKey;
use crate::ceremony::Ceremony;

/// Ceremonies that may be open at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLimits {
    /// Of one client.
    pub per_client: usize,
    /// Of the node.
    pub per_node: usize,
}

impl Default for OpenLimits {
    fn default() -> Self {
        Self { per_client: 1_000, per_node: 50_000 }
    }
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The client's own.
    #[error("the client has as many ceremonies open as it may")]
    Client,
    /// The node's.
    #[error("the node has as many ceremonies open as it may")]
    Node,
}

/// User → open ceremonies, and places by client.
#[derive(Debug, Default)]
pub(super) struct Live {
    users: DashMap<UserKey, Vec<Open>>,
    /// Whose place each ceremony takes: those that are open, and those about to be stored.
    places: DashMap<CeremonyId, Place>,
    taken: DashMap<ClientId, usize>,
    all: AtomicUsize,
}

#[derive(Debug)]
struct Open {
    key: CeremonyKey,
    silent: bool,
    /// The one phone that it is for, if it is for one.
    device: Option<DeviceId>,
    /// Its turn, while nobody has taken it up: who knew more of the user comes first, then who
    /// came first.
    turn: Option<(bool, UnixMillis)>,
}

#[derive(Debug)]
struct Place {
    client: ClientId,
    /// Whether it is counted among those that were opened here or taken up.
    is_counted: bool,
}

impl Live {
    /// Gives an open ceremony its place, whatever the limits say: another node opened it, or they
    /// were changed.
    fn meet(&self, ceremony: &Ceremony) {
        let request = &ceremony.request;
        let beyond = OpenLimits { per_client: usize::MAX, per_node: usize::MAX };
        let _ = self.admit(request.id, request.client_id, beyond);
    }

    /// Notes that this node counts a ceremony whose record it has just seen for certain; tells
    /// whether it did not before.
    pub(super) fn count(&self, ceremony: &Ceremony) -> bool {
        self.meet(ceremony);
        let place = self.places.get_mut(&ceremony.request.id);
        place.is_some_and(|mut place| !std::mem::replace(&mut place.is_counted, true))
    }

    /// Takes back what [`Live::count`] noted.
    pub(super) fn discount(&self, ceremony: CeremonyId) {
        if let Some(mut place) = self.places.get_mut(&ceremony) {
            place.is_counted = false;
        }
    }

    /// Notes an open ceremony as it stands.
    pub(super) fn insert(&self, user: UserKey, ceremony: &Ceremony) {
        self.meet(ceremony);
        let request = &ceremony.request;
        let key = CeremonyKey::from(ceremony);
        let only_a_name = request.prior_auth == PriorAuth::None;
        let waits = ceremony.is_unclaimed() && !ceremony.silent;
        let turn = waits.then_some((only_a_name, request.opened_at));
        let mut open = self.users.entry(user).or_default();
        match open.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => (entry.silent, entry.turn) = (ceremony.silent, turn),
            None => {
                let (silent, device) = (ceremony.silent, request.device_id);
                open.push(Open { key, silent, device, turn });
            }
        }
    }

    /// Forgets a closed one.
    pub(super) fn remove(&self, user: &UserKey, ceremony: &CeremonyKey) {
        self.users.remove_if_mut(user, |_, open| {
            open.retain(|entry| entry.key != *ceremony);
            open.is_empty()
        });
        self.release(ceremony.id);
    }

    /// Takes a place for a ceremony that is about to be stored, unless it has one. It is taken
    /// before the ceremony is stored, so that of those who come at once none is one too many.
    pub(super) fn admit(
        &self,
        ceremony: CeremonyId,
        client: ClientId,
        limits: OpenLimits,
    ) -> Result<(), Full> {
        // The place's entry is held to the end: who comes at once for the same ceremony waits.
        let Entry::Vacant(place) = self.places.entry(ceremony) else { return Ok(()) };
        let mut taken = self.taken.entry(client).or_default();
        if *taken >= limits.per_client {
            return Err(Full::Client);
        }
        let within = |all: usize| (all < limits.per_node).then_some(all + 1);
        if self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            let first = *taken == 0;
            drop(taken);
            if first {
                self.taken.remove_if(&client, |_, taken| *taken == 0);
            }
            return Err(Full::Node);
        }
        *taken += 1;
        place.insert(Place { client, is_counted: false });
        Ok(())
    }

    /// Gives a place back: the ceremony is closed, or was not stored after all.
    pub(super) fn release(&self, ceremony: CeremonyId) {
        let Some((_, Place { client, .. })) = self.places.remove(&ceremony) else { return };
        self.all.fetch_sub(1, Ordering::Relaxed);
        self.taken.remove_if_mut(&client, |_, taken| {
            *taken = taken.saturating_sub(1);
            *taken == 0
        });
    }

    /// How many are open or about to be.
    pub(super) fn len(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// The user's open ceremonies that phones may know of, oldest first.
    #[must_use]
    pub(super) fn of(&self, user: &UserKey) -> Vec<CeremonyKey> {
        let Some(open) = self.users.get(user) else { return Vec::new() };
        open.iter().filter(|entry| !entry.silent).map(|entry| entry.key.clone()).collect()
    }

    /// The user's open ceremonies, those also that phones do not know of.
    #[must_use]
    pub(super) fn all_of(&self, user: &UserKey) -> Vec<CeremonyKey> {
        let Some(open) = self.users.get(user) else { return Vec::new() };
        open.iter().map(|entry| entry.key.clone()).collect()
    }

    /// The first of those that wait to be taken up by this phone: it rings for them.
    #[must_use]
    pub(super) fn ringing(&self, user: &UserKey, phone: DeviceId, most: usize) -> Vec<CeremonyKey> {
        let Some(open) = self.users.get(user) else { return Vec::new() };
        let for_it = open.iter().filter(|entry| entry.device.is_none_or(|only| only == phone));
        let mut waiting: Vec<_> =
            for_it.filter_map(|entry| Some((entry.turn?, &entry.key))).collect();
        // Stable: of one millisecond, who was noted first comes first.
        waiting.sort_by_key(|(turn, _)| *turn);
        waiting.into_iter().take(most).map(|(_, key)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: OpenLimits = OpenLimits { per_client: 2, per_node: 3 };

    fn ceremony(number: u8) -> CeremonyId {
        CeremonyId::from_bytes([number; 16])
    }

    fn client(number: u8) -> ClientId {
        ClientId::from_bytes([number; 16])
    }

    #[test]
    fn places_are_bounded_by_client_and_node_and_come_back() {
        let live = Live::default();
        for number in [1, 2] {
            live.admit(ceremony(number), client(1), LIMITS).unwrap();
        }
        assert_eq!(live.admit(ceremony(3), client(1), LIMITS), Err(Full::Client));
        live.admit(ceremony(3), client(2), LIMITS).unwrap();
        assert_eq!(live.admit(ceremony(4), client(3), LIMITS), Err(Full::Node));
        assert_eq!(live.admit(ceremony(1), client(1), LIMITS), Ok(()), "it has a place");
        assert_eq!(live.len(), 3);
        live.release(ceremony(1));
        live.release(ceremony(1));
        live.admit(ceremony(4), client(3), LIMITS).unwrap();
        for number in [2, 3, 4] {
            live.release(ceremony(number));
        }
        assert_eq!(live.len(), 0);
        assert!(live.taken.is_empty(), "nothing is kept of those who have none");
    }
}
