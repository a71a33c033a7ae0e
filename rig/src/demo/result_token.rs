//! Verification of a result token by an initiator: its signature by a published key of the relay, and
//! its claims against the ceremony that this backend opened.
//!
//! Written from docs/initiators.md alone; it knows nothing of how the relay makes the token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::http::Transaction;
use fido_relay_proto::{
    Binding, CeremonyId, CeremonyType, ClientId, DeviceId, Outcome, UnixMillis, Username,
};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// `typ` of a result token, which sets it apart from every other JWS of the relay.
pub const RESULT_TYP: &str = "ceremony-result+jwt";
/// Seconds of clock skew.
const LEEWAY_S: u64 = 5;

/// The ceremony as the backend opened it.
#[derive(Clone, Debug)]
pub struct Expected {
    pub issuer: String,
    pub audience: ClientId,
    pub id: CeremonyId,
    pub ceremony_type: CeremonyType,
    pub binding: Binding,
    pub opened_at: UnixMillis,
    pub username: Username,
    pub client_nonce: String,
    /// The transaction as the backend will carry it out.
    pub transaction: Option<Transaction>,
}

/// The claims of a result token.
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: String,
    pub jti: String,
    pub iat: u64,
    pub exp: u64,
    pub client_nonce: Option<String>,
    pub ceremony_type: CeremonyType,
    pub outcome: Outcome,
    pub binding: Binding,
    /// How the user was authenticated (RFC 8176 names).
    pub amr: Vec<String>,
    /// Seconds since the epoch.
    pub auth_time: u64,
    /// SHA-256 of the transaction in canonical JSON (base64url).
    pub tx_hash: Option<String>,
    pub tx_binding: Option<TxBinding>,
    /// SHA-256 of the credential id (base64url).
    pub cred_hash: Option<String>,
    pub device_id: Option<DeviceId>,
}

/// What covers the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TxBinding {
    /// The card's signature, by its challenge.
    Card,
    /// The relay's signature alone.
    Relay,
}

#[derive(Clone, Debug)]
pub struct Verified {
    pub claims: Claims,
    /// The id of the key that signed it.
    pub key_id: String,
}

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a JWS of this `typ`.
    #[error("this is not a ceremony result")]
    WrongKind,
    #[error("the token is signed by a key that the relay does not publish")]
    UnknownKey,
    /// Signature, issuer, audience or lifetime.
    #[error("the token does not hold: {0}")]
    Invalid(#[source] jsonwebtoken::errors::Error),
    /// The named claim differs from the ceremony that was opened.
    #[error("the token's {0} is not what was asked for")]
    Mismatch(&'static str),
}

/// Verifies a result token against the relay's keys and the ceremony that was opened.
///
/// # Errors
/// [`TokenError`]: the ceremony then counts as not approved.
pub fn verify(
    token: &str,
    keys: &JwkSet,
    expected: &Expected,
    now: UnixMillis,
) -> Result<Verified, TokenError> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::WrongKind)?;
    let typ = header.typ.as_deref();
    if header.alg != Algorithm::ES256 || typ != Some(RESULT_TYP) || header.crit.is_some() {
        return Err(TokenError::WrongKind);
    }
    let key_id = header.kid.ok_or(TokenError::UnknownKey)?;
    let key = keys.find(&key_id).ok_or(TokenError::UnknownKey)?;
    let key = DecodingKey::from_jwk(key).map_err(|_| TokenError::UnknownKey)?;

    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    rules.set_issuer(&[&expected.issuer]);
    rules.set_audience(&[expected.audience.to_string()]);
    rules.leeway = LEEWAY_S;
    let token = jsonwebtoken::decode::<Claims>(token, &key, &rules).map_err(TokenError::Invalid)?;

    let claims = token.claims;
    let tx_hash = expected.transaction.as_ref().map(transaction_hash);
    let now = now.0 / 1000;
    let since_opening = (expected.opened_at.0 / 1000).saturating_sub(LEEWAY_S)..=now + LEEWAY_S;
    let checks = [
        ("time of signing", claims.iat <= now + LEEWAY_S),
        ("time of authentication", since_opening.contains(&claims.auth_time)),
        ("ceremony", claims.jti == expected.id.to_string()),
        ("ceremony type", claims.ceremony_type == expected.ceremony_type),
        ("user", claims.sub == expected.username.as_str()),
        ("nonce", claims.client_nonce.as_deref() == Some(expected.client_nonce.as_str())),
        ("binding", claims.binding == expected.binding),
        ("outcome", claims.outcome == Outcome::Succeeded),
        ("transaction", claims.tx_hash == tx_hash),
        ("transaction's binding", claims.tx_binding.is_some() == tx_hash.is_some()),
        ("user verification", claims.amr.iter().any(|method| method == "pin")),
    ];
    match checks.into_iter().find(|(_, holds)| !holds) {
        Some((name, _)) => Err(TokenError::Mismatch(name)),
        None => Ok(Verified { claims, key_id }),
    }
}

/// The `tx_hash` of a transaction: SHA-256 of its canonical JSON (RFC 8785), base64url.
#[must_use]
pub fn transaction_hash(transaction: &Transaction) -> String {
    let canonical = serde_json_canonicalizer::to_vec(transaction)
        .unwrap_or_else(|_| unreachable!("a transaction is plain text and has a JSON form"));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &canonical);
    URL_SAFE_NO_PAD.encode(digest)
}
