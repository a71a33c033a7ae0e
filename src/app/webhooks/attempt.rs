//! One turn of one delivery: read what is stored, sign, send, store what came of it.

use std::sync::Arc;

use fido_relay_proto::webhook::{DeliveryState, WebhookFailure, WebhookState};
use fido_relay_proto::{EventId, UnixMillis, WireName};

use super::endpoint::{self, Endpoint, EndpointKey};
use super::endpoint_queue::{AttemptResult, Turn};
use super::outbox::{self, Delivery};
use super::{WebhookDependencies, schedule, signing};
use crate::ports::{Answered, OutgoingRequest, Revision, StoreError, Unsent};
use crate::security::random;

/// Pause after the store or the sealing key failed, in seconds.
const OWN_FAULT_S: u64 = 10;

/// What came of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) status: Option<u16>,
    pub(super) failure: Option<WebhookFailure>,
    pub(super) retry_after_s: Option<u64>,
}

/// Signs and sends one event.
pub(super) async fn send(
    ground: &WebhookDependencies,
    endpoint: &Endpoint,
    (id, body): (EventId, &str),
) -> Sent {
    let failed = |failure| Sent { status: None, failure: Some(failure), retry_after_s: None };
    let Ok(url) = ground.sender.permits(&endpoint.url, endpoint.registrar()) else {
        return failed(WebhookFailure::Forbidden);
    };
    let now = ground.clock.now();
    let headers = signing::headers(&endpoint.keys, endpoint.id, &ground.sealer, (id, now), body);
    let Ok(headers) = headers else {
        tracing::error!(webhook = %endpoint.id, "a webhook key cannot be used");
        return failed(WebhookFailure::Internal);
    };
    let registrar = endpoint.registrar();
    let letter = OutgoingRequest { url, registrar, headers, body: body.as_bytes().to_vec() };
    match ground.sender.send(letter).await {
        Ok(Answered { status, retry_after }) => {
            let failure = match status {
                200..=299 => None,
                410 => Some(WebhookFailure::Gone),
                _ => Some(WebhookFailure::Status),
            };
            let retry_after_s = retry_after.map(|asked| asked.seconds(ground.clock.now()));
            Sent { status: Some(status), failure, retry_after_s }
        }
        Err(Unsent::Timeout) => failed(WebhookFailure::Timeout),
        Err(Unsent::Unreachable) => failed(WebhookFailure::Unreachable),
        Err(Unsent::Forbidden) => failed(WebhookFailure::Forbidden),
    }
}

/// Takes one turn to its end.
pub(super) async fn take(
    ground: Arc<WebhookDependencies>,
    key: EndpointKey,
    turn: Turn,
) -> AttemptResult {
    let (Turn::Send(id) | Turn::GiveUp(id)) = turn;
    let turn = async {
        let store = &*ground.store;
        let Some((delivery, revision)) = outbox::load(store, &key, id).await? else {
            return Ok(AttemptResult::Nothing);
        };
        if delivery.state == DeliveryState::Dead {
            return Ok(AttemptResult::Nothing);
        }
        let Some((endpoint, _)) = endpoint::load(store, &key).await? else {
            return Ok(AttemptResult::Nothing);
        };
        let gone = endpoint.state == WebhookState::Gone;
        let now = ground.clock.now();
        if !gone && matches!(turn, Turn::GiveUp(_)) && now < delivery.until {
            // The lane was closed by one that had still seen the endpoint gone.
            return Ok(AttemptResult::Reopened { due: now, until: delivery.until });
        }
        if gone || matches!(turn, Turn::GiveUp(_)) {
            let failure = gone.then_some(WebhookFailure::Gone);
            give_up(&ground, &key, (delivery, revision), failure).await?;
            return Ok(if gone { AttemptResult::Closed } else { AttemptResult::Nothing });
        }
        try_once(&ground, &endpoint, (delivery, revision)).await
    };
    // A removal in the meantime has seen nothing of what was written since.
    let taken = async {
        let landed = turn.await?;
        let removed = outbox::forget_if_removed(&*ground.store, &key, id).await?;
        Ok(if removed { AttemptResult::Nothing } else { landed })
    };
    taken.await.unwrap_or_else(|error: StoreError| {
        tracing::warn!(%error, webhook = %key.id, "a delivery could not be read or stored");
        let now = ground.clock.now();
        // Its true end stands in its record.
        let until = now.plus_secs(schedule::RETRIES_S);
        AttemptResult::Later { due: now.plus_secs(OWN_FAULT_S), until }
    })
}

