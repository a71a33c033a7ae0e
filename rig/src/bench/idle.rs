//! What an idle phone costs the server's memory: the relay's own over that of a bare socket.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::child::{self, Measured, Server};
use super::phones::{self, Crowd};
use super::report::Progress;
use crate::command::Failure;
use fido_relay_kit::tasks::Tasks;

/// Phones before the first look at the memory: code that runs for the first time, tables that
/// grow for the first time and the allocator's first arenas belong to nobody.
const WARM_UP: usize = 64;
/// Between two looks at a memory that may still change, and how often at most.
const SETTLE: Duration = Duration::from_millis(500);
const LOOKS: u32 = 20;
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug)]
pub(super) struct Figures {
    /// Phones.
    pub(super) phones: usize,
    /// Bytes for each, of a process that holds their bare sockets.
    pub(super) floor: u64,
    /// Bytes for each, of the relay: paired, authenticated, registered, pinged.
    pub(super) relay: u64,
    /// Connections that the floor takes a second.
    pub(super) floor_connects: f64,
    /// Phones that the relay welcomes a second, both ends on this machine.
    pub(super) relay_connects: f64,
    /// Sockets that were lost, or not got at the first try.
    pub(super) lost: usize,
}

/// Measures so many phones.
pub(super) async fn measure(phones: usize) -> Result<Figures, Failure> {
    let (floor, floor_connects) = floor(phones).await?;
    let server = Server::start().await?;
    let mut paired = phones::paired(&server, WARM_UP + phones).await?;
    // What pairing left behind in the heap would be taken up by the phones and not be counted.
    let server = server.restarted()?;
    let socket_url = format!("ws://{}/v1/device/socket", server.process.address());
    for phone in &mut paired {
        phone.socket_url.clone_from(&socket_url);
    }
    let counted = paired.split_off(WARM_UP);
    let (tasks, crowd) = (Tasks::default(), Crowd::default());
    crowd.connect(paired, &tasks).await?;
    let before = settled(&server.process).await?;
    let began = Instant::now();
    crowd.connect(counted, &tasks).await?;
    let took = began.elapsed();
    let after = settled(&server.process).await?;
    let lost = crowd.lost();
    // The server goes first: orderly farewells of thousands of phones are not measured here.
    drop(server);
    tasks.stop(STOP_LIMIT).await;
    Ok(Figures {
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
    let before = settled(&process).await?;
    let began = Instant::now();
    connect(&process, count, &mut sockets).await?;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    let after = settled(&process).await?;
    Ok((each(before, after, count), rate))
}

async fn connect(
    process: &Measured,
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

/// The memory once it no longer changes by more than a page or two for every hundred phones.
async fn settled(process: &Measured) -> Result<u64, Failure> {
    let mut last = process.memory()?;
    for _ in 0..LOOKS {
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
