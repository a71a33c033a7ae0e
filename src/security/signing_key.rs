//! The one signer of compact JWS (RFC 7515): ES256, and RS256 for Google's OAuth 2. It knows keys and
//! no claims.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use serde_json::Value;

use crate::encoding::base64url;

/// The least that RFC 7518 section 3.3 allows, in bytes.
const RSA_LEAST: usize = 256;

/// A private key that signs.
pub(crate) enum PrivateSigningKey {
    /// A P-256 key, which signs ES256.
    Ec(Box<EcdsaKeyPair>),
    /// An RSA key, which signs RS256.
    Rsa(Box<RsaKeyPair>),
}

impl std::fmt::Debug for PrivateSigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateSigningKey")
    }
}

impl PrivateSigningKey {
    /// The P-256 key of a PKCS #8 document; `None` if it holds none.
    pub(crate) fn from_pkcs8(document: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document).ok()?;
        Some(Self::Ec(Box::new(pair)))
    }

    /// The P-256 key of a PEM text: PKCS #8, as Apple gives it, or SEC 1, as `openssl` does.
    ///
    /// # Errors
    /// A description of the error that repeats nothing of the text.
    pub(crate) fn p256(pem: &[u8]) -> Result<Self, String> {
        let der = private_key(pem)?;
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der())
            .map(|pair| Self::Ec(Box::new(pair)))
            .map_err(|_| "holds no private key of the curve P-256".to_owned())
    }

    /// The RSA key of a PEM text.
    ///
    /// # Errors
    /// A description of the error that repeats nothing of the text.
    pub(crate) fn rsa(pem: &[u8]) -> Result<Self, String> {
        let der = private_key(pem)?;
        let read = if let PrivateKeyDer::Pkcs8(der) = &der {
            RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
        } else {
            RsaKeyPair::from_der(der.secret_der())
        };
        let pair = read.map_err(|_| "its private_key is no RSA key".to_owned())?;
        if pair.public_modulus_len() < RSA_LEAST {
            return Err("its private_key has fewer than 2048 bits".to_owned());
        }
        Ok(Self::Rsa(Box::new(pair)))
    }

    /// The public half as a service names it: for P-256 the uncompressed point.
    pub(crate) fn public(&self) -> &[u8] {
        match self {
            Self::Ec(pair) => pair.public_key().as_ref(),
            Self::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// The `alg` of its signatures (RFC 7518 section 3.1).
    pub(crate) const fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    /// These claims, signed; `alg` is added to the header. `None` only if the cryptographic library
    /// fails.
    pub(crate) fn sign(&self, mut header: Value, claims: &Value) -> Option<String> {
        header["alg"] = self.algorithm().into();
        self.sign_parts(&header, claims)
    }

    /// A header that names [`PrivateSigningKey::algorithm`] and these claims, signed. `None` only if one has
    /// no JSON form or the cryptographic library fails.
    pub(crate) fn sign_parts(
        &self,
        header: &impl Serialize,
        claims: &impl Serialize,
    ) -> Option<String> {
        let header = base64url(serde_json::to_vec(header).ok()?);
        let signed = format!("{header}.{}", base64url(serde_json::to_vec(claims).ok()?));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ec(pair) => pair.sign(&random, signed.as_bytes()).ok()?.as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).ok()?;
                signature
            }
        };
        Some(format!("{signed}.{}", base64url(signature)))
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| "holds no private key in PEM".to_owned())
}
