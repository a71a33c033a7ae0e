//! The types of a ceremony's life cycle.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::device::CardErrorCode;

/// What a ceremony is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CeremonyType {
    /// A card becomes a credential of the user (WebAuthn `create`).
    Registration,
    /// The user proves to hold a registered card (WebAuthn `get`).
    Authentication,
    /// The user approves a transaction with a registered card.
    Approval,
}

/// How page and phone are bound together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// The person types into the app the code that the page shows; only then is there a challenge.
    #[default]
    Code,
    /// The challenge goes straight to the user's devices. The client must be allowed this binding.
    None,
}

impl Binding {
    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::None => "none",
        }
    }
}

/// How the initiator authenticated the user before it opened the ceremony.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PriorAuth {
    /// Not at all: anyone may have typed the username.
    #[default]
    None,
    /// The user gave a password.
    Password,
    /// The user has a running session.
    Session,
}

/// Whether the phone that typed the code and the browser were in one network, judged by their
/// addresses. It proves nothing: an attacker may be in the same network, and a person's own phone
/// often is in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SameNetwork {
    /// The same /24 of IPv4 or /48 of IPv6.
    Yes,
    /// Other networks.
    No,
    /// An address is missing, private or shared by many, or they are of two families.
    Unknown,
}

/// The phase of a ceremony.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Shown to the user's devices without a challenge; waits for the code.
    Offered,
    /// The FIDO2 server is asked for a challenge.
    Preparing,
    /// A device has the challenge; waits for the card.
    Challenged,
    /// The card's answer is stored; the FIDO2 server is asked.
    Verifying,
    /// There is an outcome.
    Closed,
}

/// A step that a ceremony has made, each at most once and with a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-extensible-enum" = true)))]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The ceremony was stored.
    Opened,
    /// The prompt was written to a device's socket, or listed for a device that pulled.
    Sent,
    /// A push service accepted a wake for a device.
    Woken,
    /// An app acknowledged the prompt: a socket write is never "delivered".
    Delivered,
    /// The right code was typed.
    Claimed,
    /// The challenge was made.
    Challenged,
    /// The phone sees a card.
    Card,
    /// The answer is stored.
    Verifying,
    /// There is an outcome.
    Closed,
}

impl Step {
    /// Every step, by number. The order in time may differ: with [`Binding::None`] the challenge comes
    /// before any prompt.
    pub const ALL: [Self; 9] = [
        Self::Opened,
        Self::Sent,
        Self::Woken,
        Self::Delivered,
        Self::Claimed,
        Self::Challenged,
        Self::Card,
        Self::Verifying,
        Self::Closed,
    ];

    /// The step's `seq`. It is fixed for each kind, so that it reveals nothing of other steps.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Opened => 10,
            Self::Sent => 11,
            Self::Woken => 12,
            Self::Delivered => 13,
            Self::Claimed => 20,
            Self::Challenged => 30,
            Self::Card => 40,
            Self::Verifying => 50,
            Self::Closed => 60,
        }
    }

    /// Whether the step reveals that a phone was reached, and so that the user exists and the phone is
    /// online. With [`Binding::Code`] only watchers with the right to presence see it.
    #[must_use]
    pub const fn tells_presence(self) -> bool {
        match self {
            Self::Sent | Self::Woken | Self::Delivered => true,
            Self::Opened
            | Self::Claimed
            | Self::Challenged
            | Self::Card
            | Self::Verifying
            | Self::Closed => false,
        }
    }
}

/// How a ceremony ended: exactly one per ceremony, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The FIDO2 server verified the card's answer.
    Succeeded,
    /// The person declined.
    Denied,
    /// The FIDO2 server refused the answer.
    Rejected,
    /// The card or the FIDO2 server failed.
    Failed,
    /// Time ran out.
    Expired,
    /// The initiator cancelled it.
    Cancelled,
    /// A completion call was sent and its result is unknown: treat as not approved.
    Indeterminate,
}

impl Outcome {
    /// Whether this outcome may have this reason. The documents' outcome tables list these pairs.
    #[must_use]
    pub const fn allows(self, reason: Option<Reason>) -> bool {
        use Reason as R;
        match self {
            Self::Succeeded | Self::Cancelled => reason.is_none(),
            Self::Denied => matches!(reason, Some(R::Declined | R::NotMe)),
            Self::Rejected => matches!(
                reason,
                Some(R::UpstreamRejected | R::PinNotSet | R::AlreadyRegistered | R::CloneSuspected)
            ),
            Self::Failed => matches!(
                reason,
                Some(R::WrongCode | R::PinFailed | R::NoCredential | R::CardFull | R::Card(_))
                    | Some(R::PinNotSet | R::AlreadyRegistered | R::CardLimit)
                    | Some(R::UpstreamRejected | R::UpstreamUnavailable | R::UpstreamFull)
            ),
            Self::Expired => matches!(reason, Some(R::Deadline | R::SessionExpired)),
            Self::Indeterminate => matches!(reason, Some(R::UpstreamUnknown | R::Interrupted)),
        }
    }
}

