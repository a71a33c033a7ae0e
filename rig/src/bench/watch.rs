//! How long after a ceremony ends whoever waits knows, by each way to wait: many watch with
//! tickets, or as many webhooks are to be sent, all ceremonies are cancelled at once, and a
//! watcher's clock stops when it has the outcome.
//!
//! It runs from the time that the record itself gives to the step `closed`, which the relay takes
//! before it stores that step: this process reads the same machine's clock. So a figure holds the
//! write and its flush, and none can be too small. Beside it, when the call that cancels is
//! answered: the end is stored by then, and nobody can be told before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fido_relay_proto::http::{OpenCeremony, OpenedCeremony};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::webhook::{WebhookBody, WebhookNews};
use fido_relay_proto::{Binding, CeremonyId, CeremonyType, UnixMillis};
use futures::future::{join, try_join_all};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::child::Server;
use super::endpoint::Endpoints;
use super::phones;
use super::report::{Latencies, Progress};
use super::watchers::{self, Known, Road};
use crate::command::Failure;
use fido_relay_kit::clock::Clock as _;
use fido_relay_kit::clock::SystemClock;
use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;

/// Watchers of one ceremony: fewer than the relay's default allows.
const EACH: usize = 10;
/// Calls under way at once before the clock runs.
const AT_ONCE: usize = 32;
/// For the last watchers to be held before the ceremonies end.
const SETTLE: Duration = Duration::from_secs(2);
/// All webhooks arrive within this, or something is wrong.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug)]
pub(super) struct Figures {
    /// Of each road.
    pub(super) watchers: usize,
    /// Each road's name, the calls that cancel, and the watchers.
    pub(super) roads: Vec<(&'static str, Latencies, Latencies)>,
}

/// When each ceremony's cancelling call was answered.
type Answers = Vec<(CeremonyId, UnixMillis)>;

/// Measures with so many watchers, by one road after the other.
pub(super) async fn measure(watchers: usize) -> Result<Figures, Failure> {
    let server = Server::start().await?;
    let mut roads = Vec::new();
    for (name, road) in [("poll", Road::Poll), ("events", Road::Events), ("socket", Road::Socket)] {
        let (known, answers) = watched(&server, road, watchers).await?;
        roads.push(figures(name, &known, &answers)?);
    }
    let (known, answers) = told(&server, watchers).await?;
    roads.push(figures("webhook", &known, &answers)?);
    Ok(Figures { watchers, roads })
}

fn figures(
    name: &'static str,
    known: &[(CeremonyId, Known)],
    answers: &Answers,
) -> Result<(&'static str, Latencies, Latencies), Failure> {
    let closed: HashMap<_, _> = known.iter().map(|(id, known)| (*id, known.closed)).collect();
    let since = |(id, answered): &(CeremonyId, UnixMillis)| {
        let closed = closed.get(id).ok_or_else(|| Failure::failed("nobody heard of an end"))?;
        Ok(Duration::from_millis(answered.millis_since(*closed)))
    };
    let answered: Vec<_> = answers.iter().map(since).collect::<Result<_, Failure>>()?;
    let took = |(_, known): &(CeremonyId, Known)| {
        Duration::from_millis(known.here.millis_since(known.closed))
    };
    let latencies = |each| Latencies::new(each, Duration::from_secs(1));
    Ok((name, latencies(answered), latencies(known.iter().map(took).collect())))
}

/// When each watcher knew, and each cancelling call was answered.
async fn watched(
    server: &Server,
    road: Road,
    watchers: usize,
) -> Result<(Vec<(CeremonyId, Known)>, Answers), Failure> {
    let progress = Progress::new("watching", watchers);
    let ceremonies = open_all(server, watchers).await?;
    let ended = AtomicBool::new(false);
    let http = fido_relay_kit::trust::http_client().no_proxy().build().map_err(Failure::failed)?;
    let watching = (0..watchers).map(|number| {
        let (opened, progress, ended) = (&ceremonies[number / EACH], &progress, &ended);
        let http = &http;
        async move {
            let known = watchers::watch(server, http, road, opened, || progress.step()).await?;
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

/// The same for webhooks: as many endpoints as a ceremony has watchers.
async fn told(
    server: &Server,
    watchers: usize,
) -> Result<(Vec<(CeremonyId, Known)>, Answers), Failure> {
    let tasks = Tasks::default();
    let progress = Progress::new("delivering", watchers);
    let mut endpoints = Endpoints::register(server, EACH, &tasks).await?;
    let ceremonies = open_all(server, watchers).await?;
    tokio::time::sleep(SETTLE).await;
    let arriving = async {
        let mut known = Vec::new();
        while known.len() < ceremonies.len() * EACH {
            let Some((here, WebhookBody { news, timestamp })) = endpoints.next().await else {
                return Err(Failure::failed("the endpoints are gone"));
            };
            if let WebhookNews::CeremonyClosed { id, .. } = news {
                known.push((id, Known::at(here, Some(&timestamp))?));
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

async fn open_all(server: &Server, watchers: usize) -> Result<Vec<OpenedCeremony>, Failure> {
    let opening = stream::iter(0..watchers.div_ceil(EACH)).map(|user| open(server, user));
    opening.buffer_unordered(AT_ONCE).try_collect().await
}

/// All at once.
async fn cancel_all(server: &Server, ceremonies: &[OpenedCeremony]) -> Result<Answers, Failure> {
    try_join_all(ceremonies.iter().map(|opened| async move {
        server.initiator.cancel(opened.id).await.map_err(Failure::failed)?;
        Ok((opened.id, SystemClock.now()))
    }))
    .await
}

async fn open(server: &Server, user: usize) -> Result<OpenedCeremony, Failure> {
    let body = OpenCeremony {
        ceremony_type: CeremonyType::Authentication,
        username: phones::username(user)?,
        display_name: None,
        device_id: None,
        timeout_s: Some(600),
        binding: Binding::Code,
        message: None,
        transaction: None,
        context: None,
        client_nonce: None,
        prior_auth: PriorAuth::Password,
        show_delivery: false,
        options: Default::default(),
    };
    server.initiator.open(&body, &random::token()).await.map_err(Failure::failed)
}
