//! How often typed pairing codes may be tried, by one address and by everybody together.
//!
//! That no code is guessed follows from the tries of each pairing ([`crate::security::pairing`]),
//! whatever the rate. This bounds what guessing costs: writes of the store, and pairings that a
//! stranger voids by trying every locator five times.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

/// One address: a person corrects a typing error a few times. An office behind one address still
/// pairs a phone a second.
const PER_ADDRESS: (NonZeroU32, NonZeroU32) = (per(1), per(20));
/// The node: all locators five times would take three days.
const PER_NODE: (NonZeroU32, NonZeroU32) = (per(20), per(200));
/// Addresses that are remembered before those at rest are forgotten.
const ADDRESSES: usize = 10_000;

const fn per(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// Counts the tries of this node.
#[derive(Debug)]
pub(in crate::edge) struct TypedTries {
    by: DefaultKeyedRateLimiter<IpAddr>,
    all: DefaultDirectRateLimiter,
}

impl TypedTries {
    pub(in crate::edge) fn new() -> Self {
        let quota = |(rate, burst)| Quota::per_second(rate).allow_burst(burst);
        Self {
            by: RateLimiter::keyed(quota(PER_ADDRESS)),
            all: RateLimiter::direct(quota(PER_NODE)),
        }
    }

    /// Whether one more try may be made from there.
    pub(super) fn allow(&self, from: IpAddr) -> bool {
        if self.by.len() > ADDRESSES {
            self.by.retain_recent();
        }
        self.by.check_key(&network(from)).is_ok() && self.all.check().is_ok()
    }
}

/// Whoever has one IPv6 address has the whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_burst_and_a_network_of_ipv6_is_one_address() {
        let tries = TypedTries::new();
        let near: IpAddr = "2001:db8::1".parse().unwrap();
        let beside: IpAddr = "2001:db8::2".parse().unwrap();
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        let allowed = (0..100).filter(|_| tries.allow(near)).count();
        assert!((20..30).contains(&allowed), "{allowed}");
        assert!(!tries.allow(beside));
        assert!(tries.allow(far));
        assert!(tries.allow("::ffff:192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn however_many_addresses_there_are_the_node_has_a_bound() {
        let tries = TypedTries::new();
        let addresses = (0..20_000_u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        let allowed = addresses.filter(|address| tries.allow(*address)).count();
        assert!((200..1_000).contains(&allowed), "{allowed}");
        assert!(tries.by.len() <= ADDRESSES + 1, "{} are remembered", tries.by.len());
    }
}
