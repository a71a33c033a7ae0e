//! Something that happened, as endpoints are told it. Its id follows from what it is about, so
//! that the same thing told twice, or found again after a crash, is one event.

use aws_lc_rs::digest::{SHA256, digest};
use fido_relay_proto::webhook::{WebhookBody, WebhookEvent, WebhookNews};
use fido_relay_proto::{ClientId, EventId, Outcome, Reason, Step, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::ceremony::{Ceremony, Fact, Kind, Request};
use crate::ports::{Happening, SecurityEvent};
use crate::rfc3339;

/// What happened, and whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) tenant: TenantId,
    /// The client whose endpoints are told; none: those of every client of the tenant.
    pub(super) client: Option<ClientId>,
    pub(super) kind: WebhookEvent,
    pub(super) told: Told,
}

/// What is kept of an event until it is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) id: EventId,
    pub(super) at: UnixMillis,
    pub(super) news: WebhookNews,
}

impl Told {
    /// The bytes that are sent and signed, the same at every try.
    pub(super) fn body(&self) -> Option<String> {
        let body = WebhookBody { news: self.news.clone(), timestamp: rfc3339::format(self.at) };
        serde_json::to_string(&body).ok()
    }

    pub(super) const fn kind(&self) -> Option<WebhookEvent> {
        match self.news {
            WebhookNews::CeremonyClosed { .. } => Some(WebhookEvent::CeremonyClosed),
            WebhookNews::DevicePaired { .. } => Some(WebhookEvent::DevicePaired),
            WebhookNews::DeviceRevoked { .. } => Some(WebhookEvent::DeviceRevoked),
            WebhookNews::CardRegistered { .. } => Some(WebhookEvent::CardRegistered),
            WebhookNews::CardRemoved { .. } => Some(WebhookEvent::CardRemoved),
            WebhookNews::CardCloneSuspected { .. } => Some(WebhookEvent::CardCloneSuspected),
            WebhookNews::UserNotMe { .. } => Some(WebhookEvent::UserNotMe),
            WebhookNews::Test { .. } => None,
        }
    }
}

/// What a ceremony's end has to tell; nothing while it is open.
pub(super) fn of_ceremony(ceremony: &Ceremony) -> Vec<Event> {
    let end = ceremony.closed();
    end.map_or_else(Vec::new, |end| of_end(&ceremony.request, end.at, end.outcome, end.reason))
}

/// What one fact of a ceremony has to tell.
pub(super) fn of_fact(request: &Request, fact: &Fact) -> Vec<Event> {
    match fact.kind {
        Kind::Closed { outcome, reason } => of_end(request, fact.at, outcome, reason),
        // Whether anybody was asked is not for the initiator to know, and the rest is progress.
        Kind::Opened
        | Kind::Sent
        | Kind::Delivered
        | Kind::WrongCode { .. }
        | Kind::Claimed
        | Kind::Challenged { .. }
        | Kind::Card { .. }
        | Kind::Answered { .. }
        | Kind::Suppressed { .. } => Vec::new(),
    }
}

fn of_end(
    request: &Request,
    at: UnixMillis,
    outcome: Outcome,
    reason: Option<Reason>,
) -> Vec<Event> {
    let event = |kind, news| Event {
        tenant: request.tenant.clone(),
        client: Some(request.client_id),
        kind,
        told: Told { id: id(kind, request.id.as_bytes()), at, news },
    };
    let mut events = vec![event(
        WebhookEvent::CeremonyClosed,
        WebhookNews::CeremonyClosed {
            id: request.id,
            ceremony_type: request.ceremony_type,
            outcome,
            reason,
            seq: Step::Closed.number(),
        },
    )];
    if reason == Some(Reason::NotMe) {
        let username = request.username.clone();
        let news = WebhookNews::UserNotMe { id: request.id, username };
        events.push(event(WebhookEvent::UserNotMe, news));
    }
    events
}

