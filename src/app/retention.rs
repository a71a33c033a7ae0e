//! Retention: records whose time is over are removed, so that the store does not grow without bound.
//! The store's index names them; what is not due costs nothing.

use std::time::Duration;

use futures::future::join_all;

use crate::ports::{Clock, Duty, Store, StoreError};
use crate::tasks::Tasks;

/// Records that are removed at a time: together, so that they share a flush.
const PAGE: usize = 256;
/// From one look at the index to the next.
const PAUSE: Duration = Duration::from_secs(60);

/// Removes what has passed its retention, every minute until the tasks are stopped.
pub(crate) async fn sweep_forever(store: &dyn Store, clock: &dyn Clock, tasks: &Tasks) {
    let round = || async {
        match sweep(store, clock).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "expired records removed"),
            Err(error) => tracing::warn!(%error, "expired records could not be removed"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    while tasks.stopping().run_until_cancelled(round()).await.is_some() {}
}

/// Removes what has passed its retention, and gives how many records that were.
///
/// # Errors
/// The store's. What was removed until then stays removed.
pub async fn sweep(store: &dyn Store, clock: &dyn Clock) -> Result<u64, StoreError> {
    let mut removed = 0;
    loop {
        let due = store.due(Duty::Remove, clock.now(), None, PAGE).await?;
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
