//! A store that does what a test wants done to some of its calls, and is the real one for the rest.

use std::ops::Deref;

use fido_relay::backends::embedded::MemoryStore;
use fido_relay::ports::{
    Batch, BoxFuture, Bucket, DueRecord, Duty, Position, Revision, Row, Store, StoreError, Stored,
};
use fido_relay_proto::UnixMillis;

/// What a test does to the calls of a store. By itself nothing.
pub(crate) trait Faults: Send + Sync + std::fmt::Debug {
    /// As one node of several would have it: false.
    fn is_exclusive(&self) -> bool {
        false
    }

    /// Before a record is read. An error refuses the read, a record is given instead of it.
    fn load(&self, _: Bucket, _: &str) -> Result<Option<Stored>, StoreError> {
        Ok(None)
    }

    /// Around the reading of a record.
    fn loaded(&self, _: Bucket, _: &Result<Option<Stored>, StoreError>) {}

    /// Instead of a commit, which is the store's to make.
    fn commit<'a>(
        &'a self,
        store: &'a dyn Store,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        store.commit(batch)
    }

    /// Before records are listed.
    fn list(&self, _: Bucket) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A store with such faults, whose fields it shows as its own.
#[derive(Debug, Default)]
pub(crate) struct FaultyStore<F, S = MemoryStore> {
    pub(crate) store: S,
    faults: F,
}

impl<F, S> FaultyStore<F, S> {
    pub(crate) fn new(store: S, faults: F) -> Self {
        Self { store, faults }
    }
}

impl<F, S> Deref for FaultyStore<F, S> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.faults
    }
}

impl<F: Faults, S: Store> Store for FaultyStore<F, S> {
    fn is_exclusive(&self) -> bool {
        self.faults.is_exclusive()
    }

    fn load<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        Box::pin(async move {
            if let Some(instead) = self.faults.load(bucket, key)? {
                return Ok(Some(instead));
            }
            let loaded = self.store.load(bucket, key).await;
            self.faults.loaded(bucket, &loaded);
            loaded
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.faults.commit(&self.store, batch)
    }

    fn list<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            self.faults.list(bucket)?;
            self.store.list(bucket, prefix).await
        })
    }

    fn page<'a>(
        &'a self,
        bucket: Bucket,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            self.faults.list(bucket)?;
            self.store.page(bucket, after, limit).await
        })
    }

    fn due<'a>(
        &'a self,
        duty: Duty,
        until: UnixMillis,
        after: Option<&'a DueRecord>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueRecord>, StoreError>> {
        self.store.due(duty, until, after, limit)
    }

    fn journal(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        self.store.journal(after, limit)
    }

    fn journaled(&self, after: Position) -> BoxFuture<'_, ()> {
        self.store.journaled(after)
    }
}

/// A call refused as by a store that does not answer.
pub(crate) fn refused<T>(why: &str) -> Result<T, StoreError> {
    Err(StoreError::Unavailable(why.to_owned()))
}
