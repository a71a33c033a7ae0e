//! Ceremonies in the store.

use std::fmt;

use fido_relay_proto::{CeremonyId, TenantId, UnixMillis};

use crate::app::devices::UserKey;
use crate::app::newest_in;
use crate::core::ceremony::{Ceremony, Request};
use crate::ports::{
    Batch, Bucket, Due, DueRule, Duty, Record, Revision, Store, StoreError, records,
};

/// Where a ceremony is stored: no id without its tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CeremonyKey {
    pub tenant: TenantId,
    pub id: CeremonyId,
}

impl fmt::Display for CeremonyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.tenant, self.id)
    }
}

impl From<&Request> for CeremonyKey {
    fn from(request: &Request) -> Self {
        Self { tenant: request.tenant.clone(), id: request.id }
    }
}

impl From<&Ceremony> for CeremonyKey {
    fn from(ceremony: &Ceremony) -> Self {
        Self::from(&ceremony.request)
    }
}

/// The user whose devices a ceremony is for.
pub(crate) fn user_of(request: &Request) -> UserKey {
    UserKey::new(&request.tenant, &request.username)
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

/// Stores new ceremonies in one batch, without what an opening means for anything else.
#[cfg(feature = "rig")]
pub async fn store_all(store: &dyn Store, ceremonies: &[Ceremony]) -> Result<(), StoreError> {
    let put = |batch, ceremony| put(batch, Revision::ABSENT, ceremony);
    store.commit(ceremonies.iter().try_fold(Batch::new(), put)?).await.map(drop)
}

/// The latest time in any stored ceremony.
pub async fn newest_time(store: &dyn Store) -> Result<Option<UnixMillis>, StoreError> {
    let time = |ceremony: Ceremony| ceremony.history.last().map(|fact| fact.at);
    newest_in(store, Bucket::Ceremonies, time).await
}

/// How long a ceremony is kept after its end, in seconds: results can be fetched this long.
const RESULTS_S: u64 = 24 * 60 * 60;

impl Record for Ceremony {
    /// An open one closes at its deadline; a closed one is removed a day after its end.
    fn due(&self) -> Option<Due> {
        Some(match (self.wakes_at(), self.closed()) {
            (Some(at), _) => Due { duty: Duty::Close, at },
            (None, closed) => Due::removal(closed?.at.plus_secs(RESULTS_S)),
        })
    }
}

/// The rule of [`Bucket::Ceremonies`].
pub(super) const CEREMONIES: DueRule =
    DueRule { bucket: Bucket::Ceremonies, due: records::due_of::<Ceremony> };
