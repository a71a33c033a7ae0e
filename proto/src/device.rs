//! Frames of the device socket: JSON text frames, tagged by `type`.
//!
//! A frame from a device is parsed twice, `type` first: serde's internally tagged enums buffer their
//! content, and a card's answer must stay byte for byte. Unknown fields are ignored, so that an app
//! may be newer than the relay.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

mod card_error;
mod notice;
mod preview;
mod proofs;
mod relay_frame;

pub use self::card_error::CardErrorCode;
pub use self::notice::{Notice, NoticeEvent};
pub use self::preview::Preview;
pub use self::proofs::{
    AUTH_TYP, AuthClaims, KEY_POSSESSION_TYP, KEY_ROTATION_TYP, KeyClaims, PAIRING_TYP, PULL_TYP,
    PairingClaims, PullClaims,
};

use crate::http::{BrowserContext, Transaction};
use crate::ids::{AttemptId, CeremonyId, ConnectionId};
use crate::life::{CeremonyType, Outcome, Reason};
use crate::text::{DisplayName, Message, PlainText, Username};

/// The relay's limits that an app must keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SocketLimits {
    /// Bytes of one frame.
    pub frame_bytes: u32,
    /// Frames a second, sustained.
    pub frames_per_s: u32,
    /// Frames in a burst.
    pub burst: u32,
}

/// What the person is asked, without a challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Offer {
    /// Id of the ceremony.
    pub ceremony_id: CeremonyId,
    /// The purpose of the ceremony.
    pub ceremony_type: CeremonyType,
    /// Who asks, from the relay's registry and not from the request.
    pub client_name: PlainText<64>,
    /// The relying party.
    pub rp_id: String,
    /// The user whose card answers.
    pub username: Username,
    /// Name by which the phone greets the user.
    pub display_name: DisplayName,
    /// The initiator's text for the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// The transaction to approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Transaction>,
    /// The browser that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<BrowserContext>,
    /// Digits of the code to type; 0 when no code is needed.
    pub code_length: u8,
    /// Seconds left when the frame was made.
    pub expires_in: u64,
    /// Present where a code that was typed on this device found the ceremony: show who asks and
    /// what for, and send a second `claim` with its id and the code once the person confirms.
    #[serde(flatten)]
    pub preview: Option<Preview>,
}

/// An [`Offer`] with what the card must sign.
#[derive(Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Challenge {
    /// What the person is asked.
    #[serde(flatten)]
    pub offer: Offer,
    /// Names this challenge in the answer. The same attempt is the same prompt.
    pub attempt: AttemptId,
    /// The challenge (base64url without padding).
    pub challenge: String,
    /// The origin for `clientDataJSON`.
    pub origin: String,
    /// The FIDO2 server's options object, untouched.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::object"))]
    pub public_key: Box<RawValue>,
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge")
            .field("offer", &self.offer)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// A frame from the relay to a device.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RelayFrame {
    /// The first frame: sign `nonce` within `auth_within_s` seconds.
    Hello {
        /// The nonce of this socket (base64url).
        nonce: String,
        /// Seconds within which the `auth` frame must arrive.
        auth_within_s: u64,
    },
    /// The device is authenticated.
    Welcome {
        /// Id of this connection.
        connection_id: ConnectionId,
        /// The relay pings about this often, in seconds.
        heartbeat_s: u64,
        /// Seconds until a `reauth` will come.
        reauth_in_s: u64,
        /// Limits that the app must keep.
        limits: SocketLimits,
    },
    /// Show this and ask for the code.
    Offer(Box<Offer>),
    /// Show this and ask for the card.
    Challenge(Box<Challenge>),
    /// The answer is stored; sending the same again gets the same.
    Accepted {
        /// Id of the ceremony.
        ceremony_id: CeremonyId,
        /// The challenge that was answered.
        attempt: AttemptId,
    },
    /// Take the prompt down.
    Closed {
        /// Id of the ceremony.
        ceremony_id: CeremonyId,
        /// How it ended.
        outcome: Outcome,
        /// The reason, where the outcome has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// A frame was refused; the socket stays.
    Error {
        /// The stable code of the error.
        code: FrameErrorCode,
        /// For the app's log.
        message: String,
        /// Whether the same frame may be worth sending again.
        retryable: bool,
        /// The ceremony that the refused frame named.
        #[serde(skip_serializing_if = "Option::is_none")]
        ceremony_id: Option<CeremonyId>,
        /// The `claim_id` of the claim that this answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        claim_id: Option<PlainText<64>>,
    },
    /// Sign this nonce on this socket with a new `auth` frame.
    Reauth {
        /// A new nonce (base64url).
        nonce: String,
        /// Seconds within which the `auth` frame must arrive.
        auth_within_s: u64,
    },
    /// Something happened to the user's devices that the person should know of.
    Notice(Box<Notice>),
    /// Answers a `ping`.
    Pong(Probe),
    /// Reconnect elsewhere or later.
    Goaway {
        /// Milliseconds to wait first, different for each socket.
        reconnect_in_ms: u64,
    },
}

