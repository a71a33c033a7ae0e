//! The relay's own keys. They print nothing; [`crate::app::keys`] makes and stores them.

use std::fmt;

use aws_lc_rs::hmac;

/// The keys of one installation.
pub struct Keys {
    /// HMAC-SHA-256 key of tickets.
    pub(crate) ticket: [u8; 32],
    /// HMAC-SHA-256 key of browsers' names.
    pub(crate) browser: [u8; 32],
    /// HMAC-SHA-256 key of access tokens.
    pub(crate) access: [u8; 32],
    /// HMAC-SHA-256 key that the built-in FIDO2 server derives user handles with.
    pub(crate) user_handle: [u8; 32],
    /// P-256 key (PKCS #8) that signs result tokens.
    pub(crate) result: Vec<u8>,
    /// P-256 key (PKCS #8) that signs receipts and the audit log's checkpoints.
    pub(crate) record: Vec<u8>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(hidden)")
    }
}

impl Keys {
    /// What the built-in FIDO2 server derives user handles with.
    #[must_use]
    pub fn user_handle(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.user_handle)
    }
}
