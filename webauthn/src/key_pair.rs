//! A credential's key pair: makes it, signs with it, and writes its public half as a COSE key
//! (RFC 9053, RFC 8812, RFC 9964). Knows nothing of WebAuthn's structures.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, PqdsaKeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair, RsaSignatureEncoding,
};
use ciborium::Value;

use crate::cose::{EDDSA, ES256, ES384, ML_DSA_44, ML_DSA_65, PS256, RS256};

/// A key pair of one of the card's algorithms.
pub enum KeyPair {
    /// ECDSA on P-256.
    Es256(EcdsaKeyPair),
    Eddsa(Ed25519KeyPair),
    /// ECDSA on P-384.
    Es384(EcdsaKeyPair),
    /// RSASSA-PSS with 2048 bits.
    Ps256(RsaKeyPair),
    MlDsa44(PqdsaKeyPair),
    MlDsa65(PqdsaKeyPair),
    /// RSASSA-PKCS1-v1_5 with 2048 bits.
    Rs256(RsaKeyPair),
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPair({})", self.algorithm())
    }
}

impl KeyPair {
    /// A new key for a COSE algorithm; `None` if the card does not know it or the generator fails.
    pub fn generate(algorithm: i64) -> Option<Self> {
        match algorithm {
            ES256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).ok().map(Self::Es256),
            EDDSA => Ed25519KeyPair::generate().ok().map(Self::Eddsa),
            ES384 => EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).ok().map(Self::Es384),
            PS256 => RsaKeyPair::generate(KeySize::Rsa2048).ok().map(Self::Ps256),
            ML_DSA_44 => PqdsaKeyPair::generate(&ML_DSA_44_SIGNING).ok().map(Self::MlDsa44),
            ML_DSA_65 => PqdsaKeyPair::generate(&ML_DSA_65_SIGNING).ok().map(Self::MlDsa65),
            RS256 => RsaKeyPair::generate(KeySize::Rsa2048).ok().map(Self::Rs256),
            _ => None,
        }
    }

    /// The key of a PKCS#8 document (RFC 5208) for a COSE algorithm; `None` if it is not one.
    pub fn from_pkcs8(algorithm: i64, document: &[u8]) -> Option<Self> {
        let ecdsa = |curve| EcdsaKeyPair::from_pkcs8(curve, document).ok();
        let rsa = || RsaKeyPair::from_pkcs8(document).ok();
        let ml_dsa = |kind| PqdsaKeyPair::from_pkcs8(kind, document).ok();
        match algorithm {
            ES256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Self::Es256),
            EDDSA => Ed25519KeyPair::from_pkcs8(document).ok().map(Self::Eddsa),
            ES384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Self::Es384),
            PS256 => rsa().map(Self::Ps256),
            ML_DSA_44 => ml_dsa(&ML_DSA_44_SIGNING).map(Self::MlDsa44),
            ML_DSA_65 => ml_dsa(&ML_DSA_65_SIGNING).map(Self::MlDsa65),
            RS256 => rsa().map(Self::Rs256),
            _ => None,
        }
    }

    /// The private key as a PKCS#8 document; `None` if the library fails.
    pub fn pkcs8(&self) -> Option<Vec<u8>> {
        let document = match self {
            Self::Es256(key) | Self::Es384(key) => key.to_pkcs8v1().ok()?,
            Self::Eddsa(key) => key.to_pkcs8v1().ok()?,
            Self::MlDsa44(key) | Self::MlDsa65(key) => key.to_pkcs8v1().ok()?,
            Self::Rs256(key) | Self::Ps256(key) => {
                let document: Pkcs8V1Der<'_> = key.as_der().ok()?;
                return Some(document.as_ref().to_vec());
            }
        };
        Some(document.as_ref().to_vec())
    }

    /// The COSE algorithm number.
    pub fn algorithm(&self) -> i64 {
        match self {
            Self::Es256(_) => ES256,
            Self::Eddsa(_) => EDDSA,
            Self::Es384(_) => ES384,
            Self::Ps256(_) => PS256,
            Self::MlDsa44(_) => ML_DSA_44,
            Self::MlDsa65(_) => ML_DSA_65,
            Self::Rs256(_) => RS256,
        }
    }

    /// The signature over `message` in WebAuthn's form for the algorithm (section 6.5.5); `None`
    /// if the library fails.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Es256(key) | Self::Es384(key) => {
                key.sign(&SystemRandom::new(), message).ok().map(|signed| signed.as_ref().to_vec())
            }
            Self::Eddsa(key) => key.try_sign(message).ok().map(|signed| signed.as_ref().to_vec()),
            Self::MlDsa44(key) | Self::MlDsa65(key) => {
                let mut signature = vec![0; key.algorithm().signature_len()];
                key.sign(message, &mut signature).ok()?;
                Some(signature)
            }
            Self::Rs256(key) => rsa_signature(key, &RSA_PKCS1_SHA256, message),
            Self::Ps256(key) => rsa_signature(key, &RSA_PSS_SHA256, message),
        }
    }

    /// The public key as a COSE key in CTAP2's canonical order.
    pub fn cose(&self) -> Value {
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        let mut labels: Vec<(i64, Value)> = vec![(3, self.algorithm().into())];
        match self {
            Self::Es256(key) | Self::Es384(key) => {
                // Uncompressed point: a 4, then x and y of the same length.
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if matches!(self, Self::Es256(_)) { 1 } else { 2 };
                labels.insert(0, (1, 2.into()));
                labels.extend([(-1, curve.into()), (-2, bytes(x)), (-3, bytes(y))]);
            }
            Self::Eddsa(key) => {
                labels.insert(0, (1, 1.into()));
                labels.extend([(-1, 6.into()), (-2, bytes(key.public_key().as_ref()))]);
            }
            Self::Rs256(key) | Self::Ps256(key) => {
                let public = key.public_key();
                let modulus = public.modulus().big_endian_without_leading_zero();
                let exponent = public.exponent().big_endian_without_leading_zero();
                labels.insert(0, (1, 3.into()));
                labels.extend([(-1, bytes(modulus)), (-2, bytes(exponent))]);
            }
            Self::MlDsa44(key) | Self::MlDsa65(key) => {
                labels.insert(0, (1, 7.into()));
                labels.push((-1, bytes(key.public_key().as_ref())));
            }
        }
        Value::Map(labels.into_iter().map(|(label, value)| (label.into(), value)).collect())
    }

    /// The public key as X.509 `SubjectPublicKeyInfo` (DER); `None` if the library fails.
    pub fn spki(&self) -> Option<Vec<u8>> {
        let der = match self {
            Self::Es256(key) | Self::Es384(key) => key.public_key().as_der(),
            Self::Eddsa(key) => key.public_key().as_der(),
            Self::Rs256(key) | Self::Ps256(key) => key.public_key().as_der(),
            Self::MlDsa44(key) | Self::MlDsa65(key) => key.public_key().as_der(),
        };
        der.ok().map(|der| der.as_ref().to_vec())
    }
}

fn rsa_signature(
    key: &RsaKeyPair,
    encoding: &'static RsaSignatureEncoding,
    message: &[u8],
) -> Option<Vec<u8>> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).ok()?;
    Some(signature)
}
