//! Pairing tokens: one-time secrets by which a phone becomes a user's device. Stored hashed, good
//! for ten minutes and one device, also when a hundred try at once.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::http::OpenedPairing;
use fido_relay_proto::{TenantId, UnixMillis, Username};
use qrcode::QrCode;
use qrcode::render::svg;
use serde::{Deserialize, Serialize};

use super::random;
use crate::ports::{Bucket, Revision, Store, StoreError, records};

/// How long a pairing token may be used, in seconds.
pub const LIFETIME_S: u64 = 600;

/// What a pairing token stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pairing {
    /// The relying party.
    pub tenant: TenantId,
    /// Whose device it will be.
    pub username: Username,
    /// Void from.
    pub expires_at: UnixMillis,
}

/// When a stored pairing may be forgotten: some time after its end, so that a used token is told
/// apart from one that never was for as long as anybody may still hold it.
#[must_use]
pub fn dies_at(record: &[u8]) -> Option<UnixMillis> {
    match serde_json::from_slice(record).ok()? {
        Record::Open(pairing) => Some(pairing.expires_at.plus_secs(LIFETIME_S)),
        Record::Used { until } => Some(until),
    }
}

/// What stands in the store under a token's hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Open(Pairing),
    /// Used: kept so that a second use is told apart from a token that never was.
    Used {
        /// When it may be forgotten.
        until: UnixMillis,
    },
}

/// Why a token opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// Never was, or is too old.
    #[error("no such pairing token")]
    Unknown,
    /// Was used.
    #[error("the pairing token was used")]
    Used,
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The SHA-256 of a token, base64url: its key in the store, and part of the phone's proof.
#[must_use]
pub fn token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()))
}

/// Makes a pairing token for this user; `relay_url` is what the app will dial.
///
/// # Errors
/// The store's.
pub async fn open(
    store: &dyn Store,
    tenant: &TenantId,
    username: &Username,
    relay_url: &str,
    now: UnixMillis,
) -> Result<OpenedPairing, StoreError> {
    let token = random::token();
    let pairing = Pairing {
        tenant: tenant.clone(),
        username: username.clone(),
        expires_at: now.plus_secs(LIFETIME_S),
    };
    let key = token_hash(&token);
    let record = Record::Open(pairing);
    records::save(store, Bucket::Pairings, &key, Revision::ABSENT, &record).await?;
    let relay: String = url::form_urlencoded::byte_serialize(relay_url.as_bytes()).collect();
    let uri = format!("fido-relay://pair?relay={relay}&token={token}");
    let qr_svg = QrCode::new(&uri)
        .map(|code| code.render::<svg::Color<'_>>().min_dimensions(240, 240).build())
        .map_err(|error| StoreError::Unavailable(format!("no QR code: {error}")))?;
    Ok(OpenedPairing {
        pairing_token: token,
        typed_code: String::new(),
        uri,
        qr_svg,
        expires_in: LIFETIME_S,
    })
}

/// What a token stands for, without using it up.
///
/// # Errors
/// [`PairingError`].
pub async fn look(
    store: &dyn Store,
    token: &str,
    now: UnixMillis,
) -> Result<(Pairing, Revision), PairingError> {
    match records::load(store, Bucket::Pairings, &token_hash(token)).await? {
        Some((Record::Open(pairing), revision)) if now < pairing.expires_at => {
            Ok((pairing, revision))
        }
        Some((Record::Open(_), _)) | None => Err(PairingError::Unknown),
        Some((Record::Used { .. }, _)) => Err(PairingError::Used),
    }
}

/// Uses a token up, as it was found by [`look`]. Of many that try, one gets `Ok`.
///
/// # Errors
/// [`PairingError::Used`] for all the others.
pub async fn redeem(
    store: &dyn Store,
    token: &str,
    revision: Revision,
    now: UnixMillis,
) -> Result<(), PairingError> {
    let used = Record::Used { until: now.plus_secs(2 * LIFETIME_S) };
    let key = token_hash(token);
    match records::save(store, Bucket::Pairings, &key, revision, &used).await {
        Ok(_) => Ok(()),
        Err(StoreError::Conflict) => Err(PairingError::Used),
        Err(error) => Err(error.into()),
    }
}
