//! Pairing: one-time secrets by which a phone becomes a user's device. Stored hashed, good for ten
//! minutes and one device, also when a hundred try at once.
//!
//! Each pairing has two secrets, and using one uses up both: a token of 256 bits for a link or a QR
//! code, and a code of 50 bits to type. 50 bits can be guessed at, so the code's first four
//! characters are a locator that finds the pairing, and a wrong code that finds one costs it one of
//! five tries. The other six characters are 30 bits: whoever guesses, with however many machines
//! and at whatever rate, takes a given pairing with a probability of at most 5 / 2^30, less than
//! one in 200 million. After the fifth try the pairing is void, token and all.
//!
//! ```text
//!   pairings/typed.LOCATOR ──▶ hash of the token ──▶ pairings/HASH: open | used | void
//! ```

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::http::OpenedPairing;
use fido_relay_proto::typed_code::TRIES;
use fido_relay_proto::{TenantId, TypedCode, UnixMillis, Username};
use qrcode::QrCode;
use qrcode::render::svg;
use serde::{Deserialize, Serialize};

use super::random;
use crate::ports::{Bucket, Due, DueRule, Revision, Store, StoreError, Stored, records};

#[cfg(test)]
mod tests;

/// How long a pairing may be used, in seconds.
pub const LIFETIME_S: u64 = 600;
/// Codes that are drawn for one pairing at most. There are 2^20 locators; so many draws fail only
/// when nearly all of them are taken.
const DRAWS: usize = 32;
/// How often a pairing is looked at anew because somebody else's try came first. Each of those is
/// one of few.
const RACES: usize = 64;

/// What a pairing token or typed code stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pairing {
    /// The relying party.
    pub tenant: TenantId,
    /// Whose device it will be.
    pub username: Username,
    /// Void from.
    pub expires_at: UnixMillis,
    /// The code to type. Pairings of versions before it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typed: Option<Typed>,
}

/// The typed code of a pairing.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Typed {
    /// As [`token_hash`] makes it of the plain form.
    hash: String,
    /// Wrong codes that it still bears.
    tries_left: u8,
}

/// The rule of [`Bucket::Pairings`].
pub const DUE: DueRule = DueRule { bucket: Bucket::Pairings, due: records::due_of::<Record> };

/// What stands in the store, under a token's hash or a code's locator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Open(Pairing),
    /// Used: kept so that a second use is told apart from a secret that never was.
    Used {
        /// When it may be forgotten.
        until: UnixMillis,
        /// The typed code's hash: only whoever holds the code learns that it was used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        typed: Option<String>,
    },
    /// Guessed at too often.
    Void {
        /// When it may be forgotten.
        until: UnixMillis,
    },
    /// Under a locator: where the pairing stands.
    Located {
        /// Its key.
        token_hash: String,
        /// When it may be forgotten.
        until: UnixMillis,
    },
}

impl records::Record for Record {
    fn due(&self) -> Option<Due> {
        Some(Due::removal(match self {
            Self::Open(pairing) => pairing.expires_at.plus_secs(LIFETIME_S),
            Self::Used { until, .. } | Self::Void { until } | Self::Located { until, .. } => *until,
        }))
    }
}

/// Why a secret opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// Never was, is too old, or is void.
    #[error("no such pairing")]
    Unknown,
    /// This wrong code was one too many: the pairing is void from now on.
    #[error("the pairing is void, its code was typed wrong too often")]
    Voided(Box<Pairing>),
    /// Was used.
    #[error("the pairing was used")]
    Used,
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a phone presents.
#[derive(Clone, Copy)]
pub enum Secret<'a> {
    /// The token of the link.
    Token(&'a str),
    /// The code that the person typed, in any spelling.
    Typed(&'a str),
}

impl std::fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// A pairing that may be used.
#[derive(Clone, Debug)]
pub struct Found {
    /// What the secret stands for.
    pub pairing: Pairing,
    /// The secret's hash: what the phone's proof must name.
    pub hash: String,
    key: String,
}

/// The SHA-256 of a secret, base64url: of a token as it is, of a typed code in its plain form. The
/// token's is the pairing's key in the store, and either is part of the phone's proof.
#[must_use]
pub fn token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()))
}

