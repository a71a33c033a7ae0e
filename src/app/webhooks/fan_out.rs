//! From the journal to the outbox: a delivery for each entry and endpoint that wants it, written in
//! one batch with the cursor. So each entry makes its deliveries once, whenever the process ends.
//!
//! An endpoint that is changed or removed meanwhile fails the batch, and the entry is looked at anew:
//! nothing is written for an endpoint that is gone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::webhook::{WebhookFailure, WebhookState};
use fido_relay_proto::{ClientId, TenantId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dispatcher::Order;
use super::endpoint::{self, Endpoint, EndpointKey};
use super::event::{self, Event};
use super::outbox::Delivery;
use super::{WebhookDependencies, outbox};
use crate::journal::{self, Cursor, EntryPosition, JournalReader};
use crate::ports::{Batch, Bucket, Revision, StoreError};

/// The name of its cursor.
pub(super) const READER: &str = "webhooks";
/// Deliveries of one batch: with a condition on each endpoint and the cursor they fit into one.
const DELIVERIES: usize = 31;
/// First and longest pause before a store that refused is asked again.
const STORE_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Between two moves of the cursor past entries that no endpoint wants.
const CURSOR_EVERY: Duration = Duration::from_secs(5);

type Audience = (TenantId, Option<ClientId>);

pub(super) struct FanOut {
    pub(super) ground: Arc<WebhookDependencies>,
    pub(super) reader: JournalReader<()>,
    /// The first entry whose deliveries are not written.
    pub(super) next: EntryPosition,
    pub(super) orders: mpsc::Sender<Order>,
}

/// Deliveries that are about to be written together.
#[derive(Default)]
struct Draft {
    batch: Batch,
    /// Endpoints that the batch has a condition on.
    checked: HashSet<EndpointKey>,
    orders: Vec<Order>,
    deliveries: usize,
    dead: usize,
}

impl FanOut {
    /// Writes what the journal holds, until the relay stops.
    pub(super) async fn run(mut self, stopping: CancellationToken) {
        let (mut pause, longest) = STORE_PAUSE;
        loop {
            match self.pass().await {
                Ok(true) => {
                    pause = STORE_PAUSE.0;
                    continue;
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "webhook deliveries could not be stored, trying again");
                    if stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        return;
                    }
                    pause = (pause * 2).min(longest);
                    continue;
                }
            }
            tokio::select! {
                () = stopping.cancelled() => break,
                () = self.reader.wait(self.next) => {}
                () = tokio::time::sleep(CURSOR_EVERY) => self.save_cursor().await,
            }
        }
        self.save_cursor().await;
    }

    async fn save_cursor(&mut self) {
        let cursor = Cursor { next: self.next, of: () };
        if let Err(error) = self.reader.save_moved(cursor).await {
            tracing::warn!(%error, "the webhook cursor could not be moved");
        }
    }

    /// Writes the deliveries of some rows; tells whether there were any rows.
    async fn pass(&mut self) -> Result<bool, StoreError> {
        let rows = self.reader.rows(self.next).await?;
        let Some(end) = rows.last().map(|row| EntryPosition::behind(row.position)) else {
            return Ok(false);
        };
        let from = self.next;
        let placed = journal::entries(&rows, from);
        let events = placed.flat_map(|(place, entry)| {
            event::of_entry(entry).into_iter().map(move |event| (place, event))
        });
        let events: Vec<_> = events.collect();
        let mut known = HashSet::new();
        let mut written = 0;
        while written < events.len() {
            match self.write(&events[written..], &known).await {
                Ok(count) => written += count,
                // A crash came within an entry with very many endpoints.
                Err(StoreError::Conflict(record)) if record.bucket == Bucket::Outbox => {
                    known.insert(record.key);
                }
                Err(StoreError::Conflict(record)) if record.bucket == Bucket::Webhooks => {}
                Err(error) => return Err(error),
            }
        }
        self.next = end;
        Ok(true)
    }

    /// Writes the deliveries of the first of these events, as many as one batch takes; gives how
    /// many events are done.
    async fn write(
        &mut self,
        events: &[(EntryPosition, Event)],
        known: &HashSet<Box<str>>,
    ) -> Result<usize, StoreError> {
        let mut endpoints: HashMap<Audience, Vec<(Endpoint, Revision)>> = HashMap::new();
        let (mut draft, mut done) = (Draft::default(), 0);
        for (place, event) in events {
            let audience = (event.tenant.clone(), event.client);
            let endpoints = match endpoints.entry(audience) {
                std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
                std::collections::hash_map::Entry::Vacant(place) => {
                    let store = &*self.ground.store;
                    let found = endpoint::listed(store, &event.tenant, event.client).await?;
                    place.insert(found)
                }
            };
            let wants = endpoints.iter().filter(|(endpoint, _)| {
                let key = endpoint.key().delivery(event.told.id);
                endpoint.wants(event.kind, event.told.at) && !known.contains(key.as_str())
            });
            let wants: Vec<_> = wants.collect();
            if draft.deliveries > 0 && draft.deliveries + wants.len() > DELIVERIES {
                break;
            }
            for some in wants.chunks(DELIVERIES) {
                // Only an event with more endpoints than one batch takes is written in several.
                if draft.deliveries + some.len() > DELIVERIES {
                    self.commit(std::mem::take(&mut draft), *place).await?;
                }
                for (endpoint, revision) in some {
                    draft.add(&self.ground, endpoint, *revision, event)?;
                }
            }
            done += 1;
        }
        if draft.deliveries > 0 {
            let next = events.get(done).map(|(place, _)| *place);
            let last = events.get(done.saturating_sub(1)).map(|(place, _)| place.next());
            if let Some(next) = next.or(last) {
                self.commit(draft, next).await?;
            }
        }
        Ok(done)
    }

    /// Writes deliveries, with the cursor at the first entry that is not done.
    async fn commit(&mut self, draft: Draft, next: EntryPosition) -> Result<(), StoreError> {
        let Draft { batch, orders, dead, .. } = draft;
        self.reader.save(batch, Cursor { next, of: () }).await?;
        self.next = next;
        (0..dead).for_each(|_| self.ground.figures.dead());
        for order in orders {
            // Only a relay that stops has no dispatcher; it waits in the outbox.
            drop(self.orders.send(order).await);
        }
        Ok(())
    }
}

impl Draft {
    fn add(
        &mut self,
        ground: &WebhookDependencies,
        endpoint: &Endpoint,
        revision: Revision,
        event: &Event,
    ) -> Result<(), StoreError> {
        let (now, key) = (ground.clock.now(), endpoint.key());
        let mut delivery = Delivery::new(event.told.clone(), now);
        if endpoint.state == WebhookState::Gone {
            delivery.die(Some(WebhookFailure::Gone), now);
            self.dead += 1;
        } else {
            let Delivery { due, until, .. } = delivery;
            let (endpoint, event) = (key.clone(), event.told.id);
            self.orders.push(Order::Due { endpoint, event, due, until });
        }
        let mut batch = outbox::put(std::mem::take(&mut self.batch), &key, &delivery)?;
        if !self.checked.contains(&key) {
            batch = batch.check(Bucket::Webhooks, &key.to_string(), revision);
            self.checked.insert(key);
        }
        (self.batch, self.deliveries) = (batch, self.deliveries + 1);
        Ok(())
    }
}
