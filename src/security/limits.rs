//! Rate limits of a node by client, address and device. Callers turn a refusal into an HTTP answer
//! or a close code.
//!
//! | limiter | kept | when its store is down |
//! | --- | --- | --- |
//! | opens of a client a second | here, in memory | has none: cannot be down |
//! | open ceremonies of a client and of the node | in the relay's memory, built from the store at the start | open until it is built: ceremonies of an earlier life are not counted yet; nothing opens anyway while the store is down |
//! | attempts of an address: pairing, tokens, new device keys | here, in memory; full: **closed** | the attempt itself needs the store and fails **closed** |
//! | typed pairing codes of an address and of the node | here, in memory; full: **closed** | the try itself needs the store and fails **closed** |
//! | credentials and answers of an address that were not good | here, in memory; full: **closed** | none is counted: nothing is verified |
//! | new sockets of a device | here, in memory | has none; the device's record is needed first, and without it the socket gets 1013: **closed** |
//! | HTTP requests of a device | here, in memory | has none; the device's record is needed first, and without it the answer is 503: **closed** |
//! | frames of a socket, its heartbeat | in the socket's own session | has none |
//! | tries of a code; prompts of a user | with the ceremony and the user, in the store | **closed**: no try counts, nothing is shown |
//! | watching, reading | unlimited but for the connection's own limits | the read fails, and costs nothing |
//!
//! In memory means that each node counts for itself and that a restart forgets: both let through a
//! little more, never less. A key is forgotten once its bucket is full again, so memory follows
//! recent traffic.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fido_relay_proto::{ClientId, DeviceId};
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::address_prefix::subscriber;

/// What a failed attempt costs of the allowance, an honest one costing 1.
const FAILURE_COSTS: u32 = 10;
/// Addresses that are remembered at most: some 20 MiB. More at once is no crowd of phones.
const ADDRESSES: usize = 262_144;
/// Typed pairing codes that one address tries a second, and at once: a person corrects a typing
/// error a few times, and an office behind one address still pairs a phone a second.
const TYPED_OF_ADDRESS: (u32, u32) = (1, 20);
/// The same of the node. That no code is guessed follows from the five tries of each pairing
/// ([`super::pairing`]); this bounds store writes, and the pairings that a guesser voids by trying
/// every locator (five tries of all of them would take three days).
const TYPED_OF_NODE: (u32, u32) = (20, 200);
/// Between two push addresses that one device sets, and how many at once: apps set one at each start.
const ADDRESS_EVERY: Duration = Duration::from_secs(10);
const ADDRESSES_AT_ONCE: u32 = 10;
/// Between two rounds of forgetting.
const FORGET_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Ceremonies that one client may open a second, sustained.
    pub opens_per_s: u32,
    /// And at once after a silence.
    pub opens_burst: u32,
    /// Attempts of one address a second, sustained.
    pub attempts_per_s: u32,
    /// And at once after a silence.
    pub attempts_burst: u32,
    /// New sockets of one device within a minute, all of them at once or spread.
    pub sockets_per_min: u32,
    /// HTTP requests of one device a second, sustained.
    pub calls_per_s: u32,
    /// And at once after a silence.
    pub calls_burst: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            opens_per_s: 50,
            opens_burst: 200,
            attempts_per_s: 10,
            attempts_burst: 100,
            sockets_per_min: 30,
            calls_per_s: 10,
            calls_burst: 30,
        }
    }
}

/// Refused for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too fast, again in {retry_after_s} s")]
pub struct TooFast {
    /// Seconds after which it would be let through, if nothing else came; at least 1.
    pub retry_after_s: u64,
}

/// Every rate of a node.
#[derive(Debug)]
pub struct NodeRateLimits {
    opens: KeyedRateLimit<ClientId>,
    attempts: KeyedRateLimit<IpNet>,
    refused: KeyedRateLimit<IpNet>,
    sockets: KeyedRateLimit<DeviceId>,
    calls: KeyedRateLimit<DeviceId>,
    addresses: KeyedRateLimit<DeviceId>,
    typed: KeyedRateLimit<IpNet>,
    typed_of_node: KeyedRateLimit<()>,
    used: Notify,
}

