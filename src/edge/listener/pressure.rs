//! Whether the node accepts requests that begin something. Requests that continue or read something
//! and the health checks go on under pressure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::handle::Connections;
use super::listener_refusal::ListenerRefusal;

/// The pressure of the node. Clones share one state.
#[derive(Clone, Debug)]
pub struct Pressure {
    connections: Arc<Connections>,
    memory: Arc<Memory>,
}

/// The last check of the memory.
#[derive(Debug)]
struct Memory {
    /// Resident bytes above which memory is short.
    limit: Option<u64>,
    short: AtomicBool,
}

impl Pressure {
    /// `memory` is in bytes.
    pub(super) fn new(connections: Arc<Connections>, memory: Option<u64>) -> Self {
        let memory = Arc::new(Memory { limit: memory, short: AtomicBool::new(false) });
        Self { connections, memory }
    }

    /// The reason why nothing new may begin now, if there is one.
    #[must_use]
    pub fn refuses(&self) -> Option<ListenerRefusal> {
        if self.memory.short.load(Ordering::Relaxed) {
            return Some(ListenerRefusal::PressureMemory);
        }
        // Unauthenticated peers make room for newcomers, so they are no pressure.
        self.connections.are_short().then_some(ListenerRefusal::PressureConnections)
    }

    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.open()
    }

    /// Checks the memory. Once short, it stays so until a twentieth below the limit, so that the
    /// state does not change with every request.
    pub(super) fn check(&self) {
        let (Some(limit), Some(resident)) = (self.memory.limit, resident()) else { return };
        let was = self.memory.short.load(Ordering::Relaxed);
        let short = resident > if was { limit - limit / 20 } else { limit };
        if short != was {
            self.memory.short.store(short, Ordering::Relaxed);
            let (resident, limit) = (resident / (1024 * 1024), limit / (1024 * 1024));
            if short {
                tracing::error!(resident, limit, "memory is short: new work is refused");
            } else {
                tracing::info!(resident, limit, "memory is sufficient again: new work is accepted");
            }
        }
    }
}

/// Resident bytes of this process (`man 5 proc`); none where there is no /proc.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::edge::listener::handle::tests::connections;

    #[tokio::test(start_paused = true)]
    async fn nine_tenths_of_the_connections_are_enough() {
        let connections = connections(100, 10);
        let pressure = Pressure::new(Arc::clone(&connections), None);
        let enter = || {
            let connection = connections.enter(IpAddr::from([192, 0, 2, 1]), false).unwrap();
            connection.authenticated();
            connection
        };
        let mut open: Vec<_> = std::iter::repeat_with(enter).take(9).collect();
        assert_eq!(pressure.refuses(), None);
        open.push(enter());
        assert_eq!(pressure.refuses(), Some(ListenerRefusal::PressureConnections));
        open.pop();
        assert_eq!(pressure.refuses(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_strangers_is_no_pressure_and_leaves_room_for_newcomers_from_elsewhere() {
        let connections = connections(100, 10);
        let pressure = Pressure::new(Arc::clone(&connections), None);
        let mut flood = Vec::new();
        for host in 0..100 {
            let ip = IpAddr::from([192, 0, 2, host]);
            // All of them are too young to be evicted for one another.
            flood.extend(connections.enter(ip, false));
        }
        assert_eq!(connections.open(), 9);
        assert_eq!(pressure.refuses(), None);
        let phone = connections.enter(IpAddr::from([203, 0, 113, 1]), false).unwrap();
        assert!(!phone.hang_up().is_hung_up());
        assert_eq!((pressure.refuses(), connections.open()), (None, 9));
        assert_eq!(flood.iter().filter(|connection| connection.hang_up().is_hung_up()).count(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn more_memory_than_allowed_is_too_much_until_there_is_enough_again() {
        let connections = connections(1, 1);
        let small = Pressure::new(Arc::clone(&connections), Some(4096));
        small.check();
        assert_eq!(small.refuses(), Some(ListenerRefusal::PressureMemory));
        let large = Pressure::new(connections, Some(1 << 50));
        large.memory.short.store(true, Ordering::Relaxed);
        large.check();
        assert_eq!(large.refuses(), None);
    }
}
