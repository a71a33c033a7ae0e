//! Values that examples share. Examples of bodies are parsed as their types, so that a test finds
//! outdated ones.

use serde_json::{Value, json};

pub(super) const CEREMONY: &str = "cer_5oPs8Z6bQ2mUQq1yJb0rTA";
pub(super) const CLIENT: &str = "cli_kR7b0WcXSIuIu9zFhXq2eA";
pub(super) const DEVICE: &str = "dev_Q0n1v3J4TFmF7mB2cXw8Ew";
pub(super) const EVENT: &str = "msg_2mWlZ9t8R0y1hCk4o7vTjg";
pub(super) const WEBHOOK: &str = "whk_8dFh3kLmTp2rVx6zB9nQsA";
pub(super) const AT: &str = "2026-03-14T09:26:53.589Z";
pub(super) const TICKET: &str = "tkt_…";
pub(super) const JWS: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6Ii4uLiJ9.….…";

/// A P-256 public key: the one of RFC 7517 appendix A.1.
pub(super) fn jwk() -> Value {
    json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}
