//! Options objects (WebAuthn sections 5.4 and 5.5, flat as in the FIDO Alliance's server interface),
//! and the session by which a completion verifies an answer.

use fido_relay_proto::http::{Algorithm, Attachment, Attestation, Requirement, UpstreamOptions};
use fido_relay_proto::{UnixMillis, Username};
use fido_relay_webauthn::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The default algorithms, the preferred first.
const ALGORITHMS: [Algorithm; 7] = [
    Algorithm::MlDsa65,
    Algorithm::MlDsa44,
    Algorithm::Es256,
    Algorithm::Eddsa,
    Algorithm::Es384,
    Algorithm::Rs256,
    Algorithm::Ps256,
];

/// The state of a ceremony between its two calls. It holds the challenge and must not be logged.
#[derive(Serialize, Deserialize)]
pub(super) struct FidoSession {
    pub(super) purpose: Purpose,
    pub(super) username: Username,
    pub(super) rp_id: String,
    pub(super) challenge: Bytes,
    /// The nonce in the challenge of a transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) transaction_nonce: Option<Bytes>,
    /// Whether the card must verify its user.
    pub(super) user_verification: bool,
    pub(super) begun_at: UnixMillis,
}

/// The two ceremonies of WebAuthn, each with its own state.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// Section 7.1.
    Registration {
        /// The user handle in the options object.
        user_handle: Bytes,
        /// The epoch of the username from which the handle was derived.
        #[serde(default)]
        epoch: u64,
        /// The COSE algorithms that were offered.
        algorithms: Vec<i64>,
    },
    /// Section 7.2.
    Authentication {
        /// The credentials of which one must be used; empty: any of the user's.
        allowed: Vec<Bytes>,
    },
}

/// The input of both kinds of options object.
pub(super) struct OptionsInput<'a> {
    pub(super) challenge: &'a Bytes,
    pub(super) rp_id: &'a str,
    pub(super) options: &'a UpstreamOptions,
    pub(super) timeout_ms: u64,
}

/// The COSE algorithms that a registration offers; empty if the initiator names only disabled ones.
pub(super) fn algorithms(options: &UpstreamOptions, post_quantum: bool) -> Vec<i64> {
    let chosen = options.algorithms.as_deref().filter(|chosen| !chosen.is_empty());
    let is_on = |algorithm: &&Algorithm| {
        post_quantum || !matches!(algorithm, Algorithm::MlDsa44 | Algorithm::MlDsa65)
    };
    chosen.unwrap_or(&ALGORITHMS).iter().filter(is_on).map(|algorithm| algorithm.cose()).collect()
}

/// `required` by default, unlike WebAuthn's `preferred`: the PIN is a card's second factor.
fn user_verification(options: &UpstreamOptions) -> Requirement {
    options.user_verification.unwrap_or(Requirement::Required)
}

/// Whether the card must verify its user.
pub(super) fn requires_verification(options: &UpstreamOptions) -> bool {
    user_verification(options) == Requirement::Required
}

/// `PublicKeyCredentialCreationOptions` of a registration.
pub(super) fn creation(
    input: &OptionsInput<'_>,
    rp_name: &str,
    user: (&Bytes, &str, &str),
    algorithms: &[i64],
    excluded: &[Bytes],
) -> Map<String, Value> {
    let options = input.options;
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
    object.insert("rp".into(), json!({"id": input.rp_id, "name": rp_name}));
    object.insert("user".into(), json!({"id": handle, "name": name, "displayName": display_name}));
    object.insert("challenge".into(), json!(input.challenge));
    object.insert("pubKeyCredParams".into(), parameters.into());
    object.insert("timeout".into(), input.timeout_ms.into());
    object.insert("excludeCredentials".into(), descriptors(excluded));
    object.insert("authenticatorSelection".into(), selection);
    object.insert("attestation".into(), json!(options.attestation.unwrap_or(Attestation::None)));
    object
}

/// `PublicKeyCredentialRequestOptions` of an authentication.
pub(super) fn request(input: &OptionsInput<'_>, allowed: &[Bytes]) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("challenge".into(), json!(input.challenge));
    object.insert("timeout".into(), input.timeout_ms.into());
    object.insert("rpId".into(), input.rp_id.into());
    object.insert("allowCredentials".into(), descriptors(allowed));
    object.insert("userVerification".into(), json!(user_verification(input.options)));
    object
}

fn descriptors(ids: &[Bytes]) -> Value {
    ids.iter().map(|id| json!({"type": "public-key", "id": id})).collect()
}
