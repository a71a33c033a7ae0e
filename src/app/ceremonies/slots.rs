//! Places of open ceremonies, of a client and of the node, so that neither has too many.
//!
//! Strangers have a share of a client's places and of the node's; the rest is kept for browsers in
//! which the user has succeeded and for users that an initiator vouches for. A full share drops the
//! oldest unclaimed ceremony of the client's most crowded network, never the newcomer: a flood from
//! one network pushes out itself.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use fido_relay_proto::{CeremonyId, ClientId};

use crate::app::ceremonies::network::Network;
use crate::app::ceremonies::record::CeremonyKey;
use crate::core::ceremony::{Ceremony, Request};
use crate::core::prompt_limits::Lane;

/// Strangers' share of a client's places and of the node's, in percent.
const STRANGERS_PERCENT: usize = 80;

/// Ceremonies that may be open at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLimits {
    /// Of one client, strangers' and others together.
    pub per_client: usize,
    /// Of the node, all clients together.
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
    /// The client's own, whatever room the node has.
    #[error("the client has as many ceremonies open as it may")]
    Client,
    /// The node's, whatever room the client has.
    #[error("the node has as many ceremonies open as it may")]
    Node,
}

/// Who has which place.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Of those that are open, and of those about to be stored.
    places: DashMap<CeremonyId, Place>,
    clients: DashMap<ClientId, Taken>,
    all: AtomicUsize,
    strangers: AtomicUsize,
    /// Those that are about to end for another, and still have their place.
    leaving: AtomicUsize,
}

#[derive(Debug)]
struct Place {
    client: ClientId,
    /// Of a stranger: its network.
    stranger: Option<Network>,
    /// Whether it is counted among those that were opened here or taken up.
    is_counted: bool,
}

/// What one client has taken of its own and of the node's places.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    strangers: usize,
    /// Strangers' that no device has claimed, the oldest of each network first.
    unclaimed: HashMap<Network, VecDeque<CeremonyKey>>,
    /// Those that are about to end for another, and still have their place.
    leaving: HashSet<CeremonyId>,
}

/// A ceremony that is to end, since another takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub key: CeremonyKey,
    client: ClientId,
    network: Network,
}

impl Taken {
    /// The oldest of the most crowded network.
    fn take_oldest_of_the_crowd(&mut self) -> Option<(Network, CeremonyKey)> {
        let crowd = self.unclaimed.iter().max_by_key(|(network, of)| (of.len(), **network));
        let network = crowd.map(|(network, _)| *network)?;
        let key = self.unclaimed.get_mut(&network)?.pop_front()?;
        self.unclaimed.retain(|_, of| !of.is_empty());
        self.leaving.insert(key.id);
        Some((network, key))
    }

    fn put_back(&mut self, network: Network, key: CeremonyKey) {
        self.leaving.remove(&key.id);
        self.unclaimed.entry(network).or_default().push_front(key);
    }

    fn forget(&mut self, network: Network, ceremony: CeremonyId) {
        if let Some(of) = self.unclaimed.get_mut(&network) {
            of.retain(|key| key.id != ceremony);
            if of.is_empty() {
                self.unclaimed.remove(&network);
            }
        }
    }
}