/// The reason of an [`Outcome`]. The codes are stable. Other card errors are `card_` with their
/// number, 600 to 617.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-extensible-enum" = true)))]
#[cfg_attr(feature = "schema", schemars(!into, !try_from, rename_all = "snake_case"))]
#[serde(into = "String", try_from = "String")]
pub enum Reason {
    /// The person declined.
    Declined,
    /// The person did not ask for this.
    NotMe,
    /// Too many wrong codes.
    WrongCode,
    /// It was not finished in time.
    Deadline,
    /// The FIDO2 server's session ran out.
    SessionExpired,
    /// The card refused the PIN; a new attempt is the person's decision.
    PinFailed,
    /// No credential to use: the card has none for this user, or the FIDO2 server knows none.
    NoCredential,
    /// User verification is required, and the card has no PIN or did not ask for it.
    PinNotSet,
    /// The card holds a credential of this user already.
    AlreadyRegistered,
    /// The card's signature counter did not grow: a copy of the card may be in use.
    CloneSuspected,
    /// The card's key store is full.
    CardFull,
    /// The user has as many cards as one may have: one must be removed first.
    CardLimit,
    /// The FIDO2 server refused.
    UpstreamRejected,
    /// The FIDO2 server could not be reached or gave an invalid answer.
    UpstreamUnavailable,
    /// The FIDO2 server could not store.
    UpstreamFull,
    /// A completion call was sent, and its answer did not arrive.
    UpstreamUnknown,
    /// The relay stopped while a completion call was in flight.
    Interrupted,
    /// Any other card error, with its number.
    #[cfg_attr(feature = "schema", schemars(untagged, schema_with = "crate::schema::card_reason"))]
    Card(u16),
}

impl Reason {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> String {
        let fixed = match self {
            Self::Declined => "declined",
            Self::NotMe => "not_me",
            Self::WrongCode => "wrong_code",
            Self::Deadline => "deadline",
            Self::SessionExpired => "session_expired",
            Self::PinFailed => "pin_failed",
            Self::PinNotSet => "pin_not_set",
            Self::AlreadyRegistered => "already_registered",
            Self::CloneSuspected => "clone_suspected",
            Self::NoCredential => "no_credential",
            Self::CardFull => "card_full",
            Self::CardLimit => "card_limit",
            Self::Card(number) => return format!("card_{number}"),
            Self::UpstreamRejected => "upstream_rejected",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamFull => "upstream_full",
            Self::UpstreamUnknown => "upstream_unknown",
            Self::Interrupted => "interrupted",
        };
        fixed.to_owned()
    }

    /// Whether a page's ticket must not see it.
    #[must_use]
    pub fn is_hidden_from_pages(self) -> bool {
        self.is_about_card() || matches!(self, Self::Declined | Self::NotMe)
    }

    /// Whether it is about the card.
    #[must_use]
    pub fn is_about_card(self) -> bool {
        matches!(
            self,
            Self::PinFailed
                | Self::PinNotSet
                | Self::AlreadyRegistered
                | Self::CloneSuspected
                | Self::NoCredential
                | Self::CardFull
                | Self::CardLimit
                | Self::Card(_)
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code())
    }
}

/// A text that is no reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known reason")]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(code: &str) -> Result<Self, UnknownReason> {
        Ok(match code {
            "declined" => Self::Declined,
            "not_me" => Self::NotMe,
            "wrong_code" => Self::WrongCode,
            "deadline" => Self::Deadline,
            "session_expired" => Self::SessionExpired,
            "pin_failed" => Self::PinFailed,
            "pin_not_set" => Self::PinNotSet,
            "already_registered" => Self::AlreadyRegistered,
            "clone_suspected" => Self::CloneSuspected,
            "no_credential" => Self::NoCredential,
            "card_full" => Self::CardFull,
            "card_limit" => Self::CardLimit,
            "upstream_rejected" => Self::UpstreamRejected,
            "upstream_unavailable" => Self::UpstreamUnavailable,
            "upstream_full" => Self::UpstreamFull,
            "upstream_unknown" => Self::UpstreamUnknown,
            "interrupted" => Self::Interrupted,
            other => {
                let digits = other.strip_prefix("card_").ok_or(UnknownReason)?;
                let number = digits.parse().map_err(|_| UnknownReason)?;
                let card = CardErrorCode::new(number).map_err(|_| UnknownReason)?;
                let reason = Self::Card(card.number().ok_or(UnknownReason)?);
                // A number has many spellings ("+605", "0605"), a stable code has one.
                if reason.code() == other {
                    reason
                } else {
                    return Err(UnknownReason);
                }
            }
        })
    }
}

impl TryFrom<String> for Reason {
    type Error = UnknownReason;

    fn try_from(code: String) -> Result<Self, UnknownReason> {
        code.parse()
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.code()
    }
}
