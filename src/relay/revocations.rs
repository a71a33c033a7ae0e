//! Revoking a device or card so that it stays revoked: everywhere within seconds, and also when the store
//! is put back to an earlier state.
//!
//! ```text
//!  revoke ─▶ list (flushed) ─▶ store ─▶ bus: Revoked ─▶ every node closes the socket
//!              └──▶ every node reads on where it stopped: applies to the store, closes the socket
//! ```
//! The list comes first. What stands there and not in the store (a crash or a store that failed
//! between the two, a restored backup) is applied by whoever reads on, before this node serves
//! anybody and every two seconds afterwards. The same reading makes up for a lost notice, and
//! costs the same however many phones are connected.

use std::time::Duration;

use fido_relay_proto::{ClientId, DeviceId, TenantId};

use super::devices::{self, Device};
use super::{Relay, RevokeError};
use crate::ports::{Happening, Notice, Revocation, Revoked, SecurityEvent, StoreError};

/// Between two looks at the list. With the time that a socket takes to close it keeps well within
/// the five seconds in which a revoked device must be gone.
const EVERY: Duration = Duration::from_secs(2);
/// Entries read at a time.
const PAGE: usize = 256;

impl Relay {
    /// Revokes a device for good; `by` is the initiator that asked for it, none the operator.
    /// Gives the device as it was. Once begun it runs to its end, whatever becomes of the caller.
    ///
    /// # Errors
    /// [`RevokeError::NotFound`] also for a device that was revoked before.
    pub async fn revoke(
        &self,
        tenant: &TenantId,
        id: DeviceId,
        by: Option<ClientId>,
    ) -> Result<Device, RevokeError> {
        let (relay, tenant) = (self.clone(), tenant.clone());
        let revoking = async move { relay.revoke_now(&tenant, id, by).await };
        self.to_the_end(revoking)
            .await
            .unwrap_or_else(|| Err(StoreError::Unavailable("a task ended early".to_owned()).into()))
    }

    async fn revoke_now(
        &self,
        tenant: &TenantId,
        id: DeviceId,
        by: Option<ClientId>,
    ) -> Result<Device, RevokeError> {
        let world = self.world();
        let at = world.clock.now();
        let Some(device) = devices::load(&*world.store, tenant, id).await? else {
            return Err(RevokeError::NotFound);
        };
        let what = Revoked::Device(id);
        world.revocations.record(Revocation { tenant: tenant.clone(), what, at }).await?;
        let revoked = devices::revoke(&*world.store, tenant, id, at).await?;
        world.bus.publish(Notice::Revoked(id)).await;
        if !revoked {
            return Err(RevokeError::NotFound);
        }
        let (device_id, username) = (id, device.username.clone());
        let what = Happening::DeviceRevoked { device_id, username, client_id: by };
        world.note(&SecurityEvent::new(tenant.clone(), at, what)).await;
        Ok(device)
    }

    /// Reads the list to its end, and then reads on until the tasks are stopped.
    pub(super) async fn follow_revocations(self) {
        let stopping = self.world().tasks.stopping().clone();
        let mut epoch = 0;
        loop {
            match self.apply_revocations(&mut epoch).await {
                Ok(()) => self.node.revocations_applied.cancel(),
                Err(error) => tracing::error!(%error, "revocations could not be applied"),
            }
            if stopping.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// Applies everything after `epoch`, which moves along.
    async fn apply_revocations(&self, epoch: &mut u64) -> Result<(), StoreError> {
        let world = self.world();
        loop {
            let page = world.revocations.after(*epoch, PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            for (next, Revocation { tenant, what, at }) in page {
                // What the store did not know: it is older than the list.
                match what {
                    Revoked::Device(device) => {
                        if devices::revoke(&*world.store, &tenant, device, at).await? {
                            tracing::warn!(%device, "revoked again, the store had it as paired");
                        }
                        self.drop_revoked(device);
                    }
                    Revoked::Card(record) => {
                        if let Some(cards) = &world.cards
                            && cards.remove(&tenant, &record).await?
                        {
                            tracing::warn!(%record, "a card was removed again, the store had it");
                        }
                    }
                }
                *epoch = next;
            }
        }
    }
}
