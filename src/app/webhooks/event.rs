//! Something that happened, as endpoints are told it. Its id follows from what it is about, so
//! that the same thing has one id, whenever it is read.

use aws_lc_rs::digest::{SHA256, digest};
use fido_relay_proto::webhook::{WebhookBody, WebhookEvent, WebhookNews};
use fido_relay_proto::{
    CeremonyId, CeremonyType, ClientId, EventId, Outcome, Reason, Step, TenantId, UnixMillis,
    Username,
};
use serde::{Deserialize, Serialize};

use crate::core::ceremony::Ceremony;
use crate::journal::EntryKind;
use crate::ports::{SecurityEvent, SecurityEventKind, records};
use crate::rfc3339;

/// What happened, and whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) tenant: TenantId,
    /// The client whose endpoints are told; none: those of every client of the tenant.
    pub(super) client: Option<ClientId>,
    pub(super) kind: WebhookEvent,
    pub(super) told: QueuedEvent,
}

/// What is kept of an event until it is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QueuedEvent {
    pub(super) id: EventId,
    pub(super) at: UnixMillis,
    pub(super) news: WebhookNews,
}

impl QueuedEvent {
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

/// What an entry of the journal has to tell.
pub(super) fn of_entry(entry: &str) -> Vec<Event> {
    match EntryKind::of_entry(entry) {
        Some(EntryKind::Closed) => match records::decode::<Ended>(entry.as_bytes()) {
            Ok(ended) => ended.events(),
            Err(error) => {
                tracing::error!(%error, "an entry of the journal cannot be read");
                Vec::new()
            }
        },
        Some(
            EntryKind::Opened
            | EntryKind::Sent
            | EntryKind::Woken
            | EntryKind::Delivered
            | EntryKind::WrongCode
            | EntryKind::Claimed
            | EntryKind::Challenged
            | EntryKind::Card
            | EntryKind::Answered,
        ) => Vec::new(),
        None => {
            let event = records::decode::<SecurityEvent>(entry.as_bytes());
            event.ok().and_then(|event| of_happening(&event)).into_iter().collect()
        }
    }
}

/// An end, as its entry has it.
#[derive(Deserialize)]
struct Ended {
    tenant: TenantId,
    ceremony: CeremonyId,
    client: ClientId,
    user: Username,
    #[serde(with = "rfc3339")]
    at: UnixMillis,
    #[serde(rename = "type")]
    ceremony_type: CeremonyType,
    outcome: Outcome,
    reason: Option<Reason>,
}

/// What a ceremony's end has to tell; nothing while it is open.
pub(super) fn of_ceremony(ceremony: &Ceremony) -> Vec<Event> {
    let request = &ceremony.request;
    let ended = ceremony.closed().map(|end| Ended {
        tenant: request.tenant.clone(),
        ceremony: request.id,
        client: request.client_id,
        user: request.username.clone(),
        at: end.at,
        ceremony_type: request.ceremony_type,
        outcome: end.outcome,
        reason: end.reason,
    });
    ended.map_or_else(Vec::new, Ended::events)
}

impl Ended {
    fn events(self) -> Vec<Event> {
        let Self { tenant, ceremony: about, client, user, at, ceremony_type, outcome, reason } =
            self;
        let event = |kind, news| Event {
            tenant: tenant.clone(),
            client: Some(client),
            kind,
            told: QueuedEvent { id: id(kind, about.as_bytes()), at, news },
        };
        let seq = Step::Closed.number();
        let news = WebhookNews::CeremonyClosed { id: about, ceremony_type, outcome, reason, seq };
        let mut events = vec![event(WebhookEvent::CeremonyClosed, news)];
        if reason == Some(Reason::NotMe) {
            let news = WebhookNews::UserNotMe { id: about, username: user };
            events.push(event(WebhookEvent::UserNotMe, news));
        }
        events
    }
}

/// What a happening beside ceremonies has to tell, if anything.
pub(super) fn of_happening(event: &SecurityEvent) -> Option<Event> {
    let suspicion;
    let (kind, about, news): (_, &[u8], _) = match &event.what {
        SecurityEventKind::DevicePaired { device_id, username } => (
            WebhookEvent::DevicePaired,
            device_id.as_bytes(),
            WebhookNews::DevicePaired { id: *device_id, username: username.clone() },
        ),
        SecurityEventKind::DeviceRevoked { device_id, username, .. } => (
            WebhookEvent::DeviceRevoked,
            device_id.as_bytes(),
            WebhookNews::DeviceRevoked { id: *device_id, username: username.clone() },
        ),
        SecurityEventKind::CardRegistered { card_id, username } => (
            WebhookEvent::CardRegistered,
            card_id.as_bytes(),
            WebhookNews::CardRegistered { id: *card_id, username: username.clone() },
        ),
        SecurityEventKind::CardRemoved { card_id, username, .. } => (
            WebhookEvent::CardRemoved,
            card_id.as_bytes(),
            WebhookNews::CardRemoved { id: *card_id, username: username.clone() },
        ),
        SecurityEventKind::CloneSuspected { card_id, username } => {
            // It may happen again to the same card.
            suspicion = [card_id.as_bytes().as_slice(), &event.at.0.to_be_bytes()].concat();
            (
                WebhookEvent::CardCloneSuspected,
                &suspicion,
                WebhookNews::CardCloneSuspected { id: *card_id, username: username.clone() },
            )
        }
        // That nobody was asked is not for whoever wanted to ask: it would tell of the user.
        SecurityEventKind::Silenced { .. }
        | SecurityEventKind::CodesSpent { .. }
        | SecurityEventKind::DeviceLocked { .. }
        | SecurityEventKind::PromptsUnlocked { .. }
        | SecurityEventKind::NotMeHeld { .. } => return None,
        // "Not me" is told by the end of the ceremony that it closed.
        SecurityEventKind::NotMe { .. }
        | SecurityEventKind::UserRemoved { .. }
        | SecurityEventKind::DeviceRenamed { .. }
        | SecurityEventKind::DeviceKeyRotated { .. }
        | SecurityEventKind::PushSet { .. }
        | SecurityEventKind::PushRemoved { .. }
        | SecurityEventKind::PairingVoided { .. }
        | SecurityEventKind::PairingOpened { .. }
        | SecurityEventKind::WebhookMade { .. }
        | SecurityEventKind::WebhookRemoved { .. }
        | SecurityEventKind::ClientMade { .. }
        | SecurityEventKind::ClientRemoved { .. }
        | SecurityEventKind::ClientKeyMade { .. }
        | SecurityEventKind::ClientKeyRemoved { .. }
        | SecurityEventKind::ClientChanged { .. } => return None,
    };
    let told = QueuedEvent { id: id(kind, about), at: event.at, news };
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
    use crate::core::ceremony::with_every_kind;
    use crate::journal::Journal;

    #[test]
    fn only_an_end_is_told_and_not_me_is_told_beside_it() {
        let ceremony = with_every_kind();
        let journal = Journal { audited: true, ..Journal::default() };
        let facts = ceremony.history.iter();
        let entries = facts.flat_map(|fact| journal.entries(&ceremony, fact));
        let events: Vec<_> = entries.flat_map(|entry| of_entry(&entry)).collect();
        let told: Vec<_> =
            events.iter().map(|event| (event.client, event.told.body().unwrap())).collect();
        let client = Some(ceremony.request.client_id);
        let closed = r#"{"type":"ceremony.closed","data":{"id":"cer_BQUFBQUFBQUFBQUFBQUFBQ","type":"approval","outcome":"denied","reason":"not_me","seq":60},"timestamp":"1970-01-01T00:16:52.000Z"}"#;
        let not_me = r#"{"type":"user.not_me","data":{"id":"cer_BQUFBQUFBQUFBQUFBQUFBQ","username":"ada"},"timestamp":"1970-01-01T00:16:52.000Z"}"#;
        assert_eq!(told, [(client, closed.to_owned()), (client, not_me.to_owned())]);
        assert_eq!(events, of_ceremony(&ceremony));
    }
}
