//! Slots for open ceremonies, by client and by node.
//!
//! Strangers have a share of a client's slots and of the node's; the rest is reserved for browsers in
//! which the user has succeeded and for users that an initiator vouches for. When that share is used
//! up, an opening evicts the oldest unclaimed ceremony of the client's most crowded network, never
//! itself: a flood from one network pushes out itself.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use fido_relay_proto::{CeremonyId, ClientId};

use super::CeremonyKey;
use super::network::Network;
use crate::core::ceremony::{Ceremony, Request};
use crate::core::prompt_limits::Lane;

/// Strangers' share of a client's slots and of the node's, in percent.
const STRANGERS_PERCENT: usize = 80;

/// How many ceremonies may be open at a time.
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
pub enum OpenLimitReached {
    /// The client's own, whatever room the node has.
    #[error("the client has as many ceremonies open as it may")]
    Client,
    /// The node's, whatever room the client has.
    #[error("the node has as many ceremonies open as it may")]
    Node,
}

/// Which open ceremony has a slot.
#[derive(Debug, Default)]
pub(super) struct OpenSlots {
    /// Of those that are open, and of those about to be stored.
    slots: DashMap<CeremonyId, Slot>,
    clients: DashMap<ClientId, ClientSlots>,
    all: AtomicUsize,
    strangers: AtomicUsize,
    /// Evicted ceremonies that have not ended yet.
    leaving: AtomicUsize,
}

#[derive(Debug)]
struct Slot {
    client: ClientId,
    /// The network of a stranger; none: the initiator knows the browser or vouches for the user.
    stranger: Option<Network>,
    /// Whether it is counted among those that were opened here or taken up.
    is_counted: bool,
}

/// The slots of one client.
#[derive(Debug, Default)]
struct ClientSlots {
    all: usize,
    strangers: usize,
    /// Strangers' ceremonies that no device has claimed, the oldest of each network first.
    unclaimed: HashMap<Network, VecDeque<CeremonyKey>>,
    /// Evicted ceremonies that have not ended yet.
    leaving: HashSet<CeremonyId>,
}

/// A ceremony that is to end because another takes its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evicted {
    pub key: CeremonyKey,
    client: ClientId,
    network: Network,
}

impl ClientSlots {
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

impl OpenSlots {
    /// Takes a slot for a ceremony that is about to be stored, unless it has one, and gives the
    /// ceremony that is evicted for it. Slots are taken before the commit, so that openings at the
    /// same time stay within the limits together.
    ///
    /// # Errors
    /// [`OpenLimitReached`].
    pub(super) fn admit(
        &self,
        request: &Request,
        lane: &Lane,
        limits: OpenLimits,
    ) -> Result<Option<Evicted>, OpenLimitReached> {
        let (id, client) = (request.id, request.client_id);
        // The entry is held to the end: another call for the same ceremony waits.
        let Entry::Vacant(vacant) = self.slots.entry(id) else { return Ok(None) };
        let network = Network::of(request.context.as_ref());
        let stranger = matches!(lane, Lane::Stranger).then_some(network);
        let share = |all: usize| (all.saturating_mul(STRANGERS_PERCENT) / 100).max(1);
        let mut client_slots = self.clients.entry(client).or_default();
        let leaving = self.leaving.load(Ordering::Relaxed);
        let is_over = client_slots.strangers.saturating_sub(client_slots.leaving.len())
            >= share(limits.per_client)
            || self.strangers.load(Ordering::Relaxed).saturating_sub(leaving)
                >= share(limits.per_node);
        let evicted = match stranger {
            Some(_) if is_over => client_slots.take_oldest_of_the_crowd(),
            Some(_) | None => None,
        };
        // An evicted ceremony gives its own slot back when it ends, in a moment.
        let leaving = leaving + usize::from(evicted.is_some());
        let full =
            if client_slots.all.saturating_sub(client_slots.leaving.len()) >= limits.per_client {
                Some(OpenLimitReached::Client)
            } else {
                let most = limits.per_node.saturating_add(leaving);
                let within = |all: usize| (all < most).then_some(all + 1);
                let added = self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
                added.is_err().then_some(OpenLimitReached::Node)
            };
        if let Some(full) = full {
            let is_first = client_slots.all == 0;
            if let Some((network, key)) = evicted {
                client_slots.put_back(network, key);
            }
            drop(client_slots);
            if is_first {
                self.clients.remove_if(&client, |_, client_slots| client_slots.all == 0);
            }
            return Err(full);
        }
        client_slots.all += 1;
        if let Some(network) = stranger {
            client_slots.strangers += 1;
            self.strangers.fetch_add(1, Ordering::Relaxed);
            let key = CeremonyKey { tenant: request.tenant.clone(), id };
            client_slots.unclaimed.entry(network).or_default().push_back(key);
        }
        vacant.insert(Slot { client, stranger, is_counted: false });
        Ok(evicted.map(|(network, key)| {
            self.leaving.fetch_add(1, Ordering::Relaxed);
            Evicted { key, client, network }
        }))
    }

