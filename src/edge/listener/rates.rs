//! How many connections a second: of one address, and in all. A refused one costs no more than a
//! look into a table.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::Quota;
use ipnet::IpNet;

use super::listener_refusal::ListenerRefusal;
use crate::address_prefix::subscriber;
use crate::security::limits::KeyedRateLimit;

/// Burst of one address, in seconds of its rate: a page, its app and some retries after a lost
/// network connect together, and so do the phones of a household or an office.
const BURST_OF_IP_S: u32 = 10;
/// Burst of the node, in seconds of its rate: a thousand phones reconnect within moments after a
/// restart, and about as many fit into the accept queue.
const BURST_OF_NODE_S: u32 = 4;
/// Remembered addresses above which those that may be forgotten are searched for.
const MANY: usize = 1024;

/// New connections a second.
#[derive(Debug)]
pub(super) struct HandshakeRates {
    of_ip: KeyedRateLimit<IpNet>,
    of_client: KeyedRateLimit<IpNet>,
    of_node: KeyedRateLimit<()>,
}

impl HandshakeRates {
    pub(super) fn new(per_ip: u32, per_node: u32) -> Self {
        Self {
            of_ip: KeyedRateLimit::new(quota(per_ip, BURST_OF_IP_S), usize::MAX),
            of_client: KeyedRateLimit::new(quota(per_ip, BURST_OF_IP_S), usize::MAX),
            of_node: KeyedRateLimit::new(quota(per_node, BURST_OF_NODE_S), usize::MAX),
        }
    }

    /// Admits a connection of this address. An address over its own rate takes nothing from the
    /// node's.
    pub(super) fn connection(&self, ip: IpAddr) -> Result<(), ListenerRefusal> {
        self.address(ip)?;
        self.any_connection()
    }

    /// Admits a connection of this address that a proxy made, which was counted for the node.
    pub(super) fn address(&self, ip: IpAddr) -> Result<(), ListenerRefusal> {
        self.of_ip.admit(&subscriber(ip)).map_err(|_| ListenerRefusal::HandshakesPerIp)
    }

    /// Admits a connection by the node's rate alone: a proxy's connections are of many clients.
    pub(super) fn any_connection(&self) -> Result<(), ListenerRefusal> {
        self.of_node.admit(&()).map_err(|_| ListenerRefusal::HandshakesPerNode)
    }

    /// Admits a device socket of a client behind a proxy.
    pub(super) fn socket(&self, client: IpAddr) -> Result<(), ListenerRefusal> {
        self.of_client.admit(&subscriber(client)).map_err(|_| ListenerRefusal::SocketsPerClient)
    }

    /// Forgets addresses that have not connected for a while. Called every second, this bounds the
    /// remembered addresses to those of the last [`BURST_OF_IP_S`].
    pub(super) fn forget(&self) {
        for limiter in [&self.of_ip, &self.of_client] {
            if limiter.len() > MANY {
                limiter.forget();
            }
        }
    }
}

fn quota(per_s: u32, burst_s: u32) -> Quota {
    let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least_one(per_s)).allow_burst(at_least_one(per_s.saturating_mul(burst_s)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_too_often_is_refused_and_takes_nothing_from_others() {
        let rates = HandshakeRates::new(1, 3);
        let (often, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let refused = (0..100).map(|_| rates.connection(often)).filter(Result::is_err).count();
        assert!((88..=90).contains(&refused), "{refused}");
        assert_eq!(rates.connection(often), Err(ListenerRefusal::HandshakesPerIp));
        assert_eq!(rates.connection(other), Ok(()));
        while rates.any_connection().is_ok() {}
        assert_eq!(rates.connection(other), Err(ListenerRefusal::HandshakesPerNode));
    }

    #[test]
    fn addresses_that_do_not_come_any_more_are_forgotten() {
        let rates = HandshakeRates::new(100_000, 1_000_000);
        for number in 0..5_000_u32 {
            rates.address(IpAddr::from(number.to_be_bytes())).unwrap();
        }
        // Each address had one of 100,000 a second: that is made good within microseconds.
        while rates.of_ip.len() > MANY {
            rates.forget();
        }
        assert!(rates.of_ip.len() <= MANY);
    }
}
