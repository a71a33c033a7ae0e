//! How soon a sleeping phone has a prompt: from the opening until its push service is given the wake,
//! and until the app has pulled the offer and acknowledged it; at a steady rate, and what the relay's
//! memory does meanwhile.
//!
//! The times are those of the record itself: of the steps `opened`, `woken` and `delivered`. The push
//! service is this process, which takes a wake at once; a real one adds what it takes.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay_proto::http::{CeremonyView, OpenCeremony, OpenedCeremony};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{Binding, CeremonyType, DeviceId, Step, UnixMillis};
use futures::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::child::Server;
use super::phones;
use super::report::{Latencies, Progress};
use crate::command::Failure;
use crate::demo::initiator::Wait;
use crate::demo::narrate::instant;
use crate::phone::{Bed, PairingClient, Phone, PhoneEvent, PullClient, Receiver, Waits};
use crate::softcard::SoftCard;
use fido_relay_kit::clock::Clock as _;
use fido_relay_kit::clock::SystemClock;
use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;

/// How long phones may take to fall asleep.
const ASLEEP_WITHIN: Duration = Duration::from_secs(60);
/// A wake that brought nothing by then brings nothing.
const DELIVERED_WITHIN: Duration = Duration::from_secs(20);
/// Calls under way at once where nothing waits for their time.
const AT_ONCE: usize = 32;
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The figures of one run.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) sleepers: usize,
    /// The calls that open.
    pub(super) opened: Latencies,
    /// From `opened` to `woken`.
    pub(super) woken: Latencies,
    /// From `opened` to `delivered`.
    pub(super) delivered: Latencies,
    /// Wakes a minute, in fact.
    pub(super) per_minute: f64,
    /// Bytes of the relay's memory that an opening leaves behind which wakes no phone.
    pub(super) floor: u64,
    /// The same of one that wakes a phone, after the first tenth of them.
    pub(super) memory: u64,
    /// Openings that no app acknowledged.
    pub(super) missed: usize,
}

/// What one opening led to.
struct Woken {
    answered: Duration,
    woken: Duration,
    delivered: Duration,
}

/// Measures so many sleepers, woken at this rate.
pub(super) async fn measure(
    sleepers: usize,
    per_minute: u32,
    duration: Duration,
) -> Result<Figures, Failure> {
    let server = Server::start_waking(0).await?;
    let tasks = Tasks::default();
    put_to_bed(&server, sleepers, &tasks).await?;
    let every = Duration::from_secs(60) / per_minute;
    let wakes =
        usize::try_from(duration.as_millis() / every.as_millis().max(1)).unwrap_or(1).max(1);
    let floor = floor(&server, sleepers, wakes).await?;
    let (progress, began) = (Progress::new("waking", wakes), Instant::now());
    let warm = AtomicU64::new(0);
    // Each is opened at its own time, whatever became of those before it.
    let each = stream::iter(0..wakes).map(|number| {
        let (server, progress, warm) = (&server, &progress, &warm);
        async move {
            tokio::time::sleep_until(began + every * u32::try_from(number).unwrap_or(u32::MAX))
                .await;
            let woken = wake(server, number % sleepers).await;
            progress.step();
            if number == wakes / 10 {
                warm.store(server.process.memory()?, Ordering::Relaxed);
            }
            woken
        }
    });
    let each: Vec<_> = each.buffer_unordered(wakes).collect().await;
    let took = began.elapsed();
    progress.end();
    let grown = server.process.memory()?.saturating_sub(warm.load(Ordering::Relaxed));
    drop(server);
    tasks.stop(STOP_LIMIT).await;
    let each = each.into_iter().collect::<Result<Vec<_>, Failure>>()?;
    let missed = each.iter().filter(|woken| woken.is_none()).count();
    let each: Vec<_> = each.into_iter().flatten().collect();
    let of = |pick: fn(&Woken) -> Duration| Latencies::new(each.iter().map(pick).collect(), took);
    Ok(Figures {
        sleepers,
        opened: of(|woken| woken.answered),
        woken: of(|woken| woken.woken),
        delivered: of(|woken| woken.delivered),
        per_minute: each.len() as f64 * 60.0 / took.as_secs_f64(),
        floor,
        memory: grown / (wakes - wakes / 10).max(1) as u64,
        missed,
    })
}

