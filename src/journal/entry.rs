//! The form of an entry of a ceremony. It holds no code, challenge, ticket or cookie, and of the
//! card's answer only what a receipt needs, where receipts are kept.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::device::CardErrorCode;
use fido_relay_proto::{
    AttemptId, Binding, CeremonyId, CeremonyType, ClientId, DeviceId, NodeId, Outcome, Reason,
    TenantId, UnixMillis, Username,
};
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error, StrDeserializer};
use serde::{Deserialize, Serialize};

use crate::core::ceremony::{Ceremony, FactKind, Request};
use crate::rfc3339;
use crate::security::receipt::Receipt;

/// The `event` of a ceremony's entry. The other entries are security events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    Opened,
    Sent,
    Woken,
    Delivered,
    WrongCode,
    Claimed,
    Challenged,
    Card,
    Answered,
    Closed,
}

impl EntryKind {
    /// Of a fact's entry; none: the fact has none of its ceremony's trail.
    #[must_use]
    pub const fn of(fact: &FactKind) -> Option<Self> {
        Some(match fact {
            FactKind::Opened => Self::Opened,
            FactKind::Sent => Self::Sent,
            FactKind::Woken => Self::Woken,
            FactKind::Delivered => Self::Delivered,
            FactKind::WrongCode { .. } => Self::WrongCode,
            FactKind::Claimed => Self::Claimed,
            FactKind::Challenged { .. } => Self::Challenged,
            FactKind::Card { .. } => Self::Card,
            FactKind::Answered { .. } => Self::Answered,
            FactKind::Closed { .. } => Self::Closed,
            FactKind::Lost | FactKind::Previewed | FactKind::Suppressed { .. } => return None,
        })
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        Self::deserialize(name).ok()
    }

    /// Of an entry, whose other members are not read; none: a security event's.
    #[must_use]
    pub fn of_entry(entry: &str) -> Option<Self> {
        Self::named(entry.strip_prefix(r#"{"event":""#)?.split('"').next()?)
    }
}

#[derive(Serialize)]
pub(super) struct Entry<'a> {
    event: EntryKind,
    tenant: &'a TenantId,
    ceremony: CeremonyId,
    client: ClientId,
    user: &'a Username,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<DeviceId>,
    #[serde(flatten)]
    pub(super) more: More<'a>,
}

impl<'a> Entry<'a> {
    /// An entry of this ceremony, as yet without a device and details.
    pub(super) fn new(event: EntryKind, request: &'a Request, at: UnixMillis) -> Self {
        Self {
            event,
            tenant: &request.tenant,
            ceremony: request.id,
            client: request.client_id,
            user: &request.username,
            at: rfc3339::format(at),
            device: None,
            more: More::Nothing {},
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        serde_json::to_string(self)
            .inspect_err(
                |error| tracing::error!(%error, "an entry of the journal has no JSON form"),
            )
            .ok()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum More<'a> {
    Nothing {},
    Opened {
        #[serde(rename = "type")]
        ceremony_type: CeremonyType,
        binding: Binding,
        rp_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        context_sha256: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tx_sha256: Option<String>,
        deadline: String,
    },
    WrongCode {
        nth: u8,
    },
    Challenged {
        attempt: AttemptId,
    },
    Card {
        card_code: CardErrorCode,
    },
    Answered {
        attempt: AttemptId,
        answer_sha256: String,
        /// Who has it completed: stored in the same commit as the answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        completed_by: Option<NodeId>,
    },
    Closed {
        #[serde(rename = "type")]
        ceremony_type: CeremonyType,
        outcome: Outcome,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        #[serde(skip_serializing_if = "Option::is_none")]
        receipt_sha256: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        receipt: Option<Box<Receipt>>,
    },
}

pub(super) fn opened(request: &Request) -> More<'_> {
    More::Opened {
        ceremony_type: request.ceremony_type,
        binding: request.binding,
        rp_id: &request.rp_id,
        context_sha256: request.context.as_ref().and_then(canonical_sha256),
        tx_sha256: request.transaction.as_ref().and_then(canonical_sha256),
        deadline: rfc3339::format(request.deadline),
    }
}

pub(super) fn answered(
    attempt: AttemptId,
    digest: [u8; 32],
    completed_by: Option<NodeId>,
) -> More<'static> {
    More::Answered { attempt, answer_sha256: URL_SAFE_NO_PAD.encode(digest), completed_by }
}

/// `ceremony` is the one that ended. With `receipts` the entry holds the receipt's claims, which the
/// export signs.
pub(super) fn closed(
    ceremony: &Ceremony,
    (outcome, reason): (Outcome, Option<Reason>),
    (issuer, receipts): (&str, bool),
) -> More<'static> {
    let receipt = Receipt::of(issuer, ceremony);
    More::Closed {
        ceremony_type: ceremony.request.ceremony_type,
        outcome,
        reason,
        receipt_sha256: receipt.as_ref().and_then(Receipt::payload_sha256),
        receipt: receipt.filter(|_| receipts).map(Box::new),
    }
}

/// SHA-256 of a value's canonical JSON (RFC 8785).
fn canonical_sha256<T: Serialize>(value: &T) -> Option<String> {
    let canonical = serde_json_canonicalizer::to_vec(value).ok()?;
    Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, &canonical)))
}
