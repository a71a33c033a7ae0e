//! The network of an address: unknown browsers are distinguished by theirs.

use std::net::IpAddr;

use fido_relay_proto::SameNetwork;
use fido_relay_proto::http::BrowserContext;
use ipnet::IpNet;

/// A /24 of IPv4 or a /48 of IPv6; one for all openings that name no address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Network(Option<[u8; 6]>);

impl Network {
    /// The network of the browser that asked.
    pub(super) fn of(context: Option<&BrowserContext>) -> Self {
        Self::of_address(address_of(context))
    }

    fn of_address(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                // No IPv6 address of the internet begins like this.
                [0xff, 0xff, 0xff, a, b, c]
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, ..] = address.octets();
                [a, b, c, d, e, f]
            }
        }))
    }
}

/// The browser's address, as the initiator names it.
fn address_of(context: Option<&BrowserContext>) -> Option<IpAddr> {
    let ip = context.and_then(|context| context.ip.as_ref())?;
    ip.as_str().parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Addresses that many networks use at the same time: private ones (RFC 1918, RFC 4193), loopback,
/// link-local, and those that providers share among their customers (RFC 6598).
const SHARED: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
];

/// Compares the device's address with that of the browser.
pub(super) fn compare(device: Option<IpAddr>, context: Option<&BrowserContext>) -> SameNetwork {
    let is_shared = |address: &IpAddr| {
        let nets = SHARED.iter().filter_map(|net| net.parse::<IpNet>().ok());
        nets.into_iter().any(|net| net.contains(address))
    };
    let device = device.map(|address| address.to_canonical());
    let both = device.zip(address_of(context));
    let both = both.filter(|(device, browser)| {
        device.is_ipv4() == browser.is_ipv4() && !is_shared(device) && !is_shared(browser)
    });
    match both {
        None => SameNetwork::Unknown,
        Some((device, browser)) => {
            let of = |address| Network::of_address(Some(address));
            if of(device) == of(browser) { SameNetwork::Yes } else { SameNetwork::No }
        }
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::PlainText;

    use super::*;

    #[test]
    fn networks_are_compared_where_addresses_tell_them_apart() {
        for (phone, browser, expected) in [
            ("198.51.100.7", "198.51.100.99", SameNetwork::Yes),
            ("198.51.100.7", "198.51.101.7", SameNetwork::No),
            ("::ffff:198.51.100.7", "198.51.100.8", SameNetwork::Yes),
            ("2001:db8:1:2::1", "2001:db8:1:ffff::1", SameNetwork::Yes),
            ("2001:db8:1::1", "2001:db8:2::1", SameNetwork::No),
            ("198.51.100.7", "2001:db8:1::1", SameNetwork::Unknown),
            ("192.168.1.2", "192.168.1.3", SameNetwork::Unknown),
            ("172.31.0.1", "172.31.0.2", SameNetwork::Unknown),
            ("100.64.0.1", "100.64.0.2", SameNetwork::Unknown),
            ("127.0.0.1", "127.0.0.1", SameNetwork::Unknown),
            ("fd00::1", "fd00::2", SameNetwork::Unknown),
            ("198.51.100.7", "no address", SameNetwork::Unknown),
        ] {
            let ip = PlainText::new(browser).ok();
            let context = BrowserContext { ip, ..BrowserContext::default() };
            let phone = phone.parse().ok();
            assert_eq!(compare(phone, Some(&context)), expected, "{phone:?} {browser}");
            assert_eq!(compare(None, Some(&context)), SameNetwork::Unknown);
            assert_eq!(compare(phone, None), SameNetwork::Unknown);
        }
    }
}
