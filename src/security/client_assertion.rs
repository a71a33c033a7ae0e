//! Client assertions: how an initiator with a key pair says who it is (`private_key_jwt` of OpenID
//! Connect Core section 9, by RFC 7523 section 3).
//!
//! ```text
//!   who it claims to be ─▶ that client's record ─▶ its key of that name ─▶ signature, by the
//!   key's own algorithm ─▶ for this relay, for now ─▶ not used before ([`crate::app::clients`])
//! ```
//! The header chooses among the registered keys and nothing else: no algorithm, no key of its own.
//! Every error of an assertion is the same [`BadAssertion`].

use fido_relay_proto::{ClientId, UnixMillis};
use jsonwebtoken::{Header, Validation, decode, decode_header};
use serde::Deserialize;

use super::public_key::PublicKey;

/// Longest assertion, in bytes: an RSA signature and its claims with room to spare.
pub const MAX_BYTES: usize = 8 * 1024;
/// How far ahead an assertion may end, in seconds: it only has to reach the relay.
pub const MAX_LIFETIME_S: u64 = 300;
/// How far the client's clock may be off, in seconds.
pub const LEEWAY_S: u64 = 30;
/// Longest `jti`, in bytes.
const JTI_MAX: usize = 256;

/// An assertion that was refused; deliberately without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client assertion was not accepted")]
pub struct BadAssertion;

/// An assertion that verifies, not yet used.
#[derive(Debug)]
pub struct Assertion {
    /// Which of the client's keys signed it: its RFC 7638 thumbprint.
    pub key: String,
    /// Its name, unique among the client's assertions.
    pub jti: String,
    pub ends_at: UnixMillis,
}

#[derive(Deserialize)]
struct AssertionClaims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    iat: Option<f64>,
    nbf: Option<f64>,
    jti: String,
}

/// `aud` is one text, or a list (RFC 7519 section 4.1.3); here a list of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    List([String; 1]),
}

#[derive(Deserialize)]
struct ClaimedIssuer {
    iss: String,
}

/// The client that an assertion names, unverified: only to find the keys that it must verify with.
#[must_use]
pub fn claimed(assertion: &str) -> Option<ClientId> {
    if assertion.len() > MAX_BYTES {
        return None;
    }
    let claims = jsonwebtoken::dangerous::insecure_decode::<ClaimedIssuer>(assertion).ok()?.claims;
    claims.iss.parse().ok()
}

/// Verifies an assertion for one of these audiences by the client of this id and these public keys.
///
/// # Errors
/// [`BadAssertion`].
pub fn verify(
    assertion: &str,
    (client, keys): (ClientId, &[PublicKey]),
    audiences: &[String],
    now: UnixMillis,
) -> Result<Assertion, BadAssertion> {
    if assertion.len() > MAX_BYTES {
        return Err(BadAssertion);
    }
    let header = decode_header(assertion).map_err(|_| BadAssertion)?;
    if !is_plain(&header) {
        return Err(BadAssertion);
    }
    let named = |kid: &String| keys.iter().find(|key| key.kid.as_str() == kid);
    let key = header.kid.as_ref().and_then(named).ok_or(BadAssertion)?;
    let material = key.decoding_key().ok_or(BadAssertion)?;
    let mut validation = Validation::new(key.algorithm());
    // The claims are checked below, by the relay's own clock and in whole.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let claims: AssertionClaims =
        decode(assertion, &material, &validation).map_err(|_| BadAssertion)?.claims;
    let ends_at = check(&claims, client, audiences, now).ok_or(BadAssertion)?;
    Ok(Assertion { key: key.thumbprint(), jti: claims.jti, ends_at })
}

/// Whether a header has no member that its author expects to count but that is ignored here (RFC
/// 8725 section 3.10), and is not of another kind of token.
fn is_plain(header: &Header) -> bool {
    let brings_key = header.jwk.is_some()
        || header.jku.is_some()
        || header.x5u.is_some()
        || header.x5c.is_some();
    // `cty` marks a token within a token, `crit` and `b64` extensions, and the others encryption.
    let extended = header.crit.is_some()
        || header.cty.is_some()
        || header.enc.is_some()
        || header.zip.is_some()
        || header.extras.inner().contains_key("b64");
    let typed = header.typ.as_deref().is_none_or(|typ| {
        typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("client-authentication+jwt")
    });
    !brings_key && !extended && typed
}

/// RFC 7523 section 3. Gives when the assertion ends.
fn check(
    claims: &AssertionClaims,
    client: ClientId,
    audiences: &[String],
    now: UnixMillis,
) -> Option<UnixMillis> {
    let AssertionClaims { iss, sub, aud, exp, iat, nbf, jti } = claims;
    let id = client.to_string();
    let (Audience::One(aud) | Audience::List([aud])) = aud;
    let meant = *iss == id && *sub == id && audiences.contains(aud);
    // Whole seconds of a Unix time are exact in an `f64`; NaN and infinities are no JSON.
    let now_s = now.as_secs() as f64;
    let (leeway, lifetime) = (LEEWAY_S as f64, MAX_LIFETIME_S as f64);
    let lives = *exp > now_s - leeway && *exp <= now_s + lifetime + leeway;
    let begun = |at: &Option<f64>| at.is_none_or(|at| at <= now_s + leeway && at <= *exp);
    let fresh = iat.is_none_or(|at| at >= now_s - lifetime - leeway);
    let named = (1..=JTI_MAX).contains(&jti.len());
    let good = meant && lives && begun(iat) && begun(nbf) && fresh && named;
    // `exp` lies within minutes of now, so nothing is cut off but a fraction.
    good.then(|| UnixMillis((*exp as u64).saturating_add(1).saturating_mul(1000)))
}
