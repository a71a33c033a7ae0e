//! Retention: what is dead is removed, so that the store does not grow without bound.
//!
//! One task walks the store in pages when the first thing that it saw alive is due to die, and
//! sleeps in between; with nothing stored it sleeps until something is opened. What dies when is
//! each bucket's own rule.

use std::time::Duration;

use fido_relay_proto::UnixMillis;
use futures::future::join_all;

use super::Relay;
use crate::ceremony::Ceremony;
use crate::ports::{Bucket, StoreError, records};

/// How long a ceremony is kept after its end, in seconds: results stay fetchable this long.
pub const RESULTS_S: u64 = 24 * 60 * 60;
/// Records that one page of the walk reads.
const PAGE: usize = 256;
/// Shortest pause between two walks: each removes what has died meanwhile in one go.
const PAUSE_MS: u64 = 15 * 60 * 1000;

/// When a record of a bucket dies; `None`: it lives on.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Which records.
    pub bucket: Bucket,
    /// Reads a record's last moment out of it.
    pub dies_at: fn(&[u8]) -> Option<UnixMillis>,
}

/// Ceremonies die a day after their end, never before it.
pub(super) const CEREMONIES: Retention = Retention {
    bucket: Bucket::Ceremonies,
    dies_at: |record| {
        let ceremony: Ceremony = records::decode(record).ok()?;
        Some(ceremony.closed()?.at.plus_secs(RESULTS_S))
    },
};

impl Relay {
    /// Walks and sleeps until the tasks are stopped.
    pub(super) async fn sweep_forever(self) {
        let stopping = self.world().tasks.stopping().clone();
        let round = || async {
            let opened = self.node.opened.notified();
            let next = match self.sweep().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%error, "the store could not be swept");
                    Some(self.world().clock.now())
                }
            };
            match next {
                Some(at) => {
                    let wait = at.millis_since(self.world().clock.now()).max(PAUSE_MS);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                None => opened.await,
            }
        };
        while stopping.run_until_cancelled(round()).await.is_some() {}
    }

    /// Removes what has died; gives the moment when the next will, if anything is stored that can.
    /// The relay does it by itself when it is due; once more does no harm.
    ///
    /// # Errors
    /// The store's. What was removed until then stays removed.
    pub async fn sweep(&self) -> Result<Option<UnixMillis>, StoreError> {
        let store = &*self.world().store;
        let now = self.world().clock.now();
        let mut next: Option<UnixMillis> = None;
        let mut removed = 0_u64;
        for rule in &self.node.retention {
            let mut after = String::new();
            loop {
                let page = store.page(rule.bucket, &after, PAGE).await?;
                let Some((last, _)) = page.last() else { break };
                after.clone_from(last);
                let mut dead = Vec::new();
                for (key, stored) in &page {
                    match (rule.dies_at)(&stored.value) {
                        Some(at) if at <= now => {
                            dead.push(store.remove(rule.bucket, key, stored.revision));
                        }
                        Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                        // An open ceremony will close, and die a day later.
                        None => {
                            let later = now.plus_secs(RESULTS_S);
                            next = Some(next.map_or(later, |next| next.min(later)));
                        }
                    }
                }
                // Together, so that they share a flush: one after the other they would be slower
                // than what a busy relay opens.
                for outcome in join_all(dead).await {
                    match outcome {
                        Ok(()) => removed += 1,
                        // Written meanwhile: it is not what was read, so it is not dead.
                        Err(StoreError::Conflict) => {}
                        Err(error) => return Err(error),
                    }
                }
                tokio::task::yield_now().await;
            }
        }
        if removed > 0 {
            tracing::info!(removed, "removed what had passed its retention");
        }
        Ok(next)
    }
}
