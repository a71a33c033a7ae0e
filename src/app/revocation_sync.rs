//! Following the list of revocations, so that what was revoked stays so: everywhere within seconds,
//! and also when the store is put back to an earlier state.
//!
//! ```text
//!  app: revoke ─▶ list (flushed) ─▶ store ─▶ bus: Revoked ─▶ every node closes the socket
//!                   └──▶ every node reads on where it stopped: closes the socket, applies to the store
//! ```
//! What the list has and the store does not (a crash or a store that failed between the two, a
//! restored backup) is applied before this node serves and every two seconds afterwards. The same
//! reading makes up for a lost notice, and costs the same however many devices are connected.
//!
//! The act that put a device on the list writes it to the store itself, with the journal entry that
//! names who asked. So what is new on the list is applied one look later: then the act has failed.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::DeviceId;
use tokio_util::sync::CancellationToken;

use super::cards::remove_listed;
use super::devices::{self, Device};
use crate::ports::{
    Cards, Revocation, Revocations, Revoked, SecurityEvent, SecurityEventKind, Store, StoreError,
};
use crate::tasks::Tasks;

/// Between two looks at the list. With the time that a socket takes to close it keeps well within
/// the five seconds in which a revoked device must be gone.
const EVERY: Duration = Duration::from_secs(2);
/// Entries read at a time.
const PAGE: usize = 256;

/// How many devices and cards the list of revocations has, and how many of them the store still has.
///
/// # Errors
/// The store's, the list's.
pub async fn still_stored(
    store: &dyn Store,
    cards: &dyn Cards,
    revocations: &dyn Revocations,
) -> Result<(usize, usize), StoreError> {
    let (mut all, mut back, mut epoch) = (0, 0, 0);
    loop {
        let page = revocations.after(epoch, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok((all, back)) };
        epoch = *last;
        all += page.len();
        for (_, Revocation { tenant, what, .. }) in &page {
            let is_stored = match what {
                Revoked::Device(id) => devices::load(store, tenant, *id).await?.is_some(),
                Revoked::Card(record) => cards.removal(tenant, record).await?.is_some(),
            };
            back += usize::from(is_stored);
        }
    }
}

/// Brings the list of revocations to the store and to the sockets of this node.
#[derive(Debug)]
pub struct RevocationSync {
    pub revocations: Arc<dyn Revocations>,
    pub store: Arc<dyn Store>,
    /// The FIDO2 server's cards, if it keeps them here.
    pub cards: Option<Arc<dyn Cards>>,
    /// Cancelled once the store has every revocation that was known at the start.
    pub applied: CancellationToken,
}

/// How far the list was read.
struct ListPosition {
    /// Up to here the store has it.
    applied: u64,
    /// The end at the last look; before the first look no end, so that all is applied at once.
    seen: u64,
}

impl RevocationSync {
    /// Reads the list to its end, and then reads on until the tasks are stopped; `close` closes the
    /// socket of a revoked device.
    pub(crate) async fn follow(self, tasks: Tasks, close: impl Fn(DeviceId)) {
        let mut position = ListPosition { applied: 0, seen: u64::MAX };
        loop {
            match self.apply(&mut position, &close).await {
                Ok(()) => self.applied.cancel(),
                Err(error) => tracing::error!(%error, "revocations could not be applied"),
            }
            let pause = tokio::time::sleep(EVERY);
            if tasks.stopping().run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Reads to the list's end and applies what was there at the last look.
    async fn apply(
        &self,
        position: &mut ListPosition,
        close: &impl Fn(DeviceId),
    ) -> Result<(), StoreError> {
        let mut epoch = position.applied;
        loop {
            let page = self.revocations.after(epoch, PAGE).await?;
            if page.is_empty() {
                position.seen = epoch;
                return Ok(());
            }
            for (next, revocation) in page {
                if let Revoked::Device(device) = revocation.what {
                    close(device);
                }
                if next <= position.seen {
                    self.apply_one(revocation).await?;
                    position.applied = next;
                }
                epoch = next;
            }
        }
    }

    async fn apply_one(&self, revocation: Revocation) -> Result<(), StoreError> {
        let Revocation { tenant, what, at } = revocation;
        match what {
            Revoked::Device(id) => {
                // Also at the start, where the store may have been put back: an event that comes twice
                // is better than none, and its webhook has the same id.
                let event = |device: &Device| {
                    let (username, client_id) = (device.username.clone(), None);
                    let what =
                        SecurityEventKind::DeviceRevoked { device_id: id, username, client_id };
                    Some(SecurityEvent::new(device.tenant.clone(), at, what))
                };
                if devices::revoke_listed(&*self.store, &tenant, id, at, event).await?.is_some() {
                    tracing::warn!(
                        device = %id,
                        "device revoked again: the store had it as paired"
                    );
                }
            }
            Revoked::Card(record) => {
                if let Some(cards) = &self.cards
                    && remove_listed(&*self.store, &**cards, &tenant, &record, None).await?
                {
                    tracing::warn!(%record, "card removed again: the store still had it");
                }
            }
        }
        Ok(())
    }
}
