//! base64url without padding (RFC 4648 section 5) and SHA-256: how the relay writes bytes as text and
//! names what it must not store in the clear.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes as base64url.
#[must_use]
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a base64url text; `None` for any other text, also one with padding.
#[must_use]
pub fn from_base64url(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The SHA-256 of these bytes.
#[must_use]
pub fn sha256(bytes: impl AsRef<[u8]>) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes.as_ref()).as_ref());
    hash
}

/// The SHA-256 of these bytes as base64url.
#[must_use]
pub fn sha256_base64url(bytes: impl AsRef<[u8]>) -> String {
    base64url(sha256(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_base64url_and_the_hash_is_sha256() {
        assert_eq!(base64url([0xfb, 0xff]), "-_8");
        assert_eq!(from_base64url("-_8"), Some(vec![0xfb, 0xff]));
        for text in ["-_8=", "+/8", "a"] {
            assert_eq!(from_base64url(text), None, "{text}");
        }
        // FIPS 180-2 appendix B.1.
        assert_eq!(sha256_base64url("abc"), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
    }
}
