//! Result tokens: the relay's signed word that a ceremony succeeded, for its initiator.
//!
//! JWS ES256 (RFC 7515), `typ` `ceremony-result+jwt`; the public key is published as a JWK set
//! (RFC 7517). A token lives 60 s; each fetch of the result signs anew.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use fido_relay_proto::http::{JwkSet, PublishedJwk};
use fido_relay_proto::{
    Binding, CeremonyId, CeremonyType, ClientId, ClientNonce, DeviceId, Outcome, SameNetwork,
    UnixMillis, Username,
};
use serde::{Deserialize, Serialize};

use super::jws::{JwsSigner, UnusableKey};
use super::keys::Keys;
use crate::core::ceremony::{Success, TxBinding};

/// `typ` of a result token.
pub const TYP: &str = "ceremony-result+jwt";
/// Seconds from `iat` to `exp`.
pub const LIFETIME_S: u64 = 60;

/// What a result token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The relay's public URL.
    pub iss: String,
    pub aud: ClientId,
    pub sub: Username,
    pub jti: CeremonyId,
    /// Signed at, in seconds.
    pub iat: u64,
    /// Void from, in seconds.
    pub exp: u64,
    /// The initiator's own value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_nonce: Option<ClientNonce>,
    /// What the ceremony was for.
    pub ceremony_type: CeremonyType,
    /// Always `succeeded`.
    pub outcome: Outcome,
    /// How page and phone were tied together.
    pub binding: Binding,
    /// How the user was authenticated (RFC 8176).
    pub amr: Vec<String>,
    /// When the FIDO2 server's verdict was stored, in seconds.
    pub auth_time: u64,
    /// SHA-256 of the transaction's canonical JSON (RFC 8785), base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_hash: Option<String>,
    /// What vouches for the transaction's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_binding: Option<TxBinding>,
    /// Whether phone and browser were in one network; only where the tenant's configuration asks
    /// for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_network: Option<SameNetwork>,
    /// SHA-256 of the credential id, base64url.
    pub cred_hash: String,
    pub device_id: DeviceId,
}

#[derive(Debug)]
pub struct ResultSigner {
    issuer: String,
    tells_network: bool,
    signer: JwsSigner,
}

impl ResultSigner {
    /// Signs as `issuer`, the relay's public URL; `tells_network`: tokens have `same_network`.
    ///
    /// # Errors
    /// [`UnusableKey`] if the stored key is no P-256 key.
    pub fn new(keys: &Keys, issuer: &str, tells_network: bool) -> Result<Self, UnusableKey> {
        let (issuer, signer) = (issuer.to_owned(), JwsSigner::new(&keys.result)?);
        Ok(Self { issuer, tells_network, signer })
    }

    /// What verifiers need.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: vec![self.signer.published().clone()] }
    }

    /// How many were signed.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.signer.signed()
    }

    /// The result token of a ceremony that succeeded; `None`, and said in the log, if it cannot be
    /// signed.
    #[must_use]
    pub fn sign(&self, success: &Success, now: UnixMillis) -> Option<String> {
        self.signer.sign(TYP, &self.claims(success, now)?)
    }

    fn claims(&self, success: &Success, now: UnixMillis) -> Option<Claims> {
        let tx_hash = match &success.transaction {
            Some(transaction) => {
                let canonical = serde_json_canonicalizer::to_vec(transaction).ok()?;
                Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, &canonical)))
            }
            None => None,
        };
        Some(Claims {
            iss: self.issuer.clone(),
            aud: success.client_id,
            sub: success.username.clone(),
            jti: success.id,
            iat: now.as_secs(),
            exp: now.as_secs() + LIFETIME_S,
            client_nonce: success.client_nonce.clone(),
            ceremony_type: success.ceremony_type,
            outcome: Outcome::Succeeded,
            binding: success.binding,
            amr: amr(success.approval.user_verified),
            auth_time: success.at.as_secs(),
            tx_hash,
            tx_binding: success.tx_binding,
            same_network: success.same_network.filter(|_| self.tells_network),
            cred_hash: success.approval.cred_hash.clone(),
            device_id: success.device_id,
        })
    }
}

/// RFC 8176 section 2: possession of a key, the user's presence, and the card's PIN where the card
/// says that it verified the user. Not `hwk`: without attestation the place of the key is unknown.
fn amr(user_verified: Option<bool>) -> Vec<String> {
    let methods: &[&str] = match user_verified {
        Some(true) => &["pop", "user", "pin", "mfa"],
        Some(false) | None => &["pop", "user"],
    };
    methods.iter().map(|&method| method.to_owned()).collect()
}
