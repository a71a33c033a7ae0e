//! The relay's word for the record: receipts and the audit log's checkpoints, which are read years
//! later by people who were not there.
//!
//! JWS ES256 (RFC 7515) by a key of their own, published in the same JWK set as the result tokens'.
//! Each kind has its own `typ`, none has `aud` or `exp`: a verifier of result tokens that checks
//! only the signature still refuses these.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::device_proof;
use super::jws::{JwsSigner, UnusableKey};
use super::keys::Keys;
use super::result_token::{JwkSet, PublishedJwk};

/// Signs for the record.
#[derive(Debug)]
pub struct RecordSigner {
    issuer: String,
    signer: JwsSigner,
}

/// Why a record does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Not a JWS, or none that names its key.
    #[error("this is no signed record")]
    Malformed,
    /// The key that it names is not in the set.
    #[error("it is signed by a key that is not in the key set")]
    UnknownKey,
    /// Signature, kind or contents.
    #[error("its signature, its kind or its contents do not hold")]
    Invalid,
}

impl RecordSigner {
    /// Signs as `issuer`, the relay's public URL.
    ///
    /// # Errors
    /// [`UnusableKey`].
    pub fn new(keys: &Keys, issuer: &str) -> Result<Self, UnusableKey> {
        Ok(Self { issuer: issuer.to_owned(), signer: JwsSigner::new(&keys.record)? })
    }

    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What verifiers need.
    #[must_use]
    pub fn published(&self) -> &PublishedJwk {
        self.signer.published()
    }

    /// The claims, signed as a record of this kind. `None` only if the cryptographic library
    /// fails, which is logged.
    #[must_use]
    pub fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> Option<String> {
        self.signer.sign(typ, claims)
    }
}

/// Verifies a record of this kind: the key that it names must be in the set, and the algorithm is
/// always ES256.
///
/// # Errors
/// [`BadRecord`].
pub fn verify<T: DeserializeOwned + Clone>(
    jws: &str,
    keys: &JwkSet,
    typ: &str,
) -> Result<T, BadRecord> {
    let header = jsonwebtoken::decode_header(jws).map_err(|_| BadRecord::Malformed)?;
    let kid = header.kid.ok_or(BadRecord::Malformed)?;
    let key = keys.keys.iter().find(|key| key.kid == kid).ok_or(BadRecord::UnknownKey)?;
    device_proof::verify(jws, &key.key, typ).map_err(|_| BadRecord::Invalid)
}
