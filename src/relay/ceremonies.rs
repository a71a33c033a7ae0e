//! Ceremonies in the store.

use std::fmt;

use fido_relay_proto::{CeremonyId, TenantId};

use crate::ceremony::Ceremony;
use crate::ports::{Bucket, Revision, Store, StoreError, records};

/// Where a ceremony is stored: no id without its tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CeremonyKey {
    /// The relying party.
    pub tenant: TenantId,
    /// The ceremony.
    pub id: CeremonyId,
}

impl fmt::Display for CeremonyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.tenant, self.id)
    }
}

impl From<&Ceremony> for CeremonyKey {
    fn from(ceremony: &Ceremony) -> Self {
        Self { tenant: ceremony.request.tenant.clone(), id: ceremony.request.id }
    }
}

pub(super) async fn load(
    store: &dyn Store,
    key: &CeremonyKey,
) -> Result<Option<(Ceremony, Revision)>, StoreError> {
    records::load(store, Bucket::Ceremonies, &key.to_string()).await
}

pub(super) async fn save(
    store: &dyn Store,
    expected: Revision,
    ceremony: &Ceremony,
) -> Result<Revision, StoreError> {
    let key = CeremonyKey::from(ceremony).to_string();
    records::save(store, Bucket::Ceremonies, &key, expected, ceremony).await
}

pub(super) async fn all(store: &dyn Store) -> Result<Vec<Ceremony>, StoreError> {
    let stored = store.list(Bucket::Ceremonies, "").await?;
    stored.iter().map(|(_, stored)| records::parse(stored)).collect()
}
