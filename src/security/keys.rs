//! The relay's own keys: made once, kept in the store so that every node and every restart has
//! the same ones. Sealed there, and they print nothing.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use super::encryption::Encryptor;
use super::random;
use crate::ports::{Bucket, Revision, Store, StoreError};

/// The keys of one installation.
pub struct Keys {
    /// HMAC-SHA-256 key of tickets.
    pub(super) ticket: [u8; 32],
    /// HMAC-SHA-256 key of browsers' names.
    pub(super) browser: [u8; 32],
    /// HMAC-SHA-256 key of access tokens.
    pub(super) access: [u8; 32],
    /// HMAC-SHA-256 key that the built-in FIDO2 server derives user handles with.
    pub(super) user_handle: [u8; 32],
    /// P-256 key (PKCS #8) that signs result tokens.
    pub(super) result: Vec<u8>,
    /// P-256 key (PKCS #8) that signs receipts and the audit log's checkpoints.
    pub(super) record: Vec<u8>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(hidden)")
    }
}

impl Keys {
    /// The keys as stored, made first if there are none.
    ///
    /// # Errors
    /// The store's; also if what is stored is not a key.
    pub async fn load_or_make(store: &dyn Store, sealer: &Encryptor) -> Result<Self, StoreError> {
        let ticket = load_or_make_secret(store, sealer, "ticket").await?;
        let browser = load_or_make_secret(store, sealer, "browser").await?;
        let access = load_or_make_secret(store, sealer, "access").await?;
        let user_handle = load_or_make_secret(store, sealer, "user_handle").await?;
        let result = load_or_make(store, sealer, "result", make_p256).await?;
        let record = load_or_make(store, sealer, "record", make_p256).await?;
        Ok(Self { ticket, browser, access, user_handle, result, record })
    }

    /// What the built-in FIDO2 server derives user handles with.
    #[must_use]
    pub fn user_handle(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.user_handle)
    }
}

fn make_p256() -> Result<Vec<u8>, StoreError> {
    let failed = |_| StoreError::Unavailable("no key could be made".to_owned());
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
    Ok(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
}

async fn load_or_make_secret(
    store: &dyn Store,
    sealer: &Encryptor,
    name: &str,
) -> Result<[u8; 32], StoreError> {
    let secret = load_or_make(store, sealer, name, || Ok(random::bytes::<32>().to_vec())).await?;
    secret
        .try_into()
        .map_err(|_| StoreError::Unavailable(format!("the {name} key has a wrong length")))
}

async fn load_or_make(
    store: &dyn Store,
    sealer: &Encryptor,
    name: &str,
    make: impl Fn() -> Result<Vec<u8>, StoreError>,
) -> Result<Vec<u8>, StoreError> {
    let place = format!("keys.{name}");
    loop {
        if let Some(stored) = store.load(Bucket::Keys, name).await? {
            let sealed = std::str::from_utf8(&stored.value).unwrap_or_default();
            return sealer.open(&place, sealed).map_err(|_| {
                let text = "was sealed under another sealing key: restore the seal.key that belongs \
                            to this store";
                StoreError::Unavailable(format!("the key {name} {text}"))
            });
        }
        let sealed = sealer
            .seal(&place, &make()?)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        match store.save(Bucket::Keys, name, Revision::ABSENT, sealed.into_bytes()).await {
            // Read it back either way: two nodes may start at once, and the first key stands.
            Ok(_) | Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
}