/// Pairs phones and lets them sleep, and waits until all do.
async fn put_to_bed(server: &Server, count: usize, tasks: &Tasks) -> Result<(), Failure> {
    let paired = phones::paired(server, count).await?;
    let receiver = Receiver::listen(tasks).await.map_err(Failure::failed)?;
    let client = PullClient::from(&PairingClient::new().map_err(Failure::failed)?);
    let asleep = Arc::new((AtomicUsize::new(0), Notify::new()));
    for paired in paired {
        let subscription = receiver.subscribe().map_err(Failure::failed)?;
        let noted = Arc::clone(&asleep);
        let listener = move |_: DeviceId, event: PhoneEvent| {
            if matches!(event, PhoneEvent::Asleep) {
                noted.0.fetch_add(1, Ordering::Relaxed);
                noted.1.notify_one();
            }
        };
        Phone::new(paired, Arc::new(Mutex::new(SoftCard::new())), Arc::new(Waits))
            .asleep(Bed { subscription, client: client.clone() })
            .connect_with(tasks, Arc::new(listener));
    }
    let all = async {
        while asleep.0.load(Ordering::Relaxed) < count {
            asleep.1.notified().await;
        }
    };
    let late = |_| Failure::failed("some phones do not get to sleep");
    tokio::time::timeout(ASLEEP_WITHIN, all).await.map_err(late)
}

/// What so many openings leave in the relay's memory that wake no phone: of users who have none.
async fn floor(server: &Server, sleepers: usize, count: usize) -> Result<u64, Failure> {
    let progress = Progress::new("floor", count);
    let mut openings = stream::iter(0..count)
        .map(|number| async move {
            let opened = open(server, sleepers + number % sleepers).await?;
            server.initiator.cancel(opened.id).await.map_err(Failure::failed)
        })
        .buffer_unordered(AT_ONCE);
    let (mut done, mut before) = (0, 0);
    while let Some(opened) = openings.next().await {
        opened?;
        if done == count / 10 {
            before = server.process.memory()?;
        }
        done += 1;
        progress.at(done);
    }
    progress.end();
    let grown = server.process.memory()?.saturating_sub(before);
    Ok(grown / (count - count / 10).max(1) as u64)
}

async fn open(server: &Server, user: usize) -> Result<OpenedCeremony, Failure> {
    let body = OpenCeremony {
        ceremony_type: CeremonyType::Authentication,
        username: phones::username(user)?,
        display_name: None,
        device_id: None,
        timeout_s: None,
        binding: Binding::Code,
        message: None,
        transaction: None,
        context: None,
        client_nonce: None,
        prior_auth: PriorAuth::Password,
        show_delivery: true,
        options: Default::default(),
    };
    server.initiator.open(&body, &random::token()).await.map_err(Failure::failed)
}

/// Opens for one phone, waits until its app has the prompt, and takes it back.
async fn wake(server: &Server, user: usize) -> Result<Option<Woken>, Failure> {
    let began = Instant::now();
    let opened = open(server, user).await?;
    let answered = began.elapsed();
    let until =
        SystemClock.now().plus_millis(u64::try_from(DELIVERED_WITHIN.as_millis()).unwrap_or(0));
    let mut since = 0;
    let view = loop {
        let wait = Wait { seconds: 5, since };
        let view = server.initiator.view(opened.id, wait).await.map_err(Failure::failed)?;
        if at(&view, Step::Delivered).is_some() || SystemClock.now() > until {
            break view;
        }
        since = view.seq;
    };
    server.initiator.cancel(opened.id).await.map_err(Failure::failed)?;
    let after =
        |step| Some(Duration::from_millis(at(&view, step)?.millis_since(at(&view, Step::Opened)?)));
    Ok(after(Step::Woken).zip(after(Step::Delivered)).map(|(woken, delivered)| Woken {
        answered,
        woken,
        delivered,
    }))
}

/// When a step was made.
fn at(view: &CeremonyView, step: Step) -> Option<UnixMillis> {
    let made = view.progress.iter().find(|made| made.step == step)?;
    instant(&made.at)
}
