//! Initiators: making and removing them, their keys, where they call from and which pages are theirs.
//! A client's record, the pointers to it from its keys, and the entry of the journal are one batch.

mod authentication;
mod cache;
mod record;

use fido_relay_proto::{ClientId, UnixMillis};

pub use self::authentication::{AssertedClient, Clients, USED_ASSERTIONS};
pub use self::record::{
    ApiKey, Client, ClientChange, ClientError, KEY_MAX_S, KeyEntry, LIVE_KEYS, MissingScope,
    NewClient, PUBLIC_KEYS, key_end,
};
pub use crate::security::public_key::{InvalidJwk, PublicKey};

use self::authentication::put_pointer;
use self::record::record_key;
use super::{Actor, App, RACES};
use crate::ports::{Batch, Bucket, Revision, SecurityEventKind, Store, StoreError, records};

/// What a new client signs in with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// An API key that ends then, if it ends.
    ApiKey(Option<UnixMillis>),
    /// A key pair of its own.
    PublicKey(PublicKey),
}

/// Makes a client with its first key; an API key is seen this one time.
///
/// # Errors
/// [`ClientError::MayNothing`]; the store's.
pub async fn create(
    app: &App,
    actor: &Actor,
    new: NewClient,
    bounds: &ClientChange,
    credential: Credential,
) -> Result<(ClientId, Option<ApiKey>), ClientError> {
    if new.scopes.is_empty() || new.bindings.is_empty() {
        return Err(ClientError::MayNothing);
    }
    let now = app.clock.now();
    let mut client = Client::new(new, now);
    client.apply(bounds);
    let mut batch = Batch::new();
    let key = match credential {
        Credential::PublicKey(key) => {
            client.add_public_key(key)?;
            None
        }
        Credential::ApiKey(ends) => {
            let key = ApiKey::generate();
            client.add_key(&key, ends, None, now)?;
            Some(key)
        }
    };
    for entry in &client.keys {
        batch = put_pointer(batch, &client, &entry.hash)?;
    }
    let client_id = client.id;
    let batch = put(batch, &client, Revision::ABSENT)?;
    let entry = actor.entry(now, SecurityEventKind::ClientMade { client_id });
    app.store.commit(batch.entry(entry)).await?;
    tracing::info!(client = %client_id, "client created");
    Ok((client_id, key))
}

/// Makes a key for a client, seen this one time ([`Client::add_key`]).
///
/// # Errors
/// [`ClientError`].
pub async fn add_key(
    app: &App,
    actor: &Actor,
    id: ClientId,
    ends: Option<UnixMillis>,
    others_end: Option<UnixMillis>,
) -> Result<ApiKey, ClientError> {
    let now = app.clock.now();
    let key = ApiKey::generate();
    let what = SecurityEventKind::ClientKeyMade { client_id: id };
    change(app, actor, id, what, |client| client.add_key(&key, ends, others_end, now)).await?;
    tracing::info!(client = %id, "client key created");
    Ok(key)
}

/// Changes what a client may do or from where; what `order` does not name stays. It holds from the
/// next request on.
///
/// # Errors
/// [`ClientError`].
pub async fn alter(
    app: &App,
    actor: &Actor,
    id: ClientId,
    order: &ClientChange,
) -> Result<(), ClientError> {
    let what = SecurityEventKind::ClientChanged { client_id: id };
    let altered = change(app, actor, id, what, |client| {
        client.apply(order);
        Ok(())
    });
    altered.await?;
    tracing::info!(client = %id, "client changed");
    Ok(())
}

/// Registers a public key.
///
/// # Errors
/// [`ClientError`].
pub async fn add_public_key(
    app: &App,
    actor: &Actor,
    id: ClientId,
    key: &PublicKey,
) -> Result<(), ClientError> {
    let what = SecurityEventKind::ClientKeyMade { client_id: id };
    change(app, actor, id, what, |client| client.add_public_key(key.clone())).await?;
    tracing::info!(client = %id, "client public key registered");
    Ok(())
}

