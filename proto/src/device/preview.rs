//! The additional fields of an offer that a typed code found.

use serde::{Deserialize, Serialize};

use crate::text::PlainText;

/// Details of an offer that was found by a typed code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Preview {
    /// Always true.
    pub by_code: bool,
    /// Whether phones were asked for it beforehand.
    pub rang: bool,
    /// Whether the user succeeded before in the browser that asks.
    pub known_browser: bool,
    /// Whether the person said "not me" a short while ago: warn before the confirmation.
    pub after_not_me: bool,
    /// The `claim_id` of the claim that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_id: Option<PlainText<64>>,
}