impl RelayFrame {
    /// The frame as the text that goes on the wire.
    ///
    /// # Panics
    /// Never: every part of a frame has a JSON form.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("frames have a JSON form"))
    }

    /// Reads a frame, for the phone's side of the wire.
    ///
    /// # Errors
    /// [`FrameError`] if it is not a frame of this protocol.
    pub fn decode(text: &str) -> Result<Self, FrameError> {
        relay_frame::decode(text)
    }
}

/// Why a frame from a device was refused. The codes are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-extensible-enum" = true)))]
#[serde(rename_all = "snake_case")]
pub enum FrameErrorCode {
    /// Not JSON, too deeply nested, or a field missing or malformed.
    InvalidFrame,
    /// A `type` that this relay does not know.
    UnknownType,
    /// No such ceremony for this device.
    UnknownCeremony,
    /// The typed code does not have six digits. No try is lost.
    CodeMalformed,
    /// Not the code that a page shows to this user. The message says how many tries are left.
    WrongCode,
    /// The code is right, but on another device of this user. No try is lost.
    OtherDevice,
    /// Two pages show this code to this user: open a new ceremony at the page. No try is lost.
    CodeAmbiguous,
    /// Too many wrong codes of this device today: codes are accepted again tomorrow.
    TooManyCodes,
    /// Too many wrong codes of this device in a row: no code is accepted until the operator unlocks
    /// the device, or it is paired again.
    DeviceLocked,
    /// Another of the user's devices has it; take the prompt down.
    ClaimedElsewhere,
    /// Not this device's turn: no challenge was given to it, or the attempt is not the current one.
    NotChallenged,
    /// Another answer was stored first.
    AlreadyAnswered,
    /// The ceremony has its outcome.
    AlreadyClosed,
    /// More frames than allowed; the frame was ignored.
    SlowDown,
    /// The relay could not store it: send it again.
    Unavailable,
}

impl FrameErrorCode {
    /// Whether the same frame may be worth sending again.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::SlowDown | Self::Unavailable)
    }

    /// The default message of the code.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::InvalidFrame => "the frame is malformed or out of place",
            Self::UnknownType => "the frame's type is unknown",
            Self::UnknownCeremony => "there is no such ceremony for this device",
            Self::CodeMalformed => "this is not six digits; no try is lost",
            Self::WrongCode => "this is not the code that the page shows",
            Self::OtherDevice => "this code is for another of the user's devices",
            Self::CodeAmbiguous => "two ceremonies have this code; start again at the page",
            Self::TooManyCodes => "too many wrong codes today; no more are accepted",
            Self::DeviceLocked => "too many wrong codes in a row; this device is locked",
            Self::ClaimedElsewhere => "another device has this ceremony",
            Self::NotChallenged => "this device has no such challenge",
            Self::AlreadyAnswered => "another answer was stored first",
            Self::AlreadyClosed => "the ceremony is closed",
            Self::SlowDown => "too many frames; this one was ignored",
            Self::Unavailable => "the relay could not store this; send it again",
        }
    }
}

/// Which frame is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AckOf {
    /// An `offer`.
    Offer,
    /// A `challenge`.
    Challenge,
    /// A `closed`.
    Closed,
}

/// What the phone noticed of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CardEvent {
    /// A card is in the field.
    Present,
    /// The card, or the way to it, failed.
    Error,
}

/// Why the person said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeclineReason {
    /// The person changed their mind.
    Declined,
    /// The person did not ask for this.
    NotMe,
}

/// `auth`: authenticates the device.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Auth {
    /// JWS ES256 by the device key.
    pub proof: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(hidden)")
    }
}

