//! The events of a phone, which tests wait for instead of sleeping.

use fido_relay_proto::device::{
    CardErrorCode, Challenge, DeclineReason, FrameErrorCode, Notice, Offer,
};
use fido_relay_proto::{AttemptId, CeremonyId, ConnectionId, Outcome, Reason};

/// Something that happened at the phone.
#[derive(Clone, Debug)]
pub enum PhoneEvent {
    /// The relay welcomed the device on a new socket.
    Connected { connection_id: ConnectionId },
    /// The phone holds no connection and shows nothing; its push service will wake it.
    Asleep,
    /// The push service woke the phone, which now pulls.
    Woken { wake: String, body: String },
    /// The relay asked for a new proof on this socket, which was sent.
    Reauthenticated,
    /// A notice about the user's account came; repetitions make no event.
    Noticed(Box<Notice>),
    /// The device has a new key.
    KeyRotated,
    /// The key was not exchanged, or the relay's answer was lost.
    KeyKept { why: String },
    /// An offer came: a prompt, or with `preview` what a typed code has found.
    Offered {
        offer: Box<Offer>,
        /// Whether the phone knew the ceremony already.
        again: bool,
    },
    /// A claim was sent.
    Claimed {
        /// The ceremony of the prompt that the code was typed into; `None` without a prompt.
        ceremony_id: Option<CeremonyId>,
    },
    Challenged {
        challenge: Box<Challenge>,
        /// Whether the phone knew this attempt already.
        again: bool,
    },
    /// A card is in the reader's field, or failed.
    Card {
        ceremony_id: CeremonyId,
        /// The card's error; `None` for its presence.
        error: Option<CardErrorCode>,
    },
    /// The answer was sent, the first time or again.
    Answered { ceremony_id: CeremonyId, attempt: AttemptId },
    /// The relay has stored the answer.
    Accepted { ceremony_id: CeremonyId, attempt: AttemptId },
    /// A decline was sent.
    Declined {
        /// `None` for the prompts that were held back.
        ceremony_id: Option<CeremonyId>,
        reason: DeclineReason,
    },
    /// The relay closed the ceremony, and the phone dismissed its prompt.
    Closed { ceremony_id: CeremonyId, outcome: Outcome, reason: Option<Reason> },
    /// The phone dismissed a prompt whose time was up without an outcome from the relay.
    TimedOut {
        /// `None` for a code without a prompt that the relay did not answer; it is not sent again.
        ceremony_id: Option<CeremonyId>,
    },
    /// The relay answered a frame with an error.
    Refused { code: FrameErrorCode, message: String, ceremony_id: Option<CeremonyId> },
    /// The relay asks the phone to reconnect after this time.
    GoingAway { reconnect_in_ms: u64 },
    /// The connection ended, or could not be made.
    Disconnected {
        /// The close code, where the relay gave one.
        code: Option<u16>,
        why: String,
    },
    /// The phone waits before it connects again.
    Waiting { ms: u64 },
    /// The last event: the phone does not connect again.
    Stopped(StopReason),
}

/// Why a phone does not connect again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// By its handle, or by the end of the process.
    #[error("the phone was stopped")]
    Requested,
    /// 4409: a newer socket of the device replaced it.
    #[error("the same device has connected elsewhere (4409)")]
    Replaced,
    /// 4403: the device was revoked.
    #[error("the device was revoked (4403)")]
    Revoked,
    /// 4426: the relay no longer speaks this version.
    #[error("the relay needs a newer app (4426)")]
    TooOld,
    /// 4401 several times in a row: the relay does not know this device or its key.
    #[error("the relay does not know this device or its key (4401)")]
    Unknown,
    /// The relay takes no push address of this kind: a phone that sleeps would never be woken.
    #[error("the relay does not take this phone's push address")]
    NoPush,
}
