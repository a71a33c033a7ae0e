//! From what happened to what is to be sent: a witness that queues, and a task that writes each
//! event into the outbox of every endpoint that wants it.
//!
//! A crash between a change and its record loses nothing: at the start every ceremony is told
//! again, and what was recorded or delivered before is known by its key. What happens beside
//! ceremonies (a device paired, a card removed) is not found again; that window is open for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::webhook::{WebhookFailure, WebhookState};
use fido_relay_proto::{ClientId, TenantId};
use futures::future::{BoxFuture, join_all};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dispatcher::Order;
use super::endpoint::{self, Endpoint};
use super::event::{self, Event};
use super::outbox::{self, Delivery};
use super::{Ground, schedule};
use crate::ceremony::{self, Ceremony};
use crate::ports::{SecurityEvent, StoreError, Witness};

/// Events that wait to be recorded; more make whoever tells them wait.
pub(super) const QUEUE: usize = 1024;
/// Events that are recorded together, so that they share a flush.
const BATCH: usize = 256;
/// First and longest pause before a store that refused is asked again.
const STORE_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Hears of everything and queues what endpoints may want to know.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    pub(super) queue: mpsc::Sender<Event>,
}

impl Recorder {
    async fn take(&self, ceremony: &Ceremony) {
        for event in event::of_ceremony(ceremony) {
            // Only a relay that stops has nobody there; the event is found again.
            drop(self.queue.send(event).await);
        }
    }
}

impl Witness for Recorder {
    fn changed<'a>(
        &'a self,
        ceremony: &'a Ceremony,
        _: Option<&'a ceremony::Event>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(self.take(ceremony))
    }

    fn found<'a>(&'a self, ceremony: &'a Ceremony) -> BoxFuture<'a, ()> {
        Box::pin(self.take(ceremony))
    }

    fn noted<'a>(&'a self, event: &'a SecurityEvent) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(event) = event::of_happening(event) {
                drop(self.queue.send(event).await);
            }
        })
    }
}

/// Writes what is queued into the outbox until the relay stops.
pub(super) async fn run(
    ground: Arc<Ground>,
    mut queue: mpsc::Receiver<Event>,
    orders: mpsc::Sender<Order>,
    stopping: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let received = stopping.run_until_cancelled(queue.recv_many(&mut batch, BATCH)).await;
        match received {
            Some(0) => return,
            Some(_) => {}
            None => {
                // What was told before it stopped is stored; the next start sends it.
                while let Ok(event) = queue.try_recv() {
                    batch.push(event);
                }
                if let Err(error) = record(&ground, &batch, &orders).await {
                    tracing::warn!(%error, events = batch.len(), "webhook events were not stored");
                }
                return;
            }
        }
        let (mut pause, longest) = STORE_PAUSE;
        while let Err(error) = record(&ground, &batch, &orders).await {
            tracing::warn!(%error, "webhook deliveries could not be stored, trying again");
            if stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(longest);
        }
        batch.clear();
    }
}

type Audience = (TenantId, Option<ClientId>);

/// Once more does no harm: what is recorded already is not recorded anew.
async fn record(
    ground: &Ground,
    batch: &[Event],
    orders: &mpsc::Sender<Order>,
) -> Result<(), StoreError> {
    let now = ground.clock.now();
    let mut endpoints: HashMap<Audience, Vec<Endpoint>> = HashMap::new();
    for event in batch {
        if let Entry::Vacant(place) = endpoints.entry((event.tenant.clone(), event.client)) {
            place.insert(endpoint::list(&*ground.store, &event.tenant, event.client).await?);
        }
    }
    let mut kept = Vec::new();
    for event in batch {
        // Found again so late that it was delivered or given up long ago, and that is forgotten.
        if event.told.at.plus_secs(schedule::RETRIES_S) <= now {
            continue;
        }
        let audience = (event.tenant.clone(), event.client);
        for endpoint in endpoints.get(&audience).into_iter().flatten() {
            if endpoint.wants(event.kind, event.told.at) {
                kept.push(keep(ground, endpoint, event, orders));
            }
        }
    }
    join_all(kept).await.into_iter().collect()
}

async fn keep(
    ground: &Ground,
    endpoint: &Endpoint,
    event: &Event,
    orders: &mpsc::Sender<Order>,
) -> Result<(), StoreError> {
    let now = ground.clock.now();
    let mut delivery = Delivery::new(event.told.clone(), now);
    let key = endpoint.key();
    if endpoint.state == WebhookState::Gone {
        delivery.die(Some(WebhookFailure::Gone), now);
        if outbox::keep(&*ground.store, &key, delivery).await?.is_some() {
            ground.figures.dead();
            outbox::forget_if_removed(&*ground.store, &key, event.told.id).await?;
        }
        return Ok(());
    }
    // One that waited already is known to the dispatcher, or not: taken up twice, it is sent once.
    if let Some(waits) = outbox::keep(&*ground.store, &key, delivery).await? {
        let Delivery { due, until, .. } = waits;
        let order = Order::Due { endpoint: key, event: event.told.id, due, until };
        // Only a relay that stops has nobody there; it waits in the outbox.
        drop(orders.send(order).await);
    }
    Ok(())
}