/// Makes a pairing for this user; `relay_url` is what the app will dial.
///
/// # Errors
/// The store's; also if hardly a locator is free.
pub async fn open(
    store: &dyn Store,
    tenant: &TenantId,
    username: &Username,
    relay_url: &str,
    now: UnixMillis,
) -> Result<OpenedPairing, StoreError> {
    let token = random::token();
    let expires_at = now.plus_secs(LIFETIME_S);
    let key = token_hash(&token);
    // The locator first: a code that leads nowhere does no harm, two that lead to one pairing do.
    let code = locate(store, &key, expires_at).await?;
    let typed = Typed { hash: token_hash(code.as_str()), tries_left: TRIES };
    let (tenant, username) = (tenant.clone(), username.clone());
    let record = Record::Open(Pairing { tenant, username, expires_at, typed: Some(typed) });
    records::save(store, Bucket::Pairings, &key, Revision::ABSENT, &record).await?;
    let relay: String = url::form_urlencoded::byte_serialize(relay_url.as_bytes()).collect();
    let uri = format!("fido-relay://pair?relay={relay}&token={token}");
    let qr_svg = QrCode::new(&uri)
        .map(|code| code.render::<svg::Color<'_>>().min_dimensions(240, 240).build())
        .map_err(|error| StoreError::Unavailable(format!("no QR code: {error}")))?;
    let typed_code = code.to_string();
    Ok(OpenedPairing { pairing_token: token, typed_code, uri, qr_svg, expires_in: LIFETIME_S })
}

/// Voids the pairings of a user that are still open.
///
/// # Errors
/// The store's.
pub async fn void_of(
    store: &dyn Store,
    tenant: &TenantId,
    username: &Username,
) -> Result<(), StoreError> {
    for (key, stored) in store.list(Bucket::Pairings, "").await? {
        let mut found = Some(stored);
        while let Some(Stored { revision, value, .. }) = found {
            let Ok(Record::Open(pairing)) = records::decode(&value) else { break };
            if pairing.tenant != *tenant || pairing.username != *username {
                break;
            }
            let void = Record::Void { until: pairing.expires_at.plus_secs(LIFETIME_S) };
            match records::save(store, Bucket::Pairings, &key, revision, &void).await {
                Ok(_) => break,
                // Used meanwhile, or a wrong code has cost it a try: then it is still open.
                Err(StoreError::Conflict(_)) => found = store.load(Bucket::Pairings, &key).await?,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Draws a code whose locator finds nothing else, and lets it find this pairing.
async fn locate(
    store: &dyn Store,
    token_hash: &str,
    expires_at: UnixMillis,
) -> Result<TypedCode, StoreError> {
    let until = expires_at.plus_secs(LIFETIME_S);
    let record = Record::Located { token_hash: token_hash.to_owned(), until };
    for _ in 0..DRAWS {
        let code = TypedCode::from_random(random::bytes());
        let place = place(&code);
        match records::save(store, Bucket::Pairings, &place, Revision::ABSENT, &record).await {
            Ok(_) => return Ok(code),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Unavailable("hardly a typed code is free".to_owned()))
}

fn place(code: &TypedCode) -> String {
    format!("typed.{}", code.locator())
}

/// What a secret stands for, without using it up. A wrong typed code that finds a pairing costs it
/// a try.
///
/// # Errors
/// [`PairingError`].
pub async fn look(
    store: &dyn Store,
    secret: Secret<'_>,
    now: UnixMillis,
) -> Result<Found, PairingError> {
    let token = match secret {
        Secret::Token(token) => token,
        Secret::Typed(typed) => return look_typed(store, typed, now).await,
    };
    let key = token_hash(token);
    match records::load(store, Bucket::Pairings, &key).await? {
        Some((Record::Open(pairing), _)) if now < pairing.expires_at => {
            Ok(Found { pairing, hash: key.clone(), key })
        }
        Some((Record::Used { .. }, _)) => Err(PairingError::Used),
        Some((Record::Open(_) | Record::Void { .. } | Record::Located { .. }, _)) | None => {
            Err(PairingError::Unknown)
        }
    }
}

async fn look_typed(
    store: &dyn Store,
    typed: &str,
    now: UnixMillis,
) -> Result<Found, PairingError> {
    let code: TypedCode = typed.parse().map_err(|_| PairingError::Unknown)?;
    let located = records::load(store, Bucket::Pairings, &place(&code)).await?;
    let Some((Record::Located { token_hash: key, .. }, _)) = located else {
        return Err(PairingError::Unknown);
    };
    let hash = token_hash(code.as_str());
    let is = |stored: &str| verify_slices_are_equal(stored.as_bytes(), hash.as_bytes()).is_ok();
    for _ in 0..RACES {
        let (mut pairing, revision) = match records::load(store, Bucket::Pairings, &key).await? {
            Some((Record::Open(pairing), revision)) if now < pairing.expires_at => {
                (pairing, revision)
            }
            Some((Record::Used { typed: Some(used), .. }, _)) if is(&used) => {
                return Err(PairingError::Used);
            }
            Some(_) | None => return Err(PairingError::Unknown),
        };
        let Some(typed) = &mut pairing.typed else { return Err(PairingError::Unknown) };
        if is(&typed.hash) {
            return Ok(Found { pairing, hash, key });
        }
        // Nobody is told of a wrong code before it has cost its try: so of any number that come
        // at once, five count.
        typed.tries_left = typed.tries_left.saturating_sub(1);
        let voided = typed.tries_left == 0;
        let record = if voided {
            Record::Void { until: pairing.expires_at.plus_secs(LIFETIME_S) }
        } else {
            Record::Open(pairing.clone())
        };
        match records::save(store, Bucket::Pairings, &key, revision, &record).await {
            Ok(_) if voided => return Err(PairingError::Voided(Box::new(pairing))),
            Ok(_) => return Err(PairingError::Unknown),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Unavailable("too many races for one pairing".to_owned()).into())
}

/// Uses a pairing up, as it was found by [`look`]. Of many that try, one gets `Ok`.
///
/// # Errors
/// [`PairingError::Used`] for all the others, [`PairingError::Unknown`] if it was voided meanwhile.
pub async fn redeem(store: &dyn Store, found: &Found, now: UnixMillis) -> Result<(), PairingError> {
    for _ in 0..RACES {
        let loaded = records::load(store, Bucket::Pairings, &found.key).await?;
        let (pairing, revision) = match loaded {
            Some((Record::Open(pairing), revision)) => (pairing, revision),
            Some((Record::Used { .. }, _)) => return Err(PairingError::Used),
            Some((Record::Void { .. } | Record::Located { .. }, _)) | None => {
                return Err(PairingError::Unknown);
            }
        };
        let until = now.plus_secs(2 * LIFETIME_S);
        let used = Record::Used { until, typed: pairing.typed.map(|typed| typed.hash) };
        match records::save(store, Bucket::Pairings, &found.key, revision, &used).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Unavailable("too many races for one pairing".to_owned()).into())
}
