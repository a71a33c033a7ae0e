//! The parts of a ceremony: the request, which never changes, the history, which only grows, and the
//! state, which holds only the data of that state.

use std::fmt;

use fido_relay_proto::http::{BrowserContext, Transaction, UpstreamOptions};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{
    AttemptId, Binding, CeremonyId, CeremonyType, ClientId, ClientNonce, DeviceId, DisplayName,
    Message, NodeId, Outcome, Phase, PlainText, Reason, SameNetwork, TenantId, UnixMillis,
    Username,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fact::Fact;
use crate::core::prompt_limits::{BrowserHash, Lane};

/// The request of an initiator, as it was stored before the 201.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    pub id: CeremonyId,
    pub tenant: TenantId,
    /// The client that opened it, and alone may read its result.
    pub client_id: ClientId,
    /// The client's registered name, shown to the person.
    pub client_name: PlainText<64>,
    pub ceremony_type: CeremonyType,
    pub username: Username,
    pub display_name: DisplayName,
    /// The only device that it is for, if one is named.
    pub device_id: Option<DeviceId>,
    pub binding: Binding,
    pub message: Option<Message>,
    pub transaction: Option<Transaction>,
    pub context: Option<BrowserContext>,
    /// Returned in the result token.
    pub client_nonce: Option<ClientNonce>,
    /// How the initiator knew the user, if it may assert that.
    pub prior_auth: PriorAuth,
    /// The browser, if the initiator identifies browsers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<BrowserHash>,
    /// The budget in which its prompt is counted.
    #[serde(default, skip_serializing_if = "Lane::is_stranger")]
    pub lane: Lane,
    /// Whether a claim may find it by its code alone.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub code_alone: bool,
    /// Whether a page's ticket sees the steps that reveal presence. Missing in records of earlier
    /// versions, which showed these steps to every watcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_delivery: Option<bool>,
    pub rp_id: String,
    /// Options for the FIDO2 server.
    pub options: UpstreamOptions,
    pub opened_at: UnixMillis,
    pub deadline: UnixMillis,
}

fn yes() -> bool {
    true
}

/// The digits that the page shows and the person types into the app. Its `Debug` hides them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub String);

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(hidden)")
    }
}

impl Code {
    /// Compares the digits, in constant time for guesses of the right length.
    #[must_use]
    pub fn matches(&self, typed: &str) -> bool {
        self.0.len() == typed.len()
            && self.0.bytes().zip(typed.bytes()).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
    }
}

/// The state that a completion call needs from its begin call: session cookies, or the built-in
/// server's own state. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpstreamSession(pub String);

impl fmt::Debug for UpstreamSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamSession(hidden)")
    }
}

/// The signature that covers the text of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxBinding {
    /// The card's: the challenge is derived from the text.
    Card,
    /// Only the relay's signature on the result.
    Relay,
}

/// A challenge that a device may answer.
#[derive(Clone, Serialize, Deserialize)]
pub struct Challenge {
    pub attempt: AttemptId,
    /// The device that gave the right code; `None` with binding `none`: any of the user's.
    pub device: Option<DeviceId>,
    /// The state for the completion call.
    pub session: UpstreamSession,
    /// Base64url without padding.
    pub challenge: String,
    /// The origin for `clientDataJSON`.
    pub origin: String,
    /// The FIDO2 server's options object, unchanged.
    pub public_key: Box<RawValue>,
    pub tx_binding: TxBinding,
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge")
            .field("attempt", &self.attempt)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// The accepted answer of a card.
#[derive(Clone, Serialize, Deserialize)]
pub struct Answer {
    pub device: DeviceId,
    /// The card SDK's JSON object, byte for byte.
    pub credential: Box<RawValue>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("device", &self.device).finish_non_exhaustive()
    }
}

/// Facts of a verified answer, for the result token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedAnswer {
    /// SHA-256 of the credential id (base64url without padding).
    pub cred_hash: String,
    /// Flag UV of the signed authenticator data; `None` if it could not be read.
    pub user_verified: Option<bool>,
    /// Present where receipts are enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<ReceiptEvidence>>,
}

/// The evidence that verifies the card's signature again years later. The FIDO2 server gives what
/// only it knows, the ceremony adds the rest when it closes. Its `Debug` hides it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptEvidence {
    /// The credential's public key (COSE, base64url), where the server is known to have used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The nonce in a challenge that covers a transaction (base64url).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_nonce: Option<String>,
    /// The challenge (base64url).
    pub challenge: String,
    /// The card SDK's JSON object, byte for byte.
    pub credential: String,
}

impl fmt::Debug for ReceiptEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptEvidence(hidden)")
    }
}

