//! Webhooks: the bodies by which an initiator manages its endpoints, and the body that an endpoint
//! is sent. Headers and signatures are those of Standard Webhooks 1.0
//! (<https://www.standardwebhooks.com>).
//!
//! A delivered body is thin: the event and its ids. Results are fetched with the initiator's
//! credential, so that an intercepted webhook reveals little and proves nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{CardId, CeremonyId, DeviceId, EventId, WebhookId};
use crate::life::{CeremonyType, Outcome, Reason};
use crate::limits::WEBHOOK_OLD_KEYS_MAX_S;
use crate::number;
use crate::text::Username;

/// The delivery's id: the same at every try (Standard Webhooks).
pub const ID_HEADER: &str = "webhook-id";
/// When this try was signed, in seconds since 1970 (Standard Webhooks).
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// One signature for each valid key, separated by spaces (Standard Webhooks).
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// The events of webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WebhookEvent {
    /// A ceremony that this client opened has its outcome.
    #[serde(rename = "ceremony.closed")]
    CeremonyClosed,
    /// A device was paired with a user. Needs the scope `device:pair`.
    #[serde(rename = "device.paired")]
    DevicePaired,
    /// A device was revoked. Needs the scope `device:pair`.
    #[serde(rename = "device.revoked")]
    DeviceRevoked,
    /// A card was registered. Needs the scope `card:read`.
    #[serde(rename = "card.registered")]
    CardRegistered,
    /// A card was removed. Needs the scope `card:read`.
    #[serde(rename = "card.removed")]
    CardRemoved,
    /// A card's signature counter did not grow. Needs the scope `card:read`.
    #[serde(rename = "card.clone_suspected")]
    CardCloneSuspected,
    /// A user answered "not me" to a ceremony that this client opened.
    #[serde(rename = "user.not_me")]
    UserNotMe,
}

impl WebhookEvent {
    /// All values.
    pub const ALL: [Self; 7] = [
        Self::CeremonyClosed,
        Self::DevicePaired,
        Self::DeviceRevoked,
        Self::CardRegistered,
        Self::CardRemoved,
        Self::CardCloneSuspected,
        Self::UserNotMe,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CeremonyClosed => "ceremony.closed",
            Self::DevicePaired => "device.paired",
            Self::DeviceRevoked => "device.revoked",
            Self::CardRegistered => "card.registered",
            Self::CardRemoved => "card.removed",
            Self::CardCloneSuspected => "card.clone_suspected",
            Self::UserNotMe => "user.not_me",
        }
    }
}

impl std::str::FromStr for WebhookEvent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|event| event.as_str() == text);
        known.ok_or(
            "not an event: ceremony.closed, device.paired, device.revoked, card.registered, \
             card.removed, card.clone_suspected, user.not_me",
        )
    }
}

/// How a delivery is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum WebhookScheme {
    /// Ed25519: the relay signs, the endpoint knows the public key (`whpk_…`) and no secret.
    V1a,
    /// HMAC-SHA-256: relay and endpoint share a secret (`whsec_…`).
    V1,
}

impl std::str::FromStr for WebhookScheme {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "v1a" => Ok(Self::V1a),
            "v1" => Ok(Self::V1),
            _ => Err("must be v1a or v1"),
        }
    }
}

/// `POST /v1/webhooks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateWebhook {
    /// The endpoint's https URL, in its normal form, at most 1024 bytes.
    #[cfg_attr(feature = "schema", schemars(length(max = 1024), extend("pattern" = "^https://")))]
    pub url: String,
    /// The events that it receives; at least one, without repetition.
    #[serde(default = "default_events")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1), extend("uniqueItems" = true)))]
    pub events: Vec<WebhookEvent>,
    /// One key is created for each scheme; at least one, without repetition.
    #[serde(default = "default_schemes")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1), extend("uniqueItems" = true)))]
    pub schemes: Vec<WebhookScheme>,
}

fn default_events() -> Vec<WebhookEvent> {
    vec![WebhookEvent::CeremonyClosed]
}

fn default_schemes() -> Vec<WebhookScheme> {
    vec![WebhookScheme::V1a]
}

/// `PATCH /v1/webhooks/{id}`: missing fields stay unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("minProperties" = 1)))]
#[serde(deny_unknown_fields)]
pub struct ChangeWebhook {
    /// The new https URL, also for waiting deliveries, in its normal form, at most 1024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024), extend("pattern" = "^https://")))]
    pub url: Option<String>,
    /// The new list of events, which replaces the previous one; at least one, without repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1), extend("uniqueItems" = true)))]
    pub events: Option<Vec<WebhookEvent>>,
}

/// `POST /v1/webhooks/{id}/secrets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateWebhook {
    /// The scheme of the new key.
    pub scheme: WebhookScheme,
    /// Seconds for which earlier keys of this scheme also sign, at most thirty days.
    #[serde(
        default = "default_old_lives_s",
        deserialize_with = "number::whole::<0, WEBHOOK_OLD_KEYS_MAX_S, _>"
    )]
    #[cfg_attr(feature = "schema", schemars(range(max = 2_592_000)))]
    pub old_lives_s: u64,
}

const fn default_old_lives_s() -> u64 {
    24 * 60 * 60
}

/// Whether deliveries are sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// Deliveries are sent.
    Enabled,
    /// No deliveries: the endpoint answered 410 (Gone). Events of the next 72 hours are kept as
    /// dead letters; `POST /v1/webhooks/{id}/enable` resumes deliveries.
    Gone,
}

