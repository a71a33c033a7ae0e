//! Latency of watchers, by each method: many watch with tickets, or as many webhooks are registered,
//! all ceremonies are cancelled at once, and each watcher reports when it has the outcome.
//!
//! Latency counts from the record's time of the step `closed`, which the relay reads before it stores
//! the step, from the same machine's clock: it includes the write and its flush. The floor is the
//! answer of the cancelling call, as the outcome is stored by then and published to no watcher before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fido_relay_kit::clock::Clock as _;
use fido_relay_kit::clock::SystemClock;
use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::http::OpenedCeremony;
use fido_relay_proto::webhook::{WebhookBody, WebhookNews};
use fido_relay_proto::{CeremonyId, CeremonyType, UnixMillis};
use futures::future::{join, try_join_all};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::child::RelayUnderTest;
use super::endpoint::WebhookEndpoints;
use super::phones;
use super::report::{Latencies, Progress};
use super::watchers::{self, OutcomeSeen, WatchMethod};
use crate::command::Failure;

/// Watchers of one ceremony, below the relay's limit.
const EACH: usize = 10;
/// Concurrent calls that are not measured.
const AT_ONCE: usize = 32;
/// Pause for the last watchers to be held before the ceremonies are cancelled.
const SETTLE: Duration = Duration::from_secs(2);
/// Limit for all webhooks to arrive.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct WatchFigures {
    /// By each method.
    pub(super) watchers: usize,
    /// Name of the method, latencies of the cancelling calls and of the watchers.
    pub(super) methods: Vec<(&'static str, Latencies, Latencies)>,
}

/// When each cancelling call was answered.
type Answers = Vec<(CeremonyId, UnixMillis)>;

/// Measures one method after the other.
pub(super) async fn measure(watchers: usize) -> Result<WatchFigures, Failure> {
    let server = RelayUnderTest::start()?;
    let mut methods = Vec::new();
    for (name, method) in [
        ("poll", WatchMethod::Poll),
        ("events", WatchMethod::Events),
        ("socket", WatchMethod::Socket),
    ] {
        let (known, answers) = watched(&server, method, watchers).await?;
        methods.push(figures(name, &known, &answers)?);
    }
    let (known, answers) = delivered(&server, watchers).await?;
    methods.push(figures("webhook", &known, &answers)?);
    Ok(WatchFigures { watchers, methods })
}

fn figures(
    name: &'static str,
    known: &[(CeremonyId, OutcomeSeen)],
    answers: &Answers,
) -> Result<(&'static str, Latencies, Latencies), Failure> {
    let closed: HashMap<_, _> = known.iter().map(|(id, known)| (*id, known.closed)).collect();
    let since = |(id, answered): &(CeremonyId, UnixMillis)| {
        let closed = closed.get(id).ok_or_else(|| Failure::failed("no watcher got an outcome"))?;
        Ok(Duration::from_millis(answered.millis_since(*closed)))
    };
    let answered: Vec<_> = answers.iter().map(since).collect::<Result<_, Failure>>()?;
    let took = |(_, known): &(CeremonyId, OutcomeSeen)| {
        Duration::from_millis(known.here.millis_since(known.closed))
    };
    let latencies = |each| Latencies::new(each, Duration::from_secs(1));
    Ok((name, latencies(answered), latencies(known.iter().map(took).collect())))
}

/// Watches by a method, and cancels all ceremonies once every watcher is held.
async fn watched(
    server: &RelayUnderTest,
    method: WatchMethod,
    watchers: usize,
) -> Result<(Vec<(CeremonyId, OutcomeSeen)>, Answers), Failure> {
    let progress = Progress::new("watching", watchers);
    let ceremonies = open_all(server, watchers).await?;
    let ended = AtomicBool::new(false);
    let http = fido_relay_kit::trust::http_client().no_proxy().build().map_err(Failure::failed)?;
    let watching = (0..watchers).map(|number| {
        let (opened, progress, ended) = (&ceremonies[number / EACH], &progress, &ended);
        let http = &http;
        async move {
            let known = watchers::watch(server, http, method, opened, || progress.step()).await?;
            if ended.load(Ordering::Acquire) {
                return Ok((opened.id, known));
            }
            Err(Failure::failed("a ceremony ended early"))
        }
    });
    let ending = async {
        while progress.done() < watchers {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(SETTLE).await;
        ended.store(true, Ordering::Release);
        cancel_all(server, &ceremonies).await
    };
    let (watched, answers) = join(try_join_all(watching), ending).await;
    progress.end();
    Ok((watched?, answers?))
}

/// The same by webhooks, with as many endpoints as a ceremony has watchers.
async fn delivered(
    server: &RelayUnderTest,
    watchers: usize,
) -> Result<(Vec<(CeremonyId, OutcomeSeen)>, Answers), Failure> {
    let tasks = Tasks::default();
    let progress = Progress::new("delivering", watchers);
    let mut endpoints = WebhookEndpoints::register(server, EACH, &tasks).await?;
    let ceremonies = open_all(server, watchers).await?;
    tokio::time::sleep(SETTLE).await;
    let arriving = async {
        let mut known = Vec::new();
        while known.len() < ceremonies.len() * EACH {
            let Some((here, WebhookBody { news, timestamp })) = endpoints.next().await else {
                return Err(Failure::failed("the webhook endpoints stopped"));
            };
            if let WebhookNews::CeremonyClosed { id, .. } = news {
                known.push((id, OutcomeSeen::at(here, Some(&timestamp))?));
                progress.step();
            }
        }
        Ok(known)
    };
    let arriving = tokio::time::timeout(DELIVERED_WITHIN, arriving);
    let (known, answers) = join(arriving, cancel_all(server, &ceremonies)).await;
    progress.end();
    tasks.stop(STOP_LIMIT).await;
    let late = |_| Failure::failed("some webhooks did not arrive");
    Ok((known.map_err(late)??, answers?))
}

async fn open_all(
    server: &RelayUnderTest,
    watchers: usize,
) -> Result<Vec<OpenedCeremony>, Failure> {
    let opening = stream::iter(0..watchers.div_ceil(EACH)).map(|user| open(server, user));
    opening.buffer_unordered(AT_ONCE).try_collect().await
}

async fn cancel_all(
    server: &RelayUnderTest,
    ceremonies: &[OpenedCeremony],
) -> Result<Answers, Failure> {
    try_join_all(ceremonies.iter().map(|opened| async move {
        server.initiator.cancel(opened.id).await.map_err(Failure::failed)?;
        Ok((opened.id, SystemClock.now()))
    }))
    .await
}

async fn open(server: &RelayUnderTest, user: usize) -> Result<OpenedCeremony, Failure> {
    let mut body = phones::opening(user, CeremonyType::Authentication)?;
    body.timeout_s = Some(600);
    server.initiator.open(&body, &random::token()).await.map_err(Failure::failed)
}
