//! Prefixes of addresses, by which limits and sums take many addresses for one.

use std::net::IpAddr;

use ipnet::IpNet;

/// The network of this address with so many bits, for IPv4 and for IPv6.
pub(crate) fn prefix(ip: IpAddr, (v4, v6): (u8, u8)) -> IpNet {
    let ip = ip.to_canonical();
    let bits = if ip.is_ipv4() { v4 } else { v6 };
    IpNet::new(ip, bits).map_or_else(|_| IpNet::from(ip), |network| network.trunc())
}

/// What one subscriber has: an IPv4 address, or the /64 of an IPv6 address, which a host may walk
/// through as it likes.
pub(crate) fn subscriber(ip: IpAddr) -> IpNet {
    prefix(ip, (32, 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_subscriber_is_one_however_many_addresses_it_uses() {
        let of = |text: &str| subscriber(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        let customer = prefix("2001:db8:1:2::1".parse().unwrap(), (24, 48));
        assert_eq!(customer.to_string(), "2001:db8:1::/48");
    }
}