    /// Lets an evicted ceremony keep its slot: the one that was to take it was not stored.
    fn restore(&self, evicted: Evicted) {
        let Evicted { key, client, network } = evicted;
        if let Some(mut client_slots) = self.clients.get_mut(&client)
            && client_slots.leaving.contains(&key.id)
        {
            client_slots.put_back(network, key);
            self.leaving.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Notes an open ceremony, whatever the limits say: another node opened it, or they were
    /// changed.
    pub(super) fn meet(&self, ceremony: &Ceremony) {
        let request = &ceremony.request;
        let beyond = OpenLimits { per_client: usize::MAX, per_node: usize::MAX };
        let _ = self.admit(request, &request.lane, beyond);
        if ceremony.is_unclaimed() {
            return;
        }
        let slot = self.slots.get(&request.id).map(|slot| (slot.client, slot.stranger));
        if let Some((client, Some(network))) = slot
            && let Some(mut client_slots) = self.clients.get_mut(&client)
        {
            client_slots.forget(network, request.id);
        }
    }

    /// Counts a ceremony whose record this node has just seen for certain; `true` the first time.
    pub(super) fn count(&self, ceremony: &Ceremony) -> bool {
        self.meet(ceremony);
        let slot = self.slots.get_mut(&ceremony.request.id);
        slot.is_some_and(|mut slot| !std::mem::replace(&mut slot.is_counted, true))
    }

    /// Undoes [`OpenSlots::count`].
    pub(super) fn discount(&self, ceremony: CeremonyId) {
        if let Some(mut slot) = self.slots.get_mut(&ceremony) {
            slot.is_counted = false;
        }
    }

    /// Gives a slot back: the ceremony is closed, or was not stored after all.
    pub(super) fn release(&self, ceremony: CeremonyId) {
        let Some((_, Slot { client, stranger, .. })) = self.slots.remove(&ceremony) else {
            return;
        };
        self.all.fetch_sub(1, Ordering::Relaxed);
        if stranger.is_some() {
            self.strangers.fetch_sub(1, Ordering::Relaxed);
        }
        self.clients.remove_if_mut(&client, |_, client_slots| {
            client_slots.all = client_slots.all.saturating_sub(1);
            if client_slots.leaving.remove(&ceremony) {
                self.leaving.fetch_sub(1, Ordering::Relaxed);
            }
            if let Some(network) = stranger {
                client_slots.strangers = client_slots.strangers.saturating_sub(1);
                client_slots.forget(network, ceremony);
            }
            client_slots.all == 0
        });
    }

    /// How many are open or about to be.
    pub(super) fn len(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

/// A slot that is given back unless it is kept.
pub(super) struct SlotGuard<'a> {
    slots: Option<&'a OpenSlots>,
    ceremony: CeremonyId,
    evicted: Option<Evicted>,
}

impl<'a> SlotGuard<'a> {
    /// [`OpenSlots::admit`], undone on drop.
    pub(super) fn admit(
        slots: &'a OpenSlots,
        request: &Request,
        lane: &Lane,
        limits: OpenLimits,
    ) -> Result<Self, OpenLimitReached> {
        let evicted = slots.admit(request, lane, limits)?;
        Ok(Self { slots: Some(slots), ceremony: request.id, evicted })
    }

    /// Keeps the slot; gives the ceremony that is to end for it.
    pub(super) fn keep(mut self) -> Option<Evicted> {
        self.slots = None;
        self.evicted.take()
    }
}

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        if let Some(slots) = self.slots {
            slots.release(self.ceremony);
            if let Some(evicted) = self.evicted.take() {
                slots.restore(evicted);
            }
        }
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

    fn evicted(slots: &OpenSlots, number: u8, client: u8, ip: &str) -> Option<u8> {
        let request = request(number, client, ip);
        let evicted = slots.admit(&request, &Lane::Stranger, LIMITS).unwrap();
        evicted.map(|evicted| evicted.key.id.as_bytes()[0])
    }

    #[test]
    fn strangers_over_their_share_evict_the_oldest_of_the_most_crowded_network() {
        let slots = OpenSlots::default();
        for (number, ip) in [(1, "192.0.2.1"), (2, "198.51.100.1"), (3, "198.51.100.2"), (4, "::1")]
        {
            assert_eq!(evicted(&slots, number, 1, ip), None);
        }
        assert_eq!(evicted(&slots, 5, 1, "203.0.113.9"), Some(2), "not the newcomer");
        slots.release(CeremonyId::from_bytes([2; 16]));
        assert_eq!(slots.admit(&request(6, 1, "::2"), &known(), LIMITS), Ok(None), "the reserve");
        let full = slots.admit(&request(7, 1, "::3"), &known(), LIMITS);
        assert_eq!(full, Err(OpenLimitReached::Client));
        assert_eq!(evicted(&slots, 1, 1, "192.0.2.1"), None, "it has a slot");
    }

    #[test]
    fn an_opening_that_is_refused_or_not_stored_evicts_none() {
        let slots = OpenSlots::default();
        for number in 1..=4 {
            evicted(&slots, number, 1, "192.0.2.1");
        }
        slots.admit(&request(5, 1, "::5"), &known(), LIMITS).unwrap();
        let first = slots.admit(&request(6, 1, "192.0.2.1"), &Lane::Stranger, LIMITS);
        let first = first.unwrap().unwrap();
        assert_eq!(first.key.id.as_bytes()[0], 1);
        // While the first is leaving, another newcomer finds room in the same way.
        assert_eq!(evicted(&slots, 7, 1, "192.0.2.1"), Some(2));
        // The newcomer's commit failed: its slot comes back, and the first one keeps its own.
        slots.release(CeremonyId::from_bytes([6; 16]));
        slots.restore(first);
        assert_eq!(evicted(&slots, 8, 1, "192.0.2.1"), Some(1));
    }

    #[test]
    fn what_a_device_has_claimed_is_not_evicted() {
        let slots = OpenSlots::default();
        for number in 1..=4 {
            evicted(&slots, number, 1, "192.0.2.1");
        }
        let mut claimed = crate::core::ceremony::with_every_kind();
        claimed.request = request(1, 1, "192.0.2.1");
        slots.meet(&claimed);
        assert_eq!(evicted(&slots, 5, 1, "198.51.100.1"), Some(2));
    }

    #[test]
    fn slots_are_bounded_by_client_and_node_and_come_back() {
        let slots = OpenSlots::default();
        for number in 1..=5 {
            slots.admit(&request(number, 1, "::1"), &known(), LIMITS).unwrap();
        }
        let sixth = request(6, 1, "::1");
        assert_eq!(slots.admit(&sixth, &known(), LIMITS), Err(OpenLimitReached::Client));
        for number in 7..=10 {
            slots.admit(&request(number, 2, "::1"), &known(), LIMITS).unwrap();
        }
        let tenth = request(11, 3, "::1");
        assert_eq!(slots.admit(&tenth, &known(), LIMITS), Err(OpenLimitReached::Node));
        assert_eq!(slots.len(), 9);
        slots.release(CeremonyId::from_bytes([1; 16]));
        slots.release(CeremonyId::from_bytes([1; 16]));
        slots.admit(&tenth, &known(), LIMITS).unwrap();
        for number in 1..=11 {
            slots.release(CeremonyId::from_bytes([number; 16]));
        }
        assert_eq!(
            (slots.len(), slots.clients.len(), slots.leaving.into_inner()),
            (0, 0, 0),
            "nothing is kept"
        );
    }
}
