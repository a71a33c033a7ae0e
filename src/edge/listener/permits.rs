//! Places for connections: bounded for the node, and by address for peers that have not
//! authenticated.
//!
//! A phone that has authenticated takes a place of the node and none of its address: thousands of
//! them may share the one address of their mobile network. Where there is no place, the oldest
//! stranger of the most crowded network makes room ([`Strangers`]); a newcomer is refused only
//! where no stranger may be displaced.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::time::Instant;

use super::AcceptLimits;
use super::refused::Refused;
use super::strangers::Strangers;
use crate::metrics::Metrics;

/// All places.
#[derive(Debug)]
pub(super) struct Permits {
    limits: AcceptLimits,
    open: AtomicUsize,
    strangers: Mutex<Strangers<Weak<Permit>>>,
    metrics: Metrics,
}

/// One place, given back when it drops, with what is to be known of its connection at every layer.
#[derive(Debug)]
pub(in crate::edge) struct Permit {
    permits: Arc<Permits>,
    /// Its number among the strangers; 0 once it has authenticated, and for a trusted proxy.
    stranger: AtomicU64,
    hung_up: AtomicBool,
    /// The node's place is free: an evicted connection ends as soon as its task runs.
    released: AtomicBool,
    /// Bytes came since the last call of [`Permit::has_heard`].
    heard: AtomicBool,
    /// Bytes wait to be taken by the peer.
    blocked: AtomicBool,
    /// Whichever task drives the connection.
    driver: AtomicWaker,
}

