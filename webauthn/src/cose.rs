//! Credential public keys: COSE keys (RFC 9053, RFC 8812) under the restrictions of WebAuthn
//! sections 5.8.5 and 6.5.1, and signatures by them (section 6.5.5).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use ciborium::Value;

use crate::cbor;

/// COSE algorithm of ECDSA on P-256 with SHA-256.
pub const ES256: i64 = -7;
/// COSE algorithm of EdDSA, here always Ed25519.
pub const EDDSA: i64 = -8;
/// COSE algorithm of RSASSA-PKCS1-v1_5 with SHA-256.
pub const RS256: i64 = -257;

/// Bits of an RSA modulus: fewer are too weak, more cost too much time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of an RSA exponent; more only cost time.
const RSA_EXPONENT_BYTES: usize = 8;

/// The *y* coordinates (little-endian) of the points of small order on edwards25519: under such a
/// key anybody can make a signature that verifies for every message.
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

/// A public key that a signature can be checked with.
pub(crate) struct PublicKey {
    algorithm: i64,
    key: ParsedPublicKey,
}

impl PublicKey {
    /// The key of a COSE key map; `None` if it is not exactly one of ES256, EdDSA or RS256: a
    /// member is missing, superfluous or of the wrong form, the P-256 point is not on the curve,
    /// the Ed25519 point is of small order, the RSA key is weak. Whether an Ed25519 point is on
    /// its curve shows only when a signature is checked: under one that is not, none verifies.
    pub(crate) fn from_cose(value: &Value) -> Option<Self> {
        let map = value.as_map()?;
        let algorithm = label(map, 3)?;
        let key = match algorithm {
            ES256 => p256(map),
            EDDSA => ed25519(map),
            RS256 => rsa(map),
            _ => None,
        }?;
        Some(Self { algorithm, key })
    }

    /// The key of a COSE key's bytes.
    pub(crate) fn from_cose_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_cose(&cbor::only_item(bytes)?)
    }

    /// The COSE algorithm number.
    pub(crate) fn algorithm(&self) -> i64 {
        self.algorithm
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

/// Key type 2 (EC2), curve 1 (P-256), both coordinates; never the compressed form.
fn p256(map: &Map) -> Option<ParsedPublicKey> {
    let right = map.len() == 5 && label(map, 1) == Some(2) && label(map, -1) == Some(1);
    let (x, y) = (bytes(map, -2)?, bytes(map, -3)?);
    if !right || x.len() != 32 || y.len() != 32 {
        return None;
    }
    ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, [&[4], x, y].concat()).ok()
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
fn rsa(map: &Map) -> Option<ParsedPublicKey> {
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
    RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()
}
