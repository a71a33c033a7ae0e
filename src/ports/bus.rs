//! Between nodes: "look again". The store is the truth; a lost notice costs delay, never
//! correctness.

use fido_relay_proto::{CeremonyId, DeviceId, TenantId, Username};
use futures::future::BoxFuture;
use tokio::sync::mpsc;

/// What a reader should look at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A ceremony has a new state: watchers and the devices that it concerns should know.
    Ceremony(TenantId, CeremonyId),
    /// A device was revoked: its socket must close, wherever it is.
    Revoked(DeviceId),
    /// There is news of a user's devices: the connected ones should get it.
    News(TenantId, Username),
    /// A device has a new key: its socket must sign again, wherever it is.
    Rekeyed(DeviceId),
}

/// Carries notices to every node, this one included, at most once and in no promised order.
pub trait Bus: Send + Sync + std::fmt::Debug {
    /// Sends a notice to every node. Never waits for the consequences.
    fn publish(&self, notice: Notice) -> BoxFuture<'_, ()>;

    /// This node's feed of notices; to be called once, before anything is published.
    fn feed(&self) -> Option<mpsc::Receiver<Notice>>;
}
