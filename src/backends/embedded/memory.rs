//! The store's contract kept in memory, for tests and for a relay that may forget everything.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ports::{Batch, BoxFuture, Bucket, Change, Revision, Store, StoreError, Stored, Write};

/// Records that live as long as the process.
#[derive(Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Inner {
    revision: u64,
    buckets: [BTreeMap<String, Stored>; Bucket::ALL.len()],
}

impl Inner {
    fn bucket(&mut self, bucket: Bucket) -> &mut BTreeMap<String, Stored> {
        &mut self.buckets[bucket as usize]
    }

    fn is_at(&self, change: &Change) -> bool {
        let found = self.buckets[change.bucket as usize].get(&*change.key);
        found.map_or(Revision::ABSENT, |stored| stored.revision) == change.expected
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
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
        for Change { bucket, key, write, .. } in batch.into_changes() {
            match write {
                Write::Check => {}
                Write::Put { value, due } => {
                    inner.bucket(bucket).insert(key.into(), Stored { revision, value, due });
                }
                Write::Remove => {
                    inner.bucket(bucket).remove(&*key);
                }
            }
        }
        Ok(revision)
    }
}

impl Store for MemoryStore {
    fn load<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        Box::pin(async move { Ok(self.inner().bucket(bucket).get(key).cloned()) })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move { self.apply(batch) })
    }

    fn list<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            let mut inner = self.inner();
            let from_prefix = inner.bucket(bucket).range(prefix.to_owned()..);
            Ok(from_prefix
                .take_while(|(key, _)| key.starts_with(prefix))
                .map(|(key, stored)| (key.clone(), stored.clone()))
                .collect())
        })
    }

    fn page<'a>(
        &'a self,
        bucket: Bucket,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            let mut inner = self.inner();
            let range = (Bound::Excluded(after.to_owned()), Bound::Unbounded);
            let rest = inner.bucket(bucket).range(range);
            Ok(rest.take(limit).map(|(key, stored)| (key.clone(), stored.clone())).collect())
        })
    }
}