impl NodeRateLimits {
    /// No key has been seen.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        let minute = Duration::from_secs(60);
        let per_socket = minute / rates.sockets_per_min.max(1);
        Self {
            opens: KeyedRateLimit::new(
                per_second(rates.opens_per_s, rates.opens_burst),
                usize::MAX,
            ),
            attempts: KeyedRateLimit::new(
                per_second(rates.attempts_per_s, rates.attempts_burst),
                ADDRESSES,
            ),
            refused: KeyedRateLimit::new(
                per_second(rates.attempts_per_s, rates.attempts_burst),
                ADDRESSES,
            ),
            sockets: KeyedRateLimit::new(every(per_socket, rates.sockets_per_min), usize::MAX),
            calls: KeyedRateLimit::new(
                per_second(rates.calls_per_s, rates.calls_burst),
                usize::MAX,
            ),
            addresses: KeyedRateLimit::new(every(ADDRESS_EVERY, ADDRESSES_AT_ONCE), usize::MAX),
            typed: KeyedRateLimit::new(
                per_second(TYPED_OF_ADDRESS.0, TYPED_OF_ADDRESS.1),
                ADDRESSES,
            ),
            typed_of_node: KeyedRateLimit::new(
                per_second(TYPED_OF_NODE.0, TYPED_OF_NODE.1),
                usize::MAX,
            ),
            used: Notify::new(),
        }
    }

    /// A client opens a ceremony, for any user.
    ///
    /// # Errors
    /// [`TooFast`].
    pub fn open(&self, client: ClientId) -> Result<(), TooFast> {
        self.used.notify_one();
        self.opens.admit(&client)
    }

    /// A peer at this address makes an attempt that needs no credential yet.
    ///
    /// # Errors
    /// [`TooFast`].
    pub fn attempt(&self, address: IpAddr) -> Result<(), TooFast> {
        self.used.notify_one();
        self.attempts.admit(&subscriber(address))
    }

    /// The attempt was no good: it costs as much as several.
    pub fn attempt_failed(&self, address: IpAddr) {
        let network = subscriber(address);
        for _ in 1..FAILURE_COSTS {
            if self.attempts.admit(&network).is_err() {
                return;
            }
        }
    }

    /// What this address sent to be verified was not good: a key, a token, a ticket, a card's
    /// answer. With an allowance of its own, of the same size: a client that shares an address with a
    /// guesser can still get a token or pair.
    ///
    /// # Errors
    /// [`TooFast`].
    pub fn refused(&self, address: IpAddr) -> Result<(), TooFast> {
        self.used.notify_one();
        self.refused.admit(&subscriber(address))
    }

    /// A device has authenticated on a new socket.
    ///
    /// # Errors
    /// [`TooFast`].
    pub fn socket(&self, device: DeviceId) -> Result<(), TooFast> {
        self.used.notify_one();
        self.sockets.admit(&device)
    }

    /// A device has proven itself in an HTTP request.
    ///
    /// # Errors
    /// [`TooFast`].
    pub fn call(&self, device: DeviceId) -> Result<(), TooFast> {
        self.used.notify_one();
        self.calls.admit(&device)
    }

    /// A device sets its push address, which each time is an entry of the audit log.
    ///
    /// # Errors
    /// [`TooFast`].
    pub fn push_address(&self, device: DeviceId) -> Result<(), TooFast> {
        self.used.notify_one();
        self.addresses.admit(&device)
    }

    /// A typed pairing code is tried from this address. An address over its own limit takes nothing
    /// from the node's.
    ///
    /// # Errors
    /// [`TooFast`].
    pub fn typed_code(&self, address: IpAddr) -> Result<(), TooFast> {
        self.used.notify_one();
        self.typed.admit(&subscriber(address))?;
        self.typed_of_node.admit(&())
    }

    /// Keys that something is remembered of.
    #[must_use]
    pub fn remembered(&self) -> usize {
        let devices = self.sockets.len() + self.calls.len() + self.addresses.len();
        let others = self.opens.len() + devices;
        let typed = self.typed.len() + self.typed_of_node.len();
        others + self.attempts.len() + self.refused.len() + typed
    }

    /// Periodically forgets keys whose bucket is full again. Sleeps while there are none.
    pub async fn forget_forever(&self) {
        loop {
            self.used.notified().await;
            tokio::time::sleep(FORGET_EVERY).await;
            self.opens.forget();
            self.attempts.forget();
            self.refused.forget();
            self.sockets.forget();
            self.calls.forget();
            self.addresses.forget();
            self.typed.forget();
            self.typed_of_node.forget();
            if self.remembered() > 0 {
                self.used.notify_one();
            }
        }
    }
}

/// The runtime's clock, which tests can stop.
#[derive(Clone, Copy, Debug)]
struct Monotonic {
    start: Instant,
}

impl Clock for Monotonic {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.start.elapsed())
    }
}

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, Monotonic, NoOpMiddleware<Nanos>>;

/// One rate, for each key.
#[derive(Debug)]
pub(crate) struct KeyedRateLimit<K: Hash + Eq + Clone> {
    limiter: Limiter<K>,
    clock: Monotonic,
    most: usize,
    /// The second in which the full map was last searched for keys to forget.
    searched: AtomicU64,
}

impl<K: Hash + Eq + Clone> KeyedRateLimit<K> {
    /// At most so many keys are remembered; while there is no room, other keys are refused.
    pub(crate) fn new(quota: Quota, most: usize) -> Self {
        // Some time before now: the algorithm counts from its clock's zero.
        let clock = Monotonic { start: Instant::now() };
        let limiter = RateLimiter::new(quota, DashMapStateStore::default(), clock);
        Self { limiter, clock, most, searched: AtomicU64::new(0) }
    }