impl Permits {
    pub(super) fn new(limits: AcceptLimits, metrics: Metrics) -> Self {
        let strangers = Mutex::default();
        Self { limits, open: AtomicUsize::new(0), strangers, metrics }
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections of peers that have authenticated, and of trusted proxies: no newcomer displaces
    /// them.
    pub(super) fn known(&self) -> usize {
        let strangers = self.strangers().len();
        self.open().saturating_sub(strangers)
    }

    /// Connections above which the node is short of them: nine tenths of all. The last tenth is
    /// for peers that ask how the node is, read a result or finish what they began.
    pub(super) fn high_water(&self) -> usize {
        let all = self.limits.connections_per_node;
        (all - all / 10).max(1)
    }

    /// A place for a connection from this address, which counts for the address unless it is a
    /// trusted proxy's.
    pub(super) fn enter(
        self: &Arc<Self>,
        ip: IpAddr,
        counts: bool,
    ) -> Result<Arc<Permit>, Refused> {
        // Counted first and looked at second, so that two at once cannot both be last.
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let permit = Arc::new(Permit {
            permits: Arc::clone(self),
            stranger: AtomicU64::new(0),
            hung_up: AtomicBool::new(false),
            released: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            driver: AtomicWaker::new(),
        });
        permit.take_place(ip, counts, open)?;
        Ok(permit)
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers<Weak<Permit>>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hangs up on a displaced connection. Never called with a lock held: the last reference to a
/// permit may drop here.
pub(in crate::edge) fn evict(displaced: Weak<Permit>) {
    if let Some(permit) = displaced.upgrade() {
        permit.hang_up(Refused::Evicted);
        permit.release();
    }
}

impl Permit {
    /// Counts the place for this address until the peer authenticates: a proxy has named it.
    pub(super) fn count_for(self: &Arc<Self>, ip: IpAddr) -> Result<(), Refused> {
        self.take_place(ip, true, 0)
    }

    /// Displaces strangers where the address is full, or the node short of places with `open`
    /// connections: the last tenth is not theirs.
    fn take_place(self: &Arc<Self>, ip: IpAddr, counts: bool, open: usize) -> Result<(), Refused> {
        let limits = &self.permits.limits;
        let (now, age) = (Instant::now(), limits.eviction_age);
        let mut strangers = self.permits.strangers();
        let mut displaced = Vec::new();
        if counts && strangers.of(ip) >= limits.connections_per_ip {
            let oldest = strangers.displace_of(ip, now, age);
            displaced.push(oldest.ok_or(Refused::ConnectionsPerIp)?);
        }
        while open > self.permits.high_water() + displaced.len()
            && let Some(stranger) = strangers.displace(ip, now, age)
        {
            displaced.push(stranger);
        }
        // Strangers that are too young to be displaced leave the last tenth free all the same.
        let strangers_fill = counts && strangers.len() > 0;
        let most =
            if strangers_fill { self.permits.high_water() } else { limits.connections_per_node };
        let is_full = open > most + displaced.len();
        if counts && !is_full {
            let number = strangers.insert(ip, now, Arc::downgrade(self));
            self.stranger.store(number, Ordering::Relaxed);
        }
        drop(strangers);
        displaced.into_iter().for_each(evict);
        if is_full { Err(Refused::ConnectionsPerNode) } else { Ok(()) }
    }

    /// A device or a client has authenticated: the place counts for the node alone from now on.
    pub(in crate::edge) fn known(&self) {
        let number = self.stranger.swap(0, Ordering::Relaxed);
        if number != 0 {
            self.permits.strangers().remove(number);
        }
    }

    pub(super) fn is_stranger(&self) -> bool {
        self.stranger.load(Ordering::Relaxed) != 0
    }

    /// How long the peer may take none of what waits for it.
    pub(super) fn unread(&self) -> Duration {
        let limits = &self.permits.limits;
        if self.is_stranger() { limits.unread } else { limits.unread_known }
    }

    /// How long the kernel goes on with a peer. Its clock also runs while a peer with a small window
    /// acknowledges probes and reads on, so this is not the limit of a peer without progress.
    pub(super) fn kernel_limit(&self) -> Duration {
        self.unread().max(self.permits.limits.answer)
    }

    /// How long the peer may take over all of one answer, if that is bounded.
    pub(super) fn answer(&self) -> Option<Duration> {
        self.is_stranger().then_some(self.permits.limits.answer)
    }

    /// Ends the connection from outside, at whatever layer it is. Counted once.
    pub(in crate::edge) fn hang_up(&self, why: Refused) {
        if !self.hung_up.swap(true, Ordering::AcqRel) {
            self.count(why);
            self.driver.wake();
        }
    }

    fn release(&self) {
        if !self.released.swap(true, Ordering::Relaxed) {
            self.permits.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count(&self, why: Refused) {
        self.permits.metrics.turned_away(why.name());
    }

    pub(in crate::edge) fn is_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::Acquire)
    }

    pub(super) fn driver(&self) -> &AtomicWaker {
        &self.driver
    }

    pub(super) fn hears(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Whether bytes came since the last call.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    pub(super) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Whether bytes wait to be taken by the peer.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.known();
        self.release();
    }
}

#[cfg(test)]
pub(in crate::edge) mod tests {
    use super::*;

    pub(in crate::edge) fn permits(per_ip: usize, per_node: usize) -> Arc<Permits> {
        let limits = AcceptLimits {
            connections_per_ip: per_ip,
            connections_per_node: per_node,
            ..AcceptLimits::default()
        };
        Arc::new(Permits::new(limits, Metrics::default()))
    }

    /// A place in a house of its own.
    pub(in crate::edge) fn permit() -> Arc<Permit> {
        permits(1, 10).enter(IpAddr::from([192, 0, 2, 1]), true).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_bounded_by_address_and_for_the_node_and_come_back() {
        let permits = permits(2, 4);
        let (near, far) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let enter = |ip| permits.enter(ip, true);
        let first = enter(near).unwrap();
        let second = enter(near).unwrap();
        assert_eq!(enter(near).unwrap_err(), Refused::ConnectionsPerIp);
        assert_eq!(permits.open(), 2, "a refused connection takes no place");
        first.known();
        first.known();
        let third = enter(near).unwrap();
        assert_eq!(enter(near).unwrap_err(), Refused::ConnectionsPerIp, "known once, not twice");
        second.known();
        third.known();
        let fourth = enter(far).unwrap();
        fourth.known();
        assert_eq!(enter(far).unwrap_err(), Refused::ConnectionsPerNode, "all four are known");
        drop((first, second, third, fourth));
        assert_eq!((permits.open(), permits.strangers().len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_node_or_address_hangs_up_on_its_oldest_stranger_for_a_newcomer() {
        let permits = permits(2, 4);
        let crowd = IpAddr::from([192, 0, 2, 1]);
        let oldest = permits.enter(crowd, true).unwrap();
        let other = permits.enter(crowd, true).unwrap();
        tokio::time::advance(permits.limits.eviction_age).await;
        let third = permits.enter(crowd, true).unwrap();
        assert!(oldest.is_hung_up() && !other.is_hung_up(), "its own oldest made room");
        other.known();
        let more = permits.enter(IpAddr::from([192, 0, 2, 2]), true).unwrap();
        assert_eq!(permits.open(), 3, "the place of the evicted one is free at once");
        let phone = permits.enter(IpAddr::from([203, 0, 113, 1]), true).unwrap();
        phone.known();
        // Four are open: the next from elsewhere displaces the oldest that is no known peer's.
        let newcomer = permits.enter(IpAddr::from([198, 51, 100, 1]), true).unwrap();
        assert!(third.is_hung_up() && !other.is_hung_up() && !more.is_hung_up());
        drop((oldest, other, third, more, phone, newcomer));
        assert_eq!((permits.open(), permits.strangers().len()), (0, 0));
    }
}