/// Keeps a delivery as a dead letter.
pub(super) async fn give_up(
    ground: &WebhookDependencies,
    key: &EndpointKey,
    (mut delivery, revision): (Delivery, Revision),
    failure: Option<WebhookFailure>,
) -> Result<(), StoreError> {
    let now = ground.clock.now();
    delivery.die(failure, now);
    let (failure, status) = (delivery.failure, delivery.status);
    let reason = failure.map(WireName).map(tracing::field::display);
    tracing::warn!(
        webhook = %key.id, event = %delivery.told.id, reason, status,
        "webhook delivery given up"
    );
    ground.figures.dead();
    settled(outbox::save(&*ground.store, key, revision, &delivery).await)
}

/// Somebody else changed the record meanwhile: then it is theirs.
fn settled(saved: Result<(), StoreError>) -> Result<(), StoreError> {
    match saved {
        Err(StoreError::Conflict(_)) => Ok(()),
        other => other,
    }
}

async fn try_once(
    ground: &WebhookDependencies,
    endpoint: &Endpoint,
    (mut delivery, revision): (Delivery, Revision),
) -> Result<AttemptResult, StoreError> {
    let (store, key) = (&*ground.store, endpoint.key());
    let id = delivery.told.id;
    let Some(body) = delivery.told.body() else {
        give_up(ground, &key, (delivery, revision), Some(WebhookFailure::Internal)).await?;
        return Ok(AttemptResult::Nothing);
    };
    let Sent { status, failure, retry_after_s } = send(ground, endpoint, (id, &body)).await;
    let now = ground.clock.now();
    let reason = failure.map(WireName).map(tracing::field::display);
    tracing::debug!(webhook = %key.id, event = %id, reason, status, "webhook");
    let Some(failure) = failure else {
        if let Err(error) = outbox::drop_record(store, &key, id, revision).await {
            // It will arrive once more, with the same id.
            tracing::warn!(%error, webhook = %key.id, "a delivery's result could not be stored");
            return Ok(later(now, &delivery));
        }
        ground.figures.delivered();
        return Ok(AttemptResult::Arrived);
    };
    ground.figures.failed();
    delivery.attempts = delivery.attempts.saturating_add(1);
    (delivery.failure, delivery.status) = (Some(failure), status);
    if failure == WebhookFailure::Gone {
        disable(ground, &key).await?;
        give_up(ground, &key, (delivery, revision), None).await?;
        return Ok(AttemptResult::Closed);
    }
    let asked = retry_after_s.filter(|_| matches!(status, Some(429 | 503)));
    let next = schedule::next(now, delivery.until, delivery.attempts, asked, random::below);
    let Some(due) = next else {
        give_up(ground, &key, (delivery, revision), None).await?;
        return Ok(AttemptResult::Dead);
    };
    delivery.due = due;
    delivery.hold = asked.map(|asked| now.plus_secs(asked.min(schedule::RETRY_AFTER_MAX_S)));
    let hold = delivery.hold;
    settled(outbox::save(store, &key, revision, &delivery).await)?;
    if failure == WebhookFailure::Internal {
        return Ok(AttemptResult::Later { due, until: delivery.until });
    }
    Ok(AttemptResult::Failed { due, until: delivery.until, hold })
}

fn later(now: UnixMillis, delivery: &Delivery) -> AttemptResult {
    AttemptResult::Later { due: now.plus_secs(OWN_FAULT_S), until: delivery.until }
}

/// The endpoint said that it wants nothing more.
async fn disable(ground: &WebhookDependencies, key: &EndpointKey) -> Result<(), StoreError> {
    let now = ground.clock.now();
    let changed = endpoint::change(&*ground.store, key, |endpoint| {
        endpoint.leave(now);
        Ok::<(), ()>(())
    });
    changed.await?;
    tracing::warn!(webhook = %key.id, "the endpoint answered 410: deliveries to it stopped");
    Ok(())
}
