//! A store in memory, for tests.

use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fido_relay_proto::UnixMillis;
use tokio::sync::watch;

use super::overlay::{AppliedChange, Overlay, revision_of};
use crate::ports::{
    Batch, BoxFuture, Bucket, Change, DueRecord, Duty, Position, Revision, Row, Store, StoreError,
    Stored, Write,
};

/// Records that live as long as the process.
#[derive(Default)]
pub struct MemoryStore {
    inner: Mutex<MemoryState>,
    /// The last row of the journal.
    journaled: watch::Sender<Position>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct MemoryState {
    revision: u64,
    records: Overlay,
}

impl MemoryState {
    fn is_at(&self, change: &Change) -> bool {
        let found = self.records.get(change.bucket, &change.key);
        found.map_or(Revision::ABSENT, revision_of) == change.expected
    }

    fn from(&self, bucket: Bucket, from: Bound<&str>) -> impl Iterator<Item = (String, Stored)> {
        let records = self.records.range(bucket, from);
        records.filter_map(|(key, entry)| Some((key.to_owned(), entry.clone()?)))
    }
}

impl MemoryStore {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, MemoryState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, batch: Batch) -> Result<Revision, StoreError> {
        batch.validate()?;
        let mut inner = self.inner();
        if let Some(moved) = batch.changes().iter().find(|change| !inner.is_at(change)) {
            return Err(StoreError::Conflict(moved.name()));
        }
        inner.revision += 1;
        let revision = Revision(inner.revision);
        let (changes, entries) = batch.into_parts();
        if !entries.is_empty() {
            let position = Position(revision.0);
            let entry = Some(Row::stored(position, &entries));
            let (bucket, key) = (Bucket::Journal, position.key().into());
            inner.records.set(AppliedChange { bucket, key, entry });
            self.journaled.send_replace(position);
        }
        for Change { bucket, key, write, .. } in changes {
            match write {
                Write::Check => {}
                Write::Put { value, due } => {
                    let entry = Some(Stored { revision, value, due });
                    inner.records.set(AppliedChange { bucket, key, entry });
                }
                Write::Remove => {
                    inner.records.set(AppliedChange { bucket, key: key.clone(), entry: None });
                    inner.records.forget(bucket, &key);
                }
            }
        }
        Ok(revision)
    }
}

impl Store for MemoryStore {
    fn is_exclusive(&self) -> bool {
        true
    }

    fn load<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        Box::pin(async move { Ok(self.inner().records.get(bucket, key).cloned().flatten()) })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move { self.apply(batch) })
    }

    fn journaled(&self, after: Position) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _ = self.journaled.subscribe().wait_for(|last| *last > after).await;
        })
    }

    fn list<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            let inner = self.inner();
            let from_prefix = inner.from(bucket, Bound::Included(prefix));
            Ok(from_prefix.take_while(|(key, _)| key.starts_with(prefix)).collect())
        })
    }

    fn page<'a>(
        &'a self,
        bucket: Bucket,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            let inner = self.inner();
            Ok(inner.from(bucket, Bound::Excluded(after)).take(limit).collect())
        })
    }

    fn due<'a>(
        &'a self,
        duty: Duty,
        until: UnixMillis,
        after: Option<&'a DueRecord>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueRecord>, StoreError>> {
        Box::pin(
            async move { Ok(self.inner().records.due(duty, until, after).take(limit).collect()) },
        )
    }
}