/// The end of a ceremony.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Closed {
    pub outcome: Outcome,
    pub reason: Option<Reason>,
    pub at: UnixMillis,
    /// Present after a success.
    pub approval: Option<VerifiedAnswer>,
    /// Present after the success of an approval.
    pub tx_binding: Option<TxBinding>,
    /// The accepted answer, if there was one: (attempt, device, SHA-256 of its bytes), so that the
    /// same answer sent again still gets the same acknowledgement.
    pub accepted: Option<(AttemptId, DeviceId, [u8; 32])>,
}

/// The state of a ceremony, with the data of that state only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Shown to the user's devices; waits for the code.
    Offered {
        code: Code,
        wrong_codes: u8,
    },
    /// The FIDO2 server is asked for a challenge.
    Preparing {
        /// The begin call; results of other calls are ignored.
        attempt: AttemptId,
        /// The device that gave the right code.
        device: Option<DeviceId>,
    },
    /// A device has, or is about to get, the challenge.
    Challenged(Box<Challenge>),
    /// The answer is stored, and with it the intent to complete exactly once.
    Verifying {
        challenge: Box<Challenge>,
        answer: Answer,
        /// SHA-256 of the answer's bytes.
        digest: [u8; 32],
        /// When the answer was accepted.
        since: UnixMillis,
        /// The only node that may make the completion call.
        by: NodeId,
    },
    Closed(Box<Closed>),
}

/// One ceremony, as it is stored.
#[derive(Clone, Debug, Serialize)]
pub struct Ceremony {
    pub request: Request,
    /// Whether no phone rings for it. To the initiator it looks like a ceremony whose phones are
    /// offline, and a code that is typed on a phone still finds it.
    #[serde(rename = "silent", skip_serializing_if = "std::ops::Not::not")]
    pub suppressed: bool,
    /// Whether the claiming phone and the browser were in one network, where that is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_network: Option<SameNetwork>,
    /// The facts in order; at most [`HISTORY_LIMIT`](super::HISTORY_LIMIT).
    pub history: Vec<Fact>,
    pub state: State,
}

/// The prompt that a device should show.
#[derive(Debug)]
pub enum Prompt<'a> {
    /// None: the ceremony is not for this device, or not yet.
    Nothing,
    /// No change: the relay processes this device's claim or answer.
    Wait,
    /// The offer with a field for the code.
    Offer,
    /// The offer with the request for the card.
    Challenge(&'a Challenge),
    /// Another device has claimed the ceremony.
    Elsewhere,
    Closed(&'a Closed),
}

impl Ceremony {
    /// The prompt of `device`, one of the user's: a function of the state, so it is the same for a
    /// device that stayed connected and for one that has just reconnected.
    #[must_use]
    pub fn prompt_for(&self, device: DeviceId) -> Prompt<'_> {
        if self.request.device_id.is_some_and(|only| only != device) {
            return Prompt::Nothing;
        }
        if self.suppressed && self.is_unclaimed() {
            return Prompt::Nothing;
        }
        match &self.state {
            State::Offered { .. } => Prompt::Offer,
            State::Preparing { device: holder, .. } => match holder {
                Some(holder) if *holder != device => Prompt::Elsewhere,
                Some(_) => Prompt::Wait,
                None => Prompt::Nothing,
            },
            State::Challenged(challenge) => match challenge.device {
                Some(holder) if holder != device => Prompt::Elsewhere,
                Some(_) | None => Prompt::Challenge(challenge),
            },
            State::Verifying { answer, .. } if answer.device != device => Prompt::Elsewhere,
            State::Verifying { .. } => Prompt::Wait,
            State::Closed(closed) => Prompt::Closed(closed),
        }
    }

    /// Whether no device has claimed it yet, so that its prompt is for all of the user's.
    #[must_use]
    pub fn is_unclaimed(&self) -> bool {
        match &self.state {
            State::Offered { .. } => true,
            State::Preparing { device, .. } => device.is_none(),
            State::Challenged(challenge) => challenge.device.is_none(),
            State::Verifying { .. } | State::Closed(_) => false,
        }
    }

    /// The code that a device has to send, while it is asked for.
    #[must_use]
    pub fn code(&self) -> Option<&Code> {
        match &self.state {
            State::Offered { code, .. } => Some(code),
            State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. }
            | State::Closed(_) => None,
        }
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Offered { .. } => Phase::Offered,
            State::Preparing { .. } => Phase::Preparing,
            State::Challenged(_) => Phase::Challenged,
            State::Verifying { .. } => Phase::Verifying,
            State::Closed(_) => Phase::Closed,
        }
    }

    /// The end, if there is one.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        match &self.state {
            State::Closed(closed) => Some(closed),
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. } => None,
        }
    }

    /// The time of the next change by time alone.
    #[must_use]
    pub fn wakes_at(&self) -> Option<UnixMillis> {
        match &self.state {
            State::Offered { .. } | State::Preparing { .. } | State::Challenged(_) => {
                Some(self.request.deadline)
            }
            State::Verifying { since, .. } => Some(since.plus_millis(super::COMPLETION_LIMIT_MS)),
            State::Closed(_) => None,
        }
    }
}