/// Takes a public key away; access tokens that it was asked for with end at once.
///
/// # Errors
/// [`ClientError`].
pub async fn remove_public_key(
    app: &App,
    actor: &Actor,
    id: ClientId,
    kid: &str,
) -> Result<(), ClientError> {
    let what = SecurityEventKind::ClientKeyRemoved { client_id: id };
    change(app, actor, id, what, |client| client.remove_public_key(kid)).await?;
    tracing::info!(client = %id, "client public key removed");
    Ok(())
}

/// Removes a client with its webhook endpoints; its keys end at once.
///
/// # Errors
/// [`ClientError`].
pub async fn remove(app: &App, actor: &Actor, id: ClientId) -> Result<(), ClientError> {
    for _ in 0..RACES {
        let (client, revision) = load(app, actor, id).await?;
        let record = record_key(&client.tenant, id);
        let batch = Batch::new().remove(Bucket::Clients, &record, revision);
        let mut batch = without_pointers(app, batch, &client, &[]).await?;
        let entry =
            actor.entry(app.clock.now(), SecurityEventKind::ClientRemoved { client_id: id });
        batch = batch.entry(entry);
        let mut endpoints = Vec::new();
        if let Some(webhooks) = &app.webhooks {
            let whose = (&client.tenant, id);
            (batch, endpoints) = webhooks.removal(batch, whose, actor.operator_name()).await?;
        }
        if app.commit(batch).await? {
            tracing::info!(client = %id, "client removed");
            if let Some(webhooks) = &app.webhooks
                && let Err(error) = webhooks.forget(&endpoints).await
            {
                tracing::warn!(%error, "deliveries to a removed client stay until the next start");
            }
            return Ok(());
        }
    }
    Err(StoreError::too_many_races().into())
}

/// Clients of an earlier version, whose `prior_auth` is believed without the scope, of all tenants.
pub async fn undecided(store: &dyn Store) -> Result<Vec<Client>, StoreError> {
    let found = store.list(Bucket::Clients, "").await?;
    let clients = found.iter().filter_map(|(_, stored)| records::parse::<Client>(stored).ok());
    Ok(clients.filter(|client| !client.knows_prior_auth_scope).collect())
}

/// Changes a client, with what finds it by the keys that it has afterwards.
async fn change(
    app: &App,
    actor: &Actor,
    id: ClientId,
    what: SecurityEventKind,
    change: impl Fn(&mut Client) -> Result<(), ClientError> + Send + Sync,
) -> Result<(), ClientError> {
    let entry = actor.entry(app.clock.now(), what);
    for _ in 0..RACES {
        let (before, revision) = load(app, actor, id).await?;
        let mut after = before.clone();
        change(&mut after)?;
        let mut batch = put(Batch::new(), &after, revision)?;
        let has = |client: &Client, hash: &str| client.keys.iter().any(|key| key.hash == hash);
        for new in after.keys.iter().filter(|key| !has(&before, &key.hash)) {
            batch = put_pointer(batch, &after, &new.hash)?;
        }
        let kept: Vec<_> = after.keys.iter().map(|key| key.hash.as_str()).collect();
        let batch = without_pointers(app, batch, &before, &kept).await?;
        if app.commit(batch.entry(entry.clone())).await? {
            return Ok(());
        }
    }
    Err(StoreError::too_many_races().into())
}

/// Adds to a batch the removal of what finds the client by keys other than those that are kept.
async fn without_pointers(
    app: &App,
    mut batch: Batch,
    client: &Client,
    kept: &[&str],
) -> Result<Batch, StoreError> {
    for key in client.keys.iter().filter(|key| !kept.contains(&key.hash.as_str())) {
        if let Some(pointer) = app.store.load(Bucket::ApiKeys, &key.hash).await? {
            batch = batch.remove(Bucket::ApiKeys, &key.hash, pointer.revision);
        }
    }
    Ok(batch)
}

async fn load(app: &App, actor: &Actor, id: ClientId) -> Result<(Client, Revision), ClientError> {
    let found = records::load(&*app.store, Bucket::Clients, &record_key(&actor.tenant, id)).await?;
    found.ok_or(ClientError::NotFound)
}

fn put(batch: Batch, client: &Client, expected: Revision) -> Result<Batch, StoreError> {
    let key = record_key(&client.tenant, client.id);
    records::put(batch, Bucket::Clients, &key, expected, client)
}

#[cfg(test)]
mod tests;
