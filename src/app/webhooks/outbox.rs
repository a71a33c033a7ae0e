//! What endpoints have still to be told, durably: one record for each event and endpoint, under a
//! key that follows from both.
//!
//! ```text
//!   outbox/<endpoint>.<event>      waiting, or dead; gone once delivered
//! ```

use fido_relay_proto::webhook::{DeliveryState, WebhookFailure};
use fido_relay_proto::{EventId, UnixMillis};
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use super::endpoint::{self, EndpointKey};
use super::event::QueuedEvent;
use super::schedule::RETRIES_S;
use crate::ports::{Batch, Bucket, Due, DueRule, Record, Revision, Store, StoreError, records};

/// How long a dead letter is kept, in seconds: two weeks to notice it.
pub(super) const DEAD_S: u64 = 14 * 24 * 60 * 60;
/// Records that are removed together, so that they share a flush.
const PAGE: usize = 256;

/// One event on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delivery {
    pub(super) told: QueuedEvent,
    pub(super) state: DeliveryState,
    /// Tries so far.
    pub(super) attempts: u32,
    /// The next one, while it waits.
    pub(super) due: UnixMillis,
    /// When it is given up, while it waits; when the dead letter is thrown away, afterwards.
    pub(super) until: UnixMillis,
    /// What came of the last try.
    pub(super) failure: Option<WebhookFailure>,
    pub(super) status: Option<u16>,
    /// Until when the endpoint asked for silence, at the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hold: Option<UnixMillis>,
}

impl Delivery {
    /// A delivery that is due at once.
    pub(super) fn new(told: QueuedEvent, now: UnixMillis) -> Self {
        Self {
            told,
            state: DeliveryState::Waiting,
            attempts: 0,
            due: now,
            until: now.plus_secs(RETRIES_S),
            failure: None,
            status: None,
            hold: None,
        }
    }

    /// Given up.
    pub(super) fn die(&mut self, failure: Option<WebhookFailure>, now: UnixMillis) {
        self.state = DeliveryState::Dead;
        self.failure = failure.or(self.failure);
        self.until = now.plus_secs(DEAD_S);
    }
}

impl Record for Delivery {
    /// A waiting delivery is never due for removal.
    fn due(&self) -> Option<Due> {
        match self.state {
            DeliveryState::Waiting => None,
            DeliveryState::Dead => Some(Due::removal(self.until)),
        }
    }
}

/// The rule of [`Bucket::Outbox`].
pub(super) const OUTBOX: DueRule =
    DueRule { bucket: Bucket::Outbox, due: records::due_of::<Delivery> };

/// Adds a delivery that is not stored yet to a batch.
pub(super) fn put(
    batch: Batch,
    endpoint: &EndpointKey,
    delivery: &Delivery,
) -> Result<Batch, StoreError> {
    let key = endpoint.delivery(delivery.told.id);
    records::put(batch, Bucket::Outbox, &key, Revision::ABSENT, delivery)
}

pub(super) async fn load(
    store: &dyn Store,
    endpoint: &EndpointKey,
    event: EventId,
) -> Result<Option<(Delivery, Revision)>, StoreError> {
    records::load(store, Bucket::Outbox, &endpoint.delivery(event)).await
}

pub(super) async fn save(
    store: &dyn Store,
    endpoint: &EndpointKey,
    revision: Revision,
    delivery: &Delivery,
) -> Result<(), StoreError> {
    let key = endpoint.delivery(delivery.told.id);
    records::save(store, Bucket::Outbox, &key, revision, delivery).await.map(drop)
}

/// Forgets a delivery; somebody else may have done so.
pub(super) async fn drop_record(
    store: &dyn Store,
    endpoint: &EndpointKey,
    event: EventId,
    revision: Revision,
) -> Result<(), StoreError> {
    match store.remove(Bucket::Outbox, &endpoint.delivery(event), revision).await {
        Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Forgets all that is kept of an endpoint's deliveries.
pub(super) async fn purge(store: &dyn Store, endpoint: &EndpointKey) -> Result<(), StoreError> {
    let prefix = format!("{endpoint}.");
    loop {
        let mut page = store.page(Bucket::Outbox, &prefix, PAGE).await?;
        page.retain(|(key, _)| key.starts_with(&prefix));
        if page.is_empty() {
            return Ok(());
        }
        let removed =
            page.iter().map(|(key, stored)| store.remove(Bucket::Outbox, key, stored.revision));
        for outcome in join_all(removed).await {
            match outcome {
                // Written meanwhile: the next page has it as it is now.
                Ok(()) | Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Forgets a delivery whose endpoint was removed while it was written; tells whether it was.
pub(super) async fn forget_if_removed(
    store: &dyn Store,
    endpoint: &EndpointKey,
    event: EventId,
) -> Result<bool, StoreError> {
    if endpoint::load(store, endpoint).await?.is_some() {
        return Ok(false);
    }
    let key = endpoint.delivery(event);
    while let Some(stored) = store.load(Bucket::Outbox, &key).await? {
        match store.remove(Bucket::Outbox, &key, stored.revision).await {
            Ok(()) | Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Forgets what is kept for endpoints that do not exist: a removal did not come to its end. One
/// record of each endpoint is read.
pub(super) async fn drop_orphans(store: &dyn Store) -> Result<(), StoreError> {
    let mut after = String::new();
    while let Some((key, _)) = store.page(Bucket::Outbox, &after, 1).await?.pop() {
        after.clone_from(&key);
        let Some((endpoint, _)) = EndpointKey::of_delivery(&key) else { continue };
        if endpoint::load(store, &endpoint).await?.is_none() {
            purge(store, &endpoint).await?;
        }
        // After all of its deliveries, whose ids begin with another letter.
        after = format!("{endpoint}.z");
    }
    Ok(())
}
