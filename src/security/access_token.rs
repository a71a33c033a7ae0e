//! Access tokens: what an initiator gets for an assertion, and calls with for ten minutes.
//!
//! The relay is the only one that reads them, so they are its own words under its own HMAC, and
//! not signed JWTs (RFC 9068): nothing is stored, checking one costs a microsecond, and it cannot be
//! taken for any other signed token of ours nor another for it. What it allows hangs on the client's
//! record, which every request loads: without the client, or without the key that it was made for,
//! a token is worth nothing from that moment on.

use fido_relay_proto::http::Scope;
use fido_relay_proto::{ClientId, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::mac_envelope::MacEnvelope;

/// Seconds for which a token works.
pub const LIFETIME_S: u64 = 600;

/// What every access token begins with, so that scanners find one that leaked.
const PREFIX: &str = "at_";
/// Longest token that is looked at, in bytes.
const MAX_BYTES: usize = 2048;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessGrant {
    pub tenant: TenantId,
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
pub struct AccessTokens(MacEnvelope);

/// Whether a bearer credential is meant to be an access token; not whether it is one.
#[must_use]
pub fn is_meant(bearer: &str) -> bool {
    bearer.starts_with(PREFIX)
}

impl AccessTokens {
    /// Tokens under the installation's key.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        Self(MacEnvelope::new(&keys.access, PREFIX, b""))
    }

    /// The token for a grant; `None` only if it has no JSON form.
    #[must_use]
    pub fn issue(&self, grant: &AccessGrant) -> Option<String> {
        serde_json::to_vec(grant).ok().map(|payload| self.0.wrap(&payload))
    }

    /// What a token grants, if it is one of ours and not void by now.
    #[must_use]
    pub fn read(&self, token: &str, now: UnixMillis) -> Option<AccessGrant> {
        if token.len() > MAX_BYTES {
            return None;
        }
        let grant: AccessGrant = serde_json::from_slice(&self.0.unwrap(token)?).ok()?;
        (now < grant.expires_at).then_some(grant)
    }
}
