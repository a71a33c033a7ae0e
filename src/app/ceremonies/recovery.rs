//! Recovery and deadlines: what brings an open ceremony on when no event comes from outside.

use std::collections::VecDeque;
use std::time::Duration;

use fido_relay_proto::UnixMillis;

use super::{AdvanceError, Ceremonies, CeremonyKey};
use crate::core::ceremony::{Ceremony, Event};
use crate::ports::{DueRecord, Duty, StoreError, records};

/// Records that one page of a walk over an index names.
const PAGE: usize = 256;

/// Pause before open ceremonies are read again from a store that did not answer.
const RECOVERY_PAUSE: Duration = Duration::from_secs(1);

/// A walk over the ceremonies that were open at the start, whatever else is stored.
#[derive(Debug)]
pub(crate) struct Recovery {
    ceremonies: Ceremonies,
    page: VecDeque<DueRecord>,
    last: Option<DueRecord>,
    open: u64,
}

impl Recovery {
    /// Takes up the next ceremony as it is stored, and gives its key; none: all are taken up, or the
    /// node stops.
    pub(crate) async fn next(&mut self) -> Option<CeremonyKey> {
        let key = self.take_up_next().await;
        if key.is_none() {
            self.ceremonies.state.recovered.cancel();
        }
        key
    }

    async fn take_up_next(&mut self) -> Option<CeremonyKey> {
        loop {
            let Some(record) = self.page.pop_front() else {
                if !self.read_page().await? {
                    if self.open > 0 {
                        tracing::info!(open = self.open, "open ceremonies taken over");
                    }
                    return None;
                }
                continue;
            };
            let store = self.ceremonies.store();
            let load = || store.load(record.bucket, &record.key);
            let Some(stored) = self.ceremonies.until_read(load).await? else { continue };
            match records::parse::<Ceremony>(&stored) {
                Ok(ceremony) => {
                    self.open += 1;
                    // Which reads it again: what was just read may be over by now.
                    let key = CeremonyKey::from(&ceremony);
                    if self.ceremonies.take_up(&key).await {
                        return Some(key);
                    }
                }
                Err(error) => {
                    let id = record.key.rsplit('.').next();
                    tracing::error!(ceremony = id, %error, "a ceremony record could not be read");
                }
            }
        }
    }

    /// Reads the next page of the index; `Some(false)`: there is none.
    async fn read_page(&mut self) -> Option<bool> {
        if self.last.is_some() {
            tokio::task::yield_now().await;
        }
        let (store, last) = (self.ceremonies.store(), self.last.as_ref());
        let due = || store.due(Duty::Close, UnixMillis(u64::MAX), last, PAGE);
        self.page = self.ceremonies.until_read(due).await?.into();
        let Some(last) = self.page.back() else { return Some(false) };
        self.last = Some(last.clone());
        Some(true)
    }
}

impl Ceremonies {
    /// Begins to take up every open ceremony; to be walked to its end once.
    pub(crate) fn recovery(&self) -> Recovery {
        let ceremonies = self.clone();
        Recovery { ceremonies, page: VecDeque::new(), last: None, open: 0 }
    }

    /// Waits until every ceremony that was open at the start is taken up.
    pub async fn recovered(&self) {
        self.state.recovered.cancelled().await;
    }

    /// Reads until the store answers; none: the node stops.
    async fn until_read<T, F>(&self, read: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let stopping = self.dependencies().tasks.stopping();
        loop {
            match stopping.run_until_cancelled(read()).await? {
                Ok(found) => return Some(found),
                Err(error) => {
                    tracing::error!(%error, "ceremonies could not be read, trying again");
                    stopping.run_until_cancelled(tokio::time::sleep(RECOVERY_PAUSE)).await?;
                }
            }
        }
    }

    /// Takes one ceremony up; `false`: it is gone, or the node stops.
    async fn take_up(&self, key: &CeremonyKey) -> bool {
        let stopping = self.dependencies().tasks.stopping().clone();
        while let Err(error) = self.advance(key, Event::Recover { by: self.state.node }).await {
            tracing::error!(ceremony = %key.id, %error, "an open ceremony could not be taken over");
            let pause = tokio::time::sleep(RECOVERY_PAUSE);
            if matches!(error, AdvanceError::NotFound)
                || stopping.run_until_cancelled(pause).await.is_none()
            {
                return false;
            }
        }
        self.dependencies().observer.may_ring(key);
        true
    }

    /// Closes ceremonies at their deadlines until the tasks are stopped.
    pub(crate) async fn follow_deadlines(self) {
        let stopping = self.dependencies().tasks.stopping().clone();
        let due = || self.state.deadlines.due(&*self.dependencies().clock);
        while let Some(key) = stopping.run_until_cancelled(due()).await {
            match self.advance(&key, Event::Tick).await {
                // Too early, as when the clock was set back: it is due again.
                Ok(advanced) => self.remember(&advanced.ceremony),
                // Nothing else would close the ceremony.
                Err(error @ AdvanceError::Unavailable(_)) => {
                    tracing::warn!(ceremony = %key.id, %error, "a deadline could not be stored");
                    let soon = self.dependencies().clock.now().plus_secs(1);
                    self.state.deadlines.schedule(soon, key);
                }
                // It was never stored, or has passed its retention: nothing of it is open.
                Err(AdvanceError::NotFound) => self.state.slots.release(key.id),
            }
        }
    }
}
