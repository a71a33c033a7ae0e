//! Peers that have not authenticated, by network and by age, and which of them is evicted.
//!
//! ```text
//!   all ─▶ /24 or /48 ─▶ address or /56 ─▶ address or /64      at each level the most crowded
//! ```
//! The oldest peer of the most crowded network is evicted, so that an attacker evicts itself: a
//! newcomer from elsewhere always finds room, and a peer that is quick to authenticate is never
//! the oldest. Pure: no clock, no lock, and nothing of what a peer is.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

use crate::address_prefix::prefix;

/// Prefix lengths (IPv4, IPv6) that are compared, the widest first.
const LEVELS: [(u8, u8); 3] = [(24, 48), (32, 56), (32, 64)];

/// Peers with what is needed to hang up on them.
#[derive(Debug)]
pub(super) struct UnauthenticatedPeers<T> {
    last: u64,
    peers: HashMap<u64, Peer<T>>,
    all: Group,
}

#[derive(Debug)]
struct Peer<T> {
    path: Path,
    since: Instant,
    handle: T,
}

/// The networks of an address, by [`LEVELS`].
type Path = [IpNet; LEVELS.len()];

/// The peers of one network.
#[derive(Debug, Default)]
struct Group {
    /// Numbers ascend with time: the first is the oldest peer.
    peers: BTreeSet<u64>,
    within: HashMap<IpNet, Group>,
    /// The networks within, the most crowded last; of equals the one with the oldest peer.
    ranks: BTreeSet<(Rank, IpNet)>,
}

type Rank = (usize, Reverse<u64>);

impl<T> Default for UnauthenticatedPeers<T> {
    fn default() -> Self {
        Self { last: 0, peers: HashMap::new(), all: Group::default() }
    }
}

impl<T> UnauthenticatedPeers<T> {
    /// Adds a peer and gives its number, which is never 0.
    pub(super) fn insert(&mut self, ip: IpAddr, since: Instant, handle: T) -> u64 {
        self.last += 1;
        let path = path(ip);
        self.all.change(&path, &mut |peers| {
            peers.insert(self.last);
        });
        self.peers.insert(self.last, Peer { path, since, handle });
        self.last
    }

    /// Removes a peer that left or authenticated, if it was not displaced before.
    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let peer = self.peers.remove(&number)?;
        self.all.change(&peer.path, &mut |peers| {
            peers.remove(&number);
        });
        Some(peer.handle)
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Peers of this address (IPv6: of its /64).
    pub(super) fn of(&self, ip: IpAddr) -> usize {
        self.all.at(&path(ip)).map_or(0, |group| group.peers.len())
    }

    /// Removes the oldest peer of this address, if it is at least of this age.
    pub(super) fn evict_oldest_of(&mut self, ip: IpAddr, now: Instant, age: Duration) -> Option<T> {
        let oldest = *self.all.at(&path(ip))?.peers.first()?;
        self.is_of_age(oldest, now, age).then(|| self.remove(oldest)).flatten()
    }

    /// Removes the oldest peer of the most crowded network, if it is at least of this age or the
    /// newcomer's own network is less crowded, also with the newcomer.
    pub(super) fn evict_for(&mut self, newcomer: IpAddr, now: Instant, age: Duration) -> Option<T> {
        let mut group = &self.all;
        let mut fairer = None;
        for own in path(newcomer) {
            let ((count, _), network) = group.ranks.last()?;
            if fairer.is_none() && *network != own {
                let here = group.within.get(&own).map_or(0, |own| own.peers.len());
                fairer = Some(here + 1 < *count);
            }
            group = group.within.get(network)?;
        }
        let oldest = *group.peers.first()?;
        let may = fairer == Some(true) || self.is_of_age(oldest, now, age);
        may.then(|| self.remove(oldest)).flatten()
    }

    fn is_of_age(&self, number: u64, now: Instant, age: Duration) -> bool {
        self.peers.get(&number).is_some_and(|peer| peer.since + age <= now)
    }
}

impl Group {
    /// Changes the peers of this network and of those within it along the path.
    fn change(&mut self, path: &[IpNet], change: &mut impl FnMut(&mut BTreeSet<u64>)) {
        change(&mut self.peers);
        let Some((network, rest)) = path.split_first() else { return };
        let group = self.within.entry(*network).or_default();
        if let Some(rank) = group.rank() {
            self.ranks.remove(&(rank, *network));
        }
        group.change(rest, change);
        match group.rank() {
            Some(rank) => drop(self.ranks.insert((rank, *network))),
            None => drop(self.within.remove(network)),
        }
    }

