//! Bodies of the HTTP interface. Requests refuse unknown fields; answers may gain fields. What is
//! secret in a body (codes, tokens, proofs, signed results) is left out when the body is printed.

use std::fmt;

use serde::{Deserialize, Serialize};

mod cards;
mod clients;
mod devices;
mod pull;
mod tokens;
mod users;

pub use self::cards::{CardAttestation, CardList, CardView};
pub use self::clients::{ClientView, Scope};
pub use self::devices::{
    DeviceList, DeviceView, OpenPairing, OpenedPairing, P256Jwk, PairDevice, PairedDevice,
    Platform, PushService, PushTarget, RenameDevice, RotateDeviceKey, RotatedDeviceKey, SetPush,
    WebPushKeys,
};
pub use self::pull::Pulled;
pub use self::tokens::{
    GrantedToken, JwkSet, PublishedJwk, ServerMetadata, TokenError, TokenErrorCode,
};
pub use self::users::{HeldBy, PromptLane, UserPrompts};

use crate::ids::{CeremonyId, DeviceId};
use crate::life::{Binding, CeremonyType, Outcome, Phase, PriorAuth, Reason, SameNetwork, Step};
use crate::limits::{CEREMONY_MAX_S, CEREMONY_MIN_S};
use crate::text::{BrowserSecret, ClientNonce, DisplayName, Message, PlainText, Username};
use crate::{number, object};

/// What an approval is about, shown on both sides before the card is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// What it is, such as "Payment to Ada".
    pub title: PlainText<80>,
    /// What it consists of: 1 to 16 lines.
    #[serde(deserialize_with = "object::list")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 16)))]
    pub fields: Vec<TransactionField>,
}

/// One line of a [`Transaction`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TransactionField {
    /// Such as "Amount".
    pub label: PlainText<40>,
    /// Such as "120.00 EUR".
    pub value: PlainText<140>,
}

/// The browser that asked, as the initiator saw it; shown to the person on the phone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BrowserContext {
    /// IP address of the browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<PlainText<45>>,
    /// Its `User-Agent` header. The device gets a short form: "Chrome on Windows".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Approximate location of the browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<PlainText<80>>,
    /// A secret of this browser, such as a long-lived cookie of the page: at least 128 bits, 22 to
    /// 128 visible ASCII characters. It distinguishes a browser in which this user has succeeded
    /// from an unknown one. It reaches no device, and only a keyed hash of it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<BrowserSecret>,
}

/// A preference in three strengths (WebAuthn `UserVerificationRequirement`,
/// `ResidentKeyRequirement`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Requirement {
    /// The ceremony fails without it.
    Required,
    /// Used where the card can.
    Preferred,
    /// Avoided, where the card can.
    Discouraged,
}

/// Whether the card should prove its model (WebAuthn `AttestationConveyancePreference`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Attestation {
    /// Not requested.
    None,
    /// Requested, as the card gives it.
    Direct,
    /// Requested, possibly anonymised.
    Indirect,
}

/// Where the authenticator may be (WebAuthn `AuthenticatorAttachment`, and `all`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Attachment {
    /// In the phone itself.
    Platform,
    /// Outside of the phone, such as a card.
    CrossPlatform,
    /// Either of them.
    All,
}

/// Signature algorithms (COSE names, RFC 9053, RFC 8812 and RFC 9964).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256, COSE −7.
    Es256,
    /// Ed25519, COSE −8.
    Eddsa,
    /// ECDSA on P-384 with SHA-384, COSE −35.
    Es384,
    /// RSASSA-PSS with SHA-256, COSE −37.
    Ps256,
    /// ML-DSA-44, COSE −48.
    #[serde(rename = "ml_dsa_44")]
    MlDsa44,
    /// ML-DSA-65, COSE −49.
    #[serde(rename = "ml_dsa_65")]
    MlDsa65,
    /// RSASSA-PKCS1-v1_5 with SHA-256, COSE −257.
    Rs256,
}

impl Algorithm {
    /// The COSE algorithm number.
    #[must_use]
    pub const fn cose(self) -> i64 {
        match self {
            Self::Es256 => -7,
            Self::Eddsa => -8,
            Self::Es384 => -35,
            Self::Ps256 => -37,
            Self::MlDsa44 => -48,
            Self::MlDsa65 => -49,
            Self::Rs256 => -257,
        }
    }
}

/// Options for the FIDO2 server, in that server's own spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UpstreamOptions {
    /// Whether the card must ask for the PIN.
    #[serde(default, rename = "userVerification", skip_serializing_if = "Option::is_none")]
    pub user_verification: Option<Requirement>,
    /// Whether the card should say what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
    /// Where the authenticator may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attachment>,
    /// Signature algorithms, the preferred first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Whether the card itself should remember the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discoverable_credential: Option<Requirement>,
    /// The relying party, where the tenant allows another than its own.
    #[serde(default, rename = "rpId", skip_serializing_if = "Option::is_none")]
    pub rp_id: Option<PlainText<253>>,
}

