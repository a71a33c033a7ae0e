//! Places for device sockets that have not authenticated: bounded by address and for the node.
//! Where there is no place, the oldest socket of the most crowded network makes room, so that a
//! flood of strangers displaces itself and not the phones that come meanwhile.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::edge::listener::{Permit, Strangers, evict};

/// Device sockets that have not authenticated, within the limits of an address and of the node.
#[derive(Debug)]
pub(in crate::edge) struct Crowd {
    per_ip: usize,
    per_node: usize,
    /// A younger socket is not displaced for one of a network that is as crowded.
    eviction_age: Duration,
    here: Mutex<Strangers<Weak<Permit>>>,
}

/// One place, given back when it drops.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    pub(super) ip: IpAddr,
}

impl Crowd {
    pub(in crate::edge) fn new(per_ip: usize, per_node: usize, eviction_age: Duration) -> Self {
        Self { per_ip, per_node, eviction_age, here: Mutex::default() }
    }

    /// A place for a socket from this address over this connection, unless every socket that could
    /// make room is too young.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr, permit: &Arc<Permit>) -> Option<Place> {
        let (now, age) = (Instant::now(), self.eviction_age);
        let mut here = self.here();
        let displaced = if here.of(ip) >= self.per_ip {
            Some(here.displace_of(ip, now, age)?)
        } else if here.len() >= self.per_node {
            Some(here.displace(ip, now, age)?)
        } else {
            None
        };
        let number = here.insert(ip, now, Arc::downgrade(permit));
        drop(here);
        displaced.into_iter().for_each(evict);
        Some(Place { crowd: Arc::clone(self), number, ip })
    }

    fn here(&self) -> MutexGuard<'_, Strangers<Weak<Permit>>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.here().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::listener::permit;

    const AGE: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn places_are_bounded_and_come_back() {
        let crowd = Arc::new(Crowd::new(2, 3, AGE));
        let (near, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
        let permits = [permit(), permit(), permit(), permit()];
        let first = crowd.enter(near, &permits[0]);
        let _second = crowd.enter(near, &permits[1]);
        assert!(first.is_some());
        assert!(crowd.enter(near, &permits[2]).is_none(), "an address has two places");
        let _third = crowd.enter(far, &permits[2]);
        assert!(crowd.enter(far, &permits[3]).is_none(), "the node has three, all too young");
        drop(first);
        assert!(crowd.enter(near, &permits[3]).is_some());
        assert_eq!(crowd.here().len(), 2, "nothing is kept of those who left");
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_socket_is_hung_up_on_for_a_newcomer() {
        let crowd = Arc::new(Crowd::new(2, 3, AGE));
        let (near, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
        let permits = [permit(), permit(), permit(), permit(), permit()];
        let _places = [0, 1].map(|number| crowd.enter(near, &permits[number]).unwrap());
        tokio::time::advance(AGE).await;
        let _third = crowd.enter(near, &permits[2]).expect("its address's oldest is of age");
        assert!(permits[0].is_hung_up() && !permits[1].is_hung_up());
        let _fourth = crowd.enter(far, &permits[3]).expect("three places");
        let _fifth = crowd.enter(far, &permits[4]).expect("the crowd makes room");
        assert!(permits[1].is_hung_up() && !permits[2].is_hung_up() && !permits[3].is_hung_up());
    }
}
