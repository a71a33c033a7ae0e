//! Latency of wakes: from the opening until the push service has the wake, and until the app has pulled
//! and acknowledged the offer, at a steady rate; and the relay's memory meanwhile.
//!
//! Times are those of the steps `opened`, `woken` and `delivered` in the record. The push service is
//! this process and answers at once; a real one adds its own latency.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay_kit::clock::Clock as _;
use fido_relay_kit::clock::SystemClock;
use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::http::{CeremonyView, OpenedCeremony};
use fido_relay_proto::{CeremonyType, DeviceId, Step, UnixMillis};
use futures::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::child::RelayUnderTest;
use super::phones;
use super::report::{Latencies, Progress};
use crate::command::Failure;
use crate::demo::initiator::LongPoll;
use crate::demo::narrate::parse_timestamp;
use crate::phone::{
    PairingClient, Phone, PhoneEvent, PullClient, PushReceiver, Waits, WakeChannel,
};
use crate::softcard::SoftCard;

/// Limit for all phones to be asleep.
const ASLEEP_WITHIN: Duration = Duration::from_secs(60);
/// A wake without a delivery by then counts as missed.
const DELIVERED_WITHIN: Duration = Duration::from_secs(20);
/// Concurrent calls that are not measured.
const AT_ONCE: usize = 32;
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct WakeFigures {
    pub(super) sleepers: usize,
    /// Latency of the opening call.
    pub(super) opened: Latencies,
    /// From `opened` to `woken`.
    pub(super) woken: Latencies,
    /// From `opened` to `delivered`.
    pub(super) delivered: Latencies,
    /// Wakes a minute as achieved.
    pub(super) per_minute: f64,
    /// Bytes by which an opening without a wake grows the relay's memory.
    pub(super) floor: u64,
    /// The same with a wake, after the first tenth of them.
    pub(super) memory: u64,
    /// Openings without an acknowledgement.
    pub(super) missed: usize,
}

/// The latencies of one opening.
struct WakeTimes {
    answered: Duration,
    woken: Duration,
    delivered: Duration,
}

pub(super) async fn measure(
    sleepers: usize,
    per_minute: u32,
    duration: Duration,
) -> Result<WakeFigures, Failure> {
    let server = RelayUnderTest::start_waking(0)?;
    let tasks = Tasks::default();
    start_sleepers(&server, sleepers, &tasks).await?;
    let every = Duration::from_secs(60) / per_minute;
    let wakes =
        usize::try_from(duration.as_millis() / every.as_millis().max(1)).unwrap_or(1).max(1);
    let floor = floor(&server, sleepers, wakes).await?;
    let (progress, began) = (Progress::new("waking", wakes), Instant::now());
    let warm = AtomicU64::new(0);
    // Each is opened at its own time, independent of those before it.
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
    let of =
        |pick: fn(&WakeTimes) -> Duration| Latencies::new(each.iter().map(pick).collect(), took);
    Ok(WakeFigures {
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

/// Pairs phones and waits until all are asleep.
async fn start_sleepers(
    server: &RelayUnderTest,
    count: usize,
    tasks: &Tasks,
) -> Result<(), Failure> {
    let paired = phones::paired(server, count).await?;
    let receiver = PushReceiver::listen(tasks).await.map_err(Failure::failed)?;
    let client = PullClient::from(&PairingClient::new().map_err(Failure::failed)?);
    let asleep = Arc::new((AtomicUsize::new(0), Notify::new()));
    for paired in paired {
        let subscription = receiver.subscribe().map_err(Failure::failed)?;
        let counter = Arc::clone(&asleep);
        let callback = move |_: DeviceId, event: PhoneEvent| {
            if matches!(event, PhoneEvent::Asleep) {
                counter.0.fetch_add(1, Ordering::Relaxed);
                counter.1.notify_one();
            }
        };
        Phone::new(paired, Arc::new(Mutex::new(SoftCard::new())), Arc::new(Waits))
            .asleep(WakeChannel { subscription, client: client.clone() })
            .connect_with(tasks, Arc::new(callback));
    }
    let all = async {
        while asleep.0.load(Ordering::Relaxed) < count {
            asleep.1.notified().await;
        }
    };
    let late = |_| Failure::failed("some phones do not fall asleep");
    tokio::time::timeout(ASLEEP_WITHIN, all).await.map_err(late)
}

/// Growth of the relay's memory by openings of users without a phone.
async fn floor(server: &RelayUnderTest, sleepers: usize, count: usize) -> Result<u64, Failure> {
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

async fn open(server: &RelayUnderTest, user: usize) -> Result<OpenedCeremony, Failure> {
    let mut body = phones::opening(user, CeremonyType::Authentication)?;
    body.show_delivery = true;
    server.initiator.open(&body, &random::token()).await.map_err(Failure::failed)
}

/// Opens for one phone, waits until its app has the offer, and cancels.
async fn wake(server: &RelayUnderTest, user: usize) -> Result<Option<WakeTimes>, Failure> {
    let began = Instant::now();
    let opened = open(server, user).await?;
    let answered = began.elapsed();
    let until =
        SystemClock.now().plus_millis(u64::try_from(DELIVERED_WITHIN.as_millis()).unwrap_or(0));
    let mut since = 0;
    let view = loop {
        let wait = LongPoll { seconds: 5, since };
        let view = server.initiator.view(opened.id, wait).await.map_err(Failure::failed)?;
        if at(&view, Step::Delivered).is_some() || SystemClock.now() > until {
            break view;
        }
        since = view.seq;
    };
    server.initiator.cancel(opened.id).await.map_err(Failure::failed)?;
    let after =
        |step| Some(Duration::from_millis(at(&view, step)?.millis_since(at(&view, Step::Opened)?)));
    Ok(after(Step::Woken).zip(after(Step::Delivered)).map(|(woken, delivered)| WakeTimes {
        answered,
        woken,
        delivered,
    }))
}

/// The time of a step.
fn at(view: &CeremonyView, step: Step) -> Option<UnixMillis> {
    let made = view.progress.iter().find(|made| made.step == step)?;
    parse_timestamp(&made.at)
}
