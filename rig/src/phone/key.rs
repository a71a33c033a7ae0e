//! The device key and its proofs: they say which phone this is, and the card says who the user is.
//! Knows nothing of sockets or HTTP.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::DeviceId;
use fido_relay_proto::device::{
    AUTH_TYP, AuthClaims, KEY_POSSESSION_TYP, KEY_ROTATION_TYP, KeyClaims, PAIRING_TYP,
    PairingClaims,
};
use fido_relay_proto::http::P256Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

/// The device key could not be made, read or used; the text says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device key {0}")]
pub struct KeyError(pub(super) &'static str);

/// A phone's P-256 key. A real app keeps it in the phone's secure hardware.
#[derive(Clone)]
pub struct DeviceKey {
    pkcs8: Box<[u8]>,
    jwk: P256Jwk,
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.thumbprint())
    }
}

impl DeviceKey {
    ///
    /// # Errors
    /// [`KeyError`] if the cryptographic library fails.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| KeyError("could not be made"))?;
        let document = pair.to_pkcs8v1().map_err(|_| KeyError("could not be written"))?;
        Self::from_pkcs8(document.as_ref())
    }

    /// The key of a PKCS#8 document (DER, RFC 5208).
    ///
    /// # Errors
    /// [`KeyError`] if it is not a P-256 key.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document)
            .map_err(|_| KeyError("is not a P-256 key in PKCS#8"))?;
        // An uncompressed point (SEC 1 section 2.3.3): 0x04, x, y.
        let (x, y) = match pair.public_key().as_ref() {
            [0x04, point @ ..] if point.len() == 64 => point.split_at(32),
            _ => return Err(KeyError("has no uncompressed public half")),
        };
        let jwk = P256Jwk {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        };
        Ok(Self { pkcs8: document.into(), jwk })
    }

    /// The key as a PKCS#8 document, for the phone's own storage.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    #[must_use]
    pub fn jwk(&self) -> &P256Jwk {
        &self.jwk
    }

    /// RFC 7638 thumbprint of the public half: base64url of SHA-256 over its required members in
    /// lexicographic order.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let P256Jwk { kty, crv, x, y } = &self.jwk;
        let members = format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}","y":"{y}"}}"#);
        URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()))
    }

    /// A compact JWS (ES256) of any claims under any `typ`, also for tests of refusals.
    ///
    /// # Errors
    /// [`KeyError`] if the library fails.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, KeyError> {
        let header = Header { typ: Some(typ.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&self.pkcs8))
            .map_err(|_| KeyError("could not sign"))
    }

    /// The proof of an `auth` frame; `aud` is the dialled socket URL.
    ///
    /// # Errors
    /// [`KeyError`] if the library fails.
    pub fn auth_proof(
        &self,
        aud: &str,
        nonce: &str,
        device_id: DeviceId,
    ) -> Result<String, KeyError> {
        let claims = AuthClaims {
            aud: aud.to_owned(),
            nonce: nonce.to_owned(),
            device_id,
            iat: phone_clock_s(),
        };
        self.sign(AUTH_TYP, &claims)
    }

    /// The proof of a pairing; `aud` is the URL of the request, `token` the link's token or the typed
    /// code in its plain form.
    ///
    /// # Errors
    /// [`KeyError`] if the library fails.
    pub fn pairing_proof(&self, aud: &str, token: &str) -> Result<String, KeyError> {
        let claims = PairingClaims {
            aud: aud.to_owned(),
            token_hash: URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes())),
            jkt: self.thumbprint(),
            iat: phone_clock_s(),
        };
        self.sign(PAIRING_TYP, &claims)
    }

    /// The two proofs of a rotation to `next`, by the old key and by the new one; `aud` is the URL of
    /// the request.
    ///
    /// # Errors
    /// [`KeyError`] if the library fails.
    pub fn rotation_proofs(
        &self,
        next: &Self,
        aud: &str,
        device_id: DeviceId,
    ) -> Result<(String, String), KeyError> {
        let claims = KeyClaims {
            aud: aud.to_owned(),
            device_id,
            old_jkt: self.thumbprint(),
            new_jkt: next.thumbprint(),
            iat: phone_clock_s(),
        };
        Ok((self.sign(KEY_ROTATION_TYP, &claims)?, next.sign(KEY_POSSESSION_TYP, &claims)?))
    }
}

/// Seconds since the Unix epoch by the phone's own clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a phone is another machine with another clock; the relay only logs what it says"
)]
pub(super) fn phone_clock_s() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
