//! JWS by the relay's own keys, which are published: result tokens, receipts and checkpoints of the
//! audit log differ in their `typ` and their key alone.

use std::sync::atomic::{AtomicU64, Ordering};

use fido_relay_proto::http::{P256Jwk, PublishedJwk};
use serde::Serialize;

use super::device_proof;
use super::signing_key::PrivateSigningKey;

/// Signs with one P-256 key.
pub(super) struct JwsSigner {
    key: PrivateSigningKey,
    published: PublishedJwk,
    signed: AtomicU64,
}

impl std::fmt::Debug for JwsSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwsSigner").field("kid", &self.published.kid).finish_non_exhaustive()
    }
}

/// The stored key is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key cannot be used")]
pub struct UnusableKey;

/// The protected header (RFC 7515 section 4).
#[derive(Serialize)]
struct JwsHeader<'a> {
    typ: &'a str,
    alg: &'a str,
    kid: &'a str,
}

/// The key under its RFC 7638 thumbprint.
#[must_use]
pub fn published(key: P256Jwk) -> PublishedJwk {
    let kid = device_proof::thumbprint(&key);
    PublishedJwk { key, kid, alg: "ES256".to_owned(), usage: "sig".to_owned() }
}

impl JwsSigner {
    /// Signs with this key (PKCS #8).
    ///
    /// # Errors
    /// [`UnusableKey`] if it is no P-256 key.
    pub(super) fn new(pkcs8: &[u8]) -> Result<Self, UnusableKey> {
        let key = PrivateSigningKey::from_pkcs8(pkcs8).ok_or(UnusableKey)?;
        let jwk = device_proof::jwk(key.public()).ok_or(UnusableKey)?;
        Ok(Self { key, published: published(jwk), signed: AtomicU64::new(0) })
    }

    /// What verifiers need.
    pub(super) fn published(&self) -> &PublishedJwk {
        &self.published
    }

    /// How many it has signed.
    pub(super) fn signed(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }

    /// The claims, signed under this `typ`. `None` only if the cryptographic library fails, which
    /// is logged.
    pub(super) fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> Option<String> {
        let PublishedJwk { alg, kid, .. } = &self.published;
        let jws = self.key.sign_parts(&JwsHeader { typ, alg, kid }, claims);
        match &jws {
            Some(_) => drop(self.signed.fetch_add(1, Ordering::Relaxed)),
            None => tracing::error!(typ, "a token could not be signed"),
        }
        jws
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn another_library_verifies_what_is_signed_and_nothing_that_was_changed() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let signer = JwsSigner::new(pair.to_pkcs8v1().unwrap().as_ref()).unwrap();
        let claims = json!({ "iss": "https://relay.example.com", "exp": u32::MAX });
        let jws = signer.sign("test+jwt", &claims).unwrap();

        let header = jsonwebtoken::decode_header(&jws).unwrap();
        assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::ES256, Some("test+jwt")));
        let set: JwkSet = serde_json::from_value(json!({ "keys": [signer.published()] })).unwrap();
        let key = DecodingKey::from_jwk(set.find(&header.kid.unwrap()).unwrap()).unwrap();
        let rules = Validation::new(Algorithm::ES256);
        assert_eq!(decode::<Value>(&jws, &key, &rules).unwrap().claims, claims);

        let other = signer.sign("test+jwt", &json!({ "exp": u32::MAX - 1 })).unwrap();
        let (signed, _) = jws.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        assert!(decode::<Value>(format!("{signed}.{signature}"), &key, &rules).is_err());
        assert!(JwsSigner::new(b"no key").is_err());
    }
}
