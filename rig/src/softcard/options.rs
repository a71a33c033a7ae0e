//! The FIDO2 server's options object as the card reads it: flat or in a `publicKey` wrapper, base64 in
//! either alphabet, padded or not. Unknown members are ignored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_webauthn::{ES256, RS256};
use serde_json::Value;

/// An options object of a registration or an authentication.
pub(super) struct CardOptions(Value);

impl CardOptions {
    /// `None` if the text is no JSON object.
    pub(super) fn read(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let value = match value.get("publicKey") {
            Some(inner) => inner.clone(),
            None => value,
        };
        value.is_object().then_some(Self(value))
    }

    /// Algorithms by preference; for an empty list WebAuthn's default, ES256 and RS256.
    pub(super) fn algorithms(&self) -> Vec<i64> {
        let listed: Vec<i64> = self
            .list("pubKeyCredParams")
            .iter()
            .filter_map(|entry| entry["alg"].as_i64())
            .collect();
        if listed.is_empty() { vec![ES256, RS256] } else { listed }
    }

    pub(super) fn user_handle(&self) -> Option<Vec<u8>> {
        bytes(self.0["user"]["id"].as_str()?)
    }

    pub(super) fn requires_verification(&self) -> bool {
        let flat = &self.0["userVerification"];
        let selection = &self.0["authenticatorSelection"]["userVerification"];
        flat == "required" || selection == "required"
    }

    /// Credentials that must not be on this card.
    pub(super) fn excluded(&self) -> Vec<Vec<u8>> {
        self.ids("excludeCredentials")
    }

    /// Credentials of which one must be used; empty for any of the user's.
    pub(super) fn allowed(&self) -> Vec<Vec<u8>> {
        self.ids("allowCredentials")
    }

    fn ids(&self, member: &str) -> Vec<Vec<u8>> {
        self.list(member).iter().filter_map(|entry| bytes(entry["id"].as_str()?)).collect()
    }

    fn list(&self, member: &str) -> &[Value] {
        self.0[member].as_array().map_or(&[], Vec::as_slice)
    }
}

/// The bytes of a base64 text in either alphabet, padded or not.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    let plain = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(plain).ok()
}