impl Places {
    /// Takes a place for a ceremony that is about to be stored, unless it has one, and gives the one
    /// that is dropped for it. It is taken before the ceremony is stored, so that of those who come
    /// at once none is one too many.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn admit(
        &self,
        request: &Request,
        lane: &Lane,
        limits: OpenLimits,
    ) -> Result<Option<Dropped>, Full> {
        let (id, client) = (request.id, request.client_id);
        // The place's entry is held to the end: another call for the same ceremony waits.
        let Entry::Vacant(place) = self.places.entry(id) else { return Ok(None) };
        let network = Network::of(request.context.as_ref());
        let stranger = matches!(lane, Lane::Stranger).then_some(network);
        let share = |all: usize| (all.saturating_mul(STRANGERS_PERCENT) / 100).max(1);
        let mut taken = self.clients.entry(client).or_default();
        let leaving = self.leaving.load(Ordering::Relaxed);
        let is_over = taken.strangers.saturating_sub(taken.leaving.len())
            >= share(limits.per_client)
            || self.strangers.load(Ordering::Relaxed).saturating_sub(leaving)
                >= share(limits.per_node);
        let dropped = match stranger {
            Some(_) if is_over => taken.take_oldest_of_the_crowd(),
            Some(_) | None => None,
        };
        // What is leaving gives its own place back when it ends, in a moment.
        let leaving = leaving + usize::from(dropped.is_some());
        let full = if taken.all.saturating_sub(taken.leaving.len()) >= limits.per_client {
            Some(Full::Client)
        } else {
            let most = limits.per_node.saturating_add(leaving);
            let within = |all: usize| (all < most).then_some(all + 1);
            let added = self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
            added.is_err().then_some(Full::Node)
        };
        if let Some(full) = full {
            let is_first = taken.all == 0;
            if let Some((network, key)) = dropped {
                taken.put_back(network, key);
            }
            drop(taken);
            if is_first {
                self.clients.remove_if(&client, |_, taken| taken.all == 0);
            }
            return Err(full);
        }
        taken.all += 1;
        if let Some(network) = stranger {
            taken.strangers += 1;
            self.strangers.fetch_add(1, Ordering::Relaxed);
            let key = CeremonyKey { tenant: request.tenant.clone(), id };
            taken.unclaimed.entry(network).or_default().push_back(key);
        }
        place.insert(Place { client, stranger, is_counted: false });
        Ok(dropped.map(|(network, key)| {
            self.leaving.fetch_add(1, Ordering::Relaxed);
            Dropped { key, client, network }
        }))
    }

    /// Lets a ceremony that was to end keep its place: the one that was to take it was not stored.
    pub(crate) fn keep(&self, dropped: Dropped) {
        let Dropped { key, client, network } = dropped;
        if let Some(mut taken) = self.clients.get_mut(&client)
            && taken.leaving.contains(&key.id)
        {
            taken.put_back(network, key);
            self.leaving.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Notes an open ceremony, whatever the limits say: another node opened it, or they were
    /// changed.
    pub(crate) fn meet(&self, ceremony: &Ceremony) {
        let request = &ceremony.request;
        let beyond = OpenLimits { per_client: usize::MAX, per_node: usize::MAX };
        let _ = self.admit(request, &request.lane, beyond);
        if ceremony.is_unclaimed() {
            return;
        }
        let place = self.places.get(&request.id).map(|place| (place.client, place.stranger));
        if let Some((client, Some(network))) = place
            && let Some(mut taken) = self.clients.get_mut(&client)
        {
            taken.forget(network, request.id);
        }
    }

    /// Notes that this node counts a ceremony whose record it has just seen for certain; tells
    /// whether it did not before.
    pub(crate) fn count(&self, ceremony: &Ceremony) -> bool {
        self.meet(ceremony);
        let place = self.places.get_mut(&ceremony.request.id);
        place.is_some_and(|mut place| !std::mem::replace(&mut place.is_counted, true))
    }

    /// Takes back what [`Places::count`] noted.
    pub(crate) fn discount(&self, ceremony: CeremonyId) {
        if let Some(mut place) = self.places.get_mut(&ceremony) {
            place.is_counted = false;
        }
    }

    /// Gives a place back: the ceremony is closed, or was not stored after all.
    pub(crate) fn release(&self, ceremony: CeremonyId) {
        let Some((_, Place { client, stranger, .. })) = self.places.remove(&ceremony) else {
            return;
        };
        self.all.fetch_sub(1, Ordering::Relaxed);
        if stranger.is_some() {
            self.strangers.fetch_sub(1, Ordering::Relaxed);
        }
        self.clients.remove_if_mut(&client, |_, taken| {
            taken.all = taken.all.saturating_sub(1);
            if taken.leaving.remove(&ceremony) {
                self.leaving.fetch_sub(1, Ordering::Relaxed);
            }
            if let Some(network) = stranger {
                taken.strangers = taken.strangers.saturating_sub(1);
                taken.forget(network, ceremony);
            }
            taken.all == 0
        });
    }

    /// How many are open or about to be.
    pub(crate) fn len(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::http::BrowserContext;
    use fido_relay_proto::{Binding, PlainText};

    use super::*;

    const LIMITS: OpenLimits = OpenLimits { per_client: 5, per_node: 9 };

    fn request(number: u8, client: u8, ip: &str) -> Request {
        let mut request = crate::core::ceremony::open(Binding::Code).request;
        request.id = CeremonyId::from_bytes([number; 16]);
        request.client_id = ClientId::from_bytes([client; 16]);
        let ip = Some(PlainText::new(ip).unwrap());
        request.context = Some(BrowserContext { ip, ..BrowserContext::default() });
        request
    }

    fn known() -> Lane {
        Lane::Vouched(ClientId::from_bytes([9; 16]))
    }

    fn dropped(places: &Places, number: u8, client: u8, ip: &str) -> Option<u8> {
        let request = request(number, client, ip);
        let dropped = places.admit(&request, &Lane::Stranger, LIMITS).unwrap();
        dropped.map(|dropped| dropped.key.id.as_bytes()[0])
    }

    #[test]
    fn strangers_over_their_share_drop_the_oldest_of_the_most_crowded_network() {
        let places = Places::default();
        for (number, ip) in [(1, "192.0.2.1"), (2, "198.51.100.1"), (3, "198.51.100.2"), (4, "::1")]
        {
            assert_eq!(dropped(&places, number, 1, ip), None);
        }
        assert_eq!(dropped(&places, 5, 1, "203.0.113.9"), Some(2), "not the newcomer");
        places.release(CeremonyId::from_bytes([2; 16]));
        assert_eq!(places.admit(&request(6, 1, "::2"), &known(), LIMITS), Ok(None), "the reserve");
        let full = places.admit(&request(7, 1, "::3"), &known(), LIMITS);
        assert_eq!(full, Err(Full::Client));
        assert_eq!(dropped(&places, 1, 1, "192.0.2.1"), None, "it has a place");
    }

    #[test]
    fn who_is_refused_or_not_stored_drops_nobody() {
        let places = Places::default();
        for number in 1..=4 {
            dropped(&places, number, 1, "192.0.2.1");
        }
        places.admit(&request(5, 1, "::5"), &known(), LIMITS).unwrap();
        let first = places.admit(&request(6, 1, "192.0.2.1"), &Lane::Stranger, LIMITS);
        let first = first.unwrap().unwrap();
        assert_eq!(first.key.id.as_bytes()[0], 1);
        // While the first is leaving, another newcomer finds room in the same way.
        assert_eq!(dropped(&places, 7, 1, "192.0.2.1"), Some(2));
        // The newcomer's commit failed: its place comes back, and the first one keeps its own.
        places.release(CeremonyId::from_bytes([6; 16]));
        places.keep(first);
        assert_eq!(dropped(&places, 8, 1, "192.0.2.1"), Some(1));
    }

    #[test]
    fn what_a_device_has_claimed_is_not_dropped() {
        let places = Places::default();
        for number in 1..=4 {
            dropped(&places, number, 1, "192.0.2.1");
        }
        let mut claimed = crate::core::ceremony::with_every_kind();
        claimed.request = request(1, 1, "192.0.2.1");
        places.meet(&claimed);
        assert_eq!(dropped(&places, 5, 1, "198.51.100.1"), Some(2));
    }

    #[test]
    fn places_are_bounded_by_client_and_node_and_come_back() {
        let places = Places::default();
        for number in 1..=5 {
            places.admit(&request(number, 1, "::1"), &known(), LIMITS).unwrap();
        }
        let sixth = request(6, 1, "::1");
        assert_eq!(places.admit(&sixth, &known(), LIMITS), Err(Full::Client));
        for number in 7..=10 {
            places.admit(&request(number, 2, "::1"), &known(), LIMITS).unwrap();
        }
        let tenth = request(11, 3, "::1");
        assert_eq!(places.admit(&tenth, &known(), LIMITS), Err(Full::Node));
        assert_eq!(places.len(), 9);
        places.release(CeremonyId::from_bytes([1; 16]));
        places.release(CeremonyId::from_bytes([1; 16]));
        places.admit(&tenth, &known(), LIMITS).unwrap();
        for number in 1..=11 {
            places.release(CeremonyId::from_bytes([number; 16]));
        }
        assert_eq!(
            (places.len(), places.clients.len(), places.leaving.into_inner()),
            (0, 0, 0),
            "nothing is kept"
        );
    }
}
