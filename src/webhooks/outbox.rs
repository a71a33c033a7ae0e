//! What endpoints have still to be told, durably: one record for each event and endpoint, under a
//! key that follows from both, so that telling twice makes one delivery.
//!
//! ```text
//!   outbox/<endpoint>.<event>      waiting, or dead; gone once delivered
//!   delivered/<endpoint>.<event>   written before that, so that nothing found again is sent anew
//! ```

use fido_relay_proto::webhook::{DeliveryState, WebhookFailure};
use fido_relay_proto::{EventId, UnixMillis};
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use super::endpoint::{self, EndpointKey};
use super::event::Told;
use super::schedule::RETRIES_S;
use crate::ports::{Bucket, Due, DueRule, Record, Revision, Store, StoreError, records};

/// How long a dead letter is kept, in seconds: two weeks to notice it.
pub(super) const DEAD_S: u64 = 14 * 24 * 60 * 60;
/// How long it is remembered that something was delivered, in seconds. Longer than what is found
/// again is still delivered ([`RETRIES_S`]); a repeated resend is answered as the first as long.
pub(super) const DELIVERED_S: u64 = RETRIES_S + 60 * 60;
/// Records that are removed together, so that they share a flush.
const PAGE: usize = 256;

/// One event on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delivery {
    pub(super) told: Told,
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
    pub(super) fn new(told: Told, now: UnixMillis) -> Self {
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

/// That something was delivered.
#[derive(Serialize, Deserialize)]
struct Receipt {
    until: UnixMillis,
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

impl Record for Receipt {
    fn due(&self) -> Option<Due> {
        Some(Due::removal(self.until))
    }
}

/// The rules of [`Bucket::Outbox`] and [`Bucket::Delivered`].
pub const DUE: [DueRule; 2] = [
    DueRule { bucket: Bucket::Outbox, due: records::due_of::<Delivery> },
    DueRule { bucket: Bucket::Delivered, due: records::due_of::<Receipt> },
];

/// Keeps a delivery, unless it was ever kept before. Gives what waits now, if it does: also one that
/// was stored by a write which seemed to fail.
pub(super) async fn keep(
    store: &dyn Store,
    endpoint: &EndpointKey,
    delivery: Delivery,
) -> Result<Option<Delivery>, StoreError> {
    let key = endpoint.delivery(delivery.told.id);
    if store.load(Bucket::Delivered, &key).await?.is_some() {
        return Ok(None);
    }
    match records::save(store, Bucket::Outbox, &key, Revision::ABSENT, &delivery).await {
        Ok(_) => Ok(Some(delivery)),
        Err(StoreError::Conflict(_)) => {
            let found = load(store, endpoint, delivery.told.id).await?;
            let waits = |found: &Delivery| found.state == DeliveryState::Waiting;
            Ok(found.map(|(found, _)| found).filter(waits))
        }
        Err(error) => Err(error),
    }
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

/// Whether it was delivered already: a crash came before its record was removed.
pub(super) async fn is_delivered(
    store: &dyn Store,
    endpoint: &EndpointKey,
    event: EventId,
) -> Result<bool, StoreError> {
    Ok(store.load(Bucket::Delivered, &endpoint.delivery(event)).await?.is_some())
}

/// Notes that it was delivered, and only then forgets that it had to be.
pub(super) async fn delivered(
    store: &dyn Store,
    endpoint: &EndpointKey,
    (delivery, revision): (&Delivery, Revision),
    now: UnixMillis,
) -> Result<(), StoreError> {
    let key = endpoint.delivery(delivery.told.id);
    let receipt = Receipt { until: now.plus_secs(DELIVERED_S) };
    match records::save(store, Bucket::Delivered, &key, Revision::ABSENT, &receipt).await {
        Ok(_) | Err(StoreError::Conflict(_)) => {}
        Err(error) => return Err(error),
    }
    drop_record(store, endpoint, delivery.told.id, revision).await
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
    for bucket in [Bucket::Outbox, Bucket::Delivered] {
        loop {
            let mut page = store.page(bucket, &prefix, PAGE).await?;
            page.retain(|(key, _)| key.starts_with(&prefix));
            if page.is_empty() {
                break;
            }
            let removed =
                page.iter().map(|(key, stored)| store.remove(bucket, key, stored.revision));
            for outcome in join_all(removed).await {
                match outcome {
                    // Written meanwhile: the next page has it as it is now.
                    Ok(()) | Err(StoreError::Conflict(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
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
    for bucket in [Bucket::Outbox, Bucket::Delivered] {
        while let Some(stored) = store.load(bucket, &key).await? {
            match store.remove(bucket, &key, stored.revision).await {
                Ok(()) | Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(true)
}

/// Forgets what is kept for endpoints that do not exist: a removal did not come to its end. One
/// record of each endpoint is read.
pub(super) async fn drop_orphans(store: &dyn Store) -> Result<(), StoreError> {
    for bucket in [Bucket::Outbox, Bucket::Delivered] {
        let mut after = String::new();
        while let Some((key, _)) = store.page(bucket, &after, 1).await?.pop() {
            after.clone_from(&key);
            let Some((endpoint, _)) = EndpointKey::of_delivery(&key) else { continue };
            if endpoint::load(store, &endpoint).await?.is_none() {
                purge(store, &endpoint).await?;
            }
            // After all of its deliveries, whose ids begin with another letter.
            after = format!("{endpoint}.z");
        }
    }
    Ok(())
}
