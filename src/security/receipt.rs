//! Receipts: what an auditor needs to verify a card's signature years later, without this relay.
//!
//! A receipt is made from the closed record alone, so that it says the same each time; only the
//! signature around it is new (ECDSA is). It names the initiator, the user and the phone, and
//! contains the card's signed answer. Whether the words of a transaction are covered by that
//! signature can be computed again from `tx_nonce`.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::{
    Binding, CeremonyId, CeremonyType, ClientId, DeviceId, Outcome, Step, TenantId, UnixMillis,
    Username,
};
use serde::{Deserialize, Serialize};

use super::record::RecordSigner;
use crate::core::ceremony::{Ceremony, TxBinding};

/// `typ` of a receipt.
pub const TYP: &str = "ceremony-receipt+jwt";

/// What a receipt says. Bytes are base64url without padding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The relay's public URL.
    pub iss: String,
    pub jti: CeremonyId,
    pub sub: Username,
    /// When the verdict was stored, in seconds.
    pub iat: u64,
    /// The relying party's tenant.
    pub tenant: TenantId,
    /// The initiator that opened it.
    pub client_id: ClientId,
    /// What it was for.
    pub ceremony_type: CeremonyType,
    /// Always `succeeded`.
    pub outcome: Outcome,
    /// How page and phone were tied together.
    pub binding: Binding,
    /// The phone that held the card.
    pub device_id: DeviceId,
    /// The relying party id that the card signed for.
    pub rp_id: String,
    /// When it was opened, in milliseconds since the epoch.
    pub opened_at: UnixMillis,
    /// When the answer was accepted.
    pub answered_at: Option<UnixMillis>,
    /// When the verdict was stored.
    pub closed_at: UnixMillis,
    /// SHA-256 of the challenge that the FIDO2 server gave.
    pub challenge_sha256: String,
    /// SHA-256 of the transaction's canonical JSON (RFC 8785).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_hash: Option<String>,
    /// What vouches for the transaction's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_binding: Option<TxBinding>,
    /// The nonce in the challenge, with `tx_binding` `card`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_nonce: Option<String>,
    /// What the card made.
    pub card: CardPart,
}

/// What the card made, as it was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardPart {
    pub credential_id: String,
    /// `clientDataJSON`, whose SHA-256 the signature covers.
    pub client_data_json: String,
    /// The authenticator data, with an assertion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticator_data: Option<String>,
    /// The signature over both, with an assertion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The attestation object, with a registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation_object: Option<String>,
    /// The credential's public key (COSE), where the relay knows it: not with an external FIDO2
    /// server, whose registrations' receipts hold it within the attestation object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// The card SDK's JSON object, as far as it is kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CardCredential {
    id: Option<String>,
    raw_id: Option<String>,
    response: CardResponse,
}

#[derive(Deserialize)]
struct CardResponse {
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    #[serde(rename = "authenticatorData")]
    authenticator_data: Option<String>,
    signature: Option<String>,
    #[serde(rename = "attestationObject")]
    attestation_object: Option<String>,
}

/// base64url without padding, from base64 in either alphabet, padded or not. `None` if it is
/// neither.
fn normal(text: &str) -> Option<String> {
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(&text).is_ok().then_some(text)
}

fn sha256(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes))
}

impl CardPart {
    fn of(credential: &str, public_key: Option<&str>) -> Option<Self> {
        let CardCredential { id, raw_id, response } = serde_json::from_str(credential).ok()?;
        let object = response.attestation_object.as_deref().and_then(normal);
        // Beside an attestation object the two others are copies from within it, if they are there.
        let beside = |text: Option<String>| match object {
            Some(_) => None,
            None => text.as_deref().and_then(normal),
        };
        Some(Self {
            credential_id: normal(&raw_id.or(id)?)?,
            client_data_json: normal(&response.client_data_json)?,
            authenticator_data: beside(response.authenticator_data),
            signature: beside(response.signature),
            public_key: public_key.map(str::to_owned),
            attestation_object: object,
        })
    }
}

impl Receipt {
    /// The receipt of a ceremony, if it succeeded and its evidence was kept.
    #[must_use]
    pub fn of(issuer: &str, ceremony: &Ceremony) -> Option<Self> {
        let closed = ceremony.closed()?;
        let evidence = closed.approval.as_ref()?.evidence.as_deref()?;
        let (_, device_id, _) = closed.accepted?;
        let request = &ceremony.request;
        let tx_hash = match &request.transaction {
            Some(words) => Some(sha256(&serde_json_canonicalizer::to_vec(words).ok()?)),
            None => None,
        };
        let at = |step| ceremony.progress().find(|entry| entry.step == step);
        Some(Self {
            iss: issuer.to_owned(),
            jti: request.id,
            sub: request.username.clone(),
            iat: closed.at.as_secs(),
            tenant: request.tenant.clone(),
            client_id: request.client_id,
            ceremony_type: request.ceremony_type,
            outcome: closed.outcome,
            binding: request.binding,
            device_id,
            rp_id: request.rp_id.clone(),
            opened_at: request.opened_at,
            answered_at: at(Step::Verifying).map(|entry| entry.at),
            closed_at: closed.at,
            challenge_sha256: sha256(&URL_SAFE_NO_PAD.decode(&evidence.challenge).ok()?),
            tx_hash,
            tx_binding: closed.tx_binding,
            tx_nonce: evidence.transaction_nonce.clone(),
            card: CardPart::of(&evidence.credential, evidence.public_key.as_deref())?,
        })
    }

    /// The receipt as a compact JWS.
    #[must_use]
    pub fn sign(&self, signer: &RecordSigner) -> Option<String> {
        signer.sign(TYP, self)
    }

    /// SHA-256 of the receipt's payload (the JWS's second part, decoded): what the audit log
    /// notes of it, the same for each signature around it.
    #[must_use]
    pub fn payload_sha256(&self) -> Option<String> {
        serde_json::to_vec(self).ok().map(|bytes| sha256(&bytes))
    }
}
