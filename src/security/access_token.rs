//! Access tokens: what an initiator gets for an assertion, and calls with for ten minutes.
//!
//! The relay is the only one that reads them, so they are its own words under its own HMAC, and
//! not signed JWTs (RFC 9068): nothing is stored, checking one costs a microsecond, and it cannot be
//! taken for any other signed token of ours nor another for it. What it allows hangs on the client's
//! record, which every request loads: without the client, or without the key that it was made for,
//! a token is worth nothing from that moment on.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::http::Scope;
use fido_relay_proto::{ClientId, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::clients::{Client, Clients};
use super::keys::Keys;
use crate::ports::StoreError;

/// Seconds for which a token works.
pub const LIFETIME_S: u64 = 600;

/// What every access token begins with, so that scanners find one that leaked.
const PREFIX: &str = "at_";
const TAG: usize = 32;
/// Longest token that is looked at, in bytes.
const MAX_BYTES: usize = 2048;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The relying party.
    pub tenant: TenantId,
    /// The initiator.
    pub client: ClientId,
    /// The public key that it authenticated with: its RFC 7638 thumbprint.
    pub key: String,
    /// What it may do, at most.
    pub scopes: Vec<Scope>,
    /// Void from.
    pub expires_at: UnixMillis,
}

/// Makes and reads access tokens.
#[derive(Debug)]
pub struct AccessTokens {
    key: hmac::Key,
}

/// Whether a bearer credential is meant to be an access token; not whether it is one.
#[must_use]
pub fn is_meant(bearer: &str) -> bool {
    bearer.starts_with(PREFIX)
}

impl AccessTokens {
    /// Tokens under the installation's key.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &keys.access) }
    }

    /// The token for a grant; `None` only if it has no JSON form.
    #[must_use]
    pub fn issue(&self, grant: &Grant) -> Option<String> {
        let words = serde_json::to_vec(grant).ok()?;
        let mut token = hmac::sign(&self.key, &words).as_ref().to_vec();
        token.extend_from_slice(&words);
        Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(token)))
    }

    /// What a token grants, if it is one of ours and not void by now.
    #[must_use]
    pub fn read(&self, token: &str, now: UnixMillis) -> Option<Grant> {
        let body = token.strip_prefix(PREFIX).filter(|body| body.len() <= MAX_BYTES)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).ok()?;
        let (tag, words) = bytes.split_at_checked(TAG)?;
        hmac::verify(&self.key, words, tag).ok()?;
        let grant: Grant = serde_json::from_slice(words).ok()?;
        (now < grant.expires_at).then_some(grant)
    }

    /// The client that a token is for, with no more scopes than both have.
    ///
    /// # Errors
    /// [`StoreError`]: nobody knows; the caller must refuse.
    pub async fn client(
        &self,
        clients: &Clients,
        token: &str,
        now: UnixMillis,
    ) -> Result<Option<Client>, StoreError> {
        let Some(Grant { tenant, client, key, scopes, .. }) = self.read(token, now) else {
            return Ok(None);
        };
        let found = clients.find(&tenant, client).await?;
        let found = found.filter(|found| found.has_public_key(&key));
        Ok(found.map(|mut found| {
            found.scopes.retain(|scope| scopes.contains(scope));
            found
        }))
    }
}
