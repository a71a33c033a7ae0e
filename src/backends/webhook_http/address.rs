//! The addresses that may be connected to: public ones, and those of networks that the operator
//! allows.
//!
//! Knows the IANA registries of special-purpose addresses, and neither names nor URLs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Whether this address may be connected to.
pub(super) fn is_permitted(address: IpAddr, allowed: &[IpNet]) -> bool {
    // `::ffff:10.0.0.1` is a connection to 10.0.0.1.
    let address = address.to_canonical();
    let public = match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    };
    public || allowed.iter().any(|network| network.contains(&address))
}

/// Azure's WireServer (metadata, keys, DNS): a public address that only Azure's networks route. Other
/// clouds use special-purpose ranges.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Every address that the registry does not list as special-purpose.
fn is_public_v4(address: Ipv4Addr) -> bool {
    if address == AZURE {
        return false;
    }
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // this host, private, loopback, multicast, reserved and broadcast
        (0 | 10 | 127 | 224..=255, ..)
        // shared by carriers (RFC 6598)
        | (100, 64..=127, _)
        // link-local, where most clouds keep their metadata
        | (169, 254, _)
        | (172, 16..=31, _)
        // protocol assignments, documentation, 6to4 relays
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (192, 168, _)
        // benchmarking
        | (198, 18 | 19, _)
        | (198, 51, 100)
        | (203, 0, 113) => true,
        _ => false,
    };
    !special
}

/// Only global unicast addresses, so that those with an embedded IPv4 address (mapped, compatible,
/// NAT64, 6to4, Teredo) are excluded together with local, multicast and future ranges.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let global = a & 0xE000 == 0x2000;
    let special = match (a, b) {
        // protocol assignments with Teredo and ORCHID, documentation
        (0x2001, 0..=0x01FF | 0x0DB8)
        // 6to4
        | (0x2002, _)
        // documentation (RFC 9637)
        | (0x3FFF, 0..=0x0FFF) => true,
        _ => false,
    };
    global && !special
}
