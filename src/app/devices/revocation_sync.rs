//! Following the list of revocations, so that what was revoked stays so: everywhere within seconds,
//! and also when the store is put back to an earlier state.
//!
//! ```text
//!  app: revoke ─▶ list (flushed) ─▶ store ─▶ bus: Revoked ─▶ every node closes the socket
//!                   └──▶ every node reads on where it stopped: closes the socket, applies to the store
//! ```
//! What the list has and the store does not (a crash or a store that failed between the two, a
//! restored backup) is applied before this node serves anybody and every two seconds afterwards. The
//! same reading makes up for a lost notice, and costs the same however many phones are connected.
//!
//! The act that put a device on the list brings it to the store itself, with the entry of the journal
//! that names who asked. So what is new on the list is applied one look later: then the act has failed.

use std::time::Duration;

use crate::app::cards::remove_listed;
use crate::app::devices::{self, Device};
use crate::node::Relay;
use crate::ports::{Revocation, Revoked, SecurityEvent, SecurityEventKind, StoreError};

/// Between two looks at the list. With the time that a socket takes to close it keeps well within
/// the five seconds in which a revoked device must be gone.
const EVERY: Duration = Duration::from_secs(2);
/// Entries read at a time.
const PAGE: usize = 256;

/// How far the list was read.
struct Read {
    /// Up to here the store has it.
    applied: u64,
    /// The end at the last look; before the first look no end, so that all is applied at once.
    seen: u64,
}

impl Relay {
    /// Reads the list to its end, and then reads on until the tasks are stopped.
    pub(crate) async fn follow_revocations(self) {
        let stopping = self.dependencies().tasks.stopping().clone();
        let mut read = Read { applied: 0, seen: u64::MAX };
        loop {
            match self.apply_revocations(&mut read).await {
                Ok(()) => self.node.revocations_applied.cancel(),
                Err(error) => tracing::error!(%error, "revocations could not be applied"),
            }
            if stopping.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// Reads to the list's end and applies what was there at the last look.
    async fn apply_revocations(&self, read: &mut Read) -> Result<(), StoreError> {
        let mut epoch = read.applied;
        loop {
            let page = self.dependencies().revocations.after(epoch, PAGE).await?;
            if page.is_empty() {
                read.seen = epoch;
                return Ok(());
            }
            for (next, revocation) in page {
                if let Revoked::Device(device) = revocation.what {
                    self.drop_revoked(device);
                }
                if next <= read.seen {
                    self.apply_revocation(revocation).await?;
                    read.applied = next;
                }
                epoch = next;
            }
        }
    }

    async fn apply_revocation(&self, revocation: Revocation) -> Result<(), StoreError> {
        let dependencies = self.dependencies();
        let Revocation { tenant, what, at } = revocation;
        match what {
            Revoked::Device(id) => {
                // Also at the start, where the store may have been put back: twice said is better than
                // never, and its webhook has the same id.
                let event = |device: &Device| {
                    let (username, client_id) = (device.username.clone(), None);
                    let what =
                        SecurityEventKind::DeviceRevoked { device_id: id, username, client_id };
                    Some(SecurityEvent::new(device.tenant.clone(), at, what))
                };
                if devices::revoke_listed(&*dependencies.store, &tenant, id, at, event)
                    .await?
                    .is_some()
                {
                    tracing::warn!(device = %id, "revoked again, the store had it as paired");
                }
            }
            Revoked::Card(record) => {
                if let Some(cards) = &dependencies.cards
                    && remove_listed(&*dependencies.store, &**cards, &tenant, &record, None).await?
                {
                    tracing::warn!(%record, "a card was removed again, the store had it");
                }
            }
        }
        Ok(())
    }
}
