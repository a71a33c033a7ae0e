//! Rate and latency of sign-ins: HTTP open, offer, code, challenge, the card's answer, the built-in
//! FIDO2 server's verdict, and the outcome by long poll, every state stored durably. The floor is the
//! smallest HTTP request.

use std::time::Duration;

use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::http::Status;
use fido_relay_proto::{CeremonyType, Outcome};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use super::child::RelayUnderTest;
use super::phones::{self, ConnectedPhones};
use super::report::{Latencies, Progress};
use crate::command::Failure;
use crate::demo::initiator::LongPoll;

/// Sign-ins of each user before the measurement.
const WARM_UP: usize = 1;
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct CeremonyFigures {
    pub(super) in_flight: usize,
    /// `GET /healthz`, equally concurrent.
    pub(super) floor: Latencies,
    pub(super) sign_ins: Latencies,
    /// The relay's processor time for each, in microseconds.
    pub(super) processor_us: u64,
}

/// Measures with `in_flight` users, each of whom signs in repeatedly.
pub(super) async fn measure(
    in_flight: usize,
    duration: Duration,
) -> Result<CeremonyFigures, Failure> {
    let server = RelayUnderTest::start()?;
    let (tasks, phones_online) = (Tasks::default(), ConnectedPhones::default());
    phones_online.connect(phones::paired(&server, in_flight).await?, &tasks).await?;
    let progress = Progress::new("registering", in_flight);
    each_user(in_flight, async |user| {
        ceremony(&server, &phones_online, user, CeremonyType::Registration).await?;
        for _ in 0..WARM_UP {
            ceremony(&server, &phones_online, user, CeremonyType::Authentication).await?;
        }
        progress.step();
        Ok(Vec::new())
    })
    .await?;
    progress.end();

    let floor = floor(&server, in_flight, duration / 3).await?;
    let began_at = server.process.processor_us()?;
    let progress = Progress::new("seconds", usize::try_from(duration.as_secs()).unwrap_or(1));
    let sign_ins = repeated(in_flight, duration, &progress, async |user| {
        ceremony(&server, &phones_online, user, CeremonyType::Authentication).await
    })
    .await?;
    let used = server.process.processor_us()?.saturating_sub(began_at);
    drop(server);
    tasks.stop(STOP_LIMIT).await;
    let processor_us = used / (sign_ins.count().max(1) as u64);
    Ok(CeremonyFigures { in_flight, floor, sign_ins, processor_us })
}

async fn floor(
    server: &RelayUnderTest,
    in_flight: usize,
    duration: Duration,
) -> Result<Latencies, Failure> {
    let http = fido_relay_kit::trust::http_client().no_proxy().build().map_err(Failure::failed)?;
    let url = format!("{}healthz", server.url);
    let progress = Progress::new("floor", usize::try_from(duration.as_secs()).unwrap_or(1));
    repeated(in_flight, duration, &progress, async |_| {
        let answer = http.get(&url).send().await.map_err(Failure::failed)?;
        answer.error_for_status().map_err(Failure::failed)?;
        Ok(())
    })
    .await
}

/// Repeats a call for every user until the time is up.
async fn repeated(
    users: usize,
    duration: Duration,
    progress: &Progress,
    once: impl AsyncFn(usize) -> Result<(), Failure>,
) -> Result<Latencies, Failure> {
    let began = Instant::now();
    let each = each_user(users, async |user| {
        let mut each = Vec::new();
        while began.elapsed() < duration {
            let one = Instant::now();
            once(user).await?;
            each.push(one.elapsed());
            progress.at(usize::try_from(began.elapsed().as_secs()).unwrap_or_default());
        }
        Ok(each)
    })
    .await?;
    let took = began.elapsed();
    progress.end();
    Ok(Latencies::new(each, took))
}

/// Runs all users concurrently and joins their latencies.
async fn each_user(
    users: usize,
    one: impl AsyncFn(usize) -> Result<Vec<Duration>, Failure>,
) -> Result<Vec<Duration>, Failure> {
    let all = stream::iter(0..users).map(|user| one(user)).buffer_unordered(users.max(1));
    Ok(all.try_collect::<Vec<_>>().await?.concat())
}

async fn ceremony(
    server: &RelayUnderTest,
    phones_online: &ConnectedPhones,
    user: usize,
    ceremony_type: CeremonyType,
) -> Result<(), Failure> {
    let body = phones::opening(user, ceremony_type)?;
    let opened = server.initiator.open(&body, &random::token()).await.map_err(Failure::failed)?;
    let code = opened.code.ok_or_else(|| Failure::failed("a ceremony has no code"))?;
    phones_online.codes.provide(opened.id, code);
    // The highest step is claimed to be known, so only the outcome ends the poll.
    let wait = LongPoll { seconds: 55, since: u32::MAX };
    loop {
        let view = server.initiator.view(opened.id, wait).await.map_err(Failure::failed)?;
        match view.status {
            Status::Pending => {}
            Status::Ended(Outcome::Succeeded) => return Ok(()),
            Status::Ended(outcome) => {
                let outcome = crate::demo::narrate::outcome_text(outcome, view.reason);
                return Err(Failure::failed(format!("a ceremony ended as {outcome}")));
            }
        }
    }
}
