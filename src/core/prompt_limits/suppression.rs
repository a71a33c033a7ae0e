//! The output of the rules: whether a ceremony rings, and by which rule it does not.

use fido_relay_proto::UnixMillis;
use serde::{Deserialize, Serialize};

use super::Lane;

/// Whether a ceremony rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptDecision {
    /// Where it is counted if it rings.
    pub lane: Lane,
    /// Why it does not ring; none: it does.
    pub suppression: Option<Suppression>,
    /// Suppressed prompts that the user's phones should get a notice of now.
    pub notice: Option<SuppressedPrompts>,
}

/// A rule that suppresses prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppression {
    pub reason: SuppressionReason,
    /// When it lets the next prompt pass, if nothing happens before then.
    pub until: UnixMillis,
}

/// Prompts that were suppressed since the last notice of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressedPrompts {
    pub count: u32,
    /// When the first of them was suppressed.
    pub since: UnixMillis,
}

/// The rule by which a ceremony does not ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionReason {
    /// The person said "not me" a while ago.
    Muted,
    /// The person declined this initiator's prompt a moment ago.
    Quiet,
    /// Too many wrong codes of the user's phones; only in records of earlier versions.
    CodesSpent,
    /// The lane's prompts of this hour are used up.
    Hour,
    /// Too soon after prompts without a success.
    Wait,
    /// The lane has its maximum of open ceremonies.
    Live,
    /// A ceremony whose initiator knew more of the user took its place; only in records of earlier
    /// versions.
    Displaced,
}

impl SuppressionReason {
    /// Its name in logs and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Muted => "muted",
            Self::Quiet => "quiet",
            Self::CodesSpent => "codes_spent",
            Self::Hour => "hour",
            Self::Wait => "wait",
            Self::Live => "live",
            Self::Displaced => "displaced",
        }
    }

    /// The key of the configuration that sets the rule's number.
    #[must_use]
    pub const fn setting(self) -> Option<&'static str> {
        match self {
            Self::Muted => Some("prompts.not_me_mute_s"),
            Self::Quiet => Some("prompts.declined_quiet_s"),
            Self::Hour => Some("prompts.per_hour"),
            Self::Wait => Some("prompts.waits_s"),
            Self::Live => Some("prompts.live"),
            Self::CodesSpent | Self::Displaced => None,
        }
    }
}
