//! What can happen to a ceremony, what is answered to whoever caused it, and what must follow.

use std::fmt;

use fido_relay_proto::device::{AckOf, CardErrorCode, CardEvent, DeclineReason};
use fido_relay_proto::{AttemptId, DeviceId, NodeId, Reason, SameNetwork};
use serde_json::value::RawValue;

use super::fact::Fact;
use super::state::{TxBinding, UpstreamSession, VerifiedAnswer};

/// What a FIDO2 server gave to begin with.
#[derive(Clone)]
pub struct Begun {
    /// What the completion call will need.
    pub session: UpstreamSession,
    /// The challenge (base64url without padding).
    pub challenge: String,
    /// For `clientDataJSON`.
    pub origin: String,
    /// The server's options object, untouched.
    pub public_key: Box<RawValue>,
    /// What the challenge covers of the transaction.
    pub tx_binding: TxBinding,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What a FIDO2 server said of an answer, or that nobody knows what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Verified.
    Approved(VerifiedAnswer),
    /// Refused, for a reason of [`Outcome::Rejected`](fido_relay_proto::Outcome::allows).
    Rejected(Reason),
    /// The server's session had run out.
    SessionLost,
    /// The server could not store.
    Full,
    /// The call never left, and time or patience ran out: the answer was not judged.
    NotAsked,
    /// The call may have arrived, its answer did not.
    Unknown,
}

/// What happens to a ceremony.
#[derive(Clone)]
pub enum Event {
    /// An offer or challenge was written to a socket of this device.
    Sent {
        /// Which.
        device: DeviceId,
    },
    /// The socket of this device died before its app acknowledged the prompt, and no other device
    /// has it.
    Lost { device: DeviceId },
    /// A push service took a wake for this device.
    Woken { device: DeviceId },
    /// The app has the offer that its person found by a code.
    Previewed { device: DeviceId },
    /// The app has it.
    Acked {
        /// Which device.
        device: DeviceId,
        /// Which frame.
        of: AckOf,
    },
    /// A code was typed.
    Claim {
        /// Where.
        device: DeviceId,
        /// Names the begin call that follows a right code.
        attempt: AttemptId,
        /// What.
        code: String,
        /// Whether phone and browser are in one network, where that is compared.
        same_network: Option<SameNetwork>,
    },
    /// The FIDO2 server gave a challenge.
    Begun {
        /// The call that it answers.
        attempt: AttemptId,
        /// What it gave.
        begun: Box<Begun>,
    },
    /// The FIDO2 server gave none.
    BeginFailed {
        /// The call.
        attempt: AttemptId,
        /// Why.
        reason: Reason,
    },
    /// Something happened at the card.
    Card {
        /// Where.
        device: DeviceId,
        /// What.
        event: CardEvent,
        /// Which error.
        code: Option<CardErrorCode>,
    },
    /// The card's answer.
    Answer {
        /// Where from.
        device: DeviceId,
        /// To which challenge.
        attempt: AttemptId,
        /// The card SDK's JSON object, byte for byte.
        credential: Box<RawValue>,
        /// SHA-256 of its bytes.
        digest: [u8; 32],
        /// Who will have it completed.
        by: NodeId,
    },
    /// The FIDO2 server's word on the answer.
    Completed {
        /// The challenge that was answered.
        attempt: AttemptId,
        /// What it said.
        verdict: Verdict,
    },
    /// The person said no.
    Decline {
        /// Where.
        device: DeviceId,
        /// Why.
        reason: DeclineReason,
    },
    /// The initiator takes it back.
    Cancel,
    /// Another of the client's ceremonies has taken its place.
    Drop,
    /// Nothing but time.
    Tick,
    /// This node takes the ceremony up; whatever another had in flight is lost.
    Recover {
        /// The node that takes it up.
        by: NodeId,
    },
}

impl Event {
    /// The event's name, for logs and counters; it never changes.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "sent",
            Self::Lost { .. } => "lost",
            Self::Woken { .. } => "woken",
            Self::Previewed { .. } => "previewed",
            Self::Acked { .. } => "acked",
            Self::Claim { .. } => "claim",
            Self::Begun { .. } => "begun",
            Self::BeginFailed { .. } => "begin_failed",
            Self::Card { .. } => "card",
            Self::Answer { .. } => "answer",
            Self::Completed { .. } => "completed",
            Self::Decline { .. } => "decline",
            Self::Cancel => "cancel",
            Self::Drop => "drop",
            Self::Tick => "tick",
            Self::Recover { .. } => "recover",
        }
    }
}

