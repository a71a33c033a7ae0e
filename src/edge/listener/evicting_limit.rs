//! How many peers may be connected at the same time, per address and in all, where a newcomer may
//! evict a peer that has not authenticated.
//!
//! A peer that has authenticated keeps its slot in all and has none of its address: thousands of
//! phones may share the one address of their mobile network. Where there is no slot, the oldest
//! unauthenticated peer of the most crowded network is evicted ([`UnauthenticatedPeers`]), so that
//! a flood evicts itself and not the phones that come meanwhile. A newcomer is refused only where
//! no peer may be evicted.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::hang_up::HangUp;
use super::unauthenticated_peers::UnauthenticatedPeers;
use crate::edge::concurrency::LimitReached;

/// The number of a slot that is kept: those of [`UnauthenticatedPeers`] begin with 1.
const KEPT: u64 = 0;

/// A limit whose unauthenticated peers make room for newcomers.
#[derive(Debug)]
pub(in crate::edge) struct EvictingLimit {
    per_address: usize,
    total: usize,
    /// Slots that unauthenticated peers leave free.
    reserve: usize,
    /// A younger peer is not evicted for one of a network that is as crowded.
    eviction_age: Duration,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    unauthenticated: UnauthenticatedPeers<Arc<HangUp>>,
    /// Slots of authenticated peers and of trusted proxies.
    kept: usize,
}

/// One slot, given back when it drops, unless it was evicted before.
#[derive(Debug)]
pub(in crate::edge) struct EvictableSlot {
    limit: Arc<EvictingLimit>,
    /// Its number among the unauthenticated, or [`KEPT`].
    number: AtomicU64,
}

impl Members {
    fn len(&self) -> usize {
        self.unauthenticated.len() + self.kept
    }
}

impl EvictingLimit {
    pub(in crate::edge) fn new(
        per_address: usize,
        total: usize,
        eviction_age: Duration,
    ) -> Arc<Self> {
        Self::with_reserve(per_address, total, 0, eviction_age)
    }

    pub(super) fn with_reserve(
        per_address: usize,
        total: usize,
        reserve: usize,
        eviction_age: Duration,
    ) -> Arc<Self> {
        let members = Mutex::default();
        Arc::new(Self { per_address, total, reserve, eviction_age, members })
    }

    /// Slots that are taken.
    #[cfg(feature = "test-support")]
    pub(super) fn taken(&self) -> usize {
        self.members().len()
    }

    /// Those of them that no newcomer may have.
    pub(super) fn kept(&self) -> usize {
        self.members().kept
    }

    /// Slots above which a newcomer evicts a peer.
    pub(super) fn high_water(&self) -> usize {
        self.total.saturating_sub(self.reserve).max(1)
    }

    /// A slot in all, and of this address unless the peer is a trusted proxy: then it is kept from
    /// the start.
    ///
    /// # Errors
    /// The bound that is reached, where no peer may be evicted.
    pub(in crate::edge) fn acquire(
        self: &Arc<Self>,
        ip: IpAddr,
        is_proxy: bool,
        hang_up: &Arc<HangUp>,
    ) -> Result<EvictableSlot, LimitReached> {
        let (now, mut evicted) = (Instant::now(), Vec::new());
        let mut members = self.members();
        if !is_proxy {
            evicted.extend(self.evict_of_address(&mut members, ip, now)?);
        }
        while members.len() >= self.high_water()
            && let Some(peer) = members.unauthenticated.evict_for(ip, now, self.eviction_age)
        {
            evicted.push(peer);
        }
        // Unauthenticated peers leave the reserve free even if they are too young to be evicted.
        let is_evictable = !is_proxy && members.unauthenticated.len() > 0;
        let most = if is_evictable { self.high_water() } else { self.total };
        let number = if members.len() >= most {
            None
        } else if is_proxy {
            members.kept += 1;
            Some(KEPT)
        } else {
            Some(members.unauthenticated.insert(ip, now, Arc::clone(hang_up)))
        };
        drop(members);
        evicted.iter().for_each(|peer| peer.evict());
        let number = AtomicU64::new(number.ok_or(LimitReached::Total)?);
        Ok(EvictableSlot { limit: Arc::clone(self), number })
    }

