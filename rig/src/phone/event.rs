//! What a phone does, told to whoever watches it: tests wait for these instead of sleeping.

use fido_relay_proto::device::{
    CardErrorCode, Challenge, DeclineReason, FrameErrorCode, Notice, Offer,
};
use fido_relay_proto::{AttemptId, CeremonyId, ConnectionId, Outcome, Reason};

/// One thing that happened at the phone.
#[derive(Clone, Debug)]
pub enum PhoneEvent {
    /// The relay welcomed the device on a new socket.
    Connected {
        /// That socket.
        connection_id: ConnectionId,
    },
    /// The phone holds no connection: nothing is open, and a wake will come through its push service.
    Asleep,
    /// The push service woke the phone, which asks the relay what there is.
    Woken {
        /// What the wake is called.
        wake: String,
        /// What the notification says.
        body: String,
    },
    /// The relay asked for a new proof on this socket, and got it.
    Reauthenticated,
    /// Something happened to another of the user's devices. Told once, however often it comes.
    Noticed(Box<Notice>),
    /// The device has a new key.
    KeyRotated,
    /// The relay did not give the device a new key, or it is not known whether it did.
    KeyKept {
        /// In words.
        why: String,
    },
    /// An offer came: a prompt, or with `preview` what a typed code has found.
    Offered {
        /// What it says.
        offer: Box<Offer>,
        /// Whether the phone knew the ceremony already.
        again: bool,
    },
    /// A code was sent.
    Claimed {
        /// The ceremony of the prompt that it was typed into; `None` where no prompt asked for it.
        ceremony_id: Option<CeremonyId>,
    },
    /// A challenge came.
    Challenged {
        /// What it says.
        challenge: Box<Challenge>,
        /// Whether it is the attempt that the phone knew already.
        again: bool,
    },
    /// A card is in the field, or failed.
    Card {
        /// The ceremony.
        ceremony_id: CeremonyId,
        /// Why it failed; `None` when the card is there.
        error: Option<CardErrorCode>,
    },
    /// The answer was sent, be it again. It is told once for each time.
    Answered {
        /// The ceremony.
        ceremony_id: CeremonyId,
        /// The challenge that it answers.
        attempt: AttemptId,
    },
    /// The relay has stored the answer.
    Accepted {
        /// The ceremony.
        ceremony_id: CeremonyId,
        /// The challenge that was answered.
        attempt: AttemptId,
    },
    /// The person's "no" was sent.
    Declined {
        /// The ceremony; `None`: to prompts that were held back.
        ceremony_id: Option<CeremonyId>,
        /// Why.
        reason: DeclineReason,
    },
    /// The prompt was taken down.
    Closed {
        /// The ceremony.
        ceremony_id: CeremonyId,
        /// How it ended.
        outcome: Outcome,
        /// What the outcome does not say.
        reason: Option<Reason>,
    },
    /// The prompt's time was up, and the relay had not told how it ended: the phone took it down
    /// by itself.
    TimedOut {
        /// The ceremony; `None`: the relay did not answer a code that was typed alone, which is not
        /// sent again.
        ceremony_id: Option<CeremonyId>,
    },
    /// The relay refused a frame.
    Refused {
        /// The relay's stable code.
        code: FrameErrorCode,
        /// The relay's words.
        message: String,
        /// The ceremony it was about.
        ceremony_id: Option<CeremonyId>,
    },
    /// The relay wants the phone to connect again after this long.
    GoingAway {
        /// Milliseconds.
        reconnect_in_ms: u64,
    },
    /// The socket is gone, or there was none to be had.
    Disconnected {
        /// The close code, where the relay gave one.
        code: Option<u16>,
        /// In words.
        why: String,
    },
    /// The phone will try again after this long.
    Waiting {
        /// Milliseconds.
        ms: u64,
    },
    /// The last event: the phone gave up its socket for good.
    Stopped(Stopped),
}

/// Why a phone connects no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// By its handle, or because the process stops.
    #[error("the phone was stopped")]
    Told,
    /// 4409: the device has a newer socket elsewhere.
    #[error("the same device has connected elsewhere (4409)")]
    Replaced,
    /// 4403: the device was revoked.
    #[error("the device was revoked (4403)")]
    Revoked,
    /// 4426: the relay no longer speaks this version.
    #[error("the relay needs a newer app (4426)")]
    TooOld,
    /// 4401 again and again: the relay does not know this device or its key.
    #[error("the relay does not know this device or its key (4401)")]
    Unknown,
    /// The relay takes no push address of this kind: a phone that sleeps would never be woken.
    #[error("the relay does not take this phone's push address")]
    NoPush,
}
