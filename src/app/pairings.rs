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
use fido_relay_proto::http::{OpenedPairing, P256Jwk, PairDevice, Platform, PushTarget};
use fido_relay_proto::typed_code::TRIES;
use fido_relay_proto::{DeviceId, PlainText, TenantId, TypedCode, UnixMillis, Username};
use qrcode::QrCode;
use qrcode::render::svg;
use serde::{Deserialize, Serialize};

use super::devices::{self, Device, TooManyDevices};
use super::{Actor, App, RACES, committed};
use crate::core::prompt_limits::CodeAttempts;
use crate::ports::batch::MAX_CHANGES;
use crate::ports::{
    Batch, Bucket, Due, DueRule, Notice, Revision, SecurityEvent, SecurityEventKind, Store,
    StoreError, Unpushable, records,
};
use crate::security::{device_proof, random};

#[cfg(test)]
mod tests;

/// How long a pairing may be used, in seconds.
pub const LIFETIME_S: u64 = 600;
/// Codes that are drawn for one pairing at most. There are 2^20 locators; so many draws fail only
/// when nearly all of them are taken.
const DRAWS: usize = 32;

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

impl Pairing {
    /// What takes its place when it is voided.
    fn void(&self) -> PairingRecord {
        PairingRecord::Void { until: self.expires_at.plus_secs(LIFETIME_S) }
    }
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
pub const DUE: DueRule =
    DueRule { bucket: Bucket::Pairings, due: records::due_of::<PairingRecord> };

/// What stands in the store, under a token's hash or a code's locator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PairingRecord {
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

impl records::Record for PairingRecord {
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
    /// Never was, is too old, or is void; or the proof is not the secret's and the key's.
    #[error("no such pairing")]
    Unknown,
    /// Was used.
    #[error("the pairing was used")]
    Used,
    /// The user has [`devices::DEVICES_PER_USER`]; the pairing is still open.
    #[error("this user has as many devices as allowed: revoke one first")]
    TooManyDevices,
    /// Its push address is none that may be set; the pairing is still open.
    #[error(transparent)]
    Unpushable(#[from] Unpushable),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a phone presents.
#[derive(Clone, Copy)]
pub enum PairingSecret<'a> {
    /// The token of the link.
    Token(&'a str),
    /// The code that the person typed, in any spelling.
    Typed(&'a str),
}

impl std::fmt::Debug for PairingSecret<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PairingSecret(hidden)")
    }
}

/// A pairing that may be used.
#[derive(Clone, Debug)]
pub struct FoundPairing {
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

/// Makes a pairing for this user.
///
/// # Errors
/// The store's; also if hardly a locator is free.
pub async fn open(
    app: &App,
    actor: &Actor,
    username: &Username,
) -> Result<OpenedPairing, StoreError> {
    let (token, now) = (random::token(), app.clock.now());
    let relay: String = url::form_urlencoded::byte_serialize(app.public_url.as_bytes()).collect();
    let uri = format!("fido-relay://pair?relay={relay}&token={token}");
    let qr_svg = QrCode::new(&uri)
        .map(|code| code.render::<svg::Color<'_>>().min_dimensions(240, 240).build())
        .map_err(|error| StoreError::Unavailable(format!("no QR code: {error}")))?;
    let (key, expires_at) = (token_hash(&token), now.plus_secs(LIFETIME_S));
    let until = expires_at.plus_secs(LIFETIME_S);
    let what = SecurityEventKind::PairingOpened {
        username: username.clone(),
        client_id: actor.client_id(),
    };
    let entry = actor.entry(now, what);
    let located = PairingRecord::Located { token_hash: key.clone(), until };
    for _ in 0..DRAWS {
        let code = TypedCode::from_random(random::bytes());
        let typed = Typed { hash: token_hash(code.as_str()), tries_left: TRIES };
        let (tenant, username) = (actor.tenant.clone(), username.clone());
        let pairing =
            PairingRecord::Open(Pairing { tenant, username, expires_at, typed: Some(typed) });
        let batch = put(Batch::new(), &place(&code), Revision::ABSENT, &located)?;
        let batch = put(batch, &key, Revision::ABSENT, &pairing)?.entry(entry.clone());
        // A conflict: the locator finds another pairing.
        if app.commit(batch).await? {
            let (pairing_token, typed_code) = (token, code.to_string());
            let expires_in = LIFETIME_S;
            return Ok(OpenedPairing { pairing_token, typed_code, uri, qr_svg, expires_in });
        }
    }
    Err(StoreError::Unavailable("hardly a typed code is free".to_owned()))
}

/// Voids the pairings of a user that are still open.
///
/// # Errors
/// The store's.
pub async fn void_of(app: &App, actor: &Actor, username: &Username) -> Result<(), StoreError> {
    let now = app.clock.now();
    for _ in 0..RACES {
        let mut batch = Batch::new();
        for (key, stored) in app.store.list(Bucket::Pairings, "").await? {
            let Ok(PairingRecord::Open(pairing)) = records::decode(&stored.value) else { continue };
            if pairing.tenant == actor.tenant
                && pairing.username == *username
                && now < pairing.expires_at
                && batch.changes().len() < MAX_CHANGES
            {
                batch = put(batch, &key, stored.revision, &pairing.void())?;
            }
        }
        let voided = batch.changes().len();
        if voided == 0 {
            return Ok(());
        }
        let (username, client_id) = (username.clone(), actor.client_id());
        let what = SecurityEventKind::PairingVoided { username, client_id };
        // A conflict: one was used meanwhile, or a wrong code has cost it a try.
        if app.commit(batch.entry(actor.entry(now, what))).await? && voided < MAX_CHANGES {
            return Ok(());
        }
    }
    Err(StoreError::too_many_races())
}

fn put(
    batch: Batch,
    key: &str,
    expected: Revision,
    record: &PairingRecord,
) -> Result<Batch, StoreError> {
    records::put(batch, Bucket::Pairings, key, expected, record)
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
    secret: PairingSecret<'_>,
    now: UnixMillis,
) -> Result<FoundPairing, PairingError> {
    let token = match secret {
        PairingSecret::Token(token) => token,
        PairingSecret::Typed(typed) => return look_typed(store, typed, now).await,
    };
    let key = token_hash(token);
    match records::load(store, Bucket::Pairings, &key).await? {
        Some((PairingRecord::Open(pairing), _)) if now < pairing.expires_at => {
            Ok(FoundPairing { pairing, hash: key.clone(), key })
        }
        Some((PairingRecord::Used { .. }, _)) => Err(PairingError::Used),
        Some((
            PairingRecord::Open(_) | PairingRecord::Void { .. } | PairingRecord::Located { .. },
            _,
        ))
        | None => Err(PairingError::Unknown),
    }
}

async fn look_typed(
    store: &dyn Store,
    typed: &str,
    now: UnixMillis,
) -> Result<FoundPairing, PairingError> {
    let code: TypedCode = typed.parse().map_err(|_| PairingError::Unknown)?;
    let located = records::load(store, Bucket::Pairings, &place(&code)).await?;
    let Some((PairingRecord::Located { token_hash: key, .. }, _)) = located else {
        return Err(PairingError::Unknown);
    };
    let hash = token_hash(code.as_str());
    let is = |stored: &str| verify_slices_are_equal(stored.as_bytes(), hash.as_bytes()).is_ok();
    for _ in 0..RACES {
        let (mut pairing, revision) = match records::load(store, Bucket::Pairings, &key).await? {
            Some((PairingRecord::Open(pairing), revision)) if now < pairing.expires_at => {
                (pairing, revision)
            }
            Some((PairingRecord::Used { typed: Some(used), .. }, _)) if is(&used) => {
                return Err(PairingError::Used);
            }
            Some(_) | None => return Err(PairingError::Unknown),
        };
        let Some(typed) = &mut pairing.typed else { return Err(PairingError::Unknown) };
        if is(&typed.hash) {
            return Ok(FoundPairing { pairing, hash, key });
        }
        // No answer says that a code is wrong before it has cost its try: so of any number that
        // come at once, five count.
        typed.tries_left = typed.tries_left.saturating_sub(1);
        let voided = typed.tries_left == 0;
        let batch = if voided {
            let username = pairing.username.clone();
            let what = SecurityEventKind::PairingVoided { username, client_id: None };
            let event = SecurityEvent::new(pairing.tenant.clone(), now, what);
            put(Batch::new(), &key, revision, &pairing.void())?.entry(event.entry())
        } else {
            put(Batch::new(), &key, revision, &PairingRecord::Open(pairing))?
        };
        if committed(store, batch).await? {
            if voided {
                tracing::warn!("pairing void: its code was typed wrong too often");
            }
            return Err(PairingError::Unknown);
        }
    }
    Err(StoreError::too_many_races().into())
}

/// Makes a phone that holds a pairing's secret, and the key that its proof names, the user's device.
/// `audiences` are the URLs that the proof may name.
///
/// # Errors
/// [`PairingError`].
pub async fn pair(
    app: &App,
    order: PairDevice,
    audiences: &[String],
) -> Result<Device, PairingError> {
    let secret = match (&order.pairing_token, &order.typed_code) {
        (Some(token), _) => PairingSecret::Token(token),
        (None, Some(code)) => PairingSecret::Typed(code),
        (None, None) => return Err(PairingError::Unknown),
    };
    let found = look(&*app.store, secret, app.clock.now()).await?;
    let PairDevice { proof, jwk, name, platform, push, .. } = order;
    let names = |audience: &String| {
        device_proof::verify_pairing(&proof, &jwk, audience, &found.hash).is_ok()
    };
    if !audiences.iter().any(names) {
        return Err(PairingError::Unknown);
    }
    // Without a push service nothing says what addresses are good: then none is kept.
    let push = match &app.push {
        Some(services) => push.map(|target| services.permits(&target).map(|()| target)),
        None => None,
    };
    let push = push.transpose()?;
    redeem(app, &found, NewDevice { jwk, name, platform, push }).await
}

/// What a phone says of itself.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// The device key's public half.
    pub jwk: P256Jwk,
    /// The person's name of the device.
    pub name: Option<PlainText<64>>,
    /// Its operating system.
    pub platform: Platform,
    /// How to wake it.
    pub push: Option<PushTarget>,
}

/// Uses a pairing up, as it was found by [`look`], for this phone. Of many that try, one becomes the
/// device.
///
/// # Errors
/// [`PairingError::Used`] for all the others, [`PairingError::Unknown`] if it was voided meanwhile.
pub async fn redeem(
    app: &App,
    found: &FoundPairing,
    phone: NewDevice,
) -> Result<Device, PairingError> {
    let (store, now) = (&*app.store, app.clock.now());
    let NewDevice { jwk, name, platform, push } = phone;
    let Pairing { tenant, username, .. } = found.pairing.clone();
    let id = DeviceId::from_bytes(random::bytes());
    let (revoked_at, rotated, push_removed) = (None, None, None);
    let device = Device {
        tries: CodeAttempts::default(),
        id,
        tenant,
        username,
        jwk,
        name,
        platform,
        push,
        push_removed,
        paired_at: now,
        revoked_at,
        rotated,
    };
    let Device { tenant, username, .. } = &device;
    let what = SecurityEventKind::DevicePaired { device_id: id, username: username.clone() };
    let entry = SecurityEvent::new(tenant.clone(), now, what).entry();
    for _ in 0..RACES {
        let loaded = records::load(store, Bucket::Pairings, &found.key).await?;
        let (pairing, revision) = match loaded {
            Some((PairingRecord::Open(pairing), revision)) => (pairing, revision),
            Some((PairingRecord::Used { .. }, _)) => return Err(PairingError::Used),
            Some((PairingRecord::Void { .. } | PairingRecord::Located { .. }, _)) | None => {
                return Err(PairingError::Unknown);
            }
        };
        let until = now.plus_secs(2 * LIFETIME_S);
        let used = PairingRecord::Used { until, typed: pairing.typed.map(|typed| typed.hash) };
        let batch = put(Batch::new(), &found.key, revision, &used)?.entry(entry.clone());
        let batch = match devices::add(store, batch, &device).await? {
            Ok(batch) => batch,
            Err(TooManyDevices) => return Err(PairingError::TooManyDevices),
        };
        if app.commit(batch).await? {
            tracing::info!(device = %id, "device paired");
            app.bus.publish(Notice::News(tenant.clone(), username.clone())).await;
            return Ok(device);
        }
    }
    Err(StoreError::too_many_races().into())
}