    /// Makes room for one more peer of this address.
    fn evict_of_address(
        &self,
        members: &mut Members,
        ip: IpAddr,
        now: Instant,
    ) -> Result<Option<Arc<HangUp>>, LimitReached> {
        if members.unauthenticated.of(ip) < self.per_address {
            return Ok(None);
        }
        let oldest = members.unauthenticated.evict_oldest_of(ip, now, self.eviction_age);
        oldest.map(Some).ok_or(LimitReached::PerKey)
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EvictableSlot {
    /// Counts a kept slot for this address until its peer authenticates: a proxy has named it.
    ///
    /// # Errors
    /// [`LimitReached::PerKey`].
    pub(super) fn count_for(&self, ip: IpAddr, hang_up: &Arc<HangUp>) -> Result<(), LimitReached> {
        let now = Instant::now();
        let mut members = self.limit.members();
        let evicted = self.limit.evict_of_address(&mut members, ip, now)?;
        members.kept -= 1;
        let number = members.unauthenticated.insert(ip, now, Arc::clone(hang_up));
        self.number.store(number, Ordering::Relaxed);
        drop(members);
        evicted.iter().for_each(|peer| peer.evict());
        Ok(())
    }

    /// Keeps the slot from being evicted: the peer has authenticated.
    pub(super) fn keep(&self) {
        if self.is_evictable() {
            let mut members = self.limit.members();
            if members.unauthenticated.remove(self.number.load(Ordering::Relaxed)).is_some() {
                members.kept += 1;
                self.number.store(KEPT, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn is_evictable(&self) -> bool {
        self.number.load(Ordering::Relaxed) != KEPT
    }
}

impl Drop for EvictableSlot {
    fn drop(&mut self) {
        let mut members = self.limit.members();
        match self.number.load(Ordering::Relaxed) {
            KEPT => members.kept -= 1,
            // One that was evicted is gone already.
            number => drop(members.unauthenticated.remove(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    const AGE: Duration = Duration::from_secs(2);
    const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));

    fn peers<const N: usize>() -> [Arc<HangUp>; N] {
        std::array::from_fn(|_| Arc::new(HangUp::new(Metrics::default())))
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_bounded_by_address_and_in_all_and_come_back() {
        let limit = EvictingLimit::new(2, 3, AGE);
        let [peer] = peers();
        let first = limit.acquire(NEAR, false, &peer).unwrap();
        let second = limit.acquire(NEAR, false, &peer).unwrap();
        assert_eq!(limit.acquire(NEAR, false, &peer).unwrap_err(), LimitReached::PerKey);
        assert_eq!(limit.taken(), 2, "a refused peer takes no slot");
        let third = limit.acquire(FAR, false, &peer).unwrap();
        assert_eq!(limit.acquire(FAR, false, &peer).unwrap_err(), LimitReached::Total);
        first.keep();
        first.keep();
        assert_eq!((limit.taken(), limit.kept()), (3, 1), "kept once, not twice");
        drop(third);
        let fourth = limit.acquire(NEAR, false, &peer).unwrap();
        assert_eq!(limit.acquire(NEAR, false, &peer).unwrap_err(), LimitReached::PerKey);
        drop((first, second, fourth));
        assert_eq!((limit.taken(), limit.kept()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_unauthenticated_peer_is_evicted_for_a_newcomer() {
        let limit = EvictingLimit::new(2, 3, AGE);
        let [oldest, other, third, fourth, fifth] = peers();
        let acquire = |ip, peer| limit.acquire(ip, false, peer).unwrap();
        let slots = [acquire(NEAR, &oldest), acquire(NEAR, &other)];
        tokio::time::advance(AGE).await;
        let of_third = acquire(NEAR, &third);
        assert!(oldest.is_hung_up() && !other.is_hung_up(), "its own oldest made room");
        let of_fourth = acquire(FAR, &fourth);
        let of_fifth = acquire(FAR, &fifth);
        assert!(other.is_hung_up() && !third.is_hung_up() && !fourth.is_hung_up());
        assert_eq!(limit.taken(), 3, "the slot of an evicted peer is free at once");
        slots[0].keep();
        drop((slots, of_third, of_fourth, of_fifth));
        assert_eq!((limit.taken(), limit.kept()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn no_kept_slot_is_evicted_and_the_reserve_is_theirs() {
        let limit = EvictingLimit::with_reserve(9, 4, 1, AGE);
        let [known, proxy, young, late] = peers();
        let slots = [
            limit.acquire(NEAR, false, &known).unwrap(),
            limit.acquire(NEAR, true, &proxy).unwrap(),
            limit.acquire(NEAR, false, &young).unwrap(),
        ];
        slots[0].keep();
        // Three are taken, which is all that newcomers may fill; the only evictable one is too
        // young.
        assert_eq!(limit.acquire(NEAR, false, &late).unwrap_err(), LimitReached::Total);
        tokio::time::advance(AGE).await;
        let more = limit.acquire(FAR, false, &late).unwrap();
        assert!(young.is_hung_up() && !known.is_hung_up() && !proxy.is_hung_up());
        more.keep();
        let last = limit.acquire(NEAR, true, &proxy).unwrap();
        assert_eq!(limit.acquire(FAR, false, &late).unwrap_err(), LimitReached::Total);
        last.count_for(FAR, &proxy).unwrap();
        assert_eq!((limit.taken(), limit.kept()), (4, 3));
        drop((slots, more, last));
        assert_eq!((limit.taken(), limit.kept()), (0, 0));
    }
}
