//! An initiator's scopes, and its view of itself.

use serde::{Deserialize, Serialize};

use crate::ids::{ClientId, InvalidId};
use crate::life::Binding;
use crate::text::PlainText;

/// A permission of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-extensible-enum" = true)))]
pub enum Scope {
    /// Open sign-ins.
    #[serde(rename = "ceremony:auth")]
    CeremonyAuth,
    /// Open registrations: equals account takeover, hence its own scope.
    #[serde(rename = "ceremony:reg")]
    CeremonyReg,
    /// Open approvals.
    #[serde(rename = "ceremony:approve")]
    CeremonyApprove,
    /// Read and cancel what it opened.
    #[serde(rename = "ceremony:read")]
    CeremonyRead,
    /// Make pairing tokens, list devices.
    #[serde(rename = "device:pair")]
    DevicePair,
    /// Revoke devices.
    #[serde(rename = "device:revoke")]
    DeviceRevoke,
    /// List a user's cards.
    #[serde(rename = "card:read")]
    CardRead,
    /// Remove a user's cards: with `ceremony:reg` it equals account takeover.
    #[serde(rename = "card:revoke")]
    CardRevoke,
    /// See whether a device is connected.
    #[serde(rename = "presence:read")]
    PresenceRead,
    /// Manage webhooks.
    #[serde(rename = "webhook:admin")]
    WebhookAdmin,
    /// Open sign-ins that do not require user verification.
    #[serde(rename = "uv:weaken")]
    UvWeaken,
    /// Lift the limits that hold back its own prompts.
    #[serde(rename = "user:unlock")]
    UserUnlock,
    /// Make its `prior_auth` count: without this scope it counts as `none`.
    #[serde(rename = "prior_auth:assert")]
    PriorAuthAssert,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 13] = [
        Self::CeremonyAuth,
        Self::CeremonyReg,
        Self::CeremonyApprove,
        Self::CeremonyRead,
        Self::DevicePair,
        Self::DeviceRevoke,
        Self::CardRead,
        Self::CardRevoke,
        Self::PresenceRead,
        Self::WebhookAdmin,
        Self::UvWeaken,
        Self::UserUnlock,
        Self::PriorAuthAssert,
    ];

    /// The scope's name, as in an OAuth `scope` parameter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CeremonyAuth => "ceremony:auth",
            Self::CeremonyReg => "ceremony:reg",
            Self::CeremonyApprove => "ceremony:approve",
            Self::CeremonyRead => "ceremony:read",
            Self::DevicePair => "device:pair",
            Self::DeviceRevoke => "device:revoke",
            Self::CardRead => "card:read",
            Self::CardRevoke => "card:revoke",
            Self::PresenceRead => "presence:read",
            Self::WebhookAdmin => "webhook:admin",
            Self::UvWeaken => "uv:weaken",
            Self::UserUnlock => "user:unlock",
            Self::PriorAuthAssert => "prior_auth:assert",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = InvalidId;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name).ok_or(InvalidId("scope"))
    }
}

/// `GET /v1/clients/self`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClientView {
    /// Id of the client.
    pub client_id: ClientId,
    /// Its name, as devices see it.
    pub name: PlainText<64>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The bindings it may use.
    pub bindings: Vec<Binding>,
    /// Networks that it may call from, as `192.0.2.0/24`; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<String>,
    /// Origins of pages that may watch its ceremonies with a ticket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub page_origins: Vec<String>,
}
