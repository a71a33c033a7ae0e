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
//! What a key may do hangs on one record alone, so adding, ending and removing are each one
//! compare-and-set; a hash that the client's record does not list opens nothing.

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
use super::random;
use crate::ports::{Bucket, Record, Revision, Store, StoreError, records};

/// What every API key begins with, so that scanners find one that leaked.
const PREFIX: &str = "rk_";
/// Keys of one client that may live at the same time.
pub const LIVE_KEYS: usize = 2;
/// Public keys of one client at the same time: the old and the new one, and some for clusters whose
/// members have their own.
pub const PUBLIC_KEYS: usize = 8;
/// How often a change is tried again because somebody else changed the client meanwhile.
const RACES: usize = 16;

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

/// Makes, finds and authenticates clients.
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

    /// Makes a client without a key.
    ///
    /// # Errors
    /// [`StoreError`]; then there may be a client without a key, which can do nothing.
    pub async fn create(&self, new: NewClient, now: UnixMillis) -> Result<Client, StoreError> {
        let NewClient { tenant, name, mut scopes, mut bindings } = new;
        scopes.sort_unstable();
        scopes.dedup();
        bindings.dedup();
        let id = ClientId::from_bytes(random::bytes());
        let client = Client {
            id,
            tenant,
            name,
            scopes,
            bindings,
            created_at: now,
            keys: Vec::new(),
            allow_from: Vec::new(),
            page_origins: Vec::new(),
            public_keys: Vec::new(),
        };
        self.save(&client, Revision::ABSENT).await?;
        Ok(client)
    }

    /// The tenant's clients, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<Client>, StoreError> {
        let found = self.store.list(Bucket::Clients, &format!("{tenant}.")).await?;
        found.iter().map(|(_, stored)| records::parse(stored)).collect()
    }

    /// Makes a key for a client: the one time that it is seen. It ends at `expires_at`. With
    /// `others_end`, the newest of its other keys ends then at the latest and older ones at once.
    ///
    /// # Errors
    /// [`ClientError`]; without `others_end` also when two keys live already.
    pub async fn add_key(
        &self,
        tenant: &TenantId,
        id: ClientId,
        expires_at: Option<UnixMillis>,
        others_end: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Result<ApiKey, ClientError> {
        let key = ApiKey::generate();
        let hash = hash(key.expose());
        // The pointer first: it opens nothing until the client lists the hash.
        let holder = Holder { tenant: tenant.clone(), client: id };
        self.load(tenant, id).await?;
        records::save(&*self.store, Bucket::ApiKeys, &hash, Revision::ABSENT, &holder).await?;
        let added = self
            .change(tenant, id, |client| {
                let mut live: Vec<_> =
                    client.keys.iter().filter(|key| key.is_live(now)).cloned().collect();
                if let Some(end) = others_end {
                    live.drain(..live.len().saturating_sub(1));
                    for newest in &mut live {
                        newest.expires_at = Some(newest.expires_at.map_or(end, |own| own.min(end)));
                    }
                } else if live.len() >= LIVE_KEYS {
                    return Err(ClientError::TooManyKeys);
                }
                live.push(KeyEntry { hash: hash.clone(), created_at: now, expires_at });
                client.keys = live;
                Ok(())
            })
            .await;
        match added {
            Ok(before) => {
                let kept = self.load(tenant, id).await?.0.keys;
                let gone = before.keys.iter().filter(|old| kept.iter().all(|k| k.hash != old.hash));
                self.forget(gone).await;
                Ok(key)
            }
            Err(error) => {
                self.forget_hash(&hash).await;
                Err(error)
            }
        }
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

    /// Changes what a client may do or from where; what `change` does not name stays. It holds from
    /// the next request on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn alter(
        &self,
        tenant: &TenantId,
        id: ClientId,
        change: &ClientChange,
    ) -> Result<(), ClientError> {
        let altered = self.change(tenant, id, |client| {
            client.apply(change);
            Ok(())
        });
        let before = altered.await?;
        if change.end_api_keys {
            self.forget(before.keys.iter()).await;
        }
        Ok(())
    }

    /// Registers a public key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_public_key(
        &self,
        tenant: &TenantId,
        id: ClientId,
        key: &PublicKey,
    ) -> Result<(), ClientError> {
        let added = self.change(tenant, id, |client| {
            if client.public_keys.iter().any(|known| known.kid == key.kid) {
                return Err(ClientError::KidTaken);
            }
            if client.public_keys.len() >= PUBLIC_KEYS {
                return Err(ClientError::TooManyPublicKeys);
            }
            client.public_keys.push(key.clone());
            Ok(())
        });
        added.await.map(drop)
    }

    /// Takes a public key away; access tokens that it was asked for with end at once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_public_key(
        &self,
        tenant: &TenantId,
        id: ClientId,
        kid: &str,
    ) -> Result<(), ClientError> {
        let removed = self.change(tenant, id, |client| {
            let before = client.public_keys.len();
            client.public_keys.retain(|key| key.kid.as_str() != kid);
            if client.public_keys.len() < before { Ok(()) } else { Err(ClientError::NoSuchKid) }
        });
        removed.await.map(drop)
    }

    /// Removes a client; its keys end at once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove(&self, tenant: &TenantId, id: ClientId) -> Result<(), ClientError> {
        for _ in 0..RACES {
            let (client, revision) = self.load(tenant, id).await?;
            match self.store.remove(Bucket::Clients, &record_key(tenant, id), revision).await {
                Ok(()) => {
                    self.forget(client.keys.iter()).await;
                    return Ok(());
                }
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::too_many_races().into())
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

    async fn load(
        &self,
        tenant: &TenantId,
        id: ClientId,
    ) -> Result<(Client, Revision), ClientError> {
        let found = records::load(&*self.store, Bucket::Clients, &record_key(tenant, id)).await?;
        found.ok_or(ClientError::NotFound)
    }

    async fn save(&self, client: &Client, expected: Revision) -> Result<Revision, StoreError> {
        let key = record_key(&client.tenant, client.id);
        records::save(&*self.store, Bucket::Clients, &key, expected, client).await
    }

    /// Changes a client and gives it as it was before.
    async fn change(
        &self,
        tenant: &TenantId,
        id: ClientId,
        change: impl Fn(&mut Client) -> Result<(), ClientError> + Send,
    ) -> Result<Client, ClientError> {
        for _ in 0..RACES {
            let (before, revision) = self.load(tenant, id).await?;
            let mut after = before.clone();
            change(&mut after)?;
            match self.save(&after, revision).await {
                Ok(_) => return Ok(before),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::too_many_races().into())
    }

    /// Tidies pointers away that open nothing any more; one that stays is harmless.
    async fn forget(&self, keys: impl Iterator<Item = &KeyEntry> + Send) {
        let hashes: Vec<_> = keys.map(|key| key.hash.clone()).collect();
        for hash in hashes {
            self.forget_hash(&hash).await;
        }
    }

    async fn forget_hash(&self, hash: &str) {
        if let Ok(Some(pointer)) = self.store.load(Bucket::ApiKeys, hash).await {
            let _ = self.store.remove(Bucket::ApiKeys, hash, pointer.revision).await;
        }
    }
}

fn record_key(tenant: &TenantId, id: ClientId) -> String {
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

#[cfg(test)]
mod tests;
