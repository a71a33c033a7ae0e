//! What a ceremony is made of: the request that never changes, the history that only grows, and
//! the state, which holds what that state has and nothing else.

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

use super::fact::{Fact, FactKind, ProgressEntry};
use super::stored::Stored;
use crate::core::prompt_limits::{BrowserHash, Lane};

/// What was asked for, as it was stored before anybody was told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The ceremony.
    pub id: CeremonyId,
    /// Its relying party.
    pub tenant: TenantId,
    /// Who opened it, and alone may read its result.
    pub client_id: ClientId,
    /// The client's registered name, shown to the person.
    pub client_name: PlainText<64>,
    /// What it is for.
    pub ceremony_type: CeremonyType,
    /// Whose card.
    pub username: Username,
    /// How the person is greeted.
    pub display_name: DisplayName,
    /// Only this device of the user's.
    pub device_id: Option<DeviceId>,
    /// How page and phone are tied together.
    pub binding: Binding,
    /// A sentence for both sides.
    pub message: Option<Message>,
    /// What is approved.
    pub transaction: Option<Transaction>,
    /// The browser that asked.
    pub context: Option<BrowserContext>,
    /// Given back in the result token.
    pub client_nonce: Option<ClientNonce>,
    /// How the initiator knew the user, as far as it is believed.
    pub prior_auth: PriorAuth,
    /// The browser, where the initiator tells browsers apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<BrowserHash>,
    /// Whose budget its prompt is counted in.
    #[serde(default, skip_serializing_if = "Lane::is_stranger")]
    pub lane: Lane,
    /// Whether its code alone finds it.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub code_alone: bool,
    /// Whether a page's ticket sees the steps that tell presence. Missing in records of earlier
    /// versions, which showed every watcher these steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_delivery: Option<bool>,
    /// The relying party id that the card will sign for.
    pub rp_id: String,
    /// Options for the FIDO2 server.
    pub options: UpstreamOptions,
    /// When it was opened.
    pub opened_at: UnixMillis,
    /// When it expires.
    pub deadline: UnixMillis,
}

fn yes() -> bool {
    true
}

/// The digits that a person carries from the page to the app. Prints nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub String);

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(hidden)")
    }
}

impl Code {
    /// Whether these are the digits; takes the same time for every wrong guess of this length.
    #[must_use]
    pub fn matches(&self, typed: &str) -> bool {
        self.0.len() == typed.len()
            && self.0.bytes().zip(typed.bytes()).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
    }
}

/// What ties a completion call to its begin call, in the words of the FIDO2 server at hand
/// (session cookies, or the built-in server's own state). Prints nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpstreamSession(pub String);

impl fmt::Debug for UpstreamSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamSession(hidden)")
    }
}

/// What vouches for the words of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxBinding {
    /// The challenge that the card signed covers them.
    Card,
    /// Only the relay's signature on the result does.
    Relay,
}

/// A challenge that a device may answer.
#[derive(Clone, Serialize, Deserialize)]
pub struct Challenge {
    /// Its name on the wire.
    pub attempt: AttemptId,
    /// The device that gave the right code; with binding `none`, any of the user's.
    pub device: Option<DeviceId>,
    /// What the completion call will need.
    pub session: UpstreamSession,
    /// The challenge (base64url without padding).
    pub challenge: String,
    /// For `clientDataJSON`.
    pub origin: String,
    /// The FIDO2 server's options object, untouched.
    pub public_key: Box<RawValue>,
    /// What the challenge covers of the transaction.
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

/// A card's answer as it was accepted.
#[derive(Clone, Serialize, Deserialize)]
pub struct Answer {
    /// Who gave it.
    pub device: DeviceId,
    /// The card SDK's JSON object, byte for byte.
    pub credential: Box<RawValue>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("device", &self.device).finish_non_exhaustive()
    }
}

/// What is known of a verified answer: material for the result token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedAnswer {
    /// SHA-256 of the credential id (base64url without padding).
    pub cred_hash: String,
    /// Whether the card verified the user (flag UV of the signed authenticator data); `None`
    /// where the answer's form does not tell.
    pub user_verified: Option<bool>,
    /// What the verdict was about; only where receipts are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<ReceiptEvidence>>,
}

/// What lets somebody verify the card's signature again, years later. The FIDO2 server says what
/// it alone knows, the ceremony adds what it holds when it closes. Its `Debug` prints nothing.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptEvidence {
    /// The credential's public key (COSE, base64url), where the server is known to have used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The nonce in a challenge that covers a transaction (base64url).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_nonce: Option<String>,
    /// The challenge (base64url), spent by now.
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
    /// How it ended.
    pub outcome: Outcome,
    /// What the outcome alone does not say.
    pub reason: Option<Reason>,
    /// When.
    pub at: UnixMillis,
    /// What was verified; only when succeeded.
    pub approval: Option<VerifiedAnswer>,
    /// Who vouches for the transaction's words; only when succeeded and for an approval.
    pub tx_binding: Option<TxBinding>,
    /// The answer that was accepted, if one was: (attempt, device, SHA-256 of its bytes), so that
    /// the same answer sent again still gets the same acknowledgement.
    pub accepted: Option<(AttemptId, DeviceId, [u8; 32])>,
}

