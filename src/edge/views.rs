//! Cards and webhooks as their bodies show them, for initiators and for the operator.

use fido_relay_proto::http::CardView;
use fido_relay_proto::webhook::{
    DeliveryList, DeliveryState, DeliveryView, WebhookKeyView, WebhookView,
};
use fido_relay_proto::{EventId, Problem, ProblemCode};
use serde::Deserialize;

use crate::app::cards::{Card, CardsElsewhere};
use crate::app::webhooks::{Endpoint, SigningKey, Undelivered, WebhookError, Webhooks};
use crate::edge::problem_response::ProblemResponse;
use crate::ports::StoreError;
use crate::rfc3339;

impl From<CardsElsewhere> for ProblemResponse {
    fn from(error: CardsElsewhere) -> Self {
        Problem::new(ProblemCode::NotSupported).with_detail(error.to_string()).into()
    }
}

pub(in crate::edge) fn card(card: &Card) -> CardView {
    CardView {
        id: card.id,
        registered_at: rfc3339::format(card.registered_at),
        last_used_at: card.last_used_at.map(rfc3339::format),
        aaguid: card.aaguid.map(uuid),
        model: card.model.clone(),
        attestation: card.attestation,
        claimed: card.claimed,
        can_verify_user: card.can_verify_user,
    }
}

/// RFC 9562 section 4.
fn uuid(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| digits.get(part).unwrap_or_default()).join("-")
}

/// The query of `GET …/deliveries`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::edge) struct DeliveryQuery {
    pub(in crate::edge) state: Option<DeliveryState>,
    pub(in crate::edge) after: Option<EventId>,
}

/// A page of undelivered events.
pub(in crate::edge) async fn undelivered(
    webhooks: &Webhooks,
    endpoint: &Endpoint,
    query: DeliveryQuery,
) -> Result<DeliveryList, StoreError> {
    let (found, next) = webhooks.undelivered(endpoint, query.state, query.after).await?;
    let deliveries = found.into_iter().map(delivery).collect();
    Ok(DeliveryList { deliveries, next })
}

fn delivery(found: Undelivered) -> DeliveryView {
    DeliveryView {
        id: found.id,
        event: found.event,
        at: rfc3339::format(found.at),
        state: found.state,
        attempts: found.attempts,
        failure: found.failure,
        status: found.status,
    }
}

pub(in crate::edge) fn webhook(endpoint: &Endpoint) -> WebhookView {
    let key = |key: &SigningKey| WebhookKeyView {
        scheme: key.scheme,
        public_key: key.public_key.clone(),
        created_at: rfc3339::format(key.created_at),
        ends_at: key.ends_at.map(rfc3339::format),
    };
    WebhookView {
        id: endpoint.id,
        url: endpoint.url.clone(),
        events: endpoint.events.clone(),
        state: endpoint.state,
        keys: endpoint.keys.iter().map(key).collect(),
        created_at: rfc3339::format(endpoint.created_at),
    }
}

impl From<WebhookError> for ProblemResponse {
    fn from(error: WebhookError) -> Self {
        match error {
            // The same bytes for every kind of thing.
            WebhookError::NotFound => ProblemCode::NotFound.into(),
            WebhookError::NoClient => {
                Problem::new(ProblemCode::NotFound).with_detail(error.to_string()).into()
            }
            WebhookError::Store(error) => error.into(),
            WebhookError::Keys => ProblemCode::Internal.into(),
            refused @ (WebhookError::Url(_)
            | WebhookError::Lists
            | WebhookError::TooMany
            | WebhookError::TooManyKeys
            | WebhookError::OldKeys
            | WebhookError::Unchanged
            | WebhookError::Gone) => Self::unprocessable(refused.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aaguid_is_written_as_the_metadata_service_writes_it() {
        let bytes = 0x3f59_672f_20aa_4afe_b6f4_7e5e_916b_6d98_u128.to_be_bytes();
        assert_eq!(uuid(bytes), "3f59672f-20aa-4afe-b6f4-7e5e916b6d98");
        assert_eq!(uuid([0; 16]), "00000000-0000-0000-0000-000000000000");
    }
}