/// `ack`: acknowledges a prompt.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ack {
    /// Id of the ceremony.
    pub ceremony_id: CeremonyId,
    /// The acknowledged frame.
    pub of: AckOf,
}

/// `claim`: the code that the person typed.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Claim {
    /// The ceremony of the prompt that it was typed into; left out, the code alone finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceremony_id: Option<CeremonyId>,
    /// As the person typed it: digits of any script; blanks and hyphens do not count.
    pub code: String,
    /// The app's name for this attempt: the answer carries it, and the same claim sent again
    /// under it counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_id: Option<PlainText<64>>,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("ceremony_id", &self.ceremony_id).finish_non_exhaustive()
    }
}

/// `card`: reports what the phone noticed of the card.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Card {
    /// Id of the ceremony.
    pub ceremony_id: CeremonyId,
    /// The event at the card.
    pub event: CardEvent,
    /// With `error`: its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CardErrorCode>,
}

/// `answer`: the card's signed answer.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Answer {
    /// Id of the ceremony.
    pub ceremony_id: CeremonyId,
    /// The challenge that is answered.
    pub attempt: AttemptId,
    /// The card SDK's JSON object, relayed byte for byte.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::object"))]
    pub credential: Box<RawValue>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("ceremony_id", &self.ceremony_id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// `decline`: the person said no.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Decline {
    /// The ceremony; left out with `not_me`, it reports prompts that were held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceremony_id: Option<CeremonyId>,
    /// Why the person declined.
    pub reason: DeclineReason,
}

/// The content of a `ping`; its `pong` has the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Probe {
    /// Chosen by the app.
    pub id: PlainText<64>,
}

/// A frame from a device to the relay.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DeviceFrame {
    /// Authenticates the device.
    Auth(Auth),
    /// Acknowledges a prompt.
    Ack(Ack),
    /// The code that the person typed.
    Claim(Claim),
    /// Reports what the phone noticed of the card.
    Card(Card),
    /// The card's signed answer.
    Answer(Answer),
    /// The person declined.
    Decline(Decline),
    /// Asks whether the line is alive, where the platform hides WebSocket pings. Answered with
    /// `pong` at once, before `auth` too.
    Ping(Probe),
}

/// Why a text is not a frame. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not JSON, or a field is missing or malformed.
    #[error("the frame is malformed")]
    Invalid,
    /// A `type` of another protocol or a later version.
    #[error("the frame's type is unknown")]
    UnknownType,
}

/// The tag of a frame.
#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(rename = "type", borrow)]
    tag: std::borrow::Cow<'a, str>,
}

fn tag(text: &str) -> Result<std::borrow::Cow<'_, str>, FrameError> {
    serde_json::from_str::<Tag<'_>>(text).map(|tag| tag.tag).map_err(|_| FrameError::Invalid)
}

fn body<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FrameError> {
    serde_json::from_str(text).map_err(|_| FrameError::Invalid)
}

impl DeviceFrame {
    /// Reads a frame from a device.
    ///
    /// # Errors
    /// [`FrameError`] if it is not a frame of this protocol.
    pub fn decode(text: &str) -> Result<Self, FrameError> {
        match &*tag(text)? {
            "auth" => body(text).map(Self::Auth),
            "ack" => body(text).map(Self::Ack),
            "claim" => body(text).map(Self::Claim),
            "card" => body(text).map(Self::Card),
            "answer" => body(text).map(Self::Answer),
            "decline" => body(text).map(Self::Decline),
            "ping" => body(text).map(Self::Ping),
            _ => Err(FrameError::UnknownType),
        }
    }

    /// The frame as the text that goes on the wire, for the phone's side.
    ///
    /// # Panics
    /// Never: every part of a frame has a JSON form.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("frames have a JSON form"))
    }

    /// The ceremony that the frame is about, if it is about one.
    #[must_use]
    pub fn ceremony_id(&self) -> Option<CeremonyId> {
        match self {
            Self::Auth(_) | Self::Ping(_) => None,
            Self::Ack(frame) => Some(frame.ceremony_id),
            Self::Claim(frame) => frame.ceremony_id,
            Self::Card(frame) => Some(frame.ceremony_id),
            Self::Answer(frame) => Some(frame.ceremony_id),
            Self::Decline(frame) => frame.ceremony_id,
        }
    }
}