/// `POST /v1/ceremonies`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenCeremony {
    /// The purpose of the ceremony.
    #[serde(rename = "type")]
    pub ceremony_type: CeremonyType,
    /// The user whose card answers.
    pub username: Username,
    /// Name by which the phone greets the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<DisplayName>,
    /// Offer the ceremony only to this device of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// Seconds until the deadline, 30 to 600; 120 by default.
    #[cfg_attr(feature = "schema", schemars(range(min = 30, max = 600)))]
    #[serde(
        default,
        deserialize_with = "number::optional::<CEREMONY_MIN_S, CEREMONY_MAX_S, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout_s: Option<u64>,
    /// How page and phone are bound together.
    #[serde(default)]
    pub binding: Binding,
    /// A text that page and phone show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// Required for an approval, forbidden otherwise.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub transaction: Option<Transaction>,
    /// The browser that asked.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub context: Option<BrowserContext>,
    /// Returned in the result token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_nonce: Option<ClientNonce>,
    /// How the initiator authenticated the user before.
    #[serde(default)]
    pub prior_auth: PriorAuth,
    /// Show the ticket's holder whether a phone was reached (the steps `sent` and `delivered`).
    /// Needs the scope `presence:read` and a `prior_auth` other than `none`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub show_delivery: bool,
    /// Options for the FIDO2 server.
    #[serde(default, deserialize_with = "object::one")]
    pub options: UpstreamOptions,
}

impl OpenCeremony {
    /// A ceremony of which nothing else is said.
    #[must_use]
    pub fn new(ceremony_type: CeremonyType, username: Username) -> Self {
        Self {
            ceremony_type,
            username,
            display_name: None,
            device_id: None,
            timeout_s: None,
            binding: Binding::default(),
            message: None,
            transaction: None,
            context: None,
            client_nonce: None,
            prior_auth: PriorAuth::default(),
            show_delivery: false,
            options: UpstreamOptions::default(),
        }
    }
}

/// Whether a ceremony still runs, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No outcome yet.
    Pending,
    /// Ended with this outcome.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::outcomes"))]
    #[serde(untagged)]
    Ended(Outcome),
}

/// The answer to an open.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OpenedCeremony {
    /// Id of the ceremony.
    pub id: CeremonyId,
    /// `pending` at first; an idempotent repeat gives the current status.
    pub status: Status,
    /// The current phase.
    pub phase: Phase,
    /// With binding `code`: what the page shows and the person types into the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Read-only access to this ceremony for a page.
    pub ticket: String,
    /// The `prior_auth` that counted: without the scope `prior_auth:assert` it is `none`.
    #[serde(default)]
    pub prior_auth: PriorAuth,
    /// Seconds left.
    pub expires_in: u64,
}

impl fmt::Debug for OpenedCeremony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedCeremony")
            .field("id", &self.id)
            .field("status", &self.status)
            .field("phase", &self.phase)
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// One step of a ceremony.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProgressEntry {
    /// The number of this kind of step, the same in every ceremony; `since` of a long poll and
    /// `id` of a server-sent event. It may be lower than that of the previous step.
    pub seq: u32,
    /// The event.
    pub step: Step,
    /// When, by the relay's clock (RFC 3339, UTC, milliseconds).
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub at: String,
}

/// A ceremony as its watchers see it. With a ticket the only optional field is `reason`, where it
/// is about neither the card nor the person's decision.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CeremonyView {
    /// Id of the ceremony.
    pub id: CeremonyId,
    /// The purpose of the ceremony.
    #[serde(rename = "type")]
    pub ceremony_type: CeremonyType,
    /// The user whose card answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Username>,
    /// `pending`, or the outcome.
    pub status: Status,
    /// The current phase.
    pub phase: Phase,
    /// The number of the last step in `progress`, for use as `since`.
    pub seq: u32,
    /// The steps so far that the watcher may see, in their order of time, each at most once. With
    /// binding `code`, `sent` and `delivered` are for initiators with the scope
    /// `presence:read`, and for pages of a ceremony that was opened with `show_delivery`.
    pub progress: Vec<ProgressEntry>,
    /// The reason, where the outcome has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Whether phone and browser were in one network; only for the initiator, after the code was
    /// typed, and where the operator has switched it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_network: Option<SameNetwork>,
    /// The signed result token, only when succeeded and only for the initiator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Seconds left; 0 when closed.
    pub expires_in: u64,
}

impl fmt::Debug for CeremonyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CeremonyView")
            .field("id", &self.id)
            .field("ceremony_type", &self.ceremony_type)
            .field("status", &self.status)
            .field("phase", &self.phase)
            .field("seq", &self.seq)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}