    pub(crate) fn admit(&self, key: &K) -> Result<(), TooFast> {
        if self.most < usize::MAX && self.len() >= self.most {
            // A search walks over every key: a flood of refused calls must not make each of them walk.
            let second = self.clock.start.elapsed().as_secs() + 1;
            if self.searched.swap(second, Ordering::Relaxed) != second {
                self.forget();
            }
            if self.len() >= self.most {
                return Err(TooFast { retry_after_s: FORGET_EVERY.as_secs() });
            }
        }
        self.limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            TooFast { retry_after_s: wait.as_millis().div_ceil(1000).max(1) as u64 }
        })
    }

    /// Forgets keys that could start anew.
    pub(crate) fn forget(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    pub(crate) fn len(&self) -> usize {
        self.limiter.len()
    }
}

fn per_second(rate: u32, burst: u32) -> Quota {
    every(Duration::from_secs(1) / rate.max(1), burst)
}

fn every(pause: Duration, burst: u32) -> Quota {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    // No pause of ours is zero.
    Quota::with_period(pause).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn limits() -> NodeRateLimits {
        NodeRateLimits::new(Rates {
            opens_per_s: 2,
            opens_burst: 3,
            attempts_per_s: 1,
            attempts_burst: 20,
            sockets_per_min: 6,
            ..Rates::default()
        })
    }

    fn client(number: u8) -> ClientId {
        ClientId::from_bytes([number; 16])
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_sets_ten_push_addresses_at_once_and_then_one_in_ten_seconds() {
        let limits = limits();
        let [device, other] = [1, 2].map(|number| DeviceId::from_bytes([number; 16]));
        for _ in 0..10 {
            limits.push_address(device).unwrap();
        }
        assert_eq!(limits.push_address(device), Err(TooFast { retry_after_s: 10 }));
        limits.push_address(other).unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        limits.push_address(device).unwrap();
        limits.push_address(device).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_its_burst_then_its_rate_and_the_others_have_theirs() {
        let limits = limits();
        for _ in 0..3 {
            limits.open(client(1)).unwrap();
        }
        assert_eq!(limits.open(client(1)), Err(TooFast { retry_after_s: 1 }));
        limits.open(client(2)).unwrap();
        tokio::time::advance(Duration::from_millis(500)).await;
        limits.open(client(1)).unwrap();
        limits.open(client(1)).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_as_long_as_it_was_told_is_let_through() {
        let limits = limits();
        let told = loop {
            if let Err(told) = limits.attempt(address(1)) {
                break told;
            }
        };
        tokio::time::advance(Duration::from_secs(told.retry_after_s)).await;
        limits.attempt(address(1)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn failed_attempts_cost_as_much_as_ten() {
        let limits = limits();
        for _ in 0..2 {
            limits.attempt(address(1)).unwrap();
            limits.attempt_failed(address(1));
        }
        limits.attempt(address(1)).unwrap_err();
        limits.attempt(address(2)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_host_does_not_multiply_by_its_own_addresses() {
        let limits = limits();
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        for host in 0..20 {
            limits.attempt(of(&format!("2001:db8::{host:x}"))).unwrap();
        }
        limits.attempt(of("2001:db8::ffff:0:1")).unwrap_err();
        limits.attempt(of("2001:db8:0:1::1")).unwrap();
        // An IPv4 address is one, however it is written.
        for _ in 0..20 {
            limits.attempt(of("::ffff:192.0.2.1")).unwrap();
        }
        limits.attempt(of("192.0.2.1")).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn typed_codes_are_bounded_by_address_and_for_the_node() {
        let limits = limits();
        let allowed =
            |from: u32| (0..100).filter(|_| limits.typed_code(address(from)).is_ok()).count();
        assert_eq!(allowed(1), 20);
        assert_eq!((2..100).map(allowed).sum::<usize>(), 180, "the node has 200");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(allowed(1), 1, "an address has one more");
        assert_eq!((100..200).map(allowed).sum::<usize>(), 19, "and the node 20");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_came_is_forgotten_when_they_could_start_anew() {
        let limits = Arc::new(limits());
        for number in 0..10_000 {
            limits.attempt(address(number)).unwrap();
            limits.socket(DeviceId::from_bytes(u128::from(number).to_be_bytes())).unwrap();
        }
        assert_eq!(limits.remembered(), 20_000);
        let forgetting = Arc::clone(&limits);
        let forgets = async move { forgetting.forget_forever().await };
        tokio::select! {
            () = forgets => {}
            () = tokio::time::sleep(FORGET_EVERY * 3) => {}
        }
        assert_eq!(limits.remembered(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_keys_are_remembered_than_there_is_room_for() {
        let keyed: KeyedRateLimit<u32> = KeyedRateLimit::new(per_second(1, 5), 100);
        for key in 0..100 {
            keyed.admit(&key).unwrap();
        }
        for key in 100..1_000 {
            keyed.admit(&key).unwrap_err();
        }
        assert_eq!(keyed.len(), 100, "strangers are refused while there is no room");
        tokio::time::advance(Duration::from_secs(10)).await;
        keyed.admit(&1_000).unwrap();
        assert_eq!(keyed.len(), 1, "those who could start anew made room");
    }
}
