//! VAPID (RFC 8292): identifies the relay to a Web Push service by a token that is signed for the
//! endpoint's origin. Endpoints of one origin share a token until half of its life is over.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use fido_relay_proto::UnixMillis;
use serde_json::json;
use tokio::sync::Mutex;

use super::credential_file::CredentialFile;
use crate::encoding::base64url;
use crate::security::signing_key::PrivateSigningKey;

/// Seconds that a token is valid: half of the most that RFC 8292 section 2 allows.
const LIFE_S: u64 = 12 * 60 * 60;
/// Origins with a cached token.
const ORIGINS_MAX: usize = 1_024;

/// Makes and caches tokens.
#[derive(Debug)]
pub(super) struct Vapid {
    key: CredentialFile<PrivateSigningKey>,
    contact: String,
    made: Mutex<SignedHeaders>,
}

/// Cached `Authorization` headers of one key, with the times of their making.
#[derive(Default)]
struct SignedHeaders {
    key: Option<Arc<PrivateSigningKey>>,
    by_origin: HashMap<String, (String, u64)>,
}

impl std::fmt::Debug for SignedHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedHeaders")
            .field("origins", &self.by_origin.len())
            .finish_non_exhaustive()
    }
}

impl Vapid {
    /// Reads the key's file.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn open(file: &Path, contact: &str) -> Result<Self, String> {
        let key = CredentialFile::open(file, Box::new(PrivateSigningKey::p256))?;
        Ok(Self { key, contact: contact.to_owned(), made: Mutex::default() })
    }

    /// The `applicationServerKey` that pages pass to `PushManager.subscribe`.
    pub(super) async fn public_key(&self) -> String {
        base64url(self.key.get().await.public())
    }

    /// The `Authorization` header for an origin. `None` only if the cryptographic library fails.
    pub(super) async fn authorization(&self, origin: &str, now: UnixMillis) -> Option<String> {
        let (key, now) = (self.key.get().await, now.as_secs());
        let mut made = self.made.lock().await;
        if !made.key.as_ref().is_some_and(|before| Arc::ptr_eq(before, &key)) {
            *made = SignedHeaders { key: Some(Arc::clone(&key)), by_origin: HashMap::new() };
        }
        if let Some((header, at)) = made.by_origin.get(origin)
            && (*at..*at + LIFE_S / 2).contains(&now)
        {
            return Some(header.clone());
        }
        let claims = json!({ "aud": origin, "exp": now + LIFE_S, "sub": self.contact });
        let token = key.sign(json!({ "typ": "JWT" }), &claims)?;
        let header = format!("vapid t={token}, k={}", base64url(key.public()));
        if made.by_origin.len() >= ORIGINS_MAX {
            made.by_origin.clear();
        }
        made.by_origin.insert(origin.to_owned(), (header.clone(), now));
        Some(header)
    }
}
