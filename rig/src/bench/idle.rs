//! The relay's memory for an idle phone, over that of a bare socket.

use std::time::Duration;

use fido_relay_kit::tasks::Tasks;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::child::{self, ChildProcess, RelayUnderTest};
use super::phones::{self, ConnectedPhones};
use super::report::Progress;
use crate::command::Failure;

/// Phones before the first reading of memory, so that first allocations and tables do not count.
const WARM_UP: usize = 64;
/// Interval of readings until memory is stable, and their limit.
const SETTLE: Duration = Duration::from_millis(500);
const READINGS: u32 = 20;
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct IdleFigures {
    pub(super) phones: usize,
    /// Bytes for each bare socket.
    pub(super) floor: u64,
    /// Bytes of the relay for each phone: paired, authenticated, registered, pinged.
    pub(super) relay: u64,
    /// Connections a second.
    pub(super) floor_connects: f64,
    /// Phones welcomed a second, both ends on this machine.
    pub(super) relay_connects: f64,
    /// Connections that were lost or failed.
    pub(super) lost: usize,
}

pub(super) async fn measure(phones: usize) -> Result<IdleFigures, Failure> {
    let (floor, floor_connects) = floor(phones).await?;
    let server = RelayUnderTest::start()?;
    let mut paired = phones::paired(&server, WARM_UP + phones).await?;
    // Free heap left by pairing would be reused by the phones and not be counted.
    let server = server.restarted()?;
    let socket_url = format!("ws://{}/v1/device/socket", server.process.address());
    for phone in &mut paired {
        phone.socket_url.clone_from(&socket_url);
    }
    let counted = paired.split_off(WARM_UP);
    let (tasks, phones_online) = (Tasks::default(), ConnectedPhones::default());
    phones_online.connect(paired, &tasks).await?;
    let before = stable_memory(&server.process).await?;
    let began = Instant::now();
    phones_online.connect(counted, &tasks).await?;
    let took = began.elapsed();
    let after = stable_memory(&server.process).await?;
    let lost = phones_online.lost();
    // The relay is killed first: the orderly end of thousands of phones is not measured.
    drop(server);
    tasks.stop(STOP_LIMIT).await;
    Ok(IdleFigures {
        phones,
        floor,
        relay: each(before, after, phones),
        floor_connects,
        relay_connects: phones as f64 / took.as_secs_f64(),
        lost,
    })
}

async fn floor(count: usize) -> Result<(u64, f64), Failure> {
    let process = child::floor()?;
    let mut sockets = Vec::with_capacity(WARM_UP + count);
    connect(&process, WARM_UP, &mut sockets).await?;
    let before = stable_memory(&process).await?;
    let began = Instant::now();
    connect(&process, count, &mut sockets).await?;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    let after = stable_memory(&process).await?;
    Ok((each(before, after, count), rate))
}

async fn connect(
    process: &ChildProcess,
    count: usize,
    sockets: &mut Vec<TcpStream>,
) -> Result<(), Failure> {
    let progress = Progress::new("floor", count);
    for _ in 0..count {
        let socket = TcpStream::connect(process.address()).await;
        sockets.push(socket.map_err(|error| {
            Failure::failed(format!("{error}: does `ulimit -n` allow {count} sockets?"))
        })?);
        progress.step();
    }
    progress.end();
    Ok(())
}

/// Memory once it is stable within 64 KiB.
async fn stable_memory(process: &ChildProcess) -> Result<u64, Failure> {
    let mut last = process.memory()?;
    for _ in 0..READINGS {
        tokio::time::sleep(SETTLE).await;
        let now = process.memory()?;
        if now.abs_diff(last) <= 64 * 1024 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

fn each(before: u64, after: u64, count: usize) -> u64 {
    after.saturating_sub(before) / (count.max(1) as u64)
}
