//! The events of a ceremony, the replies to their sources, and the effects that must follow.

use std::fmt;

use fido_relay_proto::device::{AckOf, CardErrorCode, CardEvent, DeclineReason};
use fido_relay_proto::{AttemptId, DeviceId, NodeId, Reason, SameNetwork};
use serde_json::value::RawValue;

use super::fact::Fact;
use super::state::{TxBinding, UpstreamSession, VerifiedAnswer};

/// The result of a begin call.
#[derive(Clone)]
pub struct Begun {
    /// The state for the completion call.
    pub session: UpstreamSession,
    /// Base64url without padding.
    pub challenge: String,
    /// The origin for `clientDataJSON`.
    pub origin: String,
    /// The server's options object, unchanged.
    pub public_key: Box<RawValue>,
    pub tx_binding: TxBinding,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// The result of a completion call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Approved(VerifiedAnswer),
    /// Refused, for a reason of [`Outcome::Rejected`](fido_relay_proto::Outcome::allows).
    Rejected(Reason),
    /// The server's session had expired.
    SessionLost,
    /// The server could not store.
    Full,
    /// The call was not sent in time: the answer was not verified.
    NotAsked,
    /// The call may have arrived, but its result is unknown.
    Unknown,
}

/// An event of a ceremony.
#[derive(Clone)]
pub enum Event {
    /// An offer or challenge was written to a socket of the device.
    Sent {
        device: DeviceId,
    },
    /// The device's socket broke before its app acknowledged the prompt, and no other device has it.
    Lost {
        device: DeviceId,
    },
    /// A push service accepted a wake for the device.
    Woken {
        device: DeviceId,
    },
    /// The app acknowledged the offer that a typed code found.
    Previewed {
        device: DeviceId,
    },
    /// The app acknowledged a frame.
    Acked {
        device: DeviceId,
        of: AckOf,
    },
    /// A code was typed.
    Claim {
        device: DeviceId,
        /// The id of the begin call that follows a right code.
        attempt: AttemptId,
        code: String,
        /// Whether phone and browser are in one network, where that is compared.
        same_network: Option<SameNetwork>,
    },
    /// The FIDO2 server gave a challenge.
    Begun {
        attempt: AttemptId,
        begun: Box<Begun>,
    },
    /// The begin call failed.
    BeginFailed {
        attempt: AttemptId,
        reason: Reason,
    },
    /// The app reported an event of the card.
    Card {
        device: DeviceId,
        event: CardEvent,
        code: Option<CardErrorCode>,
    },
    /// The card's answer.
    Answer {
        device: DeviceId,
        /// The challenge that is answered.
        attempt: AttemptId,
        /// The card SDK's JSON object, byte for byte.
        credential: Box<RawValue>,
        /// SHA-256 of its bytes.
        digest: [u8; 32],
        /// The node that will make the completion call.
        by: NodeId,
    },
    /// The completion call has a result.
    Completed {
        /// The challenge that was answered.
        attempt: AttemptId,
        verdict: Verdict,
    },
    Decline {
        device: DeviceId,
        reason: DeclineReason,
    },
    Cancel,
    /// Another of the client's ceremonies takes its place.
    Drop,
    /// Time has passed.
    Tick,
    /// This node takes the ceremony over; calls of another node are lost.
    Recover {
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

/// Why an event was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The code is wrong.
    WrongCode {
        /// Attempts left; 0 closes the ceremony.
        left: u8,
    },
    /// Another device gave the right code first.
    ClaimedElsewhere,
    /// The device does not have this challenge.
    NotChallenged,
    /// Another answer was stored first.
    AlreadyAnswered,
    /// The ceremony has its outcome.
    AlreadyClosed,
}

/// The reply to an event's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The event took effect.
    Done,
    /// The answer to this challenge is stored, now or before.
    Accepted {
        attempt: AttemptId,
    },
    /// The event was late or repeated and changes nothing.
    Ignored,
    Refused(Refusal),
}

/// A call to the FIDO2 server that must follow: a completion only after the new state is stored, a
/// begin perhaps before. Everything else (prompts on phones, notices for watchers) follows from the
/// state itself: see [`super::Ceremony::prompt_for`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Request a challenge. Repeating it is harmless: results of other attempts than the current one
    /// are ignored.
    Begin { attempt: AttemptId },
    /// Have the stored answer verified. Given exactly once in the life of a ceremony.
    Complete { attempt: AttemptId },
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

/// The result of one step.
#[derive(Debug)]
pub struct Transition {
    pub reply: Reply,
    /// The facts added to the record's history: empty exactly if the record did not change.
    pub facts: Vec<Fact>,
    pub effect: Option<Effect>,
}
