//! The relay's own keys in the store: made once and encrypted, so that every node and every restart
//! has the same ones.

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use tokio::time::Instant;

use crate::ports::{Bucket, Revision, Store, StoreError};
use crate::security::encryption::Encryptor;
use crate::security::keys::Keys;
use crate::security::random;

/// The stored keys; each that is missing is made first.
///
/// # Errors
/// The store's; also if what is stored is not a key, or was encrypted under another key.
pub async fn load_or_make(store: &dyn Store, encryptor: &Encryptor) -> Result<Keys, StoreError> {
    Ok(Keys {
        ticket: secret(store, encryptor, "ticket").await?,
        browser: secret(store, encryptor, "browser").await?,
        access: secret(store, encryptor, "access").await?,
        user_handle: secret(store, encryptor, "user_handle").await?,
        result: key(store, encryptor, RESULT, make_p256).await?,
        record: key(store, encryptor, "record", make_p256).await?,
    })
}

/// Whether the store answers for what is in it: the relay's own keys are there from its start.
///
/// # Errors
/// The store's.
pub async fn probe(store: &dyn Store) -> Result<(), StoreError> {
    store.load(Bucket::Keys, RESULT).await.map(drop)
}

/// Whether the encryptor opens the keys that the store has, if it has any.
///
/// # Errors
/// As [`load_or_make`].
pub async fn check(store: &dyn Store, encryptor: &Encryptor) -> Result<(), StoreError> {
    if store.list(Bucket::Keys, "").await?.is_empty() {
        return Ok(());
    }
    load_or_make(store, encryptor).await.map(drop)
}

/// Writes a record, which flushes it, and removes it again; gives how long the writing took.
pub async fn write_probe(store: &dyn Store) -> Result<Duration, StoreError> {
    let left = store.load(Bucket::Keys, PROBE).await?;
    let expected = left.map_or(Revision::ABSENT, |stored| stored.revision);
    let began = Instant::now();
    let revision = store.save(Bucket::Keys, PROBE, expected, b"probe".to_vec()).await?;
    let took = began.elapsed();
    store.remove(Bucket::Keys, PROBE, revision).await?;
    Ok(took)
}

/// The record of [`write_probe`], by the name of its caller.
const PROBE: &str = "doctor";
/// The name of the key that signs result tokens.
const RESULT: &str = "result";

fn make_p256() -> Result<Vec<u8>, StoreError> {
    let failed = |_| StoreError::Unavailable("no key could be made".to_owned());
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
    Ok(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
}

async fn secret(
    store: &dyn Store,
    encryptor: &Encryptor,
    name: &str,
) -> Result<[u8; 32], StoreError> {
    let secret = key(store, encryptor, name, || Ok(random::bytes::<32>().to_vec())).await?;
    secret
        .try_into()
        .map_err(|_| StoreError::Unavailable(format!("the {name} key has a wrong length")))
}

async fn key(
    store: &dyn Store,
    encryptor: &Encryptor,
    name: &str,
    make: impl Fn() -> Result<Vec<u8>, StoreError>,
) -> Result<Vec<u8>, StoreError> {
    let place = format!("keys.{name}");
    loop {
        if let Some(stored) = store.load(Bucket::Keys, name).await? {
            let sealed = std::str::from_utf8(&stored.value).unwrap_or_default();
            return encryptor.open(&place, sealed).map_err(|_| {
                let text = "was sealed under another sealing key: restore the seal.key that belongs \
                            to this store";
                StoreError::Unavailable(format!("the key {name} {text}"))
            });
        }
        let sealed = encryptor
            .seal(&place, &make()?)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        match store.save(Bucket::Keys, name, Revision::ABSENT, sealed.into_bytes()).await {
            // Read it back either way: two nodes may start at once, and the first key is kept.
            Ok(_) | Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
}
