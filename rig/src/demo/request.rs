//! What a page may ask of the demo's bank, and what it may get. It knows no page and no relay's call.

use fido_relay_proto::http::OpenedCeremony;
use fido_relay_proto::{CeremonyType, Outcome, Reason};
use serde::{Deserialize, Serialize};

use super::initiator::CallError;
use super::result_token::{TokenError, Verified};
use super::session::SessionToken;

/// A ceremony that was opened for a page.
#[derive(Debug, Serialize)]
pub struct OpenedHere {
    /// What the relay answered.
    #[serde(flatten)]
    pub ceremony: OpenedCeremony,
    /// Seconds until a phone rings again, if "not me" was answered so recently that none shows
    /// this ceremony.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rings_in_s: Option<u64>,
    /// Whether the page's ticket sees when the phone has it: only for a customer who is signed in.
    pub shows_delivery: bool,
}

/// What a page may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Register,
    SignIn,
    Approve,
}

impl Action {
    /// Its name in the bank's own paths.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::SignIn => "sign-in",
            Self::Approve => "approve",
        }
    }

    /// The ceremony that it takes.
    #[must_use]
    pub const fn ceremony_type(self) -> CeremonyType {
        match self {
            Self::Register => CeremonyType::Registration,
            Self::SignIn => CeremonyType::Authentication,
            Self::Approve => CeremonyType::Approval,
        }
    }
}

/// How a ceremony ended, as far as the bank is concerned.
#[derive(Debug)]
pub enum Ending {
    Pending,
    /// Succeeded, and the token proves it; with what followed here.
    Proven(Box<Verified>, Settled),
    /// Said to have succeeded, but the token does not hold: treated as not approved.
    Unproven(TokenError),
    /// Anything but a success.
    Other(CeremonyType, Outcome, Option<Reason>),
}

/// What a proven success has led to at the bank.
#[derive(Clone, Debug)]
pub enum Settled {
    /// A card is registered.
    Registered,
    /// This session is signed in.
    SignedIn(SessionToken),
    /// The payment is made.
    Paid,
    /// The payment had been made before, by an approval in another tab.
    PaidBefore,
    /// Nothing: the session in which the approval was asked for is over.
    SignedOut,
}

/// Why the bank could not do what the page asked.
#[derive(Debug, thiserror::Error)]
pub enum BankError {
    /// The relay did not.
    #[error(transparent)]
    Relay(#[from] CallError),
    /// Not a ceremony of this page's: unknown, forgotten, or another ticket.
    #[error("there is no such ceremony for this page")]
    NotYours,
    /// Only for somebody who is signed in.
    #[error("nobody is signed in here")]
    SignedOut,
    /// The payment was approved before, and is not made twice.
    #[error("the payment is approved")]
    AlreadyApproved,
}
