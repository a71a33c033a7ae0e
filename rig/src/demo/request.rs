//! Requests of a page to the demo's bank, and their answers. Knows neither pages nor calls.

use fido_relay_proto::http::OpenedCeremony;
use fido_relay_proto::{CeremonyType, Outcome, Reason};
use serde::{Deserialize, Serialize};

use super::initiator::CallError;
use super::result_token::{TokenError, Verified};
use super::session::SessionToken;

/// A ceremony that was opened for a page.
#[derive(Debug, Serialize)]
pub struct OpenedForPage {
    #[serde(flatten)]
    pub ceremony: OpenedCeremony,
    /// Seconds until phones ring again, if a report of "not me" mutes this ceremony.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rings_in_s: Option<u64>,
    /// Whether the ticket shows the delivery to the phone: only for a customer who is signed in.
    pub shows_delivery: bool,
}

/// What a page may request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Register,
    SignIn,
    Approve,
}

impl Action {
    /// Its name in the bank's paths.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::SignIn => "sign-in",
            Self::Approve => "approve",
        }
    }

    #[must_use]
    pub const fn ceremony_type(self) -> CeremonyType {
        match self {
            Self::Register => CeremonyType::Registration,
            Self::SignIn => CeremonyType::Authentication,
            Self::Approve => CeremonyType::Approval,
        }
    }
}

/// The outcome of a ceremony to the bank.
#[derive(Debug)]
pub enum BankVerdict {
    Pending,
    /// Succeeded by a valid token, with its effect at the bank.
    Proven(Box<Verified>, Settlement),
    /// Reported as succeeded without a valid token: treated as not approved.
    Unproven(TokenError),
    Other(CeremonyType, Outcome, Option<Reason>),
}

/// The effect of a proven success at the bank.
#[derive(Clone, Debug)]
pub enum Settlement {
    Registered,
    SignedIn(SessionToken),
    Paid,
    /// By an earlier approval, in another tab.
    PaidBefore,
    /// No effect: the session of the approval is over.
    SignedOut,
}

/// Why the bank refuses a page's request.
#[derive(Debug, thiserror::Error)]
pub enum BankError {
    #[error(transparent)]
    Relay(#[from] CallError),
    /// Unknown, forgotten, or of another ticket.
    #[error("there is no such ceremony for this page")]
    NotYours,
    /// Needs a session.
    #[error("nobody is signed in here")]
    SignedOut,
    /// A payment is made once.
    #[error("the payment is approved")]
    AlreadyApproved,
}
