//! Whose credential a request carries: an API key, an access token, or a client assertion.
//!
//! ```text
//!   api_keys/<hash> ─▶ tenant, client        only says whose key it may be
//!   clients/<tenant>.<client> ─▶ name, scopes, hashes with their ends       the truth
//! ```
//! What a key may do depends on the client's record alone: a hash that it does not list grants
//! nothing.

use std::net::IpAddr;
use std::sync::Arc;

use fido_relay_proto::{ClientId, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::cache::{CachedClient, ClientCache};
use super::record::{Client, hash, is_well_formed, record_key};
use crate::encoding::sha256_base64url;
use crate::ports::{Batch, Bucket, Due, DueRule, Record, Revision, Store, StoreError, records};
use crate::security::access_token::{AccessGrant, AccessTokens};
use crate::security::client_assertion::{self, Assertion, LEEWAY_S};

/// Further seconds for which a used assertion is remembered after it has ended: longer than any
/// step of a clock that an operator would not notice.
const REMEMBERED_S: u64 = 600;

/// Names the client that an API key may belong to.
#[derive(Serialize, Deserialize)]
struct KeyPointer {
    tenant: TenantId,
    client: ClientId,
}

impl Record for KeyPointer {}

/// Remembers that an assertion was used.
#[derive(Serialize, Deserialize)]
struct UsedAssertion {
    until: UnixMillis,
}

impl Record for UsedAssertion {
    fn due(&self) -> Option<Due> {
        Some(Due::removal(self.until))
    }
}

/// The rule of [`Bucket::Assertions`].
pub const USED_ASSERTIONS: DueRule =
    DueRule { bucket: Bucket::Assertions, due: records::due_of::<UsedAssertion> };

/// What a request to the token endpoint says of its client.
#[derive(Clone, Copy, Debug)]
pub struct AssertedClient<'a> {
    pub assertion: &'a str,
    /// The `client_id` beside the assertion, if the request has one (RFC 7521 section 4.2).
    pub client_id: Option<&'a str>,
    /// What the assertion may be for.
    pub audiences: &'a [String],
    /// Where the request came from.
    pub from: Option<IpAddr>,
}

/// Finds and authenticates clients.
#[derive(Clone, Debug)]
pub struct Clients {
    store: Arc<dyn Store>,
    cache: Arc<ClientCache>,
}

impl Clients {
    /// The clients of a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, cache: Arc::default() }
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

    /// Whether a page of this origin, as the browser named it, is one of the client's.
    pub async fn has_page(
        &self,
        tenant: &TenantId,
        id: ClientId,
        origin: &str,
    ) -> Result<bool, StoreError> {
        Ok(self.find(tenant, id).await?.is_some_and(|client| client.has_page(origin)))
    }

    /// The client of an API key that is live. A record is parsed only if its revision is another
    /// than at the key's last request.
    ///
    /// # Errors
    /// [`StoreError`]: whether the key is good is unknown; the caller must refuse.
    pub async fn authenticate(
        &self,
        bearer: &str,
        now: UnixMillis,
    ) -> Result<Option<Arc<Client>>, StoreError> {
        if !is_well_formed(bearer) {
            return Ok(None);
        }
        let hash = hash(bearer);
        let client = self.owner_of(&hash).await?;
        let lives = |client: &Arc<Client>| {
            client.keys.iter().any(|key| key.hash == hash && key.is_live(now))
        };
        let client = client.filter(lives);
        if client.is_none() {
            self.cache.remove(&hash);
        }
        Ok(client)
    }

    /// The client that the record under a key's hash names, if both records exist.
    async fn owner_of(&self, hash: &str) -> Result<Option<Arc<Client>>, StoreError> {
        let Some(pointer) = self.store.load(Bucket::ApiKeys, hash).await? else { return Ok(None) };
        let cached = self.cache.get(hash, pointer.revision);
        let key = match &cached {
            Some(cached) => record_key(&cached.client.tenant, cached.client.id),
            None => {
                let KeyPointer { tenant, client } = records::parse(&pointer)?;
                record_key(&tenant, client)
            }
        };
        let Some(record) = self.store.load(Bucket::Clients, &key).await? else { return Ok(None) };
        if let Some(cached) = cached.filter(|cached| cached.record == record.revision) {
            return Ok(Some(cached.client));
        }
        let client: Arc<Client> = Arc::new(records::parse(&record)?);
        let (pointer, record) = (pointer.revision, record.revision);
        self.cache.insert(hash, CachedClient { pointer, record, client: Arc::clone(&client) });
        Ok(Some(client))
    }

    /// The client of an access token, with no more scopes than both have. Without the public key
    /// that the token was issued for, the token is void.
    ///
    /// # Errors
    /// As [`Clients::authenticate`].
    pub async fn by_access_token(
        &self,
        tokens: &AccessTokens,
        token: &str,
        now: UnixMillis,
    ) -> Result<Option<Client>, StoreError> {
        let Some(AccessGrant { tenant, client, key, scopes, .. }) = tokens.read(token, now) else {
            return Ok(None);
        };
        let found = self.find(&tenant, client).await?;
        let found = found.filter(|found| found.has_public_key(&key));
        Ok(found.map(|mut found| {
            found.scopes.retain(|scope| scopes.contains(scope));
            found
        }))
    }

    /// The client that an assertion is by, with the thumbprint of the key that signed it; the
    /// assertion is used up. `None`: refused.
    ///
    /// # Errors
    /// As [`Clients::authenticate`].
    pub async fn by_assertion(
        &self,
        tenant: &TenantId,
        asserted: AssertedClient<'_>,
        now: UnixMillis,
    ) -> Result<Option<(Client, String)>, StoreError> {
        let AssertedClient { assertion, client_id, audiences, from } = asserted;
        let Some(claimed) = client_assertion::claimed(assertion) else { return Ok(None) };
        let Some(client) = self.find(tenant, claimed).await? else { return Ok(None) };
        let is_named = client_id.is_none_or(|id| id == client.id.to_string());
        let verified =
            client_assertion::verify(assertion, (client.id, &client.public_keys), audiences, now);
        if let Ok(assertion) = verified
            && is_named
            && client.may_call_from(from)
            && self.use_up(&client, &assertion).await?
        {
            return Ok(Some((client, assertion.key)));
        }
        tracing::debug!(client = %client.id, "a client assertion was refused");
        Ok(None)
    }

    /// Uses an assertion up: `true` for one of any number of uses, on whichever node.
    async fn use_up(&self, client: &Client, assertion: &Assertion) -> Result<bool, StoreError> {
        let Assertion { jti, ends_at, .. } = assertion;
        let key = sha256_base64url(format!("{}.{}.{jti}", client.tenant, client.id));
        let used = UsedAssertion { until: ends_at.plus_secs(LEEWAY_S + REMEMBERED_S) };
        records::save_first(&*self.store, Bucket::Assertions, &key, &used).await
    }
}

/// Adds to a batch the record that names the client of a key's hash.
///
/// # Errors
/// If it has no JSON form.
pub(super) fn put_pointer(batch: Batch, client: &Client, hash: &str) -> Result<Batch, StoreError> {
    let pointer = KeyPointer { tenant: client.tenant.clone(), client: client.id };
    records::put(batch, Bucket::ApiKeys, hash, Revision::ABSENT, &pointer)
}
