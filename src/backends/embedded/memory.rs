//! The store's contract kept in memory, for tests and for a relay that may forget everything.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ports::{BoxFuture, Bucket, Revision, Store, StoreError, Stored};

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

    fn is_at(&mut self, bucket: Bucket, key: &str, expected: Revision) -> Result<(), StoreError> {
        let found = self.bucket(bucket).get(key).map_or(Revision::ABSENT, |stored| stored.revision);
        if found == expected { Ok(()) } else { Err(StoreError::Conflict) }
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

    fn put(
        &self,
        bucket: Bucket,
        key: &str,
        expected: Revision,
        value: Vec<u8>,
    ) -> Result<Revision, StoreError> {
        super::store::check_key(key)?;
        let mut inner = self.inner();
        inner.is_at(bucket, key, expected)?;
        inner.revision += 1;
        let revision = Revision(inner.revision);
        inner.bucket(bucket).insert(key.to_owned(), Stored { revision, value });
        Ok(revision)
    }

    fn take(&self, bucket: Bucket, key: &str, expected: Revision) -> Result<(), StoreError> {
        let mut inner = self.inner();
        inner.is_at(bucket, key, expected)?;
        inner.bucket(bucket).remove(key);
        Ok(())
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

    fn save<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
        expected: Revision,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        Box::pin(async move { self.put(bucket, key, expected, value) })
    }

    fn remove<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
        expected: Revision,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.take(bucket, key, expected) })
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