/// A key that signs deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WebhookKeyView {
    /// The signature scheme.
    pub scheme: WebhookScheme,
    /// The key that verifies `v1a`: `whpk_` and the Ed25519 public key in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// When it was made (RFC 3339).
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub created_at: String,
    /// When it stops signing (RFC 3339); absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub ends_at: Option<String>,
}

/// `GET /v1/webhooks/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WebhookView {
    /// Id of the endpoint.
    pub id: WebhookId,
    /// The URL of the endpoint.
    pub url: String,
    /// The events that the endpoint receives.
    pub events: Vec<WebhookEvent>,
    /// Whether deliveries are sent.
    pub state: WebhookState,
    /// The keys that sign, the oldest first.
    pub keys: Vec<WebhookKeyView>,
    /// When it was registered (RFC 3339). Earlier events are not sent.
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub created_at: String,
}

/// The answer to `POST /v1/webhooks` and `POST /v1/webhooks/{id}/secrets`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CreatedWebhook {
    /// The endpoint.
    #[serde(flatten)]
    pub webhook: WebhookView,
    /// The new `v1` secret, if one was created; it is not shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl fmt::Debug for CreatedWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedWebhook").field("webhook", &self.webhook).finish_non_exhaustive()
    }
}

/// `GET /v1/webhooks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WebhookList {
    /// The caller's endpoints, in the order of their ids.
    pub webhooks: Vec<WebhookView>,
}

/// Why a delivery did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-extensible-enum" = true)))]
#[serde(rename_all = "snake_case")]
pub enum WebhookFailure {
    /// The endpoint answered with a status that is not 2xx.
    Status,
    /// It did not answer in time.
    Timeout,
    /// The connection failed or broke off, or its certificate was invalid.
    Unreachable,
    /// The relay may not connect to this host or to an address of it.
    Forbidden,
    /// The endpoint had too many deliveries waiting.
    Overflow,
    /// The endpoint answered 410.
    Gone,
    /// The relay could not make or sign the request.
    Internal,
}

/// Whether a delivery will still be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Another try will follow.
    Waiting,
    /// No further try, unless a call resends it.
    Dead,
}

impl std::str::FromStr for DeliveryState {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "waiting" => Ok(Self::Waiting),
            "dead" => Ok(Self::Dead),
            _ => Err("must be waiting or dead"),
        }
    }
}

/// A delivery that has not arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeliveryView {
    /// Its `webhook-id`.
    pub id: EventId,
    /// The event of the delivery.
    pub event: WebhookEvent,
    /// When that happened (RFC 3339).
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub at: String,
    /// Whether it will still be tried.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<WebhookFailure>,
    /// The HTTP status of the last try, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// `GET /v1/webhooks/{id}/deliveries`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeliveryList {
    /// Deliveries in the order of their ids, which is not that of time.
    pub deliveries: Vec<DeliveryView>,
    /// The value of `after` for the next page; absent: this is the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<EventId>,
}

/// The answer to `POST /v1/webhooks/{id}/test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TestedWebhook {
    /// Whether the endpoint answered 2xx.
    pub delivered: bool,
    /// The HTTP status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it counts as not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<WebhookFailure>,
}

/// The body of a delivery: `{"type", "data", "timestamp"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WebhookBody {
    /// The event.
    #[serde(flatten)]
    pub news: WebhookNews,
    /// When it happened (RFC 3339).
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub timestamp: String,
}

/// The event of a delivery. Receivers ignore unknown types and fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum WebhookNews {
    /// A ceremony that this client opened has its outcome.
    #[serde(rename = "ceremony.closed")]
    CeremonyClosed {
        /// The ceremony: fetch it for its result.
        id: CeremonyId,
        /// The purpose of the ceremony.
        #[serde(rename = "type")]
        ceremony_type: CeremonyType,
        /// How it ended.
        outcome: Outcome,
        /// The reason, where the outcome has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        /// The number of the step `closed`: the same `seq` as in every other way to wait, so that a
        /// receiver that also watches can recognise it.
        seq: u32,
    },
    /// A device was paired with a user.
    #[serde(rename = "device.paired")]
    DevicePaired {
        /// Id of the device.
        id: DeviceId,
        /// Its user.
        username: Username,
    },
    /// A device was revoked.
    #[serde(rename = "device.revoked")]
    DeviceRevoked {
        /// Id of the device.
        id: DeviceId,
        /// Its user.
        username: Username,
    },
    /// A card was registered.
    #[serde(rename = "card.registered")]
    CardRegistered {
        /// Id of the card.
        id: CardId,
        /// Its user.
        username: Username,
    },
    /// A card was removed.
    #[serde(rename = "card.removed")]
    CardRemoved {
        /// Id of the card.
        id: CardId,
        /// Its user.
        username: Username,
    },
    /// A card's signature counter did not grow: a copy of the card may be in use.
    #[serde(rename = "card.clone_suspected")]
    CardCloneSuspected {
        /// Id of the card.
        id: CardId,
        /// The user.
        username: Username,
    },
    /// A user answered "not me" to a ceremony that this client opened.
    #[serde(rename = "user.not_me")]
    UserNotMe {
        /// Id of the ceremony.
        id: CeremonyId,
        /// The user.
        username: Username,
    },
    /// The test that `POST /v1/webhooks/{id}/test` sends.
    #[serde(rename = "webhook.test")]
    Test {
        /// Id of the endpoint.
        id: WebhookId,
    },
}