impl fmt::Debug for Event {
    /// Leaves out what the person typed and what the card signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { device } => f.debug_struct("Sent").field("device", device).finish(),
            Self::Lost { device } => f.debug_struct("Lost").field("device", device).finish(),
            Self::Woken { device } => f.debug_struct("Woken").field("device", device).finish(),
            Self::Previewed { device } => {
                f.debug_struct("Previewed").field("device", device).finish()
            }
            Self::Acked { device, of } => {
                f.debug_struct("Acked").field("device", device).field("of", of).finish()
            }
            Self::Claim { device, attempt, .. } => f
                .debug_struct("Claim")
                .field("device", device)
                .field("attempt", attempt)
                .finish_non_exhaustive(),
            Self::Begun { attempt, begun } => {
                f.debug_struct("Begun").field("attempt", attempt).field("begun", begun).finish()
            }
            Self::BeginFailed { attempt, reason } => f
                .debug_struct("BeginFailed")
                .field("attempt", attempt)
                .field("reason", reason)
                .finish(),
            Self::Card { device, event, code } => f
                .debug_struct("Card")
                .field("device", device)
                .field("event", event)
                .field("code", code)
                .finish(),
            Self::Answer { device, attempt, .. } => f
                .debug_struct("Answer")
                .field("device", device)
                .field("attempt", attempt)
                .finish_non_exhaustive(),
            Self::Completed { attempt, verdict } => f
                .debug_struct("Completed")
                .field("attempt", attempt)
                .field("verdict", verdict)
                .finish(),
            Self::Decline { device, reason } => {
                f.debug_struct("Decline").field("device", device).field("reason", reason).finish()
            }
            Self::Cancel => f.write_str("Cancel"),
            Self::Drop => f.write_str("Drop"),
            Self::Tick => f.write_str("Tick"),
            Self::Recover { by } => f.debug_struct("Recover").field("by", by).finish(),
        }
    }
}

/// Why an event was refused, for whoever caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not the right code; this many tries are left.
    WrongCode {
        /// 0 closes the ceremony.
        left: u8,
    },
    /// Another device gave the right code first.
    ClaimedElsewhere,
    /// This device has no challenge, or not this one.
    NotChallenged,
    /// Another answer was stored first.
    AlreadyAnswered,
    /// There is an outcome.
    AlreadyClosed,
}

/// What is answered to whoever caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It counted.
    Done,
    /// The answer is stored, now or before.
    Accepted {
        /// The challenge that it answers.
        attempt: AttemptId,
    },
    /// It came late or twice and changes nothing; counted, not an error.
    Ignored,
    /// It must not count.
    Refused(Refusal),
}

/// A call to the FIDO2 server that must follow: a completion that has effects of its own once the
/// new state is stored, a begin perhaps before. Everything else that follows from a change (prompts
/// on phones, news for watchers) follows from the state itself: see
/// [`super::Ceremony::prompt_for`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask for a challenge. Asking twice does no harm: the answer to a call that is not the
    /// current attempt is ignored.
    Begin {
        /// The call.
        attempt: AttemptId,
    },
    /// Have the stored answer verified. Given exactly once in the life of a ceremony.
    Complete {
        /// The challenge that was answered.
        attempt: AttemptId,
    },
}

impl Reply {
    /// The reply's name, for counters; it never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Accepted { .. } => "accepted",
            Self::Ignored => "ignored",
            Self::Refused(Refusal::WrongCode { .. }) => "wrong_code",
            Self::Refused(Refusal::ClaimedElsewhere) => "claimed_elsewhere",
            Self::Refused(Refusal::NotChallenged) => "not_challenged",
            Self::Refused(Refusal::AlreadyAnswered) => "already_answered",
            Self::Refused(Refusal::AlreadyClosed) => "already_closed",
        }
    }
}

/// What came of an event.
#[derive(Debug)]
pub struct Transition {
    /// For whoever caused it.
    pub reply: Reply,
    /// What happened, as the record has it now: empty exactly if the record did not change.
    /// Otherwise store it, then tell everybody concerned to look again.
    pub facts: Vec<Fact>,
    /// What must follow once it is stored.
    pub effect: Option<Effect>,
}
