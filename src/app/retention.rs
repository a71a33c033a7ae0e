//! Retention: records whose time is over are removed, so that the store does not grow without
//! bound. The store's index names them; what is not due costs nothing.

use std::time::Duration;

use fido_relay_proto::UnixMillis;
use futures::future::join_all;

use crate::node::Relay;
use crate::ports::{Duty, StoreError};

/// Records that are removed at a time: together, so that they share a flush.
const PAGE: usize = 256;
/// From one look at the index to the next.
const PAUSE: Duration = Duration::from_secs(60);

impl Relay {
    pub(crate) async fn sweep_forever(self) {
        let stopping = self.dependencies().tasks.stopping().clone();
        let round = || async {
            match self.sweep().await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed what had passed its retention"),
                Err(error) => tracing::warn!(%error, "the store could not be swept"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        while stopping.run_until_cancelled(round()).await.is_some() {}
    }

    /// Removes what has passed its retention, and tells how many records that were. The relay does
    /// it by itself every minute.
    ///
    /// # Errors
    /// The store's. What was removed until then stays removed.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let store = &*self.dependencies().store;
        let mut removed = 0;
        loop {
            let now: UnixMillis = self.dependencies().clock.now();
            let due = store.due(Duty::Remove, now, None, PAGE).await?;
            let before = removed;
            let removals = due.iter().map(|it| store.remove(it.bucket, &it.key, it.revision));
            for outcome in join_all(removals).await {
                match outcome {
                    Ok(()) => removed += 1,
                    // Written meanwhile: its new value has its own time.
                    Err(StoreError::Conflict(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            if due.len() < PAGE || removed == before {
                return Ok(removed);
            }
            tokio::task::yield_now().await;
        }
    }
}
