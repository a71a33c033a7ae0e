//! A credential's key pair: makes it, signs with it, and writes its public half as a COSE key
//! (RFC 9053, RFC 8812). Knows nothing of WebAuthn's structures.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use ciborium::Value;

use crate::cose::{EDDSA, ES256, RS256};

/// A key pair of one of the card's algorithms.
pub enum KeyPair {
    /// ECDSA on P-256.
    Es256(EcdsaKeyPair),
    /// Ed25519.
    Eddsa(Ed25519KeyPair),
    /// RSA with 2048 bits.
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
            RS256 => RsaKeyPair::generate(KeySize::Rsa2048).ok().map(Self::Rs256),
            _ => None,
        }
    }

    /// The ES256 key of a PKCS#8 document; `None` if it is not one.
    pub fn from_pkcs8_es256(document: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document).ok().map(Self::Es256)
    }

    /// The COSE algorithm number.
    pub fn algorithm(&self) -> i64 {
        match self {
            Self::Es256(_) => ES256,
            Self::Eddsa(_) => EDDSA,
            Self::Rs256(_) => RS256,
        }
    }

    /// The signature over `message` in WebAuthn's form for the algorithm (section 6.5.5); `None`
    /// if the library fails.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Es256(key) => {
                key.sign(&SystemRandom::new(), message).ok().map(|signed| signed.as_ref().to_vec())
            }
            Self::Eddsa(key) => key.try_sign(message).ok().map(|signed| signed.as_ref().to_vec()),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }

    /// The public key as a COSE key in CTAP2's canonical order.
    pub fn cose(&self) -> Value {
        let labels: Vec<(i64, Value)> = match self {
            Self::Es256(key) => {
                // Uncompressed point: a 4, then x and y of 32 bytes each.
                let point = key.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                vec![
                    (1, 2.into()),
                    (3, ES256.into()),
                    (-1, 1.into()),
                    (-2, Value::Bytes(x.to_vec())),
                    (-3, Value::Bytes(y.to_vec())),
                ]
            }
            Self::Eddsa(key) => vec![
                (1, 1.into()),
                (3, EDDSA.into()),
                (-1, 6.into()),
                (-2, Value::Bytes(key.public_key().as_ref().to_vec())),
            ],
            Self::Rs256(key) => {
                let public = key.public_key();
                let modulus = public.modulus().big_endian_without_leading_zero();
                let exponent = public.exponent().big_endian_without_leading_zero();
                vec![
                    (1, 3.into()),
                    (3, RS256.into()),
                    (-1, Value::Bytes(modulus.to_vec())),
                    (-2, Value::Bytes(exponent.to_vec())),
                ]
            }
        };
        Value::Map(labels.into_iter().map(|(label, value)| (label.into(), value)).collect())
    }

    /// The public key as X.509 `SubjectPublicKeyInfo` (DER); `None` if the library fails.
    pub fn spki(&self) -> Option<Vec<u8>> {
        use aws_lc_rs::encoding::AsDer as _;
        match self {
            Self::Es256(key) => key.public_key().as_der().ok().map(|der| der.as_ref().to_vec()),
            Self::Eddsa(key) => key.public_key().as_der().ok().map(|der| der.as_ref().to_vec()),
            Self::Rs256(key) => key.public_key().as_der().ok().map(|der| der.as_ref().to_vec()),
        }
    }
}
