//! What is stored costs a start: how long a relay takes until it listens, and what it does in the
//! seconds after, with so many ended ceremonies in its store and, as the floor, with none.

use std::time::Duration;

use fido_relay_proto::http::UpstreamOptions;
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{
    AttemptId, Binding, CeremonyId, CeremonyType, ClientId, TenantId, UnixMillis, Username,
};
use tokio::time::Instant;

use super::child::{self, Measured};
use super::report::Progress;
use crate::app::ceremonies::CeremonyKey;
use crate::backends::embedded::SystemClock;
use crate::cli::Failure;
use crate::cli::scratch::Scratch;
use crate::core::ceremony::{Ceremony, Code, Event, Request};
use crate::core::prompt_limits::Lane;
use crate::ports::{Batch, Bucket, Clock as _, Revision, Store, records};
use crate::security::random;
use crate::serve::DataDirectory;

/// Ceremonies of one batch.
const BATCH: usize = 32;
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

pub(super) async fn measure(stored: usize) -> Result<Figures, Failure> {
    let floor = started(0).await?;
    Ok(Figures { stored, floor, relay: started(stored).await? })
}

async fn started(stored: usize) -> Result<Start, Failure> {
    let scratch = Scratch::create().map_err(Failure::failed)?;
    // The first start makes keys and files.
    drop(child::serve(&scratch)?);
    fill(&scratch, stored).await?;
    let began = Instant::now();
    let process: Measured = child::serve(&scratch)?;
    let listens = began.elapsed();
    tokio::time::sleep(AFTER).await;
    Ok(Start { listens, processor_us: process.processor_us()? })
}

async fn fill(scratch: &Scratch, stored: usize) -> Result<(), Failure> {
    let directory = DataDirectory::at(&scratch.path().join("data"));
    let store = directory.open().map_err(|error| Failure::unstarted(&error))?;
    let progress = Progress::new("stored", stored);
    let mut left = stored;
    while left > 0 {
        let mut batch = Batch::new();
        for _ in 0..left.min(BATCH) {
            let ceremony = ended(SystemClock.now())?;
            let key = CeremonyKey::from(&ceremony).to_string();
            batch = records::put(batch, Bucket::Ceremonies, &key, Revision::ABSENT, &ceremony)
                .map_err(Failure::failed)?;
        }
        store.commit(batch).await.map_err(Failure::failed)?;
        left -= left.min(BATCH);
        progress.at(stored - left);
    }
    progress.end();
    Ok(())
}

/// A ceremony that was opened and taken back.
fn ended(now: UnixMillis) -> Result<Ceremony, Failure> {
    let username = format!("user-{:012x}", random::below(1 << 48));
    let username = Username::try_from(username).map_err(Failure::failed)?;
    let request = Request {
        id: CeremonyId::from_bytes(random::time_ordered(now)),
        tenant: TenantId::default(),
        client_id: ClientId::from_bytes(random::bytes()),
        client_name: "Bench".to_owned().try_into().map_err(Failure::failed)?,
        ceremony_type: CeremonyType::Authentication,
        display_name: username.clone().into(),
        username,
        device_id: None,
        binding: Binding::Code,
        message: None,
        transaction: None,
        context: None,
        client_nonce: None,
        prior_auth: PriorAuth::None,
        browser: None,
        lane: Lane::default(),
        code_alone: true,
        show_delivery: Some(false),
        rp_id: "localhost".to_owned(),
        options: UpstreamOptions::default(),
        opened_at: now,
        deadline: now.plus_secs(120),
    };
    let attempt = AttemptId::from_bytes(random::bytes());
    let mut ceremony = Ceremony::open(request, Code(random::code(6)), attempt, None);
    ceremony.step(now, Event::Cancel);
    Ok(ceremony)
}
