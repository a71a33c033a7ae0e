//! Options objects (WebAuthn sections 5.4 and 5.5, flat as the FIDO Alliance's server interface
//! has them), and the session that a completion needs to hold an answer against them.

use fido_relay_proto::http::{Algorithm, Attachment, Attestation, Requirement, UpstreamOptions};
use fido_relay_proto::{UnixMillis, Username};
use fido_relay_webauthn::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Algorithms that are offered when the initiator does not choose, the preferred first.
const ALGORITHMS: [Algorithm; 7] = [
    Algorithm::MlDsa65,
    Algorithm::MlDsa44,
    Algorithm::Es256,
    Algorithm::Eddsa,
    Algorithm::Es384,
    Algorithm::Rs256,
    Algorithm::Ps256,
];

/// A ceremony between its two calls: everything that the second needs, so that it survives a
/// restart and may be made on another node. Holds the challenge: never to be printed.
#[derive(Serialize, Deserialize)]
pub(super) struct FidoSession {
    /// What it is for.
    pub(super) purpose: Purpose,
    /// Whose card.
    pub(super) username: Username,
    /// The relying party.
    pub(super) rp_id: String,
    /// The challenge that was given.
    pub(super) challenge: Bytes,
    /// With a transaction: the nonce in the challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) transaction_nonce: Option<Bytes>,
    /// Whether the card must verify its user.
    pub(super) user_verification: bool,
    /// When it began.
    pub(super) begun_at: UnixMillis,
}

/// The two ceremonies of WebAuthn, with what only one of them needs.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// Section 7.1.
    Registration {
        /// The user handle that the card was given.
        user_handle: Bytes,
        /// The epoch of the name that it was derived in.
        #[serde(default)]
        epoch: u64,
        /// The COSE algorithms that were offered.
        algorithms: Vec<i64>,
    },
    /// Section 7.2.
    Authentication {
        /// The credentials of which one must be used; none: any of the user's.
        allowed: Vec<Bytes>,
    },
}

/// What both kinds of options object are made from.
pub(super) struct OptionsInput<'a> {
    /// The challenge.
    pub(super) challenge: &'a Bytes,
    /// The relying party's id.
    pub(super) rp_id: &'a str,
    /// The initiator's wishes.
    pub(super) options: &'a UpstreamOptions,
    /// Milliseconds that the person has.
    pub(super) timeout_ms: u64,
}

/// The COSE algorithms that a registration offers; none if the initiator names only those that are
/// switched off.
pub(super) fn algorithms(options: &UpstreamOptions, post_quantum: bool) -> Vec<i64> {
    let chosen = options.algorithms.as_deref().filter(|chosen| !chosen.is_empty());
    let is_on = |algorithm: &&Algorithm| {
        post_quantum || !matches!(algorithm, Algorithm::MlDsa44 | Algorithm::MlDsa65)
    };
    chosen.unwrap_or(&ALGORITHMS).iter().filter(is_on).map(|algorithm| algorithm.cose()).collect()
}

/// WebAuthn's default is `preferred`; a card's second factor is its PIN.
fn user_verification(options: &UpstreamOptions) -> Requirement {
    options.user_verification.unwrap_or(Requirement::Required)
}

/// Whether the card must verify its user.
pub(super) fn requires_verification(options: &UpstreamOptions) -> bool {
    user_verification(options) == Requirement::Required
}

/// The options object of a registration.
pub(super) fn creation(
    wording: &OptionsInput<'_>,
    rp_name: &str,
    user: (&Bytes, &str, &str),
    algorithms: &[i64],
    excluded: &[Bytes],
) -> Map<String, Value> {
    let options = wording.options;
    let (handle, name, display_name) = user;
    let resident = options.discoverable_credential.unwrap_or(Requirement::Preferred);
    let mut selection = json!({
        "residentKey": resident,
        "requireResidentKey": resident == Requirement::Required,
        "userVerification": user_verification(options),
    });
    match options.attachment {
        Some(Attachment::Platform) => selection["authenticatorAttachment"] = "platform".into(),
        Some(Attachment::CrossPlatform) => {
            selection["authenticatorAttachment"] = "cross-platform".into();
        }
        Some(Attachment::All) | None => {}
    }
    let parameters: Vec<Value> =
        algorithms.iter().map(|number| json!({"type": "public-key", "alg": number})).collect();
    let mut object = Map::new();
    object.insert("rp".into(), json!({"id": wording.rp_id, "name": rp_name}));
    object.insert("user".into(), json!({"id": handle, "name": name, "displayName": display_name}));
    object.insert("challenge".into(), json!(wording.challenge));
    object.insert("pubKeyCredParams".into(), parameters.into());
    object.insert("timeout".into(), wording.timeout_ms.into());
    object.insert("excludeCredentials".into(), descriptors(excluded));
    object.insert("authenticatorSelection".into(), selection);
    object.insert("attestation".into(), json!(options.attestation.unwrap_or(Attestation::None)));
    object
}

/// The options object of an authentication.
pub(super) fn request(wording: &OptionsInput<'_>, allowed: &[Bytes]) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("challenge".into(), json!(wording.challenge));
    object.insert("timeout".into(), wording.timeout_ms.into());
    object.insert("rpId".into(), wording.rp_id.into());
    object.insert("allowCredentials".into(), descriptors(allowed));
    object.insert("userVerification".into(), json!(user_verification(wording.options)));
    object
}

fn descriptors(ids: &[Bytes]) -> Value {
    ids.iter().map(|id| json!({"type": "public-key", "id": id})).collect()
}
