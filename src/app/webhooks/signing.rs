//! Keys of endpoints, and signatures by Standard Webhooks 1.0.
//!
//! What is signed is `{webhook-id}.{webhook-timestamp}.{body}`; the header holds one signature for
//! each key that lives, so that a receiver that knows the old or the new one is content. The seed
//! or secret lies sealed in the endpoint's record, for that endpoint alone.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fido_relay_proto::webhook::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookScheme};
use fido_relay_proto::{EventId, UnixMillis, WebhookId};
use serde::{Deserialize, Serialize};

use crate::security::encryption::{DecryptError, Encryptor};
use crate::security::random;

/// Bytes of a secret: the seed of an Ed25519 key, or an HMAC key (the specification asks for 24
/// to 64).
const SECRET_BYTES: usize = 32;

/// One key of an endpoint, as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// How it signs.
    pub scheme: WebhookScheme,
    /// `whpk_…` of a `v1a` key.
    pub public_key: Option<String>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// From when on it signs no longer; `None`: never.
    pub ends_at: Option<UnixMillis>,
    sealed: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// No key can be made or used: it was sealed under another sealing key, or the cryptographic
/// library failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a webhook key cannot be used")]
pub(super) struct Unusable;

impl From<DecryptError> for Unusable {
    fn from(_: DecryptError) -> Self {
        Self
    }
}

impl SigningKey {
    /// A new key, and for `v1` the secret that the receiver must be told.
    pub(super) fn make(
        endpoint: WebhookId,
        scheme: WebhookScheme,
        sealer: &Encryptor,
        now: UnixMillis,
    ) -> Result<(Self, Option<String>), Unusable> {
        let secret: [u8; SECRET_BYTES] = random::bytes();
        let sealed = sealer.seal(&place(endpoint), &secret)?;
        let (public_key, shown) = match scheme {
            WebhookScheme::V1a => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&secret).map_err(|_| Unusable)?;
                (Some(format!("whpk_{}", STANDARD.encode(pair.public_key()))), None)
            }
            WebhookScheme::V1 => (None, Some(format!("whsec_{}", STANDARD.encode(secret)))),
        };
        Ok((Self { scheme, public_key, created_at: now, ends_at: None, sealed }, shown))
    }

    /// Whether the key still signs.
    pub(super) fn is_live(&self, now: UnixMillis) -> bool {
        self.ends_at.is_none_or(|end| now < end)
    }

    fn sign(
        &self,
        endpoint: WebhookId,
        sealer: &Encryptor,
        message: &[u8],
    ) -> Result<String, Unusable> {
        let secret = sealer.open(&place(endpoint), &self.sealed)?;
        match self.scheme {
            WebhookScheme::V1a => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&secret).map_err(|_| Unusable)?;
                Ok(format!("v1a,{}", STANDARD.encode(pair.sign(message))))
            }
            WebhookScheme::V1 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
                Ok(format!("v1,{}", STANDARD.encode(hmac::sign(&key, message))))
            }
        }
    }
}

/// The headers of one try, the signature by every key that lives.
pub(super) fn headers(
    keys: &[SigningKey],
    endpoint: WebhookId,
    sealer: &Encryptor,
    (event, now): (EventId, UnixMillis),
    body: &str,
) -> Result<Vec<(&'static str, String)>, Unusable> {
    let timestamp = now.as_secs();
    let message = format!("{event}.{timestamp}.{body}");
    let live = keys.iter().filter(|key| key.is_live(now));
    let signatures: Vec<_> =
        live.map(|key| key.sign(endpoint, sealer, message.as_bytes())).collect::<Result<_, _>>()?;
    if signatures.is_empty() {
        return Err(Unusable);
    }
    Ok(vec![
        ("content-type", "application/json".to_owned()),
        (ID_HEADER, event.to_string()),
        (TIMESTAMP_HEADER, timestamp.to_string()),
        (SIGNATURE_HEADER, signatures.join(" ")),
    ])
}

fn place(endpoint: WebhookId) -> String {
    format!("webhooks.{endpoint}")
}
