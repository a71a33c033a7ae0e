//! Device proofs: compact JWS ES256 (RFC 7515) by the phone's own P-256 key.
//!
//! The relay's nonce makes a proof fresh and `aud` ties it to the URL that the app dialled, so a
//! fake relay cannot pass our nonce on. `iat` is not compared there: a phone's clock may be
//! anything. A key rotation has no nonce, and its `iat` is.
//! High-S signatures are accepted, phones make them; signature bytes are no replay key.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::device::{
    AUTH_TYP, AuthClaims, KEY_POSSESSION_TYP, KEY_ROTATION_TYP, KeyClaims, PAIRING_TYP,
    PairingClaims,
};
use fido_relay_proto::http::P256Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::DeserializeOwned;

/// A proof that proves nothing. There is deliberately no more to it: the sender of a bad proof
/// learns only that it is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof was not accepted")]
pub struct BadProof;

/// A public key in JWK form, from its uncompressed point.
#[must_use]
pub fn jwk(point: &[u8]) -> Option<P256Jwk> {
    let (4, coordinates) = point.split_first().map(|(form, rest)| (*form, rest))? else {
        return None;
    };
    let (x, y) = coordinates.split_at_checked(32).filter(|(_, y)| y.len() == 32)?;
    Some(P256Jwk {
        kty: "EC".to_owned(),
        crv: "P-256".to_owned(),
        x: URL_SAFE_NO_PAD.encode(x),
        y: URL_SAFE_NO_PAD.encode(y),
    })
}

/// The key's RFC 7638 thumbprint, base64url of SHA-256.
#[must_use]
pub fn thumbprint(jwk: &P256Jwk) -> String {
    let P256Jwk { kty, crv, x, y } = jwk;
    let canonical = format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

/// Verifies an `auth` proof against the device's key, this relay's socket URL and the nonce that
/// this socket was given.
///
/// # Errors
/// [`BadProof`].
pub fn verify_auth(
    proof: &str,
    jwk: &P256Jwk,
    audiences: &[String],
    nonce: &str,
) -> Result<AuthClaims, BadProof> {
    let claims: AuthClaims = verify(proof, jwk, AUTH_TYP)?;
    if audiences.contains(&claims.aud) && claims.nonce == nonce {
        Ok(claims)
    } else {
        Err(BadProof)
    }
}

/// The claims of an `auth` proof before it is verified: only to find the key that it must verify
/// with.
///
/// # Errors
/// [`BadProof`] if there are none.
pub fn claimed(proof: &str) -> Result<AuthClaims, BadProof> {
    jsonwebtoken::dangerous::insecure_decode(proof).map(|token| token.claims).map_err(|_| BadProof)
}

/// Verifies a pairing proof: the app holds the key that it registers, and means this relay and
/// this token.
///
/// # Errors
/// [`BadProof`].
pub fn verify_pairing(
    proof: &str,
    jwk: &P256Jwk,
    audience: &str,
    token_hash: &str,
) -> Result<(), BadProof> {
    let claims: PairingClaims = verify(proof, jwk, PAIRING_TYP)?;
    let good =
        claims.aud == audience && claims.token_hash == token_hash && claims.jkt == thumbprint(jwk);
    if good { Ok(()) } else { Err(BadProof) }
}

/// The claims of a key rotation before it is verified: only to find the device.
///
/// # Errors
/// [`BadProof`] if there are none.
pub fn claimed_rotation(old_proof: &str) -> Result<KeyClaims, BadProof> {
    let read = jsonwebtoken::dangerous::insecure_decode(old_proof);
    read.map(|token| token.claims).map_err(|_| BadProof)
}

/// Verifies both proofs of a key rotation: the old key hands over to the new one, the new one is
/// there, both mean this relay, and both say the same. Whether the claims are fresh, and whether
/// `old` is a key that may hand over, is the caller's to decide.
///
/// # Errors
/// [`BadProof`].
pub fn verify_rotation(
    (old_proof, new_proof): (&str, &str),
    (old, new): (&P256Jwk, &P256Jwk),
    audiences: &[String],
) -> Result<KeyClaims, BadProof> {
    let claims: KeyClaims = verify(old_proof, old, KEY_ROTATION_TYP)?;
    let same: KeyClaims = verify(new_proof, new, KEY_POSSESSION_TYP)?;
    let (old_jkt, new_jkt) = (thumbprint(old), thumbprint(new));
    let good = claims == same
        && audiences.contains(&claims.aud)
        && claims.old_jkt == old_jkt
        && claims.new_jkt == new_jkt
        && old_jkt != new_jkt;
    if good { Ok(claims) } else { Err(BadProof) }
}

/// The parts of RFC 7515 and RFC 7519 that every proof shares. Freshness comes from the nonce or
/// the token, so neither `exp` nor `nbf` is asked for.
pub(super) fn verify<T: DeserializeOwned + Clone>(
    proof: &str,
    jwk: &P256Jwk,
    typ: &str,
) -> Result<T, BadProof> {
    if jwk.kty != "EC" || jwk.crv != "P-256" {
        return Err(BadProof);
    }
    let key = DecodingKey::from_ec_components(&jwk.x, &jwk.y).map_err(|_| BadProof)?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let token = jsonwebtoken::decode::<T>(proof, &key, &validation).map_err(|_| BadProof)?;
    let header = &token.header;
    // `crit` names extensions that must be understood (RFC 7515 section 4.1.11): there are none.
    let understood = header.crit.is_none();
    // The key was paired with the device. A header that brings or names another is not obeyed,
    // and not ignored either: its author expects it to count (RFC 8725 section 3.10).
    let brings_key = header.jwk.is_some()
        || header.jku.is_some()
        || header.x5u.is_some()
        || header.x5c.is_some();
    if understood && !brings_key && header.typ.as_deref() == Some(typ) {
        Ok(token.claims)
    } else {
        Err(BadProof)
    }
}
