//! Initiators and their API keys.
//!
//! A key is `rk_` and 32 random bytes in base64url, shown once; at rest there is its SHA-256,
//! which needs no salt because nobody can guess 256 bits. A client has at most two keys that live,
//! so that a new one can be rolled out before the old one ends.
//!
//! ```text
//!   api_keys/<hash> ─▶ tenant, client        only says whose key it may be
//!   clients/<tenant>.<client> ─▶ name, scopes, hashes with their ends       the truth
//! ```
//! What a key may do hangs on the client's record alone: a hash that it does not list opens nothing.
//! What is kept here is read; `app::clients` changes it.

mod known;
mod public_key;
mod record;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::{ClientId, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};

pub use self::public_key::{InvalidJwk, PublicKey};
pub use self::record::{ApiKey, Client, ClientChange, KeyEntry, NewClient};

use self::known::{Known, KnownClients};
use crate::ports::{Batch, Bucket, Record, Revision, Store, StoreError, records};

/// What every API key begins with, so that scanners find one that leaked.
const PREFIX: &str = "rk_";
/// Keys of one client that may live at the same time.
pub const LIVE_KEYS: usize = 2;
/// Public keys of one client at the same time: the old and the new one, and some for clusters whose
/// members have their own.
pub const PUBLIC_KEYS: usize = 8;

/// Why a client was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// There is no such client.
    #[error("there is no such client")]
    NotFound,
    /// It has two keys that live.
    #[error("the client already has {LIVE_KEYS} live keys")]
    TooManyKeys,
    /// It has a public key of this name.
    #[error("the client already has a public key of this kid")]
    KidTaken,
    /// It has as many public keys as it may.
    #[error("the client already has {PUBLIC_KEYS} public keys")]
    TooManyPublicKeys,
    /// It has no public key of this name.
    #[error("the client has no public key of this kid")]
    NoSuchKid,
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whose key a hash may be.
#[derive(Serialize, Deserialize)]
struct Holder {
    tenant: TenantId,
    client: ClientId,
}

impl Record for Holder {}

impl Record for Client {}

/// Finds and authenticates clients.
#[derive(Clone, Debug)]
pub struct Clients {
    store: Arc<dyn Store>,
    known: Arc<KnownClients>,
}

impl Clients {
    /// The clients of a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: Arc::default() }
    }

    /// The tenant's clients, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<Client>, StoreError> {
        let found = self.store.list(Bucket::Clients, &format!("{tenant}.")).await?;
        found.iter().map(|(_, stored)| records::parse(stored)).collect()
    }

    /// The client, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(
        &self,
        tenant: &TenantId,
        id: ClientId,
    ) -> Result<Option<Client>, StoreError> {
        let found = records::load(&*self.store, Bucket::Clients, &record_key(tenant, id)).await?;
        Ok(found.map(|(client, _)| client))
    }

    /// Whose key a bearer credential is, if it is one and lives. A record is parsed only if its
    /// revision is another than at the key's last request.
    ///
    /// # Errors
    /// [`StoreError`]: nobody knows; the caller must refuse.
    pub async fn authenticate(
        &self,
        bearer: &str,
        now: UnixMillis,
    ) -> Result<Option<Arc<Client>>, StoreError> {
        if !is_well_formed(bearer) {
            return Ok(None);
        }
        let hash = hash(bearer);
        let client = self.holder(&hash).await?;
        let lives = |client: &Arc<Client>| {
            client.keys.iter().any(|key| key.hash == hash && key.is_live(now))
        };
        let client = client.filter(lives);
        if client.is_none() {
            self.known.remove(&hash);
        }
        Ok(client)
    }

    /// The client that the record under a key's hash names, if there are both.
    async fn holder(&self, hash: &str) -> Result<Option<Arc<Client>>, StoreError> {
        let Some(pointer) = self.store.load(Bucket::ApiKeys, hash).await? else { return Ok(None) };
        let known = self.known.get(hash, pointer.revision);
        let key = match &known {
            Some(known) => record_key(&known.client.tenant, known.client.id),
            None => {
                let Holder { tenant, client } = records::parse(&pointer)?;
                record_key(&tenant, client)
            }
        };
        let Some(record) = self.store.load(Bucket::Clients, &key).await? else { return Ok(None) };
        if let Some(known) = known.filter(|known| known.record == record.revision) {
            return Ok(Some(known.client));
        }
        let client: Arc<Client> = Arc::new(records::parse(&record)?);
        let (pointer, record) = (pointer.revision, record.revision);
        self.known.insert(hash, Known { pointer, record, client: Arc::clone(&client) });
        Ok(Some(client))
    }
}

/// Adds to a batch what says whose key a hash may be.
///
/// # Errors
/// If it has no JSON form.
pub fn put_pointer(batch: Batch, client: &Client, hash: &str) -> Result<Batch, StoreError> {
    let holder = Holder { tenant: client.tenant.clone(), client: client.id };
    records::put(batch, Bucket::ApiKeys, hash, Revision::ABSENT, &holder)
}

/// The key of a client's record.
#[must_use]
pub fn record_key(tenant: &TenantId, id: ClientId) -> String {
    format!("{tenant}.{id}")
}

/// The name under which a key is kept.
fn hash(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, key.as_bytes()))
}

/// Whether a bearer credential can be a key at all: anything else costs the store nothing.
fn is_well_formed(bearer: &str) -> bool {
    let Some(body) = bearer.strip_prefix(PREFIX) else { return false };
    let mut bytes = [0; 32];
    body.len() == 43 && matches!(URL_SAFE_NO_PAD.decode_slice(body, &mut bytes), Ok(32))
}
