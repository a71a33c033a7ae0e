//! What a device must sign to show that its proof was made for this socket and for now.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// 32 random bytes, written as 43 base64url characters. It cannot be copied: a nonce leaves the
/// session with the one proof that it is to be held against.
#[derive(PartialEq, Eq)]
pub struct Nonce([u8; 32]);

impl Nonce {
    /// The nonce of these bytes, which must be fresh from a cryptographic generator.
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
