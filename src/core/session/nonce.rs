//! The nonce that a device must sign, so that a proof is valid for one socket and one time.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// 32 random bytes, written as 43 base64url characters. Not `Clone`: a nonce leaves the session with
/// the one proof that it verifies.
#[derive(PartialEq, Eq)]
pub struct Nonce([u8; 32]);

impl Nonce {
    /// The bytes must be fresh from a cryptographic generator.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(hidden)")
    }
}
