//! How many of something come from one address. Knows nothing of what is counted.

use std::net::{IpAddr, Ipv6Addr};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 address, which one
/// subscriber has as a whole and may walk through.
pub(in crate::edge) fn block(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
    }
}

/// Counts by address; nothing is kept of addresses with none.
#[derive(Debug, Default)]
pub(in crate::edge) struct Tally(DashMap<IpAddr, usize>);

impl Tally {
    /// One more of this address; tells how many there are now.
    pub(in crate::edge) fn add(&self, ip: IpAddr) -> usize {
        let mut count = self.0.entry(block(ip)).or_default();
        *count += 1;
        *count
    }

    /// One less.
    pub(in crate::edge) fn remove(&self, ip: IpAddr) {
        if let Entry::Occupied(mut entry) = self.0.entry(block(ip)) {
            if *entry.get() <= 1 {
                entry.remove();
            } else {
                *entry.get_mut() -= 1;
            }
        }
    }

    /// Addresses that have any.
    #[cfg(test)]
    pub(in crate::edge) fn addresses(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_subscriber_is_one_address_however_many_they_use() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let tally = Tally::default();
        assert_eq!(tally.add(ip("2001:db8:1:2::1")), 1);
        assert_eq!(tally.add(ip("2001:db8:1:2:ffff:ffff:ffff:ffff")), 2);
        assert_eq!(tally.add(ip("2001:db8:1:3::1")), 1);
        assert_eq!(tally.add(ip("192.0.2.1")), 1);
        assert_eq!(tally.add(ip("::ffff:192.0.2.1")), 2);
        assert_eq!(tally.add(ip("192.0.2.2")), 1);
        for gone in ["2001:db8:1:2::9", "2001:db8:1:2::9", "2001:db8:1:3::9"] {
            tally.remove(ip(gone));
        }
        assert_eq!(tally.addresses(), 2, "nothing is kept of those who left");
    }
}
