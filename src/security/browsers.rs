//! The keyed hash of a browser's secret, by which pages' browsers are told apart.

use aws_lc_rs::hmac;
use fido_relay_proto::{BrowserSecret, ClientId};

use super::keys::Keys;
use crate::encoding::base64url;

/// Names browsers by a keyed hash, so that a copy of the store names none.
#[derive(Debug)]
pub struct Browsers {
    key: hmac::Key,
}

impl Browsers {
    /// With the key of this installation, so that another one names the same browser otherwise.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &keys.browser) }
    }

    /// The name of an initiator's browser (22 characters of base64url). Each initiator has browsers
    /// of its own: none can claim another's.
    #[must_use]
    pub fn name(&self, client: ClientId, secret: &BrowserSecret) -> String {
        let said = format!("{client}\n{}", secret.expose());
        let tag = hmac::sign(&self.key, said.as_bytes());
        base64url(tag.as_ref().get(..16).unwrap_or_default())
    }
}
