//! Places for connections: bounded for the node, and by address for strangers.
//!
//! A phone that has authenticated costs its node's place and nothing of its address's: thousands
//! of them may share the one address of their mobile network, and a bound that holds back a
//! stranger would hold back a city. Who has not authenticated is bounded by address, and goes
//! after seconds.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::refused::Refused;
use super::tally::Tally;

/// All places.
#[derive(Debug)]
pub(super) struct Permits {
    per_ip: usize,
    per_node: usize,
    open: AtomicUsize,
    strangers: Tally,
}

/// One place, given back when it drops.
#[derive(Debug)]
pub(in crate::edge) struct Permit {
    permits: Arc<Permits>,
    /// The address that it counts for, if it does.
    ip: Option<IpAddr>,
    counts: AtomicBool,
}

impl Permits {
    pub(super) fn new(per_ip: usize, per_node: usize) -> Self {
        Self { per_ip, per_node, open: AtomicUsize::new(0), strangers: Tally::default() }
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place on the node.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Permit, Refused> {
        // Counted first and looked at second, so that two who come at once cannot both be last.
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let permit = Permit { permits: Arc::clone(self), ip: None, counts: AtomicBool::new(false) };
        if open <= self.per_node { Ok(permit) } else { Err(Refused::ConnectionsPerNode) }
    }
}

impl Permit {
    /// The same place, counted for this address until it is known who is there.
    pub(super) fn of(mut self, ip: IpAddr) -> Result<Self, Refused> {
        let here = self.permits.strangers.add(ip);
        self.ip = Some(ip);
        self.counts = AtomicBool::new(true);
        if here <= self.permits.per_ip { Ok(self) } else { Err(Refused::ConnectionsPerIp) }
    }

    /// Somebody has authenticated here: the place counts for the node alone from now on.
    pub(in crate::edge) fn known(&self) {
        if let (Some(ip), true) = (self.ip, self.counts.swap(false, Ordering::Relaxed)) {
            self.permits.strangers.remove(ip);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.known();
        self.permits.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_address_and_for_the_node_and_come_back() {
        let permits = Arc::new(Permits::new(2, 4));
        let (near, far) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let enter = |ip| permits.enter().and_then(|permit| permit.of(ip));
        let first = enter(near).unwrap();
        let second = enter(near).unwrap();
        assert_eq!(enter(near).unwrap_err(), Refused::ConnectionsPerIp);
        assert_eq!(permits.open(), 2, "who is refused takes no place");
        first.known();
        first.known();
        let third = enter(near).unwrap();
        assert_eq!(enter(near).unwrap_err(), Refused::ConnectionsPerIp, "known once, not twice");
        let fourth = enter(far).unwrap();
        assert_eq!(enter(far).unwrap_err(), Refused::ConnectionsPerNode);
        drop((first, second, third, fourth));
        assert_eq!((permits.open(), permits.strangers.addresses()), (0, 0));
    }
}
