//! An initiator's public keys: with the private half it signs what it authenticates with
//! ([`crate::security::client_assertion`]), so that the relay holds nothing that could be stolen
//! and used.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use fido_relay_proto::{PlainText, UnixMillis};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::{Deserialize, Serialize};

use crate::encoding::{from_base64url, sha256_base64url};

/// Bytes of an RSA modulus: 2048 to 4096 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
/// The only accepted exponent: 65537.
const RSA_EXPONENT: &str = "AQAB";
/// Members of a JWK that hold what must stay with the client (RFC 7518 sections 6.2.2, 6.3.2 and
/// 6.4).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key, with its only algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "alg")]
enum Material {
    /// ECDSA on P-256 with SHA-256.
    ES256 { x: String, y: String },
    /// Ed25519.
    EdDSA { x: String },
    /// RSASSA-PSS with SHA-256.
    PS256 { n: String },
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256 { n: String },
}

/// A registered public key of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// What an assertion names the key by.
    pub kid: PlainText<128>,
    #[serde(flatten)]
    material: Material,
    /// When it was registered.
    pub created_at: UnixMillis,
}

/// Why a JWK is not taken. The text is for the registering client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidJwk(&'static str);

/// The members of a JWK (RFC 7517 section 4) that matter here. Others are ignored, as there.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
}

impl PublicKey {
    /// Reads a JWK. Without a `kid` the key is named by its RFC 7638 thumbprint.
    ///
    /// # Errors
    /// [`InvalidJwk`]: also for a private key, and for one whose use is not to verify signatures.
    pub fn from_jwk(jwk: &serde_json::Value, now: UnixMillis) -> Result<Self, InvalidJwk> {
        if PRIVATE.iter().any(|member| jwk.get(member).is_some()) {
            return Err(InvalidJwk(
                "this is a private or secret key: give the relay the public half, and make a new \
                 pair if this one has been elsewhere than with the client",
            ));
        }
        let jwk = Jwk::deserialize(jwk).map_err(|_| InvalidJwk("this is no JWK (RFC 7517)"))?;
        let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_signatures {
            return Err(InvalidJwk("this key is not for verifying signatures (use, key_ops)"));
        }
        let given = jwk.kid.clone();
        let material = Material::of(jwk)?;
        let kid = given.unwrap_or_else(|| material.thumbprint());
        let kid = PlainText::new(&kid)
            .map_err(|_| InvalidJwk("kid must be 1 to 128 characters of plain text"))?;
        Ok(Self { kid, material, created_at: now })
    }

    /// The only algorithm that the key is used with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::ES256 { .. } => Algorithm::ES256,
            Material::EdDSA { .. } => Algorithm::EdDSA,
            Material::PS256 { .. } => Algorithm::PS256,
            Material::RS256 { .. } => Algorithm::RS256,
        }
    }

    /// The key's RFC 7638 thumbprint: its type, under any name.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.material.thumbprint()
    }

    /// What verifies with it. `None` only if the record was not written by this relay.
    pub(super) fn decoding_key(&self) -> Option<DecodingKey> {
        match &self.material {
            Material::ES256 { x, y } => DecodingKey::from_ec_components(x, y).ok(),
            Material::EdDSA { x } => DecodingKey::from_ed_components(x).ok(),
            Material::PS256 { n } | Material::RS256 { n } => {
                DecodingKey::from_rsa_components(n, RSA_EXPONENT).ok()
            }
        }
    }
}

impl Material {
    fn of(jwk: Jwk) -> Result<Self, InvalidJwk> {
        let Jwk { kty, crv, x, y, n, e, alg, .. } = jwk;
        let alg = alg.as_deref();
        match (kty.as_str(), crv.as_deref(), alg) {
            ("EC", Some("P-256"), None | Some("ES256")) => {
                let (x, y) = x.zip(y).ok_or(InvalidJwk("an EC key has x and y"))?;
                let point = [&[4], &*coordinate(&x)?, &*coordinate(&y)?].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point)
                    .map_err(|_| InvalidJwk("this is no point of P-256"))?;
                Ok(Self::ES256 { x, y })
            }
            ("OKP", Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) => {
                let x = x.ok_or(InvalidJwk("an Ed25519 key has x"))?;
                ParsedPublicKey::new(&ED25519, coordinate(&x)?)
                    .map_err(|_| InvalidJwk("this is no point of Ed25519"))?;
                Ok(Self::EdDSA { x })
            }
            ("RSA", _, Some(alg @ ("PS256" | "RS256"))) => {
                let n = n.ok_or(InvalidJwk("an RSA key has n and e"))?;
                let modulus = decode(&n)?;
                let odd = modulus.last().is_some_and(|last| last % 2 == 1);
                let full = modulus.first().is_some_and(|first| *first >= 0x80);
                if !RSA_BYTES.contains(&modulus.len()) || !odd || !full {
                    return Err(InvalidJwk("an RSA key must have 2048 to 4096 bits"));
                }
                if e.as_deref() != Some(RSA_EXPONENT) {
                    return Err(InvalidJwk("an RSA key must have the exponent 65537 (AQAB)"));
                }
                Ok(if alg == "PS256" { Self::PS256 { n } } else { Self::RS256 { n } })
            }
            ("RSA", _, None) => {
                Err(InvalidJwk("an RSA key must say in alg whether it is for PS256 or RS256"))
            }
            _ => Err(InvalidJwk(
                "the key must be EC on P-256 (ES256), OKP Ed25519 (EdDSA) or RSA (PS256, RS256), \
                 and alg must say the same",
            )),
        }
    }

    /// RFC 7638: the required members in alphabetical order, hashed.
    fn thumbprint(&self) -> String {
        let canonical = match self {
            Self::ES256 { x, y } => {
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            Self::EdDSA { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
            Self::PS256 { n } | Self::RS256 { n } => {
                format!(r#"{{"e":"{RSA_EXPONENT}","kty":"RSA","n":"{n}"}}"#)
            }
        };
        sha256_base64url(canonical)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.kid, self.algorithm())
    }
}

fn decode(text: &str) -> Result<Vec<u8>, InvalidJwk> {
    from_base64url(text).ok_or(InvalidJwk("a member is not base64url"))
}

/// 32 bytes, as both curves have.
fn coordinate(text: &str) -> Result<Vec<u8>, InvalidJwk> {
    let bytes = decode(text)?;
    if bytes.len() == 32 { Ok(bytes) } else { Err(InvalidJwk("a coordinate has 32 bytes")) }
}
