//! The one task that sends: it holds every endpoint's lane, sleeps until the earliest turn, and
//! keeps a bounded number of deliveries on their way. At the start it takes up what the outbox
//! holds, in pages.
//!
//! It polls nothing and walks nothing for one event: the lanes are ordered by when they wake.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::webhook::{DeliveryState, WebhookFailure};
use fido_relay_proto::{EventId, UnixMillis};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::endpoint::EndpointKey;
use super::endpoint_queue::{AttemptResult, Circuit, EndpointQueue, Turn};
use super::outbox::{self, Delivery};
use super::{WebhookDependencies, attempt};
use crate::ports::{Bucket, StoreError, records};
use crate::security::random;

/// Deliveries of all endpoints that are on their way at once.
const IN_FLIGHT: usize = 256;
/// Records that one page of the walk at the start reads.
const PAGE: usize = 256;
/// Pause before the outbox is read again from a store that did not answer.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Longest sleep, so that a wall clock that was set forward is noticed.
const NAP: Duration = Duration::from_secs(30);
/// What is on its way when the relay stops may still arrive for this long; then it is sent again
/// after the start.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What the dispatcher is told.
#[derive(Debug)]
pub(super) enum Order {
    /// A delivery was stored.
    Due { endpoint: EndpointKey, event: EventId, due: UnixMillis, until: UnixMillis },
    /// An endpoint that was gone is back, or has another URL.
    Reopen(EndpointKey),
    /// An endpoint was removed.
    Forget(EndpointKey),
}

type Flight = BoxFuture<'static, (EndpointKey, EventId, AttemptResult)>;

/// See the module.
pub(super) struct Dispatcher {
    ground: Arc<WebhookDependencies>,
    lanes: HashMap<EndpointKey, EndpointQueue>,
    wakes: BTreeSet<(UnixMillis, EndpointKey)>,
    /// The lanes' entries in `wakes`.
    woken_at: HashMap<EndpointKey, UnixMillis>,
    /// When each lane's longest waiting delivery was due. Which lane wakes first says nothing of
    /// that: one that is held back wakes late.
    dues: BTreeSet<(UnixMillis, EndpointKey)>,
    flights: FuturesUnordered<Flight>,
    waiting: usize,
    open_circuits: usize,
}

impl Dispatcher {
    pub(super) fn new(ground: Arc<WebhookDependencies>) -> Self {
        Self {
            ground,
            lanes: HashMap::new(),
            wakes: BTreeSet::new(),
            woken_at: HashMap::new(),
            dues: BTreeSet::new(),
            flights: FuturesUnordered::new(),
            waiting: 0,
            open_circuits: 0,
        }
    }

