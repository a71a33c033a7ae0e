//! Credential public keys: COSE keys (RFC 9053, RFC 8812, RFC 9964) under the restrictions of
//! WebAuthn sections 5.8.5 and 6.5.1, and signatures by them (section 6.5.5).

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, ML_DSA_44 as VERIFY_ML_DSA_44,
    ML_DSA_65 as VERIFY_ML_DSA_65, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use ciborium::Value;

use crate::cbor::{self, Form};

/// COSE algorithm of ECDSA on P-256 with SHA-256.
pub const ES256: i64 = -7;
/// COSE algorithm of EdDSA, here always Ed25519.
pub const EDDSA: i64 = -8;
/// COSE algorithm of ECDSA on P-384 with SHA-384.
pub const ES384: i64 = -35;
/// COSE algorithm of RSASSA-PSS with SHA-256.
pub const PS256: i64 = -37;
/// COSE algorithm of ML-DSA-44 (FIPS 204).
pub const ML_DSA_44: i64 = -48;
/// COSE algorithm of ML-DSA-65 (FIPS 204).
pub const ML_DSA_65: i64 = -49;
/// COSE algorithm of RSASSA-PKCS1-v1_5 with SHA-256.
pub const RS256: i64 = -257;

/// Bits of an RSA modulus: fewer are too weak, more cost too much time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of an RSA exponent; more only cost time.
const RSA_EXPONENT_BYTES: usize = 8;

/// The *y* coordinates (little-endian) of the points of small order on edwards25519: such a key has
/// a signature, which anyone can make, that verifies for every message.
const SMALL_ORDER: [[u8; 32]; 5] = [
    ED25519_ZERO,
    ED25519_ONE,
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    ED25519_MINUS_ONE,
];
const ED25519_ZERO: [u8; 32] = [0; 32];
const ED25519_ONE: [u8; 32] = {
    let mut one = [0; 32];
    one[0] = 1;
    one
};
const ED25519_MINUS_ONE: [u8; 32] = {
    let mut prime = ED25519_PRIME;
    prime[0] -= 1;
    prime
};
/// The field's prime, below which every coordinate must be (RFC 8032 section 5.1.3).
const ED25519_PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// How signatures of a COSE algorithm are verified; `None` if it is not known.
pub(crate) fn verification(algorithm: i64) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        ES256 => &ECDSA_P256_SHA256_ASN1,
        EDDSA => &ED25519,
        ES384 => &ECDSA_P384_SHA384_ASN1,
        PS256 => &RSA_PSS_2048_8192_SHA256,
        ML_DSA_44 => &VERIFY_ML_DSA_44,
        ML_DSA_65 => &VERIFY_ML_DSA_65,
        RS256 => &RSA_PKCS1_2048_8192_SHA256,
        _ => return None,
    })
}

/// A public key that a signature can be checked with.
pub(crate) struct PublicKey {
    algorithm: i64,
    key: ParsedPublicKey,
}

impl PublicKey {
    /// The key of a COSE key map; `None` if it is not exactly one of a known algorithm: a member
    /// is missing, superfluous or of the wrong form, the point is not on the algorithm's curve,
    /// the Ed25519 point is of small order, the RSA key is weak. Whether an Ed25519 point is on
    /// its curve shows only when a signature is checked: under one that is not, none verifies.
    pub(crate) fn from_cose(value: &Value) -> Option<Self> {
        let map = value.as_map()?;
        let algorithm = label(map, 3)?;
        let key = match algorithm {
            // Curves 1 (P-256) and 2 (P-384): section 5.8.5 ties each to its algorithm.
            ES256 => ec2(map, 1, 32),
            ES384 => ec2(map, 2, 48),
            EDDSA => ed25519(map),
            RS256 => rsa(map, &RSA_PKCS1_2048_8192_SHA256),
            PS256 => rsa(map, &RSA_PSS_2048_8192_SHA256),
            ML_DSA_44 => akp(map, &VERIFY_ML_DSA_44, 1312),
            ML_DSA_65 => akp(map, &VERIFY_ML_DSA_65, 1952),
            _ => None,
        }?;
        Some(Self { algorithm, key })
    }

