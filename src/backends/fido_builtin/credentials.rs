//! Credential records in the store.
//!
//! A user's records share a prefix, so that one listing finds them:
//! `<tenant>.u.<SHA-256 of username>.<SHA-256 of credential id>`. A second key, made in the same
//! commit, ensures that an id belongs to one user only: `<tenant>.c.<SHA-256 of credential id>`. It
//! outlives the card, so that its id is never registered again.
//!
//! `<tenant>.e.<SHA-256 of username>` counts how often the username was separated from its user.
//! Every registration writes it, so that of two concurrent ones the later conflicts.

use std::convert::Infallible;
use std::sync::Arc;

use fido_relay_proto::http::CardAttestation;
use fido_relay_proto::{CardId, TenantId, UnixMillis, Username};
use fido_relay_webauthn::{AttestationOutcome, Bytes, Model, model_name};
use serde::{Deserialize, Serialize};

use crate::encoding::{sha256, sha256_base64url};
use crate::ports::{
    Batch, BoxFuture, Bucket, Card, Cards, Record, Revision, Store, StoreError, Stored, records,
};

/// Credentials per user: enough for every card that a person owns, and a bound on the lists in
/// options objects.
pub(super) const PER_USER: usize = 20;

/// A credential record (WebAuthn section 4).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredCredential {
    pub(super) id: Bytes,
    pub(super) rp_id: String,
    /// The user handle that was sent to the card.
    pub(super) user_handle: Bytes,
    /// The public key (COSE).
    pub(super) public_key: Bytes,
    /// The signature counter last seen.
    pub(super) sign_count: u32,
    /// Whether the user was verified at registration.
    pub(super) uv_initialized: bool,
    /// Flag BE, which never changes.
    pub(super) backup_eligible: bool,
    /// Flag BS last seen.
    pub(super) backed_up: bool,
    pub(super) aaguid: Bytes,
    /// How far its attestation was verified; `None` in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) attestation: Option<AttestationOutcome>,
    /// The card's model, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Model>,
    pub(super) registered_at: UnixMillis,
    /// Written at most once a day unless the record changes for another reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_used_at: Option<UnixMillis>,
    /// Whether the user was verified at an authentication. Separate from `uv_initialized`, which by
    /// section 7.2 step 24 may change only with another factor.
    #[serde(default)]
    pub(super) seen_uv: bool,
}

/// Why a credential is not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddFault {
    #[error("the id is registered already")]
    Taken,
    #[error("the user has as many as one may have")]
    TooMany,
    #[error("the username was separated from the person who began to register")]
    Retired,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How often a username was separated from its user.
#[derive(Default, Serialize, Deserialize)]
struct Epoch(u64);

impl Record for Epoch {}

/// The credentials of one tenant.
#[derive(Clone, Debug)]
pub struct Credentials {
    store: Arc<dyn Store>,
    tenant: TenantId,
}

/// The key in [`Bucket::Credentials`] of a card's record ([`Card::record`]).
#[must_use]
pub fn record_key(tenant: &TenantId, record: &str) -> String {
    format!("{tenant}.u.{record}")
}

impl Credentials {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, tenant: TenantId) -> Self {
        Self { store, tenant }
    }

    fn prefix(&self, username: &Username) -> String {
        format!("{}.", record_key(&self.tenant, &sha256_base64url(username.as_str())))
    }

    fn key(&self, username: &Username, id: &[u8]) -> String {
        format!("{}{}", self.prefix(username), sha256_base64url(id))
    }

    fn epoch_key(&self, username: &Username) -> String {
        format!("{}.e.{}", self.tenant, sha256_base64url(username.as_str()))
    }

    /// How often the username was separated from its user ([`Cards::retire_name`]), and the revision
    /// of that record, which every registration of the user changes.
    pub(super) async fn epoch(&self, username: &Username) -> Result<(u64, Revision), StoreError> {
        let key = self.epoch_key(username);
        let found = records::load::<Epoch>(&*self.store, Bucket::Credentials, &key).await?;
        Ok(found.map_or((0, Revision::ABSENT), |(Epoch(epoch), revision)| (epoch, revision)))
    }

    /// The user's credentials, in the order of their registration.
    pub(super) async fn of_user(
        &self,
        username: &Username,
    ) -> Result<Vec<StoredCredential>, StoreError> {
        let listed = self.store.list(Bucket::Credentials, &self.prefix(username)).await?;
        let decoded = listed.iter().map(|(_, stored)| decode(&stored.value));
        let mut credentials = decoded.collect::<Result<Vec<_>, _>>()?;
        credentials.sort_by_key(|credential| credential.registered_at);
        Ok(credentials)
    }

    /// One of the user's credentials.
    pub(super) async fn load(
        &self,
        username: &Username,
        id: &[u8],
    ) -> Result<Option<(Revision, StoredCredential)>, StoreError> {
        let stored = self.store.load(Bucket::Credentials, &self.key(username, id)).await?;
        stored.map(|stored| Ok((stored.revision, decode(&stored.value)?))).transpose()
    }

    /// The changes that add a credential to the user in this epoch. They conflict with any other
    /// registration of this user or this id, and with a new epoch.
    pub(super) async fn add(
        &self,
        username: &Username,
        epoch: u64,
        credential: &StoredCredential,
    ) -> Result<Batch, AddFault> {
        // Read before the listing: a credential that is added after it changes this record.
        let (now, moved) = self.epoch(username).await?;
        if now != epoch {
            return Err(AddFault::Retired);
        }
        let listed = self.store.list(Bucket::Credentials, &self.prefix(username)).await?;
        if listed.len() >= PER_USER {
            return Err(AddFault::TooMany);
        }
        let claim = format!("{}.c.{}", self.tenant, sha256_base64url(&credential.id.0));
        if self.store.load(Bucket::Credentials, &claim).await?.is_some() {
            return Err(AddFault::Taken);
        }
        let (key, value) = (self.key(username, &credential.id.0), encode(credential)?);
        let batch = Batch::new()
            .put(Bucket::Credentials, &claim, Revision::ABSENT, Vec::new())
            .put(Bucket::Credentials, &key, Revision::ABSENT, value);
        let key = self.epoch_key(username);
        Ok(records::put(batch, Bucket::Credentials, &key, moved, &Epoch(epoch))?)
    }

    /// The change that updates a credential loaded at `revision`.
    pub(super) fn update(
        &self,
        username: &Username,
        revision: Revision,
        credential: &StoredCredential,
    ) -> Result<Batch, StoreError> {
        let (key, value) = (self.key(username, &credential.id.0), encode(credential)?);
        Ok(Batch::new().put(Bucket::Credentials, &key, revision, value))
    }

    /// The condition that a credential is still at `revision`.
    pub(super) fn unchanged(&self, username: &Username, id: &[u8], revision: Revision) -> Batch {
        Batch::new().check(Bucket::Credentials, &self.key(username, id), revision)
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.store.commit(batch).await.map(drop)
    }
}

