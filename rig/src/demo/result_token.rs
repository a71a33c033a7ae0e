//! What a backend checks before it believes in a result: the token's signature by a key of the
//! relay's own set, and that it speaks of exactly the ceremony that this backend opened.
//!
//! Written as an initiator would write it, from the published contract: it knows nothing of how
//! the relay makes the token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::http::Transaction;
use fido_relay_proto::{
    Binding, CeremonyId, CeremonyType, ClientId, DeviceId, Outcome, UnixMillis, Username,
};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// `typ` of a result token: no other JWS of the relay's can stand in for one.
pub const RESULT_TYP: &str = "ceremony-result+jwt";
/// Seconds by which the relay's clock and this one may differ.
const LEEWAY_S: u64 = 5;

/// What the backend remembers of the ceremony that it opened.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The relay's issuer name.
    pub issuer: String,
    /// This backend's client id.
    pub audience: ClientId,
    /// The ceremony.
    pub id: CeremonyId,
    /// What it was for.
    pub ceremony_type: CeremonyType,
    /// How page and phone were to be tied together.
    pub binding: Binding,
    /// When it was opened.
    pub opened_at: UnixMillis,
    /// Whose card.
    pub username: Username,
    /// The nonce that the backend gave when it opened.
    pub client_nonce: String,
    /// What was to be approved, as the backend itself would carry it out.
    pub transaction: Option<Transaction>,
}

/// The claims of a result token.
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    /// Who signed.
    pub iss: String,
    /// For whom.
    pub aud: String,
    /// Whose card.
    pub sub: String,
    /// The ceremony.
    pub jti: String,
    /// When it was signed (seconds since the epoch).
    pub iat: u64,
    /// Until when it counts (seconds since the epoch).
    pub exp: u64,
    /// The opener's nonce.
    pub client_nonce: Option<String>,
    /// What the ceremony was for.
    pub ceremony_type: CeremonyType,
    /// How it ended.
    pub outcome: Outcome,
    /// How page and phone were tied together.
    pub binding: Binding,
    /// How the user was authenticated (RFC 8176 names).
    pub amr: Vec<String>,
    /// When the user was authenticated (seconds since the epoch).
    pub auth_time: u64,
    /// SHA-256 of the transaction in canonical JSON (base64url).
    pub tx_hash: Option<String>,
    /// What vouches for the transaction: `card` or `relay`.
    pub tx_binding: Option<TxBinding>,
    /// SHA-256 of the credential id (base64url): the same card gives the same value.
    pub cred_hash: Option<String>,
    /// The phone.
    pub device_id: Option<DeviceId>,
}

/// What vouches for the words of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TxBinding {
    /// The challenge that the card signed covers them.
    Card,
    /// The relay's signature alone covers them.
    Relay,
}

/// A token that held, and the key that signed it.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The claims.
    pub claims: Claims,
    /// The key's id in the relay's key set.
    pub key_id: String,
}

/// Why a token does not count.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a JWS, or of another kind.
    #[error("this is not a ceremony result")]
    WrongKind,
    /// The header names no key of the relay's set.
    #[error("the token is signed by a key that the relay does not publish")]
    UnknownKey,
    /// Signature, issuer, audience or lifetime.
    #[error("the token does not hold: {0}")]
    Invalid(#[source] jsonwebtoken::errors::Error),
    /// It speaks of something else than what was asked.
    #[error("the token's {0} is not what was asked for")]
    Mismatch(&'static str),
}

/// Checks a result token against the relay's keys and the backend's own memory.
///
/// # Errors
/// [`TokenError`]: the ceremony then counts as not approved, whatever else was said.
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

/// SHA-256 of the transaction in canonical JSON (RFC 8785), base64url: what `tx_hash` must be.
#[must_use]
pub fn transaction_hash(transaction: &Transaction) -> String {
    let canonical = serde_json_canonicalizer::to_vec(transaction)
        .unwrap_or_else(|_| unreachable!("a transaction is plain text and has a JSON form"));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &canonical);
    URL_SAFE_NO_PAD.encode(digest)
}
