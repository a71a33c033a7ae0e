//! What is stored costs a start: how long a relay takes until it listens, and what it does in the
//! seconds after, with so many ended ceremonies in its store and, as the floor, with none.

use std::time::Duration;

use tokio::time::Instant;

use super::child::{self, Measured};
use super::report::Progress;
use crate::command::Failure;
use crate::host::RelayHost;
use crate::scratch::Scratch;

/// How long the work after a start is watched.
const AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Figures {
    pub(super) stored: usize,
    pub(super) floor: Start,
    pub(super) relay: Start,
}

#[derive(Debug)]
pub(super) struct Start {
    /// From the call of the program until it listens.
    pub(super) listens: Duration,
    /// Microseconds of processor time until ten seconds after that.
    pub(super) processor_us: u64,
}

pub(super) async fn measure(host: &dyn RelayHost, stored: usize) -> Result<Figures, Failure> {
    let floor = started(host, 0).await?;
    Ok(Figures { stored, floor, relay: started(host, stored).await? })
}

async fn started(host: &dyn RelayHost, stored: usize) -> Result<Start, Failure> {
    let scratch = Scratch::create().map_err(Failure::failed)?;
    // The first start makes keys and files.
    drop(child::serve(&scratch)?);
    let progress = Progress::new("stored", stored);
    let written = |count| progress.at(count);
    host.store_ended_ceremonies(&scratch.data_dir(), stored, &written).await?;
    progress.end();
    let began = Instant::now();
    let process: Measured = child::serve(&scratch)?;
    let listens = began.elapsed();
    tokio::time::sleep(AFTER).await;
    Ok(Start { listens, processor_us: process.processor_us()? })
}