/// Where a ceremony stands, with what that state has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Shown to the user's devices; waits for the code.
    Offered {
        /// What the page shows.
        code: Code,
        /// Wrong codes so far.
        wrong_codes: u8,
    },
    /// The FIDO2 server is asked for a challenge.
    Preparing {
        /// Names the call, so that a late answer to an earlier one is told apart.
        attempt: AttemptId,
        /// The device that gave the right code.
        device: Option<DeviceId>,
    },
    /// A device has, or is about to get, the challenge.
    Challenged(Box<Challenge>),
    /// The answer is stored, and with it the intent to complete exactly once.
    Verifying {
        /// What was answered.
        challenge: Box<Challenge>,
        /// The answer.
        answer: Answer,
        /// SHA-256 of the answer's bytes.
        digest: [u8; 32],
        /// When it was accepted.
        since: UnixMillis,
        /// Who has it completed: nobody else ever will.
        by: NodeId,
    },
    /// There is an outcome.
    Closed(Box<Closed>),
}

/// One ceremony: what is stored and what every rule is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Ceremony {
    /// What was asked for.
    pub request: Request,
    /// No phone rings for it: it waits for its deadline like one whose phones are away, so that its
    /// opener cannot tell. A code that is typed on a phone finds it all the same.
    #[serde(rename = "silent", skip_serializing_if = "std::ops::Not::not")]
    pub suppressed: bool,
    /// Whether the phone that took it up and the browser were in one network, where that is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_network: Option<SameNetwork>,
    /// What has happened, in order; at most [`HISTORY_LIMIT`](super::HISTORY_LIMIT) facts.
    pub history: Vec<Fact>,
    /// Where it stands.
    pub state: State,
}

/// What one of the user's devices should be showing.
#[derive(Debug)]
pub enum Prompt<'a> {
    /// Nothing: it is not this device's business, or not yet.
    Nothing,
    /// What it shows already: the relay is at work on what this device gave.
    Wait,
    /// The offer, and a field for the code.
    Offer,
    /// The offer, and the request for the card.
    Challenge(&'a Challenge),
    /// That another device has it.
    Elsewhere,
    /// That it is over.
    Closed(&'a Closed),
}

impl Ceremony {
    /// What `device`, one of the user's, should be showing now. The same for a device that was
    /// there all along and for one that has just returned.
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

    /// The public steps of the history, each at most once, in their order.
    pub fn progress(&self) -> impl Iterator<Item = ProgressEntry> + '_ {
        let first = |at: usize, step| {
            self.history.iter().take(at).all(|before| before.kind.step() != Some(step))
        };
        self.history.iter().enumerate().filter_map(move |(at, fact)| {
            let step = fact.kind.step()?;
            first(at, step).then_some(ProgressEntry { step, at: fact.at })
        })
    }

    /// Whether this device's app said that it has the offer or challenge. No challenge goes to a
    /// device that did not.
    #[must_use]
    pub fn is_acked_by(&self, device: DeviceId) -> bool {
        self.has_of(device, FactKind::Delivered) || self.has_of(device, FactKind::Previewed)
    }

    /// Whether a push service took a wake for this device.
    #[must_use]
    pub fn has_woken(&self, device: DeviceId) -> bool {
        self.has_of(device, FactKind::Woken)
    }

    fn has_of(&self, device: DeviceId, kind: FactKind) -> bool {
        self.history.iter().any(|fact| fact.kind == kind && fact.device == Some(device))
    }

    /// Whether it reached a phone as a prompt: one that was written to a socket which then died
    /// unacknowledged did not, one for which a push service took a wake did.
    #[must_use]
    pub fn rang(&self) -> bool {
        let last = self.history.iter().rev().find_map(|fact| match fact.kind {
            FactKind::Sent | FactKind::Woken | FactKind::Delivered => Some(true),
            FactKind::Lost => Some(false),
            FactKind::Opened
            | FactKind::Previewed
            | FactKind::WrongCode { .. }
            | FactKind::Claimed
            | FactKind::Challenged { .. }
            | FactKind::Card { .. }
            | FactKind::Answered { .. }
            | FactKind::Suppressed { .. }
            | FactKind::Closed { .. } => None,
        });
        last.unwrap_or(false)
    }

    /// Whether it waits for somebody to take it up: its prompt, if it has one, is every phone's.
    #[must_use]
    pub fn is_unclaimed(&self) -> bool {
        match &self.state {
            State::Offered { .. } => true,
            State::Preparing { device, .. } => device.is_none(),
            State::Challenged(challenge) => challenge.device.is_none(),
            State::Verifying { .. } | State::Closed(_) => false,
        }
    }

    /// The code that is waited for, if one is.
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

    /// The phase's public name.
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

    /// When time alone will change this ceremony, if it will.
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
