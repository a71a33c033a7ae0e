//! The facts of a ceremony, which a step reports and the record keeps.
//!
//! Audit, webhooks, watchers, metrics and prompt limits are functions of these facts. A fact holds
//! no code, challenge, credential or session.

use fido_relay_proto::device::{CardErrorCode, CardEvent};
use fido_relay_proto::{AttemptId, DeviceId, NodeId, Outcome, Reason, Step, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::core::prompt_limits::SuppressionReason;

/// Upper bound of a ceremony's facts: most steps happen once; facts per device, wrong codes, lost
/// prompts and the suppression are bounded, too.
pub const HISTORY_LIMIT: usize = 40;
/// Facts of one kind per device: as many as a user may have devices.
pub(super) const DEVICES_LIMIT: usize = 5;
/// Times that a prompt counts as lost; after these a written prompt counts as received.
pub(super) const LOST_LIMIT: usize = 4;

/// One thing that happened. Every fact is a change of the record, and every change has a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Never before the fact that precedes it.
    pub at: UnixMillis,
    /// The device concerned. Missing if it may be several or none, and in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    pub kind: FactKind,
}

/// The kinds of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// The ceremony was stored; the device is the only one addressed, if one is.
    Opened,
    /// An offer or challenge was written to the device's socket or listed for it, the first of all
    /// or the first after [`FactKind::Lost`].
    Sent,
    /// A push service took a wake for the device, once a device.
    Woken,
    /// The socket broke before its app acknowledged the prompt, and no other device has it.
    Lost,
    /// The app acknowledged an offer or challenge, once a device.
    Delivered,
    /// The app acknowledged the offer that a typed code found; once a device.
    Previewed,
    /// A wrong code was typed on the device.
    WrongCode {
        /// Counted from 1.
        nth: u8,
    },
    /// The right code was typed on the device.
    Claimed,
    /// The FIDO2 server gave a challenge: for the device, or for all of the user's.
    Challenged {
        /// Missing in some records of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<AttemptId>,
    },
    /// The first event of a card, unless it ended the ceremony.
    Card {
        event: CardEvent,
        /// The card SDK's error number, for an error that has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<CardErrorCode>,
    },
    /// The device's answer was stored; the public step `verifying`.
    Answered {
        /// The challenge that it answers.
        attempt: AttemptId,
        /// SHA-256 of the answer's bytes.
        digest: [u8; 32],
        /// The node that makes the completion call; missing in some records of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<NodeId>,
    },
    /// No device rings for it, which the initiator cannot see.
    Suppressed {
        /// Missing in records of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<SuppressionReason>,
    },
    /// The outcome; the device is the one that ended it, or whose answer was accepted.
    Closed {
        outcome: Outcome,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
}

impl FactKind {
    /// The public step; `None` for kinds that watchers do not see.
    #[must_use]
    pub const fn step(&self) -> Option<Step> {
        match self {
            Self::Opened => Some(Step::Opened),
            Self::Sent => Some(Step::Sent),
            Self::Woken => Some(Step::Woken),
            Self::Delivered => Some(Step::Delivered),
            Self::Claimed => Some(Step::Claimed),
            Self::Challenged { .. } => Some(Step::Challenged),
            Self::Card { .. } => Some(Step::Card),
            Self::Answered { .. } => Some(Step::Verifying),
            Self::Closed { .. } => Some(Step::Closed),
            Self::Lost | Self::Previewed | Self::WrongCode { .. } | Self::Suppressed { .. } => None,
        }
    }
}

/// One public step with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ProgressEntry {
    pub step: Step,
    pub at: UnixMillis,
}
