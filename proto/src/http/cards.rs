//! A user's cards, as the built-in FIDO2 server knows them.

use serde::{Deserialize, Serialize};

use crate::ids::CardId;

/// The value of a card's attestation statement at registration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CardAttestation {
    /// Its certificates lead to a root that the operator trusts.
    Verified,
    /// There was a statement without proof: no root is configured, or its format is unknown.
    Ignored,
    /// There was no statement.
    #[default]
    None,
}

/// One card of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CardView {
    /// Id of the card.
    pub id: CardId,
    /// When it was registered (RFC 3339).
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub registered_at: String,
    /// When it last signed in or approved (RFC 3339). Up to a day late for a card that does not
    /// count its signatures; absent: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub last_used_at: Option<String>,
    /// The model's AAGUID, as a UUID; absent: the card does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("format" = "uuid")))]
    pub aaguid: Option<String>,
    /// The model's name, where the relay knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How the model is attested.
    pub attestation: CardAttestation,
    /// Whether AAGUID and model are only the card's claim: `attestation` is not `verified`.
    pub claimed: bool,
    /// Whether it has verified its user (by a PIN) at registration or since.
    pub can_verify_user: bool,
}

/// `GET /v1/users/{username}/cards`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CardList {
    /// The user's cards, oldest first.
    pub cards: Vec<CardView>,
}
