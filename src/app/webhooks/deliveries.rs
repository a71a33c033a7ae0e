//! What has not reached an endpoint: listed, and sent again.

use fido_relay_proto::webhook::{DeliveryState, WebhookEvent, WebhookFailure, WebhookState};
use fido_relay_proto::{EventId, UnixMillis};

use super::dispatcher::Order;
use super::endpoint::Endpoint;
use super::outbox::{self, Delivery};
use super::{WebhookError, Webhooks};
use crate::ports::{Bucket, StoreError, records};

/// Deliveries that one page of a listing holds.
pub const LISTED: usize = 100;
/// Records that a listing reads at most for one page.
const WALKED: usize = 256;
/// A delivery that has not arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Sent as the header `webhook-id`.
    pub id: EventId,
    pub event: WebhookEvent,
    pub at: UnixMillis,
    /// Whether it will still be tried.
    pub state: DeliveryState,
    pub attempts: u32,
    /// What came of the last.
    pub failure: Option<WebhookFailure>,
    /// HTTP status of the last answer, if there was one.
    pub status: Option<u16>,
}

impl Webhooks {
    /// At most [`LISTED`] of the endpoint's deliveries that have not arrived, in the order of
    /// their ids, those after `after`; and where to go on.
    ///
    /// # Errors
    /// The store's.
    pub async fn undelivered(
        &self,
        endpoint: &Endpoint,
        state: Option<DeliveryState>,
        after: Option<EventId>,
    ) -> Result<(Vec<Undelivered>, Option<EventId>), StoreError> {
        let prefix = format!("{}.", endpoint.key());
        let start = after.map_or_else(|| prefix.clone(), |after| endpoint.key().delivery(after));
        let page = self.ground.store.page(Bucket::Outbox, &start, WALKED).await?;
        let walked = page.len();
        let (mut found, mut last) = (Vec::new(), None);
        for (key, stored) in page {
            if !key.starts_with(&prefix) {
                return Ok((found, None));
            }
            let delivery: Delivery = records::parse(&stored)?;
            last = Some(delivery.told.id);
            let Some(event) = delivery.told.kind() else { continue };
            if state.is_none_or(|state| state == delivery.state) {
                found.push(Undelivered {
                    id: delivery.told.id,
                    event,
                    at: delivery.told.at,
                    state: delivery.state,
                    attempts: delivery.attempts,
                    failure: delivery.failure,
                    status: delivery.status,
                });
            }
            if found.len() == LISTED {
                return Ok((found, last));
            }
        }
        Ok((found, last.filter(|_| walked == WALKED)))
    }

    /// Has a dead letter tried again, from now on for 72 hours. One that is being tried already is
    /// left as it is.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`] also for one that has arrived meanwhile: it is kept no longer.
    pub async fn resend(&self, endpoint: &Endpoint, event: EventId) -> Result<(), WebhookError> {
        if endpoint.state == WebhookState::Gone {
            return Err(WebhookError::Gone);
        }
        let (store, key) = (&*self.ground.store, endpoint.key());
        let Some((found, revision)) = outbox::load(store, &key, event).await? else {
            return Err(WebhookError::NotFound);
        };
        let (again, saved) = match found.state {
            DeliveryState::Waiting => (found, Ok(())),
            DeliveryState::Dead => {
                let again = Delivery::new(found.told, self.ground.clock.now());
                let saved = outbox::save(store, &key, revision, &again).await;
                (again, saved)
            }
        };
        // Also where the fate of the write is unknown: if it waits, it is known to the dispatcher,
        // which takes it once however often it is sent.
        let Delivery { due, until, .. } = again;
        self.order(Order::Due { endpoint: key, event, due, until }).await;
        match saved {
            // Another call had it sent again at the same moment.
            Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