    fn rank(&self) -> Option<Rank> {
        self.peers.first().map(|oldest| (self.peers.len(), Reverse(*oldest)))
    }

    fn at(&self, path: &[IpNet]) -> Option<&Self> {
        path.iter().try_fold(self, |group, network| group.within.get(network))
    }
}

fn path(ip: IpAddr) -> Path {
    LEVELS.map(|bits| prefix(ip, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(2);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_the_most_crowded_network_makes_room() {
        let mut peers = UnauthenticatedPeers::default();
        let now = Instant::now();
        // One of 198.51.100.0/24, and of 192.0.2.0/24 three by two addresses.
        for address in ["198.51.100.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"] {
            peers.insert(ip(address), now, address);
        }
        assert_eq!(peers.evict_for(ip("203.0.113.1"), now, AGE), Some("192.0.2.2"));
        // Two against one: with the newcomer 198.51.100.0/24 would be as crowded.
        assert_eq!(peers.evict_for(ip("198.51.100.2"), now, AGE), None);
        assert_eq!(peers.evict_for(ip("198.51.100.2"), now + AGE, AGE), Some("192.0.2.1"));
        assert_eq!((peers.len(), peers.of(ip("192.0.2.2"))), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn ipv6_networks_count_by_their_48_56_and_64() {
        let mut peers = UnauthenticatedPeers::default();
        let now = Instant::now();
        for address in
            ["2001:db8:1::1", "2001:db8:2:100::1", "2001:db8:2:201::1", "2001:db8:2:202::"]
        {
            peers.insert(ip(address), now, address);
        }
        let newcomer = ip("2001:db8:3::1");
        assert_eq!(peers.evict_for(newcomer, now, AGE), Some("2001:db8:2:201::1"));
        assert_eq!(peers.of(ip("2001:db8:2:202:ffff::9")), 1, "one /64 is one address");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_gives_up_its_own_oldest_once_that_is_of_age() {
        let mut peers = UnauthenticatedPeers::default();
        let (here, now) = (ip("192.0.2.1"), Instant::now());
        let first = peers.insert(here, now, 1);
        peers.insert(here, now + AGE, 2);
        assert_eq!(peers.evict_oldest_of(here, now + AGE - Duration::from_millis(1), AGE), None);
        assert_eq!(peers.evict_oldest_of(here, now + AGE, AGE), Some(1));
        assert_eq!(peers.remove(first), None, "it is gone already");
        assert_eq!(peers.evict_oldest_of(here, now + AGE, AGE), None, "the other one is new");
    }

    /// 2,000 peers of 105 addresses that come again as fast as the node lets them in, and 77
    /// phones, each of which needs half a second to authenticate.
    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_a_hundred_addresses_displaces_itself_and_no_phone() {
        let mut peers = UnauthenticatedPeers::default();
        let began = Instant::now();
        let mut crowd = (0_u32..).map(|number| {
            let number = number % 105;
            IpAddr::from([
                10,
                0,
                u8::try_from(number / 35).unwrap(),
                u8::try_from(number % 35).unwrap(),
            ])
        });
        let mut phones = Vec::new();
        for tick in 0_u32..4_000 {
            let now = began + Duration::from_millis(u64::from(tick));
            let attacker = crowd.next().unwrap();
            if peers.len() < 2_000 || peers.evict_for(attacker, now, AGE).is_some() {
                peers.insert(attacker, now, false);
            }
            if tick >= 2_000 && phones.len() < 77 && tick % 13 == 0 {
                let phone = IpAddr::from([100, 64, u8::try_from(phones.len()).unwrap(), 1]);
                let room = peers.len() < 2_000 || peers.evict_for(phone, now, AGE).is_some();
                assert!(room, "phone {} finds no place", phones.len());
                phones.push((peers.insert(phone, now, true), now));
            }
            for (phone, since) in &phones {
                if *since + Duration::from_millis(500) == now {
                    assert_eq!(peers.remove(*phone), Some(true), "it lost its place");
                }
            }
        }
        assert_eq!(phones.len(), 77);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_those_who_left() {
        let mut peers = UnauthenticatedPeers::default();
        let now = Instant::now();
        let numbers: Vec<_> = ["192.0.2.1", "192.0.2.9", "2001:db8::1"]
            .map(|address| peers.insert(ip(address), now, ()))
            .into();
        for number in numbers {
            peers.remove(number);
        }
        assert!(peers.all.within.is_empty() && peers.all.ranks.is_empty());
    }
}
