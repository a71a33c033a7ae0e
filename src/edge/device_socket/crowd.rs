//! Sockets that nobody has vouched for yet: bounded per address and for the node, so that
//! strangers cannot take the places of phones.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::edge::accept::tally::Tally;

/// Places for sockets that have not authenticated.
#[derive(Debug)]
pub(in crate::edge) struct Crowd {
    per_ip: usize,
    per_node: usize,
    here: AtomicUsize,
    from: Tally,
}

/// One such place, given back when it drops.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    ip: IpAddr,
}

impl Crowd {
    pub(in crate::edge) fn new(per_ip: usize, per_node: usize) -> Self {
        Self { per_ip, per_node, here: AtomicUsize::new(0), from: Tally::default() }
    }

    /// A place for a socket from this address, if there is one.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        // Counted first and looked at second, so that two who come at once cannot both be last.
        let here = self.here.fetch_add(1, Ordering::Relaxed) + 1;
        let from = self.from.add(ip);
        let place = Place { crowd: Arc::clone(self), ip };
        (here <= self.per_node && from <= self.per_ip).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.here.fetch_sub(1, Ordering::Relaxed);
        self.crowd.from.remove(self.ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let crowd = Arc::new(Crowd::new(2, 3));
        let (near, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
        let first = crowd.enter(near);
        let _second = crowd.enter(near);
        assert!(first.is_some());
        assert!(crowd.enter(near).is_none(), "an address has two places");
        let _third = crowd.enter(far);
        assert!(crowd.enter(far).is_none(), "the node has three");
        drop(first);
        assert!(crowd.enter(near).is_some());
        assert_eq!(crowd.from.addresses(), 2, "nothing is kept of those who left");
    }
}
