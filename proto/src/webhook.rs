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
/// One signature for each key that lives, with a blank between (Standard Webhooks).
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// The events of webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WebhookEvent {
    /// A ceremony that this client opened has its outcome.
    #[serde(rename = "ceremony.closed")]
    CeremonyClosed,
    /// A phone became a user's device. Needs the scope `device:pair`.
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
    /// A person said of a ceremony that this client opened: that was not me.
    #[serde(rename = "user.not_me")]
    UserNotMe,
}

impl WebhookEvent {
    /// Every one.
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
    /// Where to: https, in its normal form, at most 1024 bytes.
    #[cfg_attr(feature = "schema", schemars(length(max = 1024), extend("pattern" = "^https://")))]
    pub url: String,
    /// What it is told; at least one, without repetition.
    #[serde(default = "default_events")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1), extend("uniqueItems" = true)))]
    pub events: Vec<WebhookEvent>,
    /// One key is made for each; at least one, without repetition.
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

/// `PATCH /v1/webhooks/{id}`: what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("minProperties" = 1)))]
#[serde(deny_unknown_fields)]
pub struct ChangeWebhook {
    /// Where to from now on, also for what waits: https, in its normal form, at most 1024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024), extend("pattern" = "^https://")))]
    pub url: Option<String>,
    /// The events that it gets from now on, in place of the list before; at least one, without repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1), extend("uniqueItems" = true)))]
    pub events: Option<Vec<WebhookEvent>>,
}

/// `POST /v1/webhooks/{id}/secrets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateWebhook {
    /// Which kind of key to make.
    pub scheme: WebhookScheme,
    /// Seconds that earlier keys of this scheme still sign beside it, at most thirty days.
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

/// Whether an endpoint is sent anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// Yes.
    Enabled,
    /// No: it answered 410 (gone). What happens in the next 72 hours is kept as dead letters;
    /// `POST /v1/webhooks/{id}/enable` has it sent to again.
    Gone,
}

/// A key that signs what an endpoint is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WebhookKeyView {
    /// How.
    pub scheme: WebhookScheme,
    /// What `v1a` is verified with: `whpk_` and the Ed25519 public key in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// When it was made (RFC 3339).
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub created_at: String,
    /// When it signs no longer (RFC 3339); absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub ends_at: Option<String>,
}

/// `GET /v1/webhooks/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WebhookView {
    /// Which.
    pub id: WebhookId,
    /// Where to.
    pub url: String,
    /// What it is told.
    pub events: Vec<WebhookEvent>,
    /// Whether it is sent anything.
    pub state: WebhookState,
    /// What signs, the oldest first.
    pub keys: Vec<WebhookKeyView>,
    /// When it was registered (RFC 3339). Nothing from before is sent.
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
    /// The new `v1` secret, if one was made: the one time that it is seen.
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
    /// The caller's own, in the order of their ids.
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
    /// No connection came about, its certificate was not good, or it broke off.
    Unreachable,
    /// The relay may not connect to this host or to an address of it.
    Forbidden,
    /// The endpoint had too many deliveries waiting.
    Overflow,
    /// The endpoint is gone: it answered 410.
    Gone,
    /// The relay cannot sign or make the request.
    Internal,
}

/// Whether a delivery will still be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It will.
    Waiting,
    /// It will not, unless it is resent by a call.
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
    /// What it tells.
    pub event: WebhookEvent,
    /// When that happened (RFC 3339).
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub at: String,
    /// Whether it will still be tried.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// What came of the last try.
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
    /// In the order of their ids, which is none of time.
    pub deliveries: Vec<DeliveryView>,
    /// To be given as `after` for those that follow; absent: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<EventId>,
}

/// The answer to `POST /v1/webhooks/{id}/test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TestedWebhook {
    /// Whether the endpoint answered 2xx.
    pub delivered: bool,
    /// What it answered, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it counts as not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<WebhookFailure>,
}

/// What an endpoint is sent: `{"type", "data", "timestamp"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WebhookBody {
    /// What happened.
    #[serde(flatten)]
    pub news: WebhookNews,
    /// When it happened (RFC 3339).
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub timestamp: String,
}

/// What happened to what. Receivers ignore types and fields that they do not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum WebhookNews {
    /// A ceremony that this client opened has its outcome.
    #[serde(rename = "ceremony.closed")]
    CeremonyClosed {
        /// The ceremony: fetch it for its result.
        id: CeremonyId,
        /// What it was for.
        #[serde(rename = "type")]
        ceremony_type: CeremonyType,
        /// How it ended.
        outcome: Outcome,
        /// What the outcome alone does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        /// The number of the step `closed`: the `seq` that every other way to wait tells it by, so
        /// that a receiver who also watches takes it once.
        seq: u32,
    },
    /// A phone became a user's device.
    #[serde(rename = "device.paired")]
    DevicePaired {
        /// The device.
        id: DeviceId,
        /// Its user.
        username: Username,
    },
    /// A device was revoked.
    #[serde(rename = "device.revoked")]
    DeviceRevoked {
        /// The device.
        id: DeviceId,
        /// Its user.
        username: Username,
    },
    /// A card was registered.
    #[serde(rename = "card.registered")]
    CardRegistered {
        /// The card.
        id: CardId,
        /// Its user.
        username: Username,
    },
    /// A card was removed.
    #[serde(rename = "card.removed")]
    CardRemoved {
        /// The card.
        id: CardId,
        /// Its user.
        username: Username,
    },
    /// A card's signature counter did not grow: a copy of the card may be in use.
    #[serde(rename = "card.clone_suspected")]
    CardCloneSuspected {
        /// The card.
        id: CardId,
        /// The user.
        username: Username,
    },
    /// A person said of a ceremony that this client opened: that was not me.
    #[serde(rename = "user.not_me")]
    UserNotMe {
        /// The ceremony.
        id: CeremonyId,
        /// The user.
        username: Username,
    },
    /// The test that `POST /v1/webhooks/{id}/test` sends.
    #[serde(rename = "webhook.test")]
    Test {
        /// The endpoint.
        id: WebhookId,
    },
}
