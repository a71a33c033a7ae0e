//! A user's prompts: why they do not ring at the moment, and until when.

use serde::{Deserialize, Serialize};

/// A rule that keeps prompts from ringing. A ceremony that does not ring can still be answered by
/// its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-extensible-enum" = true)))]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// The person said "not me" a while ago. Only the operator lifts this.
    Muted,
    /// The person declined this initiator's prompt a moment ago.
    Quiet,
    /// The limit of prompts per hour is reached.
    Hour,
    /// The last prompts were not answered, and the pause after them is not over.
    Wait,
    /// The limit of ringing ceremonies is reached.
    Live,
}

/// Whether the next prompt of a lane rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PromptLane {
    /// Whether no rule holds it back.
    pub rings: bool,
    /// The rule that holds it back; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<HeldBy>,
    /// In how many seconds that rule lets the next one pass if nothing happens before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rings_in_s: Option<u64>,
}

/// `GET /v1/users/{username}/prompts`: the caller's own openings. With the scope `presence:read` as
/// they are; without it as they follow from the caller's own openings and their outcomes alone, as
/// if each prompt reached a phone: so that neither the user, the phone nor other initiators show.
/// Prompts of browsers in which the user has succeeded before have a lane of their own, which is not
/// shown here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UserPrompts {
    /// Openings from a browser that is not known, with `prior_auth` `none`.
    pub stranger: PromptLane,
    /// Openings with another `prior_auth`; absent: the client's word on it is not believed (scope
    /// `prior_auth:assert`), and all of them count as `stranger`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched: Option<PromptLane>,
    /// How often the caller may still lift what holds its prompts for this user back, today.
    pub unlocks_left: u32,
}