impl Cards for Credentials {
    fn of_user<'a>(
        &'a self,
        tenant: &'a TenantId,
        username: &'a Username,
    ) -> BoxFuture<'a, Result<Vec<Card>, StoreError>> {
        Box::pin(async move {
            if *tenant != self.tenant {
                return Ok(Vec::new());
            }
            let user = sha256_base64url(username.as_str());
            let credentials = self.of_user(username).await?;
            Ok(credentials.iter().map(|credential| card(&user, credential)).collect())
        })
    }

    fn removal<'a>(
        &'a self,
        tenant: &'a TenantId,
        record: &'a str,
    ) -> BoxFuture<'a, Result<Option<Batch>, StoreError>> {
        Box::pin(async move {
            let key = record_key(tenant, record);
            let stored = self.store.load(Bucket::Credentials, &key).await?;
            let removal =
                |stored: Stored| Batch::new().remove(Bucket::Credentials, &key, stored.revision);
            Ok(stored.map(removal))
        })
    }

    fn retire_name<'a>(
        &'a self,
        tenant: &'a TenantId,
        username: &'a Username,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if *tenant != self.tenant {
                return Ok(());
            }
            let key = self.epoch_key(username);
            let raised =
                records::update(&*self.store, Bucket::Credentials, &key, |epoch: &mut Epoch| {
                    epoch.0 += 1;
                    Ok::<(), Infallible>(())
                });
            let Ok(()) = raised.await?;
            Ok(())
        })
    }
}

/// The public id of a credential.
pub(super) fn card_id(id: &[u8]) -> CardId {
    CardId::from_bytes(sha256(id))
}

fn card(user: &str, credential: &StoredCredential) -> Card {
    let id = card_id(&credential.id.0);
    let aaguid: Option<[u8; 16]> = credential.aaguid.0.as_slice().try_into().ok();
    let aaguid = aaguid.filter(|aaguid| *aaguid != [0; 16]);
    let attestation = match credential.attestation {
        Some(AttestationOutcome::Verified) => CardAttestation::Verified,
        Some(AttestationOutcome::Ignored) => CardAttestation::Ignored,
        Some(AttestationOutcome::None) | None => CardAttestation::None,
    };
    // Records of earlier versions have no model.
    let (model, claimed) = match &credential.model {
        Some(model) => (Some(model.name.clone()), model.claimed),
        None => (
            aaguid.and_then(|aaguid| model_name(&aaguid)).map(str::to_owned),
            attestation != CardAttestation::Verified,
        ),
    };
    Card {
        id,
        record: format!("{user}.{id}").into(),
        registered_at: credential.registered_at,
        last_used_at: credential.last_used_at,
        aaguid,
        model,
        claimed,
        attestation,
        can_verify_user: credential.uv_initialized || credential.seen_uv,
    }
}

fn encode(credential: &StoredCredential) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(credential)
        .map_err(|_| StoreError::Unavailable("a credential record has no JSON form".to_owned()))
}

fn decode(value: &[u8]) -> Result<StoredCredential, StoreError> {
    serde_json::from_slice(value)
        .map_err(|_| StoreError::Unavailable("a credential record is malformed".to_owned()))
}