    /// Sends until the relay stops.
    pub(super) async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        stopping: CancellationToken,
    ) {
        if stopping.run_until_cancelled(self.take_up()).await.is_none() {
            return;
        }
        loop {
            self.start_what_is_due();
            self.publish_gauges();
            let nap = self.nap();
            tokio::select! {
                () = stopping.cancelled() => break,
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                Some((key, id, landed)) = self.flights.next(), if !self.flights.is_empty() => {
                    self.landed(key, id, landed);
                }
                () = tokio::time::sleep(nap) => {}
            }
        }
        let last = async { while self.flights.next().await.is_some() {} };
        drop(tokio::time::timeout(STOP_LIMIT, last).await);
    }

    /// Everything that waits in the outbox, once what a removal left behind is gone.
    async fn take_up(&mut self) {
        let ground = Arc::clone(&self.ground);
        while let Err(error) = outbox::drop_orphans(&*ground.store).await {
            tracing::error!(%error, "the outbox could not be read, trying again");
            tokio::time::sleep(STORE_PAUSE).await;
        }
        let mut after = String::new();
        let mut taken = 0_u64;
        loop {
            let page = match ground.store.page(Bucket::Outbox, &after, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, "the outbox could not be read, trying again");
                    tokio::time::sleep(STORE_PAUSE).await;
                    continue;
                }
            };
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            for (key, stored) in &page {
                let Some((endpoint, event)) = EndpointKey::of_delivery(key) else { continue };
                let delivery: Delivery = match records::parse(stored) {
                    Ok(delivery) => delivery,
                    Err(error) => {
                        tracing::error!(key, %error, "a delivery record could not be read");
                        continue;
                    }
                };
                if delivery.state == DeliveryState::Dead {
                    continue;
                }
                taken += 1;
                self.with(&endpoint, |lane| lane.recall(delivery.attempts, delivery.hold));
                self.insert(endpoint, event, delivery.due, delivery.until);
            }
            tokio::task::yield_now().await;
        }
        if taken > 0 {
            tracing::info!(taken, "waiting webhook deliveries taken over");
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Due { endpoint, event, due, until } => {
                self.insert(endpoint, event, due, until);
            }
            Order::Reopen(endpoint) => {
                let now = self.ground.clock.now();
                self.with(&endpoint, |lane| lane.reopen(now));
            }
            Order::Forget(endpoint) => self.with(&endpoint, EndpointQueue::clear),
        }
    }

    fn insert(
        &mut self,
        endpoint: EndpointKey,
        event: EventId,
        due: UnixMillis,
        until: UnixMillis,
    ) {
        let taken = self.with(&endpoint, |lane| lane.insert(event, due, until));
        if !taken {
            let ground = Arc::clone(&self.ground);
            self.flights.push(Box::pin(async move {
                if let Err(error) = overflow(&ground, &endpoint, event).await {
                    // It waits in the outbox for the next start.
                    tracing::error!(
                        %error, webhook = %endpoint.id,
                        "a delivery could not be given up"
                    );
                }
                (endpoint, event, AttemptResult::Nothing)
            }));
        }
    }

    fn start_what_is_due(&mut self) {
        let now = self.ground.clock.now();
        while self.flights.len() < IN_FLIGHT {
            let Some((_, key)) = self.wakes.first().filter(|(at, _)| *at <= now).cloned() else {
                return;
            };
            // A lane that has no turn after all says when it wakes, which is then later.
            if let Some(turn) = self.with(&key, |lane| lane.next(now)) {
                let (Turn::Send(id) | Turn::GiveUp(id)) = turn;
                let ground = Arc::clone(&self.ground);
                self.flights.push(Box::pin(async move {
                    let landed = attempt::take(ground, key.clone(), turn).await;
                    (key, id, landed)
                }));
            }
        }
    }

    fn landed(&mut self, key: EndpointKey, id: EventId, landed: AttemptResult) {
        let now = self.ground.clock.now();
        self.with(&key, |lane| lane.landed(id, landed, now, random::below));
    }

    /// Changes a lane and keeps what hangs on it: when it wakes, and the figures.
    fn with<R>(&mut self, key: &EndpointKey, change: impl FnOnce(&mut EndpointQueue) -> R) -> R {
        let lane = self.lanes.entry(key.clone()).or_default();
        let (waiting, circuit, due) = (lane.waiting(), lane.circuit(), lane.oldest_due());
        let result = change(lane);
        let wakes_at = lane.wakes_at();
        if due != lane.oldest_due() {
            if let Some(before) = due {
                self.dues.remove(&(before, key.clone()));
            }
            if let Some(oldest) = lane.oldest_due() {
                self.dues.insert((oldest, key.clone()));
            }
        }
        self.waiting = self.waiting + lane.waiting() - waiting;
        self.open_circuits += usize::from(lane.circuit() == Circuit::Open);
        self.open_circuits -= usize::from(circuit == Circuit::Open);
        if let Some(before) = self.woken_at.remove(key) {
            self.wakes.remove(&(before, key.clone()));
        }
        if let Some(at) = wakes_at {
            self.woken_at.insert(key.clone(), at);
            self.wakes.insert((at, key.clone()));
        }
        if lane.is_idle() {
            self.lanes.remove(key);
        }
        result
    }

    fn nap(&self) -> Duration {
        let earliest = self.wakes.first().filter(|_| self.flights.len() < IN_FLIGHT);
        earliest.map_or(NAP, |(at, _)| {
            Duration::from_millis(at.millis_since(self.ground.clock.now())).min(NAP)
        })
    }

    fn publish_gauges(&self) {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let oldest = self.dues.first().map_or(0, |(due, _)| due.0);
        self.ground.figures.state(count(self.waiting), count(self.open_circuits), oldest);
    }
}

/// A delivery that found its lane full becomes a dead letter at once.
async fn overflow(
    ground: &WebhookDependencies,
    key: &EndpointKey,
    event: EventId,
) -> Result<(), StoreError> {
    let Some(found) = outbox::load(&*ground.store, key, event).await? else { return Ok(()) };
    attempt::give_up(ground, key, found, Some(WebhookFailure::Overflow)).await?;
    outbox::forget_if_removed(&*ground.store, key, event).await.map(drop)
}