/// What a happening beside ceremonies has to tell, if anything.
pub(super) fn of_happening(event: &SecurityEvent) -> Option<Event> {
    let suspicion;
    let (kind, about, news): (_, &[u8], _) = match &event.what {
        Happening::DevicePaired { device_id, username } => (
            WebhookEvent::DevicePaired,
            device_id.as_bytes(),
            WebhookNews::DevicePaired { id: *device_id, username: username.clone() },
        ),
        Happening::DeviceRevoked { device_id, username, .. } => (
            WebhookEvent::DeviceRevoked,
            device_id.as_bytes(),
            WebhookNews::DeviceRevoked { id: *device_id, username: username.clone() },
        ),
        Happening::CardRegistered { card_id, username } => (
            WebhookEvent::CardRegistered,
            card_id.as_bytes(),
            WebhookNews::CardRegistered { id: *card_id, username: username.clone() },
        ),
        Happening::CardRemoved { card_id, username, .. } => (
            WebhookEvent::CardRemoved,
            card_id.as_bytes(),
            WebhookNews::CardRemoved { id: *card_id, username: username.clone() },
        ),
        Happening::CloneSuspected { card_id, username } => {
            // It may happen again to the same card.
            suspicion = [card_id.as_bytes().as_slice(), &event.at.0.to_be_bytes()].concat();
            (
                WebhookEvent::CardCloneSuspected,
                &suspicion,
                WebhookNews::CardCloneSuspected { id: *card_id, username: username.clone() },
            )
        }
        // That nobody was asked is not for whoever wanted to ask: it would tell of the user.
        Happening::Silenced { .. } | Happening::CodesSpent { .. } => return None,
        // "Not me" is told by the ceremony that it closed, which is found again after a crash.
        Happening::NotMe { .. }
        | Happening::UserRemoved { .. }
        | Happening::DeviceRenamed { .. }
        | Happening::DeviceKeyRotated { .. }
        | Happening::PairingVoided { .. }
        | Happening::PairingOpened { .. }
        | Happening::WebhookMade { .. }
        | Happening::WebhookRemoved { .. }
        | Happening::ClientMade { .. }
        | Happening::ClientRemoved { .. }
        | Happening::ClientKeyMade { .. }
        | Happening::ClientKeyRemoved { .. }
        | Happening::ClientChanged { .. }
        | Happening::TokenRefused { .. } => return None,
    };
    let told = Told { id: id(kind, about), at: event.at, news };
    Some(Event { tenant: event.tenant.clone(), client: None, kind, told })
}

fn id(kind: WebhookEvent, about: &[u8]) -> EventId {
    let named = [b"fido-relay/webhook/", kind.as_str().as_bytes(), b"/", about].concat();
    let mut bytes = [0; 16];
    let hash = digest(&SHA256, &named);
    for (byte, hashed) in bytes.iter_mut().zip(hash.as_ref()) {
        *byte = *hashed;
    }
    EventId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceremony::with_every_kind;

    #[test]
    fn only_an_end_is_told_and_not_me_is_told_beside_it() {
        let ceremony = with_every_kind();
        let told: Vec<_> = ceremony
            .history
            .iter()
            .flat_map(|fact| of_fact(&ceremony.request, fact))
            .map(|event| (event.client, event.told.body().unwrap()))
            .collect();
        let client = Some(ceremony.request.client_id);
        let closed = r#"{"type":"ceremony.closed","data":{"id":"cer_BQUFBQUFBQUFBQUFBQUFBQ","type":"approval","outcome":"denied","reason":"not_me","seq":60},"timestamp":"1970-01-01T00:16:50.000Z"}"#;
        let not_me = r#"{"type":"user.not_me","data":{"id":"cer_BQUFBQUFBQUFBQUFBQUFBQ","username":"ada"},"timestamp":"1970-01-01T00:16:50.000Z"}"#;
        assert_eq!(told, [(client, closed.to_owned()), (client, not_me.to_owned())]);
        assert_eq!(
            of_fact(&ceremony.request, ceremony.history.last().unwrap()),
            of_ceremony(&ceremony)
        );
    }
}
