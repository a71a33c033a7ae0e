//! The one envelope of tokens that only the relay reads: a prefix, then HMAC-SHA-256 and the
//! payload in base64url. Nothing has to be stored to recognise such a token.

use aws_lc_rs::hmac;

use crate::encoding::{base64url, from_base64url};

/// Bytes of the HMAC.
const TAG: usize = 32;

/// Wraps and unwraps the payloads of one kind of token.
#[derive(Debug)]
pub(super) struct MacEnvelope {
    key: hmac::Key,
    prefix: &'static str,
    /// Is authenticated before each payload, and keeps kinds of tokens apart that share a key.
    purpose: &'static [u8],
}

impl MacEnvelope {
    pub(super) fn new(key: &[u8; 32], prefix: &'static str, purpose: &'static [u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), prefix, purpose }
    }

    /// The token with this payload.
    pub(super) fn wrap(&self, payload: &[u8]) -> String {
        let tag = hmac::sign(&self.key, &[self.purpose, payload].concat());
        let token = [tag.as_ref(), payload].concat();
        format!("{}{}", self.prefix, base64url(token))
    }

    /// The payload of a token, if this key wrapped it for this purpose.
    pub(super) fn unwrap(&self, token: &str) -> Option<Vec<u8>> {
        let bytes = from_base64url(token.strip_prefix(self.prefix)?)?;
        let (tag, payload) = bytes.split_at_checked(TAG)?;
        hmac::verify(&self.key, &[self.purpose, payload].concat(), tag).ok()?;
        Some(payload.to_vec())
    }
}
