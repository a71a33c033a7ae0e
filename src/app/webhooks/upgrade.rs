//! The first start after an upgrade from a version without a journal: ends that it did not tell
//! before it ended are told once. What it had delivered is in a bucket that nothing writes any more.

use fido_relay_proto::UnixMillis;
use serde::{Deserialize, Serialize};

use super::event;
use super::outbox::{self, Delivery};
use super::{WebhookDependencies, endpoint, schedule};
use crate::core::ceremony::Ceremony;
use crate::ports::{Batch, Bucket, Due, DueRule, Record, StoreError, records};

/// Records that one page of the walk reads.
const PAGE: usize = 256;

/// That something was delivered, by an earlier version.
#[derive(Serialize, Deserialize)]
struct EarlierReceipt {
    until: UnixMillis,
}

impl Record for EarlierReceipt {
    fn due(&self) -> Option<Due> {
        Some(Due::removal(self.until))
    }
}

/// The rule of [`Bucket::Delivered`].
pub(super) const DELIVERED: DueRule =
    DueRule { bucket: Bucket::Delivered, due: records::due_of::<EarlierReceipt> };

/// Writes a delivery for each end of the time in which deliveries are tried that an endpoint wants
/// and that neither waits nor was delivered. Cut off, it begins anew.
pub(super) async fn recover(ground: &WebhookDependencies) -> Result<(), StoreError> {
    let (store, now) = (&*ground.store, ground.clock.now());
    let mut after = String::new();
    loop {
        let page = store.page(Bucket::Ceremonies, &after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after.clone_from(last);
        for (_, stored) in &page {
            let Ok(ceremony) = records::parse::<Ceremony>(stored) else { continue };
            let is_late =
                |event: &event::Event| event.told.at.plus_secs(schedule::RETRIES_S) <= now;
            for event in event::of_ceremony(&ceremony).iter().filter(|event| !is_late(event)) {
                for endpoint in endpoint::list(store, &event.tenant, event.client).await? {
                    let (key, id) = (endpoint.key(), event.told.id);
                    let wants = endpoint.wants(event.kind, event.told.at);
                    let name = key.delivery(id);
                    if !wants || store.load(Bucket::Delivered, &name).await?.is_some() {
                        continue;
                    }
                    let delivery = Delivery::new(event.told.clone(), now);
                    match store.commit(outbox::put(Batch::new(), &key, &delivery)?).await {
                        Ok(_) | Err(StoreError::Conflict(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}