    /// The key of a COSE key that was accepted before.
    pub(crate) fn from_cose_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_cose(&cbor::only_item(bytes, Form::Any)?)
    }

    /// The COSE algorithm number.
    pub(crate) fn algorithm(&self) -> i64 {
        self.algorithm
    }

    /// The uncompressed point of an ES256 key (SEC 1, section 2.3.3).
    pub(crate) fn p256_point(&self) -> Option<&[u8]> {
        (self.algorithm == ES256).then(|| self.key.as_ref())
    }

    /// The key as X.509 `SubjectPublicKeyInfo` (DER); `None` if the library fails.
    pub(crate) fn spki(&self) -> Option<Vec<u8>> {
        self.key.as_der().ok().map(|der| der.as_ref().to_vec())
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

type Map = [(Value, Value)];

fn label(map: &Map, number: i64) -> Option<i64> {
    cbor::integer(cbor::by_label(map, number)?)
}

fn bytes(map: &Map, number: i64) -> Option<&[u8]> {
    cbor::by_label(map, number)?.as_bytes().map(Vec::as_slice)
}

/// Key type 2 (EC2), this curve, both coordinates of this length; never the compressed form.
fn ec2(map: &Map, curve: i64, length: usize) -> Option<ParsedPublicKey> {
    let right = map.len() == 5 && label(map, 1) == Some(2) && label(map, -1) == Some(curve);
    let (x, y) = (bytes(map, -2)?, bytes(map, -3)?);
    if !right || x.len() != length || y.len() != length {
        return None;
    }
    ParsedPublicKey::new(verification(label(map, 3)?)?, [&[4], x, y].concat()).ok()
}

/// Key type 1 (OKP), curve 6 (Ed25519).
fn ed25519(map: &Map) -> Option<ParsedPublicKey> {
    let right = map.len() == 4 && label(map, 1) == Some(1) && label(map, -1) == Some(6);
    let point: [u8; 32] = bytes(map, -2)?.try_into().ok()?;
    let mut y = point;
    y[31] &= 0x7f;
    let reduced = y.iter().rev().lt(ED25519_PRIME.iter().rev());
    if !right || !reduced || SMALL_ORDER.contains(&y) {
        return None;
    }
    ParsedPublicKey::new(&ED25519, point).ok()
}

/// Key type 3 (RSA), modulus and exponent without leading zeros.
fn rsa(map: &Map, parameters: &'static RsaParameters) -> Option<ParsedPublicKey> {
    let right = map.len() == 4 && label(map, 1) == Some(3);
    let (n, e) = (bytes(map, -1)?, bytes(map, -2)?);
    let (high, low) = (*n.first()?, *n.last()?);
    let bits = n.len() * 8 - high.leading_zeros() as usize;
    let sound_modulus = high != 0 && low % 2 == 1 && RSA_BITS.contains(&bits);
    let sound_exponent =
        *e.first()? != 0 && *e.last()? % 2 == 1 && e != [1] && e.len() <= RSA_EXPONENT_BYTES;
    if !right || !sound_modulus || !sound_exponent {
        return None;
    }
    RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).ok()
}

/// Key type 7 (AKP, RFC 9964): the encoded public key, which has one length (FIPS 204, table 2).
fn akp(
    map: &Map,
    algorithm: &'static dyn VerificationAlgorithm,
    length: usize,
) -> Option<ParsedPublicKey> {
    let right = map.len() == 3 && label(map, 1) == Some(7);
    let key = bytes(map, -1)?;
    if !right || key.len() != length {
        return None;
    }
    ParsedPublicKey::new(algorithm, key).ok()
}
