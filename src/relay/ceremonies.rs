//! Ceremonies in the store.

use std::fmt;

use fido_relay_proto::{CeremonyId, TenantId};

use crate::ceremony::Ceremony;
use crate::ports::{Batch, Bucket, Revision, Store, StoreError, records};

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

/// Adds the ceremony to a batch.
pub(super) fn put(
    batch: Batch,
    expected: Revision,
    ceremony: &Ceremony,
) -> Result<Batch, StoreError> {
    let key = CeremonyKey::from(ceremony).to_string();
    records::put(batch, Bucket::Ceremonies, &key, expected, ceremony)
}

/// Ceremonies that one page of a walk reads.
const PAGE: usize = 256;

/// A record's key, and the ceremony if it can be read.
pub(super) type Read = (String, Result<Ceremony, StoreError>);

/// The ceremonies whose key comes after `after`, some at a time.
pub(super) async fn page(store: &dyn Store, after: &str) -> Result<Vec<Read>, StoreError> {
    let page = store.page(Bucket::Ceremonies, after, PAGE).await?;
    Ok(page.into_iter().map(|(key, stored)| (key, records::parse(&stored))).collect())
}
