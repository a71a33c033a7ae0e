//! The input of the rules: ceremonies that are opened, their lanes, and their ends.

use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{CeremonyId, ClientId, Outcome, Reason, UnixMillis};
use serde::{Deserialize, Serialize};

/// A keyed hash of a browser's secret (base64url): two are equal where the browsers are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BrowserHash(pub String);

/// The budget that a prompt is counted in. Prompts of one lane never delay those of another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// A browser in which the user has succeeded before.
    Known(BrowserHash),
    /// The initiator asserts that it knew the user by a password or a session.
    Vouched(ClientId),
    /// All initiators that know no more than a username.
    #[default]
    Stranger,
}

impl Lane {
    /// Whether the initiator knew no more than a username.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        *self == Self::Stranger
    }
}

/// A newly opened ceremony that may prompt the user.
#[derive(Clone, Debug)]
pub struct PromptRequest {
    pub ceremony: CeremonyId,
    pub client: ClientId,
    /// How the initiator knew the user, if it may assert that.
    pub prior_auth: PriorAuth,
    /// The browser, if the initiator identifies browsers.
    pub browser: Option<BrowserHash>,
    pub until: UnixMillis,
}

/// The end of a ceremony, as far as it changes the prompt state.
#[derive(Clone, Debug)]
pub struct EndedPrompt {
    pub ceremony: CeremonyId,
    pub client: ClientId,
    /// The lane that it was admitted in.
    pub lane: Lane,
    /// The browser that opened it.
    pub browser: Option<BrowserHash>,
    /// Whether it reached a phone as a prompt.
    pub rang: bool,
    pub outcome: Outcome,
    pub reason: Option<Reason>,
    pub at: UnixMillis,
}
