//! Which devices were revoked and which cards removed, written down apart from the store.
//!
//! A store can be put back to an earlier state, by a backup or a snapshot of its disk, and with it
//! every device and card that was revoked since. So a revocation is also written to a place outside
//! of such a backup, and each start compares the store with it. Each one has a number, the epoch; a
//! node that remembers how far it has read asks for the rest, which is also how it hears of a
//! revocation when the bus lost the notice.

use fido_relay_proto::{DeviceId, TenantId, UnixMillis};
use futures::future::BoxFuture;

use super::stored::StoreError;

/// One device or card, revoked for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub tenant: TenantId,
    pub what: Revoked,
    pub at: UnixMillis,
}

/// What can be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    Device(DeviceId),
    /// A card, by [`Card::record`](super::Card::record).
    Card(Box<str>),
}

/// An append-only list. It may forget the oldest of very many.
pub trait Revocations: Send + Sync + std::fmt::Debug {
    /// Writes one down. `Ok` means that it survives a crash of the process and of the machine.
    /// Twice does no harm.
    fn record(&self, revocation: Revocation) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Those after `epoch` (0: from the first), oldest first, at most `limit`, each with its own
    /// epoch. Every one that was acknowledged before the call is among them or comes after them.
    fn after(
        &self,
        epoch: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(u64, Revocation)>, StoreError>>;
}
