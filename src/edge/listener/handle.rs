//! One connection as every layer sees it: its slot, and how it is hung up on.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::AcceptLimits;
use super::evicting_limit::{EvictableSlot, EvictingLimit};
use super::hang_up::HangUp;
use super::listener_refusal::ListenerRefusal;
use crate::edge::concurrency::LimitReached;
use crate::metrics::Metrics;

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    limits: AcceptLimits,
    slots: Arc<EvictingLimit>,
    metrics: Metrics,
}

impl Connections {
    pub(super) fn new(limits: AcceptLimits, metrics: Metrics) -> Self {
        let total = limits.connections_per_node;
        // The last tenth is for peers that ask how the node is, read a result or finish what they
        // began.
        let reserve = total / 10;
        let (per_ip, age) = (limits.connections_per_ip, limits.eviction_age);
        let slots = EvictingLimit::with_reserve(per_ip, total, reserve, age);
        Self { limits, slots, metrics }
    }

    #[cfg(feature = "test-support")]
    pub(super) fn open(&self) -> usize {
        self.slots.taken()
    }

    /// Whether the node is short of connections that no newcomer may evict.
    pub(super) fn are_short(&self) -> bool {
        self.slots.kept() > self.slots.high_water()
    }

    /// A new connection from this address.
    pub(super) fn enter(
        self: &Arc<Self>,
        ip: IpAddr,
        is_proxy: bool,
    ) -> Result<Arc<ConnectionHandle>, ListenerRefusal> {
        let hang_up = Arc::new(HangUp::new(self.metrics.clone()));
        let slot = self.slots.acquire(ip, is_proxy, &hang_up).map_err(refused)?;
        Ok(Arc::new(ConnectionHandle {
            connections: Arc::clone(self),
            slot,
            hang_up,
            heard: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
        }))
    }
}

fn refused(reached: LimitReached) -> ListenerRefusal {
    match reached {
        LimitReached::PerKey => ListenerRefusal::ConnectionsPerIp,
        LimitReached::Total => ListenerRefusal::ConnectionsPerNode,
    }
}

#[derive(Debug)]
pub(in crate::edge) struct ConnectionHandle {
    connections: Arc<Connections>,
    slot: EvictableSlot,
    hang_up: Arc<HangUp>,
    /// Bytes came since the last call of [`ConnectionHandle::has_heard`].
    heard: AtomicBool,
    /// Bytes wait to be taken by the peer.
    blocked: AtomicBool,
}

impl ConnectionHandle {
    /// Counts the connection for this address until the peer authenticates: a proxy has named it.
    pub(super) fn count_for(&self, ip: IpAddr) -> Result<(), ListenerRefusal> {
        self.slot.count_for(ip, &self.hang_up).map_err(refused)
    }

    /// A device or a client has authenticated: the connection does not count for its address any
    /// more, and is not evicted.
    pub(in crate::edge) fn authenticated(&self) {
        self.slot.keep();
    }

    /// A trusted proxy counts as authenticated.
    pub(super) fn is_authenticated(&self) -> bool {
        !self.slot.is_evictable()
    }

    /// How long the peer may take none of what waits for it.
    pub(super) fn unread(&self) -> Duration {
        let limits = &self.connections.limits;
        if self.is_authenticated() { limits.unread_known } else { limits.unread }
    }

    /// How long the kernel goes on with a peer. Its clock also runs while a peer with a small
    /// window acknowledges probes and reads on, so this is not the limit of a peer without
    /// progress.
    pub(super) fn kernel_limit(&self) -> Duration {
        self.unread().max(self.connections.limits.answer)
    }

    /// How long the peer may take over all of one answer, if that is bounded.
    pub(super) fn answer(&self) -> Option<Duration> {
        (!self.is_authenticated()).then_some(self.connections.limits.answer)
    }

    pub(in crate::edge) fn hang_up(&self) -> &Arc<HangUp> {
        &self.hang_up
    }

    /// Notes that bytes came.
    pub(super) fn hears(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Whether bytes came since the last call.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    pub(super) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Whether bytes wait to be taken by the peer.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn connections(per_ip: usize, per_node: usize) -> Arc<Connections> {
        let limits = AcceptLimits {
            connections_per_ip: per_ip,
            connections_per_node: per_node,
            ..AcceptLimits::default()
        };
        Arc::new(Connections::new(limits, Metrics::default()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_authenticated_peer_counts_for_the_node_alone() {
        let connections = connections(2, 4);
        let (near, far) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let enter = |ip| connections.enter(ip, false);
        let open = [enter(near).unwrap(), enter(near).unwrap()];
        assert_eq!(enter(near).unwrap_err(), ListenerRefusal::ConnectionsPerIp);
        assert_eq!(open[0].answer(), Some(connections.limits.answer));
        open.iter().for_each(|connection| connection.authenticated());
        assert_eq!(open[0].answer(), None);
        let more = [enter(near).unwrap(), enter(far).unwrap()];
        more.iter().for_each(|connection| connection.authenticated());
        assert_eq!(
            enter(far).unwrap_err(),
            ListenerRefusal::ConnectionsPerNode,
            "all are authenticated"
        );
        drop((open, more));
        assert_eq!(connections.open(), 0);
    }
}
