//! What the kernel holds for a relay: its side of TCP connections with their queues, and the files
//! and threads of a process (`man 5 proc`). Linux alone tells.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use tokio::time::{interval, timeout};

/// Nothing that a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One side of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) remote: SocketAddrV4,
    /// Bytes that were written and not acknowledged, and that came and were not read.
    pub(crate) queued: u64,
}

/// The relay's side of every connection at this port that a process holds, or the kernel alone while
/// it has bytes to deliver.
pub(crate) fn at_port(port: u16) -> Vec<Side> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let sides = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote) = (address(fields.next()?), address(fields.next()?));
        // Established, FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING: the others cost next to nothing.
        let stands = ["01", "04", "08", "09", "0B"].contains(&fields.next()?);
        let (sent, came) = fields.next()?.split_once(':')?;
        let bytes = |hex| u64::from_str_radix(hex, 16).unwrap();
        let side = Side { remote, queued: bytes(sent) + bytes(came) };
        (stands && local.port() == port).then_some(side)
    });
    sides.collect()
}

/// The port in the URL of a relay.
pub(crate) fn port_of(url: &str) -> u16 {
    reqwest::Url::parse(url).unwrap().port().unwrap()
}

fn address(field: &str) -> SocketAddrV4 {
    let (ip, port) = field.split_once(':').unwrap();
    let ip = u32::from_str_radix(ip, 16).unwrap().swap_bytes();
    SocketAddrV4::new(Ipv4Addr::from_bits(ip), u16::from_str_radix(port, 16).unwrap())
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) files: usize,
    pub(crate) threads: usize,
}

impl Held {
    pub(crate) fn by(process: u32) -> Self {
        let root = Path::new("/proc").join(process.to_string());
        let entries = |name| std::fs::read_dir(root.join(name)).unwrap().count();
        Self { files: entries("fd"), threads: entries("task") }
    }
}

/// Looks again until it is so.
pub(crate) async fn becomes<T: std::fmt::Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    is_so: impl Fn(&T) -> bool,
) {
    let mut last = look();
    let waiting = async {
        let mut pace = interval(Duration::from_millis(20));
        while !is_so(&last) {
            pace.tick().await;
            last = look();
        }
    };
    if timeout(PATIENCE, waiting).await.is_err() {
        panic!("{what}: still {last:?}");
    }
}
