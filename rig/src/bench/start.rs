//! The cost of a start: time until the relay listens, and processor time in the seconds after, with
//! ended ceremonies in the store and, as the floor, without.

use std::time::Duration;

use tokio::time::Instant;

use super::child::{self, ChildProcess};
use super::report::Progress;
use crate::command::Failure;
use crate::host::RelayHost;
use crate::scratch::Scratch;

/// Time after the start in which processor time counts.
const AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct StartFigures {
    pub(super) stored: usize,
    pub(super) floor: StartTiming,
    pub(super) relay: StartTiming,
}

#[derive(Debug)]
pub(super) struct StartTiming {
    /// From the start of the process until it listens.
    pub(super) listens: Duration,
    /// Processor time until ten seconds after that, in microseconds.
    pub(super) processor_us: u64,
}

pub(super) async fn measure(host: &dyn RelayHost, stored: usize) -> Result<StartFigures, Failure> {
    let floor = started(host, 0).await?;
    Ok(StartFigures { stored, floor, relay: started(host, stored).await? })
}

async fn started(host: &dyn RelayHost, stored: usize) -> Result<StartTiming, Failure> {
    let scratch = Scratch::create().map_err(Failure::failed)?;
    // The first start creates keys and files.
    drop(child::serve(&scratch)?);
    let progress = Progress::new("stored", stored);
    let written = |count| progress.at(count);
    host.store_ended_ceremonies(&scratch.data_dir(), stored, &written).await?;
    progress.end();
    let began = Instant::now();
    let process: ChildProcess = child::serve(&scratch)?;
    let listens = began.elapsed();
    tokio::time::sleep(AFTER).await;
    Ok(StartTiming { listens, processor_us: process.processor_us()? })
}
